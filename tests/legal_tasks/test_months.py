"""The months as they are told: states, numbers, production, also where little is there yet."""

import pytest

from legal_tasks import months
from legal_tasks.serving.state import Database
from tests.plugins.runs import decision, retrain, three_months, two_bases


@pytest.fixture
def var(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))
    monkeypatch.delenv("LEXLOOP_STORE", raising=False)
    return tmp_path


def test_runs_are_told_newest_first_with_state_and_reasons(var):
    three_months(var)
    rows = months.overview(var).rows
    assert [(row.month, row.state) for row in rows] == [
        ("2026-11", "unchanged"),
        ("2026-11", "failed"),
        ("2026-10", "refused"),
        ("2026-09", "released"),
    ]
    assert rows[1].reasons == ["train: no room"] and rows[3].version == "7" and rows[3].mlflow.endswith("/g")
    assert rows[3].sizes == {"merged": 8857616, "gptq": 1550600, "gguf": 1300000}


def test_the_picture_takes_the_last_measured_run_of_each_month(var):
    three_months(var)
    assert [(row.month, row.accuracy) for row in months.overview(var).months()] == [
        ("2026-09", 0.8268518518518518),
        ("2026-10", 0.51),
    ]


def test_production_is_told_with_who_when_and_why(var):
    three_months(var)
    found = months.overview(var)
    assert (found.production.version, found.production.by) == ("7", "release scheduled__2026-09")
    assert found.production.why == ["better for certain"] and found.production.since == found.changes[0].at
    assert [change.event for change in found.changes] == ["released", "intended"]


def test_an_empty_seat_and_a_run_under_way_are_no_fault(var):
    Database.create()
    assert months.overview(var) == months.Overview([], None, [])
    retrain(var, "manual__1", "2026-11", 1_793_500_000.0)
    folder = var / "runs" / "monthly_retrain@manual__1"
    (folder / "train.progress.json").write_text("{}")
    (folder / "merge.json").write_text('{"half": ')
    [row] = months.overview(var).rows
    assert row.state == "under way" and row.accuracy is None


def test_without_a_release_state_nothing_is_said_of_production_and_none_is_made(var):
    three_months(var)
    (var / "release.sqlite").unlink()
    found = months.overview(var)
    assert len(found.rows) == 4 and found.production is None and "there is no release state" in found.trouble
    assert not (var / "release.sqlite").exists()


def test_a_run_with_several_bases_is_told_by_the_chosen_one_with_all_of_them_beside_it(var):
    gates = [
        decision(var, name, verdict, share, 0.5, 0.9, [name])
        for name, verdict, share in (("a", "refused", 0.7), ("b", "pass", 0.8))
    ]
    two_bases(var, "scheduled__q", "2026-10", 1_790_800_000.0, gates, release={"report": {"version": "9"}})
    [row] = months.overview(var).rows
    assert (row.state, row.accuracy, row.version, row.sizes) == ("released", 0.8, "9", {"merged": 101})
    # The release goes by the choice's decision: an override of the gate's own would never be found.
    assert row.gate == str(var / "store" / "evaluation.choose" / "scheduled__q")
    assert row.chosen == 1 and row.mlflow.endswith("/h")
    assert [(each["base"], each["decision"], each["accuracy"]) for each in row.candidates] == [
        ("embedded", "refused", 0.7),
        ("embedded-small", "pass", 0.8),
    ]
