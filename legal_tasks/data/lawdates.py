"""What a law's text says of days: adopted, in force from, ended, and which others it ended."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator

from legal_tasks.data.numerals import to_number

CHINESE = "〇○零一二三四五六七八九十"
YEAR = rf"(?:[\d０-９]{{4}}|[{CHINESE}]{{4}})"
SMALL = rf"(?:[\d０-９]{{1,2}}|[{CHINESE}]{{1,3}})"
DAY = rf"{YEAR}\s*[年.\-/]\s*{SMALL}\s*[月.\-/]\s*{SMALL}\s*日?"
DATE = re.compile(rf"({YEAR})\s*[年.\-/]\s*({SMALL})\s*[月.\-/]\s*({SMALL})(?!\d)\s*日?")
STARTS = re.compile(rf"(?:自|从|于|在)\s*({DAY})\s*(?:零时)?\s*(?:起|开始|起正式|正式)?\s*(?:正式)?(?:施行|生效|实施|执行)")
HEAD_STARTS = re.compile(rf"({DAY})\s*(?:起)?\s*(?:施行|生效|实施)")
PASSED = re.compile(r"(?:公布|发布|通过|颁布|批准)之日起\s*(?:施行|生效|实施|执行)")
OWN = re.compile(r"(?:^|[，,：:（(\s]|本[^，。；《》]{0,20}|修[正订]|通过|公布|发布|现予.{0,6})$")  # what stands before 自…起施行
GONE = re.compile(rf"({DAY})\s*起?\s*(?:废止|失效)")
NOTE = r"(?:[（(][^（）()《》\n]{0,60}[）)]|〔[^〔〕《》\n]{0,40}〕)?"
NAME = rf"《[^《》]{{1,120}}(?:《[^《》]{{1,80}}》[^《》]{{0,80}}){{0,3}}》{NOTE}"
ISSUED = r"(?:[^《》。；\n]{0,60}?(?:发布|公布|颁布|印发|批准|通过|颁发|制定|下发)的)?"
ITEM = r"(?:[（(]?[一二三四五六七八九十\d]{1,3}[）).、．]\s{0,3})?"
AND = r"[，、,；;和及以与\s]{0,6}"
HOW = r"(?:同时|即行|随之|相应|一并|予以|自行|自[^。《》]{2,20}起)(?:予以|即行)?"
NAMES = rf"(?:{AND}{ITEM}{ISSUED}{NAME}){{1,60}}"
ENDS = re.compile(rf"({NAMES})[^。《》\n]{{0,30}}?{HOW}(?:废止|失效|停止(?:执行|适用))")
SINCE_ENDS = re.compile(
    rf"(?:(?:施行|生效|公布|发布|实施)(?:之日起|后|以后)|之日起)[，,]?({NAMES})(?:同时|即行|予以)?(?:废止|失效)(?![前后的之时])"
)
LIST_ENDS = re.compile(
    rf"(?:(?:废止|失效)(?:下列|以下|的?如下|的)[^《》。]{{0,40}}|(?:下列|以下)[^《》。]{{0,20}}(?:废止|失效))[:：]"
    rf"((?:[。]?{AND}{ITEM}{ISSUED}{NAME}[^《》\n。；;]{{0,40}}){{1,300}})"
)
DIRECT_ENDS = re.compile(rf"(?:同时|现|予以|决定)废止({NAMES})")


JUDGED = re.compile(rf"(?m)^[ \t　]*({DAY})[ \t　]*$")
STAMPED = re.compile(rf"(?:裁判|判决|审结|宣判|裁定|结案)(?:日期|时间|日)[:：]?\s*({DAY})")
PUBLISHED = re.compile(rf"(?:publictime|发布(?:日期|时间)|公布(?:日期|时间))[:：]\s*({DAY})")


def judged(text: str) -> str:
    """The day of a judgment: the last line that is nothing but a date, else the one it names so, else its publication."""
    lines = [iso(DATE.search(found[1])) for found in JUDGED.finditer(text[len(text) // 2 :])]
    named = [iso(DATE.search(found[1])) for pattern in (STAMPED, PUBLISHED) for found in pattern.finditer(text)]
    return next((day for day in [*reversed(lines), *named] if day), "")


def number(text: str) -> int:
    """A year, month or day in any digits: 2021, ２０２１, 二〇二一, 十二."""
    plain = text.translate(str.maketrans("０１２３４５６７８９○", "0123456789〇"))
    if plain.isdigit():
        return int(plain)
    if "十" not in plain:
        return int("".join(str("〇一二三四五六七八九".find(char.replace("零", "〇"))) for char in plain))
    return to_number(plain)


def iso(found: re.Match[str] | None) -> str:
    """2021-01-01 of what DATE found; "" where there is no such day."""
    try:
        return datetime.date(*map(number, found.groups())).isoformat() if found else ""
    except ValueError:
        return ""


def days(text: str) -> list[str]:
    """All days that a text names, in order."""
    return [day for day in map(iso, DATE.finditer(text)) if day]


def decided(head: str) -> list[str]:
    """The days of adoption, publication and amendment that the lines above a law name: all but those of entry into force."""
    return days(HEAD_STARTS.sub("", STARTS.sub("", head)))


def first_day(head: str, articles: Iterable[str]) -> str:
    """The day from which the law has been in force, as its last articles (or the lines above it) say; "" where they do not."""
    for text in [*reversed(list(articles)), head]:
        for found in STARTS.finditer(text):
            before = re.split("[。；\n]", text[max(0, found.start() - 80) : found.start()])[-1]
            if OWN.search(before) and not re.search(r"第[^，。；]{1,12}[条章款项]", before):
                return iso(DATE.search(found[1]))
    return ""


def amended_day(head: str, first: bool = False) -> str:
    """The last (or first) day of entry into force that the lines above a law name, "" where they name none."""
    found = [iso(DATE.search(one[1])) for one in HEAD_STARTS.finditer(STARTS.sub("", head))]
    for one in STARTS.finditer(head):
        if OWN.search(re.split("[。；\n]", head[max(0, one.start() - 80) : one.start()])[-1]):
            found.append(iso(DATE.search(one[1])))
    return (min if first else max)(found, default="")


def ended(head: str) -> str:
    """The day on which the law ended, if the lines above it say so."""
    found = GONE.search(head)
    return iso(DATE.search(found[1])) if found else ""


def repealed(text: str) -> Iterator[str]:
    """The laws that a text says it ends, as it names them."""
    for pattern in (ENDS, SINCE_ENDS, LIST_ENDS, DIRECT_ENDS):
        for found in pattern.finditer(text) if re.search("废止|失效|停止", text) else ():
            yield from outermost(found[1])


LINE = re.compile(
    rf"(?m)^[ \t　|]{{0,8}}[（(]?(?:\d{{1,3}}|[一二三四五六七八九十]{{1,3}})[）).、．| \t　]{{1,4}}"
    rf"([^\n|《》]{{7,120}}?)[ \t　]{{0,4}}{NOTE}[ \t　;；。]{{0,4}}(?:$|\|)"
)
DOCUMENT = re.compile(
    r"(?:法|条例|规定|办法|细则|规则|解释|决定|意见|批复|通知|解答|答复|复函|纪要|函)(?:[（(][^（）()]{1,12}[）)])?$"
)


def listed(text: str) -> Iterator[str]:
    """The names without 《》 in the numbered lines of a list of what a decision ends, each before the brackets of its number."""
    for found in LINE.finditer(text):
        if len(found[1]) > 6 and DOCUMENT.search(found[1]):
            yield found[1].strip()


def outermost(text: str) -> Iterator[str]:
    """The names in 《》, the outermost where they are nested."""
    depth = start = 0
    for place, char in enumerate(text):
        if char == "《":
            start = place + 1 if not depth else start
            depth += 1
        elif char == "》" and depth:
            depth -= 1
            if not depth:
                yield text[start:place]
