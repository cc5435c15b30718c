"""An article's lines as its text: wrapped lines joined, the next chapter's heading, annexes and footers taken off."""

from __future__ import annotations

import re
from collections.abc import Sequence

from legal_tasks.data import lawtitle
from legal_tasks.data.lawlines import CLOSED, Line
from legal_tasks.data.lawmarks import BLANKS, CITING, SPACED

SHORTEST_BROKEN = 12  # characters of a line that an empty line cut from the rest of its sentence; shorter ones stand in lists
FOOT = re.compile(
    r"(?:[（(]?(?:此件|本文)(?:公开|主动公开)?.{0,8}发布|发布(?:日期|时间|机关)[:：]|来源[:：]|抄送[:：]|相关(?:阅读|链接|法规))"
)


def cut(body: list[Line], last: bool) -> tuple[list[Line], list[Line]]:
    """(the article's lines, what is annexed behind them): headings of chapters and annexes are no text of it."""
    for place, line in enumerate(body[1:], 1):
        if line.level or _is_chapter(body, place) or _is_note(body, place):
            return _untitled(body[:place]), body[place:] if last else []
        if lawtitle.ANNEX.match(line.text) and _ends(body[place - 1]):
            return body[:place], body[place:]
    return body if last else _untitled(body), []


def _ends(line: Line) -> bool:
    """Whether a text may end with this line."""
    return not line.text or line.text[-1] in CLOSED


def _is_chapter(body: list[Line], place: int) -> bool:
    """Whether a line is the heading of a chapter: 第二章 罚则. Without a blank behind 章 it must stand behind a sentence."""
    line, before = body[place], body[place - 1]
    if not lawtitle.is_structure(line.text) or len(line.text) >= 40 or "，" in line.text:
        return False
    alone = re.fullmatch(
        rf"第{BLANKS}*{SPACED}{BLANKS}*(?:编|分编|章|节)(?:{BLANKS}+[^，。；：]{{1,30}})?|[总分附罚]{BLANKS}*则", line.text
    )
    if alone and not CITING.search(before.text):
        return True
    return _ends(before) and (line.text[-1] not in "。；" or len(line.text) <= 16)


def _is_note(body: list[Line], place: int) -> bool:
    """Whether a title with the day of its adoption below stands here: a further part of a law that was amended."""
    after = re.sub(r"\s", "", body[place + 1].text) if place + 1 < len(body) else ""
    return lawtitle.is_title(body[place].text) and bool(lawtitle.DATE_LINE.match(after)) and _ends(body[place - 1])


def without_foot(parts: list[str]) -> tuple[list[str], list[str]]:
    """(paragraphs, what stands behind 自…起施行 and is no text of a law: a date, a signature, a footer, a table's title)."""
    said = ""
    for place in range(1, len(parts)):
        said, part = (said + parts[place - 1])[-300:], parts[place]
        closing = re.search(r"(?:施行|废止|失效|执行)。?$|(?:施行|废止|失效|执行)[。].{0,200}。$", said)
        if FOOT.match(part) or (
            closing and part[-1] not in "。；：;:，、》”）)" and not re.match(r"[（(《\d一二三四五六七八九十]+", part)
        ):
            return parts[:place], parts[place:]
    return parts, []


def _untitled(body: list[Line]) -> list[Line]:
    """Without last lines that are the title of the chapter after it: short, no sentence, behind the end of one."""
    keep = len(body)
    if keep > 1 and BRACKETED.fullmatch(body[-1].text) and body[-2].text.endswith("。"):
        keep -= 1
        return body[:keep]
    while keep > 1 and len(body) - keep < 3 and _may_head(body[:keep]):
        keep -= 1
    if keep == len(body) or not body[keep - 1].text or body[keep - 1].text[-1] not in "。；）":
        return body
    named = [line for line in body[keep:] if line.blank or CHAPTER_ITEM.match(line.text)]
    return body[:keep] if named else body


def _may_head(body: list[Line]) -> bool:
    text = body[-1].text
    if len(text) > 25 or text[-1] in CLOSED or re.search("[=＝+×÷％%，,：；|]", text):
        return False
    item = CHAPTER_ITEM.match(text)
    alike = [other[1] for one in body[:-1] if (other := CHAPTER_ITEM.match(one.text))]
    return not item or item[1] not in alike


def width(found: Sequence[Line]) -> int:
    """The length at which the text's lines are wrapped; 0 where they are not."""
    lengths = sorted(
        line.width
        for line, after in zip(found, found[1:], strict=False)
        if not after.blank and not line.level and line.text[-1] not in CLOSED
    )
    return lengths[int(0.9 * len(lengths))] if len(lengths) >= 5 else 0


BRACKETED = re.compile(r"[（(【\[〔［][^（）()【】。；，]{2,12}[)）】\]〕］]")  # an article's heading on a line of its own
CHAPTER_ITEM = re.compile(r"([（(]?)[一二三四五六七八九十]+[）)、]")
ITEM = re.compile(r"[（(][一二三四五六七八九十\d]+[）)]|[一二三四五六七八九十]+、|\d+[.．、]|[①-⑳]")


def paragraphs(body: list[Line], width: int) -> list[str]:
    """The paragraphs; lines that a page's width or end broke are joined."""
    parts = list[list[str]]()
    before: Line | None = None
    for number, line in enumerate(line for line in body if line.text):
        if before is not None and _goes_on(before, line, width, number == 1):
            words = before.text[-1] + line.text[0]
            parts[-1] += [" ", line.text] if words.isascii() and words.isalnum() else [line.text]
        else:
            parts.append([line.text])
        before = line
    return ["".join(part) for part in parts]


def _goes_on(before: Line, line: Line, width: int, first: bool) -> bool:
    """Whether a line carries on the paragraph of the line before it."""
    if line.level or (ITEM.match(line.text) and before.text[-1] not in "、，,第"):
        return False
    if before.text[-1] in "，、,":
        return not line.blank or before.width >= SHORTEST_BROKEN
    if line.blank or before.text[-1] in CLOSED:
        return not line.blank and bool(width) and not line.indented and width - 2 <= before.width <= width + 2
    is_name = first and len(before.text) <= 15 and before.width < 0.6 * (width or 40) and not line.cut
    return not line.indented and not is_name
