"""Exam leaks: a record that holds 80 % of the 8-grams of a question with its best option stands in the exam."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from legal_tasks.data.dedupe import grams, normal
from legal_tasks.data.readers import decode, pieces

GRAM = 8


@dataclass
class Question:
    """An exam question as n-gram sets: the stem's, and the stem's with each option."""

    exam: str
    line: int
    stem: set[str]
    whole: list[set[str]]


class Exams:
    """All questions of all exams, found by the 8-grams that they share with a text.

    `shortest`: questions whose stem and option together have fewer characters are left out (anybody would say them).
    """

    def __init__(self, shortest: int = 24) -> None:
        self.shortest = shortest
        self.questions: list[Question] = []
        self.index: dict[str, list[int]] = defaultdict(list)

    def add(self, exam: str, line: int, question: str, options: list[str]) -> None:
        texts = [question + option for option in options] or [question]
        sets = [grams(text, GRAM) for text in texts if len(normal(text)) >= self.shortest]
        if not sets:
            return
        number = len(self.questions)
        stem = grams(question, GRAM) if len(normal(question)) > GRAM else set()
        self.questions.append(Question(exam, line, stem, sets))
        for gram in sorted(set().union(*sets)):
            self.index[gram].append(number)

    def matches(self, text: str, bound: float = 0.8) -> Iterator[tuple[Question, float]]:
        """Questions that stand in the text, with the share of their 8-grams (0..1) that it holds."""
        own = grams(text, GRAM)
        shared: Counter[int] = Counter()
        for gram in own & self.index.keys():
            shared.update(self.index[gram])
        for number in sorted(shared):
            question = self.questions[number]
            if shared[number] < bound * min(map(len, question.whole)):
                continue
            score = max(len(own & part) / len(part) for part in question.whole)
            if score >= bound:
                yield question, score


def read_exams(folder: Path, shortest: int = 24) -> Exams:
    """Every suite of collect's exams folder, and the stock C-Eval and CMMLU files in it.

    Items whose wording is `seen` are asked in words that are taught on purpose, as a control: they are no leak.
    """
    exams = Exams(shortest)
    for path in sorted(folder.glob("*.jsonl")):
        for line, text in enumerate(path.read_text("utf-8").splitlines(), 1):
            item = json.loads(text)
            if item.get("wording") == "seen":
                continue
            exams.add(path.stem, line, item["question"], [str(option) for option in (item.get("options") or {}).values()])
    for path in sorted(folder.rglob("*.csv")):
        for line, piece in enumerate(pieces(decode(path.read_bytes())[0], "csv"), 1):
            lower = {str(key).lower(): str(value) for key, value in (piece.fields or {}).items()}
            if "question" in lower:
                options = [lower[letter] for letter in "abcd" if lower.get(letter)]
                exams.add(path.relative_to(folder).as_posix(), line, lower["question"], options)
    return exams
