"""Each event is told once to each channel, with its reasons; a channel that was away gets it at the next look."""

import datetime
import json
import sys
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from legal_tasks.notes import run_folder
from legal_tasks.serving.state import Database
from tests.conftest import REPOSITORY
from tests.plugins.servers import http_server

NOW = datetime.datetime.now(datetime.UTC)


def ago(**passed) -> str:
    return (NOW - datetime.timedelta(**passed)).isoformat()


DAGS = {
    "monthly_retrain": [{"name": "legal-llm"}, {"name": "retrain"}],
    "housekeeping": [{"name": "legal-llm"}, {"name": "operations"}],
    "watch": [{"name": "legal-llm"}, {"name": "operations"}],
}


def run_of(name, kind, state, start, end=None, dag="monthly_retrain") -> dict:
    row = {"dag_id": dag, "dag_run_id": name, "run_type": kind, "state": state}
    return row | {"start_date": start, "end_date": end}


class Seat:
    """A var folder, an Airflow that answers from `runs` and `tasks`, and a webhook that can be away."""

    def __init__(self, folder, monkeypatch):
        self.monkeypatch = monkeypatch
        monkeypatch.setattr(sys, "path", [str(REPOSITORY / "plugins"), *sys.path])
        self.var, self.away = folder / "var", False
        (self.var / "airflow").mkdir(parents=True)
        (self.var / "airflow" / "passwords.json").write_text('{"admin": "canary-admin"}')
        self.database = Database.create(self.var / "release.sqlite")
        self.runs, self.tasks, self.paused, self.told = [], [], False, []
        self.beats, self.heart, self.sick, self.hooked = [], True, 200, True

    def airflow(self, method, path, body):
        place, query = urlsplit(path).path.removeprefix("/api/v2"), parse_qs(urlsplit(path).query)
        if place == "/auth/token":
            return 201, json.dumps({"access_token": "t"})
        if place == "/dags":
            assert query["tags"] == ["legal-llm"]
            found = [{"dag_id": name, "is_paused": self.paused, "tags": tags} for name, tags in DAGS.items()]
            return 200, json.dumps({"dags": found})
        if place.endswith("/dagRuns"):
            dag = place.split("/")[2]
            kinds, states = query.get("run_type"), query.get("state")
            rows = [run for run in self.runs if not kinds or run["run_type"] in kinds]
            rows = [run for run in rows if run["dag_id"] == dag and (not states or run["state"] in states)]
            rows.sort(key=lambda run: run["start_date"], reverse=True)
            return 200, json.dumps({"dag_runs": rows[: int(query["limit"][0])]})
        if "/dagRuns/./" in place or "/dagRuns/../" in place:
            return 404, json.dumps({"detail": place})
        if place.endswith("/taskInstances"):
            return 200, json.dumps({"task_instances": self.tasks})
        if "/logs/" in place:
            return 200, json.dumps({"content": [{"event": f"line {number}"} for number in range(20)]})
        return 404, json.dumps({"detail": place})

    def hook(self, method, path, body):
        if path.startswith("/alive"):
            self.beats.append((method, path))
            return self.sick, "sick at canary-heart"
        if self.away:
            return 503, "away"
        self.told.append(json.loads(body))
        return 200, "{}"

    def look(self, days=35, test=None) -> str | None:
        """One look; what the trouble was."""
        import events
        import notify

        with http_server(self.airflow) as (port, _), http_server(self.hook) as (hook, _):
            channel = SimpleNamespace(password=f"http://127.0.0.1:{hook}/h?token=canary", extra_dejson={})
            self.monkeypatch.setenv("LEXLOOP_VAR", str(self.var))
            self.monkeypatch.setenv("LEXLOOP_AIRFLOW_PORT", str(port))
            try:
                connections = {"lexloop_webhook": channel} if self.hooked else {}
                alive = SimpleNamespace(password=f"http://127.0.0.1:{hook}/alive/canary-heart", extra_dejson={})
                events.watch(days, test, (connections | ({"lexloop_heartbeat": alive} if self.heart else {})).get)
            except notify.ChannelError as error:
                return str(error)
        return None

    def take(self) -> list[dict]:
        told, self.told = self.told, []
        return told


@pytest.fixture
def seat(tmp_path, monkeypatch):
    """A seat whose channel has been there for a day."""
    seat = Seat(tmp_path, monkeypatch)
    since = (NOW - datetime.timedelta(days=1)).timestamp()
    (seat.var / "notify.json").write_text(json.dumps({"since": {"webhook": since}, "sent": {}}))
    return seat


def note(seat, run, task, content, dag="monthly_retrain"):
    path = run_folder(seat.var, dag, run) / f"{task}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_a_scheduled_start_and_a_failure_are_told_once_with_the_tasks_last_lines(seat):
    seat.runs = [
        run_of("scheduled__1", "scheduled", "running", ago(minutes=5)),
        run_of("manual__2", "manual", "failed", ago(minutes=4), ago(minutes=3)),
        run_of("scheduled__old", "scheduled", "failed", ago(days=9), ago(days=9)),
    ]
    seat.tasks = [{"task_id": "train", "state": "failed", "end_date": ago(minutes=3), "try_number": 2}]
    note(seat, "manual__2", "train", {"error": "no room in /data: 3 bytes are free, 900 are needed", "exit": 2})
    assert seat.look() is None
    started, failed = seat.take()
    assert started["event"] == "started" and "scheduled__1" in started["lines"][0]
    assert failed["event"] == "failed" and failed["lines"][1:3] == [
        "task train, try 2",
        "no room in /data: 3 bytes are free, 900 are needed",
    ]
    assert "clear the task" in failed["lines"][3] and failed["links"]["Airflow"].endswith("/dags/monthly_retrain/runs/manual__2")
    assert seat.look() is None and seat.take() == []


def test_a_task_without_a_note_is_told_by_the_end_of_its_log(seat):
    seat.runs = [run_of("manual__1", "manual", "failed", ago(minutes=4), ago(minutes=3))]
    seat.tasks = [{"task_id": "merge", "state": "failed", "end_date": ago(minutes=3), "try_number": 1}]
    seat.look()
    [failed] = seat.take()
    assert failed["lines"][2] == "line 12" and failed["lines"][-2] == "line 19"


def test_a_refusal_is_told_with_the_gates_reasons(seat, tmp_path):
    seat.runs = [run_of("manual__1", "manual", "success", ago(minutes=4), ago(minutes=3))]
    gate = tmp_path / "gate"
    gate.mkdir()
    (gate / "decision.json").write_text(json.dumps({"decision": "refused", "reasons": ["legal_exam: fail: 0.51 < 0.75"]}))
    note(seat, "manual__1", "gate", {"artifact": str(gate)})
    note(seat, "manual__1", "release", {"skipped": True, "reason": "refused: legal_exam"})
    seat.look()
    [refused] = seat.take()
    assert refused["event"] == "refused" and refused["lines"][1:] == ["legal_exam: fail: 0.51 < 0.75"]


def test_a_release_a_rollback_and_a_failed_release_are_told_from_the_history(seat):
    database = seat.database
    first, second = ({"digest": letter * 64, "path": f"/store/{letter}", "version": letter} for letter in "ab")
    for model in (first, second, first):
        state = database.intend(model, "somebody")
        database.record("released", "releaser", state.revision, actual=model)
    state = database.intend(second, "somebody")
    database.record("failed", "releaser", state.revision, desired=second, evidence={"reason": "the engine did not answer"})
    seat.look()
    told = seat.take()
    assert [each["event"] for each in told] == ["released", "released", "rolled_back", "not_released"]
    assert told[2]["lines"] == ["version a, digest aaaaaaaaaaaa", "before: version b"]
    assert told[3]["lines"][1] == "the engine did not answer"


def test_a_release_against_the_recommendation_is_told_as_one(seat):
    database = seat.database
    override = {"id": 1, "reason": "the court's form", "by": "alice", "asked_at": 0.0, "second": "bob", "confirmed_at": 1.0}
    model = {"digest": "a" * 64, "path": "/store/a", "version": "a", "override": override}
    database.record("released", "releaser", database.intend(model, "somebody").revision, actual=model)
    seat.look()
    [told] = seat.take()
    said = "against the gate's recommendation: asked for by alice (the court's form), confirmed by bob"
    assert told["event"] == "released" and told["lines"][1] == said


def test_no_scheduled_run_for_long_is_told_once_a_week_with_the_paused_dag(seat):
    seat.runs = [run_of("scheduled__1", "scheduled", "success", ago(days=40), ago(days=40))]
    seat.paused = True
    content = json.loads((seat.var / "notify.json").read_text())
    content["since"]["webhook"] -= 50 * 86400
    (seat.var / "notify.json").write_text(json.dumps(content))
    seat.look(days=35)
    told = {each["event"]: each for each in seat.take()}
    assert told["missed"]["lines"] == ["none for 40 days (bound: 35)", "paused: monthly_retrain; unpause it in Airflow"]
    seat.look(days=35)
    assert seat.take() == []
    seat.look(days=41)
    assert seat.take() == []


def test_what_a_channel_did_not_take_is_told_at_the_next_look(seat):
    seat.runs = [run_of("scheduled__1", "scheduled", "running", ago(minutes=5))]
    seat.away = True
    assert "webhook: answered 503" in seat.look()
    seat.away = False
    assert seat.look() is None
    assert [each["event"] for each in seat.take()] == ["started"]


def test_a_new_channel_gets_no_history_but_the_test_that_was_asked_for(tmp_path, monkeypatch):
    seat = Seat(tmp_path, monkeypatch)
    seat.runs = [run_of("scheduled__1", "scheduled", "running", ago(minutes=5))]
    assert seat.look(test="manual__t") is None
    assert [each["event"] for each in seat.take()] == ["test"]


def test_a_failed_task_of_one_candidate_is_told_with_its_base(seat):
    seat.runs = [run_of("manual__1", "manual", "failed", ago(minutes=4), ago(minutes=3))]
    task = {"task_id": "train", "map_index": 1, "rendered_map_index": "embedded-small"}
    seat.tasks = [task | {"state": "failed", "end_date": ago(minutes=3), "try_number": 1}]
    note(seat, "manual__1", "train", {"error": "the other candidate's", "exit": 2})
    note(seat, "manual__1", "1/train", {"error": "no room in /data", "exit": 2})
    seat.look()
    [failed] = seat.take()
    assert failed["lines"][1:3] == ["task train [embedded-small], try 1", "no room in /data"]


def test_a_candidate_that_failed_beside_another_one_is_told_though_the_run_went_well(seat):
    seat.runs = [run_of("manual__1", "manual", "success", ago(minutes=4), ago(minutes=3))]
    listed = [{"base": "a", "decision": "failed", "reasons": ["train failed: no room"]}, {"base": "b", "decision": "pass"}]
    note(seat, "manual__1", "choose", {"artifact": "/c", "report": {"chosen": 1, "candidates": listed}})
    note(seat, "manual__1", "release", {"report": {"version": "8"}})
    seat.look()
    [lost] = seat.take()
    assert lost["event"] == "lost" and lost["lines"][1] == "a: train failed: no room"


def test_a_failed_housekeeping_is_told_and_a_good_one_is_not(seat):
    seat.runs = [
        run_of("scheduled__h", "scheduled", "failed", ago(minutes=9), ago(minutes=4), "housekeeping"),
        run_of("scheduled__g", "scheduled", "success", ago(minutes=8), ago(minutes=7), "housekeeping"),
    ]
    seat.tasks = [{"task_id": "store", "state": "failed", "end_date": ago(minutes=3), "try_number": 2}]
    assert seat.look() is None
    [told] = seat.take()
    assert told["event"] == "upkeep" and told["lines"][:2] == ["housekeeping, scheduled__h", "task store, try 2"]
    assert seat.look() is None and seat.take() == []


def test_looks_that_failed_are_told_once_by_the_first_that_can(seat):
    runs = [run_of("w0", "scheduled", "success", ago(minutes=60), ago(minutes=60), "watch")]
    runs += [run_of(f"w{n}", "scheduled", "failed", ago(minutes=60 - n), ago(minutes=60 - n), "watch") for n in range(1, 59)]
    seat.runs = [*runs, run_of("now", "scheduled", "running", ago(minutes=1), None, "watch")]
    seat.look()
    [told] = seat.take()
    assert told["event"] == "upkeep" and "at least 50 looks failed since" in told["lines"][0] and "watch, w58" in told["lines"][1]
    seat.runs += [run_of("w59", "scheduled", "failed", ago(seconds=30), ago(seconds=20), "watch")]
    seat.look()
    assert seat.take() == []
    seat.runs += [run_of("w60", "scheduled", "success", ago(seconds=10), ago(seconds=9), "watch")]
    seat.look()
    assert seat.take() == []


@pytest.mark.parametrize("name", [".", "..", "monthly_retrain", "x" * 250])
def test_no_run_id_stops_the_alerts_or_takes_another_runs_notes(seat, name):
    seat.runs = [
        run_of(name, "manual", "failed", ago(minutes=4), ago(minutes=3)),
        run_of("manual__2", "manual", "failed", ago(minutes=2), ago(minutes=1)),
    ]
    seat.tasks = [{"task_id": "train", "state": "failed", "end_date": ago(minutes=3), "try_number": 1}]
    note(seat, "manual__2", "train", {"error": "its own", "exit": 2})
    (seat.var / "train.json").write_text(json.dumps({"error": "another's"}))
    (seat.var / "runs" / "train.json").write_text(json.dumps({"error": "another's"}))
    assert seat.look() is None
    odd, own = seat.take()
    assert odd["lines"][:2] == [f"monthly_retrain, {name}", "task train, try 1"] and "another's" not in str(odd)
    assert own["lines"][2] == "its own"


def test_a_run_that_missed_its_deadline_is_told_once(seat, monkeypatch):
    import asyncio

    import events

    monkeypatch.setenv("LEXLOOP_VAR", str(seat.var))
    run = {"dag_id": "monthly_retrain", "dag_run_id": "..", "queued_at": ago(hours=36, minutes=5), "state": "running", "conf": {}}
    ended = run | {"dag_run_id": "ended", "state": "failed"}  # Airflow's alert does not ask
    for each in (run, ended):
        asyncio.run(events.note_late(context={"dag_run": each, "deadline": {}}))
    seat.look()
    [told] = seat.take()
    seat.runs = [run_of("..", "manual", "running", ago(hours=36)) | {"queued_at": run["queued_at"]}]  # seen in Airflow as well
    assert told["event"] == "late" and told["lines"][0] == "monthly_retrain, .." and "running" in told["lines"][1]
    seat.look()
    assert seat.take() == []


def test_a_run_without_a_deadline_is_late_all_the_same(seat):
    seat.runs = [
        run_of(name, "manual", state, ago(hours=hours)) | {"queued_at": ago(hours=hours)}
        for name, state, hours in (("long", "running", 37), ("paused", "queued", 50), ("short", "running", 35))
    ]
    content = json.loads((seat.var / "notify.json").read_text())
    content["since"]["webhook"] -= 2 * 86400
    (seat.var / "notify.json").write_text(json.dumps(content))
    seat.look()
    assert [each["lines"][0] for each in seat.take()] == ["monthly_retrain, paused", "monthly_retrain, long"]


def test_a_lost_release_state_is_told_and_keeps_nothing_else_from_being_told(seat):
    (seat.var / "release.sqlite").unlink()
    seat.runs = [run_of("scheduled__1", "scheduled", "running", ago(minutes=5))]
    assert seat.look() is None
    assert sorted(each["event"] for each in seat.take()) == ["no_state", "started"]
    assert not (seat.var / "release.sqlite").exists()


def test_only_a_look_that_ended_well_is_heard_outside(seat):
    assert seat.look() is None and seat.beats == [("GET", "/alive/canary-heart")]
    seat.runs, seat.away = [run_of("scheduled__1", "scheduled", "running", ago(minutes=5))], True
    assert "webhook: answered 503" in seat.look() and len(seat.beats) == 1
    seat.away, seat.sick = False, 500
    said = seat.look()
    assert said.startswith("heartbeat: answered 500") and "canary-heart" not in said
    seat.sick, seat.hooked = 200, False  # without any channel the watch still says that it lives
    assert seat.look() is None and len(seat.beats) == 3
    seat.heart = False
    assert seat.look() is None and len(seat.beats) == 3
