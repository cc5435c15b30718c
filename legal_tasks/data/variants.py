"""Is a near-duplicate the same text with slips, or another text from one template?

Slips change single characters here and there, and sentences may stand in another order. A template's texts differ in names,
amounts, dates and clauses: in runs of characters and in numbers.
"""

from __future__ import annotations

import re

from legal_tasks.data.dedupe import GRAM, grams, normal

WORD = 3  # characters
NUMERAL = re.compile("[0-9零〇一二两三四五六七八九十百千万亿]")


def is_variant(first: str, second: str) -> bool:
    """Whether two similar texts say different things: on both sides more places differ in runs and numbers than singly.

    A longer copy differs on its own side only: it is no variant.
    """
    sides = [_places(one, other) for one, other in ((first, second), (second, first))]
    slots = min(slots for slots, _ in sides)
    slips = sum(slips for _, slips in sides) / 2
    return slots > slips


def _places(own: str, other: str) -> tuple[int, int]:
    """(places of `own` where a run or a number is not in `other`, places where a single character is not).

    One changed character makes GRAM pieces of text new, n together make n + GRAM - 1, a moved sentence fewer at its ends.
    """
    plain, known, theirs = normal(own), grams(other), normal(other)
    slots, slips, start, words = 0, 0, None, 0
    last = len(plain) - GRAM
    for place in range(last + 2):
        new = place <= last and plain[place : place + GRAM] not in known
        if new and start is None:
            start = place
        elif not new and start is not None:
            size = place - start - GRAM + 1
            changed = plain[start + GRAM - 1 : place]
            moved = size >= 2 and changed in theirs
            if (size >= 2 and not moved) or (size == 1 and NUMERAL.search(changed)):
                slots += 1
                words += size <= WORD and not NUMERAL.search(changed)
            elif size == 1:
                slips += 1
            start = None
    # One other word in the whole text is a slip of a word.
    return (0, slips + 1) if slots == words == 1 else (slots, slips)
