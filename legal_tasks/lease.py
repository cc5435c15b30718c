"""One at a time: a lease file with its holder and a heartbeat.

The heartbeat is the file's modification time. A holder that is gone (no such process on this machine) or silent for
`silence_s` seconds loses the lease: its session is killed first, so that two never work on the same thing.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HEARTBEAT_S = 2.0
SILENCE_S = 60.0


def process_start(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot (field 22 of /proc/PID/stat), or None where it is gone.

    A zombie counts as gone: it does no work any more.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rsplit(")", 1)[1].split()
    return None if fields[0] in ("Z", "X") else fields[19]


_held: list[Path] = []


def awaited_path(path: Path) -> Path:
    """The file that who waits for a lease touches, so that the holder knows that somebody wants its result."""
    return path.with_name(path.name + ".awaited")


def last_awaited() -> float:
    """When somebody last waited for a lease that this process holds, seconds since 1970; 0 for never."""
    times = []
    for path in list(_held):
        try:
            times.append(awaited_path(path).stat().st_mtime)
        except FileNotFoundError:
            continue
    return max(times, default=0.0)


class Lease:
    """`with Lease(path, about):` holds the lease; waits while somebody alive holds it. `waited` tells whether it had to."""

    def __init__(self, path: Path, about: Mapping[str, Any], silence_s: float = SILENCE_S, poll_s: float = 0.5):
        self.path = path
        self.about = dict(about)
        self.silence_s = silence_s
        self.poll_s = poll_s
        self.waited = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def _try_create(self) -> bool:
        holder = {
            **self.about,
            "pid": os.getpid(),
            "pid_start": process_start(os.getpid()),
            "session": os.getsid(0),
            "host": socket.gethostname(),
            "started": time.time(),
            "progress": os.environ.get("LEXLOOP_PROGRESS"),
        }
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.{threading.get_ident()}")
        temporary.write_text(json.dumps(holder), "utf-8")
        try:
            os.link(temporary, self.path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True

    def holder(self) -> dict[str, Any] | None:
        """Who holds it now (after a holder that is gone or silent has lost it), or None where it is free."""
        self._break_if_dead()
        seen = self._holder()
        if seen is None:
            return None
        awaited_path(self.path).touch()
        return seen[0]

    def _holder(self) -> tuple[dict[str, Any], float] | None:
        try:
            beat = self.path.stat().st_mtime
            return json.loads(self.path.read_text("utf-8")), time.time() - beat
        except FileNotFoundError:
            return None

    def _break_if_dead(self) -> None:
        seen = self._holder()
        if seen is None:
            return
        holder, silent_s = seen
        here = holder["host"] == socket.gethostname()
        alive = here and process_start(holder["pid"]) == holder["pid_start"]
        if (alive or not here) and silent_s < self.silence_s:
            return
        if alive and holder["pid"] != os.getpid():
            target = holder["session"] if holder["session"] != os.getsid(0) else None
            print(f"lease {self.path.name}: holder {holder['pid']} silent for {silent_s:.0f} s, ending it", flush=True)
            kill_session(target, holder["pid"])
        # One breaker at a time: between two, one would remove the lease that the other has just taken.
        with open(self.path.with_name(self.path.name + ".breaking"), "w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            now = self._holder()
            if now is not None and now[0] == holder:
                self.path.unlink()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            try:
                os.utime(self.path)
            except FileNotFoundError:
                return

    def __enter__(self) -> Lease:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        told = False
        while not self._try_create():
            self.waited = True
            holder = self.holder()
            if holder is not None and not told:
                told = True
                print(f"lease {self.path.name} is held by process {holder['pid']}: waiting for it", flush=True)
            time.sleep(self.poll_s)
        _held.append(self.path)
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        _held.remove(self.path)
        awaited_path(self.path).unlink(missing_ok=True)
        seen = self._holder()
        if seen is not None and seen[0]["pid"] == os.getpid() and seen[0]["pid_start"] == process_start(os.getpid()):
            self.path.unlink(missing_ok=True)


def kill_session(session: int | None, pid: int) -> None:
    """Send SIGKILL to every process of a session (or to one process where no session is given)."""
    victims = [pid]
    if session is not None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if os.getsid(int(entry.name)) == session:
                        victims.append(int(entry.name))
                except ProcessLookupError:
                    continue
    for victim in dict.fromkeys(victims):
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
