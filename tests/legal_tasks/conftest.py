"""A real MLflow server for the tests of what it is told."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    pytest.importorskip("mlflow", reason="mlflow comes with the ml environment")
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    argv += ["--backend-store-uri", f"sqlite:///{folder}/m.db", "--artifacts-destination", f"{folder}/artifacts"]
    values = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(folder / "log.txt", "w") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, env=values, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, (folder / "log.txt").read_text()[-2000:]
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait()


@pytest.fixture
def seat(server, tmp_path, monkeypatch):
    """A client of the server, which the process's steps write to as a DAG run of their own."""
    import mlflow

    for name, value in {
        "MLFLOW_TRACKING_URI": server,
        "LEXLOOP_VAR": str(tmp_path),
        "LEXLOOP_DAG": "monthly_retrain",
        "LEXLOOP_DAG_RUN": f"run_{tmp_path.name}",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LEXLOOP_MONTH", raising=False)
    return mlflow.MlflowClient(server)
