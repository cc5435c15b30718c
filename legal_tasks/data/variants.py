"""Is a near-duplicate the same text with slips, or another text from one template?

Slips change single characters here and there, and sentences may stand in another order. A template's texts differ in names,
amounts, dates and clauses: in runs of characters and in numbers.
"""

from __future__ import annotations

import re
from functools import lru_cache

from legal_tasks.data.dedupe import GRAM, normal

WORD = 3  # characters
LONG = 8  # characters; slips make no run so long, so a run counts once more for each
NEW = re.compile(b"\x01+")
NUMBER = re.compile(r"[0-9]+[^\W0-9]?|[零〇一二两三四五六七八九十百千万亿]+")  # with its unit: 3月 is not 3日
BLANK = re.compile(r"[^\S\n]+")  # a sentence that moves keeps its numbers: those at its end have no unit
NUMERAL = re.compile("[0-9零〇一二两三四五六七八九十百千万亿]")
# Slips beside each other look like a run: of many slips so many may. At 3 % of the characters it is one in seventeen.
FEW, ONE_IN = 2, 6
SLIPPED = 0.06  # share of the characters


def is_variant(first: str, second: str) -> bool:
    """Whether two similar texts say different things: on both sides more places differ in runs and numbers than slips explain.

    A longer copy differs on its own side only: it is no variant.
    """
    sides = _sides(first, second)
    slots = min(slots for slots, _ in sides)
    slips = sum(slips for _, slips in sides) / 2
    return slots > min(slips, FEW + (slips - FEW) / ONE_IN)


def is_slipped(first: str, second: str) -> bool:
    """Whether two texts are the same but for single characters, at most SLIPPED of all; sentences may have moved."""
    for text, (slots, slips) in zip((first, second), _sides(first, second), strict=True):
        if slots > max(1, slips / ONE_IN) or slots + slips > SLIPPED * len(normal(text)):
            return False
    return not is_variant(first, second)


@lru_cache(maxsize=16)
def _sides(first: str, second: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """`_places` of each against the other."""
    return _places(first, second), _places(second, first)


def _places(own: str, other: str) -> tuple[int, int]:
    """(places of `own` where a run or a number is not in `other`, places where a single character is not).

    One changed character makes GRAM pieces of text new, n together make n + GRAM - 1, a moved sentence fewer at its ends.
    """
    plain, theirs = normal(own), normal(other)
    known = {theirs[place : place + GRAM] for place in range(max(1, len(theirs) - GRAM + 1))}
    new = bytes(plain[place : place + GRAM] not in known for place in range(len(plain) - GRAM + 1))
    slots, slips, words = 0, 0, 0
    for run in NEW.finditer(new):
        begin, end = run.start() + GRAM - 1, run.end()
        if end > begin:
            changed = plain[begin:end]
            instead = _instead(plain[begin - GRAM + 1 : begin], end - begin, plain[end : end + GRAM - 1], theirs)
            if instead:
                found = _compare(changed, instead)
                slots, slips = slots + found[0], slips + found[1]
                words += found[0] == 1 and len(changed) <= WORD and not NUMERAL.search(changed)
            elif end - begin > 1 and changed not in theirs:
                slots += 1 + len(changed) // LONG
                words += end - begin <= WORD and not NUMERAL.search(changed)
            elif end - begin == 1:
                slots += bool(NUMERAL.search(changed))
                slips += not NUMERAL.search(changed)
    # Beside each other, as in a date, several numbers make one run: those that the other text has nowhere are counted.
    missing = len(_numbers(own) - _numbers(other))
    # One other word in the whole text is a slip of a word.
    return (0, slips + 1) if slots == words == 1 and not missing else (max(slots, missing), slips)


@lru_cache(maxsize=16)
def _numbers(text: str) -> frozenset[str]:
    return frozenset(NUMBER.findall(BLANK.sub("", text)))


def _instead(before: str, size: int, after: str, theirs: str) -> str:
    """What stands in the other text between the same words, if it is as long; else ""."""
    place = theirs.find(before)
    while place >= 0:
        begin = place + len(before)
        if theirs.startswith(after, begin + size):
            return theirs[begin : begin + size]
        place = theirs.find(before, place + 1)
    return ""


def _compare(own: str, other: str) -> tuple[int, int]:
    """(runs and numbers, single characters) in which two texts of one length differ."""
    slots, slips, run = 0, 0, 0
    for place in range(len(own) + 1):
        if place < len(own) and own[place] != other[place]:
            run += 1
            continue
        number = run == 1 and NUMERAL.match(own[place - 1]) and NUMERAL.match(other[place - 1])
        slots += run > 1 or bool(number)
        slips += run == 1 and not number
        run = 0
    return slots, slips
