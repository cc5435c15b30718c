"""Months in MLflow: found by tag, compared by number, whole after an outage and where their steps were reused."""

import json
import os
import time
from pathlib import Path

from legal_tasks import tracking
from legal_tasks.artifacts import Artifact
from legal_tasks.notes import run_folder
from legal_tasks.tracking import commands

AWAY = "http://127.0.0.1:9"


def parents_of(client, words):
    experiment = client.get_experiment_by_name("monthly_retrain").experiment_id
    return client.search_runs([experiment], f"{words} and tags.`{tracking.TAG_STEP}` = 'parent'")


def begin(monkeypatch, run, month):
    monkeypatch.setenv("LEXLOOP_DAG_RUN", run)
    with tracking.step_run("data.collect", f"key-{run}", {"as_of": month}, {}) as step:
        step.finish({"items": {"in": 3}, "as_of": month})


def test_months_are_found_by_their_tags_and_carry_what_they_are_compared_by(seat, tmp_path, plant, monkeypatch):
    name = tmp_path.name
    for run, decision, month in ((f"{name}-a", "refused", "2031-11-01"), (f"{name}-b", "pass", "2031-12-01")):
        begin(monkeypatch, run, month)
        plant(run, decision, month)
        assert commands.main(["close", "--dag-run", run, "--status", "FINISHED"]) == 0
    (refused,) = parents_of(seat, "tags.decision = 'refused' and tags.month = '2031-11'")
    (released,) = parents_of(seat, "tags.decision = 'released' and tags.month = '2031-12'")
    assert refused.info.run_name == f"{name}-a" and refused.info.status == "FINISHED" and refused.data.params["lora_r"] == "16"
    for run in (refused, released):
        assert run.data.metrics["suite._u603bu6210u7ee9_.challenger"] == 0.75 and run.data.metrics["records.used"] == 5
    assert "拒绝发布" in refused.data.tags["mlflow.note.content"] and released.data.tags["version"] == "7"


def test_the_month_of_the_form_stays_and_a_run_done_again_says_what_changed(seat, tmp_path, plant, monkeypatch):
    run = f"{tmp_path.name}-again"
    monkeypatch.setenv("LEXLOOP_MONTH", "2031-07")
    begin(monkeypatch, run, "2031-08-01")
    monkeypatch.delenv("LEXLOOP_MONTH")
    plant(run, "refused", "2031-08-01")
    tracking.close_run(run, "FINISHED")
    (parent,) = parents_of(seat, f"tags.`{tracking.TAG_DAG_RUN}` = '{run}'")
    assert parent.data.tags["month"] == "2031-07"
    manifest = tmp_path / "store" / "training.lora" / run / "manifest.json"
    manifest.write_text(json.dumps({"params": {"r": 64}}))
    tracking.close_run(run, "FINISHED")
    again = seat.get_run(parent.info.run_id).data
    assert again.params["lora_r"] == "16" and again.tags["changed.lora_r"] == "64"
    assert len(seat.get_metric_history(parent.info.run_id, "records.used")) == 1


def test_a_run_that_ended_while_the_server_was_away_has_its_decision_afterwards(seat, server, tmp_path, plant, monkeypatch):
    run = f"{tmp_path.name}-away"
    begin(monkeypatch, run, "2032-01-01")
    plant(run, "refused", "2032-01-01")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    assert commands.main(["close", "--dag-run", run, "--status", "FINISHED"]) == 2
    for note in run_folder(tmp_path, "monthly_retrain", run).iterdir():
        note.unlink()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    tracking.reap()
    (parent,) = parents_of(seat, "tags.decision = 'refused' and tags.month = '2032-01'")
    assert parent.info.status == "FINISHED" and parent.data.metrics["loss.train"] == 0.5


def reuse(folder, made_by, key="key-whole"):
    made = Artifact(folder, "a" * 64, {"written": 7, "subjects": {"合同": 2}}, True, {"run": made_by, "step": "data.clean"})
    (folder / "records.jsonl").write_text("{}\n{}\n")
    tracking.note_reuse("data.clean", key, {"as_of": "2031-05-01"}, {"items": "b" * 64}, {"items": folder}, made)


def children(client, run):
    experiment = client.get_experiment_by_name("monthly_retrain").experiment_id
    found = client.search_runs([experiment], f"tags.`{tracking.TAG_DAG_RUN}` = '{run}'")
    return [child for child in found if child.info.run_name == "data.clean"]


def test_a_run_reused_whole_has_child_runs_that_name_the_original(seat, tmp_path, monkeypatch):
    first, second = f"{tmp_path.name}-first", f"{tmp_path.name}-second"
    monkeypatch.setenv("LEXLOOP_DAG_RUN", first)
    with tracking.step_run("data.clean", "key-whole", {}, {}) as original:
        original.finish({"written": 7})
    reuse(tmp_path, first)  # cleared and found again by the run that made it
    monkeypatch.setenv("LEXLOOP_DAG_RUN", second)
    reuse(tmp_path, first)
    assert tracking.url_of("key-whole") == original.url
    tracking.close_run(second, "FINISHED")
    reuse(tmp_path, first)  # the task was cleared
    tracking.close_run(second, "FINISHED")
    (child,) = children(seat, second)
    assert len(children(seat, first)) == 1
    tags = child.data.tags
    assert tags[tracking.TAG_REUSED] == original.run_id and original.run_id in tags["reused_from_url"]
    assert tags["lexloop.digest"] == "a" * 64 and tags[tracking.TAG_KEY] == "key-whole" and child.info.status == "FINISHED"
    assert child.data.metrics == {"written": 7.0, "subjects.contract_law": 2.0}
    assert seat.get_run(tags["mlflow.parentRunId"]).data.metrics["records.written"] == 7.0
    assert tracking.url_of("key-whole") == original.url


def test_what_was_reused_of_a_run_that_mlflow_lost_says_so(seat, tmp_path):
    reuse(tmp_path, "long_ago", "key-lost")
    tracking.close_run(os.environ["LEXLOOP_DAG_RUN"], "FINISHED")
    (child,) = children(seat, os.environ["LEXLOOP_DAG_RUN"])
    assert "does not have" in child.data.tags[tracking.TAG_REUSED]


def test_an_input_is_a_dataset_with_place_rows_and_its_whole_digest(seat, tmp_path):
    (tmp_path / "train.jsonl").write_text("{}\n" * 3)
    places = {"data": Path(tmp_path)}
    with tracking.step_run("training.lora", "key-data", {}, {"data": "0123456789abcdef" * 4}, places=places) as run:
        pass
    (dataset,) = (given.dataset for given in seat.get_run(run.run_id).inputs.dataset_inputs)
    assert json.loads(dataset.source) == {"uri": str(tmp_path), "sha256": "0123456789abcdef" * 4}
    assert json.loads(dataset.profile) == {"num_rows": 3, "sha256": "0123456789abcdef" * 4}


def test_a_table_is_shown_as_one_and_the_machine_is_watched(seat, server, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)  # an outage costs neither the training nor the metrics anything
    with tracking.step_run("training.lora", "key-watched", {}, {}, watched=True) as run:
        tracking.log_table("sample_answers.json", ["question", "challenger"], [{"question": "何时？", "challenger": "今日"}])
        assert run.book is not None
        for _ in range(600):
            if ("system/cpu_utilization_percentage", 2) in run.book.seen:
                break
            time.sleep(0.05)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    assert tracking.replay() == 0
    experiment = seat.get_experiment_by_name("monthly_retrain").experiment_id
    (child,) = seat.search_runs([experiment], f"tags.`{tracking.TAG_KEY}` = 'key-watched'")
    history = seat.get_metric_history(child.info.run_id, "system/cpu_utilization_percentage")
    assert [point.step for point in history][:3] == [0, 1, 2] and child.data.metrics["system/system_memory_usage_percentage"] > 0
    found = seat.load_table(experiment, "sample_answers.json", run_ids=[child.info.run_id])
    assert found.to_dict("records") == [{"question": "何时？", "challenger": "今日"}]
