"""A team's database: our own PostgreSQL, really made, migrated and checked; what cannot work is named."""

import os
import socket
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from legal_tasks import postgres
from legal_tasks.step import StepError
from tests.conftest import REPOSITORY
from tests.plugins.orchestrator import ENVIRONMENTS

PYTHON = f"{ENVIRONMENTS}/orchestrator/bin/python"


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture
def var(monkeypatch):
    """A var folder that the user `postgres` can enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="lexloop-pg-") as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setenv("LEXLOOP_VAR", folder)
        monkeypatch.delenv("LEXLOOP_DB", raising=False)
        monkeypatch.setenv("LEXLOOP_POSTGRES_PORT", free_port())
        yield Path(folder)


def test_without_a_choice_it_is_sqlite_and_a_choice_is_kept_in_a_private_file(var, monkeypatch):
    assert postgres.airflow_address() == f"sqlite:///{var}/airflow/airflow.db" and not postgres.is_own()
    monkeypatch.setenv("LEXLOOP_DB", "postgresql://airflow:p%40ss@db.example/airflow")
    postgres.keep_choice()
    monkeypatch.delenv("LEXLOOP_DB")
    assert postgres.airflow_address() == "postgresql://airflow:p%40ss@db.example/airflow"
    assert stat.S_IMODE((var / "database").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["mysql://u:canary@h/d", "postgres15", "u:canary@h/d"])
def test_another_kind_of_database_is_refused_without_its_password(var, monkeypatch, text):
    monkeypatch.setenv("LEXLOOP_DB", text)
    with pytest.raises(StepError, match="write postgres, or an address") as error:
        postgres.chosen()
    assert "canary" not in str(error.value)


def test_a_taken_port_is_named_with_the_variable_that_moves_it(var, monkeypatch):
    monkeypatch.setenv("LEXLOOP_DB", "postgres")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", int(os.environ["LEXLOOP_POSTGRES_PORT"])))
        holder.listen()
        with pytest.raises(StepError, match="LEXLOOP_POSTGRES_PORT=<port>"):
            postgres.check_port()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's server runs as that user")
def test_a_folder_that_the_servers_user_cannot_enter_is_named(var):
    closed = var / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(StepError, match=f"cannot enter {closed}"):
        postgres.check_reach(closed / "postgres")


@pytest.mark.slow
def test_airflow_migrates_and_checks_our_own_server_which_ends_without_a_trace(var, monkeypatch):
    if not postgres.is_installed():
        pytest.skip("Debian's postgresql is missing: apt-get install postgresql")
    code = """
import os, subprocess, sys
from legal_tasks import postgres, services
postgres.keep_choice()
services.write_airflow_config()
with postgres.running():
    services.migrate()
    for words in (["db", "check"], ["db", "check-migrations", "-t", "1"], ["pools", "list"]):
        argv = [str(services.python_of("orchestrator")), "-m", "airflow", *words]
        done = subprocess.run(argv, env={**os.environ, **services.environment()}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "training" in done.stdout
    connection = postgres.connect("airflow")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM information_schema.tables WHERE table_name IN ('dag_run', 'task_instance')")
        assert cursor.fetchone() == (2,)
        cursor.execute("SHOW listen_addresses")
        assert cursor.fetchone() == ("127.0.0.1",)
    connection.close()
    import psycopg2
    try:
        psycopg2.connect(host="127.0.0.1", port=postgres.port(), user="airflow", password="wrong", dbname="airflow")
    except psycopg2.OperationalError as error:
        assert "password authentication failed" in str(error)
    else:
        raise AssertionError("a wrong password was taken")
print("migrated")
"""
    values = {"LEXLOOP_VAR": str(var), "LEXLOOP_ENV_DIR": str(Path(ENVIRONMENTS).absolute()), "PYTHONPATH": str(REPOSITORY)}
    values |= {"LEXLOOP_DB": "postgres", "LEXLOOP_POSTGRES_PORT": os.environ["LEXLOOP_POSTGRES_PORT"], "PATH": "/usr/bin:/bin"}
    values |= {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "HOME": str(var)}  # no MLflow here: only Airflow's database is made
    done = subprocess.run([PYTHON, "-c", code], env=values, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.strip().endswith("migrated"), done.stdout[-2000:] + done.stderr[-3000:]
    assert postgres.server_pid() is None
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(values["LEXLOOP_POSTGRES_PORT"]))) != 0
    assert (var / "secrets" / "postgres").read_text() not in done.stdout + done.stderr
