"""Before a training starts: do the weights, the batch and the checkpoints fit into memory and on disk?

Activations are not guessed from a formula: one forward pass on the longest row, with the tensors that autograd keeps
counted, holds for whatever architecture the base has.
"""

from __future__ import annotations

import resource
import shutil
from pathlib import Path
from typing import Any

from legal_tasks.step import StepError

GIB = 2**30
ADAM_BYTES = 12  # per trained parameter in float32: gradient and the two moments
SAVED_BYTES = 12  # per trained parameter in a checkpoint: weight and the two moments
CHECKPOINTS = 3  # two are kept while a third is written
BACKWARD = 1.25  # largest gradient of an activation on top of the activations themselves


def show(size: float) -> str:
    return f"{size / GIB:.2f} GiB" if size >= GIB / 10 else f"{size / 2**20:.1f} MiB"


def free_memory(device: str) -> tuple[int, str]:
    """(bytes that this process may still take, what bounds them) of a card, or of this machine, container or ulimit."""
    if device == "cuda":
        import torch

        return torch.cuda.mem_get_info()[0], f"the card {torch.cuda.get_device_name()}"
    bounds = [(_meminfo("MemAvailable"), "this machine")]
    own = {line.split(":")[0]: int(line.split()[1]) << 10 for line in _lines("/proc/self/status") if line.startswith("Vm")}
    for limit, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        soft = resource.getrlimit(limit)[0]
        if soft != resource.RLIM_INFINITY:
            bounds.append((soft - own[used], "the process's own limit (ulimit)"))
    bounds += _cgroup()
    return min(bounds)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _meminfo(name: str) -> int:
    return next(int(line.split()[1]) << 10 for line in _lines("/proc/meminfo") if line.startswith(name + ":"))


def _cgroup() -> list[tuple[int, str]]:
    """What memory.max of this process's control groups (version 2) still leaves."""
    found = []
    place = next((line[3:] for line in _lines("/proc/self/cgroup") if line.startswith("0::")), None)
    folder = Path("/sys/fs/cgroup") / (place or "").strip("/")
    while place is not None and folder.is_relative_to("/sys/fs/cgroup"):
        bound, used = folder / "memory.max", folder / "memory.current"
        if bound.is_file() and used.is_file() and bound.read_text().strip() != "max":
            cache = [int(line.split()[1]) for line in _lines(str(folder / "memory.stat")) if line.startswith("inactive_file ")]
            found.append((int(bound.read_text()) - int(used.read_text()) + sum(cache), "the container's limit (memory.max)"))
        folder = folder.parent
    return found


def check_weights(folder: Path, device: str, bytes_per_parameter: float) -> int:
    """Bytes that the base's weights will take, from the safetensors headers; StepError if they cannot fit."""
    from safetensors import safe_open

    parameters = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118  (safe_open is no mapping)
                size = 1
                for extent in file.get_slice(name).get_shape():
                    size *= extent
                parameters += size
    needed = int(parameters * bytes_per_parameter)
    free, where = free_memory(device)
    if needed > free:
        raise StepError(
            f"the base's {parameters / 1e9:.2f} billion parameters take {show(needed)}, {where} has {show(free)} free: "
            "choose a smaller --base, or on a card --quantise nf4 (a quarter of bfloat16)"
        )
    return needed


def count_kept(model, loss, batch: dict[str, Any]) -> int:
    """Bytes that autograd keeps for the backward pass of `batch`, weights aside. Changes no random state."""
    import torch

    weights = {tensor.untyped_storage().data_ptr() for tensor in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    devices = [model.device] if model.device.type == "cuda" else []
    training = model.training
    model.train()
    with torch.random.fork_rng(devices=devices), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss(model, **batch)
    del value
    model.train(training)
    return sum(kept.values())


def choose_parts(device: str, batch: int, trained: int, row_bytes: int) -> int:
    """In how many parts each batch must be computed so that it fits: 1 where all is well. StepError if one row does not.

    `trained`: parameters that learn; `row_bytes`: what the longest row keeps.
    """
    free, where = free_memory(device)
    fixed = trained * ADAM_BYTES
    parts = 1
    while fixed + BACKWARD * row_bytes * -(-batch // parts) > free:
        if parts >= batch:
            raise StepError(
                f"one row of the longest length takes {show(BACKWARD * row_bytes)} and the optimiser {show(fixed)}, "
                f"{where} has {show(free)} free: lower --max-length, take --gradient-checkpointing, or lower --r"
            )
        parts *= 2
    if parts > 1:
        whole = fixed + BACKWARD * row_bytes * batch
        print(
            f"a batch of {batch} takes about {show(whole)}, {where} has {show(free)} free: computing it in {parts} parts "
            "(the effective batch stays)",
            flush=True,
        )
    return parts


def check_disk(folders: list[Path], trained: int) -> None:
    """StepError where the checkpoints would not fit: numbers, and what to set."""
    needed = trained * SAVED_BYTES * CHECKPOINTS + (64 << 20)
    for folder in folders:
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise StepError(
                f"{folder} has {show(free)} free, checkpoints and adapter need {show(needed)}: "
                "make room, name another disk by --checkpoints or LEXLOOP_STORE, or lower --r"
            )
