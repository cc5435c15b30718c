"""Transformers' Trainer with our loss, our row order and a live, gap-free log.

The Trainer sees one epoch whose rows `rows.order` has laid out in advance, so that resuming means skipping the first
rows of a fixed list. Only what teaches is computed: the output layer runs on the positions that have a label.
"""

from __future__ import annotations

import gc
import math
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers
from torch.nn.functional import cross_entropy
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments

from legal_tasks import tracking
from legal_tasks.step import StepError, progress
from legal_tasks.training import checkpoints, child
from legal_tasks.training.chat import IGNORED
from legal_tasks.training.guard import Guard
from legal_tasks.training.rows import Row, collate, cut

WHOLE_UPDATES = int(transformers.__version__.partition(".")[0]) < 5  # see WholeTrainer


def answer_loss(model, input_ids, labels, **positions) -> torch.Tensor:
    """Summed cross-entropy (nats) of the labelled tokens of a batch, shape ().

    `model` is a causal language model or a PEFT wrapping of one. The output layer is applied to the labelled positions
    only: with short answers to long questions that saves most of its work, which in small models is most of all.
    `positions`: position_ids where rows are joined.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    states = causal.base_model(input_ids=input_ids, use_cache=False, **positions).last_hidden_state
    targets = labels[:, 1:]
    chosen = targets != IGNORED
    logits = causal.get_output_embeddings()(states[:, :-1][chosen]).float()
    return cross_entropy(logits, targets[chosen], reduction="sum")


def full_loss(model, input_ids, labels, **positions) -> torch.Tensor:
    """The same number from the model's own forward pass: for architectures that do more than hidden state x matrix."""
    logits = model(input_ids=input_ids, use_cache=False, **positions).logits[:, :-1].float()
    return cross_entropy(logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), ignore_index=IGNORED, reduction="sum")


def choose_loss(model, batch: dict[str, torch.Tensor]) -> Callable[..., torch.Tensor]:
    """`answer_loss` if this model's own forward pass gives the same on `batch` (1e-4 relative), else `full_loss`.

    Some architectures scale or cap their logits after the output layer; they are recognised by the number. Others, with
    programs of their own, name no output layer or keep the hidden states in another order (ChatGLM).
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            short, full = float(answer_loss(model, **batch)), float(full_loss(model, **batch))
    except (AttributeError, IndexError, TypeError, ValueError):  # what answer_loss asks for, the model does not have
        return full_loss
    finally:
        model.train(training)
    return answer_loss if math.isclose(short, full, rel_tol=1e-4) else full_loss


def check_packing(model, loss: Callable, padded: dict[str, torch.Tensor], joined: dict[str, torch.Tensor]) -> None:
    """StepError where this model's joined rows do not give the loss of separate ones: they would see one another."""
    training = model.training
    model.eval()
    with torch.no_grad():
        apart, together = float(loss(model, **padded)), float(loss(model, **joined))
    model.train(training)
    tolerance = 1e-4 if next(model.parameters()).dtype == torch.float32 else 2e-2
    if not math.isclose(apart, together, rel_tol=tolerance):
        raise StepError(
            f"--packing: joined rows give a loss of {together:.6g}, separate ones {apart:.6g}: the attention of "
            f"{type(model).__name__} does not keep rows apart; leave --packing off"
        )


def mean_loss(model, loss: Callable, rows: Sequence[Row], batch: int, pad: int, device) -> float:
    """Cross-entropy per labelled token (nats) over all rows, without dropout; NaN for no rows.

    Where `batch` rows do not fit into memory, fewer are computed together.
    """
    training = model.training
    model.eval()
    total, tokens, start = 0.0, 0, 0
    ordered = sorted(rows, key=lambda row: len(row["input_ids"]))
    while start < len(ordered):
        tensors = {name: value.to(device) for name, value in collate(ordered[start : start + batch], pad).items()}
        try:
            with torch.no_grad():
                total += float(loss(model, **tensors))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or batch == 1 or torch.distributed.is_initialized():
                raise
            batch //= 2
            continue
        tokens += int((tensors["labels"][:, 1:] != IGNORED).sum())
        start += batch
    model.train(training)
    return total / tokens if tokens else math.nan


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: a card's allocator, the CPU's, or Python's own."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in said or "could not create a memory" in said)
    )


class LoraTrainer(Trainer):
    """Trainer whose loss is the sum over labelled tokens, divided by those of the whole update.

    A batch that does not fit into memory is computed again in two halves, four quarters, ... down to single rows; the
    update stays that of the whole batch, because losses are sums. `parts`: in how many it begins.
    """

    loss_is_scaled_for_ga = True

    def __init__(self, *arguments, loss: Callable, guard: Guard, parts: int = 1, **options):
        self.summed_loss, self.guard, self.parts = loss, guard, parts
        self.saving_s = 0.0
        super().__init__(*arguments, **options)
        self.model_accepts_loss_kwargs = True  # makes the Trainer count the labelled tokens of an update

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = self.summed_loss(model, **inputs) / num_items_in_batch
        if self.args.world_size > 1:
            loss = loss * self.args.world_size  # gradients are averaged over processes, the tokens are counted over all
        return (loss, None) if return_outputs else loss

    def training_step(self, model, inputs, num_items_in_batch=None):
        inputs = dict(inputs)
        lines = inputs.pop("lines").tolist()
        before = [p.grad.clone() if p.grad is not None else None for p in model.parameters() if p.requires_grad]
        while True:
            pieces = [inputs] if self.parts == 1 else cut(inputs, self.parts)
            try:
                losses = [self._learn(model, piece, num_items_in_batch) for piece in pieces]
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                said = str(error).splitlines()[0] if str(error) else "out of memory"
            # Out of the handler, so that the error no longer holds the tensors of the failed pass.
            self._take_less(model, before, len(lines), said)
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        self.guard.seen.append((loss.detach(), lines))
        return loss

    def _learn(self, model, piece, labels) -> torch.Tensor:
        """Loss and gradient of a part of a batch, as a share of the update's `labels`."""
        return super().training_step(model, piece, labels)

    def _get_train_sampler(self, *_):
        return SequentialSampler(self.train_dataset)

    def _take_less(self, model, before, rows: int, said: str) -> None:
        """Undo the failed pass and double the number of parts; StepError where single rows did not fit."""
        if self.parts >= rows or self.args.world_size > 1:
            raise StepError(
                f"out of memory with {-(-rows // self.parts)} rows on a device ({said}): lower --batch or --max-length, "
                "or take --gradient-checkpointing; the last good checkpoint is kept"
            )
        for parameter, gradient in zip((p for p in model.parameters() if p.requires_grad), before, strict=True):
            parameter.grad = gradient.clone() if gradient is not None else None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.parts *= 2
        print(f"out of memory ({said}): each batch of {rows} is now computed in {self.parts} parts", flush=True)

    def _save_checkpoint(self, model, trial, *rest, **more):
        started = time.monotonic()
        broken = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with checkpoints.explain_full_disk(Path(self.args.output_dir), broken):
            super()._save_checkpoint(model, trial, *rest, **more)
        self.saving_s += time.monotonic() - started


class WholeTrainer(LoraTrainer):
    """LoraTrainer for transformers 4.41, whose Trainer drops an update that is not full, counts no labels and tells no guard.

    Each of its batches is a whole update here, computed in parts.
    """

    def training_step(self, model, inputs, num_items_in_batch=None):
        return super().training_step(model, inputs, int((inputs["labels"][:, 1:] != IGNORED).sum()))

    def _learn(self, model, piece, labels) -> torch.Tensor:
        self.labels = labels
        return Trainer.training_step(self, model, piece)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return super().compute_loss(model, inputs, return_outputs, self.labels)

    def create_optimizer(self):
        optimizer = super().create_optimizer()
        optimizer.register_step_pre_hook(
            lambda *_: self.guard.on_pre_optimizer_step(self.args, self.state, self.control, model=self.model)
        )
        return optimizer

    def _load_rng_state(self, checkpoint):
        state = (numpy._core.multiarray._reconstruct, numpy.ndarray, numpy.dtype, numpy.dtypes.UInt32DType)
        with torch.serialization.safe_globals([*state]):
            super()._load_rng_state(checkpoint)


class Follower(TrainerCallback):
    """Tells each logged point at once and seals each checkpoint."""

    def __init__(self, lengths: Sequence[int], batch: int, epochs: float, fingerprint: dict[str, Any]):
        self.tokens = [0]
        for start in range(0, len(lengths), batch):
            self.tokens.append(self.tokens[-1] + sum(lengths[start : start + batch]))
        self.epochs, self.fingerprint = epochs, fingerprint
        self.last: tuple[int, float] | None = None
        self.sealing_s = 0.0

    def on_step_begin(self, args, state, control, **_):
        if self.last is None:
            self.last = (state.global_step, time.monotonic())

    def on_log(self, args, state, control, logs=None, **_):
        if not logs or "loss" not in logs:
            return
        step, now = state.global_step, time.monotonic()
        point = make_point({**logs, "step": step}, self.epochs)
        before, then = self.last or (0, now)
        speed = (self.tokens[step] - self.tokens[before]) / max(now - then, 1e-9)
        self.last = (step, now)
        progress(step, state.max_steps, loss=point["loss"], lr=point["learning_rate"], tokens_per_s=speed, gib=memory_gib())
        numbers = {name: point[name] for name in ("loss", "learning_rate", "epoch")} | {"tokens_per_s": speed}
        if child.is_child():
            if state.is_world_process_zero:
                child.tell_point(step, numbers)
        else:
            tracking.log_metrics(numbers, step=step)

    def on_save(self, args, state, control, **_):
        together = torch.distributed.is_initialized()
        if together:
            torch.distributed.barrier()  # every process has written its share
        if state.is_world_process_zero:
            started = time.monotonic()
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            with checkpoints.explain_full_disk(folder.parent, folder):
                checkpoints.seal(folder, self.fingerprint)
            self.sealing_s += time.monotonic() - started
        if together:
            torch.distributed.barrier()


def memory_gib() -> float:
    """The most memory taken so far: of the card where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts KiB


def make_point(entry: dict[str, Any], epochs: float) -> dict[str, Any]:
    """One line of log.jsonl from the Trainer's entry; its epoch counts the whole training as one, ours does not."""
    return {
        "step": entry["step"],
        "epoch": round(entry["epoch"] * epochs, 4),
        "loss": entry["loss"],
        "learning_rate": entry["learning_rate"],
        "gradient_norm": entry.get("grad_norm"),
    }


def make_arguments(folder: Path, device: str, **values) -> TrainingArguments:
    """TrainingArguments without anything that reaches outside or depends on the machine."""
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        logging_strategy="steps",
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_total_limit=2,
        eval_strategy="no",
        dataloader_num_workers=0,
        use_cpu=device == "cpu",
        bf16=device == "cuda" and torch.cuda.is_bf16_supported(),
        **values,
    )
