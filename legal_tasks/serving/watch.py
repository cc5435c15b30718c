"""Whether an engine still works: judged by what it gets done, never by how long somebody waits for it.

A busy engine lets a question wait for minutes and is well; a frozen one answers /health and is not. So its own counters (tokens,
requests, steps of its scheduler) are read again and again. While they move, it works, and it is not asked anything. While they
stand still, one token is asked for: an idle engine gives it at once. It is out when

- its counters stand still for STALL_S although that question, or others, are under way,
- or it answers not even /health for STALL_S,
- or three such questions in a row end in an error.

Time in which the watch itself was not run (a machine that slept, or was stopped) does not count.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from legal_tasks.step import StepError

EVERY_S = 1.0
ASK_EVERY_S = 3.0  # an engine that stands still is asked for a token
STALL = "LEXLOOP_ENGINE_STALL_S"
STALL_S = 15.0  # no step of the engine may take so long
BLIND_S = 60.0  # the same for an engine that tells no counters: its own questions are all that is known of it
LATE_S = 5.0  # more than that between two looks was not the engine's time
FAILED = 3
DOUBT_S = 6.0  # after which it counts as not ready


def stall_limit() -> float:
    """Seconds without progress after which an engine is out, from LEXLOOP_ENGINE_STALL_S; StepError where that is no number."""
    text = os.environ.get(STALL, str(STALL_S))
    try:
        if 1 <= (seconds := float(text)) <= 3600:
            return seconds
    except ValueError:
        pass
    raise StepError(f"{STALL} must be seconds from 1 to 3600, got {text!r}")


@dataclass(frozen=True)
class Reading:
    """What a look at an engine told. `counters`: None where they could not be read now, or where it has none."""

    answers: bool
    counters: dict[str, float] | None = None


def in_background(call: Callable[[], Any]) -> Future:
    """The future result of a call that may hang: its thread keeps no process alive."""
    future: Future = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # it is raised again where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


class Watch:
    """`look` reads an engine cheaply, `ask` asks it for one token and returns None or what is wrong, in its own time.

    `fault` is why the engine must go, or None; `well` says whether it seems to work; `worked`, whether it has done anything yet.
    """

    def __init__(
        self,
        look: Callable[[], Reading],
        ask: Callable[[], Future],
        stall_s: float = STALL_S,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.look, self.ask, self.stall_s, self.clock = look, ask, stall_s, clock
        self.fault: str | None = None
        self.worked = False
        self.counters: dict[str, float] = {}
        self.question: Future | None = None
        self.silent_s = self.stalled_s = 0.0
        self.failed: list[str] = []
        self.seen = self.moved = clock()
        self.ended = threading.Event()

    @property
    def well(self) -> bool:
        return self.fault is None and not self.failed and max(self.silent_s, self.stalled_s) < min(DOUBT_S, self.stall_s)

    def begin(self, every_s: float = EVERY_S) -> None:
        """Observe from now on in a thread, until `end`."""

        def run() -> None:
            while not self.ended.wait(every_s):
                self.observe()

        threading.Thread(target=run, daemon=True).start()

    def end(self) -> None:
        self.ended.set()

    def observe(self) -> None:
        """One look."""
        reading = self.look()
        now = self.clock()
        passed, self.seen = min(now - self.seen, LATE_S), now
        self.silent_s = 0.0 if reading.answers else self.silent_s + passed
        answered = self._answered()
        if self._moves(reading) or answered:
            self.stalled_s, self.moved, self.failed, self.worked = 0.0, now, [], True
        elif self.question is not None:
            self.stalled_s += passed
        elif now - self.moved >= ASK_EVERY_S:
            self.question, self.moved = self.ask(), now
        self.fault = self._judge()

    def _moves(self, reading: Reading) -> bool:
        """Whether the engine's counters are others than at the last look that could read them."""
        if not reading.counters:
            return False
        before, self.counters = self.counters, reading.counters
        return bool(before) and before != reading.counters

    def _answered(self) -> bool:
        """Whether the question that was under way got its token; one that failed is noted."""
        if self.question is None or not self.question.done():
            return False
        reason, self.question = self.question.result(), None
        if reason is not None:
            self.failed = [*self.failed, reason]
        return reason is None

    def _judge(self) -> str | None:
        limit_s = self.stall_s if self.counters else max(BLIND_S, self.stall_s)
        if self.silent_s >= self.stall_s:
            return f"it has answered nothing for {self.silent_s:.0f} s, not even /health"
        if self.stalled_s >= limit_s:
            return f"it has made no token and no step for {self.stalled_s:.0f} s, although it was asked"
        if len(self.failed) >= FAILED:
            return f"{len(self.failed)} questions in a row failed: {self.failed[-1]}"
        return None
