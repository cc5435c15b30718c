"""The training record {instruction, input, output, source, category} with history and provenance, and its checks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CATEGORIES = ("statute", "case", "contract", "consultation", "document", "instruction", "general")


class RecordError(Exception):
    """A line that is not a record; the message names the file, the line and the field."""


@dataclass
class Record:
    """One example. `history` holds earlier (user, assistant) turns of a dialog; `provenance` says where it is from."""

    instruction: str
    input: str
    output: str
    source: str
    category: str
    history: list[list[str]] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("instruction", "input", "output", "source"):
            if not isinstance(getattr(self, name), str):
                raise RecordError(f"{name} must be a text, got {getattr(self, name)!r}")
        if not self.instruction.strip() or not self.output.strip():
            raise RecordError("instruction and output must not be empty")
        if self.category not in CATEGORIES:
            raise RecordError(f"category must be one of {', '.join(CATEGORIES)}, got {self.category!r}")
        for turn in self.history:
            if len(turn) != 2 or not all(isinstance(part, str) for part in turn):
                raise RecordError(f"history must hold [user, assistant] pairs of text, got {turn!r}")


def to_line(record: Record) -> str:
    """One JSON line, without its line feed."""
    return json.dumps(vars(record), ensure_ascii=False)


def read_records(path: Path | str) -> Iterator[Record]:
    """Records of a JSON Lines file in order; RecordError names file and line."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield Record(**json.loads(line))
            except (json.JSONDecodeError, TypeError, RecordError) as error:
                raise RecordError(f"{path}, line {number}: {error}") from error


def write_records(path: Path | str, records: Iterable[Record]) -> int:
    """Write JSON Lines; return how many."""
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        for record in records:
            file.write(to_line(record) + "\n")
            count += 1
    return count
