"""Fine-tune a base model by LoRA (Hu et al. 2021) on the training split: an adapter, its log and its numbers.

Learned are the answers only (training/chat.py). A killed run goes on from its newest whole checkpoint, and on a CPU
with the same number of threads gives the same adapter, bit for bit, as one that was never disturbed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from legal_tasks.artifacts import digest_path
from legal_tasks.step import Input, Option, Output, Runtime, StepError, describe_params, main, work_folder
from legal_tasks.training import base as bases
from legal_tasks.training import checkpoints
from legal_tasks.training import rows as sets

VERSION = 1
POINTS = 200  # aimed at in log.jsonl; at least 100 where there are as many updates
SCHEDULES = ("linear", "cosine", "constant_with_warmup")


@dataclass(frozen=True)
class Params:
    data: Annotated[Path, Input("folder made by data.split: train.jsonl and validation.jsonl")]
    output: Annotated[Path, Output("folder with adapter/ and log.jsonl")]
    base: Annotated[str, "base model: embedded, a model folder, or a hub id organisation/name[@revision]"] = "embedded"
    r: Annotated[int, "rank of the update matrices"] = 16
    alpha: Annotated[int, "scale of the update: alpha / r"] = 32
    dropout: Annotated[float, "dropout before the update matrices, 0..1"] = 0.05
    targets: Annotated[tuple[str, ...], "linear layers that are adapted"] = ("q_proj", "k_proj", "v_proj", "o_proj")
    learning_rate: Annotated[float, "peak learning rate of AdamW"] = 2e-4
    batch: Annotated[int, "records per step on a device"] = 4
    accumulation: Annotated[int, "steps per update"] = 4
    epochs: Annotated[float, "passes over the training set"] = 3.0
    max_updates: Annotated[int | None, "stop after this many updates, even if that is fewer epochs; empty = no bound"] = None
    max_tokens: Annotated[int | None, "stop after about this many non-pad tokens (whole updates); empty = no bound"] = None
    warmup: Annotated[int, "updates until the peak learning rate (at most half of all)"] = 100
    schedule: Annotated[str, f"learning rate after the warm-up: {', '.join(SCHEDULES)}"] = "linear"
    max_length: Annotated[int, "longest record in tokens; longer answers are cut"] = 1024
    copies: Annotated[dict[str, float], "JSON: copies of each record per epoch by category, 1 where not named"] = field(
        default_factory=dict
    )
    seed: Annotated[int, "of the order, the mix, the dropout and the first adapter weights"] = 0
    device: Annotated[str, Runtime("where to run: auto, cpu, cuda")] = "auto"
    threads: Annotated[int, Runtime("CPU threads, 0 = all that this process may use")] = 0
    save_updates: Annotated[int, Runtime("updates between two checkpoints")] = 100
    checkpoints: Annotated[Path | None, Runtime("folder for checkpoints (default: the store's work folder)")] = None

    def __post_init__(self) -> None:
        positive = ("r", "alpha", "batch", "accumulation", "max_length", "save_updates", "epochs")
        for name in positive:
            if getattr(self, name) <= 0:
                raise StepError(f"--{name.replace('_', '-')} must be above 0, got {getattr(self, name)}")
        if self.max_updates is not None and self.max_updates < 1:
            raise StepError(f"--max-updates must be at least 1, got {self.max_updates}; leave it out to train by --epochs")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise StepError(f"--max-tokens must be at least 1, got {self.max_tokens}; leave it out to train by --epochs")
        if not 0 <= self.dropout < 1:
            raise StepError(f"--dropout must be in [0, 1), got {self.dropout}; the specification's is 0.05")
        if not 0 < self.learning_rate <= 0.1:
            raise StepError(f"--learning-rate must be in (0, 0.1], got {self.learning_rate:g}; the specification's is 2e-4")
        if self.warmup < 0:
            raise StepError(f"--warmup must be at least 0 updates, got {self.warmup}")
        if self.schedule not in SCHEDULES:
            raise StepError(f"--schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise StepError(f"--device must be auto, cpu or cuda, got {self.device!r}")
        if not self.targets:
            raise StepError("--targets is empty: name the linear layers to adapt, e.g. q_proj,k_proj,v_proj,o_proj")
        for category, share in self.copies.items():
            if not 0 <= share <= 100:
                raise StepError(f"--copies: {category} must be 0 to 100 copies per epoch, got {share}")


@dataclass(frozen=True)
class Report:
    records: int  # different ones that were trained on
    validation_records: int
    left_out: dict[str, int]  # reason -> records
    truncated: int  # records
    updates: int
    epochs: float
    tokens: int  # non-pad tokens read in all updates
    learned_tokens: int  # labels of one epoch before the mix
    base_parameters: int
    trained_parameters: int
    train_loss: float  # nats per token, mean of the log's last tenth
    validation_loss_before: float | None  # of the base
    validation_loss: float | None
    seconds: float  # of the updates of this attempt
    tokens_per_s: float | None  # non-pad; of this attempt
    resumed_at: int  # update, 0 = from the start
    threads: int
    device: str
    points: int  # lines of the log
    base_digest: str
    data_digest: str
    template_sha256: str
    loss: str  # which computation of the loss was used
    adapter: str = "adapter"
    log: str = "log.jsonl"


def extra_inputs(params: Params) -> dict[str, Path]:
    """The base is named by a word, a path or a hub id; what counts is its content."""
    return {"base": bases.resolve(params.base)}


def choose_device(name: str) -> str:
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise StepError("--device cuda: no usable card here; take --device cpu or auto")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def load_base(folder: Path, device: str, max_length: int):
    """(model, tokenizer): float32 on a CPU, bfloat16 (else the stored type) on a card. StepError if its context is too short."""
    import torch
    from transformers import AutoModelForCausalLM

    from legal_tasks.compression.load import load_tokenizer

    kind: Any = torch.float32
    if device == "cuda":
        kind = torch.bfloat16 if torch.cuda.is_bf16_supported() else "auto"
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=kind, trust_remote_code=False)
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and max_length > context:
        raise StepError(f"--max-length {max_length} exceeds the base's context of {context} tokens; set --max-length {context}")
    model.config.use_cache = False
    return model, load_tokenizer(folder)


def add_adapter(model, params: Params):
    """The model with fresh LoRA layers on every linear layer named in `targets`."""
    import torch
    from peft import LoraConfig, get_peft_model

    linear = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    missing = [name for name in params.targets if name not in linear]
    if missing:
        raise StepError(f"--targets: the base has no layer {', '.join(missing)}; it has {', '.join(sorted(linear))}")
    config = LoraConfig(
        r=params.r,
        lora_alpha=params.alpha,
        lora_dropout=params.dropout,
        target_modules=list(params.targets),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def describe(params: Params, updates: int) -> dict[str, Any]:
    """What a checkpoint must share with a run that resumes it: data, base, shapes, optimiser and schedule."""
    values = {spec.name: getattr(params, spec.name) for spec in describe_params(Params) if type(spec.option) is Option}
    for name in (
        "base",
        "epochs",
        "max_updates",
        "max_tokens",
    ):  # the base's content counts, not its name; epochs are counted in updates
        del values[name]
    digests = {"data": digest_path(params.data), "base": digest_path(bases.resolve(params.base))}
    return values | digests | {"updates": updates, "optimiser": "adamw", "version": VERSION}


@dataclass
class Plan:
    """The training laid out: rows in their order, updates, epochs, how many different records it reads."""

    train: sets.Rows
    validation: sets.Rows
    ordered: list[sets.Row]
    updates: int
    epochs: float
    records: int


def make_plan(params: Params, tokenizer) -> Plan:
    train = sets.encode(tokenizer, sets.load(params.data / "train.jsonl"), params.max_length)
    validation = sets.encode(tokenizer, sets.load(params.data / "validation.jsonl"), params.max_length)
    numbers = sets.mix(train.categories, params.copies, params.seed)
    if not numbers:
        raise StepError(f"--data {params.data}: no record to train on (left out: {dict(train.left_out)}); look at --max-length")
    per_update = params.batch * params.accumulation
    total = max(1, round(len(numbers) * params.epochs))
    if params.max_updates is not None and total > params.max_updates * per_update:
        total = params.max_updates * per_update
        print(
            f"--max-updates {params.max_updates} ends the training after {total / len(numbers):.2f} of {params.epochs:g} epochs"
        )
    lengths = [len(row["input_ids"]) for row in train.rows]
    order = sets.order(lengths, numbers, total, params.batch, params.seed)
    if params.max_tokens is not None:
        order = sets.within(order, lengths, params.max_tokens, per_update)
        if len(order) < total:
            print(f"--max-tokens {params.max_tokens} ends the training after {len(order) / len(numbers):.2f} epochs")
    updates = -(-len(order) // per_update)
    return Plan(train, validation, [train.rows[number] for number in order], updates, len(order) / len(numbers), len(set(order)))


def show_example(tokenizer, row: sets.Row) -> None:
    """Print one row as the model sees it, with what it learns from it in brackets."""
    learned = [i for i, label in enumerate(row["labels"]) if label != -100]
    first, last = learned[0], learned[-1]
    parts = (row["input_ids"][:first], row["input_ids"][first : last + 1], row["input_ids"][last + 1 :])
    before, answer, after = (tokenizer.decode(part) for part in parts)
    print(f"example: {before}[[{answer}]]{after}", flush=True)


def fit(params: Params, folder: Path, model, tokenizer, plan: Plan, device: str, callbacks=()) -> dict[str, Any]:
    """Train `model` in place; return the log's points and this attempt's figures. `folder` keeps the checkpoints."""
    from transformers import PrinterCallback

    from legal_tasks.training import trainer as loop

    per_update = params.batch * params.accumulation
    fingerprint = describe(params, plan.updates)
    every = max(1, plan.updates // POINTS)
    arguments = loop.make_arguments(
        folder,
        device,
        per_device_train_batch_size=params.batch,
        gradient_accumulation_steps=params.accumulation,
        learning_rate=params.learning_rate,
        warmup_steps=min(params.warmup, plan.updates // 2),
        lr_scheduler_type=params.schedule,
        logging_steps=every,
        save_steps=-(-params.save_updates // every) * every,
        seed=params.seed,
    )
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    first = sets.collate(plan.ordered[: params.batch], pad)
    loss = loop.choose_loss(model, {name: value.to(model.device) for name, value in first.items()})
    follower = loop.Follower([len(row["input_ids"]) for row in plan.ordered], per_update, plan.epochs, fingerprint)
    trainer = loop.LoraTrainer(
        model=model,
        args=arguments,
        train_dataset=plan.ordered,
        data_collator=lambda rows: sets.collate(rows, pad),
        callbacks=[follower, *callbacks],
        loss=loss,
    )
    trainer.remove_callback(PrinterCallback)
    before = loop.mean_loss(model, loss, plan.validation.rows, 4 * params.batch, pad, model.device)
    checkpoint = checkpoints.newest(folder, fingerprint)
    resumed = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    if checkpoint:
        print(f"resumed from step {resumed} of {plan.updates}: {checkpoint}", flush=True)
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - started
    after = loop.mean_loss(model, loss, plan.validation.rows, 4 * params.batch, pad, model.device)
    points = [loop.make_point(entry, plan.epochs) for entry in trainer.state.log_history if "loss" in entry]
    tokens = follower.tokens[-1] - follower.tokens[resumed]
    return {
        "points": points,
        "before": before,
        "after": after,
        "seconds": seconds,
        "speed": tokens / seconds if tokens else None,
        "tokens": follower.tokens[-1],
        "resumed": resumed,
        "loss": loss.__name__,
    }


def run(params: Params, callbacks=()) -> Report:
    """`callbacks`: further Trainer callbacks, for who calls this from Python."""
    import torch
    from transformers import set_seed

    from legal_tasks.training.chat import template_hash

    threads = params.threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    device = choose_device(params.device)
    folder = bases.resolve(params.base)
    model, tokenizer = load_base(folder, device, params.max_length)
    plan = make_plan(params, tokenizer)
    show_example(tokenizer, plan.ordered[0])
    set_seed(params.seed)
    size = model.num_parameters()
    model = add_adapter(model, params)
    print(f"{plan.records} records, {plan.updates} updates, {plan.epochs:.2f} epochs, {threads} threads", flush=True)
    work = params.checkpoints or work_folder()
    result = fit(params, work, model, tokenizer, plan, device, callbacks)
    points = result["points"]
    save(params.output, model, tokenizer, points, params.base)
    tail = points[-max(1, len(points) // 10) :]
    return Report(
        records=plan.records,
        validation_records=len(plan.validation.rows),
        left_out=dict(plan.train.left_out),
        truncated=plan.train.truncated,
        updates=plan.updates,
        epochs=round(plan.epochs, 3),
        tokens=result["tokens"],
        learned_tokens=plan.train.learned_tokens,
        base_parameters=size,
        trained_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        train_loss=sum(point["loss"] for point in tail) / len(tail),
        validation_loss_before=result["before"] if plan.validation.rows else None,
        validation_loss=result["after"] if plan.validation.rows else None,
        seconds=round(result["seconds"], 3),
        tokens_per_s=result["speed"],
        resumed_at=result["resumed"],
        threads=threads,
        device=device,
        points=len(points),
        base_digest=digest_path(folder),
        data_digest=digest_path(params.data),
        template_sha256=template_hash(tokenizer),
        loss=result["loss"],
    )


def save(output: Path, model, tokenizer, points: list[dict[str, Any]], base: str) -> None:
    """adapter/ (safetensors and its configuration, no place of this machine in it) and log.jsonl."""
    for config in model.peft_config.values():
        config.base_model_name_or_path = base if base == "embedded" else Path(base).name if Path(base).exists() else base
    model.save_pretrained(output / "adapter", save_embedding_layers=False)
    (output / "adapter" / "README.md").unlink(missing_ok=True)
    tokenizer.save_pretrained(output / "adapter")
    lines = [json.dumps(point) for point in points]
    (output / "log.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main("legal_tasks.training.lora"))
