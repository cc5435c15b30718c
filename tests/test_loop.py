"""The whole embedded loop through a running Airflow: released, answering behind the gateway, then unchanged, then stopped."""

import json
import os
import socket
import time
import urllib.error
import urllib.request

import pytest

from legal_tasks.notes import run_folder

pytestmark = pytest.mark.loop


def test_the_loop_ends_released_with_the_model_behind_the_gateway(seat, released):
    done, result = released
    assert done.returncode == 0 and result["exit"] == 0
    assert result["decision"] == "released", result["reasons"]
    assert [task["state"] for task in result["tasks"]] == ["success"] * 12
    assert result["metrics"]["legal_exam"]["verdict"] == "pass" and result["metrics"]["legal_exam"]["n"] >= 1000
    records = result["records"]
    assert records["in"] == records["used"] + records["reference"] + sum(records["set_aside"].values())
    status, _, answer = seat.ask(seat.key())
    assert status == 200 and answer["choices"][0]["message"]["content"]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        seat.ask(None)


def test_the_run_in_airflow_says_in_its_note_what_was_released(seat, released):
    from legal_tasks.retrain import Airflow

    _, result = released
    airflow = Airflow(seat.url("AIRFLOW"), json.loads((seat.var / "airflow" / "passwords.json").read_text())["admin"])
    address, deadline = f"/dags/monthly_retrain/dagRuns/{result['dag_run_id']}", time.monotonic() + 120
    while not (note := airflow.call("GET", address)["note"]) and time.monotonic() < deadline:
        time.sleep(1)
    version = result["model"]["version"]
    assert note == f"**LexLoop** 已上线：版本 {version}\n\nreleased version {version}"


def test_the_training_log_and_mlflow_hold_the_run(seat, released):
    _, result = released
    train = json.loads((run_folder(seat.var, "monthly_retrain", result["dag_run_id"]) / "train.json").read_text("utf-8"))
    with open(f"{train['artifact']}/log.jsonl") as log:
        assert len(log.readlines()) >= 100
    base = f"{seat.url('MLFLOW')}/api/2.0/mlflow"
    with urllib.request.urlopen(f"{base}/registered-models/alias?name=legal-llm&alias=champion") as answer:
        version = json.load(answer)["model_version"]
    tags = {tag["key"]: tag["value"] for tag in version["tags"]}
    assert str(version["version"]) == str(result["model"]["version"]) and tags["digest"] == result["model"]["digest"]
    assert result["model"]["base"] == "embedded"
    assert tags["gate"] == "pass" and tags["adapter"] == train["digest"] and tags["base"] and tags["data"] and tags["formats"]


def test_secrets_are_readable_by_their_owner_only(seat, released):
    files = [*(seat.var / "secrets").iterdir(), seat.var / "airflow" / "passwords.json", seat.var / "airflow" / "airflow.cfg"]
    assert len(files) >= 5
    assert {oct(os.stat(file).st_mode & 0o777) for file in files} == {"0o600"}


def test_a_second_run_with_nothing_changed_says_so(seat, released):
    done, result = seat.retrain("--profile", "small", timeout_s=400)
    assert done.returncode == 0 and result["decision"] == "unchanged"
    reused = {task["id"] for task in result["tasks"] if task["reused"]}
    assert {"collect", "clean", "train", "merge", "evaluate", "compress"} <= reused
    assert result["model"]["version"] == released[1]["model"]["version"]
    assert result["metrics"]["legal_exam"] == released[1]["metrics"]["legal_exam"]


def test_the_form_refuses_a_bad_value(seat, released):
    done = seat.run("legal_tasks.retrain", "--recompute", "nothing_of_ours")
    assert done.returncode == 2 and "recompute" in done.stderr and "Traceback" not in done.stderr


def test_a_file_that_cannot_be_read_ends_with_its_name_and_no_traceback(seat, released, tmp_path):
    (tmp_path / "broken.txt").write_bytes(bytes(range(256)) * 40)
    spec = {"sources": [{"kind": "document", "path": "broken.txt", "licence": "own"}], "licences": ["own"]}
    (tmp_path / "sources.yaml").write_text(json.dumps(spec), "utf-8")
    done, result = seat.retrain("--sources", str(tmp_path / "sources.yaml"), timeout_s=300)
    assert done.returncode == 2 and result["exit"] == 2 and result["decision"] == "failed"
    assert "broken.txt" in done.stdout and "Traceback" not in done.stdout + done.stderr
    assert [task["id"] for task in result["tasks"] if task["state"] == "failed"] == ["collect"]


def test_stop_leaves_no_process_and_no_port(seat, released):
    assert "no process left" in seat.stop().stdout
    for name, port in seat.ports.items():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, name


def test_a_taken_port_is_named(seat, released):
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that were just closed still linger there
        holder.bind(("127.0.0.1", seat.ports["AIRFLOW"]))
        holder.listen()
        done = seat.run("legal_tasks.retrain")
    assert done.returncode == 2 and str(seat.ports["AIRFLOW"]) in done.stderr and "LEXLOOP_AIRFLOW_PORT" in done.stderr


def test_an_mlflow_that_is_away_at_the_start_is_named(seat, released):
    done = seat.run("legal_tasks.retrain", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 2 and "http://127.0.0.1:9" in done.stderr and "Traceback" not in done.stderr
