"""The whole embedded loop through a running Airflow: released, answering behind the gateway, then unchanged, then stopped."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytestmark = [pytest.mark.loop, pytest.mark.slow]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def seat(tmp_path_factory):
    """Environment of a seat of its own: var folder and ports."""
    from tests.conftest import REPOSITORY

    airflow, mlflow, gateway, engine = free_ports(4)
    environments = os.environ.get("LEXLOOP_ENV_DIR", str(REPOSITORY / "var" / "env"))
    values = {
        **os.environ,
        "LEXLOOP_VAR": str(tmp_path_factory.mktemp("seat")),
        "LEXLOOP_ENV_DIR": environments,
        "LEXLOOP_AIRFLOW_PORT": str(airflow),
        "LEXLOOP_MLFLOW_PORT": str(mlflow),
        "LEXLOOP_GATEWAY_PORT": str(gateway),
        "LEXLOOP_ENGINE_PORT": str(engine),
        "PYTHONPATH": str(REPOSITORY),
    }
    values.pop("LEXLOOP_STORE", None)
    values.pop("MLFLOW_TRACKING_URI", None)
    yield values
    command(values, "legal_tasks.services", "stop")


def command(seat, module, *arguments, timeout=1500):
    python = Path(seat["LEXLOOP_ENV_DIR"]) / "orchestrator" / "bin" / "python"
    return subprocess.run(
        [str(python), "-m", module, *arguments], env=seat, text=True, capture_output=True, timeout=timeout, cwd=seat["PYTHONPATH"]
    )


def summary(seat) -> dict:
    return json.loads((Path(seat["LEXLOOP_VAR"]) / "retrain.json").read_text("utf-8"))


def ask(seat, key: str | None):
    body = {"model": "legal-llm", "messages": [{"role": "user", "content": "你好"}], "max_tokens": 8}
    request = urllib.request.Request(
        f"http://127.0.0.1:{seat['LEXLOOP_GATEWAY_PORT']}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {}),
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        return json.load(answer)


def test_the_loop_ends_released_with_the_model_behind_the_gateway(seat):
    done = command(seat, "legal_tasks.retrain", "--profile", "small", "--timeout-s", "1400")
    sys.stdout.write(done.stdout[-6000:] + done.stderr[-3000:])
    assert done.returncode == 0
    result = summary(seat)
    assert result["decision"] == "released", result["reasons"]
    assert [task["id"] for task in result["tasks"] if task["state"] == "success"].__len__() == 12
    assert result["metrics"]["legal_exam"]["verdict"] == "pass" and result["metrics"]["legal_exam"]["n"] >= 1000
    records = result["records"]
    assert records["in"] == records["used"] + records["reference"] + sum(records["set_aside"].values())
    key = (Path(seat["LEXLOOP_VAR"]) / "secrets" / "api_keys").read_text().splitlines()[0].split(":")[1]
    assert ask(seat, key)["choices"][0]["message"]["content"]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        ask(seat, None)


def test_the_training_log_and_mlflow_hold_the_run(seat):
    folder = Path(seat["LEXLOOP_VAR"]) / "runs" / summary(seat)["dag_run_id"]
    train = json.loads((folder / "train.json").read_text())
    assert len((Path(train["artifact"]) / "log.jsonl").read_text().splitlines()) >= 100
    base = f"http://127.0.0.1:{seat['LEXLOOP_MLFLOW_PORT']}/api/2.0/mlflow"
    with urllib.request.urlopen(f"{base}/registered-models/alias?name=legal-llm&alias=champion") as answer:
        version = json.load(answer)["model_version"]
    assert str(version["version"]) == str(summary(seat)["model"]["version"])


def test_a_second_run_with_nothing_changed_says_so(seat):
    before = summary(seat)["model"]["version"]
    done = command(seat, "legal_tasks.retrain", "--profile", "small", "--timeout-s", "300")
    sys.stdout.write(done.stdout[-3000:] + done.stderr[-3000:])
    result = summary(seat)
    assert done.returncode == 0 and result["decision"] == "unchanged"
    reused = {task["id"] for task in result["tasks"] if task["reused"]}
    assert {"collect", "clean", "train", "merge", "evaluate", "compress"} <= reused
    assert result["model"]["version"] == before


def test_a_missing_source_is_refused_before_anything_runs(seat):
    done = command(seat, "legal_tasks.retrain", "--sources", "/nowhere/sources.yaml")
    assert done.returncode == 2 and "/nowhere/sources.yaml" in done.stderr and "Traceback" not in done.stderr


def test_stop_leaves_no_process_and_no_port(seat):
    done = command(seat, "legal_tasks.services", "stop")
    assert "no process left" in done.stdout
    for name in ("AIRFLOW", "MLFLOW", "GATEWAY", "ENGINE"):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(seat[f"LEXLOOP_{name}_PORT"]))) != 0, name


def test_a_taken_port_is_named(seat):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", int(seat["LEXLOOP_AIRFLOW_PORT"])))
        holder.listen()
        done = command(seat, "legal_tasks.retrain")
    assert done.returncode == 2 and seat["LEXLOOP_AIRFLOW_PORT"] in done.stderr and "LEXLOOP_AIRFLOW_PORT" in done.stderr
