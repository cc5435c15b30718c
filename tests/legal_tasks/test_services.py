"""Which processes belong to which service, and which services there are."""

import os
import subprocess
import time

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


TITLED = """
import sys, time
import setproctitle
setproctitle.setproctitle("worker with a title that is much longer than the command line it is written over " * 20)
print("ready", flush=True)
time.sleep(60)
"""


def test_a_service_that_writes_over_its_command_line_is_still_known(var):
    python = services.python_of("orchestrator")
    if not python.is_file():
        pytest.skip("the orchestrator's environment is not built: make setup")
    values = {**os.environ, **services.environment(), services.NAME: "airflow-api-server"}
    process = subprocess.Popen([str(python), "-c", TITLED], env=values, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        assert set(services.marked_processes(service="airflow-api-server")) == {process.pid}
    finally:
        process.kill()
        process.communicate()


def test_an_nginx_whose_master_was_killed_is_known_by_its_files(var):
    nginx = services.nginx_path()
    if nginx is None:
        pytest.skip("nginx is not installed: make setup")
    (var / "gateway").mkdir()
    config = var / "gateway" / "nginx.conf"
    config.write_text(
        f"worker_processes 1; daemon off; pid {var}/gateway/pid; error_log {var}/gateway/error.log; events {{}}\n"
        f"http {{ access_log {var}/gateway/access.log; server {{ listen unix:{var}/gateway/s; }} }}\n"
    )
    process = subprocess.Popen([str(nginx), "-p", str(var / "gateway"), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(services.marked_processes()) == 2)
        process.kill()
        process.wait()
        (worker,) = services.marked_processes()
        assert worker != process.pid
        os.kill(worker, 9)
        wait_for(lambda: not services.marked_processes())
    finally:
        process.kill()


def wait_for(check):
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


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
