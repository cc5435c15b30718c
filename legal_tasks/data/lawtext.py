"""A statute's text as a lawyer reads it: which lines begin its articles, where one law ends and the next begins.

A line that begins with 第X条 may be an article, an entry of a table of contents, or a sentence's reference that fell to the
beginning of a line. Which it is, order and context tell together: the chain of numbers that goes on without gaps and breaks
no sentence is the law (`lawmarks.chain`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from legal_tasks.data import lawbody, lawtitle
from legal_tasks.data.lawlines import Line, lines
from legal_tasks.data.lawmarks import BLANKS, SPACED, Mark, chain, marks_of, without_contents

GLUED = re.compile(
    rf"(?<=[\s　。；）)”！？])(?=第{BLANKS}*{SPACED}{BLANKS}*(?:[编章节](?=[\s　])|[条條]))|(?=目[ 　]{{0,4}}录[\s　]{{1,4}}第)"
)
FIRST = re.compile(r"^([^。；\n]{3,90}?(?:法|条例|规定|办法|细则|规则|解释)[^。；\n第]{0,20})(?=第[一1１]条)")


@dataclass
class Part:
    """One law of a text: the lines above it, its articles {"12" or "133-1": text}, and what is annexed to it."""

    title: str
    head: str
    articles: dict[str, str] = field(default_factory=dict)
    annex: str = ""


def read(text: str) -> list[Part]:
    """The laws in a text, in order; [] where no line begins an article."""
    found = lines(text)
    marks = marks_of(found)
    chains = chain(marks, found)
    if sum(map(len, chains)) < 2 or any(mark.inline for one in chains for mark in one):
        glued = lines(GLUED.sub("\n", FIRST.sub(r"\1\n", text)))
        more = marks_of(glued)
        again = chain(more, glued)
        if sum(map(len, again)) > max(1, sum(map(len, chains))):
            found, marks, chains = glued, more, again
    return _parts(found, without_contents(found, chains))


def title_of(text: str, name: str) -> str:
    """The title of a statute's page: what mark-up names, else the line above the articles that looks like one.

    Else the file's name; a short first line only where it says more than that. A part of a code keeps its heading (第三编 合同).
    """
    found = lines(text)
    marked = lawtitle.marked(found)
    if marked and lawtitle.is_title(marked):
        return marked
    parts = read(text)
    if parts:
        title = parts[0].title
    else:
        block = lawtitle.find(found[:15], last=False)
        title = block[0] if block else ""
    own = lawtitle.file_name(name)
    if title or marked:
        return title or marked
    first = lawtitle.plain(found[0].text) if found else ""
    if lawtitle.is_title(re.sub(r"[(（]\d.*$", "", own)) or not lawtitle.may_name(first):
        return own
    return first


def why_none(text: str) -> str:
    """What a text without articles holds instead, as evidence."""
    found = lines(text)
    marks = marks_of(found)
    chains = chain(marks, found)
    if chains:
        return f"a table of contents without the law: {sum(map(len, chains))} entries, none with a sentence"
    cited = len(re.findall(rf"第{SPACED}[条條]", text))
    where = f"第X条 stands {cited} times inside sentences" if cited else "第X条 stands nowhere in it"
    return f"none of its {len(found)} lines begins an article ({where}); it begins: {found[0].text[:40] if found else ''}"


def _parts(found: list[Line], laws: list[tuple[list[Mark], set[int]]]) -> list[Part]:
    parts, floor = list[Part](), 0
    width = lawbody.width(found)
    for number, (marks, gone) in enumerate(laws):
        first, following = marks[0].line, laws[number + 1] if number + 1 < len(laws) else None
        head = [line for place, line in enumerate(found[floor:first], floor) if place not in gone]
        inline = [Line(found[first].text[: -len(marks[0].rest) or None])] if marks[0].inline else []
        title = lawtitle.find(head)
        end = len(found)
        if following:
            end = _boundary(found, marks[-1].line + 1, following)
        part = Part(title[0] if title else "", "\n".join(line.text for line in [*head, *inline]))
        _fill(part, found, marks, end, width)
        parts.append(part)
        floor = end
    return parts


def _boundary(found: list[Line], start: int, following: tuple[list[Mark], set[int]]) -> int:
    """The line at which the next law begins, somewhere between the last article's heading and the next law's first."""
    marks, gone = following
    end = min([marks[0].line, *gone])
    region = found[start:end]
    title = lawtitle.find(region)
    place = start + title[1] if title else end
    while place > start and _is_above(found[place - 1]):
        place -= 1
    return place


def _is_above(line: Line) -> bool:
    """Whether a line belongs to what stands above a law: an order, a date, 目录, 第一章."""
    flat = re.sub(r"\s", "", line.text)
    return lawtitle.is_structure(line.text) or bool(lawtitle.DATE_LINE.match(flat)) or bool(lawtitle.ANNEX.match(flat))


def _fill(part: Part, found: list[Line], marks: list[Mark], end: int, width: int) -> None:
    """Put the articles' texts into the part; what stands behind the last of them as an annex goes there."""
    for mark, after in zip(marks, [*marks[1:], None], strict=True):
        rest = mark.rest
        if after and after.inline and after.line == mark.line:
            body = [Line(rest[: len(rest) - len(after.rest)].rstrip(), width=found[mark.line].width)]
        else:
            stop = after.line if after else end
            body = [Line(rest.strip(), width=found[mark.line].width), *found[mark.line + 1 : stop]]
            if after and after.inline:
                text = found[after.line].text
                body.append(Line(text[: -len(after.rest)].rstrip(), found[after.line].blank, width=found[after.line].width))
        body, annex = lawbody.cut(body, after is None)
        said, foot = lawbody.paragraphs(body, width), list[str]()
        if after is None:
            said, foot = lawbody.without_foot(said)
        if said and mark.key not in part.articles:
            part.articles[mark.key] = "\n".join(said)
        part.annex = "\n".join(filter(None, [part.annex, *foot, *(line.text for line in annex)]))
