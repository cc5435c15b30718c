"""One retrain at a time, and one per period, as the tasks' first act settles it (Airflow's answers come from a table)."""

HEAD = """
import json, threading, time
from types import SimpleNamespace
import pendulum
import turns
from airflow.sdk.exceptions import AirflowSkipException, AirflowFailException

class Airflow:  # what a task can ask: which runs exist, in which state; which DAGs are paused
    def __init__(self, dag_id, runs, paused=()):
        self.dag_id, self.task_id, self.runs, self.paused = dag_id, "collect", runs, paused
    def get_dr_count(self, dag_id, logical_dates=None, run_ids=None, states=None):
        found = [r for r in self.runs if r["dag_id"] == dag_id]
        found = [r for r in found if run_ids is None or r["run_id"] in run_ids]
        found = [r for r in found if logical_dates is None or r.get("date") in logical_dates]
        return len([r for r in found if states is None or r["state"] in states])
    def get_dag(self, dag_id):
        return SimpleNamespace(is_paused=dag_id in self.paused)

def context(airflow, run_id, kind="manual", day="2026-11-01", **params):
    date = pendulum.parse(day + " 03:00", tz="Asia/Shanghai")
    run = SimpleNamespace(run_id=run_id, run_type=kind, run_after=date, logical_date=date)
    return {"ti": airflow, "dag_run": run, "params": params}

def outcome(context):
    try:
        turns.begin(context)
    except (AirflowSkipException, AirflowFailException) as error:
        return f"{type(error).__name__}: {error}"
    return json.loads((turns.folder() / "retrain.json").read_text())["run_id"]

turns.POLL_S = 0.05
turns.WAIT_S = 60.0
"""


def test_a_second_retrain_waits_for_the_first_of_another_dag_and_then_has_the_turn(orchestrate):
    seen = orchestrate(
        HEAD
        + """
runs = [{"dag_id": "monthly_retrain", "run_id": "one", "state": "running"}]
first = outcome(context(Airflow("monthly_retrain", runs), "one"))
said = []
second = threading.Thread(target=lambda: said.append(outcome(context(Airflow("quarterly_retrain", runs), "two"))))
second.start(); second.join(0.5)
waiting = second.is_alive()
shown = json.loads((turns.run_folder("quarterly_retrain", "two") / "collect.progress.json").read_text())["numbers"]
again = outcome(context(Airflow("monthly_retrain", runs), "one"))   # a retry of the first keeps the turn
runs[0]["state"] = "failed"
second.join(10)
print(json.dumps([first, waiting, shown, again, said]))
"""
    )
    assert seen == ["one", True, {"waiting for": "one"}, "one", ["two"]]


def test_a_deleted_or_queued_holder_keeps_nobody_waiting(orchestrate):
    seen = orchestrate(
        HEAD
        + """
runs = [{"dag_id": "monthly_retrain", "run_id": "one", "state": "running"}]
outcome(context(Airflow("monthly_retrain", runs), "one"))
runs[0]["state"] = "queued"   # cleared, and behind the next run of its own DAG
two = outcome(context(Airflow("monthly_retrain", runs), "two"))
runs.clear()
print(json.dumps([two, outcome(context(Airflow("monthly_retrain", runs), "three"))]))
"""
    )
    assert seen == ["two", "three"]


def test_waiting_too_long_is_refused_with_the_holder_and_the_way_out(orchestrate):
    seen = orchestrate(
        HEAD
        + """
runs = [{"dag_id": "monthly_retrain", "run_id": "one", "state": "running"}]
outcome(context(Airflow("monthly_retrain", runs), "one"))
turns.WAIT_S = 0.2
print(json.dumps(outcome(context(Airflow("quarterly_retrain", runs), "two"))))
"""
    )
    assert seen.startswith("AirflowFailException: refused: one of monthly_retrain") and "clear this task" in seen


def test_the_monthly_run_of_a_quarter_month_skips_for_the_quarterly_one_unless_that_is_paused(orchestrate):
    seen = orchestrate(
        HEAD
        + """
date = pendulum.parse("2027-01-01 03:00", tz="Asia/Shanghai")
both = [{"dag_id": "quarterly_retrain", "run_id": "q", "state": "running", "date": date}]
january = outcome(context(Airflow("monthly_retrain", both), "m", "scheduled", "2027-01-01"))
paused = outcome(context(Airflow("monthly_retrain", [], ["quarterly_retrain"]), "m", "scheduled", "2027-01-01"))
by_hand = outcome(context(Airflow("monthly_retrain", []), "h", "manual", "2027-01-01"))
february = outcome(context(Airflow("monthly_retrain", []), "f", "scheduled", "2027-02-01"))
print(json.dumps([january, paused, by_hand, february]))
"""
    )
    assert "AirflowSkipException: 2027-01 begins a quarter" in seen[0] and "quarterly_retrain" in seen[0]
    assert seen[1:] == ["m", "h", "f"]


def test_a_manual_run_uses_up_the_period_only_when_told_and_only_if_it_does_not_fail(orchestrate):
    seen = orchestrate(
        HEAD
        + """
runs = [{"dag_id": "monthly_retrain", "run_id": "hand", "state": "success"}]
airflow = Airflow("monthly_retrain", runs)
outcome(context(airflow, "hand", "manual", "2026-11-20"))
untold = outcome(context(airflow, "s1", "scheduled", "2026-11-01"))
outcome(context(airflow, "hand", "manual", "2026-11-20", uses_period=True))
told = outcome(context(airflow, "s2", "scheduled", "2026-11-01"))
next_month = outcome(context(airflow, "s3", "scheduled", "2026-12-01"))
runs[0]["state"] = "failed"
failed = outcome(context(airflow, "s4", "scheduled", "2026-11-01"))
print(json.dumps([untold, told, next_month, failed]))
"""
    )
    assert seen[0] == "s1" and "hand" in seen[1] and "AirflowSkipException" in seen[1] and seen[2:] == ["s3", "s4"]
