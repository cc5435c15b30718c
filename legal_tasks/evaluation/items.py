"""Exam items in the normalised form, and the rows of answers that a model gave to them.

An item: {id, suite, question, options: {"A": text, ...} | null, answer: ["B", ...], category, wording: seen|unseen|null,
template: cluster id | null, split: test|dev, kind: choice|case|refusal|over_refusal|answer|analysis, reference: mapping
| null}. The reference of an analysis: {points: [text], charges: [text], articles: ["law number"]}; that of a question which
must be answered with an article (kind answer): {articles: ["law number"]}.
A row: {id, correct: 0|1, answer, picked, scores, template, category, wording, ...}, one per item and model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from legal_tasks.step import StepError

KINDS = ("choice", "case", "refusal", "over_refusal", "answer", "analysis")
GENERATED = ("refusal", "over_refusal", "answer", "analysis")  # in words; `answer`: any question of the domain

Item = dict[str, Any]
Row = dict[str, Any]


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """JSON objects of a JSON Lines file; StepError names file and line of one that is not."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise StepError(f"{path}, line {number} is not JSON ({error}): write the file again") from error
            if not isinstance(value, dict):
                raise StepError(f"{path}, line {number} must be an object, got {type(value).__name__}")
            yield value


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write JSON Lines; return how many."""
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def check_item(item: Item) -> str | None:
    """What is wrong with an item, in words; None if nothing is."""
    if not item.get("id") or not isinstance(item.get("question"), str) or not item["question"].strip():
        return "needs an id and a question"
    if item.get("kind") not in KINDS:
        return f"kind must be one of {', '.join(KINDS)}, got {item.get('kind')!r}"
    if item["kind"] == "analysis":
        reference = item.get("reference") or {}
        return None if any(reference.get(key) for key in ("points", "charges", "articles")) else "has nothing in its reference"
    if item["kind"] == "answer":
        return fault_of_articles(item.get("reference"))
    if item["kind"] in GENERATED:
        return None
    options, answer = item.get("options"), item.get("answer")
    if not isinstance(options, dict) or len(options) < 2:
        return "needs at least two options {letter: text}"
    if not all(isinstance(text, str) and text.strip() for text in options.values()):
        return "has an empty option"
    if not isinstance(answer, list) or not answer or not set(answer) <= options.keys():
        return f"answer {answer!r} must name options, which are {', '.join(options)}"
    return None


def fault_of_articles(reference: Any) -> str | None:
    """What is wrong with the reference of a question that is answered in words: it has none, or articles that can be read."""
    from legal_tasks.evaluation.articles import canonical

    if reference is None or (isinstance(reference, dict) and not reference.get("articles")):
        return None
    if not isinstance(reference, dict) or not isinstance(reference["articles"], list):
        return f"reference must be {{articles: [law number, ...]}}, got {str(reference)[:80]}"
    bad = next((one for one in reference["articles"] if not isinstance(one, str) or not canonical(one)), None)
    return None if bad is None else f"its reference names no article of a law: {bad!r}; write it like `刑法 271`"


def by_kind(name: str, items: list[Item]) -> dict[str, list[Item]]:
    """A suite of one kind under its name; one that mixes kinds (XSTest: safe and unsafe) as a suite for each, name-kind."""
    kinds = dict.fromkeys("choice" if item["kind"] in ("choice", "case") else item["kind"] for item in items)
    if len(kinds) == 1:
        return {name: items}
    return {
        f"{name}-{kind}": [item for item in items if item["kind"] == kind or (kind == "choice" and item["kind"] == "case")]
        for kind in kinds
    }


class Docs(list):
    """Items as lm-eval wants a split of a data set: a list that knows its columns.

    No table is built of them: options and references differ in their fields from item to item.
    """

    @property
    def features(self) -> dict[str, type]:
        return {key: type(value) for key, value in self[0].items()} if self else {}


def spread(items: list[Item], limit: int | None) -> list[Item]:
    """At most `limit` of the items, evenly spread over their order; None takes all."""
    if not limit or limit >= len(items):
        return items
    return [items[number * len(items) // limit] for number in range(limit)]


def suites_in(folder: Path) -> list[str]:
    """Names of the suites that lie in an exams folder."""
    return sorted(path.stem for path in Path(folder).glob("*.jsonl"))


def read_items(path: Path, split: str | None = "test") -> list[Item]:
    """Items of one suite file; StepError for an item that cannot be scored, a doubled id, or a file without items."""
    found: list[Item] = []
    seen: set[str] = set()
    for number, item in enumerate(read_lines(path), 1):
        fault = check_item(item)
        if fault:
            raise StepError(f"{path}, line {number} (id {item.get('id')}): {fault}; correct the exam's source")
        if item["id"] in seen:
            raise StepError(f"{path}, line {number}: the id {item['id']} occurs twice; ids must be unique in a suite")
        seen.add(item["id"])
        if split is None or item.get("split", "test") == split:
            found.append(item)
    if not seen:
        raise StepError(f"{path} holds no items: remove the exam from the sources or fill it")
    return found
