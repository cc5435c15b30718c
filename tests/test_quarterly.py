"""The quarterly run with several bases through a real Airflow: all are tried, the best is served, a broken one is named."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from legal_tasks import months, notes
from legal_tasks.artifacts import digest_path, read_manifest
from tests.conftest import REPOSITORY
from tests.faults import _seat

pytestmark = [pytest.mark.slow, pytest.mark.loop]
NOWHERE = "no-such-base"
# The profile's own values are made for the smaller base; these let both pass.
LEARN = ("batch=16", "learning_rate=3e-3", "max_updates=240")


def follow(*options):
    """(the command `python -m legal_tasks.retrain` once it has ended, what var/retrain.json holds)"""
    argv = [str(_seat.python_of("orchestrator")), "-m", "legal_tasks.retrain", "--profile", "faults", "--timeout-s", "1500"]
    argv += [word for value in LEARN for word in ("--set", f"training.lora.{value}")]
    done = subprocess.run([*argv, *options], text=True, capture_output=True, timeout=1600, cwd=REPOSITORY)
    sys.stdout.write(done.stdout[-6000:] + done.stderr[-3000:])
    path = Path(os.environ["LEXLOOP_VAR"]) / "retrain.json"
    return done, json.loads(path.read_text("utf-8")) if path.is_file() else {}


@pytest.fixture(scope="module")
def seat():
    with tempfile.TemporaryDirectory(prefix="lexloop-Q-") as folder, _seat.seat(Path(folder)) as one:
        yield one


@pytest.fixture(scope="module")
def quarter(seat):
    return follow("--bases", f"embedded,current,{NOWHERE}")


def candidate_notes(seat, result):
    return notes.read_candidates(notes.run_folder(seat.var, "quarterly_retrain", result["dag_run_id"]))


def test_the_best_of_two_bases_is_released_and_a_third_that_does_not_exist_is_named(seat, quarter):
    done, result = quarter
    assert (done.returncode, result.get("decision")) == (0, "released")
    listed = {each["base"]: each for each in result["candidates"]}
    assert list(listed) == ["embedded", "embedded-small", NOWHERE]
    assert [each["decision"] for each in listed.values()] == ["pass", "pass", "failed"]
    assert "no such folder" in listed[NOWHERE]["reasons"][0]
    best = max(("embedded", "embedded-small"), key=lambda base: (listed[base]["accuracy"], -listed[base]["size_bytes"]))
    assert result["model"]["base"] == best and result["model"]["digest"] == digest_path(listed[best]["model"])
    assert seat.production()["digest"] == result["model"]["digest"] and result["production"] == result["model"]["version"]
    assert any(best in reason and NOWHERE in reason for reason in result["reasons"])


def test_the_two_models_come_from_the_same_data_and_from_different_bases(seat, quarter):
    made = candidate_notes(seat, quarter[1])
    inputs = [read_manifest(made[index]["train"]["artifact"])["inputs"] for index in (0, 1)]
    assert inputs[0]["data"] == inputs[1]["data"] and inputs[0]["base"] != inputs[1]["base"]
    assert made[0]["compress"]["digest"] != made[1]["compress"]["digest"]


def test_the_tasks_worked_one_at_a_time_and_are_named_by_their_base(seat, quarter):
    path = f"/dags/{_seat.QUARTERLY}/dagRuns/{quarter[1]['dag_run_id']}/taskInstances"
    tasks = [
        task for task in seat.call("GET", path, params={"limit": 100})["task_instances"] if task["state"] in ("success", "failed")
    ]
    tasks.sort(key=lambda task: task["start_date"])
    spans = [(task["task_id"], task["map_index"], task["start_date"], task["end_date"]) for task in tasks]
    assert all(before[3] <= after[2] for before, after in zip(spans, spans[1:], strict=False)), spans
    assert {task["map_index"] for task in tasks} == {-1, 0, 1, 2}
    assert {task["rendered_map_index"] for task in tasks if task["map_index"] == 1} == {"embedded-small"}


def test_mlflow_has_each_candidates_steps_below_the_one_run_and_the_chosen_numbers_on_it(seat, quarter):
    import httpx

    result = quarter[1]

    def look():
        """(the run of the DAG run, all runs), once its end has been told: that comes a moment after the DAG run's."""
        found = mlflow.get("experiments/get-by-name", params={"experiment_name": _seat.QUARTERLY}).json()["experiment"]
        asked = {"experiment_ids": [found["experiment_id"]], "max_results": 200}
        runs = mlflow.post("runs/search", json=asked).json()["runs"]
        parent = next(run for run in runs if run["info"]["run_name"] == result["dag_run_id"])
        return parent["info"]["status"] != "RUNNING" and (parent, runs)

    with httpx.Client(base_url=f"http://127.0.0.1:{os.environ['LEXLOOP_MLFLOW_PORT']}/api/2.0/mlflow", trust_env=False) as mlflow:
        parent, runs = _seat.wait_for(look, "the end of the run in MLflow", 90)
    names = {run["info"]["run_name"] for run in runs if run is not parent}
    assert {
        f"{step} [{base}]" for step in ("training.lora", "evaluation.gate") for base in ("embedded", "embedded-small")
    } <= names
    numbers = {metric["key"]: metric["value"] for metric in parent["data"]["metrics"]}
    assert parent["info"]["status"] == "FINISHED"
    assert numbers["metrics.legal_exam"] == pytest.approx(result["metrics"]["legal_exam"]["challenger"])


def test_the_page_shows_the_chosen_numbers_and_all_candidates(seat, quarter):
    row = next(row for row in months.overview(seat.var).rows if row.run == quarter[1]["dag_run_id"])
    assert (row.state, row.dag, row.version) == ("released", _seat.QUARTERLY, quarter[1]["model"]["version"])
    assert [each["base"] for each in row.candidates] == ["embedded", "embedded-small", NOWHERE]
    assert row.accuracy == row.candidates[row.chosen]["accuracy"]


def test_the_monthly_run_makes_what_the_candidate_current_made_and_trains_nothing_anew(seat, quarter):
    done, result = follow()
    assert done.returncode == 0
    own, current = (
        notes.read_run(notes.run_folder(seat.var, "quarterly_retrain", result["dag_run_id"])),
        candidate_notes(seat, quarter[1])[1],
    )
    for task in ("train", "merge", "compress"):
        assert own[task]["key"] == current[task]["key"] and own[task]["reused"], task
