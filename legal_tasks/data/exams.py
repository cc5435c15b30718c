"""Exams in any of the layouts met, as normalised items.

C-Eval, CMMLU and DISC CSV, JEC-QA and AGIEval, LexEval, LawBench, LeCaRD queries, questions with an answer in words, sets of
prompts (XSTest, JailBench, CValues), questions whose answer must cite an article, and our own.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from legal_tasks.data.options import LETTERS, charges_of, is_key, letters_of, options_of, split_options
from legal_tasks.evaluation.articles import canonical
from legal_tasks.evaluation.items import KINDS, Item, check_item

CHARGES = re.compile(r"^\s*\[?(?:罪名|被告人?罪名)\]?[\s:：]*(.+)$", re.S)


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
    """A row with a column for each option: question, A, B, C, D, answer; also 题目, 选项A, 答案."""
    lower = {str(key).strip().lower(): value for key, value in fields.items()}
    question = next((lower[key] for key in ("question", "input", "题目", "题干", "问题") if lower.get(key)), None)
    answer = next(
        (lower[key] for key in ("answer", "output", "label", "答案", "正确答案") if lower.get(key) not in (None, "")), None
    )
    options = options_of(lower)
    if not question or not {"A", "B"} <= options.keys() or answer is None:
        return None
    options = {letter: options[letter] for letter in LETTERS if options.get(letter)}
    item = {"question": str(question).strip(), "options": options, "answer": letters_of(answer, options)}
    return item | ({"category": str(lower["source"])} if lower.get("source") else {})


def _jec(fields: dict[str, Any]) -> Item | None:
    """Options of their own: {question, options: [...] or {A: ...}, label or answer}."""
    given = next((fields[key] for key in ("options", "choices", "option") if fields.get(key)), None)
    label = next((fields[key] for key in ("label", "answer", "answers", "答案") if fields.get(key) not in (None, "", [])), None)
    options = options_of(given)
    if not isinstance(fields.get("question"), str) or len(options) < 2 or label is None:
        return None
    question = f"{fields['passage']}\n{fields['question']}" if fields.get("passage") else fields["question"]
    return {"question": question.strip(), "options": options, "answer": letters_of(label, options)}


def _asked(fields: dict[str, Any]) -> Item | None:
    """LexEval {input, answer}, LawBench {question, answer}, or {input, output}: a choice where there are options, else words."""
    text = next((fields[key] for key in ("input", "question") if isinstance(fields.get(key), str) and fields[key].strip()), None)
    answer = next((fields[key] for key in ("answer", "output") if isinstance(fields.get(key), str) and fields[key].strip()), None)
    if text is None or answer is None:
        return None
    stem, options = split_options(text)
    if len(options) > 1 and not CHARGES.match(answer) and (letters := letters_of(answer, options)):
        return {"question": stem, "options": options, "answer": letters}
    if is_key(answer):  # letters without options, which the check then names as the reason
        return {"question": stem, "options": options, "answer": letters_of(answer, options)}
    return _words(text, answer)


def _words(text: str, answer: str) -> Item:
    """A question that is answered in words, scored against what the reference answer names."""
    from legal_tasks.evaluation.cases import refer

    named = CHARGES.match(answer)
    charges = charges_of(named[1].removesuffix("<eoa>")) if named else []
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


def split_of(place: str, places: Collection[str]) -> str:
    """`dev` for a file in a folder `dev` beside another one (C-Eval, CMMLU): its items are examples; else `test`."""

    def is_dev(path: str) -> bool:
        return bool({"dev", "dev.csv"} & set(path.split("/")))

    return "dev" if is_dev(place) and not all(map(is_dev, places)) else "test"
