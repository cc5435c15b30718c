"""Which processes belong to which service, and which services there are."""

import os
import subprocess

import pytest

from legal_tasks import services
from legal_tasks.step import StepError


@pytest.fixture
def var(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))
    monkeypatch.setenv("LEXLOOP_MLFLOW_PORT", "5999")
    return tmp_path


@pytest.fixture
def sleeper(var):
    """sleeper(NAME=value, ...) -> process id of a process of this seat with that in its environment."""
    started = []

    def start(**values):
        process = subprocess.Popen(["sleep", "60"], env={**os.environ, services.MARK: str(var), **values})
        started.append(process)
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_what_a_service_left_is_known_and_steps_at_work_are_no_part_of_it(sleeper):
    scheduler = sleeper(LEXLOOP_SERVICE="airflow-scheduler")
    mlflow = sleeper(LEXLOOP_SERVICE="mlflow")
    step = sleeper(LEXLOOP_SERVICE="airflow-scheduler", LEXLOOP_DAG_RUN="run")
    assert set(services.marked_processes()) == {scheduler, mlflow, step}
    assert set(services.marked_processes(service="airflow-scheduler", steps=False)) == {scheduler}
    assert set(services.marked_processes(steps=False)) == {scheduler, mlflow}


def test_mlflow_is_a_service_unless_another_server_is_named(var, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "mlflow" in services.programs()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5999")  # what the supervisor tells its children
    assert "mlflow" in services.programs()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    assert "mlflow" not in services.programs()


def test_an_unknown_service_is_named_with_those_that_there_are(var):
    with pytest.raises(StepError, match="run nonsense.*airflow-scheduler"):
        services.run_service("nonsense")


def test_more_users_of_airflow_are_named_with_their_roles(var, monkeypatch):
    monkeypatch.delenv("LEXLOOP_USERS", raising=False)
    assert services.airflow_users() == "admin:admin"
    monkeypatch.setenv("LEXLOOP_USERS", "alice:user, bob:op,")
    assert services.airflow_users() == "admin:admin,alice:user,bob:op"
    services.write_airflow_config()
    assert "simple_auth_manager_users = admin:admin,alice:user,bob:op\n" in (var / "airflow" / "airflow.cfg").read_text()


@pytest.mark.parametrize("users", ["alice", "alice:king", "a b:user", "alice:user:team"])
def test_a_user_without_a_known_role_is_refused(var, monkeypatch, users):
    monkeypatch.setenv("LEXLOOP_USERS", users)
    with pytest.raises(StepError, match="LEXLOOP_USERS"):
        services.airflow_users()
