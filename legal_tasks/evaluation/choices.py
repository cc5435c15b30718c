"""Multiple choice as lm-eval tasks see it: three forms of asking, one way of scoring, fixed before any model is seen.

`text`: the question alone is the user's turn; each option's text is a possible whole answer of the assistant.
`letters`: the options stand in the prompt; the possible answers are the letters, or, in a suite in which some item has
several right options, every non-empty set of letters (nothing tells the model how many are right).
`generate`: the same prompt, answered in words; the letters are read out of the answer (legal_tasks.evaluation.extract).
Possible answers are closed with the model's end token where it is given, so that "A" and "AB" exclude each other and
their likelihoods can be compared; the likeliest answer is picked, or the one likeliest per token for `mean`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from legal_tasks.evaluation import extract
from legal_tasks.evaluation.items import Docs, read_items, spread

FORMS = ("text", "letters", "generate")
ASK_ONE = "请直接回答正确选项的字母。"
ASK_SET = "可能有一个或多个选项正确，请直接回答所有正确选项的字母。"


def read(items: str, suite: str, form: str = "letters", end: str = "", limit: int | None = None, **_: Any) -> dict[str, Docs]:
    """The data set of one suite for lm-eval: items of `<items>/<suite>.jsonl` with how they are asked.

    `limit` takes that many items, evenly spread over the file. Called by lm-eval with a task's `metadata` and
    `dataset_kwargs`, hence the ignored rest.
    """
    everything = read_items(Path(items) / f"{suite}.jsonl", split=None)
    several = any(len(item.get("answer") or ()) > 1 for item in everything)
    by_split = {name: [item for item in everything if (item.get("split") or "test") == name] for name in ("test", "dev")}
    test = [{**item, "form": form, "several": several, "end": end} for item in spread(by_split["test"], limit)]
    # The template closes the turn of an example; its text takes no end token of its own.
    shown = [{**item, "form": form, "several": several, "end": ""} for item in by_split["dev"]]
    return {"test": Docs(test), "dev": Docs(shown)}


def question(doc: Mapping[str, Any]) -> str:
    """The user's turn."""
    if doc["form"] == "text":
        return doc["question"].strip()
    lines = [f"{letter}. {text}" for letter, text in doc["options"].items()]
    return "\n".join([doc["question"].strip(), *lines, ASK_SET if doc["several"] else ASK_ONE])


def sets(doc: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """What each possible answer claims: a tuple of letters."""
    letters = tuple(doc["options"])
    if doc["form"] == "text" or not doc["several"]:
        return [(letter,) for letter in letters]
    return [subset for size in range(1, len(letters) + 1) for subset in combinations(letters, size)]


def answers(doc: Mapping[str, Any]) -> list[str]:
    """The possible answers of the assistant, in the order of `sets`."""
    if doc["form"] == "text":
        return [text.strip() + doc["end"] for text in doc["options"].values()]
    return ["".join(subset) + doc["end"] for subset in sets(doc)]


def target(doc: Mapping[str, Any]) -> int:
    """Index of the right answer among `answers`; of the first right option where texts are ranked."""
    right = tuple(letter for letter in doc["options"] if letter in doc["answer"])
    possible = sets(doc)
    return possible.index(right) if right in possible else possible.index(right[:1])


def judge(doc: Mapping[str, Any], scores: Sequence[float]) -> dict[str, Any]:
    """What the scores of `answers` amount to: {picked, correct (0 or 1), partial (0..1)}.

    A text that is one of several right ones counts as right. `partial` is the share of right letters picked, 0 if a
    wrong one is among them.
    """
    picked = sets(doc)[max(range(len(scores)), key=scores.__getitem__)]
    right = set(doc["answer"])
    if doc["form"] == "text":
        hit = picked[0] in right
        return {"picked": list(picked), "correct": int(hit), "partial": float(hit)}
    exact = set(picked) == right
    partial = len(right.intersection(picked)) / len(right) if right.issuperset(picked) else 0.0
    return {"picked": list(picked), "correct": int(exact), "partial": partial}


def chance(docs: Sequence[Mapping[str, Any]]) -> float:
    """Expected share right when answers are picked blindly among the possible ones."""
    shares = [(len(doc["answer"]) if doc["form"] == "text" else 1) / len(sets(doc)) for doc in docs]
    return sum(shares) / len(shares) if shares else 0.0


def spoken(doc: Mapping[str, Any]) -> str:
    """The right answer as an example shows it."""
    return "".join(letter for letter in doc["options"] if letter in doc["answer"])


def judge_words(doc: Mapping[str, Any], answer: str) -> dict[str, Any]:
    """What an answer in words amounts to: {picked, strict, correct, correct_strict, partial}; picked is [] for an abstention."""
    picked = extract.flexible(answer, doc["options"], doc.get("question") or "")
    narrow = extract.strict(answer, doc["options"])
    right = set(doc["answer"])
    partial = len(right.intersection(picked)) / len(right) if right.issuperset(picked) else 0.0
    verdict = {"picked": picked, "strict": narrow, "correct": int(set(picked) == right), "partial": partial}
    return verdict | {"correct_strict": int(set(narrow) == right)}


def generated_results(doc: Mapping[str, Any], given: Sequence[str]) -> dict[str, float]:
    """lm-eval's `process_results` for answers in words."""
    verdict = judge_words(doc, given[0])
    return {"acc": verdict["correct"], "strict": verdict["correct_strict"], "abstained": float(not verdict["picked"])}


def results(doc: Mapping[str, Any], scored: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """lm-eval's `process_results`: exact and partial credit by the likelihood of the whole answer."""
    verdict = judge(doc, [value for value, _ in scored])
    return {"acc": verdict["correct"], "partial": verdict["partial"]}
