"""Tracking against a real MLflow server: parent and child, data lineage, the registry; and none where none is named."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from legal_tasks import tracking

mlflow = pytest.importorskip("mlflow", reason="mlflow comes with the ml environment")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
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
    for name, value in {
        "MLFLOW_TRACKING_URI": server,
        "LEXLOOP_VAR": str(tmp_path),
        "LEXLOOP_DAG": "monthly_retrain",
        "LEXLOOP_DAG_RUN": f"run_{tmp_path.name}",
    }.items():
        monkeypatch.setenv(name, value)
    return mlflow.MlflowClient(server)


def runs(client, name=None):
    experiment = client.get_experiment_by_name("monthly_retrain").experiment_id
    found = client.search_runs([experiment], f"tags.`{tracking.TAG_DAG_RUN}` = '{os.environ['LEXLOOP_DAG_RUN']}'")
    return [run for run in found if name is None or run.info.run_name == name]


def test_a_step_is_a_child_with_curve_parameters_and_inputs(seat):
    with tracking.step_run("training.lora", "key1", {"r": 16}, {"data": "d" * 64}) as run:
        for number in range(3):
            tracking.log_metrics({"loss": 3.0 - number}, step=number)
        run.finish({"loss_last": 1.0, "text": "x", "nested": {"n": 2}}, summary=True)
    (child,) = runs(seat, "training.lora")
    (parent,) = runs(seat, os.environ["LEXLOOP_DAG_RUN"])
    assert child.info.status == "FINISHED" and child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert [m.value for m in seat.get_metric_history(child.info.run_id, "loss")] == [3.0, 2.0, 1.0]
    assert child.data.params == {"r": "16"} and child.data.metrics["nested.n"] == 2
    assert [d.dataset.name for d in child.inputs.dataset_inputs] == ["data"]
    assert parent.data.metrics["loss_last"] == 1.0
    assert tracking.url_of("key1") == run.url and child.info.run_id in run.url


def test_a_failed_step_is_failed_and_closing_ends_the_parent(seat):
    with pytest.raises(RuntimeError), tracking.step_run("data.clean", "key2", {}, {}):
        raise RuntimeError("planted")
    assert runs(seat, "data.clean")[0].info.status == "FAILED"
    tracking.close_run(os.environ["LEXLOOP_DAG_RUN"], "FAILED")
    assert {run.info.status for run in runs(seat)} == {"FAILED"}


def test_a_version_is_registered_once_with_its_newest_tags_and_aliases_follow(seat, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    with tracking.step_run("serving.release", "key3", {}, {}):
        first = tracking.register_model("digest1", str(tmp_path / "one"), {"gate": "pass"}, {"champion": "digest1"})
        again = tracking.register_model("digest1", str(tmp_path / "one"), {"gate": "refused"})
        second = tracking.register_model(
            "digest2", str(tmp_path / "two"), {"gate": "pass"}, {"champion": "digest2", "previous": "digest1"}
        )
    assert first == again and second != first
    assert str(seat.get_model_version_by_alias(tracking.MODEL, "champion").version) == second
    previous = seat.get_model_version_by_alias(tracking.MODEL, "previous").tags
    assert previous["digest"] == "digest1" and previous["gate"] == "refused"


def test_without_an_address_nothing_happens(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with tracking.step_run("data.clean", "key", {}, {}) as run:
        tracking.log_metrics({"a": 1.0})
        run.finish({"a": 1})
    assert run.url is None and tracking.register_model("d", "/nowhere", {}) is None


def test_a_server_that_is_away_is_named(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(tracking.TrackingError, match="127.0.0.1:9"), tracking.step_run("data.clean", "key", {}, {}):
        raise AssertionError("the step must not start")
