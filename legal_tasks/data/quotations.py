"""Are these the words of the article? Omissions are allowed, other words, numbers and negations are not."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from legal_tasks.data.dedupe import grams, normal
from legal_tasks.data.numerals import NUMBER, to_number

COVERED = 0.9  # share of a quotation's characters that must stand in the article in runs of two and more
NEGATION = re.compile("[不未无非没勿]|禁止")
SHORT_GAP = 2  # characters; a longer omission may hold a negation of its own clause


def share(quote: str, article: str) -> float:
    """Share of the quotation's 5-grams that the article holds, 0..1; 1 for a quotation without words."""
    wanted = grams(quote)
    return len(wanted & grams(article)) / len(wanted) if wanted else 1.0


def fits(quote: str, article: str, bound: float = 0.6) -> bool:
    """Whether the quotation gives the article's words: `bound` of its 5-grams, nearly all characters, no altered sense."""
    said, law = _plain(quote), _plain(article)
    if share(said, law) < bound:
        return False
    matcher = SequenceMatcher(None, law, said, autojunk=False)
    blocks = [block for block in matcher.get_matching_blocks() if block.size >= 2]
    if sum(block.size for block in blocks) < COVERED * len(said):
        return False
    return not any(_altered(law[i:j], said[k:m]) for tag, i, j, k, m in _between(matcher, blocks) if tag != "equal")


def _plain(text: str) -> str:
    """Without punctuation, every number in Arabic digits: 三年 and 3年 are one."""
    return re.sub(NUMBER, lambda found: str(to_number(found[0])) if to_number(found[0]) else found[0], normal(text))


def _between(matcher: SequenceMatcher[str], blocks: list) -> list[tuple[str, int, int, int, int]]:
    """The differences inside what the blocks span: what stands before and after in the article was not quoted."""
    first, last = blocks[0], blocks[-1]
    return [
        code
        for code in matcher.get_opcodes()
        if code[0] in ("insert", "replace") or (code[0] == "delete" and first.a <= code[1] and code[2] <= last.a + last.size)
    ]


def _altered(lost: str, added: str) -> bool:
    if NEGATION.search(added) or (len(lost) <= SHORT_GAP and NEGATION.search(lost)):
        return True
    return bool(re.search(r"\d", added) and re.search(r"\d", lost))
