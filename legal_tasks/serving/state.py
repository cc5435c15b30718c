"""The release state: which model should be in production, which one is, and everything that happened to get there.

One row {revision, desired, actual} that changes by compare-and-swap, and a history to which can only be added: SQLite
itself refuses to change or delete its lines. A model is {digest, path, ...}; what else it holds is carried along.

Reading never creates a state: a lost one would read as "nothing was ever released", and housekeeping would take production for
garbage. `make up` and the releaser create it, once: the store remembers every state that releases from it (`.states/`), and
where one of these is gone no new one takes its place.
"""

from __future__ import annotations

import getpass
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legal_tasks.artifacts import Store, sha256_text
from legal_tasks.step import StepError, store, var_folder

NAME, KNOWN = "release.sqlite", ".states"
Model = dict[str, Any]
EVENTS = ("intended", "released", "failed", "restarted", "stopped", "override asked", "override confirmed")

SCHEMA = """
CREATE TABLE IF NOT EXISTS state (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  revision INTEGER NOT NULL,
  desired TEXT,
  actual TEXT
);
INSERT OR IGNORE INTO state (id, revision, desired, actual) VALUES (1, 0, NULL, NULL);
CREATE TABLE IF NOT EXISTS history (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at REAL NOT NULL,
  revision INTEGER NOT NULL,
  event TEXT NOT NULL,
  actor TEXT NOT NULL,
  before TEXT,
  after TEXT,
  evidence TEXT NOT NULL
);
CREATE TRIGGER IF NOT EXISTS history_no_update BEFORE UPDATE ON history
BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
CREATE TRIGGER IF NOT EXISTS history_no_delete BEFORE DELETE ON history
BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
CREATE TRIGGER IF NOT EXISTS history_no_replace BEFORE INSERT ON history
WHEN EXISTS (SELECT 1 FROM history WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
CREATE TRIGGER IF NOT EXISTS state_no_delete BEFORE DELETE ON state
BEGIN SELECT RAISE(ABORT, 'the release state cannot be deleted'); END;
"""


class Conflict(Exception):
    """Somebody else changed the release state since it was read: read it again and decide again."""


class StateError(StepError):
    """There is no release state, or it cannot be read: nothing may be concluded from that."""


@dataclass(frozen=True)
class State:
    revision: int
    desired: Model | None
    actual: Model | None


@dataclass(frozen=True)
class Event:
    """One line of the history; `at` in seconds since 1970, `before` and `after` are models."""

    id: int
    at: float
    revision: int
    event: str
    actor: str
    before: Model | None
    after: Model | None
    evidence: dict[str, Any]


@contextmanager
def _transaction(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """`mode`: rw, or rwc to create the file."""
    connection = None
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=30, isolation_level=None)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            if connection.in_transaction:  # SQLite may have taken it back itself
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError):
            raise
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise StateError(f"the release state {path} cannot be written: {error}; what it holds is whole, make room") from error
        raise StateError(f"the release state {path} cannot be read: {error}; bring it back from a backup") from error
    finally:
        if connection is not None:
            connection.close()


def _load(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _dump(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def state_path() -> Path:
    return var_folder() / NAME


def known_states(target: Store) -> dict[Path, Path]:
    """{state: the file that remembers it} of every release state that releases from this store."""
    notes = sorted((target.root / KNOWN).glob("*.json"))
    return {Path(json.loads(note.read_text("utf-8"))["path"]): note for note in notes}


class Database:
    """The state in a SQLite file; every method opens its own connection, so that processes and threads may share it.

    StateError where there is none: see `create`.
    """

    def __init__(self, path: Path | None = None):
        self.path = path or state_path()
        self.current()  # of a file that is no state nothing may be read either

    @classmethod
    def create(cls, path: Path | None = None) -> Database:
        """The state, made where there was none yet: for `make up`, the releaser and tests. A lost one is a StateError.

        Without `path` it is this seat's own, and the store remembers it.
        """
        made = path or state_path()
        note = store().root / KNOWN / f"{sha256_text(str(made))[:16]}.json"
        if path is None and note.is_file():
            if not made.is_file():
                raise StateError(
                    f"the release state {made} is gone, so what is in production is not known: bring it back from a backup; or, "
                    f"where that is meant and the model that serves may be forgotten, remove {note} and start again"
                )
            return cls(made)
        made.parent.mkdir(parents=True, exist_ok=True)
        with _transaction(made, "rwc") as connection:
            for statement in SCHEMA.split(";\n"):
                # A trigger's body holds one semicolon, followed by END on the same line.
                if statement.strip():
                    connection.execute(statement)
        if path is None:
            note.parent.mkdir(parents=True, exist_ok=True)
            temporary = note.with_name(f"{note.name}.{os.getpid()}.part")
            temporary.write_text(json.dumps({"path": str(made)}), "utf-8")
            os.replace(temporary, note)
        return cls(made)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if not self.path.is_file():
            raise StateError(f"there is no release state {self.path}: `make up` creates it; if there was one, bring it back")
        with _transaction(self.path, "rw") as connection:
            yield connection

    @staticmethod
    def _read(connection: sqlite3.Connection) -> State:
        revision, desired, actual = connection.execute("SELECT revision, desired, actual FROM state").fetchone()
        return State(revision, _load(desired), _load(actual))

    @staticmethod
    def _append(
        connection: sqlite3.Connection,
        revision: int,
        event: str,
        actor: str,
        before: Model | None,
        after: Model | None,
        evidence: Mapping[str, Any] | None,
        at: float | None = None,
    ) -> int:
        """The new line's number."""
        if event not in EVENTS:
            raise ValueError(f"event must be one of {', '.join(EVENTS)}, got {event!r}")
        values = (time.time() if at is None else at, revision, event, actor, _dump(before), _dump(after), _dump(evidence or {}))
        added = connection.execute(
            "INSERT INTO history (at, revision, event, actor, before, after, evidence) VALUES (?, ?, ?, ?, ?, ?, ?)", values
        )
        assert added.lastrowid is not None
        return added.lastrowid

    def current(self) -> State:
        with self._transaction() as connection:
            return self._read(connection)

    def intend(
        self, model: Model, actor: str | None = None, evidence: Mapping[str, Any] | None = None, revision: int | None = None
    ) -> State:
        """Say that `model` (with `digest` and `path`) shall be in production.

        `revision`: the revision that this decision was based on; Conflict where the state has moved on since.
        """
        if not model.get("digest") or not model.get("path"):
            raise ValueError("a model needs digest and path")
        with self._transaction() as connection:
            now = self._read(connection)
            self._check(now, revision)
            new = now.revision + 1
            connection.execute("UPDATE state SET revision = ?, desired = ?", (new, _dump(model)))
            self._append(connection, new, "intended", actor or getpass.getuser(), now.desired, model, evidence)
            return self._read(connection)

    def record(
        self,
        event: str,
        actor: str,
        revision: int,
        *,
        actual: Model | None = None,
        desired: Model | None = None,
        evidence: Mapping[str, Any] | None = None,
        at: float | None = None,
    ) -> State:
        """Write down what became of the intent of `revision`; `at`: when that was, seconds since 1970, if not now.

        `released`: `actual` serves now. `failed`: `desired` goes back to what serves (None where nothing does), so that
        the model is not tried again, unless somebody intends another one by now. Other events only enter the history.
        """
        with self._transaction() as connection:
            now = self._read(connection)
            before, after = now.actual, now.actual
            if event == "released":
                connection.execute("UPDATE state SET revision = ?, actual = ?", (now.revision + 1, _dump(actual)))
                after = actual
            elif event == "failed":
                after = desired
                if now.revision == revision:
                    connection.execute("UPDATE state SET revision = ?, desired = ?", (now.revision + 1, _dump(now.actual)))
            self._append(connection, revision, event, actor, before, after, evidence, at)
            return self._read(connection)

    def note(self, event: str, actor: str, model: Model, evidence: Mapping[str, Any]) -> Event:
        """Add a line about a model that changes nothing by itself; the line as it was written."""
        with self._transaction() as connection:
            now = self._read(connection)
            number = self._append(connection, now.revision, event, actor, now.actual, model, evidence)
        return next(line for line in self.history() if line.id == number)  # another process may have added lines since

    @staticmethod
    def _check(now: State, revision: int | None) -> None:
        if revision is not None and revision != now.revision:
            raise Conflict(f"the release state is at revision {now.revision}, not at {revision}")

    def history(self) -> list[Event]:
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT id, at, revision, event, actor, before, after, evidence FROM history ORDER BY id"
            ).fetchall()
        return [Event(i, at, rev, what, who, _load(a), _load(b), json.loads(e)) for i, at, rev, what, who, a, b, e in rows]

    def previous(self) -> Model | None:
        """The model that served before the one that serves now, by the history; None where there was none."""
        actual = self.current().actual
        for event in reversed(self.history()):
            if event.event == "released" and event.before and actual and event.before["digest"] != actual["digest"]:
                return event.before
        return None
