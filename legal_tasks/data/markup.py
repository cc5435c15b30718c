"""HTML as text: whole pages and pieces of them, and the tags and entities that stand in the cells of tables and in answers.

Neither cells nor rows nor blocks run into one another, and lines that only the file breaks are one line.
"""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

from legal_tasks.data import costs

BLOCKS = frozenset(
    "p div br li ul ol dl dt dd tr table thead tbody tfoot caption h1 h2 h3 h4 h5 h6 section article aside header footer main "
    "nav title hr pre blockquote center form fieldset legend address figure figcaption details summary option select textarea "
    "body html head".split()
)
CELLS = frozenset(("td", "th"))
INLINE = frozenset(
    "a abbr b bdi bdo big button cite code data del dfn em font i img input ins kbd label mark meta link nobr q rb rp rt ruby s "
    "samp small span strike strong sub sup time tt u var wbr col colgroup base iframe svg noscript template object param".split()
)
UNSEEN = frozenset(("script", "style", "template", "noscript"))
NAMES = BLOCKS | CELLS | INLINE | UNSEEN
PAGE = re.compile(r"<(?:!doctype\s+(?:[a-z]+:)?html|(?:html|head|body)\b)", re.I)
BEFORE = re.compile(r"(?:[\s\ufeff]|<\?[^<>]*\?>|<!--.*?-->)*", re.S)
TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)(:[A-Za-z][\w.-]*)?((?:[\s/][^<>]*)?)>")
DECLARED = re.compile(r"<\?[A-Za-z][^<>]*>|<!\[[^<>]*>")
# What holds no text: (where it begins, where it ends).
SILENT = [
    (re.compile("<!--"), re.compile("-->")),
    (re.compile(r"<script\b", re.I), re.compile(r"</script\s*>", re.I)),
    (re.compile(r"<style\b", re.I), re.compile(r"</style\s*>", re.I)),
]
NEXT_CELL = re.compile(r"</t[dh]\s*>\s*<t[dh](?:\s[^<>]*)?>", re.I)
USUAL = "nbsp|ldquo|rdquo|lsquo|rsquo|quot|mdash|hellip|middot|emsp|ensp|lt|gt|amp"
ENTITY = re.compile(rf"&(?:#\d{{1,7}}|#[xX][0-9a-fA-F]{{1,6}}|[A-Za-z][A-Za-z0-9]{{1,31}});|&(?:{USUAL})(?![A-Za-z0-9;])")
CELL, ROW, WRAP = "\ufdd0", "\ufdd1", "\ufdd2"  # noncharacters: they stand in no text
BLANKS, GAP = re.compile(r"\s+"), re.compile(rf"[ \t\n{WRAP}{CELL}]+")
STARTS = re.compile(r"[（(]?[第一二三四五六七八九十0-9]")  # a line that begins so may be an article or an item
WIDE = re.compile(r"[\u2e80-\u9fff\uff00-\uffef\u3000-\u303f“”‘’—…]")


def is_page(text: str, name: str = "") -> bool:
    """Whether a text is HTML: a page, behind a mark, a comment or an XML declaration too, or a piece of one."""
    rest = text[BEFORE.match(text).end() :]  # type: ignore[union-attr]
    if PAGE.match(rest):
        return True
    name = name.lower()
    if name.endswith((".md", ".markdown")):
        return False
    tags = [found[2].lower() for found in TAG.finditer(rest[:200_000]) if found[2].lower() in NAMES]
    if not tags or not any(tag in BLOCKS or tag in CELLS for tag in tags):
        return False
    found = TAG.match(rest)
    return bool(found and found[2].lower() in NAMES) or name.endswith((".html", ".htm", ".xhtml", ".shtml"))


# Zero-width characters and those that turn the direction of a line; a soft hyphen; NUL.
INVISIBLE = re.compile(r"[\x00\ufeff\u200b-\u200f\u202a-\u202e\u2060-\u2069\u00ad]")
LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
SPACES = re.compile(r"[\xa0\u2002-\u200a\u202f]")


def clean_text(text: str) -> str:
    """Mark-up and invisible characters off, one kind of line end and of blank, legal text exact."""
    text = LINE_ENDS.sub("\n", INVISIBLE.sub("", text))
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S)
    text = SPACES.sub(" ", INVISIBLE.sub("", plain(text)))
    if "\n" not in text:
        return text.strip()
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip()


class _Text(HTMLParser):
    def __init__(self, has_deleted: bool) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.cells: list[int] = []  # of each table that is open: cells of its present row
        self.hidden = self.fixed = 0
        self.read_aloud = False  # within the reading of a character
        self.unseen = UNSEEN | ({"del"} if has_deleted else set())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in self.unseen
        self.fixed += tag == "pre"
        if tag in ("rt", "rp"):
            self.read_aloud = True
        if tag == "table":
            self.cells.append(0)
        if tag == "a" and self.parts and self.parts[-1] == "":
            self.parts.append(" ")  # a row of links
        if tag == "tr":
            self.parts.append("\n" + ROW)
            if self.cells:
                self.cells[-1] = 0
        elif tag in CELLS:
            if self.cells and self.cells[-1]:
                self.parts.append(CELL)
            elif not self.cells:
                self.parts.append("\n")
            if self.cells:
                self.cells[-1] += 1
        elif tag in BLOCKS:
            self.parts.append("\n# " if tag == "h1" else "\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag in self.unseen or tag == "pre":
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in self.unseen and self.hidden > 0
        self.fixed -= tag == "pre" and self.fixed > 0
        if tag in ("rt", "rp", "ruby"):
            self.read_aloud = False
        if tag == "table" and self.cells:
            self.cells.pop()
        if tag in BLOCKS and tag != "tr":  # the next row begins a line itself
            self.parts.append("\n")
        elif tag == "a":
            self.parts.append("")

    def handle_data(self, data: str) -> None:
        if self.hidden or self.read_aloud:
            return
        self.parts.append(data if self.fixed else BLANKS.sub(lambda found: WRAP if "\n" in found[0] else found[0], data))

    def unknown_decl(self, data: str) -> None:
        if data.startswith("CDATA["):
            self.handle_data(data[6:])


def page_text(text: str) -> str:
    """The visible text of a page, a line per block and per row; the first heading keeps a # before it.

    TooCostly where it takes too long.
    """
    text = re.sub(f"[{CELL}{ROW}{WRAP}]", "", text)
    # Its parser is Python and asks for no more memory than the page: it needs no process of its own.
    with costs.alarm(costs.cpu_s(len(text)), "the page"):
        parser = _Text("</del>" in text.lower())
        parser.feed(text)
        parser.close()
        return _tidy("".join(parser.parts))


def _tidy(text: str) -> str:
    def gap(found: re.Match[str]) -> str:
        if cells := found[0].count(CELL):
            return " | " * cells
        if "\n" in found[0] or WRAP not in found[0]:
            return found[0].replace(WRAP, "")
        return _joint(text, found.start(), found.end())

    text = GAP.sub(gap, re.sub(rf"{ROW}[ \t\n{WRAP}]+", ROW, text))
    return re.sub(r"\n\s*\n+", "\n\n", text.replace(ROW, "")).strip()


def _joint(text: str, start: int, end: int) -> str:
    """What stands for a line end that the file has and the page has not: nothing between Chinese characters.

    Where a sentence ends before it, or an article may begin behind it, it stays: some pages are text with a few tags.
    """
    before, after = text[start - 1 : start], text[end : end + 1]
    if before in "。；：！？…:;" or (before in "”）)" and STARTS.match(text, end)) or (STARTS.match(text, end) and after == "第"):
        return "\n"
    return "" if WIDE.match(before) and WIDE.match(after) else " "


def plain(text: str) -> str:
    """A text without the tags and entities of HTML; a tag that HTML does not have (<劳动合同法>) is text."""
    for _ in range(2):  # what was escaped may hold tags, and entities may be escaped themselves
        if "<" in text:
            text = TAG.sub(_tag, NEXT_CELL.sub(" | ", DECLARED.sub("", _said(text))))
        if "&" not in text or not ENTITY.search(text):
            break
        text = ENTITY.sub(lambda found: html.unescape(found[0] if found[0].endswith(";") else found[0] + ";"), text)
    return text


def _said(text: str) -> str:
    """Without comments, scripts and styles; one that never ends is left. The time grows with the length alone."""
    for begins, ends in SILENT:
        parts, place = [], 0
        while (first := begins.search(text, place)) and (last := ends.search(text, first.end())):
            parts.append(text[place : first.start()])
            place = last.end()
        text = "".join([*parts, text[place:]])
    return text


def _tag(found: re.Match[str]) -> str:
    name = found[2].lower()
    if found[3]:  # <o:p>, <w:t>: those of office programs
        return ""
    if name in BLOCKS or name in CELLS:
        return "\n"
    return "" if name in NAMES else found[0]
