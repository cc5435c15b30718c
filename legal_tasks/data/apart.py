"""Foreign formats are read in a child process that can be ended: what a file costs there costs that file alone.

`read` sends an open file to the child and gives what the child found in it. The child is kept for the next file. The kernel ends
it at the file's bound of processor time; memory beyond its bound is an error there; a child that says nothing for very long is
ended by the clock. Of the environment it gets no secret.

    python -m legal_tasks.data.apart SOCKET     # the child; SOCKET is the number of an open socket
"""

from __future__ import annotations

import atexit
import json
import math
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from legal_tasks.data import costs, documents
from legal_tasks.data.costs import MIB, TooCostly
from legal_tasks.data.documents import Unreadable

REPOSITORY = Path(__file__).resolve().parents[2]
PASSED = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "LEXLOOP_SERVICES", "LEXLOOP_SERVICE")
OWN = {"MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}  # address space is what is used
START_S = 120  # seconds of the clock until a child must have said that it is there
WAIT, WAIT_S = 20, 60  # the clock ends a child that says nothing for WAIT times its processor time and WAIT_S more
MOST_REPLY = 256 * MIB  # bytes of one value as JSON
MOST_LOG = 16 * MIB
MOST_FILES, WORN = 1000, 256 * MIB  # a child is replaced after so many files, or once it has grown so much


@dataclass(frozen=True)
class Bounds:
    """Processor seconds, and bytes of memory beside the reader's own, for one file."""

    cpu_s: float
    memory: int

    @classmethod
    def of(cls, size: int) -> Bounds:
        return cls(costs.cpu_s(size), costs.MEMORY + 4 * size)


class Missing(Exception):
    """The child lacks a library: that is no file's fault."""


class _Gone(Exception):
    """The child has ended or was silent; `killed`: by a signal that may have been meant for something else."""

    def __init__(self, why: str, killed: bool = False) -> None:
        super().__init__(why)
        self.killed = killed


class Child:
    """A process that reads files, one at a time."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        paths = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
        environment = {name: os.environ[name] for name in PASSED if name in os.environ} | OWN | {"PYTHONPATH": paths}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "legal_tasks.data.apart", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            env=environment,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self.replies = self.socket.makefile("rb", MIB)
        self.cpu_s, self.files, self.is_worn = 0.0, 0, False
        self.socket.settimeout(START_S)
        try:
            self._reply()
        except _Gone as gone:
            self.log.seek(0)
            raise RuntimeError(
                f"the reader of foreign formats does not start: {gone}\n{self.log.read().decode()[-2000:]}"
            ) from gone

    def read(self, file: BinaryIO, size: int, form: str, bounds: Bounds) -> Iterator[Any]:
        """The values that the child finds; Unreadable or TooCostly, and _Gone where the child has ended."""
        job = {"form": form, "size": size, "cpu_s": bounds.cpu_s, "memory": bounds.memory}
        self.files += 1
        self.socket.settimeout(WAIT_S + WAIT * bounds.cpu_s)
        try:
            socket.send_fds(self.socket, [json.dumps(job).encode() + b"\n"], [file.fileno()])
        except OSError as error:
            raise self._gone(bounds) from error
        while True:
            kind, value = self._reply(bounds)
            if kind == "value":
                yield value
                continue
            if kind == "costs":
                raise TooCostly(*value)
            if kind == "missing":
                raise Missing(value)
            self.cpu_s, self.is_worn = value[1:]
            if kind == "unreadable":
                raise Unreadable(value[0])
            return

    def _reply(self, bounds: Bounds | None = None) -> tuple[str, Any]:
        try:
            line = self.replies.readline(MOST_REPLY)
        except TimeoutError:
            raise _Gone(f"silent for {self.socket.gettimeout():g} s of the clock") from None
        except OSError:
            line = b""
        if line.endswith(b"\n"):
            kind, value = json.loads(line)
            return kind, value
        if line and len(line) == MOST_REPLY:
            raise _Gone(f"one value of more than {MOST_REPLY // MIB:,} MiB")
        raise self._gone(bounds)

    def _gone(self, bounds: Bounds | None) -> _Gone:
        """How the child ended, in words."""
        code, used = self.end()
        if bounds and code == -signal.SIGXCPU:
            return _Gone(f"processor time: more than {max(used - self.cpu_s, bounds.cpu_s):.1f} s, bound {bounds.cpu_s:.1f} s")
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        killed = code in (0, -signal.SIGKILL, -signal.SIGTERM)
        return _Gone(f"its reader ended by {name} after {used - self.cpu_s:.1f} s of processor time", killed)

    def is_usable(self) -> bool:
        return not self.is_worn and self.files < MOST_FILES and self.process.poll() is None

    def end(self) -> tuple[int, float]:
        """(exit code, processor seconds used) of the child, which is ended if it has not; closes what belongs to it."""
        self.replies.close()  # it holds the socket open too
        self.socket.close()
        used = 0.0
        if self.process.returncode is None:
            deadline = time.monotonic() + 1
            while (found := os.wait4(self.process.pid, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
                time.sleep(0.01)
            if found[0] == 0:
                self.process.kill()
                found = os.wait4(self.process.pid, 0)
            self.process.returncode = os.waitstatus_to_exitcode(found[1])
            used = found[2].ru_utime + found[2].ru_stime
        return self.process.returncode, used


_idle: list[Child] = []


def close() -> None:
    """End the child that waits for a file."""
    while _idle:
        _idle.pop().end()


atexit.register(close)


def read(file: BinaryIO, size: int, form: str, bounds: Bounds | None = None) -> Iterator[Any]:
    """What documents.READERS[form] finds in an open file of `size` bytes. Unreadable or TooCostly says what is wrong with it.

    A child that somebody else killed is no sign of what the file costs: a second one is asked.
    """
    bounds = bounds or Bounds.of(size)
    for last in (False, True):
        child = _take()
        given = whole = False
        try:
            for value in child.read(file, size, form, bounds):
                given = True
                yield value
            whole = True
            return
        except Unreadable:
            whole = True
            raise
        except _Gone as gone:
            if last or given or not gone.killed:
                raise TooCostly(str(gone)) from gone
        finally:
            if whole and child.is_usable() and not _idle:
                _idle.append(child)
            else:
                child.end()


def _take() -> Child:
    while _idle:
        child = _idle.pop()
        if child.is_usable():
            return child
        child.end()
    return Child()


# The child's side


def serve(connection: socket.socket) -> None:
    """Read files until nobody asks any more."""
    replies = connection.makefile("wb", MIB)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1], resource.getrlimit(resource.RLIMIT_AS)[1]

    def reply(kind: str, value: Any) -> None:
        text = json.dumps([kind, value], default=documents.plain, ensure_ascii=False)
        replies.write(text.encode("utf-8", "surrogatepass") + b"\n")

    reply("ready", os.getpid())
    replies.flush()
    start = 0
    while True:
        asked, files, _, _ = socket.recv_fds(connection, 4096, 1)
        if not asked:
            return
        job = json.loads(asked)
        with os.fdopen(files[0], "rb") as file:
            kind, value = _answer(file, job, hard, reply)
        start = start or _address_space()
        is_last = kind in ("done", "unreadable")
        reply(kind, [value, time.process_time(), _address_space() > start + WORN] if is_last else value)
        replies.flush()


def _answer(file: BinaryIO, job: dict[str, Any], hard: tuple[int, int], reply: Any) -> tuple[str, Any]:
    """Send the values of one file; return the last reply."""
    cpu_hard, space_hard = hard
    try:
        documents.prepare(job["form"])
    except ImportError as error:
        return "missing", f"{error.name or error}"
    file.seek(0)
    cpu = math.ceil(time.process_time() + job["cpu_s"])
    space = _address_space() + job["memory"]
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (_within(cpu, cpu_hard), cpu_hard))
        resource.setrlimit(resource.RLIMIT_AS, (_within(space, space_hard), space_hard))
        for value in documents.READERS[job["form"]](file, job["size"]):
            reply("value", value)
        return "done", None
    except Exception as error:  # the libraries raise whatever their parsers meet; the file is named with their words
        failed = None if documents.is_memory(error) else documents.explained(error, job["form"])
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (space_hard, space_hard))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_hard, cpu_hard))
    if failed is None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        why = f"memory: more than {job['memory'] // MIB:,} MiB, bound {job['memory'] // MIB:,} MiB (peak {peak // MIB:,} MiB)"
        return "costs", [why, "too_costly"]
    return ("costs", [str(failed), failed.reason]) if isinstance(failed, TooCostly) else ("unreadable", str(failed))


def _within(wanted: int, hard: int) -> int:
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _address_space() -> int:
    """Bytes of address space that the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main(argv: list[str]) -> int:
    import ctypes

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    size = _within(MOST_LOG, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    with suppress(OSError):  # where memory ends, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000")
    serve(socket.socket(fileno=int(argv[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
