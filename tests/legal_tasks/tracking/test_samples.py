"""The table of sample answers: every suite has its share, and no cell is too long for a page."""

import json

from legal_tasks.evaluation.compare import sample_answers
from legal_tasks.tracking import samples


def test_every_suite_has_its_share_evenly_spread():
    lines = {"a": list(range(100)), "b": [7], "c": [], "d": list(range(4))}
    chosen = samples.choose(lines, 12)
    assert [line for suite, line in chosen if suite == "a"] == [16, 50, 83]
    assert [line for suite, line in chosen if suite == "b"] == [7] and len(chosen) == 7
    assert samples.choose({str(suite): [0, 1] for suite in range(30)}, 20) == [(str(suite), 1) for suite in range(20)]
    assert samples.choose({}) == []


def test_a_row_holds_what_every_role_said():
    choice = {"id": "1", "kind": "choice", "answer": ["A"], "picked": ["B"], "correct": 0}
    words = {"id": "2", "kind": "refusal", "picked": "refused", "correct": 1, "answer": "抱歉" + "，" * 3000}
    rows = {
        "exam": {"base": [choice], "challenger": [{**choice, "picked": ["A"], "correct": 1}]},
        "refusal": {"base": [], "challenger": [words]},
    }
    asked = {"exam": {"1": {"question": "何时？", "options": {"A": "今日", "B": "明日"}, "answer": ["A"]}}}
    first, second = sample_answers(rows, asked)
    assert first["question"] == "何时？\nA. 今日\nB. 明日" and (first["base"], first["challenger"]) == ("B", "A")
    assert first["verdicts"] == "base: wrong, challenger: right" and "base" not in second
    kept = json.loads(samples.table(samples.COLUMNS, [first, second]))
    assert kept["columns"][3:7] == ["right", "base", "champion", "challenger"]
    assert kept["data"][0][3] == '["A"]' and len(kept["data"][1][6]) < 2010
