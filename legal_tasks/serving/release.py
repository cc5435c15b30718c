"""Register the version; put it into production if the gate let it pass: write the intent and wait for the releaser.

The decision must be about this very model (see `chain`): the paths of both come from where they can be exchanged. A refused
model is released only where two people have overridden the refusal (see `override`), and is marked as such.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from legal_tasks import artifacts, registry, tracking
from legal_tasks.step import Input, Output, Runtime, Skip, StepError, main

VERSION = 2
REUSE = "never"


@dataclass(frozen=True)
class Params:
    decision: Annotated[Path, Input("folder made by evaluation.gate, with decision.json")]
    model: Annotated[Path, Input("folder made by compression.compress")]
    output: Annotated[Path, Output("folder with release.json; against a refusal also the marked report")]
    timeout_s: Annotated[float, Runtime("wait so long for the releaser, seconds")] = 600.0
    mlflow_timeout_s: Annotated[float, Runtime("wait so long for MLflow, without which nothing is promoted, seconds")] = 900.0

    def __post_init__(self) -> None:
        if self.timeout_s <= 0:
            raise StepError(f"--timeout-s must be more than 0, got {self.timeout_s}; leave it out for 600")


@dataclass
class Report:
    version: str
    digest: str
    previous: str | None
    seconds: float
    override: str = ""  # who released it against the gate's recommendation, and why


def read_decision(folder: Path) -> dict[str, Any]:
    """decision.json of the gate."""
    path = folder / "decision.json"
    if not path.is_file():
        raise StepError(f"--decision {folder} holds no decision.json: name the folder made by evaluation.gate")
    decision = json.loads(path.read_text("utf-8"))
    if decision.get("decision") not in ("pass", "refused"):
        raise StepError(f"{path}: decision must be pass or refused, got {decision.get('decision')!r}")
    return decision


def tags_of(model: Path, decision: Path, verdict: str) -> dict[str, str]:
    """Where the version comes from, as tags of the registry: data, base and adapter by digest, formats, the gate's word.

    What the store no longer holds is left out.
    """
    manifest = artifacts.read_manifest(model)
    found = {f"input.{name}": digest for name, digest in manifest.get("inputs", {}).items()}
    found |= {"key": manifest["key"], "decision": artifacts.digest_path(decision), "gate": verdict}
    report = json.loads((model / artifacts.REPORT).read_text("utf-8")) if (model / artifacts.REPORT).is_file() else {}
    if report.get("formats"):
        found["formats"] = ", ".join(sorted(report["formats"]))
    store = artifacts.Store(model.parents[1])
    merged = store.with_digest("training.merge", manifest.get("inputs", {}).get("model", ""))
    if merged is not None:
        inputs = artifacts.read_manifest(merged)["inputs"]
        found |= {"adapter": inputs["adapter"], "base": inputs["base"]}
        adapter = store.with_digest("training.lora", inputs["adapter"])
        if adapter is not None:
            found["data"] = artifacts.read_manifest(adapter)["inputs"]["data"]
    return found


def run(params: Params) -> Report:
    from legal_tasks.serving import chain, engines, override
    from legal_tasks.serving.intent import bring
    from legal_tasks.serving.state import Conflict, Database

    judged = chain.check(params.decision, params.model)
    params = replace(params, decision=judged.decision_path, model=judged.model_path)
    decision = read_decision(params.decision)
    database = Database()
    if decision["decision"] == "pass":
        run_id = os.environ.get("LEXLOOP_DAG_RUN", chain.BY_HAND)
        chain.check_alone(judged, os.environ.get("LEXLOOP_DAG", ""), run_id, database.current().actual, database.history())
    tracking.require(params.mlflow_timeout_s)
    began = time.monotonic()
    digest = judged.model["digest"]
    source = str(params.model)
    tags = tags_of(params.model, params.decision, decision["decision"])
    granted = override.find(database, tags["decision"], digest) if decision["decision"] == "refused" else None
    if decision["decision"] == "refused" and granted is None:
        refused = registry.register_model(digest, source, tags, {"challenger": digest}) or digest[:12]
        reasons = "; ".join(decision.get("reasons") or []) or "the gate gave no reason"
        raise Skip(f"refused: {reasons}", {"version": refused, "digest": digest})
    engines.admit(params.model)
    before = database.current().actual
    # The version exists before it serves, so that the gateway names it; the aliases follow when it serves.
    tags |= {"gate": "refused, released all the same", "override": granted.sentence()} if granted else {}
    version = registry.register_model(digest, source, tags, {"challenger": digest}) or digest[:12]
    model: dict[str, Any] = {"digest": digest, "path": source, "version": version, "decision": str(params.decision)}
    evidence: dict[str, Any] = {"decision": tags["decision"], "dag_run": os.environ.get("LEXLOOP_DAG_RUN")}
    if granted is not None:
        model, evidence = model | {"override": granted.as_dict()}, evidence | {"override": granted.as_dict()}
    try:
        bring(model, f"release {os.environ.get('LEXLOOP_DAG_RUN', 'by hand')}", evidence, params.timeout_s, database)
    except Conflict as error:
        raise StepError(f"{error}: somebody else released at the same moment; run the step again") from error
    previous = database.previous()
    aliases = {"champion": digest} | ({"previous": previous["digest"]} if previous else {})
    registry.register_model(digest, source, tags, aliases)
    said = granted.sentence() if granted else ""
    if said:
        override.write_report(params.output, params.decision, said)
    report = Report(version, digest, before["digest"] if before else None, round(time.monotonic() - began, 2), said)
    (params.output / "release.json").write_text(json.dumps({"model": model, "previous": previous}, indent=1) + "\n", "utf-8")
    return report


if __name__ == "__main__":
    sys.exit(main("legal_tasks.serving.release"))
