"""The link from a run to MLflow: found by DAG run and step when somebody follows it, behind the login, bounded in time."""

import base64
import json

import pytest

from legal_tasks.tracking.server import TRAINING
from tests.plugins.orchestrator import ask, command
from tests.plugins.servers import connection, http_server

RUN = "scheduled__2026-11-01T03:00:00+08:00"
LOGIN = "Basic " + base64.b64encode(b"u:canary").decode()


def row(run_id, step):
    return {"info": {"run_id": run_id}, "data": {"tags": [{"key": "lexloop.step", "value": step}]}}


RUNS = {
    RUN: [row("t1", "training.lora"), row("e1", "evaluation.harness"), row("e2", "evaluation.harness"), row("p1", "parent")],
    "it's <b>": [row("p2", "parent")],
}


def mlflow(method, path, body):
    if path.startswith("/api/2.0/mlflow/experiments/get-by-name?experiment_name="):
        if not path.endswith("monthly_retrain"):
            return 404, "{}"
        return 200, json.dumps({"experiment": {"experiment_id": "7"}})
    assert path == "/api/2.0/mlflow/runs/search" and json.loads(body)["experiment_ids"] == ["7"]
    asked = json.loads(body)["filter"]
    found = [rows for name, rows in RUNS.items() if asked == f"tags.`lexloop.dag_run_id` = '{name.replace(chr(39), '')}'"]
    return 200, json.dumps({"runs": found[0]} if found else {})


def query(run=RUN, dag="monthly_retrain", **more):
    return {"dag": dag, "run": run, **more}


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    assert command(home, ["-m", "airflow", "db", "migrate"]).returncode == 0
    with http_server(mlflow) as (port, seen):
        address = f"http://127.0.0.1:{port}"
        asked = [
            {"query": query()},
            {"query": query(), "role": None},
            {"query": query(step="training.lora"), "role": "viewer"},
            {"query": query(step="evaluation.harness"), "role": "viewer"},  # of two candidates
            {"query": query(step="serving.release"), "role": "viewer"},  # skipped: it has no run of its own
            {"query": query(RUN.replace("+", " ")), "role": "viewer"},
            {"query": query("manual__new"), "role": "viewer"},
            {"query": query(dag="quarterly_retrain"), "role": "viewer"},
            {"query": query("it's <b>"), "role": "viewer", "frame": True},
            {"query": query(), "role": "viewer", "environment": {"LEXLOOP_MLFLOW_URL": "javascript:alert(1)"}},
            {"query": query(), "role": "viewer", "environment": {"LEXLOOP_MLFLOW_URL": "https://u:pw@mlflow.example/x/"}},
            {"query": query(), "role": "viewer", "environment": {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}},
            {"query": query(), "role": "viewer", "environment": {"MLFLOW_TRACKING_URI": ""}},
        ]
        login = {"AIRFLOW_CONN_LEXLOOP_MLFLOW": connection(conn_type="http", login="u", password="canary")}
        answer = ask(home, "to_mlflow_probe.py", {"asked": asked}, MLFLOW_TRACKING_URI=address, **login)
    return address, answer["answers"], answer["views"], seen


def test_only_who_may_read_the_dags_runs_is_sent_on(followed):
    assert [answer["status"] for answer in followed[1][:3]] == [401, 403, 307]


def test_a_step_has_its_own_page_and_one_without_or_with_several_the_runs(followed):
    address, answers, _, _ = followed
    places = [answer["to"] for answer in answers[2:6]]
    assert places == [f"{address}/#/experiments/7/runs/{run}{TRAINING}" for run in ("t1", "p1", "p1", "p1")]


def test_mlflow_is_asked_with_the_connections_login(followed):
    assert {request["headers"].get("Authorization") for request in followed[3]} == {LOGIN}
    assert "canary" not in str(followed[1])


def test_a_run_that_mlflow_does_not_know_yet_says_so(followed):
    for answer in followed[1][6:8]:
        assert answer["status"] == 404 and "yet" in answer["text"]


def test_in_airflows_frame_there_is_a_link_and_names_are_escaped(followed):
    address, answers, views, _ = followed
    text = answers[8]["text"]
    assert answers[8]["status"] == 200 and f'href="{address}/#/experiments/7/runs/p2{TRAINING}" target="_blank"' in text
    assert "<b>" not in text and "&lt;b&gt;" in text
    [view] = [view for view in views if view["name"] == "MLflow"]
    assert view["destination"] == "dag_run" and "{RUN_ID}" in view["href"]


def test_the_public_address_is_http_without_a_login(followed):
    bad, good = followed[1][9:11]
    assert bad["status"] == 404 and bad["to"] is None and "must begin with http" in bad["text"]
    assert good["to"] == f"https://mlflow.example/x/#/experiments/7/runs/p1{TRAINING}"


def test_an_mlflow_that_is_away_or_not_named_says_what_to_do(followed):
    away, unnamed = followed[1][11:13]
    assert away["status"] == 404 and "http://127.0.0.1:9 does not answer" in away["text"] and "make status" in away["text"]
    assert unnamed["status"] == 404 and "MLFLOW_TRACKING_URI" in unnamed["text"]
