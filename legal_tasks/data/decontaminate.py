"""Exam leaks: a record in which a question stands with one of its options, or its stem, word for word or slightly reworded.

Options are looked at one by one, so their order and a rewriting as yes/no items hide nothing. What a question shares with the
text of statutes is no evidence: anybody may quote the law.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from legal_tasks.data.dedupe import grams, normal
from legal_tasks.data.encodings import decode
from legal_tasks.data.readers import pieces

if TYPE_CHECKING:
    import numpy

    from legal_tasks.data.postings import Postings

GRAM, FINE = 8, 5
FINE_NEEDS = 0.4  # share of the 8-grams that a reworded question must hold too: in a long text 5-grams meet by chance
SHORT, SHORT_BOUND = 30, 0.9  # 5-grams; of a short question more must be there
OWN_GRAMS, OWN_SHARE = 16, 0.5  # 5-grams of a question's own, beside statute text, and the share of them that must be there


@dataclass
class Wording:
    """A text to look for: its 8-grams, its 5-grams, and those of the 5-grams that no statute holds."""

    coarse: set[str]
    fine: set[str]
    own: set[str]
    stem: bool


@dataclass
class Question:
    """An exam question as the texts to look for: the stem with each option, and a stem that is long enough alone (True)."""

    exam: str
    line: int
    texts: list[tuple[str, bool]]


@dataclass(frozen=True)
class Match:
    """`score`: share (0..1) of the wording's grams that the text holds; `rule`: containment, reworded or stem."""

    question: Question
    score: float
    rule: str


class Exams:
    """All questions of all exams, found by the 5-grams that they share with a text.

    `shortest`: texts of fewer characters (stem with option; a stem alone) are left out: anybody would say them.
    """

    def __init__(self, shortest: int = 24) -> None:
        self.shortest = shortest
        self.questions: list[Question] = []
        self.law: set[str] = set()  # 5-grams of statutes, of those that any question has
        self._index: tuple[Postings, numpy.ndarray] | None = None

    def add(self, exam: str, line: int, question: str, options: list[str]) -> None:
        whole = [(question + option, False) for option in options] or [(question, False)]
        texts = [(text, stem) for text, stem in [*whole, *([(question, True)] if options else [])]]
        texts = [(text, stem) for text, stem in texts if len(normal(text)) >= self.shortest]
        if texts:
            self.questions.append(Question(exam, line, texts))
            self._index = None

    def index(self) -> tuple[Postings, numpy.ndarray]:
        """(grams of the questions, smallest number of grams among each question's wordings); made once."""
        import numpy

        from legal_tasks.data import minhash
        from legal_tasks.data.postings import Postings

        if self._index is None:
            found, smallest = [], []
            for question in self.questions:
                sets = [minhash.tokens(text) for text, _ in question.texts]
                found.append(numpy.unique(numpy.concatenate(sets)))
                smallest.append(min(map(len, sets)))
            self._index = Postings(found), numpy.array(smallest)
        return self._index

    def exempt(self, texts: Iterable[str]) -> None:
        """Take the grams of these texts (the articles of statutes) as nobody's own."""
        from legal_tasks.data import minhash

        known = self.index()[0]
        for text in texts:
            plain, hashes = normal(text), minhash.gram_hashes(text)
            if len(hashes) != len(plain) - FINE + 1:  # a letter that is longer in lower case
                self.law |= grams(text, FINE)
                continue
            self.law.update(plain[place : place + FINE] for place in known.known(hashes).nonzero()[0].tolist())

    def exempt_statutes(self, path: Path) -> None:
        """`exempt` for the articles in statutes.jsonl of data.clean."""
        with open(path, encoding="utf-8") as file:  # its lines end at a line feed; an article may hold U+2028
            laws = (json.loads(line) for line in file)
            self.exempt(text for law in laws for text in [*law["articles"].values(), law.get("annex", "")])

    def digest(self) -> str:
        """Of all that decides what is found, for results that are kept."""
        total = 0
        for question in self.questions:
            total = zlib.crc32(
                f"{total} {question.exam} {question.line} {question.texts}".encode("utf-8", "surrogatepass"), total
            )
        law = sum(zlib.crc32(gram.encode("utf-8", "surrogatepass")) for gram in self.law)
        return f"{len(self.questions)}-{total:08x}-{law:x}"

    def matches(self, text: str, bound: float = 0.8) -> Iterator[Match]:
        """Questions that stand in the text, each with its best score."""
        from legal_tasks.data import minhash

        if not self.questions:
            return
        index, smallest = self.index()
        close = (index.shared(minhash.tokens(text)) >= bound * smallest).nonzero()[0].tolist()
        fine, coarse = (grams(text, FINE), grams(text, GRAM)) if close else (set(), set())
        for number in close:
            question = self.questions[number]
            found = [match for one in self._wordings(question) if (match := _match(question, one, fine, coarse, bound))]
            if found:
                yield max(found, key=lambda match: (match.score, match.rule))

    def _wordings(self, question: Question) -> Iterator[Wording]:
        for text, stem in question.texts:
            fine = grams(text, FINE)
            yield Wording(grams(text, GRAM), fine, fine - self.law, stem)


def _match(question: Question, wording: Wording, fine: set[str], coarse: set[str], bound: float) -> Match | None:
    if len(wording.own) < OWN_GRAMS or len(fine & wording.own) < OWN_SHARE * len(wording.own):
        return None
    score = len(coarse & wording.coarse) / len(wording.coarse)
    if score >= bound:
        return Match(question, score, "stem" if wording.stem else "containment")
    close = len(fine & wording.fine) / len(wording.fine)
    if close >= (max(bound, SHORT_BOUND) if len(wording.fine) < SHORT else bound) and score >= FINE_NEEDS:
        return Match(question, close, "stem" if wording.stem else "reworded")
    return None


def read_exams(folder: Path, shortest: int = 24) -> Exams:
    """Every question in the artifact of data.collect, also those that cannot be asked, and the stock C-Eval and CMMLU files."""
    exams = Exams(shortest)
    for text in (folder / "exam_questions.jsonl").read_text("utf-8").split("\n"):
        if text:
            exams.add(**json.loads(text))
    for path in sorted((folder / "exams").rglob("*.csv")):
        for line, piece in enumerate(pieces(decode(path.read_bytes())[0], "csv"), 1):
            lower = {str(key).lower(): str(value) for key, value in (piece.fields or {}).items()}
            if "question" in lower:
                options = [lower[letter] for letter in "abcd" if lower.get(letter)]
                exams.add(path.relative_to(folder / "exams").as_posix(), line, lower["question"], options)
    return exams


def read_suites(folder: Path) -> Exams:
    """Every question of the normalised suites <suite>.jsonl in a folder."""
    exams = Exams()
    for path in sorted(folder.glob("*.jsonl")):
        for line, text in enumerate(filter(None, path.read_text("utf-8").split("\n")), 1):
            item = json.loads(text)
            exams.add(path.stem, line, item["question"], list((item.get("options") or {}).values()))
    return exams
