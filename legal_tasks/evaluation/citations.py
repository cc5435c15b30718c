"""Hold the citations in a model's answers against the statute store: in force at the date, existing, quoted rightly?"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from legal_tasks.data.statutes import read_store

WRONG = ("repealed", "amended", "not yet in force", "no such article", "misquoted")


def judge_answers(answers: Iterable[Mapping[str, Any]], statutes: Path, day: datetime.date) -> dict[str, Any]:
    """{answers, citations, wrong: {state: n}, examples} of rows with `id` and `answer`.

    A law that the store does not hold is no wrong citation: whether it exists is not known here.
    """
    store = read_store(statutes)
    states: Counter[str] = Counter()
    examples: list[str] = []
    count = 0
    for row in answers:
        count += 1
        for verdict in store.judge(row["answer"], day):
            states[verdict.state] += 1
            if verdict.state in WRONG and len(examples) < 20:
                place = f"《{verdict.law}》" + (f"第{verdict.article}条" if verdict.article else "")
                examples.append(f"{row['id']}: {place} {verdict.state}")
    wrong = {state: states[state] for state in WRONG if states[state]}
    return {"answers": count, "citations": sum(states.values()), "wrong": wrong, "examples": examples}
