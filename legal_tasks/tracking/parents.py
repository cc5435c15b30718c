"""What the parent run of a retrain carries, so that months can be compared: parameters, numbers, tags, the verdict in words.

Each step tells its part when it ends (`of_step`, through the journal); the run's end tells the whole once more (`of_run`), with
the decision. Several candidates leave the parent to the end: its numbers are those of the one that was chosen.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from legal_tasks import journal, notes
from legal_tasks.tracking.names import flatten
from legal_tasks.tracking.server import NOTE, PARAM_LIMIT, TAG_LIMIT, TrackingError

MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
DECISIONS = {"released": "已发布", "refused": "拒绝发布", "unchanged": "无变化", "failed": "失败"}
# Parameter of training.lora -> its name on the parent's page.
TRAINING = {"base": "base", "r": "lora_r", "alpha": "lora_alpha", "dropout": "lora_dropout", "targets": "lora_targets"}
TRAINING |= {name: name for name in ("learning_rate", "schedule", "batch", "accumulation", "epochs", "max_updates", "seed")}
ROLES = ("base", "champion", "challenger")
DECIDING = ("domain accuracy", "replace", "improve", "general ability", "p95_first_token_s", "cost_cny")


@dataclass
class Facts:
    """What a run carries: parameters as texts, metrics by MLflow's names, tags."""

    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, other: Facts) -> None:
        self.params |= other.params
        self.metrics |= other.metrics
        self.tags |= other.tags


def given_month() -> str | None:
    """The month that LEXLOOP_MONTH names, YYYY-MM; None where it names none. TrackingError where it is no month."""
    given = os.environ.get("LEXLOOP_MONTH", "").strip()
    if not given:
        return None
    if not MONTH.fullmatch(given[:7]) or (given[7:] and not re.fullmatch(r"-\d\d", given[7:])):
        raise TrackingError(f"LEXLOOP_MONTH must be a month like 2026-11, got {given!r}: set it so, or leave it out")
    return given[:7]


def this_month() -> str:
    """The month of a run that has not said yet which one it is for: LEXLOOP_MONTH, else today's in Asia/Shanghai."""
    return given_month() or datetime.datetime.now(ZoneInfo("Asia/Shanghai")).strftime("%Y-%m")


def of_step(step: str, params: Mapping[str, Any], report: Mapping[str, Any], folder: Path | None) -> Facts:
    """What the parent learns from a step: its `params` and `report`, and of the gate its decision.json in `folder`."""
    facts = Facts()
    if step in ("data.collect", "data.clean"):
        day = str(params.get("as_of") or report.get("as_of") or "")
        facts.params |= {"laws_date": day} if day else {}
        facts.tags |= {"month": given_month() or day[:7]} if day else {}
    if step == "data.collect":
        facts.params |= {"sources": str(params.get("sources", ""))}
        facts.metrics |= {f"items.{name}": float(count) for name, count in _counts(report.get("items") or {}).items()}
    elif step == "data.clean":
        facts.metrics |= {f"records.{name}": float(count) for name, count in _counts(report.get("records") or {}).items()}
        facts.metrics |= flatten({"records": {"written": report.get("written")}})
    elif step == "data.split":
        facts.metrics |= flatten({"records": {name: report.get(name) for name in ("train", "validation")}})
    elif step == "training.lora":
        facts.params |= {shown: _text(params[name]) for name, shown in TRAINING.items() if name in params}
        facts.params |= {name: str(report[name]) for name in ("data_digest", "base_digest") if report.get(name)}
        facts.params |= {"records": str(report["records"])} if "records" in report else {}
        losses = {"train": "train_loss", "eval": "validation_loss", "eval_before": "validation_loss_before"}
        facts.metrics |= flatten({"loss": {name: report.get(key) for name, key in losses.items()}})
        facts.metrics |= flatten({"training": {name: report.get(name) for name in ("records", "updates", "tokens", "seconds")}})
    elif step == "compression.compress":
        losses = {"gptq": "loss_gptq", "gptq_act_order": "loss_gptq_act_order", "gguf": "loss_gguf"}
        facts.metrics |= flatten({"compression_loss": {name: report.get(key) for name, key in losses.items()}})
        sizes = {name: part.get("size_bytes") for name, part in (report.get("formats") or {}).items()}
        facts.metrics |= flatten({"size_bytes": sizes})
    elif step in ("evaluation.gate", "evaluation.choose"):
        facts.params |= {"base": str(report["base"])} if report.get("base") else {}
        facts.metrics |= of_decision(notes.read(folder / "decision.json") if folder else {})
        facts.tags |= {"gate": str(report["decision"])} if report.get("decision") else {}
    elif step == "serving.release" and report.get("version"):
        facts.tags |= {"version": str(report["version"])}
    facts.params = {name: value[:PARAM_LIMIT] for name, value in facts.params.items()}
    return facts


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _counts(part: Mapping[str, Any]) -> dict[str, int]:
    """{in, used, ...} of a report's account, with the items set aside as one number."""
    shown = {name: value for name, value in part.items() if isinstance(value, int)}
    aside = part.get("set_aside")
    return shown | ({"set_aside": sum(aside.values())} if isinstance(aside, Mapping) else {})


def of_decision(decision: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a decision.json: of a suite each role's share, bounds and gain, of everything else the number itself."""
    found: dict[str, float] = {}
    for name, row in (decision.get("metrics") or {}).items():
        if row.get("base") is None and row.get("champion") is None:
            found |= flatten({name: row.get("challenger")})
            continue
        shown: dict[str, Any] = {role: row.get(role) for role in ROLES}
        shown |= {"lower": row.get("low"), "upper": row.get("high"), "bound": row.get("bound"), "items": row.get("n")}
        for part in ("gain", "difference"):
            numbers = row.get(part) or {}
            shown |= {part: numbers.get("value"), f"{part}_lower": numbers.get("low"), f"{part}_upper": numbers.get("high")}
        found |= flatten({"suite": {name: shown}})
    return found


def of_run(dag: str, dag_run: str, status: str) -> Facts:
    """The whole of a DAG run that has ended as `status` (FINISHED, FAILED, KILLED), from what its tasks noted."""
    from legal_tasks import months

    told = notes.read_run(notes.find_folder(journal.folder().parent, dag, dag_run))
    facts = Facts()
    for note in told.values():
        if note.get("step"):
            made = Path(note["artifact"]) if note.get("artifact") else None
            params = notes.read(made / "manifest.json").get("params") or {} if made else {}
            facts.add(of_step(str(note["step"]), params, note.get("report") or {}, made))
    state, reasons = months.state_of(told)
    if state not in DECISIONS:
        state, reasons = "failed", ["it ended before the gate"]
    facts.tags["decision"] = state
    judged = notes.judged(told)
    decision = notes.read(Path(judged) / "decision.json") if judged else {}
    links = {"Airflow": os.environ.get("LEXLOOP_AIRFLOW_RUN") or airflow_run(dag, dag_run)}
    page = told.get(notes.CHOICE, {}).get("mlflow_run_url") or told.get("gate", {}).get("mlflow_run_url")
    if page and judged:
        head, mark, rest = str(page).partition("?")
        links["report 报告"] = f"{head}/artifacts/report.html{mark}{rest}"
    facts.tags[NOTE] = verdict(facts.tags, reasons, decision, links, status)
    return facts


def airflow_run(dag: str, dag_run: str) -> str:
    """Page of a DAG run on this installation's Airflow."""
    from legal_tasks import services

    return f"{services.airflow_url()}/dags/{quote(dag)}/runs/{quote(dag_run, safe='')}"


def verdict(
    tags: Mapping[str, str], reasons: list[str], decision: Mapping[str, Any], links: Mapping[str, str], status: str
) -> str:
    """The run's decision in Markdown, in both languages: the rules that decided with number and bound, why, and links."""
    from legal_tasks.evaluation import chinese

    state = tags["decision"]
    version = f", version {tags['version']}" if state in ("released", "refused") and tags.get("version") else ""
    lines = [f"**{state}{version} · {DECISIONS[state]}** ({status})", ""]
    rules = decision.get("rules") or []
    stopped = [rule for rule in rules if rule["verdict"] not in ("pass", "not applicable")]
    shown = stopped or [rule for rule in rules if rule["name"].partition(" (")[0] in DECIDING and rule["value"] is not None]
    if shown and state != "failed":
        lines += ["| rule | verdict | 规则 | 结论 |", "|---|---|---|---|"]
        for rule in shown:
            cells = (rule["name"], f"{rule['verdict']}: {rule['sentence']}", chinese.name_of(rule), chinese.say(rule))
            lines.append("| " + " | ".join(map(_cell, cells)) + " |")
        lines.append("")
    if not stopped or state == "failed":
        lines += [*(f"- {_cell(reason)[:600]}" for reason in reasons), ""]
    safe = {name: address for name, address in links.items() if re.match(r"https?://", address)}
    tail = " · ".join(f"[{name}]({address})" for name, address in safe.items())
    text = "\n".join(lines)
    return text[: TAG_LIMIT - len(tail) - 2].rstrip() + "\n\n" + tail


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def tell(client: Any, run_id: str, facts: Mapping[str, Mapping[str, Any]]) -> None:
    """Give a run what it does not have yet. A parameter that was told otherwise before stays; a tag `changed.<name>` says so."""
    from mlflow.entities import Metric, Param, RunTag

    data = client.get_run(run_id).data
    params = [Param(name, value) for name, value in facts.get("params", {}).items() if name not in data.params]
    tags = dict(facts.get("tags", {}))
    for name, value in facts.get("params", {}).items():
        if data.params.get(name, value) != value:
            tags[f"changed.{name}"] = value[:TAG_LIMIT]
    metrics = [
        Metric(name, value, journal.now(), 0)
        for name, value in facts.get("metrics", {}).items()
        if data.metrics.get(name) != value
    ]
    changed = [RunTag(name, value) for name, value in tags.items() if data.tags.get(name) != value]
    for first in range(0, max(len(metrics), 1), 800):
        client.log_batch(run_id, metrics=metrics[first : first + 800], params=params[:100], tags=changed[:100])
        params, changed = [], []
