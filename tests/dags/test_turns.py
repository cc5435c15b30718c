"""One retrain at a time, and one per period, as the tasks' first act settles it (Airflow's answers come from a table)."""

import json

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

def context(airflow, run_id, kind="manual", day="2026-11-01", now=None, cleared=0, **params):
    date = pendulum.parse(day + " 03:00", tz="Asia/Shanghai")
    run = SimpleNamespace(run_id=run_id, run_type=kind, run_after=date, logical_date=date, conf=params, clear_number=cleared)
    timetable = None if now is None else SimpleNamespace(newest=lambda _: pendulum.parse(now + " 03:00", tz="Asia/Shanghai"))
    return {"ti": airflow, "dag_run": run, "params": params, "dag": SimpleNamespace(timetable=timetable)}

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


def test_a_run_whose_conf_could_not_have_been_filled_in_is_refused_before_data(orchestrate):
    seen = orchestrate(
        HEAD
        + """
airflow = Airflow("monthly_retrain", [])
said = [outcome(context(airflow, "r", **conf)) for conf in (
    {"learning_rat": 1}, {"overrides": ["evaluation.gate.general_drop=1"]}, {"p95_s": 1e9}, {"profile": "/tmp/x.yaml"},
    {"bases": ["current"]}, {"month": "2999-01"})]
said.append(outcome(context(Airflow("quarterly_retrain", []), "q", bases=["current"], general_drop="2 points")))
said.append((turns.folder() / "retrain.json").read_text())
print(json.dumps(said))
"""
    )
    assert all(one.startswith("AirflowFailException: refused, before any data: ") for one in seen[:6])
    for one, named in zip(
        seen,
        ("did you mean learning_rate", "evaluation.gate.general_drop=1", "p95_s", "profile", "'bases'", "the future"),
        strict=False,
    ):
        assert named in one
    assert seen[6] == "q" and json.loads(seen[7])["run_id"] == "q"


def test_the_month_of_the_form_is_what_a_run_stands_for(orchestrate):
    seen = orchestrate(
        HEAD
        + """
import steps
runs = [{"dag_id": "monthly_retrain", "run_id": "hand", "state": "success"}]
airflow = Airflow("monthly_retrain", runs)
hand = context(airflow, "hand", "manual", "2026-11-20", uses_period=True, month="2026-10")
outcome(hand)
later = context(airflow, "x", "manual", "2026-11-20")
night = pendulum.datetime(2026, 10, 31, 17)   # the first of November in Shanghai
print(json.dumps([
    outcome(context(airflow, "s1", "scheduled", "2026-10-01")), outcome(context(airflow, "s2", "scheduled", "2026-11-01")),
    steps.first_day(hand["dag_run"]), steps.first_day(later["dag_run"]), steps.first_day(SimpleNamespace(run_after=night))]))
"""
    )
    assert "AirflowSkipException: the run of 2026-10 is hand" in seen[0] and seen[1] == "s2"
    assert seen[2:] == ["2026-10-01", "2026-11-01", "2026-11-01"]


RELEASED = """
from legal_tasks.serving.state import Database
database = Database.create(turns.var() / "release.sqlite")
folder = turns.var() / "decision"
folder.mkdir()
(folder / "decision.json").write_text(json.dumps({"as_of": "2026-11-01"}))
model = {"digest": "d" * 64, "path": str(folder), "version": "7", "decision": str(folder)}
database.record("released", "test", database.intend(model).revision, actual=model)
"""


def test_the_run_of_an_older_month_than_productions_law_has_to_say_so(orchestrate):
    seen = orchestrate(
        HEAD
        + """
airflow = Airflow("monthly_retrain", [])
none_yet = outcome(context(airflow, "a", month="2026-10"))
"""
        + RELEASED
        + """
print(json.dumps([none_yet, outcome(context(airflow, "b", month="2026-10")), outcome(context(airflow, "c", day="2026-10-20")),
    outcome(context(airflow, "d", month="2026-10", older_law=True)), outcome(context(airflow, "e"))]))
"""
    )
    assert seen[0] == "a" and seen[3:] == ["d", "e"]
    assert all("2026-11-01" in said and "older_law" in said and said.startswith("AirflowFail") for said in seen[1:3])


def test_a_scheduled_run_of_a_date_that_is_not_made_up_for_skips_with_the_way_to_do_it(orchestrate):
    seen = orchestrate(
        HEAD
        + """
airflow = Airflow("monthly_retrain", [], ["quarterly_retrain"])
print(json.dumps([
    outcome(context(airflow, "stale", "scheduled", "2026-09-01", now="2026-11-01")),
    outcome(context(airflow, "made up for", "scheduled", "2026-11-01", now="2026-11-01")),
    outcome(context(airflow, "cleared", "scheduled", "2026-09-01", now="2026-11-01", cleared=1)),
    outcome(context(airflow, "backfill", "backfill", "2026-09-01", now="2026-11-01"))]))
"""
    )
    assert "AirflowSkipException: this run was due on 2026-09-01, and 2026-11-01 has passed" in seen[0]
    assert "month = 2026-09" in seen[0] and seen[1:] == ["made up for", "cleared", "backfill"]


def test_the_timetable_names_the_newest_date_that_has_passed(orchestrate):
    seen = orchestrate("""
import json, pendulum
from due_dates import DueDates
monthly = DueDates("0 3 1 * *", dag_id="monthly_retrain")
moments = [pendulum.parse(text, tz="Asia/Shanghai") for text in ("2026-11-28 10:00", "2026-11-01 02:59")]
print(json.dumps([str(monthly.newest(moment)) for moment in moments]))
""")
    assert seen == ["2026-10-31 19:00:00+00:00", "2026-09-30 19:00:00+00:00"]


def test_a_scheduled_run_of_a_date_at_which_the_schedule_was_off_skips_and_a_backfill_does_not(orchestrate):
    seen = orchestrate(
        HEAD
        + """
from legal_tasks import schedule
airflow = Airflow("monthly_retrain", [])
due = pendulum.parse("2026-11-01 03:00", tz="Asia/Shanghai").timestamp()
before = outcome(context(airflow, "s1", "scheduled"))
schedule.saw("monthly_retrain", True, due - 3600)
schedule.saw("monthly_retrain", False, due + 86400)   # switched on a day late, with a stale plan
late = outcome(context(airflow, "s2", "scheduled"))
backfill = outcome(context(airflow, "s3", "backfill"))
by_hand = outcome(context(airflow, "h", "manual"))
december = outcome(context(airflow, "s4", "scheduled", "2026-12-01"))
print(json.dumps([before, late, backfill, by_hand, december]))
"""
    )
    assert seen[1].startswith("AirflowSkipException: the schedule was off at 2026-11-01 03:00: trigger a run by hand")
    assert [seen[0], *seen[2:]] == ["s1", "s3", "h", "s4"]


def test_a_quarterly_dag_that_is_on_for_one_run_alone_takes_no_months_place(orchestrate):
    seen = orchestrate(
        HEAD
        + """
from legal_tasks import schedule
class On:
    def call(self, method, path, **options):
        return {"is_paused": True}
schedule.switch_on(On(), "quarterly_retrain", "make__1", keep=False, now=time.time())
print(json.dumps(outcome(context(Airflow("monthly_retrain", []), "m", "scheduled", "2027-01-01"))))
"""
    )
    assert seen == "m"
