"""Let a trained adapter prefer the better of two answers: DPO (Rafailov et al. 2023, arXiv 2305.18290) by TRL's trainer.

Optional, after training.lora and before training.merge, when there are enough pairs. A pair is a line of JSON Lines with a
question as in a training record (instruction, input, history) and two answers, `chosen` and `rejected`. The reference is the
adapter as it came. There are no checkpoints: with as many pairs as people give it takes minutes.
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from legal_tasks.step import Input, Output, Runtime, Skip, StepError, main, progress, work_folder
from legal_tasks.training import base as bases

VERSION = 1
WATCHED = True  # the machine's load is told beside the curve
FIELDS = ("instruction", "chosen", "rejected")
PAIRS = "preference.jsonl"

Pair = dict[str, Any]


@dataclass(frozen=True)
class Params:
    adapter: Annotated[Path, Input("folder made by training.lora")]
    pairs: Annotated[Path, Input(f"JSON Lines of {{instruction, input, history, chosen, rejected}}, or a folder with {PAIRS}")]
    output: Annotated[Path, Output("folder with adapter/ and log.jsonl, as training.lora makes it")]
    base: Annotated[str, "the base that the adapter was trained on: embedded, a folder, or a hub id"] = "embedded"
    min_pairs: Annotated[int, "fewer pairs that can be used than this: the step is skipped, saying so"] = 200
    validation_share: Annotated[float, "share of the pairs that are only measured, 0..0.5"] = 0.1
    beta: Annotated[float, "how strongly the reference holds the adapter back (DPO's beta)"] = 0.1
    learning_rate: Annotated[float, "peak learning rate of AdamW"] = 5e-6
    batch: Annotated[int, "pairs per step"] = 4
    accumulation: Annotated[int, "steps per update"] = 4
    epochs: Annotated[float, "passes over the pairs"] = 1.0
    max_length: Annotated[int, "longest question with an answer, in tokens; longer pairs are left out"] = 1024
    seed: Annotated[int, "of the order and of the choice for validation"] = 0
    device: Annotated[str, Runtime("where to run: auto, cpu, cuda")] = "auto"
    threads: Annotated[int, Runtime("CPU threads, 0 = all that this process may use")] = 0

    def __post_init__(self) -> None:
        for name in ("min_pairs", "batch", "accumulation", "max_length"):
            if getattr(self, name) < 1:
                raise StepError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        for name in ("beta", "epochs"):
            if not getattr(self, name) > 0:
                raise StepError(f"--{name} must be above 0, got {getattr(self, name)}")
        if not 0 < self.learning_rate <= 1e-2:
            raise StepError(f"--learning-rate must be in (0, 0.01], got {self.learning_rate:g}; 5e-6 is usual for DPO")
        if not 0 <= self.validation_share <= 0.5:
            raise StepError(f"--validation-share must be in [0, 0.5], got {self.validation_share}")


@dataclass(frozen=True)
class Report:
    pairs: int  # read
    left_out: dict[str, int]  # reason -> pairs
    trained: int
    validated: int
    updates: int
    loss: float  # of DPO, mean of the log's last tenth; ln 2 where nothing was learned
    preferred_before: float | None  # share of the validation pairs whose chosen answer is the likelier one
    preferred: float | None
    margin_before: float | None  # nats: mean log-probability of the chosen answer minus that of the rejected one
    margin: float | None
    chosen_shift: float | None  # nats: by how much the chosen answers became likelier; far below 0 the model unlearns both
    seconds: float
    base: str
    adapter: str = "adapter"
    log: str = "log.jsonl"


def extra_inputs(params: Params) -> dict[str, Path]:
    return {"base": bases.resolve(params.base)}


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file, or of PAIRS in a folder; StepError names file, line and field of what is none."""
    path = path / PAIRS if path.is_dir() else path
    if not path.is_file():
        raise StepError(f"--pairs: {path} does not exist; name a file of JSON Lines with {', '.join(FIELDS)}")
    pairs = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                pair = json.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise StepError(f"--pairs {path}, line {number}: not JSON ({error})") from error
            fault = _fault(pair)
            if fault:
                raise StepError(f"--pairs {path}, line {number}: {fault}")
            pairs.append(pair)
    return pairs


def _fault(pair: Any) -> str | None:
    """What keeps a line from being a pair, or None."""
    if not isinstance(pair, dict):
        return f"an object with {', '.join(FIELDS)} is needed, got {type(pair).__name__}"
    for name in FIELDS:
        if not isinstance(pair.get(name), str) or not pair[name].strip():
            return f"{name} must be a text that is not empty, got {pair.get(name)!r}"
    if not isinstance(pair.get("input", ""), str):
        return f"input must be a text, got {pair['input']!r}"
    history = pair.get("history") or []
    if not isinstance(history, list) or not all(
        isinstance(turn, list) and len(turn) == 2 and all(isinstance(part, str) for part in turn) for turn in history
    ):
        return f"history must hold [user, assistant] pairs of text, got {history!r}"
    return None


def choose_pairs(tokenizer: Any, pairs: Sequence[Pair], max_length: int) -> tuple[list[Pair], Counter[str]]:
    """(pairs that can teach, {reason: pairs left out}). Templates that close no answer are refused as in training."""
    from legal_tasks.training.chat import labelled

    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    kept = []
    for pair in pairs:
        name = json.dumps([pair.get(field) for field in ("instruction", "input", "history", "chosen", "rejected")])
        lengths = [len(labelled(tokenizer, {**pair, "output": pair[side]}, max_length + 1)["input_ids"]) for side in FIELDS[1:]]
        if pair["chosen"].strip() == pair["rejected"].strip():
            left_out["equal answers"] += 1
        elif name in seen:
            left_out["twice the same pair"] += 1
        elif max(lengths) > max_length:
            left_out["longer than max_length"] += 1
        else:
            kept.append(pair)
        seen.add(name)
    return kept, left_out


def split_pairs(pairs: Sequence[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """(train, validation); pairs of one question stay together."""
    questions = sorted({_question(pair) for pair in pairs})
    random.Random(seed).shuffle(questions)
    held = set(questions[: round(share * len(questions))])
    return [pair for pair in pairs if _question(pair) not in held], [pair for pair in pairs if _question(pair) in held]


def _question(pair: Mapping[str, Any]) -> str:
    return json.dumps([pair["instruction"], pair.get("input") or "", pair.get("history") or []], ensure_ascii=False)


def answer_log_probability(model: Any, tokenizer: Any, pair: Mapping[str, Any], side: str) -> float:
    """Nats that the model gives to all tokens of an answer, its end token among them."""
    import torch

    from legal_tasks.training.chat import IGNORED, labelled
    from legal_tasks.training.trainer import full_loss

    row = labelled(tokenizer, {**pair, "output": pair[side], "history": pair.get("history") or []}, 1 << 30)
    # Earlier answers of a dialog are learned in training; here the last one alone is compared.
    start = len(row["labels"])
    while start and row["labels"][start - 1] == IGNORED:
        start -= 1
    while start and row["labels"][start - 1] != IGNORED:
        start -= 1
    labels = [IGNORED] * start + row["labels"][start:]
    tensors = {"input_ids": torch.tensor([row["input_ids"]]), "labels": torch.tensor([labels])}
    with torch.no_grad():
        return -float(full_loss(model, **{name: value.to(model.device) for name, value in tensors.items()}))


def measure(model: Any, tokenizer: Any, pairs: Sequence[Pair]) -> tuple[float | None, float | None, float | None]:
    """(share of pairs whose chosen answer is the likelier one, mean margin, mean log-probability of the chosen), nats."""
    if not pairs:
        return None, None, None
    model.eval()
    both = [[answer_log_probability(model, tokenizer, pair, side) for side in FIELDS[1:]] for pair in pairs]
    count = len(both)
    return (
        sum(chosen > rejected for chosen, rejected in both) / count,
        sum(chosen - rejected for chosen, rejected in both) / count,
        sum(chosen for chosen, _ in both) / count,
    )


def as_rows(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """TRL's conversational form; the tokenizer's own template renders it, as it renders everything else."""
    from legal_tasks.training.chat import messages

    return [
        {
            "prompt": messages({**pair, "output": ""}),
            **{side: [{"role": "assistant", "content": pair[side]}] for side in FIELDS[1:]},
        }
        for pair in pairs
    ]


def load_adapted(params: Params, device: str) -> tuple[Any, Any]:
    """(base with the adapter, which can be trained, tokenizer)."""
    from peft import PeftModel

    from legal_tasks.training.lora import load_base
    from legal_tasks.training.merge import find_adapter

    adapter = find_adapter(params.adapter)
    model, tokenizer = load_base(bases.resolve(params.base), device, params.max_length)
    try:
        return PeftModel.from_pretrained(model, str(adapter), is_trainable=True), tokenizer
    except (RuntimeError, ValueError) as error:
        raise StepError(f"--adapter {adapter} does not fit the base {params.base}: {str(error).splitlines()[0]}") from error


def train(params: Params, model: Any, tokenizer: Any, pairs: Sequence[Pair], device: str) -> tuple[Any, list[dict[str, Any]]]:
    """(the trained model, the log's points)."""
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer

    from legal_tasks import tracking

    class Follower(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **_):
            if logs and "loss" in logs:
                if not math.isfinite(logs["loss"]):
                    raise StepError(f"the loss of update {state.global_step} is {logs['loss']}: lower --learning-rate")
                numbers = {"dpo_loss": logs["loss"], "dpo_margin": logs.get("rewards/margins", math.nan)}
                progress(state.global_step, state.max_steps, **numbers)
                tracking.log_metrics(numbers, step=state.global_step)

    arguments = DPOConfig(
        output_dir=str(work_folder()),
        beta=params.beta,
        learning_rate=params.learning_rate,
        per_device_train_batch_size=params.batch,
        gradient_accumulation_steps=params.accumulation,
        num_train_epochs=params.epochs,
        max_length=params.max_length,
        seed=params.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        gradient_checkpointing=False,
        use_cpu=device == "cpu",
        bf16=device == "cuda" and torch.cuda.is_bf16_supported(),
    )
    rows = Dataset.from_list(as_rows(pairs))
    trainer = DPOTrainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer, callbacks=[Follower()])
    trainer.train()
    points = [
        {
            "step": entry["step"],
            "loss": entry["loss"],
            "margin": entry.get("rewards/margins"),
            "learning_rate": entry["learning_rate"],
        }
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    return trainer.model, points


def run(params: Params) -> Report:
    import torch
    from transformers import set_seed

    from legal_tasks.training import lora

    torch.set_num_threads(params.threads or len(os.sched_getaffinity(0)))
    device = lora.choose_device(params.device)
    pairs = read_pairs(params.pairs)
    if len(pairs) < params.min_pairs:
        raise Skip(f"{params.pairs} holds {len(pairs)} pairs, and --min-pairs asks for {params.min_pairs}")
    set_seed(params.seed)
    model, tokenizer = load_adapted(params, device)
    kept, left_out = choose_pairs(tokenizer, pairs, params.max_length)
    if len(kept) < params.min_pairs:
        raise Skip(
            f"{len(kept)} of {len(pairs)} pairs can be used ({dict(left_out)}), and --min-pairs asks for {params.min_pairs}"
        )
    learned, held = split_pairs(kept, params.validation_share, params.seed)
    if not learned:
        raise StepError(f"--validation-share {params.validation_share} leaves no pair to train on: there are {len(kept)}")
    before = measure(model, tokenizer, held)
    began = time.monotonic()
    model, points = train(params, model, tokenizer, learned, device)
    seconds = time.monotonic() - began
    after = measure(model, tokenizer, held)
    if "ref" in model.peft_config:
        model.delete_adapter("ref")
    lora.save(params.output, model, tokenizer, points, params.base)
    tail = points[-max(1, len(points) // 10) :]
    return Report(
        pairs=len(pairs),
        left_out=dict(left_out),
        trained=len(learned),
        validated=len(held),
        updates=points[-1]["step"],
        loss=sum(point["loss"] for point in tail) / len(tail),
        preferred_before=before[0],
        preferred=after[0],
        margin_before=before[1],
        margin=after[1],
        chosen_shift=after[2] - before[2] if after[2] is not None and before[2] is not None else None,
        seconds=round(seconds, 3),
        base=lora.name_of(params.base),
    )


if __name__ == "__main__":
    sys.exit(main("legal_tasks.training.preference"))
