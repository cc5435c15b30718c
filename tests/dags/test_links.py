"""The link to MLflow through whole runs: in the log before anything else, and on the page of a task that failed or skipped."""

import json
import sqlite3

import pytest

from legal_tasks.notes import origin
from tests.dags.test_quarterly_runs import Seat

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def seat(tmp_path_factory):
    return Seat(tmp_path_factory.mktemp("seat"))


def links_of(seat, name, **ends):
    """{task: its link} of a monthly run whose steps end with the exit codes of `ends`, and what the command said."""
    var = seat.root / name
    var.mkdir()
    (var / "stand_in.json").write_text(json.dumps(ends))
    base = {"AIRFLOW__API__BASE_URL": "http://127.0.0.1:8080/air"}
    done = seat.command("dags", "test", "monthly_retrain", LEXLOOP_VAR=str(var), **base)
    run = origin(next((var / "runs").iterdir()))[1]
    with sqlite3.connect(seat.root / "airflow.db") as database:
        rows = database.execute("select task_id, value, run_id from xcom where key = '_link_MlflowRunLink'").fetchall()
    return {task: json.loads(value) for task, value, of in rows if of == run}, done.stdout + done.stderr


def test_a_task_that_failed_and_one_that_skipped_have_their_link(seat):
    failed, said = links_of(seat, "failed", **{"training.lora": 2})
    assert list(failed) == ["collect", "clean", "check", "split", "train"]
    assert failed["train"].startswith("http://127.0.0.1:8080/air/mlflow-run/open?dag=monthly_retrain&run=manual__")
    assert failed["train"].endswith("&step=training.lora")
    assert said.index("MLflow: http://127.0.0.1:8080/air/mlflow-run/open") < said.index("has the turn")
    skipped, _ = links_of(seat, "skipped", **{"serving.prove": 99})
    assert skipped["prove"].endswith("&step=serving.prove") and len(skipped) == 10
