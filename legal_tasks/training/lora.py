"""Fine-tune a base model by LoRA (Hu et al. 2021) on the training split: an adapter, its log and its numbers.

Learned are the answers only (training/chat.py). A killed run goes on from its newest whole checkpoint, and on a CPU
with the same number of threads gives the same adapter, bit for bit, as one that was never disturbed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from legal_tasks.artifacts import digest_path
from legal_tasks.step import Input, Option, Output, Runtime, StepError, describe_params, main, work_folder
from legal_tasks.training import base as bases
from legal_tasks.training import checkpoints, elsewhere, programs
from legal_tasks.training import rows as sets
from legal_tasks.training.model import add_adapter, load_base, map_targets

VERSION = 2
WATCHED = True  # the machine's load is told beside the curve
POINTS = 200  # aimed at in log.jsonl; at least 100 where there are as many updates
SCHEDULES = ("linear", "cosine", "constant_with_warmup")
BACKENDS = ("peft", "llamafactory")
CHOICES = {
    "schedule": SCHEDULES,
    "device": ("auto", "cpu", "cuda"),
    "backend": BACKENDS,
    "quantise": ("none", "nf4"),
    "zero": (0, 2, 3),
}
BYTES = {"cpu": 4.0, "cuda": 2.0}  # per weight of the base: float32, bfloat16
NF4_BYTES = 0.6  # four bits and their scales


@dataclass(frozen=True)
class Params:
    data: Annotated[Path, Input("folder made by data.split: train.jsonl and validation.jsonl")]
    output: Annotated[Path, Output("folder with adapter/, card/ and log.jsonl")]
    base: Annotated[str, "base model: embedded, embedded-small, a model folder, or a hub id organisation/name[@revision]"] = (
        "embedded"
    )
    r: Annotated[int, "rank of the update matrices"] = 16
    alpha: Annotated[int, "scale of the update: alpha / r"] = 32
    dropout: Annotated[float, "dropout before the update matrices, 0..1"] = 0.05
    targets: Annotated[tuple[str, ...], "linear layers that are adapted, or all-linear"] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
    )
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
    packing: Annotated[bool, "join the records of a step into one row without padding, each seeing only itself"] = False
    quantise: Annotated[str, "base weights: none, or nf4 (QLoRA, Dettmers et al. 2023; needs bitsandbytes)"] = "none"
    evaluate_updates: Annotated[int, "updates between two validation losses; 0 = only before and after"] = 0
    early_stopping: Annotated[int, "stop after this many validation losses without a better one; 0 = never"] = 0
    backend: Annotated[str, f"what trains: {', '.join(BACKENDS)}"] = "peft"
    template: Annotated[str, "LLaMA-Factory's name of the chat template; empty = taken from the base's own"] = ""
    remote_code: Annotated[dict[str, str], "JSON: programs beside the base's config.json that may run, name -> sha256"] = field(
        default_factory=dict
    )
    environment: Annotated[str, "virtual environment in which it trains, e.g. chatglm3; empty = this one"] = ""
    seed: Annotated[int, "of the order, the mix, the dropout and the first adapter weights"] = 0
    device: Annotated[str, Runtime("where to run: auto, cpu, cuda")] = "auto"
    threads: Annotated[int, Runtime("CPU threads, 0 = all that this process may use")] = 0
    save_updates: Annotated[int, Runtime("updates between two checkpoints")] = 100
    spike: Annotated[float, Runtime("stop where a loss lies this far above the usual one, nats per token; 0 = never")] = 4.0
    gradient_checkpointing: Annotated[bool, Runtime("compute activations twice to keep fewer of them")] = False
    processes: Annotated[int, Runtime("processes over all hosts, one per card; the effective batch is kept")] = 1
    zero: Annotated[int, Runtime("DeepSpeed ZeRO stage of several processes: 2, 3, or 0 = plain data parallel")] = 0
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
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                listed = ", ".join(map(str, allowed))
                raise StepError(f"--{name} must be one of {listed}, got {getattr(self, name)!r}")
        for name in ("evaluate_updates", "early_stopping", "spike"):
            if getattr(self, name) < 0:
                raise StepError(f"--{name.replace('_', '-')} must be at least 0, got {getattr(self, name)}")
        if self.early_stopping and not self.evaluate_updates:
            raise StepError(f"--early-stopping {self.early_stopping} needs validation losses: set --evaluate-updates, e.g. 50")
        if self.processes < 1 or self.accumulation % self.processes:
            raise StepError(
                f"--processes {self.processes} must divide --accumulation ({self.accumulation}), so that an update keeps its "
                f"batch of {self.batch * self.accumulation}: set --accumulation to a multiple"
            )
        if self.backend == "llamafactory" and (
            self.packing or self.early_stopping or self.evaluate_updates or self.processes > 1
        ):
            raise StepError("--backend llamafactory takes no --packing, --evaluate-updates or --processes: use --backend peft")
        if self.environment and (self.backend != "peft" or self.processes > 1):
            raise StepError(f"--environment {self.environment} takes --backend peft and --processes 1 only")
        if self.remote_code and self.backend != "peft":
            raise StepError(f"--remote-code: --backend {self.backend} runs no program of a base: take --backend peft")
        programs.check(self.remote_code)
        if self.zero and self.processes == 1:
            raise StepError(f"--zero {self.zero} shares the optimiser among processes: set --processes, or --zero 0")
        if self.zero == 3 and self.early_stopping:
            raise StepError("--early-stopping keeps whole adapters, --zero 3 has shares of them: take --zero 2")
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
    base: str  # its name
    base_digest: str
    data_digest: str
    template_sha256: str
    loss: str  # which computation of the loss was used
    parts: int  # in how many parts each batch was computed, at the end
    saving_seconds: float  # of `seconds`, spent on checkpoints
    best_update: int | None  # whose adapter this is, with early stopping
    backend: str
    card: str = "card"
    adapter: str = "adapter"
    log: str = "log.jsonl"


def extra_inputs(params: Params) -> dict[str, Path]:
    """The base is named by a word, a path or a hub id; what counts is its content."""
    return {"base": bases.resolve(params.base, params.remote_code)} | elsewhere.lock(params.environment)


def choose_device(name: str) -> str:
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise StepError("--device cuda: no usable card here; take --device cpu or auto")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def describe(params: Params, updates: int) -> dict[str, Any]:
    """What a checkpoint must share with a run that resumes it: data, base, shapes, optimiser and schedule."""
    values = {spec.name: getattr(params, spec.name) for spec in describe_params(Params) if type(spec.option) is Option}
    for name in ("base", "epochs", "max_updates", "max_tokens"):  # the base's content counts; epochs are counted in updates
        del values[name]
    digests = {"data": digest_path(params.data), "base": digest_path(bases.resolve(params.base, params.remote_code))}
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
    cutting = params.backend == "peft"
    train = sets.encode(tokenizer, sets.load(params.data / "train.jsonl"), params.max_length, cutting)
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
    ordered = [train.rows[number] | {"line": [train.lines[number]]} for number in order]
    return Plan(train, validation, ordered, updates, len(order) / len(numbers), len(set(order)))


def show_example(tokenizer, row: sets.Row) -> None:
    """Print one row as the model sees it, with what it learns from it in brackets."""
    learned = [i for i, label in enumerate(row["labels"]) if label != -100]
    first, last = learned[0], learned[-1]
    parts = (row["input_ids"][:first], row["input_ids"][first : last + 1], row["input_ids"][last + 1 :])
    before, answer, after = (tokenizer.decode(part) for part in parts)
    print(f"example: {before}[[{answer}]]{after}", flush=True)


def make_collator(params: Params, pad: int):
    """Rows of the plan -> tensors of a batch, with the lines of train.jsonl that they came from."""
    import torch

    def together(rows: list[sets.Row]):
        return sets.collate(rows, pad, params.packing) | {"lines": torch.tensor([row["line"][0] for row in rows])}

    return together


def choose(params: Params, model, plan: Plan, pad: int, device: str) -> tuple[Any, int]:
    """(the loss that this model is trained by, in how many parts a batch is computed), from forward passes before training."""
    from legal_tasks.training import preflight
    from legal_tasks.training import trainer as loop

    def on_device(rows: list[sets.Row], packed: bool):
        return {name: value.to(model.device) for name, value in sets.collate(rows, pad, packed).items()}

    first = plan.ordered[: min(params.batch, 4)]
    loss = loop.choose_loss(model, on_device(first, False))
    if params.processes > 1:
        loss = loop.full_loss  # whole forward passes: what data parallel and ZeRO hook into
    if params.packing:
        loop.check_packing(model, loss, on_device(first, False), on_device(first, True))
    if params.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    longest = max(plan.ordered, key=lambda row: len(row["input_ids"]))
    try:
        kept = preflight.count_kept(model, loss, on_device([longest], params.packing))
    except (RuntimeError, MemoryError) as error:
        if not loop.is_out_of_memory(error):
            raise
        raise StepError(
            f"the longest row ({len(longest['input_ids'])} tokens) does not fit into memory ({str(error).splitlines()[0]}): "
            "lower --max-length, take --gradient-checkpointing or --quantise nf4"
        ) from error
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parts = preflight.choose_parts(device, params.batch, trained, kept)
    if parts > 1 and params.processes > 1:
        fitting = params.batch // parts
        raise StepError(
            f"--batch {params.batch} does not fit: set --batch {fitting} --accumulation {params.accumulation * parts}"
        )
    return loss, parts


def fit(params: Params, folder: Path, model, tokenizer, plan: Plan, device: str, callbacks=()) -> dict[str, Any]:
    """Train `model` in place; return the log's points and this attempt's figures. `folder` keeps the checkpoints."""
    from transformers import PrinterCallback

    from legal_tasks.training import distributed
    from legal_tasks.training import trainer as loop
    from legal_tasks.training.guard import Guard, Validator, bring_back

    per_update = params.batch * params.accumulation
    fingerprint = describe(params, plan.updates)
    every = max(1, plan.updates // POINTS)
    whole = loop.WHOLE_UPDATES
    arguments = loop.make_arguments(
        folder,
        device,
        per_device_train_batch_size=per_update if whole else params.batch,
        gradient_accumulation_steps=1 if whole else params.accumulation // params.processes,
        learning_rate=params.learning_rate,
        warmup_steps=min(params.warmup, plan.updates // 2),
        lr_scheduler_type=params.schedule,
        logging_steps=every,
        save_steps=-(-params.save_updates // every) * every,
        seed=params.seed,
        **distributed.arguments(params.zero),
    )
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    loss, parts = choose(params, model, plan, pad, device)
    guard = Guard(params.spike)
    follower = loop.Follower([len(row["input_ids"]) for row in plan.ordered], per_update, plan.epochs, fingerprint)
    trainer = (loop.WholeTrainer if whole else loop.LoraTrainer)(
        model=model,
        args=arguments,
        train_dataset=plan.ordered,
        data_collator=make_collator(params, pad),
        callbacks=[guard, follower, *callbacks],
        loss=loss,
        guard=guard,
        parts=parts * (params.accumulation if whole else 1),
    )
    trainer.remove_callback(PrinterCallback)

    def measure() -> float:
        return loop.mean_loss(trainer.model_wrapped, loss, plan.validation.rows, 4 * params.batch, pad, trainer.args.device)

    best = folder / "best.safetensors"
    if params.evaluate_updates and plan.validation.rows:
        trainer.add_callback(Validator(params.evaluate_updates, params.early_stopping, measure, best))
    before = measure()
    checkpoint = checkpoints.newest(folder, fingerprint)
    resumed = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    if checkpoint:
        print(f"resumed from step {resumed} of {plan.updates}: {checkpoint}", flush=True)
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - started
    measured = {e["step"]: e["validation_loss"] for e in trainer.state.log_history if "validation_loss" in e}
    if params.early_stopping and measured:
        bring_back(model, best)
    after = measure()
    points = [loop.make_point(entry, plan.epochs) for entry in trainer.state.log_history if "loss" in entry]
    done = trainer.state.global_step
    tokens = follower.tokens[done] - follower.tokens[resumed]
    return {
        "points": points,
        "measured": measured,
        "best": min(measured, key=lambda step: measured[step]) if params.early_stopping and measured else None,
        "before": before,
        "after": after,
        "seconds": seconds,
        "saving": trainer.saving_s + follower.sealing_s,
        "speed": tokens / seconds if tokens else None,
        "tokens": follower.tokens[done],
        "updates": done,
        "resumed": resumed,
        "loss": loss.__name__,
        "parts": trainer.parts // (params.accumulation if whole else 1),
    }


def run(params: Params, callbacks=()) -> Report:
    """`callbacks`: further Trainer callbacks, for who calls this from Python."""
    from legal_tasks.training import card, distributed

    if distributed.is_child():
        return train(params, callbacks)
    work = params.checkpoints or work_folder()
    card.curves([])  # what draws the card is loaded while there is memory for it, not after hours of training
    if params.environment:
        inside = replace(params, environment="", checkpoints=work.absolute())
        report = Report(**elsewhere.run("legal_tasks.training.lora:train", inside, params.environment, work))
    else:
        report = distributed.launch(params, work) if params.processes > 1 else train(params, callbacks)
    card.write(params.output / card.FOLDER, params, asdict(report), card.read_points(params.output / report.log))
    return report


def train(params: Params, callbacks=()) -> Report:
    """Train in this process (of one or of several) and write the artifact."""
    import torch
    from transformers import set_seed

    from legal_tasks.training import distributed, llamafactory, preflight
    from legal_tasks.training.chat import template_hash

    work = params.checkpoints or work_folder()
    threads = params.threads or max(1, len(os.sched_getaffinity(0)) // params.processes)
    torch.set_num_threads(threads)
    device = choose_device(params.device)
    folder = bases.resolve(params.base, params.remote_code)
    preflight.check_weights(folder, device, NF4_BYTES if params.quantise == "nf4" else BYTES[device])
    model, tokenizer = load_base(folder, device, params.max_length, params.quantise, params.remote_code)
    params = replace(params, targets=map_targets(model, params.targets))
    plan = make_plan(params, tokenizer)
    show_example(tokenizer, plan.ordered[0])
    set_seed(params.seed)
    size = model.num_parameters()
    model = add_adapter(model, params)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    work.mkdir(parents=True, exist_ok=True)
    preflight.check_disk([work, params.output], trained)
    print(f"{plan.records} records, {plan.updates} updates, {plan.epochs:.2f} epochs, {threads} threads", flush=True)
    if params.backend == "llamafactory":
        result = llamafactory.fit(params, work, model, tokenizer, plan, device)
    else:
        result = fit(params, work, model, tokenizer, plan, device, callbacks)
    points = result["points"]
    for point in points:
        if point["step"] in result["measured"]:
            point["validation_loss"] = result["measured"][point["step"]]
    with checkpoints.explain_full_disk(params.output), distributed.gathered(model, params.zero):
        if distributed.is_first():
            save(params.output, model, tokenizer, points, params.base)
    tail = points[-max(1, len(points) // 10) :]
    return Report(
        records=plan.records,
        validation_records=len(plan.validation.rows),
        left_out=dict(plan.train.left_out),
        truncated=plan.train.truncated,
        updates=result["updates"],
        epochs=round(plan.epochs * result["updates"] / plan.updates, 3),
        tokens=result["tokens"],
        learned_tokens=plan.train.learned_tokens,
        base_parameters=size,
        trained_parameters=trained,
        train_loss=sum(point["loss"] for point in tail) / len(tail),
        validation_loss_before=result["before"] if plan.validation.rows else None,
        validation_loss=result["after"] if plan.validation.rows else None,
        seconds=round(result["seconds"], 3),
        tokens_per_s=result["speed"],
        resumed_at=result["resumed"],
        threads=threads,
        device=device,
        points=len(points),
        base=name_of(params.base),
        base_digest=digest_path(folder),
        data_digest=digest_path(params.data),
        template_sha256=template_hash(tokenizer),
        loss=result["loss"],
        parts=result["parts"],
        saving_seconds=round(result["saving"], 3),
        best_update=result["best"],
        backend=params.backend,
    )


def name_of(base: str) -> str:
    """A base's name without its place on this machine."""
    return Path(base).name if base not in bases.EMBEDDED and Path(base).exists() else base


def sort_modules(path: Path) -> None:
    """PEFT keeps names of modules as a set and writes it in the order of this process's hashes: the same adapter, other bytes."""
    content = json.loads(path.read_text("utf-8"))
    content = {name: sorted(value) if isinstance(value, list) else value for name, value in content.items()}
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", "utf-8")


def save(output: Path, model, tokenizer, points: list[dict[str, Any]], base: str) -> None:
    """adapter/ (safetensors and its configuration, no place of this machine in it) and log.jsonl."""
    for config in model.peft_config.values():
        config.base_model_name_or_path = name_of(base)
    model.save_pretrained(output / "adapter", save_embedding_layers=False)
    (output / "adapter" / "README.md").unlink(missing_ok=True)
    sort_modules(output / "adapter" / "adapter_config.json")
    tokenizer.save_pretrained(output / "adapter")
    lines = [json.dumps(point) for point in points]
    (output / "log.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main("legal_tasks.training.lora"))
