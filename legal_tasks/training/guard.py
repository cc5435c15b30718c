"""What stops a training that has gone wrong, or has gone far enough: numbers that are none, spikes, no more progress."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from transformers import TrainerCallback

from legal_tasks.step import StepError

HISTORY = 50  # updates whose median a spike is measured against
FIRST = 20  # updates that must be seen before a spike can be told
# Updates in a row that must lie above: batches hold rows of like length, so a kind of rows that the base has never seen is far
# off by itself. A kind that makes up a quarter of the batches comes three times in a row in every training, ten times in none.
LASTING = 10
SHOWN = 12  # lines of a batch that a message names


def name_lines(lines: list[int]) -> str:
    """The rows of a batch by their lines in train.jsonl."""
    shown = ", ".join(map(str, lines[:SHOWN])) + (f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else "")
    return f"line{'s' if len(lines) > 1 else ''} {shown} of train.jsonl"


class Guard(TrainerCallback):
    """Stops before the optimiser takes a step on a loss or gradient that is no number, or on one that has leapt up and stays.

    `spike`: how far (nats per token) the loss of `LASTING` updates in a row may lie above the median of the last `HISTORY`
    that did not leap; 0 = any.
    """

    def __init__(self, spike: float):
        self.spike = spike
        self.seen: list[tuple[torch.Tensor, list[int]]] = []  # (share of the update's loss, lines) per forward pass
        self.history: deque[float] = deque(maxlen=HISTORY)
        self.leapt: list[tuple[int, float, list[int]]] = []  # (update, loss, lines) in a row

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        parts, self.seen = self.seen, []
        if not parts:
            return
        update = state.global_step + 1
        advice = f"lower --learning-rate (now {args.learning_rate:g}) or raise --warmup; the last good checkpoint is kept"
        for loss, lines in parts:
            if not math.isfinite(float(loss)):
                raise StepError(
                    f"the loss became {float(loss)} at update {update}: it is the batch of {name_lines(lines)}; "
                    f"look at these records and at the base's weights, or {advice}"
                )
        every = [line for _, lines in parts for line in lines]
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if gradients and not bool(torch.stack(torch._foreach_norm(gradients)).isfinite().all()):
            raise StepError(f"the gradient became no number at update {update}, on {name_lines(every)}; {advice}")
        loss = sum(float(part) for part, _ in parts)
        usual = median(self.history) if len(self.history) >= FIRST else math.inf
        if not self.spike or loss <= usual + self.spike:
            self.leapt.clear()
            self.history.append(loss)
            return
        self.leapt.append((update, loss, every))
        if len(self.leapt) >= LASTING:
            first, height, lines = self.leapt[0]
            raise StepError(
                f"the loss leapt to {height:.3f} at update {first} (median of the last {len(self.history)}: {usual:.3f}, "
                f"--spike {self.spike:g}) and stayed there, on {name_lines(lines)}; look at these records, {advice}"
            )


class Validator(TrainerCallback):
    """Measures the validation loss every so many updates; stops after `patience` measurements without a better one.

    The measurements stand in the Trainer's own log, so they travel with its checkpoints. The best adapter is kept in
    `best`, written beside and renamed. `measure()` gives nats per token; patience 0 = never stop.
    """

    def __init__(self, every: int, patience: int, measure: Callable[[], float], best: Path):
        self.every, self.patience, self.measure, self.best = every, patience, measure, best

    def on_step_end(self, args, state, control, model=None, **_):
        if state.global_step % self.every:
            return
        state.log_history.append({"step": state.global_step, "validation_loss": self.measure()})
        losses = [entry["validation_loss"] for entry in state.log_history if "validation_loss" in entry]
        print(f"validation loss {losses[-1]:.4f} at update {state.global_step}", flush=True)
        since = len(losses) - 1 - losses.index(min(losses))
        if not self.patience:
            return
        if since == 0 and state.is_world_process_zero:
            keep(model, self.best)
        if since >= self.patience:
            print(f"no better validation loss for {since} measurements: stopping at update {state.global_step}", flush=True)
            control.should_training_stop = True


def keep(model, path: Path) -> None:
    """Write the trainable weights to `path` (safetensors), beside and renamed."""
    from safetensors.torch import save_file

    part = path.with_name(path.name + ".part")
    save_file({name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if p.requires_grad}, part)
    os.replace(part, path)


def bring_back(model, path: Path) -> None:
    """Put weights that `keep` wrote back into the model."""
    from safetensors.torch import load_file

    weights = load_file(path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])
