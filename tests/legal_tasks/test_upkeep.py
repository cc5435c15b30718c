"""Logs are bounded: old ones go, long ones are rotated while somebody writes to them."""

import gzip
import os
import time

import pytest

from legal_tasks import upkeep

DAY = 86400.0
NOW = 1_800_000_000.0


def test_old_task_logs_and_notes_go_and_young_ones_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))
    files = (("airflow/logs/dag_id=a/old.log", 500), ("airflow/logs/dag_id=b/new.log", 5), ("runs/r/x.json", 500))
    often = (("airflow/logs/dag_id=watch/old.log", 500), ("airflow/logs/dag_id=watch/last-week.log", 5))
    for name, days in (*files, *often, ("airflow/logs/dag_id=watch/today.log", 1), ("late/r.json", 500)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("12345")
        os.utime(path, (NOW - days * DAY,) * 2)
    assert upkeep.rotate_logs(400, dry_run=True, now=NOW) == {"removed": 5, "rotated": 0, "bytes": 25}
    assert (tmp_path / "runs/r/x.json").is_file()
    upkeep.rotate_logs(400, dry_run=False, now=NOW)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["new.log", "today.log"]
    assert not (tmp_path / "airflow/logs/dag_id=a").exists()


def test_a_long_log_is_rotated_under_its_writer_and_the_oldest_copies_go(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))
    log = tmp_path / "logs" / "engine-8100.log"
    log.parent.mkdir()
    monkeypatch.setattr(upkeep, "ROTATE_BYTES", 1000)
    with open(log, "a") as writer:
        for turn in range(upkeep.ROTATED_KEPT + 2):
            writer.write(str(turn) * (upkeep.ROTATE_BYTES + 1))
            writer.flush()
            assert upkeep.rotate_logs(400, dry_run=False)["rotated"] == 1
        writer.write("after\n")
    assert log.read_text() == "after\n"
    copies = sorted(log.parent.glob("*.gz"))
    assert [path.name for path in copies] == [f"engine-8100.log.{number}.gz" for number in range(1, upkeep.ROTATED_KEPT + 1)]
    with gzip.open(copies[0], "rt") as newest:
        assert newest.read(3) == str(upkeep.ROTATED_KEPT + 1) * 3


@pytest.mark.slow
def test_old_runs_go_from_mlflow_but_for_those_of_a_registered_version_and_their_parents(tmp_path, monkeypatch):
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("monthly_retrain", artifact_location=str(tmp_path / "artifacts"))
    long_ago = int((time.time() - 500 * DAY) * 1000)

    def run(name, start, parent=None):
        tags = {"mlflow.parentRunId": parent} if parent else {}
        return client.create_run(experiment, start_time=start, run_name=name, tags=tags).info.run_id

    parent = run("parent of the version", long_ago)
    child = run("release", long_ago, parent)
    old, young = run("old", long_ago), run("young", int(time.time() * 1000))
    client.create_registered_model("legal-llm")
    client.create_model_version("legal-llm", f"runs:/{child}/model", run_id=child)
    assert upkeep.clean_mlflow(400, dry_run=True) == {"deleted_runs": 1, "purged": False}
    assert upkeep.clean_mlflow(400, dry_run=False) == {"deleted_runs": 1, "purged": False}
    assert {found.info.run_id for found in client.search_runs([experiment])} == {parent, child, young}
    assert [found.info.run_id for found in client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)] == [old]


@pytest.mark.slow
def test_what_a_version_was_trained_by_outlives_housekeeping(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("monthly_retrain", artifact_location=str(tmp_path / "artifacts"))
    long_ago = int((time.time() - 500 * DAY) * 1000)

    def run(name, parent=None, step="", **tags):
        tags |= {"lexloop.step": step or name} | ({"mlflow.parentRunId": parent} if parent else {})
        return client.create_run(experiment, start_time=long_ago, run_name=name, tags=tags).info.run_id

    client.create_registered_model("legal-llm")
    july, august, may = run("july"), run("august"), run("may")
    training = run("training.lora", july)
    reused, released = run("training.lora again", august, "training.lora", reused_from=training), run("serving.release", august)
    tags = {"training_run": training, "release_run": released, "parent_run": july}
    client.create_model_version("legal-llm", f"runs:/{training}/model", run_id=training, tags=tags)
    old_training, old_release = run("training.lora", may), run("serving.release", may)  # registered by an older LexLoop
    client.create_model_version("legal-llm", f"runs:/{old_release}/model", run_id=old_release)
    gone = [run("data.clean", july), run("data.clean", may), run("june")]
    assert upkeep.clean_mlflow(400, dry_run=False)["deleted_runs"] == len(gone)
    kept = {found.info.run_id for found in client.search_runs([experiment])}
    assert kept == {july, august, may, training, reused, released, old_training, old_release}
