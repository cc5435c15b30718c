"""Tombstones: what must not enter a training set any more, on request of the person concerned.

One JSON object per line in `tombstones.jsonl` of the var folder (mode 600): {id, at, subject, items, sets, reason}. The list
holds the words it looks for: it is a suppression list, and cannot recognise a person without naming them. Keep it as private
as the keys.
"""

from __future__ import annotations

import json
import os
import unicodedata
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from legal_tasks.step import StepError, var_folder


@dataclass(frozen=True)
class Tombstone:
    """An item is meant when its text holds every word of `subject` (if any), or its id is among `items`."""

    id: str
    at: str
    subject: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()  # digests of the sets that held it when it was asked for
    reason: str = ""


def squeeze(text: str) -> str:
    """NFKC (full-width digits become plain) without white space, also written as JSON escapes, in lower case."""
    text = unicodedata.normalize("NFKC", text)
    for escape in ("\\n", "\\r", "\\t"):
        text = text.replace(escape, "")
    return "".join(text.split()).lower()


def path_of() -> Path:
    return var_folder() / "tombstones.jsonl"


def read(path: Path | None = None) -> list[Tombstone]:
    """All tombstones; StepError names the line that is none."""
    path = path or path_of()
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            lists: dict[str, Any] = {name: tuple(values.pop(name, ())) for name in ("subject", "items", "sets")}
            found.append(Tombstone(**lists, **values))
        except (json.JSONDecodeError, TypeError, AttributeError) as error:
            raise StepError(f"{path}, line {number}, is no tombstone ({error}): mend or remove the line") from error
    return found


def write(tombstone: Tombstone) -> None:
    """Add one line; the file is only its owner's to read, and whole lines only are ever seen."""
    path = path_of()
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_bytes() if path.is_file() else b""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    line = json.dumps(asdict(tombstone), ensure_ascii=False) + "\n"
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(before + line.encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def words_of(value: Any) -> str:
    """Every text in a nested value, in order, one per line."""
    if isinstance(value, dict):
        return "\n".join(words_of(part) for part in value.values())
    if isinstance(value, list | tuple):
        return "\n".join(words_of(part) for part in value)
    return "" if value is None else str(value)


class Matcher:
    """Which tombstone, if any, means an item or a text."""

    def __init__(self, tombstones: list[Tombstone]):
        self.items = {item: stone.id for stone in tombstones for item in stone.items}
        self.subjects = [([squeeze(word) for word in stone.subject], stone.id) for stone in tombstones if stone.subject]

    def item(self, name: str, content: Any) -> str | None:
        """The tombstone's id. An item's id may carry a number for its repetition (`<digest>-2`)."""
        return self.items.get(name) or self.items.get(name.split("-")[0]) or self.text(words_of(content))

    def text(self, text: str) -> str | None:
        if not self.subjects:
            return None
        squeezed = squeeze(text)
        return next((name for words, name in self.subjects if all(word in squeezed for word in words)), None)
