"""What a step tells MLflow, kept on disk until MLflow has it: nothing is lost while the server is away.

A journal is JSON Lines in `var/mlflow-journal`, one file per step of a DAG run. Whoever writes it holds its lock, so that a
killed writer's journal is known by being free. Every entry carries its time, and a run carries its journal's id: sending
an entry twice changes nothing in MLflow.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

FINAL = ("FINISHED", "KILLED")  # after FAILED, or with no end at all, the next attempt goes on in the same run


def folder() -> Path:
    root = Path(os.environ.get("LEXLOOP_VAR", Path(__file__).resolve().parents[1] / "var"))
    return root / "mlflow-journal"


def read(path: Path) -> list[dict[str, Any]]:
    """The entries; a last line that its killed writer did not finish is left out."""
    entries = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        entries.append(json.loads(line))
    return entries


def ended(entries: list[dict[str, Any]]) -> str | None:
    """How the newest attempt ended: FINISHED, FAILED, KILLED, or None while it works or where it was killed."""
    for entry in reversed(entries):
        if "again" in entry or "open" in entry:
            return None
        if "end" in entry:
            return entry["end"]
    return None


@contextmanager
def locked(path: Path) -> Iterator[IO[bytes] | None]:
    """The file with its lock, or None where its writer is at work or it is gone."""
    try:
        file = open(path, "r+b")
    except FileNotFoundError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield file if path.exists() else None


class Journal:
    """An open journal, locked for as long as it is written. `entries` is everything in it, `seen` the points of its curves."""

    def __init__(self, path: Path, about: Mapping[str, Any]):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.entries: list[dict[str, Any]] = []
        self.continued = False
        self.lock = threading.RLock()  # a step's own thread writes, and the gauges'
        self._open()
        if self.entries and ended(self.entries) in FINAL:
            self._put_aside()
        if self.entries and "open" in self.entries[0]:
            self.continued = True
            self.append({"again": now()})
        else:
            self.append({"open": {"id": uuid.uuid4().hex, **about, "start": now()}})
        self.about = self.entries[0]["open"]
        self.seen = {(name, step) for entry in self.entries for name, _, _, step in entry.get("metrics", [])}

    def _open(self) -> None:
        self.file = open(self.path, "a+b")
        fcntl.flock(self.file, fcntl.LOCK_EX)
        self.entries = read(self.path)
        whole = self.path.read_bytes().rfind(b"\n") + 1
        self.file.truncate(whole)

    def _put_aside(self) -> None:
        """An earlier run of the same step that MLflow does not have yet: it keeps its own file."""
        self.path.rename(self.path.with_name(f"{self.path.stem}.{self.entries[0]['open']['id']}.jsonl"))
        self.file.close()
        self._open()

    def append(self, entry: dict[str, Any]) -> None:
        with self.lock:
            self.file.write(json.dumps(entry).encode() + b"\n")
            self.file.flush()
            self.entries.append(entry)

    def add_metrics(self, numbers: Mapping[str, float], step: int) -> None:
        """Points of curves; one that an earlier attempt of this run has told is not told again."""
        with self.lock:
            new = [[name, value, now(), step] for name, value in numbers.items() if (name, step) not in self.seen]
            self.seen.update((name, step) for name, *_ in new)
            if new:
                self.append({"metrics": new})

    def close(self, remove: bool) -> None:
        if remove:
            self.path.unlink(missing_ok=True)
        self.file.close()


def now() -> int:
    """Milliseconds since 1970, MLflow's unit."""
    return int(time.time() * 1000)
