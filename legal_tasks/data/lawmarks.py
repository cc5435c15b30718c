"""Which places in a statute's text begin an article: told by order and context (see lawtext.py)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from legal_tasks.data import lawtitle
from legal_tasks.data.lawlines import CLOSED, Line
from legal_tasks.data.numerals import NUMBER, to_number

BLANKS = "[ \t　\xa0]"
DIGIT = NUMBER[: NUMBER.index("]")] + "壹贰叁肆伍陆柒捌玖拾佰仟廿]"
SPACED = rf"{DIGIT}(?:{BLANKS}*{DIGIT})*"
OPEN, SHUT = r"\[【［〔(（〈<「『{《", r"\]】］〕)）〉>」』}》"
HEAD = re.compile(
    rf"(?P<open>[{OPEN}])?{BLANKS}*第{BLANKS}*(?P<n>{SPACED}){BLANKS}*(?:之{BLANKS}*(?P<early>{SPACED}){BLANKS}*)?[条條]"
    rf"(?:{BLANKS}*之{BLANKS}*(?P<late>{NUMBER}))?{BLANKS}*(?P<shut>[{SHUT}])?(?P<between>[ \t　\xa0:：.．。、,，]*)"
)
INLINE = re.compile(rf"(?<=[。；）)”！？]){BLANKS}{{0,4}}(?=第{BLANKS}*{SPACED}{BLANKS}*[条條])")
# What stands behind a reference within a sentence, and before it.
CITES = re.compile(
    rf"的(?!士)|之?规定|之(?!{NUMBER})|第{BLANKS}*(?:{SPACED}){BLANKS}*[款项条目]|所(?:列|规定|称|指|述)|中的|[)）】\]》”]|"
    rf"(?:[、，,和及与或至到～~－—-]|或者|以及){BLANKS}*(?:第{NUMBER}|{NUMBER}[条款项]|本.{{1,6}}第|《[^》]*》第)"
)
LOOSE = re.compile("规定|所|之")  # begin an article too, where a blank stands before them
CITING = re.compile(
    r"(?:依照|依据|根据|按照|按|违反|适用|符合|参照|遵守|触犯|对照|以及|或者|[、，,和及与或至]|》|[(（《“]|"
    r"(?:本|该|依照[^。；]{1,30}|依据[^。；]{1,30}|根据[^。；]{1,30}|按照[^。；]{1,30}|违反[^。；]{1,30}|适用[^。；]{1,30})"
    r"(?:法|条例|办法|规定|细则|解释|规则|章程|决定|法典))$"
)
LONGEST_LINE = 3_000  # characters of a line in the middle of which articles are looked for; read() breaks longer ones
MOST = 20_000  # places that may begin an article in one text; more is no law
BEHIND_ANNEX = 2.5  # what it costs that an article stands behind 附件
WINDOW = 60  # of which so many may stand between two that follow each other
SHORT = 45  # characters of an entry of a table of contents


@dataclass
class Mark:
    """A place that may begin an article: its line, number (main, 之), and how much speaks for it."""

    line: int
    main: int
    extra: int
    rest: str
    weight: float
    inline: bool = False

    @property
    def key(self) -> str:
        return f"{self.main}-{self.extra}" if self.extra else str(self.main)


def marks_of(found: Sequence[Line]) -> list[Mark]:
    """All places that may begin an article, but for those that the sentence around them shows to be references."""
    marks, quoted = list[Mark](), False
    for number, line in enumerate(found):
        head = HEAD.match(line.text)
        if head:
            mark = _mark(found, number, head, line.text[head.end() :])
            if mark and quoted:
                mark.weight -= 2.5
            if mark and mark.weight > -1.5:
                marks.append(mark)
        for place in INLINE.finditer(line.text) if len(line.text) <= LONGEST_LINE else ():
            head = HEAD.match(line.text, place.end())
            if head and not _in_quotation(line.text, place.end()) and not (quoted and "”" in line.text[place.end() :]):
                main, extra = _number(head)
                if main and not _refers(head, line.text[head.end() :]):
                    marks.append(Mark(number, main, extra, line.text[head.start() :], 0.3 if head["between"] else 0.15, True))
        opened, closed = line.text.rfind("“"), line.text.rfind("”")
        quoted = opened > closed if max(opened, closed) >= 0 else quoted and not line.blank
        if len(marks) > MOST:
            return []
    return marks


def _number(head: re.Match[str]) -> tuple[int, int]:
    later = head["early"] or head["late"]
    return to_number(re.sub(r"\s", "", head["n"])), to_number(re.sub(r"\s", "", later)) if later else 0


def _in_quotation(text: str, place: int) -> bool:
    return text.rfind("“", 0, place) > text.rfind("”", 0, place)


def _refers(head: re.Match[str], rest: str) -> bool:
    """Whether what follows shows a reference within a sentence."""
    between, after = head["between"], rest
    if between and between.strip() and re.match(rf"第?{SPACED}{BLANKS}*[条條款项]", rest):
        return True
    if head["open"] and not head["shut"] and not re.search(f"[{SHUT}]", rest[:40]):
        return True
    found = CITES.match(between.strip() + after)
    return found is not None and not (between and not between.strip() and LOOSE.match(found[0]))


def _mark(found: Sequence[Line], number: int, head: re.Match[str], rest: str) -> Mark | None:
    main, extra = _number(head)
    if not main:
        return None
    line = found[number]
    following = rest
    if not rest.strip() and number + 1 < len(found) and not found[number + 1].blank:
        following = found[number + 1].text
        if not HEAD.match(following) and CITES.match(following):
            return None
    elif _refers(head, rest):
        return None
    return Mark(number, main, extra, _rest(head, rest), 1.0 + _context(found, number, line))


def _rest(head: re.Match[str], rest: str) -> str:
    """What the article says on its first line; a heading in brackets keeps both of them."""
    return head["open"] + rest if head["open"] and not head["shut"] else rest


def _context(found: Sequence[Line], number: int, line: Line) -> float:
    """How well a heading fits behind the line before it: below 0 where it would break a sentence."""
    bonus = 0.5 if line.marked else 0.0
    if number == 0:
        return bonus + 0.3
    before = found[number - 1]
    if before.text[-1] in "。；：！？:;!?" or lawtitle.is_structure(before.text):
        return bonus + 0.3
    title = lawtitle.is_title(before.text) and not re.search("[本该]", before.text)
    if CITING.search(before.text[-80:]) and not title:
        return bonus - (1.0 if line.blank or line.marked else 2.4)
    if line.blank or title or HEAD.match(before.text) or before.text[-1] in CLOSED:
        return bonus + (0.3 if line.blank else 0.0)
    return bonus - (0.3 if before.width < 20 else 0.8)


def chain(marks: Sequence[Mark], found: Sequence[Line]) -> list[list[Mark]]:
    """The articles, a list for each law or table of contents: the choice of marks whose numbers go on with the least harm."""
    best, before = list[float](), list[int]()
    starts, annexes = _starts(marks, found), _annexes(marks, found)
    for place, mark in enumerate(marks):
        score, previous = -(0.0 if mark.main == 1 else 0.5), -1
        for other in range(max(0, place - WINDOW), place):
            cost = _step(marks[other], mark, starts[place])
            if cost is not None and marks[other].line < annexes[place] and mark.main != 1:
                cost += BEHIND_ANNEX
            if cost is not None and best[other] - cost > score:
                score, previous = best[other] - cost, other
        best.append(score + mark.weight)
        before.append(previous)
    if not best or max(best) <= 0:
        return []
    place, chosen = max(range(len(best)), key=lambda one: (best[one], -one)), list[Mark]()
    while place >= 0:
        chosen.append(marks[place])
        place = before[place]
    chains: list[list[Mark]] = []
    for mark in reversed(chosen):
        if not chains or (mark.main, mark.extra) <= (chains[-1][-1].main, chains[-1][-1].extra):
            chains.append([])
        chains[-1].append(mark)
    return chains


def _step(first: Mark, second: Mark, start: float) -> float | None:
    """What it costs that `second` follows `first`; None where it cannot. `start`: what a new law before `second` costs."""
    gap = second.main - first.main
    if gap == 0 and second.extra > first.extra:
        return 0.0 if second.extra == first.extra + 1 else 0.5
    if gap == 1:
        return 0.5 if second.extra else 0.0
    if gap > 1:
        return min(0.6 + 0.02 * gap, 1.1)
    return start if second.main == 1 and not second.extra else None


def _starts(marks: Sequence[Mark], found: Sequence[Line]) -> list[float]:
    """What it costs that a new law begins at each mark: little where a title, 目录 or 正文 stands above it."""
    costs, last = list[float](), -1
    for mark in marks:
        above = found[max(last + 1, mark.line - 60) : mark.line]
        plain = [line for line in above if not HEAD.match(line.text)]
        told = any(
            line.level
            or lawtitle.CONTENTS.match(line.text)
            or lawtitle.BODY.match(line.text)
            or lawtitle.is_title(line.text)
            or lawtitle.STRUCTURE.match(line.text)
            for line in plain
        )
        costs.append(0.3 if told else 1.2)
        last = mark.line if not mark.inline else last
    return costs


def _annexes(marks: Sequence[Mark], found: Sequence[Line]) -> list[int]:
    """The line of the last 附件 before each mark; -1 where there is none."""
    lines, annex, place = list[int](), -1, 0
    for mark in marks:
        for number in range(place, mark.line):
            annex = number if lawtitle.ANNEX.match(found[number].text) else annex
        place = mark.line
        lines.append(annex)
    return lines


def without_contents(found: Sequence[Line], chains: list[list[Mark]]) -> list[tuple[list[Mark], set[int]]]:
    """[(a law's marks, lines of tables of contents above it)]."""
    kept, gone = list[tuple[list[Mark], set[int]]](), set[int]()
    for number, one in enumerate(chains):
        if _is_contents(found, one, chains[max(0, number - 2) : number] + chains[number + 1 : number + 3]):
            gone |= {mark.line for mark in one}
        else:
            kept.append((one, gone))
            gone = set()
    return kept


def _is_contents(found: Sequence[Line], one: list[Mark], others: list[list[Mark]]) -> bool:
    """Whether a chain lists headings without sentences, under the word 目录 or beside a chain that has the sentences."""
    entries = [_entry(found, mark) for mark in one]
    said = sum(bool(re.search("[。；]", entry)) or len(entry) > SHORT for entry in entries)
    if said > 0.2 * len(one) or (len(one) < 2 and not others):
        return False
    above = found[max(0, one[0].line - 12) : one[0].line]
    if any(lawtitle.CONTENTS.match(re.sub(r"\s", "", line.text)) for line in above):
        return True
    keys = {mark.key for mark in one}
    for other in others:
        if len(keys & {mark.key for mark in other}) >= 0.6 * len(keys) and sum(
            bool(re.search("[。；]", _entry(found, mark))) for mark in other
        ) > 0.5 * len(other):
            return True
    return False


def _entry(found: Sequence[Line], mark: Mark) -> str:
    """The first line that says something of an article."""
    if mark.rest.strip():
        after = found[mark.line + 1].text if mark.line + 1 < len(found) else ""
        onward = after and not HEAD.match(after) and not found[mark.line + 1].blank and not lawtitle.is_structure(after)
        return mark.rest + (after if onward and len(mark.rest) > 8 else "")
    after = found[mark.line + 1].text if mark.line + 1 < len(found) else ""
    return "" if HEAD.match(after) or lawtitle.is_structure(after) else after
