"""Exams in any of the layouts met, as normalised items.

C-Eval, CMMLU and DISC CSV, JEC-QA and AGIEval, LexEval, LawBench, LeCaRD queries, questions with an answer in words, sets of
prompts (XSTest, JailBench, CValues), questions whose answer must cite an article, and our own.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from legal_tasks.evaluation.articles import canonical
from legal_tasks.evaluation.items import KINDS, Item, check_item

LETTERS = "ABCDEFGH"
OPTION = re.compile(r"(?m)^\s*[(（]?([A-H])[)）]?\s*[:：.．、]\s*")
INLINE = re.compile(r"(?:^|(?<=[\s;；。.，,?？:：)）]))([A-H])\s*[:：.．、]\s*")
STATED = re.compile(r"^\s*\[?(?:正确)?答案\]?[\s:：]*([A-H](?:[\s、,，]*[A-H])*)\s*(?:<eoa>)?[\s。.]*$")
CHARGES = re.compile(r"^\s*(?:罪名|被告人?罪名)[\s:：]*(.+)$", re.S)


def normalise(fields: dict[str, Any], suite: str, number: int, kind: str = "", category: str = "") -> tuple[Item | None, str]:
    """(item, "") or (None, why it cannot be asked). `kind` from the SOURCES file wins over what the layout says."""
    found = _layout(fields)
    if found is None:
        return None, f"no known layout has the keys {', '.join(map(str, fields))[:120]}"
    item: Item = {"id": f"{suite}-{number}", "suite": suite, "question": "", "options": None, "answer": []}
    item |= {
        "category": category or suite,
        "wording": None,
        "template": None,
        "split": "test",
        "kind": "choice",
        "reference": None,
    }
    item |= found
    item["suite"] = suite
    if kind:
        item["kind"] = kind
    if isinstance(item["options"], dict):
        item["options"] = {key: str(text).strip() for key, text in item["options"].items() if str(text or "").strip()}
    item["answer"] = [letter for letter in item["answer"] if letter] if isinstance(item["answer"], list) else item["answer"]
    fault = check_item(item)
    if not fault and item["kind"] == "answer" and (item["reference"] or {}).get("articles"):
        named = [one for text in item["reference"]["articles"] for one in canonical(text)]
        item["reference"] = {**item["reference"], "articles": sorted(set(named))}
    return (None, fault) if fault else (item, "")


def _layout(fields: dict[str, Any]) -> Item | None:
    return next(filter(None, (read(fields) for read in (_own, _cited, _prompt, _columns, _jec, _asked, _lecard))), None)


def words(fields: dict[str, Any]) -> tuple[str, list[str]]:
    """(question, texts of its options) of an item, also of one that cannot be asked: its words must not be trained on either.

    In an unknown layout the longest text counts as the question.
    """
    found = _layout(fields)
    if found is None:
        texts = [value for value in fields.values() if isinstance(value, str)]
        stem, options = split_options(max(texts, key=len, default=""))
        return stem, list(options.values())
    values = (found.get("options") or {}).values()
    return str(found["question"]), [str(text).strip() for text in values if str(text or "").strip()]


def _own(fields: dict[str, Any]) -> Item | None:
    if "question" in fields and fields.get("kind") in KINDS and "id" in fields:
        return dict(fields)
    return None


def _cited(fields: dict[str, Any]) -> Item | None:
    """A question without options whose reference names articles {question, reference: {articles}}: the answer must cite them."""
    reference = fields.get("reference")
    if not isinstance(fields.get("question"), str) or fields.get("options") or not isinstance(reference, dict):
        return None
    if not reference.get("articles") or reference.get("points") or reference.get("charges"):
        return None
    kept = {name: str(fields[name]) for name in ("id", "category", "wording", "template", "split") if fields.get(name)}
    return kept | {"question": fields["question"].strip(), "kind": "answer", "reference": reference}


def _columns(fields: dict[str, Any]) -> Item | None:
    lower = {str(key).lower(): value for key, value in fields.items()}
    question = lower.get("question") or lower.get("input")
    answer = lower.get("answer") or lower.get("output")
    if not question or "a" not in lower or "b" not in lower or not isinstance(answer, str):
        return None
    options = {letter: lower.get(letter.lower()) or "" for letter in LETTERS}
    item = {"question": str(question).strip(), "options": options, "answer": _letters(answer)}
    return item | ({"category": str(lower["source"])} if lower.get("source") else {})


def _jec(fields: dict[str, Any]) -> Item | None:
    options, label = fields.get("options"), fields.get("label") or fields.get("answer")
    if not isinstance(fields.get("question"), str) or not isinstance(options, list) or not label:
        return None
    texts = [re.sub(r"^\s*[(（]?[A-H][)）.．、:：]\s*", "", str(option)) for option in options]
    question = f"{fields['passage']}\n{fields['question']}" if fields.get("passage") else fields["question"]
    answer = [str(part) for part in label] if isinstance(label, list) else _letters(str(label))
    return {"question": question.strip(), "options": dict(zip(LETTERS, texts, strict=False)), "answer": answer}


def _asked(fields: dict[str, Any]) -> Item | None:
    """LexEval {input, answer}, LawBench {question, answer}, or {input, output}: a choice where there are options, else words."""
    text = next((fields[key] for key in ("input", "question") if isinstance(fields.get(key), str) and fields[key].strip()), None)
    answer = next((fields[key] for key in ("answer", "output") if isinstance(fields.get(key), str) and fields[key].strip()), None)
    if text is None or answer is None:
        return None
    stem, options = split_options(text)
    letters = STATED.match(answer)
    if len(options) > 1 and (letters or re.fullmatch(r"[A-H\s、,，.。]+", answer)):
        return {"question": stem, "options": options, "answer": _letters(letters[1] if letters else answer)}
    return _words(text, answer)


def _words(text: str, answer: str) -> Item:
    """A question that is answered in words, scored against what the reference answer names."""
    from legal_tasks.evaluation.cases import refer

    named = CHARGES.match(answer)
    charges = [part.strip() for part in re.split("[;；、,，]", named[1].strip(" 。."))] if named else []
    charges = [name if name.endswith("罪") else f"{name}罪" for name in charges if name]
    reference = refer("" if named else answer.removeprefix("法条:").removeprefix("法条："), charges)
    return {"question": text.strip(), "kind": "analysis", "reference": reference}


def _lecard(fields: dict[str, Any]) -> Item | None:
    """A query of LeCaRD {q, crime}: the facts of a case with its charges."""
    facts, crimes = fields.get("q"), fields.get("crime")
    if not isinstance(facts, str) or not facts.strip() or not isinstance(crimes, list) or not crimes:
        return None
    reference = {"points": [], "charges": [str(name) for name in crimes], "articles": []}
    return {"question": facts.strip(), "kind": "analysis", "reference": reference}


def _prompt(fields: dict[str, Any]) -> Item | None:
    prompt = fields.get("prompt") or fields.get("question_zh")
    if not isinstance(prompt, str):
        return None
    kind = {"safe": "over_refusal", "unsafe": "refusal"}.get(str(fields.get("label")), "refusal")
    if "domain_en" in fields:  # CValues' responsibility prompts want advice, not a refusal
        kind = "answer"
    category = fields.get("domain_zh") or fields.get("type") or fields.get("一级领域") or kind
    return {"question": prompt.strip(), "kind": kind, "category": str(category)}


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """(stem, {letter: text}) of a question whose options stand at line starts or, from A on in order, within a line."""
    marks = list(OPTION.finditer(text))
    if len(marks) < 2:
        marks = list(INLINE.finditer(text))
        first = next((place for place, mark in enumerate(marks) if mark[1] == "A"), len(marks))
        marks = [mark for letter, mark in zip(LETTERS, marks[first:], strict=False) if mark[1] == letter]
    if not marks:
        return text.strip(), {}
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    options = {mark[1]: text[mark.end() : end].strip(" \n,，;；") for mark, end in zip(marks, ends, strict=True)}
    return text[: marks[0].start()].strip(), options


def _letters(answer: str) -> list[str]:
    return sorted(set(re.findall(r"[A-H]", answer)))


def split_of(place: str, places: Collection[str]) -> str:
    """`dev` for a file in a folder `dev` beside another one (C-Eval, CMMLU): its items are examples; else `test`."""

    def is_dev(path: str) -> bool:
        return bool({"dev", "dev.csv"} & set(path.split("/")))

    return "dev" if is_dev(place) and not all(map(is_dev, places)) else "test"
