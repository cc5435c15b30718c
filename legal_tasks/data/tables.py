"""Rows of tables in text: cells between commas, tabs, semicolons or upright bars; the heading may stand under a title."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from legal_tasks.data import fields
from legal_tasks.data.documents import LONGEST

DELIMITERS = (",", "\t", ";", "|")
NAMED = (".csv", ".tsv", ".tab")
MOST_ROW_LINES = 500  # lines of one row
LOOKED = 1 << 20  # characters at the beginning in which the heading is looked for
FIRST, TITLES = 12, 5  # rows that are looked at; of them, that may stand above the heading
LONGEST_NAME = 40  # characters of a column's name
EXAM = frozenset(("a", "b", "c", "d", "label", "statement", "option", "domain_zh", "question_zh"))


@dataclass(frozen=True)
class Layout:
    """What separates the cells, and the row (from 0, empty ones not counted) of the heading."""

    delimiter: str
    heading: int


def layout(text: str, name: str = "") -> Layout | None:
    """How a text is a table; None if it is none. `name`: the file's, by which a table without known columns is believed."""
    weak: Layout | None = None
    best, known = None, 0
    text = text[:LOOKED].replace("\r\n", "\n").replace("\r", "\n")
    is_named = name.lower().endswith(NAMED)
    for delimiter in DELIMITERS:
        rows = _first_rows(text, delimiter)
        for place, row in enumerate(rows[: TITLES + 1]):
            if not _is_heading(row, rows[place + 1 :]):
                continue
            names = sum(fields.is_known(cell) or cell.strip().lower() in EXAM for cell in row)
            if names > known:
                best, known = Layout(delimiter, place), names
            under_title = is_named and all(_filled(above) < 2 for above in rows[:place])
            if weak is None and (under_title or (place == 0 and delimiter == ",")) and _filled(row) > 1:
                weak = Layout(delimiter, place)
    return best or weak


def _filled(row: list[str]) -> int:
    return sum(bool(cell.strip()) for cell in row)


def _first_rows(text: str, delimiter: str) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(_body(text)), delimiter=delimiter):
            if row:
                rows.append(row)
            if len(rows) == FIRST:
                break
    except csv.Error:
        pass
    return rows


def _body(text: str) -> str:
    """Without the line by which a table tells Excel its separator."""
    return re.sub(r"\A\ufeff?sep=.\n", "", text)


def _is_heading(row: list[str], following: list[list[str]]) -> bool:
    """Whether a row can name the columns of those that follow it."""
    if (
        len(row) < 2
        or not following
        or not any(row[:1] + row[-1:])
        or any(len(cell) > LONGEST_NAME or "：" in cell or "\n" in cell for cell in row)
    ):
        return False
    looked = following[:-1] or following
    return sum(len(one) == len(row) for one in looked) >= max(1, len(looked) // 2)


def rows(text: str, name: str = "") -> Iterator[tuple[dict[str, str] | None, str]]:
    """(cells by the names of their columns, "") or (None, what is wrong) for every row under the heading."""
    csv.field_size_limit(2 * LONGEST)
    found = layout(text, name) or Layout(",", 0)
    lines = _body(text).split("\n")
    header: list[str] = []
    place = above = 0
    while place < len(lines):
        cells, used = _record(lines, place, len(header), found.delimiter)
        if not header:
            if cells and above < found.heading:
                above += 1
            elif cells:
                header = _names(cells)
        elif cells is None or any(cell.strip() for cell in cells):
            yield _row(header, cells)
        place += used


def _names(cells: list[str]) -> list[str]:
    """The columns' names, each once."""
    names: list[str] = []
    for number, cell in enumerate(cells):
        name = cell.strip() or f"column{number}"
        names.append(name if name not in names else f"{name} {number}")
    return names


def _record(lines: list[str], place: int, width: int, delimiter: str) -> tuple[list[str] | None, int]:
    """(cells, lines used) of the record that begins on a line; None where its quotes never close or close amiss.

    A stray quote would swallow all lines to the next one: a record over several lines counts only if it has all its cells.
    """
    quotes = 0
    for end in range(place + 1, min(place + MOST_ROW_LINES, len(lines)) + 1):
        quotes += lines[end - 1].count('"')
        if quotes % 2:
            continue
        chunk = "\n".join(lines[place:end])
        try:
            cells = next(csv.reader(io.StringIO(chunk), delimiter=delimiter, strict=True), [])
        except csv.Error:
            return None, 1
        whole = end == place + 1 or not width or len(cells) == width
        return (cells, end - place) if whole else (None, 1)
    return None, 1


def _row(header: list[str], cells: list[str] | None) -> tuple[dict[str, str] | None, str]:
    if cells is None:
        return None, "not CSV: quotes that do not close"
    while len(cells) > len(header) and not cells[-1].strip():
        cells = cells[:-1]
    if len(cells) != len(header):
        return None, f"{len(cells)} cells under {len(header)} headings"
    return dict(zip(header, cells, strict=True)), ""
