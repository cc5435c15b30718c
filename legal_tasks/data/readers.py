"""Read a file by its content, whatever its name says: encoding, format, and the items in it.

An item is a text (Markdown, plain text, HTML, DOCX, PDF: one per file) or a mapping (a list element, line or row). A piece that
cannot be read becomes an item with `broken` set, so that every source item stays accounted for.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

BINARY = ("docx", "pdf", "parquet")
FORMATS = ("json", "jsonl", "csv", "html", "md", "txt", *BINARY)
LONGEST = 5_000_000  # characters of one item; a longer one is no document
MOST_ROW_LINES = 500  # lines of one row of a CSV
PARQUET_ROWS = 10_000  # rows that are in memory at once
SAMPLE = 100_000  # characters by which an encoding is judged
BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


class Unreadable(Exception):
    """The bytes are no text; the message says why."""


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
        if b"word/document.xml" in data:
            return "docx"
        return "zip"
    return None


def binary_pieces(data: bytes, form: str) -> Iterable[Piece]:
    """The text of a DOCX or PDF as one item, the rows of a Parquet file as mappings; Unreadable if the library cannot."""
    try:
        if form == "parquet":
            for _ in _parquet_rows(data):  # all of it can be read, or nothing counts
                pass
            rows = enumerate(_parquet_rows(data), 1)
            empty = Piece("", broken="the table is empty", reason="empty")
            return _or((_piece(f"row {number}", row) for number, row in rows), empty)
        text = _docx_text(data) if form == "docx" else _pdf_text(data)
    except Unreadable:
        raise
    except Exception as error:  # the libraries raise whatever their parsers meet; the file is named with their words
        raise Unreadable(f"is no whole {form.upper()} file ({type(error).__name__}: {error})") from error
    if not text.strip():
        return [Piece("", broken=f"the {form.upper()} holds no text (it may be a scan)", reason="no_text")]
    return [Piece("", text=text)]


def _docx_text(data: bytes) -> str:
    """Paragraphs and table rows in their order; headings keep a # before them."""
    import docx

    lines = []
    for part in docx.Document(io.BytesIO(data)).iter_inner_content():
        if hasattr(part, "rows"):
            lines += [" | ".join(cell.text.strip() for cell in row.cells) for row in part.rows]
        else:
            head = re.match(r"(?:Heading|标题) ?(\d)|Title$", part.style.name if part.style else "")
            lines.append(f"{'#' * int(head[1] or 1)} {part.text}" if head and part.text.strip() else part.text)
    return "\n".join(lines)


def _pdf_text(data: bytes) -> str:
    import pypdf

    reader = pypdf.PdfReader(io.BytesIO(data))
    if reader.is_encrypted:
        raise Unreadable("is an encrypted PDF: remove its password")
    return "\n".join(page.extract_text() for page in reader.pages)


def _parquet_rows(data: bytes) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(io.BytesIO(data)).iter_batches(PARQUET_ROWS):
        yield from batch.to_pylist()


def _or(found: Iterator[Piece], otherwise: Piece) -> Iterator[Piece]:
    """What there is; if there is nothing, `otherwise`."""
    first = next(found, otherwise)
    yield first
    yield from found


def decode(data: bytes) -> tuple[str, str]:
    """(text, encoding) of UTF-8, GB18030 or UTF-16 with or without a mark; broken bytes become U+FFFD."""
    for mark, encoding in BOMS:
        if data.startswith(mark):
            return data.decode(encoding, "replace"), encoding
    if b"\0" in data[:4000]:
        found = _utf16(data)
        if found is None:
            raise Unreadable("holds zero bytes: it is no text")
        return found
    for encoding in ("utf-8", "gb18030"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding == "utf-8" or not _odd(text):
            return text, encoding
    found = _utf16(data)
    if found:
        return found
    text = data.decode("utf-8", "replace")
    if text.count("\ufffd") > 0.3 * len(text):
        raise Unreadable("is neither UTF-8, GB18030 nor UTF-16")
    return text, "utf-8 with broken bytes"


def _utf16(data: bytes) -> tuple[str, str] | None:
    """UTF-16 without a mark, if one of its two forms reads as Chinese or ASCII text."""
    for encoding in ("utf-16-le", "utf-16-be") if len(data) % 2 == 0 else ():
        text = data.decode(encoding, "replace")
        sample = text[:SAMPLE]
        usual = sum(
            "\u4e00" <= char <= "\u9fff" or char in "，。、；：（）《》“”\u3000\r\n" or " " <= char <= "~" for char in sample
        )
        if usual > 0.9 * len(sample):
            return text, encoding
    return None


def _odd(text: str) -> bool:
    """Whether most of what lies beyond ASCII is rarer than legal Chinese can be: the encoding was guessed wrongly."""
    far = [char for char in text[:SAMPLE] if ord(char) > 127]
    usual = sum(
        "\u4e00" <= c <= "\u9fff" or "\u3000" <= c <= "\u303f" or "\uff00" <= c <= "\uffef" or c in "“”‘’—…·×" for c in far
    )
    return bool(far) and usual < 0.8 * len(far)


def sniff(text: str, name: str = "") -> str:
    """The format that the content shows; the file's name only decides between Markdown and plain text."""
    body = text.lstrip("\ufeff \t\r\n")
    if body[:1] in "[{" and body:
        lines = [line for line in body[:LONGEST].splitlines()[:5] if line.strip()]
        if len(lines) > 1 and sum(line.startswith("{") and line.rstrip().endswith("}") for line in lines) >= len(lines) / 2:
            return "jsonl"
        whole = sum(_is_json(line) for line in lines[:-1] or lines)
        if body[0] == "{" and whole >= max(1, len(lines[:-1] or lines) // 2) and (len(lines) > 1 or not _is_json(body)):
            return "jsonl"
        if body[0] == "{" or re.match(r"\[\s*[\[{\"\]]", body):
            return "json"
    if re.match(r"(?is)<(!doctype html|html|head|body)\b", body):
        return "html"
    if _is_csv(body):
        return "csv"
    return "md" if name.lower().endswith((".md", ".markdown")) or re.search(r"(?m)^#{1,4} ", body) else "txt"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def _is_csv(body: str) -> bool:
    rows = []
    try:
        for row in csv.reader(io.StringIO(body)):
            rows.append(row)
            if len(rows) == 8:
                break
    except csv.Error:
        return False
    if len(rows) < 2 or len(rows[0]) < 2 or any(len(cell) > 40 or "：" in cell for cell in rows[0]):
        return False
    return sum(len(row) == len(rows[0]) for row in rows[:-1]) >= max(1, (len(rows) - 1) // 2)


def pieces(text: str, form: str) -> Iterable[Piece]:
    """All items of a file's text in order, each made when it is asked for."""
    text = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if form == "json":
        return _json_pieces(text)
    if form == "jsonl":
        return (line_piece(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    if form == "csv":
        return _or(_csv_pieces(text), Piece("", broken="a heading without rows", reason="empty"))
    if form == "html":
        text = html_text(text)
    return [_piece("", text)] if text.strip() else [Piece("", broken="the file is empty", reason="empty")]


def unwrap(value: Any) -> Any:
    """The value inside one-element lists."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def _piece(place: str, value: Any, faults: list[str] | None = None) -> Piece:
    """The item that a value is; `faults`: what its JSON says twice or not at all."""
    value = unwrap(value)
    if faults:
        return Piece(place, broken=f"not JSON: {faults[0]}", reason="ambiguous")
    if isinstance(value, dict):
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


class _Json:
    """JSON as the standard has it: a name said twice and NaN are faults of the value that holds them."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_constant=self._constant)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            names = [name for name, _ in pairs]
            self.faults.append(f"the name {next(name for name in names if names.count(name) > 1)!r} stands twice")
        return value

    def _constant(self, name: str) -> None:
        self.faults.append(f"{name} is no value")

    def at(self, text: str, place: int) -> tuple[Any, int, list[str]]:
        """(value, where it ends, its faults)."""
        self.faults = []
        value, end = self.decoder.raw_decode(text, place)
        return value, end, self.faults


def too_long(number: int, size: int) -> Piece:
    """A line that is no record, whatever it holds; `size` in characters."""
    return Piece(f"line {number}", broken=f"a line of {size:,} characters", reason="too_long")


def line_piece(number: int, line: str) -> Piece:
    """The item of a line of JSON Lines; `number` from 1."""
    place = f"line {number}"
    if len(line) > 2 * LONGEST:
        return too_long(number, len(line))
    try:
        text = line.strip()
        value, end, faults = _Json().at(text, 0)
        if end < len(text):
            return Piece(place, broken=f"not JSON: more after its end at character {end}")
        return _piece(place, value, faults)
    except (json.JSONDecodeError, RecursionError) as error:
        return Piece(place, broken=f"not JSON: {error}")


def _json_pieces(text: str) -> Iterable[Piece]:
    start = len(text) - len(text.lstrip())
    if text[start : start + 1] == "[":
        return _or(_elements(text, start + 1), Piece("", broken="the list is empty", reason="empty"))
    reader = _Json()
    try:
        value, end, faults = reader.at(text, start)
        if text[end:].strip():
            raise json.JSONDecodeError("more after its end", text, end)
    except (json.JSONDecodeError, RecursionError):
        return _elements(text, text.find("[") + 1)
    if isinstance(value, dict) and len(value) == 1 and not faults:
        [part] = value.values()
        if isinstance(part, list) and part and isinstance(unwrap(part[0]), dict):
            return [_piece(f"[{number}]", one) for number, one in enumerate(part)]
    return [_piece("[0]", value, faults)]


def _elements(text: str, place: int) -> Iterator[Piece]:
    """The elements of a JSON list from `place` on; of a broken list the whole ones, and one broken item per gap."""
    reader, number = _Json(), 0
    while True:
        place = _skip(text, place)
        if place >= len(text) or text[place] == "]":
            if place >= len(text):
                yield Piece(f"[{number}]", broken=f"the list ends before its bracket: {_fault(text)}")
            return
        try:
            value, place, faults = reader.at(text, place)
            yield _piece(f"[{number}]", value, faults)
        except (json.JSONDecodeError, RecursionError) as error:
            yield Piece(f"[{number}]", broken=f"not JSON: {error}")
            onward = re.compile(r"\n\s*[{\[]|(?<=\}),\s*(?=\{)").search(text, place + 1)
            if onward is None:
                return
            place = onward.start() + 1
        number += 1


def _fault(text: str) -> str:
    """What the decoder says of the whole text."""
    try:
        json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        return str(error)
    return ""


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r\n,":
        place += 1
    return place


def _csv_pieces(text: str) -> Iterator[Piece]:
    csv.field_size_limit(2 * LONGEST)
    lines = text.split("\n")
    header: list[str] = []
    place = number = 0
    while place < len(lines):
        cells, used = _csv_record(lines, place, len(header))
        if not header and cells:
            header = [cell.strip() or f"column{n}" for n, cell in enumerate(cells)]
        elif cells is None or any(cell.strip() for cell in cells):
            number += 1
            yield _row_piece(number, header, cells)
        place += used


def _csv_record(lines: list[str], place: int, width: int) -> tuple[list[str] | None, int]:
    """(cells, lines used) of the record that begins on a line; None where its quotes never close or close amiss.

    A stray quote would swallow all lines to the next one: a record over several lines counts only if it has all its cells.
    """
    for end in range(place + 1, min(place + MOST_ROW_LINES, len(lines)) + 1):
        chunk = "\n".join(lines[place:end])
        if chunk.count('"') % 2:
            continue
        try:
            cells = next(csv.reader(io.StringIO(chunk), strict=True), [])
        except csv.Error:
            return None, 1
        whole = end == place + 1 or not width or len(cells) == width
        return (cells, end - place) if whole else (None, 1)
    return None, 1


def _row_piece(number: int, header: list[str], cells: list[str] | None) -> Piece:
    if cells is None:
        return Piece(f"row {number}", broken="not CSV: quotes that do not close")
    if len(cells) != len(header):
        return Piece(f"row {number}", broken=f"{len(cells)} cells under {len(header)} headings")
    return Piece(f"row {number}", fields=dict(zip(header, cells, strict=True)))


class _Text(HTMLParser):
    BLOCKS = {"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "section", "article", "title", "table"}

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in ("script", "style")
        if tag in self.BLOCKS:
            self.parts.append("\n# " if tag == "h1" else "\n")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("script", "style") and self.hidden > 0
        if tag in self.BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data)


def html_text(text: str) -> str:
    """The visible text of a page, a line per block; the first heading keeps a # before it."""
    parser = _Text()
    parser.feed(text)
    return re.sub(r"\n\s*\n+", "\n\n", "".join(parser.parts)).strip()
