"""What was found out about single documents before, so that a month works only on those that are new or changed.

A result is kept under the document's id and a digest of everything that made it: the rule's context (versions, settings,
laws, exams) and the document's content. So the result of a run with memory is, byte for byte, that of a run without. Each
result knows the last run that used it; what no run has used for long is forgotten by `prune`.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCH = 2000  # results that are written at once
CACHE_KIB = 32 * 1024
DIGEST = 20  # bytes
# Documents come in the order of their ids, which begin the keys: so the tree grows at one place instead of everywhere.
# When a result was used lies beside it, not in it: noting that must not write all results again.
SCHEMA = """
CREATE TABLE IF NOT EXISTS run (number INTEGER PRIMARY KEY, started REAL NOT NULL, finished REAL);
CREATE TABLE IF NOT EXISTS known (key BLOB PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS used (key BLOB PRIMARY KEY, run INTEGER NOT NULL) WITHOUT ROWID;
DROP TABLE IF EXISTS result;
"""


def connect(path: Path) -> sqlite3.Connection:
    """The file with its tables. Short transactions only: another run may use it at the same time."""
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # before the first table, else it has no effect
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    connection.executescript(SCHEMA)
    return connection


class Memory:
    """Results by document and digest in a SQLite file; None keeps nothing. `new`, `seen`: the documents of this run."""

    def __init__(self, path: Path | None) -> None:
        self.new: set[str] = set()
        self.seen: set[str] = set()
        self.connection: sqlite3.Connection | None = None
        self.run = 0
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = connect(path)
            started = self.connection.execute("INSERT INTO run (started) VALUES (?)", (time.time(),))
            self.run = started.lastrowid or 0
        self.pending: dict[bytes, str] = {}
        self.touched: list[bytes] = []

    def recall(self, document: str, context: str, content: Any, compute: Callable[[], Any]) -> Any:
        """The result (JSON) of `compute` for this context and content; `document` is the id that is counted."""
        self.seen.add(document)
        if self.connection is None:
            self.new.add(document)
            return compute()
        key = _key(document, context, content)
        row = (self.pending[key],) if key in self.pending else self._known(key)
        if row is not None:
            return json.loads(row[0])
        self.new.add(document)
        value = compute()
        self.pending[key] = json.dumps(value, ensure_ascii=False)
        if len(self.pending) >= BATCH:
            self._flush()
        return value

    def knows(self, document: str, context: str, content: Any) -> bool:
        """Whether `recall` would compute nothing."""
        key = _key(document, context, content)
        return self.connection is not None and (key in self.pending or self._known(key) is not None)

    def _known(self, key: bytes) -> tuple[str] | None:
        assert self.connection is not None
        row = self.connection.execute("SELECT value FROM known WHERE key = ?", (key,)).fetchone()
        if row is not None:
            self.touched.append(key)
            if len(self.touched) >= BATCH:
                self._flush()
        return row

    def _flush(self) -> None:
        assert self.connection is not None
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany("INSERT OR REPLACE INTO known VALUES (?, ?)", self.pending.items())
        used = [(key, self.run) for key in (*self.pending, *self.touched)]
        self.connection.executemany("INSERT OR REPLACE INTO used VALUES (?, ?)", used)
        self.connection.execute("COMMIT")
        self.pending.clear()
        self.touched.clear()

    def close(self) -> None:
        """The run is finished: what it used is what the newest result needs."""
        if self.connection is not None:
            self._flush()
            self.connection.execute("UPDATE run SET finished = ? WHERE number = ?", (time.time(), self.run))
            self.connection.close()
            self.connection = None


def _key(document: str, context: str, content: Any) -> bytes:
    text = json.dumps([context, content], ensure_ascii=False, sort_keys=True)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()
    return document.encode("utf-8", "surrogatepass") + digest


@dataclass(frozen=True)
class Pruned:
    """What was, or would be, forgotten: results and their bytes; `total_bytes` of all results before."""

    removed: int
    freed_bytes: int
    total_bytes: int


def prune(path: Path, older_than_s: float, keep_bytes: int | None, grace_s: float, dry_run: bool, now: float) -> Pruned:
    """Forget the results that no run has used since `older_than_s`, then the longest unused ones until `keep_bytes` are left.

    Never what the newest finished run used, nor what runs used that began within `grace_s`: they may still be under way.
    """
    connection = connect(path)
    try:
        # Without a note of its use: written by a run that was killed in between; as old as the first run.
        groups = connection.execute(
            "SELECT coalesce(run, 0), count(*), sum(length(known.key) + length(CAST(value AS BLOB))) "
            "FROM known LEFT JOIN used USING (key) GROUP BY 1 ORDER BY 1"
        ).fetchall()
        started = dict(connection.execute("SELECT number, started FROM run"))
        newest = connection.execute("SELECT max(number) FROM run WHERE finished IS NOT NULL").fetchone()[0] or 0
        total = sum(size for _, _, size in groups)
        goes, left, removed = [], total, 0
        for run, count, size in groups:
            age = now - started.get(run, 0.0)
            if run == newest or age < grace_s:
                continue
            if age >= older_than_s or (keep_bytes is not None and left > keep_bytes):
                goes.append(run)
                left, removed = left - size, removed + count
        if goes and not dry_run:
            _remove(connection, goes)
        return Pruned(removed, total - left, total)
    finally:
        connection.close()


def _remove(connection: sqlite3.Connection, runs: list[int]) -> None:
    """In small transactions, each looking again at what was used last: a run may be at work beside us."""
    query = (
        "SELECT known.key FROM known LEFT JOIN used USING (key) WHERE known.key > ? "
        f"AND coalesce(run, 0) IN ({', '.join('?' * len(runs))}) ORDER BY known.key LIMIT {BATCH}"
    )
    last = b""
    while True:
        connection.execute("BEGIN IMMEDIATE")
        found = connection.execute(query, [last, *runs]).fetchall()
        connection.executemany("DELETE FROM known WHERE key = ?", found)
        connection.executemany("DELETE FROM used WHERE key = ?", found)
        connection.execute("COMMIT")
        if len(found) < BATCH:
            break
        last = found[-1][0]
    connection.executemany("DELETE FROM run WHERE number = ? AND number NOT IN (SELECT run FROM used)", [(run,) for run in runs])
    connection.execute("PRAGMA incremental_vacuum").fetchall()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
