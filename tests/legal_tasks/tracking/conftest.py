"""A retrain's notes and artifacts, made by hand."""

import functools
import json

import pytest

from legal_tasks.notes import run_folder

DECISION = {
    "decision": "refused",
    "rules": [
        {
            "name": "general ability",
            "suite": "general",
            "verdict": "fail",
            "sentence": "-4.0 points [-6.0, -2.0]; at least -3.0",
            "value": -0.04,
            "interval": [-0.06, -0.02],
            "bound": -0.03,
            "n": 1080,
            "by": "point and lower bound",
        },
        {"name": "parity", "suite": "parity", "verdict": "pass", "sentence": "all", "value": 1.0, "interval": None, "bound": 1.0}
        | {"n": 20, "by": "point"},
    ],
    "metrics": {
        "总成绩": {"base": 0.5, "champion": None, "challenger": 0.75, "low": 0.7, "high": 0.8, "bound": 0.6, "n": 200}
        | {"gain": {"value": 0.25, "low": 0.2, "high": 0.3}, "difference": {"value": None, "low": None, "high": None}},
        "p95_first_token_s": {"base": None, "champion": None, "challenger": 0.2, "low": None, "high": None, "bound": 1, "n": 9}
        | {"gain": {}, "difference": {}},
        "cost_cny": {"base": None, "champion": None, "challenger": None, "bound": 2000.0, "n": None},
    },
}
TRAINED = {"base": "embedded", "r": 16, "alpha": 32, "dropout": 0.05, "targets": ["q_proj", "v_proj"], "learning_rate": 3e-3}
TRAINED |= {"batch": 16, "accumulation": 1, "epochs": 10.0, "seed": 4, "schedule": "linear", "max_updates": None, "device": "cpu"}


@pytest.fixture
def plant(tmp_path):
    """A function that leaves the notes and artifacts of a run, as its tasks do, in the test's var folder."""
    return functools.partial(leave, tmp_path)


def leave(var, run, decision="refused", month="2026-11-01", skip="refused: general ability"):
    told = {
        "collect": (
            "data.collect",
            {"as_of": month, "sources": "embedded"},
            {"as_of": month, "items": {"in": 9, "collected": 8}},
        ),
        "clean": (
            "data.clean",
            {"as_of": month},
            {"records": {"in": 8, "used": 5, "set_aside": {"short": 2, "x": 1}}, "written": 7},
        ),
        "train": ("training.lora", TRAINED, {"train_loss": 0.5, "validation_loss": 0.6, "records": 6, "data_digest": "d" * 64}),
        "compress": ("compression.compress", {}, {"loss_gptq": 0.01, "loss_gguf": None, "formats": {"gptq": {"size_bytes": 12}}}),
        "gate": ("evaluation.gate", {}, {"decision": decision, "reasons": ["general ability: fail"], "metrics": {}}),
    }
    folder = run_folder(var, "monthly_retrain", run)
    for task, (step, params, report) in told.items():
        made = var / "store" / step / run
        made.mkdir(parents=True)
        (made / "manifest.json").write_text(json.dumps({"params": params}))
        note = {
            "step": step,
            "report": report,
            "artifact": str(made),
            "mlflow_run_url": "http://127.0.0.1:1/#/experiments/1/runs/g",
        }
        if task == "gate":
            (made / "decision.json").write_text(json.dumps({**DECISION, "decision": decision}, ensure_ascii=False), "utf-8")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{task}.json").write_text(json.dumps(note))
    release = {"step": "serving.release", "report": {"version": "7"}}
    release |= {"skipped": True, "reason": skip} if decision == "refused" else {}
    (folder / "release.json").write_text(json.dumps(release))
