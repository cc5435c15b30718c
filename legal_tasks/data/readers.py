"""Read a file by its content, whatever its name says: encoding, format, and the items in it.

An item is a text (Markdown, plain text, HTML, DOCX, PDF: one per file) or a mapping (a list element, line or row). A piece that
cannot be read becomes an item with `broken` set, so that every source item stays accounted for.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from legal_tasks.data import apart, costs, dialogs, fields, foreign, markup, tables
from legal_tasks.data.costs import TooCostly
from legal_tasks.data.documents import LONGEST, Unreadable

BINARY = ("docx", "pdf", "parquet")
FORMATS = ("json", "jsonl", "csv", "html", "md", "txt", *BINARY)
MOST_TURNS = 1000  # lines of a file that is one dialog
PAGES = (".html", ".htm", ".xhtml", ".shtml")
LINE_END = re.compile(r"\r\n?|\n")  # of JSON Lines; U+2028 and its like stand within a line
FAR = 1 << 16  # characters before a fault of a list, from which on they are cut off


@dataclass(frozen=True)
class Piece:
    """One source item: `place` inside its file, and a text, a mapping, or why it is broken, with the `reason` in one word."""

    place: str
    text: str | None = None
    fields: dict[str, Any] | None = None
    broken: str | None = None
    reason: str = "broken"


def binary_form(data: bytes) -> str | None:
    """The binary format that the bytes show (also `zip`), or None for text."""
    if data.startswith(b"%PDF-"):
        return "pdf"
    if data.startswith(b"PAR1"):
        return "parquet"
    if data.startswith(b"PK\x03\x04"):
        names = foreign.names_in(data)
        if names:
            is_document = "[Content_Types].xml" in names and any(name.startswith("word/") for name in names)
        else:
            is_document = b"word/document.xml" in data  # a broken one is told from a broken archive
        return "docx" if is_document else "zip"
    return None


def binary_pieces(data: bytes, form: str) -> Iterable[Piece]:
    """The text of a DOCX or PDF as one item, the rows of a Parquet file as mappings; Unreadable if the library cannot.

    One that costs too much is one broken item.
    """
    try:
        if form == "parquet":
            return _table(data)
        with _spooled(data) as file:
            [text] = apart.read(file, len(data), form)
    except TooCostly as error:
        return [_costly("", error)]
    if not text.strip():
        return [Piece("", broken=f"the {form.upper()} holds no text (it may be a scan)", reason="no_text")]
    return [_piece("", text)]


def _costly(place: str, error: TooCostly, before: str = "") -> Piece:
    return Piece(place, broken=f"{before}{error}", reason=error.reason)


def _spooled(data: bytes) -> BinaryIO:
    """The bytes as an open file that has no name."""
    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(data)
    file.flush()
    return cast(BinaryIO, file)


def _table(data: bytes) -> Iterable[Piece]:
    """The rows; what is wrong with the table is known before the first."""
    file = _spooled(data)
    rows = apart.read(file, len(data), "parquet")
    first = next(rows, None)
    return _rows(file, first, rows) if first is not None else [Piece("", broken="the table is empty", reason="empty")]


def _rows(file: BinaryIO, first: dict[str, Any], rows: Iterator[dict[str, Any]]) -> Iterator[Piece]:
    number = 1
    try:
        with file:
            yield _piece("row 1", first)
            for number, row in enumerate(rows, 2):
                yield _piece(f"row {number}", row)
    except TooCostly as error:
        yield _costly(f"row {number + 1}", error, "from here to the end: ")
    except Unreadable as error:
        yield Piece(f"row {number + 1}", broken=f"from here to the end: {error}", reason="unreadable")


def _or(found: Iterator[Piece], otherwise: Piece) -> Iterator[Piece]:
    """What there is; if there is nothing, `otherwise`."""
    first = next(found, otherwise)
    yield first
    yield from found


def sniff(text: str, name: str = "") -> str:
    """The format that the content shows; the file's name only decides between Markdown and plain text."""
    body = text.lstrip("\ufeff \t\r\n")
    if body[:1] in "[{" and body:
        lines = [line for line in LINE_END.split(body[:LONGEST], 5)[:5] if line.strip()]
        if len(lines) > 1 and sum(line.startswith("{") and line.rstrip().endswith("}") for line in lines) >= len(lines) / 2:
            return "jsonl"
        whole = sum(_is_json(line) for line in lines[:-1] or lines)
        if body[0] == "{" and whole >= max(1, len(lines[:-1] or lines) // 2) and (len(lines) > 1 or not _is_json(body)):
            return "jsonl"
        if body[0] == "{" or re.match(r"\[\s*[\[{\"\]]", body):
            return "json"
    if body[:1] == "<" or name.lower().endswith(PAGES):
        if markup.is_page(body, name):
            return "html"
    if tables.layout(body, name):
        return "csv"
    return "md" if name.lower().endswith((".md", ".markdown")) or re.search(r"(?m)^#{1,4} ", body) else "txt"


def _is_json(text: str) -> bool:
    """Whether it is JSON, or would be if it were less deep and had no endless numbers."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    except (RecursionError, ValueError):
        return True
    return True


def pieces(text: str, form: str, name: str = "") -> Iterable[Piece]:
    """All items of a file's text in order, each made when it is asked for. `name`: the file's."""
    text = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if form == "json":
        return _json_pieces(text)
    if form == "jsonl":
        if dialog := _dialog_of(text):
            return [dialog]
        return (line_piece(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    if form == "csv":
        return _or(_csv_pieces(text, name), Piece("", broken="a heading without rows", reason="empty"))
    if form == "html":
        try:
            text = markup.page_text(text)
        except TooCostly as error:
            return [_costly("", error)]
    return [_piece("", text)] if text.strip() else [Piece("", broken="the file is empty", reason="empty")]


def _csv_pieces(text: str, name: str) -> Iterator[Piece]:
    for number, (row, fault) in enumerate(tables.rows(text, name), 1):
        yield Piece(f"row {number}", broken=fault) if row is None else Piece(f"row {number}", fields=row)


def _dialog_of(text: str) -> Piece | None:
    """The dialog whose turns are the lines of a text."""
    lines = [line for line in text[:LONGEST].split("\n") if line.strip()]
    if not 1 < len(lines) <= MOST_TURNS or len(text) > LONGEST or not dialogs.is_turn(_value(lines[0])):
        return None
    turns = [_value(line) for line in lines]
    return _piece("", {"messages": turns}) if dialogs.is_dialog(turns) else None


def _value(line: str) -> Any:
    """What a line of JSON says; None where it is none without a fault."""
    try:
        value, end, faults = _Json().at(line.strip(), 0)
    except (ValueError, RecursionError):
        return None
    return None if faults or end < len(line.strip()) else value


def unwrap(value: Any) -> Any:
    """The value inside one-element lists."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def _piece(place: str, value: Any, faults: list[str] | None = None) -> Piece:
    """The item that a value is; `faults`: what its JSON says twice or not at all."""
    value = {"messages": value} if dialogs.is_dialog(value) else unwrap(value)
    if faults:
        return Piece(place, broken=f"not JSON: {faults[0]}", reason="ambiguous")
    if isinstance(value, list) and len(value) == 2 and all(isinstance(one, str) and one.strip() for one in value):
        value = {"messages": [value]}  # a question and its answer
    if isinstance(value, dict):
        try:
            costs.check_depth(value)
        except TooCostly as error:
            return _costly(place, error)
        if sum(len(part) for part in value.values() if isinstance(part, str)) > LONGEST:
            return Piece(place, broken=f"longer than {LONGEST:,} characters", reason="too_long")
        if not any(_holds(part) for part in value.values()):
            return Piece(place, broken="no value holds anything", reason="empty")
        return Piece(place, fields=value)
    if isinstance(value, str) and len(value) > LONGEST:
        return Piece(place, broken=f"{len(value):,} characters, more than {LONGEST:,}", reason="too_long")
    if isinstance(value, str) and value.strip():
        return Piece(place, text=value)
    if value is None or value in ("", [], {}) or isinstance(value, str):
        return Piece(place, broken="nothing in it", reason="empty")
    return Piece(place, broken=f"expected an object or a text, got {type(value).__name__}")


def _holds(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    if isinstance(value, list | dict):
        return any(_holds(part) for part in (value.values() if isinstance(value, dict) else value))
    return value is not None


HALF = re.compile(r"\\u[dD][89a-fA-F]")  # how half a character beyond the first 65,536 is written
# Where a broken list goes on: an element at the beginning of a line, or one object behind another.
ONWARD = re.compile(r"\n[ \t\r]*[{\[]|(?<=\}),\s*(?=\{)")
BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.S)  # or a text, in which brackets mean nothing


class _Json:
    """JSON as the standard has it: a name said twice, NaN and half a character are faults of the value that holds them."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_constant=self._constant)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            self.faults.append(f"the name {next(name for name, count in counts.items() if count > 1)!r} stands twice")
        return value

    def _constant(self, name: str) -> None:
        self.faults.append(f"{name} is no value")

    def at(self, text: str, place: int) -> tuple[Any, int, list[str]]:
        """(value, where it ends, its faults); ValueError where there is none, RecursionError where it is nested too deeply."""
        self.faults = []
        value, end = self.decoder.raw_decode(text, place)
        if HALF.search(text, place, end) and not _is_whole(value):
            self.faults.append("it holds half a character (an escape from \\ud800 to \\udfff alone)")
        return value, end, self.faults


def _is_whole(value: Any) -> bool:
    """Whether all of its texts can be written."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _not_json(place: str, error: ValueError, moved: int = 0) -> Piece:
    """The item that is no JSON; `moved`: characters before what was read."""
    if isinstance(error, json.JSONDecodeError):
        return Piece(place, broken=f"not JSON: {error.msg} at character {moved + error.pos}")
    return Piece(place, broken=f"a number is too long: {error}"[:100])


def too_long(number: int, size: int) -> Piece:
    """A line that is no record, whatever it holds; `size` in characters."""
    return Piece(f"line {number}", broken=f"a line of {size:,} characters", reason="too_long")


def line_piece(number: int, line: str) -> Piece:
    """The item of a line of JSON Lines; `number` from 1."""
    place = f"line {number}"
    if len(line) > 2 * LONGEST:
        return too_long(number, len(line))
    text = line.strip()
    try:
        value, end, faults = _Json().at(text, 0)
    except RecursionError:
        return _costly(place, costs.too_deep(_past(text, 0)[1]))
    except ValueError as error:
        return _not_json(place, error)
    if end < len(text):
        return Piece(place, broken=f"not JSON: more after its end at character {end}")
    return _piece(place, value, faults)


def _json_pieces(text: str) -> Iterable[Piece]:
    start = len(text) - len(text.lstrip())
    is_list = text[start : start + 1] == "["
    if is_list and not _begins_dialog(text, start + 1):
        return _or(_elements(text, start + 1, whole=True), Piece("", broken="the list is empty", reason="empty"))
    reader = _Json()
    try:
        value, end, faults = reader.at(text, start)
        if text[end:].strip():
            raise json.JSONDecodeError("more after its end", text, end)
    except (ValueError, RecursionError) as error:
        if "[" not in text and isinstance(error, RecursionError):
            return [_costly("[0]", costs.too_deep(_past(text, start)[1]))]
        return _elements(text, start + 1 if is_list else text.find("[") + 1, whole=is_list)
    if faults and is_list:
        return _elements(text, start + 1, whole=True)
    parts = None if faults else _items_in(value)
    return [_piece("[0]", value, faults)] if parts is None else [_piece(place, one) for place, one in parts]


def _begins_dialog(text: str, place: int) -> bool:
    """Whether the first element of a list is a turn: then the list may be one dialog."""
    try:
        return dialogs.is_turn(_Json().at(text, _skip(text, place))[0])
    except (ValueError, RecursionError):
        return False


def _items_in(value: Any) -> list[tuple[str, Any]] | None:
    """(place, item) of those in an object or list that only wraps them; None where it is one item itself.

    Around items stand {"data": […]} with a status and the like, or an object of them by their ids; a dialog is one item.
    """
    if isinstance(value, list):
        return None if dialogs.is_dialog(value) else [(f"[{number}]", one) for number, one in enumerate(value)]
    if not isinstance(value, dict) or any(fields.is_known(name) for name in value):
        return None
    lists = [part for part in value.values() if isinstance(part, list | dict) and part]
    if len(value) > 1 and all(isinstance(part, dict) and any(map(fields.is_known, part)) for part in value.values()):
        return [(f"[{name!r}]"[:60], part) for name, part in value.items()]
    if len(lists) == 1 and isinstance(lists[0], dict) and not _says_more(value):
        return _items_in(lists[0])
    if len(lists) != 1 or not isinstance(lists[0], list) or not isinstance(unwrap(lists[0][0]), dict):
        return None
    if dialogs.is_dialog(lists[0]):
        return None
    return None if _says_more(value) else [(f"[{number}]", one) for number, one in enumerate(lists[0])]


def _says_more(value: dict[str, Any]) -> bool:
    """Whether a text stands beside what an object wraps."""
    return any(isinstance(part, str) and len(part) >= fields.SHORTEST for part in value.values())


def _elements(text: str, place: int, whole: bool = False) -> Iterator[Piece]:
    """The elements of a JSON list from `place` on; of a broken list the whole ones, and one broken item per gap.

    `whole`: the list is all that the text holds.
    """
    reader, number, left = _Json(), 0, costs.text_s(len(text))
    moved, far, faulty = 0, max(FAR, len(text) // 256), False
    while True:
        place = _skip(text, place)
        if place >= len(text) or text[place] == "]":
            yield from _end(text, place, number, whole)
            return
        started = time.process_time() if faulty else 0.0
        try:
            value, place, faults = reader.at(text, place)
            piece = _piece(f"[{number}]", value, faults)
        except RecursionError:
            place, depth = _past(text, place)
            piece = _costly(f"[{number}]", costs.too_deep(depth))
        except ValueError as error:
            piece, place, faulty = _not_json(f"[{number}]", error, moved), _onward(text, place), True
            if place > far:  # what a fault costs grows with what lies before it
                text, moved, place = text[place:], moved + place, 0
        left -= time.process_time() - started if started else 0.0
        yield piece
        number += 1
        if place < 0:
            return
        if left < 0:
            why = (
                f"too many faults: more than {costs.text_s(moved + len(text)):.1f} s of processor time (the bound) went into them"
            )
            yield Piece(f"[{number}]", broken=f"from here to the end: {why}", reason="too_costly")
            return


def _onward(text: str, place: int) -> int:
    """Where a broken list goes on behind `place`; -1 where it does not."""
    found = ONWARD.search(text, place + 1)
    return found.start() + 1 if found else -1


def _end(text: str, place: int, number: int, whole: bool) -> Iterator[Piece]:
    """What is wrong with how a list ends."""
    if place >= len(text):
        yield Piece(f"[{number}]", broken="the list ends before its bracket")
    elif whole and text[place + 1 :].strip():
        yield Piece(f"[{number}]", broken=f"not JSON: more after the end of the list at character {place + 1}")


def _past(text: str, place: int) -> tuple[int, int]:
    """(where the list or object that begins at `place` ends, its depth) by brackets alone; -1 where they never close."""
    depth = deepest = 0
    for found in BRACKET.finditer(text, place):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        deepest = max(deepest, depth)
        if depth == 0:
            return found.end(), deepest
    return -1, deepest


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r\n,":
        place += 1
    return place
