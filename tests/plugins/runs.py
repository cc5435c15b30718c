"""A var folder as retrains leave it: notes of tasks, decisions, reports, and the release history."""

import json
import os

from legal_tasks.notes import run_folder
from legal_tasks.serving.state import Database

MARKUP = "<script>alert('x')</script>"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def decision(var, name, verdict, accuracy, low, high, reasons, champion=0.61):
    row = {"challenger": accuracy, "low": low, "high": high, "bound": 0.6, "n": 1080, "base": 0.25, "champion": champion}
    folder = var / "store" / "evaluation.gate" / name
    content = {"decision": verdict, "reasons": reasons, "domain": ["legal_exam"], "metrics": {"legal_exam": row, "general": {}}}
    write(folder / "decision.json", content)
    return folder


def retrain(var, run, month, at, gate=None, **notes):
    """Notes of one run that began at `at`, seconds since 1970."""
    formats = {name: {"size_bytes": size} for name, size in (("merged", 8857616), ("gptq", 1550600), ("gguf", 1300000))}
    made = {
        "collect": {"report": {"as_of": f"{month}-01"}, "dag": "monthly_retrain", "mlflow_run_url": "http://mlflow/#/runs/c"},
        "compress": {"report": {"formats": formats}},
        **({"gate": {"artifact": str(gate), "mlflow_run_url": "http://mlflow/#/runs/g"}} if gate else {}),
        **notes,
    }
    for task, note in made.items():
        path = run_folder(var, made["collect"]["dag"], run) / f"{task}.json"
        write(path, note)
        os.utime(path, (at, at))


def two_bases(var, run, month, at, gates, **notes):
    """Notes of a quarterly run with two candidates, the second of which was chosen; `gates`: folders of their decisions."""
    retrain(var, run, month, at, **notes)
    folder = run_folder(var, notes.get("collect", {}).get("dag", "monthly_retrain"), run)
    (folder / "compress.json").unlink()
    listed = []
    for index, (base, gate) in enumerate(zip(("embedded", "embedded-small"), gates, strict=True)):
        write(folder / str(index) / "gate.json", {"artifact": str(gate)})
        write(folder / str(index) / "compress.json", {"report": {"formats": {"merged": {"size_bytes": 100 + index}}}})
        row = json.loads((gate / "decision.json").read_text())
        accuracy = row["metrics"]["legal_exam"]["challenger"]
        told = {"decision": row["decision"], "reasons": row["reasons"], "accuracy": accuracy, "size_bytes": 100 + index}
        listed.append({"index": index, "base": base, **told})
    chosen = var / "store" / "evaluation.choose" / run
    write(chosen / "decision.json", json.loads((gates[1] / "decision.json").read_text()))
    choice = {
        "artifact": str(chosen),
        "report": {"chosen": 1, "candidates": listed},
        "mlflow_run_url": "http://mlflow/#/runs/h",
    }
    write(folder / "choose.json", choice)


def three_months(var):
    """September released, October refused, November unchanged and a failed try; September's model serves."""
    won = decision(var, "a", "pass", 0.8268518518518518, 0.7760511882998172, 0.8748841519925857, ["better for certain"], None)
    lost = decision(var, "b", "refused", 0.51, 0.45, 0.57, ["legal_exam: fail: 51.0 %", MARKUP])
    september, october, november = 1_788_200_000.0, 1_790_800_000.0, 1_793_500_000.0
    release = {"report": {"version": "7"}}
    retrain(var, "scheduled__2026-09", "2026-09", september, won, release=release)
    skipped = {"skipped": True, "reason": "refused: legal_exam"}
    retrain(var, "scheduled__2026-10", "2026-10", october, lost, release=skipped)
    retrain(var, "manual__x", "2026-11", november, train={"error": "no room", "exit": 2})
    prove = {"skipped": True, "reason": "unchanged: the candidate is what production runs"}
    retrain(var, "scheduled__2026-11", "2026-11", november + 10, prove=prove, release=skipped)
    model = {"digest": "c" * 64, "path": "/store/c", "version": "7", "decision": str(won)}
    database = Database.create(var / "release.sqlite")
    state = database.intend(model, "release scheduled__2026-09")
    database.record("released", "releaser", state.revision, actual=model)
