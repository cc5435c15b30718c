"""What a record is about: the laws that it cites, and its subject by them, by its own law, or by its words.

Laws and words stand in subjects.yaml beside this file, with their sources. Where several laws are cited the subject with the
most citations wins; where none is, what is asked decides by the words that people use who ask about a subject, and OTHER where
they do not decide clearly.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

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
    sure: dict[str, re.Pattern[str]]
    hints: dict[str, re.Pattern[str]]


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
    words = {subject: _one_of(found) for subject, found in read["words"].items()}
    sure = {subject: _one_of(rows["sure"]) for subject, rows in read["asked"].items()}
    hints = {subject: _one_of(rows["hint"]) for subject, rows in read["asked"].items()}
    return Table(read["branches"], laws, tuple(sorted(read["civil_code"].items())), words, sure, hints)


def _one_of(words: list[Any]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(word) for word in sorted(map(str, words), key=len, reverse=True)))


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


# Consultations that claimed a subject, read by one reader, of them right: drawn by lot from the half of the public consultations
# that the words were not chosen with; 54 by words alone (46 right), 58 by the laws that the answer cites (51). What was wrong
# there was corrected since where it was of a kind.
READ = (112, 97)
ANSWERED = 0.25  # what a word of the answer counts against one of the question
LEAD, STRONG = 1.0, 4.0  # points by which a subject must lead the next; from which a question outdoes the laws of its answer
PROCEDURE = "诉讼程序"


def of_words(asked: str, answered: str = "") -> str:
    """The subject of which question and answer use most words, each word once; OTHER where none is clear.

    Whoever asks how to sue asks about something: procedure is the subject only where no other has a sure word in the question.
    """
    points, sure = _points(asked, answered)
    if sure - {PROCEDURE}:
        del points[PROCEDURE]
    best, second = sorted(points, key=lambda subject: -points[subject])[:2]
    return best if best in sure and points[best] - points[second] >= LEAD else OTHER


def _points(asked: str, answered: str) -> tuple[dict[str, float], set[str]]:
    """({subject: points}, subjects with a sure word in the question)."""
    known = table()
    points: dict[str, float] = {}
    found = set()
    for subject in known.sure:
        sure, hints = set(known.sure[subject].findall(asked)), set(known.hints[subject].findall(asked))
        said = set(known.sure[subject].findall(answered))
        points[subject] = 2 * len(sure) + len(hints) + ANSWERED * min(len(said), 4)
        found |= {subject} if sure else set()
    return points, found


def _agreed(subject: str, asked: str) -> str:
    """The subject of the laws that an answer cites, held to its question.

    The general part of the Civil Code gives way to what is asked: an answer cites it about anything. Where the question has no
    word of the subject but sure words of another, that is the subject if it is strong, else nothing is said.
    """
    points, _ = _points(asked, "")
    other = of_words(asked)
    if subject == "民法总则":
        return other
    if other in (OTHER, PROCEDURE, subject):
        return subject
    if subject == PROCEDURE:
        return other
    if points[subject]:
        return subject
    return other if points[other] >= STRONG else OTHER


def describe(cited: Iterable[tuple[str, str]], text: str, kind: str = "", asked: str = "") -> tuple[list[str], str]:
    """([laws named, the most cited first, at most MOST_LAWS], subject) of a record.

    `cited`: (law, article or "") of each citation in it; what is no act by its name is passed over. `asked`: the question alone,
    where the text holds one.
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
        subject = max(substance, key=lambda subject: (substance[subject], -order.index(subject)))
        return named, _agreed(subject, asked) if asked else subject
    subject = of_words(asked or text, text if asked else "")
    return named, of_law("民法典") if subject == OTHER and "民法典" in laws else subject
