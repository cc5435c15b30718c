"""What the parent run of a month carries, from what its tasks have noted and made."""

import json

import pytest

from legal_tasks.notes import run_folder
from legal_tasks.tracking import TrackingError, parents


@pytest.fixture
def var(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))
    monkeypatch.delenv("LEXLOOP_MONTH", raising=False)
    return tmp_path


def test_a_months_parameters_numbers_and_verdict_are_those_of_its_artifacts(var, plant, monkeypatch):
    plant("run_1")
    monkeypatch.setenv("LEXLOOP_AIRFLOW_RUN", "http://airflow.example/dags/monthly_retrain/runs/run_1")
    facts = parents.of_run("monthly_retrain", "run_1", "FINISHED")
    assert facts.params["base"] == "embedded" and facts.params["lora_targets"] == "q_proj,v_proj"
    wanted = {"lora_r": "16", "lora_alpha": "32", "lora_dropout": "0.05", "learning_rate": "0.003", "batch": "16", "seed": "4"}
    wanted |= {"accumulation": "1", "epochs": "10.0", "laws_date": "2026-11-01", "data_digest": "d" * 64, "records": "6"}
    assert wanted.items() <= facts.params.items()
    numbers = {"records.in": 8, "records.used": 5, "records.set_aside": 3, "loss.train": 0.5, "loss.eval": 0.6}
    numbers |= {"compression_loss.gptq": 0.01, "p95_first_token_s": 0.2, "size_bytes.gptq": 12}
    suite = "suite._u603bu6210u7ee9_."
    numbers |= {suite + "base": 0.5, suite + "challenger": 0.75, suite + "lower": 0.7, suite + "upper": 0.8, suite + "gain": 0.25}
    assert numbers.items() <= facts.metrics.items() and "cost_cny" not in facts.metrics
    tags = facts.tags
    assert (tags["decision"], tags["month"], tags["version"], tags["gate"]) == ("refused", "2026-11", "7", "refused")
    note = tags["mlflow.note.content"]
    for said in (
        "refused, version 7 · 拒绝发布",
        "-4.0 points",
        "通用能力",
        "http://airflow.example/dags/monthly_retrain/runs/run_1",
    ):
        assert said in note
    assert "/artifacts/report.html" in note and "parity" not in note


def test_the_decision_is_released_unchanged_or_failed_as_the_notes_say(var, plant):
    plant("good", "pass")
    assert parents.of_run("monthly_retrain", "good", "FINISHED").tags["decision"] == "released"
    folder = run_folder(var, "monthly_retrain", "same")
    folder.mkdir(parents=True)
    note = {"step": "serving.prove", "skipped": True, "reason": "unchanged: 0123", "report": {}}
    (folder / "prove.json").write_text(json.dumps(note))
    assert parents.of_run("monthly_retrain", "same", "FINISHED").tags["decision"] == "unchanged"
    (folder / "prove.json").write_text(json.dumps({"step": "serving.prove", "error": "no | engine", "exit": 2}))
    failed = parents.of_run("monthly_retrain", "same", "FAILED").tags
    assert failed["decision"] == "failed" and "no \\| engine" in failed["mlflow.note.content"]
    assert parents.of_run("monthly_retrain", "never_begun", "FAILED").tags["decision"] == "failed"
    assert parents.of_run("monthly_retrain", "..", "FAILED").params == {}


def test_a_long_verdict_keeps_its_links_and_no_link_runs_a_script(var):
    tags = {"decision": "failed"}
    links = {"Airflow": "https://airflow.example/x", "report 报告": "javascript:alert(1)"}
    note = parents.verdict(tags, ["x" * 700] * 30, {}, links, "FAILED")
    assert len(note) <= 8000 and note.endswith("[Airflow](https://airflow.example/x)") and "javascript" not in note


def test_the_month_that_the_form_names_goes_before_the_day_of_the_law(monkeypatch):
    monkeypatch.setenv("LEXLOOP_MONTH", "2026-10")
    assert parents.of_step("data.collect", {"as_of": "2026-11-01"}, {}, None).tags["month"] == "2026-10"
    assert parents.this_month() == "2026-10"
    monkeypatch.setenv("LEXLOOP_MONTH", "2026-13")
    with pytest.raises(TrackingError, match=r"LEXLOOP_MONTH must be a month like 2026-11, got '2026-13'"):
        parents.this_month()
