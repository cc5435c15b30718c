"""What the reading of a user's file may cost, and what is said of a file that costs more.

Time is the processor's, not the clock's: a machine that is busy with other work sets nothing aside. A bound grows with the file,
and is many times what an honest file needs on a slow machine (architecture.md has the table).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MIB = 1 << 20
BASE_S, PER_MIB_S, MOST_S = 10.0, 60.0, 900.0  # processor seconds of one file: at least, per MiB of it, at most
MEMORY = 1 << 30  # bytes that reading one file may take, beside the reader itself, and four times the file
MOST_FILE = 2 << 30  # bytes of a file that is read as a whole
MOST_RATIO, FREE = 200, 16 * MIB  # what comes out of a packed file: MOST_RATIO times its bytes; the first FREE bytes are free
ROW = 16  # bytes that a row counts at least where the rows of a table are counted
DEEPEST = 100  # brackets within each other in one record
TEXT_S, TEXT_PER_MIB_S = 2.0, 10.0  # processor seconds for what looks at one text: at least, per MiB of characters


class TooCostly(Exception):
    """An item is set aside for what it costs: the message names the bound, its value and what was measured."""

    def __init__(self, why: str, reason: str = "too_costly") -> None:
        super().__init__(why)
        self.reason = reason


def cpu_s(size: int) -> float:
    """Processor seconds that reading a file of so many bytes may take."""
    return min(MOST_S, BASE_S + PER_MIB_S * size / MIB)


def text_s(size: int) -> float:
    """Processor seconds for what looks at a text of so many characters."""
    return TEXT_S + TEXT_PER_MIB_S * size / MIB


def check_size(size: int) -> None:
    """TooCostly where a file is too large to be read as a whole."""
    if size > MOST_FILE:
        raise TooCostly(
            f"size: {size:,} bytes, bound {MOST_FILE:,}: split it, or make it JSON Lines, which are read line by line"
        )


def check_expansion(out: int, size: int, what: str) -> None:
    """TooCostly where `out` bytes are too many for what came out of `size`."""
    bound = max(FREE, MOST_RATIO * max(1, size))
    if out > bound:
        raise TooCostly(f"expansion: {what} are {out:,} bytes out of {size:,}, bound {bound:,} ({MOST_RATIO} for one)")


def depth_of(value: Any) -> int:
    """How many lists and mappings lie within each other at most; 0 for anything else. Needs no stack."""
    level, depth = [value] if isinstance(value, list | dict) else [], 0
    while level:
        depth += 1
        parts = (part for one in level for part in (one.values() if isinstance(one, dict) else one))
        level = [part for part in parts if isinstance(part, list | dict)]
    return depth


def check_depth(value: Any) -> None:
    """TooCostly (too_deep) where lists and mappings lie within each other more than DEEPEST times."""
    if (depth := depth_of(value)) > DEEPEST:
        raise too_deep(depth)


def too_deep(measured: int) -> TooCostly:
    return TooCostly(f"depth: {measured:,} lists or objects within each other, bound {DEEPEST}", "too_deep")


@contextmanager
def alarm(seconds: float, what: str) -> Iterator[None]:
    """TooCostly once the body has used so many processor seconds; `what` names the work.

    Python's own code and its regular expressions are interrupted, a long call into another library only at its end. Outside the
    main thread there is no signal, and no bound.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: Any) -> None:
        raise TooCostly(f"processor time: more than {seconds:.1f} s for {what}, bound {seconds:.1f} s")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
