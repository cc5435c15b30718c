"""The items on their way through data.clean: what is known of each in memory, what it says and what was made of it on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import Any

from legal_tasks.data.spool import Lines, Spool, View
from legal_tasks.records import Record
from legal_tasks.step import StepError


@dataclass(slots=True)
class Work:
    """One item: about 250 bytes, whatever it says."""

    id: str
    kind: str
    source: str
    line: int  # in items.jsonl
    draft: int = -1  # place in Drafts, once records were made
    size: int = 0  # characters of what it says
    fate: str = ""  # "", "used", "reference", or the reason for which it is set aside
    detail: str = ""
    derived: bool = False  # several records were made of it

    def aside(self, reason: str, detail: str = "") -> None:
        self.fate, self.detail = intern(reason), detail


class Items:
    """The artifact of data.collect: `works` in the order of ids; items are read when they are asked for."""

    def __init__(self, folder: Path) -> None:
        path = folder / "items.jsonl"
        if not path.is_file():
            raise StepError(f"--items {folder} holds no items.jsonl: name the artifact of data.collect")
        self.folder, self.lines = folder, Lines(path)
        self.works = sorted((self._work(number) for number in range(len(self.lines))), key=lambda work: work.id)

    def _work(self, number: int) -> Work:
        item = json.loads(self.lines[number])
        return Work(item["id"], intern(item["kind"]), intern(item["source"]), number)

    def read(self, work: Work) -> dict[str, Any]:
        """{id, kind, source, licence, locator, format, text | fields}; the kind may have been corrected since."""
        return json.loads(self.lines[work.line]) | {"kind": work.kind}

    def set_aside(self) -> Iterator[dict[str, Any]]:
        """The rows that data.collect set aside."""
        with open(self.folder / "set_aside.jsonl", encoding="utf-8") as file:
            for line in file:
                if line != "\n":
                    yield json.loads(line)

    def close(self) -> None:
        self.lines.close()


def parts(record: Record) -> list[str]:
    """All texts of a record in order: the turns of its history, instruction, input, output."""
    return [*(part for turn in record.history for part in turn), record.instruction, record.input, record.output]


def says(item: dict[str, Any], records: Iterable[Record]) -> str:
    """What an item says: its text, or question and answer without our own frame."""
    return item["text"] if "text" in item else "\n".join(part for record in records for part in parts(record))


class Drafts:
    """What was made of each item that broke no rule, on disk: its records, where it is from, what it says."""

    def __init__(self, folder: Path) -> None:
        self.records, self.texts = Spool(folder), Spool(folder)

    def add(self, work: Work, item: dict[str, Any], records: list[Record]) -> None:
        text = says(item, records)
        made = {"licence": item["licence"], "locator": item["locator"], "records": [vars(record) for record in records]}
        work.draft, work.size = self.records.append(json.dumps(made, ensure_ascii=False)), len(text)
        self.texts.append(text)

    def read(self, work: Work) -> tuple[list[Record], dict[str, str]]:
        """(records, {licence, locator} of the item)."""
        made = json.loads(self.records[work.draft])
        return [Record(**record) for record in made.pop("records")], made

    def text(self, work: Work) -> str:
        return self.texts[work.draft]

    def texts_of(self, works: Sequence[Work]) -> View:
        return View(self.texts.__getitem__, [work.draft for work in works])

    def close(self) -> None:
        self.records.close()
        self.texts.close()


@contextmanager
def opened(items: Path, folder: Path) -> Iterator[tuple[Items, Drafts]]:
    """The items of an artifact, and drafts that lie in `folder` without a name until the end."""
    found, drafts = Items(items), Drafts(folder)
    try:
        yield found, drafts
    finally:
        found.close()
        drafts.close()
