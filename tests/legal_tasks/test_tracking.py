"""Tracking against a real MLflow server: parent and child, data lineage, the registry; and none where none is named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from legal_tasks import registry, tracking
from legal_tasks.tracking import commands

mlflow = pytest.importorskip("mlflow", reason="mlflow comes with the ml environment")


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


def test_numbers_by_chinese_names_are_all_there_and_their_names_too(seat):
    report = {"subjects": {"合同": 3, "物权": 2, "行政": 1, "海商": 4}, "long": {"合" * 200: 7}}
    with tracking.step_run("data.clean", "key-names", {}, {}) as run:
        run.finish(report)
    (child,) = runs(seat, "data.clean")
    assert sorted(child.data.metrics.values()) == [1, 2, 3, 4, 7] and child.data.metrics["subjects.property_law"] == 2
    told = json.loads(Path(seat.download_artifacts(child.info.run_id, "metric_names.json")).read_text("utf-8"))
    assert set(told.values()) == {"subjects.合同", "subjects.物权", "subjects.行政", "subjects.海商", "long." + "合" * 200}
    assert told == json.loads(child.data.tags[tracking.TAG_NAMES])


def test_a_candidates_step_bears_its_base_and_leaves_the_runs_numbers_to_the_choice(seat, monkeypatch):
    monkeypatch.setenv("LEXLOOP_CANDIDATE", "embedded-small")
    with tracking.step_run("evaluation.gate", "key-candidate", {}, {}) as run:
        run.finish({"only_of_the_candidate": 1.0}, summary=True)
    child = seat.get_run(run.run_id)
    parent = seat.get_run(child.data.tags["mlflow.parentRunId"])
    assert child.info.run_name == "evaluation.gate [embedded-small]"
    assert child.data.metrics["only_of_the_candidate"] == 1.0 and "only_of_the_candidate" not in parent.data.metrics


def test_a_report_is_kept_with_its_run(seat, tmp_path):
    (tmp_path / "report.html").write_text("<p>可以发布</p>", "utf-8")
    with tracking.step_run("evaluation.gate", "key4", {}, {}):
        tracking.log_file(tmp_path / "report.html")
    (child,) = runs(seat, "evaluation.gate")
    (tmp_path / "back").mkdir()
    kept = seat.download_artifacts(child.info.run_id, "report.html", str(tmp_path / "back"))
    assert "可以发布" in Path(kept).read_text("utf-8")


def test_files_of_a_step_are_put_into_its_run(seat, tmp_path):
    (tmp_path / "card.html").write_text("<p>1</p>")
    with tracking.step_run("data.check", "key9", {}, {}):
        tracking.log_file(tmp_path / "card.html", "data_card")
    (child,) = runs(seat, "data.check")
    assert [file.path for file in seat.list_artifacts(child.info.run_id, "data_card")] == ["data_card/card.html"]


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
        first = registry.register_model("digest1", str(tmp_path / "one"), {"gate": "pass"}, {"champion": "digest1"})
        again = registry.register_model("digest1", str(tmp_path / "one"), {"gate": "refused"})
        second = registry.register_model(
            "digest2", str(tmp_path / "two"), {"gate": "pass"}, {"champion": "digest2", "previous": "digest1"}
        )
    assert first == again and second != first
    assert str(seat.get_model_version_by_alias(registry.MODEL, "champion").version) == second
    previous = seat.get_model_version_by_alias(registry.MODEL, "previous").tags
    assert previous["digest"] == "digest1" and previous["gate"] == "refused"


def test_without_an_address_nothing_happens(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with tracking.step_run("data.clean", "key", {}, {}) as run:
        tracking.log_metrics({"a": 1.0})
        run.finish({"a": 1})
    assert run.url is None and registry.register_model("d", "/nowhere", {}) is None


AWAY = "http://127.0.0.1:9"


def curve(client, run):
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss")]


def test_what_was_told_while_the_server_was_away_is_there_afterwards_and_once_only(seat, server, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    with tracking.step_run("training.lora", "key-away", {"r": 8}, {"data": "e" * 64}) as run:
        for number in range(5):
            tracking.log_metrics({"loss": 5.0 - number}, step=number)
        run.finish({"loss_last": 1.0})
    assert run.url is None and tracking.replay() == 1
    (file,) = (tmp_path / "mlflow-journal").glob("*.jsonl")
    copy = file.read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    assert tracking.replay() == 0 and not file.exists()
    file.write_bytes(copy)  # as if the answer to the sending had been lost
    assert tracking.replay() == 0
    (child,) = runs(seat, "training.lora")
    assert curve(seat, child) == [(n, 5.0 - n) for n in range(5)]
    assert child.info.status == "FINISHED" and child.data.params == {"r": "8"} and child.data.metrics["loss_last"] == 1.0
    assert len(child.inputs.dataset_inputs) == 1


KILLED = """
import os
from legal_tasks import registry, tracking
from legal_tasks.tracking import commands
with tracking.step_run("training.lora", "key-killed", {"r": 8}, {}):
    for number in range(4):
        tracking.log_metrics({"loss": 9.0 - number}, step=number)
    os._exit(9)
"""


def test_a_killed_steps_next_attempt_goes_on_in_the_same_run_without_repeating_points(seat, repository):
    values = {**os.environ, "PYTHONPATH": str(repository)}
    assert subprocess.run([sys.executable, "-c", KILLED], env=values).returncode == 9
    with tracking.step_run("training.lora", "key-killed", {"r": 8}, {}):
        for number in range(2, 6):  # from the checkpoint at 2 on
            tracking.log_metrics({"loss": 9.0 - number}, step=number)
    (child,) = runs(seat, "training.lora")
    assert curve(seat, child) == [(n, 9.0 - n) for n in range(6)] and child.info.status == "FINISHED"


def test_a_failed_step_that_is_done_again_is_one_run(seat):
    for fails in (True, False):
        try:
            with tracking.step_run("training.lora", "key-again", {}, {}):
                tracking.log_metrics({"loss": 1.0}, step=1)
                if fails:
                    raise RuntimeError("planted")
        except RuntimeError:
            assert runs(seat, "training.lora")[0].info.status == "FAILED"
    (child,) = runs(seat, "training.lora")
    assert child.info.status == "FINISHED" and curve(seat, child) == [(1, 1.0)]


def test_runs_that_nobody_works_on_are_ended_and_those_at_work_are_not(seat, repository, monkeypatch):
    values = {**os.environ, "PYTHONPATH": str(repository)}
    subprocess.run([sys.executable, "-c", KILLED], env=values)
    assert [run.info.status for run in runs(seat)] == ["RUNNING", "RUNNING"]
    own = os.environ["LEXLOOP_DAG_RUN"]
    assert tracking.reap([own]) == []
    monkeypatch.setenv("LEXLOOP_DAG_RUN", "the_next_run")
    with tracking.step_run("data.clean", "key-next", {}, {}):
        assert [run.info.status for run in runs(seat)] == ["RUNNING", "RUNNING"]  # the next DAG run's own
        monkeypatch.setenv("LEXLOOP_DAG_RUN", own)
        assert {run.info.status for run in runs(seat)} == {"KILLED"}


def test_a_dag_run_that_ended_while_the_server_was_away_is_closed_as_it_ended(seat, server, monkeypatch):
    with tracking.step_run("data.clean", "key-closed", {}, {}):
        pass
    own = os.environ["LEXLOOP_DAG_RUN"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    assert commands.main(["close", "--dag-run", own, "--status", "FINISHED"]) == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    tracking.reap()
    assert {run.info.status for run in runs(seat)} == {"FINISHED"}


def test_a_promotion_waits_for_the_server_and_then_fails_with_its_address(monkeypatch, tmp_path):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    with pytest.raises(tracking.TrackingError, match="127.0.0.1:9"), tracking.step_run("serving.release", "key", {}, {}):
        tracking.require(0.1)


class Nothing(Exception):
    """Stands for step.Skip."""


def test_a_skipped_step_is_finished_with_its_reason(seat):
    with pytest.raises(Nothing), tracking.step_run("serving.prove", "key-skip", {}, {}, (Nothing,)):
        raise Nothing("unchanged: 0123 is version 3 in production and answers")
    (child,) = runs(seat, "serving.prove")
    assert child.info.status == "FINISHED" and child.data.tags[tracking.TAG_SKIPPED].startswith("unchanged: 0123")


def test_a_deleted_experiment_is_restored_and_the_months_are_there_again(seat, capsys, monkeypatch):
    monkeypatch.setenv("LEXLOOP_DAG", "quarterly_retrain")
    with tracking.step_run("data.clean", "key-before", {}, {}):
        pass
    experiment = seat.get_experiment_by_name("quarterly_retrain")
    seat.delete_experiment(experiment.experiment_id)
    with tracking.step_run("data.split", "key-after", {}, {}) as run:
        pass
    assert run.run_id is not None and "away" not in capsys.readouterr().out
    assert seat.get_experiment(experiment.experiment_id).lifecycle_stage == "active"
    found = {run.info.run_name for run in seat.search_runs([experiment.experiment_id])}
    assert found == {os.environ["LEXLOOP_DAG_RUN"], "data.clean", "data.split"}


def test_what_is_deleted_while_a_step_works_is_restored(seat, capsys):
    with tracking.step_run("training.lora", "key-deleted", {}, {}) as run:
        parent = seat.get_run(run.run_id).data.tags["mlflow.parentRunId"]
        seat.delete_run(run.run_id)
        seat.delete_run(parent)
        tracking.log_metrics({"loss": 1.0}, step=1)
        run.finish({"loss_last": 1.0}, summary=True)
    (child,) = runs(seat, "training.lora")
    assert curve(seat, child) == [(1, 1.0)] and child.info.status == "FINISHED"
    assert seat.get_run(parent).data.metrics == {"loss_last": 1.0} and "away" not in capsys.readouterr().out


def test_an_experiment_opens_on_its_runs_unless_somebody_chose_another_page(seat, monkeypatch):
    for name, kind, wanted in (
        ("new", None, "custom_model_development"),
        ("guessed", "genai_development_inferred", "custom_model_development"),
        ("chosen", "genai_development", "genai_development"),
    ):
        if kind is not None:
            seat.create_experiment(name, tags={"mlflow.experimentKind": kind})
        monkeypatch.setenv("LEXLOOP_DAG", name)
        with tracking.step_run("data.clean", f"key-{name}", {}, {}):
            pass
        assert seat.get_experiment_by_name(name).tags["mlflow.experimentKind"] == wanted


def test_a_run_that_was_purged_is_made_again_with_all_that_the_journal_holds(seat):
    with tracking.step_run("training.lora", "key-purged", {"r": 8}, {}) as run:
        tracking.log_metrics({"loss": 1.0}, step=1)
        assert run.sender is not None and run.sender.send()
        with run.sender.lock:
            run.sender.run_id = "0" * 32  # as `mlflow gc` leaves it
        tracking.log_metrics({"loss": 0.5}, step=2)
    assert run.run_id != "0" * 32
    (child,) = runs(seat, "training.lora")
    assert curve(seat, child) == [(1, 1.0), (2, 0.5)] and child.data.params == {"r": "8"}
