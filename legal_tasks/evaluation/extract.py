"""Read the chosen letters out of an answer in words: strictly, and flexibly; no letter is an abstention.

`strict` takes an answer that is the letters and nothing else ("B", "答案：ACD。"). `flexible` also takes what a longer
answer commits to: "故本题答案为B", a letter at its head, or the text of exactly one option. Options that are articles are
compared by law and number, not by their letters. Strict and flexible are both reported, because the same answers have
scored 0.20 by one and 0.78 by the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from legal_tasks.evaluation.articles import articles, without

VERSION = 2  # raised when the same answer should give other letters

_LETTERS = r"[A-H](?:[\s、,，和及与]*[A-H])*"
_STRICT = re.compile(
    rf"(?:(?:正确)?(?:答案|选项)(?:是|为|应为|选)?|应?选择?)?[\s:：]*[(（【\[]?\s*({_LETTERS})\s*[)）】\]]?[\s.。]*"
)
_COMMITS = re.compile(
    rf"(?:答案|选项|应当?选|故选|因此选|所以选|选择?)(?:应当?)?(?:是|为|选)?[\s:：]*[(（【\[]?\s*({_LETTERS})(?![A-Za-z])"
)
_HEAD = re.compile(rf"[\s(（【\[]*({_LETTERS})(?![A-Za-z])[\s)）】\]]*(?:[.。、,，:：;；]|项|$)")


def strict(answer: str, options: Mapping[str, str]) -> list[str]:
    """The letters of an answer that is nothing but letters; [] for any other."""
    found = _STRICT.fullmatch(_upright(answer).strip())
    return _known(found[1], options) if found else []


def flexible(answer: str, options: Mapping[str, str]) -> list[str]:
    """The letters that an answer commits to, the last commitment counting; [] if it commits to none."""
    text = _upright(answer).strip()
    letters = strict(text, options)
    if letters:
        return letters
    commitments = [_known(found[1], options) for found in _COMMITS.finditer(text)]
    if any(commitments):
        return [one for one in commitments if one][-1]
    head = _HEAD.match(text)
    if head and _known(head[1], options):
        return _known(head[1], options)
    cited = {letter: set(articles(option)) for letter, option in options.items()}
    if all(cited.values()) and not any(re.search(r"\w", without(option)) for option in options.values()):
        return _by_article(text, cited)
    named = [letter for letter, option in options.items() if option.strip() and option.strip() in text]
    return named if len(named) == 1 else []


def _by_article(text: str, options: Mapping[str, set[tuple[str, str]]]) -> list[str]:
    """The option whose articles are those that the answer names; [] if none or several are. Without a law any law will do."""
    laws = {law for cited in options.values() for law, _ in cited if law}
    about = next(iter(laws)) if len(laws) == 1 else ""
    said = set(articles(text, laws, about))
    numbers = {number for _, number in said}
    fits = [
        letter
        for letter, cited in options.items()
        if said and (cited == said or (not laws and {number for _, number in cited} == numbers))
    ]
    return fits if len(fits) == 1 else []


def _upright(text: str) -> str:
    """Full-width letters as plain ones."""
    return text.translate({ord("Ａ") + number: ord("A") + number for number in range(26)})


def _known(letters: str, options: Mapping[str, str]) -> list[str]:
    """The letters in order; [] where one of them is no option."""
    found = sorted(set(re.findall("[A-H]", letters)))
    return found if found and set(found) <= set(options) else []
