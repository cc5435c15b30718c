"""The run of an older month does not bring older law into production unless it says so."""

import datetime
import json

import pytest

pytest.importorskip("scipy")

from legal_tasks.evaluation import chinese, law  # noqa: E402
from legal_tasks.evaluation.gate import decide  # noqa: E402
from legal_tasks.serving.state import Database  # noqa: E402
from tests.legal_tasks.evaluation.test_gate import MEASURED, comparison, params  # noqa: E402

OCTOBER, NOVEMBER = datetime.date(2026, 10, 1), datetime.date(2026, 11, 1)


def released(tmp_path, decision):
    """A release state in which a model judged by `decision` serves."""
    database = Database.create(tmp_path / "release.sqlite")
    folder = tmp_path / "decision"
    folder.mkdir()
    (folder / "decision.json").write_text(json.dumps(decision))
    model = {"digest": "d" * 64, "path": str(tmp_path), "version": "7", "decision": str(folder)}
    state = database.intend(model)
    database.record("released", "test", state.revision, actual=model)
    return tmp_path / "release.sqlite"


def judged(day, served, **change):
    found = decide(comparison(), MEASURED, (), params(as_of=day, **change), served)
    rules = {rule["name"]: rule for rule in found["rules"]}
    return found, rules.get("law in force")


def test_where_there_is_no_release_state_nothing_serves_and_none_is_made(tmp_path):
    assert law.served(tmp_path / "release.sqlite") is None
    assert list(tmp_path.iterdir()) == []


def test_the_law_of_production_is_the_day_that_its_decision_names(tmp_path):
    assert law.served(released(tmp_path, {"as_of": "2026-10-01"})) == (OCTOBER, "7")


def test_a_decision_without_a_day_counts_as_the_month_of_its_release(tmp_path):
    today = datetime.datetime.now(law.ZONE).date()
    assert law.served(released(tmp_path, {})) == (today.replace(day=1), "7")


def test_the_gate_refuses_older_law_and_takes_it_where_the_run_says_so():
    served = (NOVEMBER, "7")
    decision, rule = judged(OCTOBER, served)
    assert decision["decision"] == "refused" and rule["verdict"] == "fail" and "older_law" in rule["sentence"]
    assert decision["as_of"] == "2026-10-01"
    assert chinese.say(rule).startswith(
        "未通过：在用模型（版本 7）适用 2026-11-01 的法律，本次运行适用更早的 2026-10-01 的法律：请"
    )
    decision, rule = judged(OCTOBER, served, older_law=True)
    assert decision["decision"] == "pass" and rule["sentence"].endswith("as asked for")
    assert chinese.say(rule).endswith("，已注明") and chinese.name_of(rule) == "法律日期"


@pytest.mark.parametrize(
    ("day", "served"), [(NOVEMBER, (NOVEMBER, "7")), (NOVEMBER, (OCTOBER, "7")), (OCTOBER, None), (None, (NOVEMBER, "7"))]
)
def test_the_same_or_newer_law_needs_no_word(day, served):
    decision, rule = judged(day, served)
    assert decision["decision"] == "pass" and rule is None
