"""One attempt of a step under a scheduler: it outlives the death of what started it, and ends at once when it is told to.

A step whose result is kept goes on when its scheduler, its task runner or the supervisor is killed: the next attempt finds
it by its lease, follows its progress and returns its artifact. Told to end (TERM) while the scheduler is alive, it ends with
everything it started, within END_S seconds. A step that measures or has effects never outlives its starter.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from legal_tasks import lease

END_S = 3.0  # from TERM to KILL
UNWATCHED_S = 900.0  # a step that goes on without a starter ends itself when nobody has waited for it for so long
POLL_S = 1.0
GENERATIONS = 3  # task runner, executor's worker, scheduler


def ancestors(count: int) -> dict[int, str]:
    """{pid: start time} of the nearest processes above this one, init excluded."""
    found: dict[int, str] = {}
    pid = os.getppid()
    while pid > 1 and len(found) < count:
        started = lease.process_start(pid)
        if started is None:
            break
        found[pid] = started
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return found


class Output:
    """Standard output that goes on in a file when nobody reads it any more."""

    def __init__(self, stream: TextIO, log: Path):
        self.stream, self.log = stream, log

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except BrokenPipeError:
            turn_output(self.log)
            return self.stream.write(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except BrokenPipeError:
            turn_output(self.log)
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def turn_output(log: Path) -> None:
    """Point the process's standard output and error to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(target, number)
    os.close(target)


class Attempt:
    """`begin` starts watching; `outlive` says whether the work is worth going on with when its starter is gone."""

    def __init__(self, outlive: bool, log: Path):
        self.outlive, self.log = outlive, log
        self.above = ancestors(GENERATIONS)
        self.ending = self.leaving = False

    def orphaned(self) -> bool:
        """One of those that started this process is gone."""
        return any(lease.process_start(pid) != started for pid, started in self.above.items())

    def begin(self) -> None:
        sys.stdout, sys.stderr = Output(sys.stdout, self.log), Output(sys.stderr, self.log)  # type: ignore[assignment]
        # The pipe tells the watching thread of a TERM at once, also while the main thread is deep in C code.
        self.told, told = os.pipe()
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self.on_term)
        threading.Thread(target=self.watch, daemon=True).start()

    def keeps_going(self) -> bool:
        return self.outlive and self.orphaned() and not self.ending

    def on_term(self, *_: object) -> None:
        if not self.leaving and not self.keeps_going():
            self.leaving = True  # once: a second one would interrupt the clearing up
            sys.exit(128 + signal.SIGTERM)

    def watch(self) -> None:
        since: float | None = None  # monotonic: a clock that is set must not end a step
        awaited: tuple[int, ...] = ()
        while True:
            ready, _, _ = select.select([self.told], [], [], POLL_S)
            if ready and signal.SIGTERM in os.read(self.told, 64) and not self.keeps_going():
                break
            if since is None and self.orphaned():
                if not self.outlive:
                    break
                since, awaited = time.monotonic(), lease.last_awaited()
                turn_output(self.log)
                print(f"process {os.getpid()}: what started it is gone; going on, for the next attempt to attach to", flush=True)
            if since is not None and lease.last_awaited() != awaited:
                since, awaited = time.monotonic(), lease.last_awaited()
            if since is not None and time.monotonic() - since > UNWATCHED_S:
                print(f"nobody has waited for this result for {UNWATCHED_S:.0f} s: ending; what is finished is kept", flush=True)
                break
        self.ending = True
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(END_S)
        os.killpg(0, signal.SIGKILL)


_current: list[Attempt] = []


def current() -> Attempt | None:
    """The attempt that this process is; None where a person or a test runs the step."""
    return _current[0] if _current else None


def begin(outlive: bool) -> None:
    """Watch over this process if a task runner started it (it named a file for the result) and it leads its group."""
    result = os.environ.get("LEXLOOP_RESULT")
    if not result or os.getpgid(0) != os.getpid():
        return
    attempt = Attempt(outlive, Path(result).with_suffix(".log"))
    attempt.begin()
    _current.append(attempt)
