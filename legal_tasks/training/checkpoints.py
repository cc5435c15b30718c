"""Checkpoints of a training in progress: hashed, marked complete last, resumed only where they fit."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from legal_tasks import room
from legal_tasks.artifacts import canonical, list_files, sha256_file, sha256_text
from legal_tasks.step import StepError

MARKER = "COMPLETE"
ALMOST_NOTHING = 1 << 20  # bytes: a disk with less left is full, whatever the writer called it


def seal(folder: Path, fingerprint: dict[str, Any]) -> None:
    """Write the marker: sha256 of each file, and what the checkpoint may be resumed by. The last act of saving."""
    files = {path.relative_to(folder).as_posix(): sha256_file(path) for path in list_files(folder) if path.name != MARKER}
    temporary = folder / (MARKER + ".part")
    temporary.write_text(json.dumps({"fingerprint": sha256_text(canonical(fingerprint)), "files": files}), "utf-8")
    os.replace(temporary, folder / MARKER)


def fault(folder: Path, fingerprint: dict[str, Any]) -> str | None:
    """Why a checkpoint cannot be resumed, or None."""
    marker = folder / MARKER
    if not marker.is_file():
        return "it was not finished"
    try:
        content = json.loads(marker.read_text("utf-8"))
        files, made_by = content["files"], content["fingerprint"]
    except (ValueError, KeyError, TypeError):
        return "its marker cannot be read"
    if made_by != sha256_text(canonical(fingerprint)):
        return "it belongs to other data, another base or other settings"
    for name, digest in files.items():
        path = folder / name
        if not path.is_file() or sha256_file(path) != digest:
            return f"its {name} is missing or was changed"
    return None


def newest(folder: Path, fingerprint: dict[str, Any]) -> Path | None:
    """The newest checkpoint that fits; those that cannot be resumed are told and removed."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    chosen = None
    for path in found:
        reason = fault(path, fingerprint)
        if reason is not None:
            print(f"{path.name} is not resumed: {reason}", flush=True)
            shutil.rmtree(path)
        elif chosen is None:
            chosen = path
    return chosen


@contextmanager
def explain_full_disk(folder: Path, broken: Path | None = None) -> Iterator[None]:
    """Turn what a full disk makes of writing into `folder` into a StepError; what was half written (`broken`) goes."""
    try:
        yield
    except Exception as error:  # every writer has its own: OSError, PyTorch's RuntimeError, safetensors' SafetensorError
        full = "os error 28" in str(error) or getattr(error, "errno", None) == errno.ENOSPC
        if not full and shutil.disk_usage(folder).free > ALMOST_NOTHING:
            raise
        free, written = shutil.disk_usage(folder).free, room.size_of(broken or folder)
        if broken is not None:
            shutil.rmtree(broken, ignore_errors=True)
        whole = max((room.size_of(path.parent) for path in folder.glob(f"checkpoint-*/{MARKER}")), default=0)
        basis = "a whole checkpoint" if whole > written else "it had written nearly that when it failed"
        raise StepError(
            f"no room left in {folder}: training.lora needs about {max(whole, written + 1)} bytes ({basis}), {free} are free; "
            "the disk is full: make room (make gc) and start again, the training goes on from its newest whole checkpoint"
        ) from error
