"""What was found out about single documents before, so that a month works only on those that are new or changed.

A result is kept under a digest of everything that made it: the rule's context (versions, settings, laws, exams) and the
document's content. So the result of a run with memory is, byte for byte, that of a run without.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH = 2000  # results that are written at once


class Memory:
    """Results by digest in a SQLite file; None keeps nothing. `new` and `known` hold the documents of this run."""

    def __init__(self, path: Path | None) -> None:
        self.new: set[str] = set()
        self.seen: set[str] = set()
        self.connection: sqlite3.Connection | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Short transactions only: another run may use the file at the same time.
            self.connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.connection.execute("PRAGMA synchronous=NORMAL")
            self.connection.execute("CREATE TABLE IF NOT EXISTS result (key BLOB PRIMARY KEY, value TEXT) WITHOUT ROWID")
        self.pending: dict[bytes, str] = {}

    def recall(self, document: str, context: str, content: Any, compute: Callable[[], Any]) -> Any:
        """The result (JSON) of `compute` for this context and content; `document` is the id that is counted."""
        self.seen.add(document)
        if self.connection is None:
            self.new.add(document)
            return compute()
        text = json.dumps([context, content], ensure_ascii=False, sort_keys=True)
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).digest()
        row = (self.pending[key],) if key in self.pending else self._known(key)
        if row is not None:
            return json.loads(row[0])
        self.new.add(document)
        value = compute()
        self.pending[key] = json.dumps(value, ensure_ascii=False)
        if len(self.pending) >= BATCH:
            self._flush()
        return value

    def _known(self, key: bytes) -> tuple[str] | None:
        assert self.connection is not None
        return self.connection.execute("SELECT value FROM result WHERE key = ?", (key,)).fetchone()

    def _flush(self) -> None:
        assert self.connection is not None
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany("INSERT OR REPLACE INTO result VALUES (?, ?)", self.pending.items())
        self.connection.execute("COMMIT")
        self.pending.clear()

    def close(self) -> None:
        if self.connection is not None:
            self._flush()
            self.connection.close()
            self.connection = None
