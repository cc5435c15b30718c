"""Merge an adapter into its base in float32 and prove that the merged model computes the same.

Merging in a half-precision type changes answers; in float32 the difference is rounding alone, and it is measured: in the
probabilities of every token, and in the answers of both models to the same prompts.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from legal_tasks.step import Input, Output, Runtime, StepError, main, work_folder
from legal_tasks.training import base as bases
from legal_tasks.training import elsewhere, programs

VERSION = 2
PROBED, ANSWER = 32, 8  # prompts whose every probability is compared; tokens of a compared answer
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


@dataclass(frozen=True)
class Params:
    adapter: Annotated[Path, Input("folder made by training.lora (or its adapter/ itself)")]
    output: Annotated[Path, Output("folder with model/: weights in safetensors, tokenizer, chat template")]
    base: Annotated[str, "the base that the adapter was trained on: embedded, a folder, or a hub id"] = "embedded"
    prompts: Annotated[int, "prompts that the merged and the adapted model both answer"] = 200
    tolerance: Annotated[float, "largest difference of a log-probability, nats"] = 1e-3
    dtype: Annotated[str, "type of the saved weights: float32, bfloat16, float16"] = "float32"
    remote_code: Annotated[dict[str, str], "JSON: programs beside the base's config.json that may run, name -> sha256"] = field(
        default_factory=dict
    )
    environment: Annotated[str, "virtual environment in which it merges, e.g. chatglm3; empty = this one"] = ""
    threads: Annotated[int, Runtime("CPU threads, 0 = all that this process may use")] = 0

    def __post_init__(self) -> None:
        if self.prompts < 1:
            raise StepError(f"--prompts must be at least 1, got {self.prompts}")
        if not 0 < self.tolerance <= 0.1:
            raise StepError(f"--tolerance must be in (0, 0.1] nats, got {self.tolerance}")
        if self.dtype not in ("float32", "bfloat16", "float16"):
            raise StepError(f"--dtype must be float32, bfloat16 or float16, got {self.dtype!r}")
        programs.check(self.remote_code)


@dataclass(frozen=True)
class Report:
    parameters: int
    size_bytes: int  # of the weights
    prompts: int
    largest_difference: float  # nats, merged against adapted model in float32, over all tokens of the vocabulary
    equal_answers: int  # of `prompts`, greedy; the others part where the two best tokens are within twice the tolerance
    dtype: str
    model: str = "model"


def extra_inputs(params: Params) -> dict[str, Path]:
    return {"base": bases.resolve(params.base, params.remote_code)} | elsewhere.lock(params.environment)


def find_adapter(folder: Path) -> Path:
    """The folder with adapter_config.json: `folder` or its adapter/."""
    for candidate in (folder / "adapter", folder):
        if (candidate / "adapter_config.json").is_file():
            if not (candidate / "adapter_model.safetensors").is_file():
                raise StepError(f"--adapter {candidate} has no adapter_model.safetensors: only safetensors are loaded")
            return candidate
    raise StepError(f"--adapter {folder}: no adapter_config.json there; give the folder that training.lora made")


def probe_prompts(tokenizer, count: int) -> list[list[int]]:
    """Token ids of `count` different prompts: a chat frame around seeded random tokens of the vocabulary."""
    import random

    from legal_tasks.training.chat import render

    chooser = random.Random(0)
    ordinary = sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids))
    frame = render(tokenizer, [{"role": "user", "content": "请问？"}], generation=True)
    middle = len(frame) // 2
    return [frame[:middle] + chooser.choices(ordinary, k=8 + 3 * (number % 8)) + frame[middle:] for number in range(count)]


def log_probabilities(model, prompts: list[list[int]]):
    """One tensor (tokens, vocabulary) per prompt, in float32."""
    import torch

    with torch.no_grad():
        return [model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1) for ids in prompts]


def greedy_answers(model, prompts: list[list[int]], pad: int) -> list[list[int]]:
    """Token ids of each prompt's greedy answer, at most ANSWER; prompts of one length are answered together, unpadded."""
    import torch

    answers: list[list[int]] = [[] for _ in prompts]
    for length in sorted({len(ids) for ids in prompts}):
        places = [place for place, ids in enumerate(prompts) if len(ids) == length]
        ids = torch.tensor([prompts[place] for place in places])
        with torch.no_grad():
            made = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                num_beams=1,
                repetition_penalty=1.0,
                max_new_tokens=ANSWER,
                pad_token_id=pad,
                use_cache=True,
            )
        for place, row in zip(places, made[:, length:].tolist(), strict=True):
            answers[place] = row
    return answers


def count_equal(model, prompts: list[list[int]], wanted: list[list[int]], got: list[list[int]], tolerance: float) -> int:
    """How many answers are equal. StepError where one parts although the two best tokens are further apart than rounding."""
    equal = 0
    for number, (prompt, one, other) in enumerate(zip(prompts, wanted, got, strict=True)):
        if one == other:
            equal += 1
            continue
        same = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
        [likely] = log_probabilities(model, [prompt + one[:same]])
        best, second = likely[-1].topk(2).values.tolist()
        if best - second > 2 * tolerance:
            raise StepError(
                f"the merged model answers prompt {number} otherwise than base + adapter, from token {same} on, where its two "
                f"best tokens are {best - second:g} nats apart (allowed {2 * tolerance:g}): the weights do not survive merging"
            )
    return equal


def run(params: Params) -> Report:
    if params.environment:
        inside = replace(params, environment="", output=params.output.absolute())
        return Report(**elsewhere.run("legal_tasks.training.merge:run", inside, params.environment, work_folder()))
    import torch
    from peft import PeftModel

    from legal_tasks.compression.load import admit

    torch.set_num_threads(params.threads or len(os.sched_getaffinity(0)))
    code = params.remote_code
    folder, adapter = bases.resolve(params.base, code), find_adapter(params.adapter)
    tokenizer = programs.tokenizer(folder, code)
    model = programs.load(folder, code, torch.float32)
    try:
        adapted = PeftModel.from_pretrained(model, str(adapter)).eval()
    except (RuntimeError, ValueError) as error:
        raise StepError(f"--adapter {adapter} does not fit the base {params.base}: {str(error).splitlines()[0]}") from error
    prompts = probe_prompts(tokenizer, params.prompts)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    wanted, answers = log_probabilities(adapted, prompts[:PROBED]), greedy_answers(adapted, prompts, pad)
    merged = adapted.merge_and_unload(safe_merge=True)
    got = log_probabilities(merged, prompts[:PROBED])
    difference = max(float((a - b).abs().max()) for a, b in zip(wanted, got, strict=True))
    if not difference <= params.tolerance:
        raise StepError(
            f"the merged model differs from base + adapter by {difference:g} nats (allowed {params.tolerance:g}): "
            "the adapter belongs to another base, or the weights hold infinities; look at the training's log"
        )
    equal = count_equal(merged, prompts, answers, greedy_answers(merged, prompts, pad), params.tolerance)
    target = params.output / "model"
    merged.config.use_cache = True
    merged.to(getattr(torch, params.dtype)).save_pretrained(target)
    copy_tokenizer(folder, target)
    programs.copy(folder, target, code)
    remove_place(target / "config.json")
    admit(target, code)
    size = sum(path.stat().st_size for path in target.glob("*.safetensors"))
    said = f"largest difference {difference:.2g} nats, {equal} of {len(prompts)} answers equal"
    print(f"merged {merged.num_parameters()} parameters, {said}", flush=True)
    return Report(merged.num_parameters(), size, len(prompts), difference, equal, params.dtype)


def copy_tokenizer(base: Path, target: Path) -> None:
    """The base's own tokenizer and template files, byte for byte: every stage reads the same ones."""
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, target / name)


def remove_place(path: Path) -> None:
    """Drop the path of this machine from a configuration, so that equal models have equal digests."""
    content = json.loads(path.read_text("utf-8"))
    content.pop("_name_or_path", None)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main("legal_tasks.training.merge"))
