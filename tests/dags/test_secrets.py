"""Secrets through a whole run: each reaches the steps that need it, and none stands where somebody reads."""

import json
import sqlite3

import pytest

from tests.dags.test_quarterly_runs import Seat
from tests.plugins.servers import connection

pytestmark = pytest.mark.slow
# What only the services may know, or nobody has heard of: no step gets it.
DENIED = {
    "LEXLOOP_DB": "postgresql://u:canary-db@h/d",
    "LEXLOOP_SALT": "canary-salt",
    "LEXLOOP_USERS": "canary-user:op",
    "OPENAI_API_KEY": "canary-stranger",
    "AIRFLOW__CORE__FERNET_KEY": "",
}
GIVEN = {
    "AWS_ACCESS_KEY_ID": "canary-aws-id",
    "AWS_SECRET_ACCESS_KEY": "canary-aws-secret",
    "AWS_SESSION_TOKEN": "canary-aws-session",
    "HF_TOKEN": "canary-hub",
    "LEXLOOP_REWRITE_KEY": "canary-rewrite",
    "LEXLOOP_ENDPOINT_API_KEY": "canary-endpoint",
    "LEXLOOP_ENGINE_ARGV": "engine --api-key canary-engine",
    "MLFLOW_TRACKING_URI": "http://canary-user:canary%2Fmlflow@127.0.0.1:9",
    "LEXLOOP_MLFLOW_URL": "https://canary-user:canary-public@mlflow.example",
}
MLFLOW = {"MLFLOW_TRACKING_USERNAME": "canary-user", "MLFLOW_TRACKING_PASSWORD": "canary/mlflow"}
S3 = {name: GIVEN[name] for name in GIVEN if name.startswith("AWS_")}


@pytest.fixture(scope="module")
def seat(tmp_path_factory):
    return Seat(tmp_path_factory.mktemp("seat"))


def whole_run(seat, name, **variables):
    """({step: its environment}, everything that Airflow, the notes and the logs keep of a run, as text)."""
    var = seat.root / name
    (var / "seen").mkdir(parents=True)
    (var / "stand_in.json").write_text("{}")
    done = seat.command("dags", "test", "monthly_retrain", **variables, LEXLOOP_VAR=str(var))
    assert "successful" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]
    seen = {path.stem: json.loads(path.read_text()) for path in (var / "seen").iterdir()}
    kept = [done.stdout, done.stderr]
    for path in [*var.rglob("*"), *seat.root.rglob("logs/**/*.log")]:
        if path.is_file() and path.parent != var / "seen":
            kept.append(path.read_text("utf-8", "replace"))
    with sqlite3.connect(seat.root / "airflow.db") as database:
        tables = [row[0] for row in database.execute("select name from sqlite_master where type = 'table'")]
        kept += [str(row) for table in tables for row in database.execute(f'select * from "{table}"')]
    return seen, "\n".join(kept)


@pytest.fixture(scope="module")
def from_worker(seat):
    return whole_run(seat, "worker", **GIVEN, **{name: value for name, value in DENIED.items() if value})


def test_nothing_that_people_read_holds_a_secret(seat, from_worker):
    _, kept = from_worker
    assert "rendered_task_instance_fields" in str(
        sqlite3.connect(seat.root / "airflow.db").execute("select name from sqlite_master where name like 'rendered%'").fetchall()
    )
    assert "LEXLOOP_PROGRESS" in kept  # the rendered fields are among it
    at = kept.find("canary")
    assert at < 0, kept[max(at - 300, 0) : at + 100]


def test_each_secret_of_the_worker_reaches_its_steps_and_no_other(from_worker):
    seen, _ = from_worker
    assert len(seen) == 12
    secrets = {step: {name for name, value in values.items() if "canary" in value} for step, values in seen.items()}
    every = {*MLFLOW, "LEXLOOP_MLFLOW_URL"}
    special = {
        "data.collect": set(S3),
        "data.clean": {"LEXLOOP_REWRITE_KEY"},
        "training.lora": {"HF_TOKEN"},
        "training.merge": {"HF_TOKEN"},
        "evaluation.harness": {"HF_TOKEN", "LEXLOOP_ENDPOINT_API_KEY"},
        "serving.prove": {"LEXLOOP_ENGINE_ARGV"},
    }
    assert secrets == {step: every | special.get(step, set()) for step in seen}
    for step, values in seen.items():
        assert {name: values[name] for name in MLFLOW} == MLFLOW, step
        assert values["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:9", step
    assert {name: seen["data.collect"][name] for name in S3} == S3


def test_a_connection_takes_the_place_of_the_workers_variables(seat):
    made = {
        "lexloop_s3": {"conn_type": "aws", "login": "canary-id2", "password": "canary-secret2"},
        "lexloop_hub": {"conn_type": "http", "password": "canary-hub2"},
        "lexloop_mlflow": {"conn_type": "http", "password": "canary-token2"},
        "lexloop_judge": {"conn_type": "http", "password": "canary-judge2"},
        "lexloop_rewrite": {"conn_type": "http", "password": "canary-rewrite2"},
        "lexloop_endpoint": {"conn_type": "http", "password": "canary-endpoint2"},
    }
    made["lexloop_s3"]["extra"] = json.dumps({"endpoint_url": "http://s3.example", "region_name": "cn-north-1"})
    given = {f"AIRFLOW_CONN_{name.upper()}": connection(**values) for name, values in made.items()}
    seen, kept = whole_run(seat, "connections", **GIVEN, **given)
    collect = {name: value for name, value in seen["data.collect"].items() if name.startswith("AWS_")}
    assert collect == {
        "AWS_ACCESS_KEY_ID": "canary-id2",
        "AWS_SECRET_ACCESS_KEY": "canary-secret2",
        "AWS_ENDPOINT_URL": "http://s3.example",
        "AWS_REGION": "cn-north-1",
    }
    assert seen["training.lora"]["HF_TOKEN"] == seen["evaluation.harness"]["HF_TOKEN"] == "canary-hub2"
    assert seen["data.clean"]["LEXLOOP_REWRITE_KEY"] == "canary-rewrite2"
    assert seen["evaluation.compare"]["LEXLOOP_JUDGE_API_KEY"] == "canary-judge2"
    assert seen["evaluation.harness"]["LEXLOOP_ENDPOINT_API_KEY"] == "canary-endpoint2"
    assert seen["serving.release"]["MLFLOW_TRACKING_TOKEN"] == "canary-token2"
    assert not any(name in values for values in seen.values() for name in MLFLOW)
    at = kept.find("canary")
    assert at < 0, kept[max(at - 300, 0) : at + 100]
