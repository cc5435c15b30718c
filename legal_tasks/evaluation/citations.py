"""Hold the citations in a model's answers against the statute store: in force at the date, existing, quoted rightly?"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from legal_tasks.data.statutes import read_store

WRONG = ("repealed", "amended", "not yet in force", "no such article", "misquoted")
UNCHECKED = ("not held", "unverified")  # the store has not the law, or not this part of it: nothing was found out


def judge_answers(answers: Iterable[Mapping[str, Any]], statutes: Path, day: datetime.date) -> dict[str, Any]:
    """{answers, citations, checked, citing, wrong: {state: n}, examples} of rows with `id` and `answer`.

    `checked`: the citations about which the store could say something; `citing`: the answers with at least one of them that
    names an article and does not call its law a former one. A law that the store does not hold is no wrong citation, and none
    that counts as right: whether it exists is not known here.
    """
    store = read_store(statutes)
    states: Counter[str] = Counter()
    examples: list[str] = []
    count = citing = 0
    for row in answers:
        count += 1
        verdicts = store.judge(row["answer"], day)
        citing += any(verdict.article and verdict.state not in (*UNCHECKED, "former") for verdict in verdicts)
        for verdict in verdicts:
            states[verdict.state] += 1
            if verdict.state in WRONG and len(examples) < 20:
                place = f"《{verdict.law}》" + (f"第{verdict.article}条" if verdict.article else "")
                examples.append(f"{row['id']}: {place} {verdict.state}")
    wrong = {state: states[state] for state in WRONG if states[state]}
    total = sum(states.values())
    checked = total - sum(states[state] for state in UNCHECKED)
    return {"answers": count, "citations": total, "checked": checked, "citing": citing, "wrong": wrong, "examples": examples}
