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

BATCH = 2000  # results between two commits


class Memory:
    """Results by digest in a SQLite file; None keeps nothing. `new` and `known` hold the documents of this run."""

    def __init__(self, path: Path | None) -> None:
        self.new: set[str] = set()
        self.seen: set[str] = set()
        self.connection: sqlite3.Connection | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(path, timeout=60)
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.connection.execute("PRAGMA synchronous=NORMAL")
            self.connection.execute("CREATE TABLE IF NOT EXISTS result (key BLOB PRIMARY KEY, value TEXT) WITHOUT ROWID")
        self.waiting = 0

    def recall(self, document: str, context: str, content: Any, compute: Callable[[], Any]) -> Any:
        """The result (JSON) of `compute` for this context and content; `document` is the id that is counted."""
        self.seen.add(document)
        if self.connection is None:
            self.new.add(document)
            return compute()
        text = json.dumps([context, content], ensure_ascii=False, sort_keys=True)
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).digest()
        row = self.connection.execute("SELECT value FROM result WHERE key = ?", (key,)).fetchone()
        if row is not None:
            return json.loads(row[0])
        self.new.add(document)
        value = compute()
        self.connection.execute("INSERT OR REPLACE INTO result VALUES (?, ?)", (key, json.dumps(value, ensure_ascii=False)))
        self.waiting += 1
        if self.waiting >= BATCH:
            self.connection.commit()
            self.waiting = 0
        return value

    def close(self) -> None:
        if self.connection is not None:
            self.connection.commit()
            self.connection.close()
            self.connection = None
