"""Exams in any of the layouts met, as normalised items: C-Eval and CMMLU CSV, DISC CSV, LexEval, JEC-QA, prompts, our own."""

from __future__ import annotations

import re
from typing import Any

from legal_tasks.evaluation.items import KINDS, Item, check_item

LETTERS = "ABCDEFGH"
OPTION = re.compile(r"(?m)^\s*[(（]?([A-H])[)）]?\s*[:：.．、]\s*")


def normalise(fields: dict[str, Any], suite: str, number: int, kind: str = "", category: str = "") -> tuple[Item | None, str]:
    """(item, "") or (None, why it cannot be asked). `kind` from the SOURCES file wins over what the layout says."""
    found = _own(fields) or _prompt(fields) or _columns(fields) or _jec(fields) or _lexeval(fields)
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
    return (None, fault) if fault else (item, "")


def _own(fields: dict[str, Any]) -> Item | None:
    if "question" in fields and fields.get("kind") in KINDS and "id" in fields:
        return dict(fields)
    return None


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


def _lexeval(fields: dict[str, Any]) -> Item | None:
    text, answer = fields.get("input"), fields.get("answer")
    if not isinstance(text, str) or not isinstance(answer, str):
        return None
    stem, options = split_options(text)
    return {"question": stem, "options": options, "answer": _letters(answer)} if len(options) > 1 else None


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
    """(stem, {letter: text}) of a question whose options stand at line starts."""
    marks = list(OPTION.finditer(text))
    if not marks:
        return text.strip(), {}
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    options = {mark[1]: text[mark.end() : end].strip(" \n,，") for mark, end in zip(marks, ends, strict=True)}
    return text[: marks[0].start()].strip(), options


def _letters(answer: str) -> list[str]:
    return sorted(set(re.findall(r"[A-H]", answer)))
