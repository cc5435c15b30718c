"""The verdict becomes the run's note in Airflow, in the languages of the setting, below what a person wrote."""

import json
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from legal_tasks.evaluation import rules
from legal_tasks.notes import run_folder
from tests.plugins.orchestrator import ask
from tests.plugins.servers import http_server


class Airflow:
    """Answers about `runs` ({run id: state}) and keeps the notes that it is given."""

    def __init__(self, var):
        self.var, self.states, self.notes, self.tasks = var, {}, {}, {}
        (var / "airflow").mkdir(parents=True)
        (var / "airflow" / "passwords.json").write_text('{"admin": "canary-admin"}')

    def answer(self, method, path, body):
        parts = urlsplit(path)
        place = parts.path.removeprefix("/api/v2")
        if place == "/auth/token":
            return 201, json.dumps({"access_token": "t"})
        name, _, rest = place.removeprefix("/dags/monthly_retrain/dagRuns/").partition("/")
        name = unquote(name)
        if name not in self.states:
            return 404, json.dumps({"detail": place})
        if rest == "taskInstances":
            return 200, json.dumps({"task_instances": self.tasks.get(name, [])})
        if body:
            assert parse_qs(parts.query) == {"update_mask": ["note"]}
            self.notes[name] = json.loads(body)["note"]
        row = {"dag_id": "monthly_retrain", "dag_run_id": name, "state": self.states[name], "note": self.notes.get(name)}
        return 200, json.dumps(row)

    def run(self, name, state="success", **notes):
        self.states[name] = state
        folder = run_folder(self.var, "monthly_retrain", name)
        folder.mkdir(parents=True)
        for task, note in notes.items():
            (folder / f"{task}.json").write_text(json.dumps(note))

    def end(self, home, *names, **variables):
        with http_server(self.answer, "application/json") as (port, _):
            variables = {"LEXLOOP_AIRFLOW_PORT": str(port), **variables}
            ask(home, "verdicts_probe.py", {"runs": list(names)}, **variables)
        return [self.notes.get(name) for name in names]


@pytest.fixture
def airflow(tmp_path):
    return Airflow(tmp_path / "var")


def refusal(folder):
    gain = {"value": -0.026, "low": -0.061, "high": 0.009, "lower": -0.056, "upper": 0.004, "n": 1080}
    rule = rules.general_rule({"gain": gain, "challenger": {"n": gain["n"]}}, rules.Thresholds()).as_dict()
    (folder / "decision.json").write_text(json.dumps({"decision": "refused", "reasons": ["x"], "rules": [rule]}))
    return {"gate": {"artifact": str(folder)}, "release": {"skipped": True, "reason": "refused: x"}}


def test_each_end_of_a_run_becomes_its_note(airflow, tmp_path):
    airflow.run("good", release={"report": {"version": "7"}}, gate={})
    airflow.run("same", prove={"skipped": True, "reason": "unchanged: it serves"})
    airflow.run("no", **refusal(tmp_path))
    airflow.run("passed_over")
    airflow.run("red", "failed", train={"error": "Traceback\nno disk", "exit": 2})
    airflow.tasks["red"] = [{"task_id": "train", "state": "failed", "end_date": "1", "map_index": -1}]
    airflow.run("killed", "failed")
    airflow.run("again", "running")
    (tmp_path / "var" / "releaser.json").write_text('{"production": {"version": "6"}}')
    names = ["good", "same", "no", "passed_over", "red", "killed", "again"]
    good, same, no, passed_over, red, killed, again = airflow.end(tmp_path, *names, LEXLOOP_LANGUAGE="en")
    assert good == "**LexLoop** released version 7" and same == "**LexLoop** unchanged: version 6 goes on serving"
    numbers = "general ability −2.6 points, bound −3.0; lower bound −5.6 points, bound −5.5"
    assert no == f"**LexLoop** refused: {numbers}; version 6 goes on serving"
    assert passed_over.startswith("**LexLoop** skipped: ") and red == "**LexLoop** failed: train: no disk"
    assert killed == "**LexLoop** failed: no task failed: the run was marked failed or ran out of time" and again is None


def test_both_languages_are_the_default_and_what_a_person_wrote_stays(airflow, tmp_path):
    airflow.run("no", **refusal(tmp_path))
    airflow.notes["no"] = "asked for by the court team"
    [first] = airflow.end(tmp_path, "no")
    [second] = airflow.end(tmp_path, "no", LEXLOOP_LANGUAGE="zh")
    assert first.startswith("asked for by the court team\n\n**LexLoop** 未通过：通用能力 −2.6 个百分点，界限 −3.0；")
    assert "\n\nrefused: general ability −2.6 points" in first and "nothing is served" in first
    assert second.startswith("asked for by the court team\n\n**LexLoop** 未通过") and "refused" not in second


def test_a_note_is_never_longer_than_airflow_takes(airflow, tmp_path):
    airflow.run("red", "failed", train={"error": "x" * 5000})
    airflow.tasks["red"] = [{"task_id": "train", "state": "failed", "end_date": "1", "map_index": -1}]
    airflow.notes["red"] = "y" * 1000
    [note] = airflow.end(tmp_path, "red")
    assert len(note) <= 1000 and note.count("…") == 3 and "failed: train: xxx" in note


def test_an_api_that_is_away_is_said_in_the_log_and_fails_nothing(airflow, tmp_path):
    from tests.plugins.orchestrator import command

    argv = ["tests/plugins/verdicts_probe.py", json.dumps({"runs": ["good"]})]
    done = command(tmp_path, argv, LEXLOOP_AIRFLOW_PORT="1025")
    assert done.returncode == 0 and "good has no note: Airflow's API does not answer at http://127.0.0.1:1025" in done.stdout
