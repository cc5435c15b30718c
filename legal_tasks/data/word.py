"""The text of a DOCX as Word shows it with all changes accepted, a line per paragraph and per row of a table.

Left out by design: what was deleted or moved away, hidden text, comments, headers and footers, codes of fields, tables of
contents. A merged cell stands once; text boxes and the rows of nested tables follow where they are anchored; notes stand at the
end. It runs in a process of its own (apart.py), within its bounds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from legal_tasks.data import costs
from legal_tasks.data.documents import Joined, Unreadable
from legal_tasks.data.numbering import Numbering, Styles, W, is_on, local, value

MOST_COLUMNS = 10_000  # of a table; Word itself makes 63
LONGEST_HEADING = 60  # characters; more is a paragraph in a heading's dress
THROUGH = {"customXml", "smartTag", "ins", "moveTo", "sdtContent", "hyperlink", "fldSimple", "bdo", "dir", "rubyBase", "ruby"}
GONE = {"del", "moveFrom", "pPr", "rPr", "sdtPr", "sdtEndPr", "rt", "tblPr", "tblGrid", "trPr", "tcPr", "sectPr"}
BREAKS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
# Characters of the fonts for symbols that mean something in a form: boxes and ticks.
SYMBOLS = {"F06F": "□", "F0A8": "□", "F0A3": "□", "F071": "□", "F0FE": "☑", "F052": "☑", "F053": "☒", "F0FD": "☒", "F0FC": "√"}
HEADING = re.compile(r"(?:heading|标题) ?(\d)|(?:title|标题)$", re.I)
CONTENTS = re.compile(r"(?:toc|目录) ?\d", re.I)
BLANK = "____"


def read(file: BinaryIO) -> Iterator[str]:
    """One text."""
    from docx.opc.constants import RELATIONSHIP_TYPE as KINDS
    from docx.package import Package

    try:
        main = Package.open(file).main_document_part  # type: ignore[no-untyped-call]
    except KeyError as error:
        if "officeDocument" not in str(error):
            raise
        raise Unreadable("names no document in it (the strict form, it may be): save it in Word as an ordinary DOCX") from error
    parts = {kind: _part(main, getattr(KINDS, kind)) for kind in ("STYLES", "NUMBERING", "FOOTNOTES", "ENDNOTES")}
    body = _tree(main).find(W + "body")
    if body is None:
        raise Unreadable("has no body that this reader knows: save it again in Word as an ordinary DOCX")
    notes = {}
    for kind, name in (("FOOTNOTES", "footnote"), ("ENDNOTES", "endnote")):
        root = parts[kind]
        for one in root.findall(W + name) if root is not None else ():
            notes[name, one.get(W + "id")] = one
    reader = _Reader(Styles(parts["STYLES"]), parts["NUMBERING"], notes)
    lines = Joined()
    reader.blocks(body, lines)
    reader.finish(lines)
    yield "\n".join(lines.parts)


def _part(main: Any, kind: str) -> Any | None:
    try:
        return _tree(main.part_related_by(kind))
    except KeyError:
        return None


def _tree(part: Any) -> Any:
    from docx.oxml.parser import parse_xml

    return part.element if hasattr(part, "element") else parse_xml(part.blob)


class _Reader:
    """Goes through a document in order. `before`: text of paragraphs whose end was deleted, which the next one takes up."""

    def __init__(self, styles: Styles, numbering: Any | None, notes: dict[tuple[str, str | None], Any]) -> None:
        self.styles, self.numbers, self.notes = styles, Numbering(numbering, styles), notes
        self.cited: list[tuple[str, str | None]] = []
        self.before = ""
        self.fields: list[bool] = []  # of each field that is open: whether its code is over

    def blocks(self, parent: Any, out: Joined) -> None:
        """The lines of all paragraphs and tables under an element."""
        for child in parent:
            kind = local(child)
            if kind == "p":
                self.paragraph(child, out)
            elif kind == "tbl":
                self.table(child, out)
            elif kind == "sdt":
                self.control(child, out)
            elif kind == "AlternateContent":
                self.blocks(_chosen(child), out)
            elif kind in THROUGH:
                self.blocks(child, out)
            elif kind == "altChunk":
                raise Unreadable("holds another document within it: open it in Word and save it again as DOCX")

    def control(self, element: Any, out: Joined) -> None:
        """A content control around paragraphs; a table of contents is none of the text."""
        gallery = value(element.find(f"{W}sdtPr/{W}docPartObj"), "docPartGallery") or ""
        content = element.find(W + "sdtContent")
        if content is not None and "Table of Contents" not in gallery and not _is_empty(element):
            self.blocks(content, out)

    def paragraph(self, paragraph: Any, out: Joined) -> None:
        properties = paragraph.find(W + "pPr")
        style = value(properties, "pStyle") or ""
        name = next((each.name for _, each in self.styles.line(style or self.styles.default)), "")
        if CONTENTS.match(name):
            return
        parts: list[str] = []
        boxes: list[Any] = []
        self.fields = []
        self.inline(paragraph, parts, boxes)
        text, self.before = self.before + "".join(parts), ""
        mark = properties.find(W + "rPr") if properties is not None else None
        if mark is not None and (is_on(mark, "del") or is_on(mark, "moveFrom")):
            self.before = text
        else:
            label = self.numbers.label(properties, style)
            out.add(_head(name, text) + label + text if text.strip() or label else "")
        for box in boxes:
            self.apart(box, out)

    def apart(self, parent: Any, out: Joined) -> None:
        """The lines of what is a text of its own: a cell, a box, a note."""
        before, self.before = self.before, ""
        fields, self.fields = self.fields, []
        self.blocks(parent, out)
        if self.before.strip():
            out.add(self.before)
        self.before, self.fields = before, fields

    def finish(self, out: Joined) -> None:
        """What waits for a paragraph that never came, and the notes in the order in which they are cited."""
        if self.before.strip():
            out.add(self.before)
        for key in dict.fromkeys(self.cited):
            lines = Joined()
            if key in self.notes:
                self.apart(self.notes[key], lines)
            text = "\n".join(line.strip() for line in lines.parts if line.strip())
            if text:
                out.add(f"注：{text}")

    # Within a paragraph

    def inline(self, parent: Any, parts: list[str], boxes: list[Any]) -> None:
        for child in parent:
            kind = local(child)
            if kind == "r":
                self.run(child, parts, boxes)
            elif kind == "sdt":
                content = child.find(W + "sdtContent")
                if _is_empty(child):
                    parts.append(BLANK)
                elif content is not None:
                    self.inline(content, parts, boxes)
            elif kind == "AlternateContent":
                self.inline(_chosen(child), parts, boxes)
            elif kind in THROUGH:
                self.inline(child, parts, boxes)
            elif kind in ("oMath", "oMathPara"):
                parts.extend(one.text or "" for one in child.iter() if local(one) == "t")

    def run(self, run: Any, parts: list[str], boxes: list[Any]) -> None:
        if is_on(run.find(W + "rPr"), "vanish"):
            return
        for child in run:
            kind = local(child)
            if kind == "fldChar":
                self._field(child.get(W + "fldCharType"))
            elif not all(self.fields):
                continue  # the code of a field
            elif kind == "t":
                parts.append(child.text or "")
            elif kind in BREAKS:
                parts.append(BREAKS[kind])
            elif kind == "sym":
                parts.append(_symbol(child.get(W + "char") or ""))
            elif kind in ("footnoteReference", "endnoteReference"):
                self.cited.append((kind.removesuffix("Reference"), child.get(W + "id")))
            elif kind == "ruby":
                self.inline(child, parts, boxes)
            elif kind == "AlternateContent":
                self.run(_chosen(child), parts, boxes)
            elif kind in ("drawing", "pict", "object"):
                boxes.extend(_boxes(child))

    def _field(self, kind: str | None) -> None:
        if kind == "begin":
            self.fields.append(False)
        elif kind == "separate" and self.fields:
            self.fields[-1] = True
        elif kind == "end" and self.fields:
            self.fields.pop()

    # Tables

    def table(self, table: Any, out: Joined) -> None:
        for row in _within(table, "tr"):
            properties = row.find(W + "trPr")
            if properties is not None and properties.find(W + "del") is not None:
                continue
            cells, columns = [], 0
            for cell in _within(row, "tc"):
                form = cell.find(W + "tcPr")
                try:
                    columns += int(value(form, "gridSpan") or 1)
                except ValueError:
                    columns += 1
                if columns > MOST_COLUMNS:
                    raise costs.TooCostly(f"expansion: a row of {columns:,} columns, bound {MOST_COLUMNS:,}")
                if form is None or not (form.find(W + "cellDel") is not None or _goes_on(form, "hMerge")):
                    cells.append("" if form is not None and _goes_on(form, "vMerge") else self._cell(cell))
            if any(cells):
                out.add(" | ".join(cells))

    def _cell(self, cell: Any) -> str:
        lines = Joined()
        self.apart(cell, lines)
        return "\n".join(line.rstrip() for line in lines.parts if line.strip()).strip()


def _goes_on(properties: Any, name: str) -> bool:
    """Whether a cell only carries on a merged one."""
    found = properties.find(W + name)
    return found is not None and found.get(W + "val") in (None, "continue")


def _within(parent: Any, name: str) -> Iterator[Any]:
    """The rows of a table or the cells of a row, also those in content controls."""
    for child in parent:
        kind = local(child)
        if kind == name:
            yield child
        elif kind == "sdt" or kind in THROUGH:
            yield from _within(child, name)
        elif kind == "AlternateContent":
            yield from _within(_chosen(child), name)


def _is_empty(control: Any) -> bool:
    """Whether a content control shows what is to be filled in, because nothing is."""
    return is_on(control.find(W + "sdtPr"), "showingPlcHdr")


def _chosen(alternate: Any) -> Any:
    """The first of the alternatives that holds text: they all say the same."""
    ways = [one for one in alternate if local(one) in ("Choice", "Fallback")]
    for one in ways:
        if any(local(part) in ("t", "txbxContent") for part in one.iter()):
            return one
    return ways[0] if ways else alternate


def _boxes(parent: Any) -> Iterator[Any]:
    """The contents of the text boxes in a drawing."""
    for child in parent:
        kind = local(child)
        if kind == "txbxContent":
            yield child
        else:
            yield from _boxes(_chosen(child) if kind == "AlternateContent" else child)


def _symbol(code: str) -> str:
    if code.upper() in SYMBOLS:
        return SYMBOLS[code.upper()]
    try:
        char = chr(int(code, 16))
    except (ValueError, OverflowError):
        return ""
    return char if char.isprintable() and not "\ue000" <= char <= "\uf8ff" else ""


def _head(style: str, text: str) -> str:
    """`# ` for a heading of the first level, and so on; nothing before a long paragraph in a heading's style."""
    found = HEADING.match(style)
    if not found or len(text) > LONGEST_HEADING or text.rstrip().endswith(("。", "；")):
        return ""
    return f"{'#' * int(found[1] or 1)} "
