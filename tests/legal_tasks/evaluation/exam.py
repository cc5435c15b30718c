"""A small exam and rows of answers, for the tests of evaluation."""

from __future__ import annotations

import random
from pathlib import Path

from legal_tasks.evaluation.items import write_lines

CHARACTERS = "租赁合同期限不得超过二十年吗是否可以解除甲乙法律规定民事责任违约金定金"


def make_item(number: int, suite: str = "legal_exam", kind: str = "choice", answer: str = "B", **other) -> dict:
    draw = random.Random(f"{suite}{number}")

    def text(least: int, most: int) -> str:
        return "".join(draw.choices(CHARACTERS, k=draw.randint(least, most)))

    item = {
        "id": f"{suite}-{number}",
        "suite": suite,
        "question": text(8, 30) + "？",
        "options": {letter: text(2, 9) for letter in "ABCD"},
        "answer": list(answer),
        "category": f"category {number % 2}",
        "wording": "seen" if number % 3 == 0 else "unseen",
        "template": f"t{number % 7}",
        "split": "test",
        "kind": kind,
        "reference": None,
    }
    if kind in ("refusal", "over_refusal"):
        item |= {"options": None, "answer": []}
    return item | other


def make_exams(folder: Path, size: int = 24) -> Path:
    """legal_exam (single answers), bar (several right options), refusal and over_refusal prompts."""
    folder.mkdir(parents=True, exist_ok=True)
    write_lines(folder / "legal_exam.jsonl", [make_item(n, answer="ABCD"[n % 4]) for n in range(size)])
    write_lines(folder / "bar.jsonl", [make_item(n, "bar", answer=["A", "BD"][n % 2], wording=None) for n in range(size // 2)])
    for kind in ("refusal", "over_refusal"):
        write_lines(folder / f"{kind}.jsonl", [make_item(n, kind, kind) for n in range(6)])
    return folder


def make_rows(verdicts: str, suite: str = "legal_exam", templates: int = 0, kind: str = "choice", **other) -> list[dict]:
    """One row per character: 1 is right, 0 is wrong. `templates` > 0 spreads the items over so many clusters."""
    rows = []
    for number, verdict in enumerate(verdicts):
        row = {"id": f"{suite}-{number}", "kind": kind, "wording": None, "category": "law"}
        row |= {"template": f"t{number % templates}" if templates else None, "correct": int(verdict)}
        row |= {"answer": ["A"], "picked": ["A"] if verdict == "1" else ["B"], "scores": None, "partial": 0.0, "chance": 0.25}
        if kind == "refusal":
            row["picked"] = "refused" if verdict == "1" else "answered"
        if kind == "over_refusal":
            row["picked"] = "answered" if verdict == "1" else "refused"
        rows.append(row | other)
    return rows
