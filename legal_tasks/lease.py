"""One at a time: a lease file with its holder and a heartbeat.

The heartbeat is a new modification time of the file. A holder that is gone (no such process in this place) or silent for
`silence_s` seconds loses the lease: its session is killed first, so that two never work on the same thing.

No clock is compared with another, because one of them may have been set meanwhile: who waits counts for how long it has itself
seen the file unchanged, by its own monotonic clock. Whether a holder is gone is asked only where process numbers mean the same as
here; a holder on another machine, or from before a restart of this one, is judged by its silence alone.
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
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

HEARTBEAT_S = 2.0
SILENCE_S = 60.0
DOUBT_S = 24 * 3600.0


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


@cache
def place() -> str:
    """Where process numbers mean the same: this machine since it was started, and this container of it."""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"


_held: list[Path] = []


def awaited_path(path: Path) -> Path:
    """The file that who waits for a lease touches, so that the holder knows that somebody wants its result."""
    return path.with_name(path.name + ".awaited")


def last_awaited() -> tuple[int, ...]:
    """Changes whenever somebody waits for a lease that this process holds; says nothing of when."""
    times = []
    for path in list(_held):
        try:
            times.append(awaited_path(path).stat().st_mtime_ns)
        except OSError:
            continue
    return tuple(times)


def maybe_held(path: Path) -> bool:
    """Whether the holder of a lease lives or was there just now, at a glance and without ending anybody.

    Of a holder in another place that cannot be known: for DOUBT_S after its last heartbeat it counts as alive.
    """
    try:
        holder, age_s = json.loads(path.read_text("utf-8")), time.time() - path.stat().st_mtime
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    here = holder.get("place") == place()
    alive = here and process_start(holder["pid"]) == holder["pid_start"]
    return alive or abs(age_s) < (2 * SILENCE_S if here else DOUBT_S)


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
        self._seen: tuple[dict[str, Any], int] | None = None
        self._silent_s = self._looked = 0.0

    def _try_create(self) -> bool:
        holder = {
            **self.about,
            "pid": os.getpid(),
            "pid_start": process_start(os.getpid()),
            "session": os.getsid(0),
            "host": socket.gethostname(),
            "place": place(),
            "started": time.time(),
            "progress": os.environ.get("LEXLOOP_PROGRESS"),
        }
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            temporary.write_text(json.dumps(holder), "utf-8")
            os.link(temporary, self.path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def holder(self) -> dict[str, Any] | None:
        """Who holds it now (after a holder that is gone or silent has lost it), or None where it is free."""
        self._break_if_dead()
        seen = self._holder()
        if seen is None:
            return None
        with suppress(OSError):  # a courtesy, for which a full disk may have no room
            awaited_path(self.path).touch()
        return seen[0]

    def _holder(self) -> tuple[dict[str, Any], int] | None:
        """(holder, time of its last heartbeat: a mark, not to be compared with a clock)."""
        try:
            beat = self.path.stat().st_mtime_ns
            return json.loads(self.path.read_text("utf-8")), beat
        except FileNotFoundError:
            return None

    def _silence(self, seen: tuple[dict[str, Any], int]) -> float:
        """Seconds for which this waiter has seen no heartbeat. Time in which it did not look, stopped itself, hardly counts."""
        now = time.monotonic()
        self._silent_s = self._silent_s + min(now - self._looked, HEARTBEAT_S) if seen == self._seen else 0.0
        self._seen, self._looked = seen, now
        return self._silent_s

    def _break_if_dead(self) -> None:
        seen = self._holder()
        if seen is None:
            return
        holder, silent_s = seen[0], self._silence(seen)
        here = holder.get("place") == place()
        alive = here and process_start(holder["pid"]) == holder["pid_start"]
        if (alive or not here) and silent_s < self.silence_s:
            return
        if alive and holder["pid"] != os.getpid():
            target = holder["session"] if holder["session"] != os.getsid(0) else None
            print(f"lease {self.path.name}: holder {holder['pid']} silent for {silent_s:.0f} s, ending it", flush=True)
            kill_session(target, holder["pid"])
        # One breaker at a time: between two, one would remove the lease that the other has just taken.
        with (
            suppress(OSError),
            open(self.path.with_name(self.path.name + ".breaking"), "w") as guard,
        ):  # no room: at the next look
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
            except OSError:  # a disk that is full or away for a moment: the next one may reach it
                continue

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
