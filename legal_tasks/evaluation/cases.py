"""Case analysis in words: which key points, charges and articles of the reference does an answer name?

Articles are those of `legal_tasks.evaluation.articles`: equal by law and number, in every numeral. Charges are those that the
suite's references name, and whatever an answer says somebody is guilty of. A key point is a clause of the reference; an answer
has it if half of its character bigrams stand in it (a measure of words, not of sense: a right answer in other words scores low).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from legal_tasks.evaluation import articles as citing

VERSION = 2
SHORTEST_POINT = 6  # characters
COVERED = 0.5  # share of a point's bigrams
ASK_CHARGE = "请分析本案，说明被告人的行为构成何罪、适用哪些法条，并给出处理结果。"
_GUILT = re.compile(
    r"(?:构成|犯有?|涉嫌|成立|触犯|认定为|应以)了?((?:[\u4e00-\u9fff（）]{1,20}?罪[、和及与]?)+)(?!名|行|责|犯|过|状|证)"
)


def question(doc: Mapping[str, Any]) -> str:
    """The user's turn: the facts, and what is asked where the item gives facts alone."""
    ask = (doc.get("reference") or {}).get("charges")
    return doc["question"].strip() + (f"\n{ASK_CHARGE}" if ask else "")


def refer(text: str, charges: Collection[str] = ()) -> dict[str, list[str]]:
    """The reference {points, charges, articles} that an answer in words stands for."""
    return {"points": points(text), "charges": list(charges), "articles": articles(text)}


def points(text: str) -> list[str]:
    """The clauses of a reference, without the citations in them."""
    laws = [one.rpartition(" ")[0] for one in articles(text)]
    parts = re.split(r"[。；;！？!?\n]", citing.without(text, laws))
    return [part.strip(" ，,、：:　") for part in parts if len(re.findall(r"\w", part)) >= SHORTEST_POINT]


def articles(text: str) -> list[str]:
    """`law 123` for every article of a named law that is cited, each once."""
    return sorted({f"{law} {number}" for law, number in citing.articles(text) if law} or citing.canonical(text))


def charges(text: str, known: Collection[str] = ()) -> list[str]:
    """The charges that an answer names: those of `known` (the longest first), and what it says somebody is guilty of."""
    found = {re.sub("^[、和及与]", "", name) for said in _GUILT.finditer(text) for name in re.findall(".+?罪", said[1])}
    for name in sorted(known, key=len, reverse=True):
        if name in text:
            found.add(name)
            text = text.replace(name, "。")
    return sorted(found)


def covered(point: str, answer: str) -> bool:
    """Whether half of a point's character bigrams stand in the answer."""
    wanted = _bigrams(point)
    return len(wanted & _bigrams(answer)) >= COVERED * len(wanted)


def _bigrams(text: str) -> set[str]:
    plain = re.sub(r"\W", "", text)
    return {plain[place : place + 2] for place in range(len(plain) - 1)}


def f1(found: Collection[Any], wanted: Collection[Any]) -> float:
    """Harmonic mean of precision and recall of two sets, 0..1; 1 where both are empty."""
    if not found and not wanted:
        return 1.0
    return 2 * len(set(found) & set(wanted)) / (len(set(found)) + len(set(wanted)))


def cited(reference: Mapping[str, Any], answer: str) -> tuple[set[citing.Article], set[citing.Article]]:
    """(articles that the answer names, articles of the reference), as (law, number)."""
    wanted = citing.split(reference.get("articles") or [])
    return set(citing.said(answer, wanted)), set(wanted)


def judge(reference: Mapping[str, Any], answer: str, known: Collection[str] = ()) -> dict[str, Any]:
    """{points, charge_f1, article_f1, correct}: shares 0..1, null where the reference has none of the kind.

    `correct` is 1 where all charges and no other are named, or, without charges, half of the key points are there; and never
    where the answer names articles and not one of them is the reference's. A reference of articles alone wants all of them
    and no other.
    """
    wanted = reference.get("points") or []
    share = sum(covered(point, answer) for point in wanted) / len(wanted) if wanted else None
    charge = f1(charges(answer, known), reference["charges"]) if reference.get("charges") else None
    named, right_ones = cited(reference, answer)
    article = f1(named, right_ones) if right_ones else None
    right = charge == 1 if charge is not None else (share or 0.0) >= COVERED if wanted else article == 1
    astray = bool(right_ones and named and not named & right_ones)
    return {"points": share, "charge_f1": charge, "article_f1": article, "correct": int(right and not astray)}


def results(doc: Mapping[str, Any], answers: list[str]) -> dict[str, float]:
    """lm-eval's `process_results`: 1 where the analysis is right."""
    return {"right": judge(doc["reference"], answers[0])["correct"]}
