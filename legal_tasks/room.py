"""A full disk told as what it is: where, how much is free, how much the step needs."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
from pathlib import Path

# The libraries that write weights wrap the system's error in words of their own.
WORDS = re.compile(r"No space left on device|File too large|Disk quota exceeded|os error (27|28|122)\b|file write failed", re.I)
NUMBERS = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, says that a file could not grow."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if getattr(error, "errno", None) in NUMBERS or WORDS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


class Reserve:
    """Room kept back in a file of `size` bytes, given up where something small must be written although the disk is full."""

    def __init__(self, path: Path, size: int):
        self.path, self.size = path, size

    def keep(self) -> None:
        """Have the room, as long as there is much more of it."""
        try:
            if not self.path.exists() and shutil.disk_usage(self.path.parent).free > 16 * self.size:
                with open(self.path, "wb") as file:
                    os.posix_fallocate(file.fileno(), 0, self.size)
        except OSError:  # somebody else took it meanwhile
            self.path.unlink(missing_ok=True)

    def give_up(self) -> None:
        """Make room if there is none."""
        if self.path.exists() and shutil.disk_usage(self.path.parent).free < self.size:
            self.path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Bytes of a file, or of the files below a folder; 0 where there is none."""
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


def made_before(root: Path, step: str) -> int:
    """Bytes of the largest artifact that this step has left in the store, 0 where there is none."""
    found = [path.parent for path in root.glob(f"{step}/*/manifest.json")]
    return max((size_of(folder) for folder in found), default=0)


def explain(step: str, root: Path, written: int, inputs: int) -> str:
    """One sentence for who must make room.

    `written`: bytes that the step had written when it failed; `inputs`: bytes that it reads. What it needs is known from its
    earlier results; where there is none, what it reads is the guess.
    """
    need, basis = made_before(root, step), "its largest earlier result"
    if need <= written:
        need, basis = (
            max(inputs, written + 1),
            "what it reads" if inputs > written else "it had written nearly that when it failed",
        )
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    bound = "" if limit == resource.RLIM_INFINITY else f"; a file may hold {limit} bytes at most here (ulimit -f)"
    return (
        f"no room left in {root}: {step} needs about {need} bytes ({basis}), {shutil.disk_usage(root).free} are free{bound}; "
        "make room (make gc) or set LEXLOOP_STORE to a larger disk, then run it again: what is finished is kept"
    )
