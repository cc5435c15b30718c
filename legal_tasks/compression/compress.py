"""Compress the merged model to GPTQ (act-order, and the engine's variant) and GGUF Q4_0, and measure what each costs.

Calibrated on rendered training chats: records that stand in an exam are refused, a chat that quotes a short question is
left out. Each format is loaded again,
its perplexity taken on the validation answers, and its answers to the legal exam paired with the merged model's.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from legal_tasks.compression import report as tables
from legal_tasks.compression.kquants import KINDS, command
from legal_tasks.compression.load import admit, load_model
from legal_tasks.records import Record
from legal_tasks.step import Input, Output, Runtime, StepError, main, progress

VERSION = 3
GGUF_FILE = "model-q4_0.gguf"
MORE_GGUF = ("q8_0", "f16", *KINDS)  # beside Q4_0, on demand; KINDS need llama.cpp's quantiser
MODEL = "legal-llm"  # the name inside the file: not that of the folder, which would change the content with the place
STAGES = 8  # of the progress line


@dataclass(frozen=True)
class Params:
    model: Annotated[Path, Input("the merged model: a model folder or the artifact of training.merge")]
    data: Annotated[Path, Input("folder made by data.split: calibration from train.jsonl, perplexity on validation.jsonl")]
    output: Annotated[Path, Output("folder with gptq-act-order/, gptq/, model-q4_0.gguf, tokenizer/, table.json, table.md")]
    exams: Annotated[
        Path | None, Input("artifact of data.collect or a folder of suites; without it the loss is not measured")
    ] = None
    records: Annotated[Path | None, Input("folder made by data.clean: what exams share with its statutes is no leak")] = None
    suites: Annotated[tuple[str, ...], "suites of the loss (default: legal_exam, else every multiple choice)"] = ()
    rank_texts: Annotated[tuple[str, ...], "suites answered by ranking the option texts, as in evaluation.harness"] = ()
    limit: Annotated[int | None, "items per suite, evenly spread; empty for all"] = None
    gguf: Annotated[tuple[str, ...], "further GGUF files beside Q4_0: q8_0, f16, q4_k_m (needs llama.cpp's quantiser)"] = ()
    bits: Annotated[int, "bits of a GPTQ weight: 4 or 8"] = 4
    group_size: Annotated[int, "weights that share a scale in GPTQ"] = 128
    damping: Annotated[float, "share of the mean diagonal that is added to the Hessian, GPTQ's percdamp"] = 0.05
    samples: Annotated[int, "chats for calibration"] = 256
    max_length: Annotated[int, "longest chat in calibration and perplexity, tokens"] = 2048
    perplexity_records: Annotated[int, "records of the validation set for the perplexity"] = 256
    seed: Annotated[int, "of the choice of chats"] = 0
    device: Annotated[str, Runtime("where to quantise and measure: auto, cpu, cuda")] = "auto"
    threads: Annotated[int, Runtime("CPU threads, 0 = all that this process may use")] = 0

    def __post_init__(self) -> None:
        if set(self.gguf) - set(MORE_GGUF):
            raise StepError(f"--gguf may hold {', '.join(MORE_GGUF)} (q4_0 is always written), got {','.join(self.gguf)!r}")
        if self.bits not in (4, 8):
            raise StepError(f"--bits must be 4 or 8, got {self.bits}; the specification's is 4")
        if self.group_size not in (32, 64, 128):
            raise StepError(f"--group-size must be 32, 64 or 128, got {self.group_size}; the specification's is 128")
        if not 0 < self.damping < 1:
            raise StepError(f"--damping must be in (0, 1), got {self.damping}")
        for name in ("samples", "max_length", "perplexity_records"):
            if getattr(self, name) < 1:
                raise StepError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        if self.limit is not None and self.limit < 1:
            raise StepError(f"--limit must be at least 1, got {self.limit}; leave it out to ask every item")


@dataclass(frozen=True)
class Report:
    loss_gptq_act_order: float | None  # of the legal accuracy, relative to the merged model; null = not measured
    loss_gptq: float | None
    loss_gguf: float | None
    formats: dict[str, dict[str, Any]]  # as in table.json
    seconds: dict[str, float]  # stage -> seconds
    layer_errors: dict[str, dict[str, float]]
    gguf_agreement: dict[str, float]  # llama.cpp against transformers
    calibration_chats: int
    calibration_left_out: int  # chats that repeat an exam question
    suites: list[str]
    table: str = "table.md"
    gptq_act_order: str = "gptq-act-order"
    gptq: str = "gptq"
    gguf: str = GGUF_FILE


def gguf_file(kind: str) -> str:
    """Name of a GGUF file in the output."""
    return f"model-{kind}.gguf"


def find_model(path: Path) -> Path:
    folder = path / "model" if (path / "model" / "config.json").is_file() else path
    if not (folder / "config.json").is_file():
        raise StepError(f"--model {path} holds no config.json: give the artifact of training.merge or a model folder")
    return admit(folder)


def exam_questions(params: Params) -> tuple[Path | None, list[str], set[str]]:
    """(folder of suites, suites of the loss, questions of all suites without white space)."""
    from legal_tasks.evaluation.harness import exams_folder
    from legal_tasks.evaluation.items import read_items, suites_in

    if params.exams is None:
        return None, [], set()
    folder = exams_folder(params.exams)
    items = {name: read_items(folder / f"{name}.jsonl", split=None) for name in suites_in(folder)}
    chosen = list(params.suites) or (
        ["legal_exam"] if "legal_exam" in items else [n for n, i in items.items() if i[0]["kind"] == "choice"]
    )
    missing = [name for name in chosen if name not in items]
    if missing or not chosen:
        raise StepError(f"--suites {','.join(missing)}: {folder} has {', '.join(items) or 'no suites'}")
    questions = {squeeze(item["question"]) for suite in items.values() for item in suite}
    return folder, chosen, questions


def copy_suites(exams: Path | None, suites: list[str], target: Path) -> Path | None:
    """Only the suites of the loss, so that the harness asks nothing else; None without exams."""
    if exams is None:
        return None
    target.mkdir(parents=True)
    for name in suites:
        shutil.copyfile(exams / f"{name}.jsonl", target / f"{name}.jsonl")
    return target


def squeeze(text: str) -> str:
    return "".join(text.split())


def refuse_exam_items(records: Sequence[Record], exams: Path, statutes: Path | None, source: Path) -> None:
    """StepError where a training record holds an exam question, by the same measure as data.clean: its cleaning was left out.

    What an exam shares with the text of `statutes` (statutes.jsonl of data.clean), and articles that data.clean derived
    from them, are no leak: anybody may quote the law.
    """
    from legal_tasks.data.decontaminate import read_suites

    known = read_suites(exams)
    if statutes is not None:
        known.exempt_statutes(statutes)
    leaks = []
    for record in records:
        if record.category == "statute" and record.provenance.get("derived"):
            continue
        turns = [part for turn in record.history for part in turn]
        found = next(known.matches("\n".join([*turns, record.instruction, record.input, record.output])), None)
        if found is not None:
            leaks.append((record.provenance.get("id"), found.question))
    if leaks:
        name, question = leaks[0]
        raise StepError(
            f"--data {source}: {len(leaks)} of {len(records)} training chats hold exam questions (the first: record {name}, "
            f"{question.exam} line {question.line}), and nothing is calibrated on an exam; clean the sources again: data.clean"
        )


def choose_chats(params: Params, tokenizer, questions: set[str]) -> tuple[list[list[dict[str, str]]], int]:
    """(seeded choice of training chats, how many candidates were left out because they repeat an exam question)."""
    from legal_tasks.evaluation.harness import exams_folder
    from legal_tasks.training.chat import messages
    from legal_tasks.training.rows import load

    records = load(params.data / "train.jsonl")
    if params.exams is not None:
        statutes = params.records / "statutes.jsonl" if params.records else None
        refuse_exam_items(records, exams_folder(params.exams), statutes, params.data)
    chats = [messages(asdict(record)) for record in records]
    random.Random(params.seed).shuffle(chats)
    chosen: list[list[dict[str, str]]] = []
    left_out = 0
    for chat in chats:
        if len(chosen) == params.samples:
            break
        said = squeeze("".join(turn["content"] for turn in chat))
        if any(len(question) >= 8 and question in said for question in questions):
            left_out += 1
        else:
            chosen.append(chat)
    if not chosen:
        raise StepError(f"--data {params.data}: no training chat to calibrate on ({left_out} repeat exam questions)")
    return chosen, left_out


class Stopwatch:
    """Seconds per stage, told as progress."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.monotonic()

    def lap(self, stage: str) -> float:
        now = time.monotonic()
        self.seconds[stage] = round(now - self.last, 3)
        self.last = now
        progress(min(len(self.seconds), STAGES), STAGES, part=stage, seconds=self.seconds[stage])
        return self.seconds[stage]


def run(params: Params) -> Report:
    import torch

    from legal_tasks.compression.gguf import convert, write
    from legal_tasks.compression.load import load_tokenizer
    from legal_tasks.training.chat import render
    from legal_tasks.training.lora import choose_device

    for kind in set(params.gguf) & set(KINDS):
        command(params.model, params.output, kind)  # before an hour of other work: is there a quantiser?
    threads = params.threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    device = choose_device(params.device)
    source = find_model(params.model)
    tokenizer = load_tokenizer(source)
    exams, suites, questions = exam_questions(params)
    chats, left_out = choose_chats(params, tokenizer, questions)
    clock = Stopwatch()
    errors = quantise_both(params, source, [render(tokenizer, chat, False)[: params.max_length] for chat in chats], device, clock)
    shutil.copytree(source, params.output / "tokenizer", ignore=_only_tokenizer)
    file = convert(source, params.output / GGUF_FILE, MODEL)
    places = {"merged": source, "gptq-act-order": params.output / "gptq-act-order", "gptq": params.output / "gptq", "gguf": file}
    for kind in params.gguf:
        places[f"gguf-{kind}"] = write(source, params.output / gguf_file(kind), MODEL, kind)
    clock.lap("gguf")
    lines = []
    merged_rows: list[dict[str, Any]] = []
    agreement: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = copy_suites(exams, suites, Path(scratch) / "items" / "exams")
        for name, place in places.items():
            line, model, rows = measure(params, name, place, source, folder, suites, device)
            merged_rows = rows if name == "merged" else merged_rows
            tables.compare(line, merged_rows, rows)
            lines.append(line)
            if name == "gguf":
                agreement = verify_gguf(file, model, tokenizer, chats, params.max_length)
            clock.lap(f"measure {name}")
    tables.write_table(params.output, lines)
    print((params.output / "table.md").read_text("utf-8"), flush=True)
    losses = {line.format: line.loss if suites else None for line in lines}
    return Report(
        losses["gptq-act-order"],
        losses["gptq"],
        losses["gguf"],
        {line.format: asdict(line) for line in lines},
        clock.seconds,
        errors,
        agreement,
        len(chats),
        left_out,
        suites,
    )


def _only_tokenizer(folder: str, names: list[str]) -> list[str]:
    from legal_tasks.training.merge import TOKENIZER_FILES

    return [name for name in names if name not in TOKENIZER_FILES]


def quantise_both(
    params: Params, source: Path, chats: list[list[int]], device: str, clock: Stopwatch
) -> dict[str, dict[str, float]]:
    """Write both GPTQ variants; {variant: layer errors}."""
    from legal_tasks.compression.gptq import quantise

    errors = {}
    for variant, act_order in (("gptq-act-order", True), ("gptq", False)):
        errors[variant] = quantise(
            source,
            params.output / variant,
            chats,
            act_order=act_order,
            bits=params.bits,
            group_size=params.group_size,
            damping=params.damping,
            device=device,
            workers=len(os.sched_getaffinity(0)),
        )
        admit(params.output / variant)
        clock.lap(variant)
    return errors


def measure(params: Params, name: str, place: Path, source: Path, folder: Path | None, suites: list[str], device: str):
    """(table line without loss, loaded model, items' rows of all suites); the rows are kept under evaluation/<format>/."""
    import json

    from legal_tasks.evaluation.models import How, evaluate_loaded, write_results
    from legal_tasks.training.rows import encode, load
    from legal_tasks.training.trainer import full_loss, mean_loss

    started = time.monotonic()
    model, tokenizer = load_model(place, name.partition("-")[0], device)
    seconds = time.monotonic() - started
    records = load(params.data / "validation.jsonl")[: params.perplexity_records]
    context = min(params.max_length, model.config.max_position_embeddings)
    mean = mean_loss(model, full_loss, encode(tokenizer, records, context).rows, 16, 0, device)
    rows: list[dict[str, Any]] = []
    if folder is not None:
        found = evaluate_loaded(model, tokenizer, folder, suites, how=How(params.rank_texts, params.limit))
        target = params.output / "evaluation" / name
        target.mkdir(parents=True)
        write_results(target, found)
        rows = [{**row, "id": f"{suite}/{row['id']}"} for suite in suites for row in found["suites"][suite]["rows"]]
    size = tables.weights_bytes(place)
    config = json.loads((source / "config.json").read_text("utf-8"))
    titles = {"merged": "合并模型", "gptq-act-order": "GPTQ {} bit act-order", "gptq": "GPTQ {} bit（引擎）", "gguf": "GGUF Q4_0"}
    titles |= {f"gguf-{kind}": f"GGUF {kind.upper()}" for kind in MORE_GGUF}
    line = tables.Line(
        name=titles[name].format(params.bits),
        format=name,
        path=None if name == "merged" else place.name,
        size_bytes=size,
        memory_bytes=size + tables.cache_bytes(config, 4 if name.startswith("gguf") else 2),
        load_s=round(seconds, 3),
        perplexity=None if math.isnan(mean) else math.exp(mean),
    )
    return line, model, rows


def verify_gguf(file: Path, model, tokenizer, chats: list[list[dict[str, str]]], max_length: int) -> dict[str, float]:
    """llama.cpp's reading of the file on calibration questions that fit the context."""
    from legal_tasks.compression.verify import verify
    from legal_tasks.training.chat import render

    longest = min(max_length, model.config.max_position_embeddings) - 32
    questions = [chat[:-1] for chat in chats[:64]]
    fitting = [chat for chat in questions if len(render(tokenizer, chat, True)) <= longest]
    if not fitting:
        raise StepError(f"--max-length {max_length}: no calibration question fits it; llama.cpp's reading cannot be verified")
    return asdict(verify(file, model.to("cpu"), tokenizer, fitting))


if __name__ == "__main__":
    sys.exit(main("legal_tasks.compression.compress"))
