"""What a record is about: the laws that it cites, and its subject by them, by its own law, or by its words.

Laws and words stand in subjects.yaml beside this file, with their sources. Where several laws are cited the subject with the
most citations wins; where none is, that of which most different words are used. Ties go by the order of the file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

OTHER = "其他"
REGULATION = re.compile("(?:条例|办法|细则|规定|决定|方案|通知)$")  # of the administration, unless its name says more
ACT = re.compile(
    "(?:法|法典|通则|总则|条例|规定|办法|细则|决定|解释|批复|意见|规则|通知|修正案)(?:[（(].*[）)])?$"
)  # no contract or book
MOST_LAWS = 8  # named in a record


@dataclass(frozen=True)
class Table:
    """`laws`: law -> subject; `books`: (first article of the Civil Code, subject); `words`: subject -> its words."""

    branches: dict[str, str]
    laws: dict[str, str]
    books: tuple[tuple[int, str], ...]
    words: dict[str, re.Pattern[str]]


@lru_cache
def table() -> Table:
    import yaml

    read = yaml.safe_load((Path(__file__).parent / "subjects.yaml").read_text("utf-8"))
    laws = {
        law: subject
        for subject, rows in read["laws"].items()
        for row in rows
        for law in (row if isinstance(row, list) else [row])
    }
    # The longer word first, so that 诈骗罪 is one word and not 诈骗.
    words = {
        subject: re.compile("|".join(map(re.escape, sorted(found, key=len, reverse=True))))
        for subject, found in read["words"].items()
    }
    return Table(read["branches"], laws, tuple(sorted(read["civil_code"].items())), words)


def branch_of(subject: str) -> str:
    """The branch of law that a subject belongs to; OTHER for OTHER."""
    return table().branches.get(subject, OTHER)


def of_law(name: str, article: str = "") -> str:
    """The subject of a law by its short name, of the Civil Code by the article ("1165", "12-1"); OTHER where nothing tells.

    A law that the table does not hold goes by the law that its name mentions (an interpretation), else by its name's words.
    """
    known = table()
    if name == "民法典":
        number = max(1, int(article.split("-")[0] or 0))  # "0" could not be read, "" is the code as a whole
        return [subject for first, subject in known.books if first <= number][-1]
    if name in known.laws:
        return known.laws[name]
    about = [law for law in known.laws if len(law) > 2 and law in name]
    if about:
        return known.laws[max(about, key=len)]
    found = next((subject for subject, words in known.words.items() if words.search(name)), OTHER)
    return "行政" if found == OTHER and REGULATION.search(name) else found


def of_words(text: str) -> str:
    """The subject of which a text uses most different words; OTHER without any."""
    counts = {subject: len(set(words.findall(text))) for subject, words in table().words.items()}
    best = max(counts, key=lambda subject: counts[subject])
    return best if counts[best] else OTHER


def describe(cited: Iterable[tuple[str, str]], text: str, kind: str = "") -> tuple[list[str], str]:
    """([laws named, the most cited first, at most MOST_LAWS], subject) of a record.

    `cited`: (law, article or "") of each citation in it; what is no act by its name is passed over.
    A case in which somebody is accused is criminal law, whatever procedure it also cites. The Civil Code without an article
    says only that it is about civil law: the words decide.
    """
    laws: Counter[str] = Counter()
    votes: Counter[str] = Counter()
    for law, article in cited:
        if not ACT.search(law):
            continue
        laws[law] += 1
        subject = of_law(law, article)
        if subject != OTHER and (article not in ("", "0") or law != "民法典"):
            votes[subject] += 1
    named = [law for law, _ in sorted(laws.items(), key=lambda pair: (-pair[1], pair[0]))][:MOST_LAWS]
    if kind == "case" and "被告人" in text:
        return named, "刑法"
    # Whoever sues cites the procedure too: it is the subject only where nothing else is.
    substance = {subject: count for subject, count in votes.items() if subject != "诉讼程序"}
    if "民法典" not in laws:
        substance = substance or votes
    if substance:
        order = list(table().branches)
        return named, max(substance, key=lambda subject: (substance[subject], -order.index(subject)))
    subject = of_words(text)
    return named, of_law("民法典") if subject == OTHER and "民法典" in laws else subject
