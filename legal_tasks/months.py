"""The retrains and production as people ask for them: month by month, what was decided and why. Reads, never writes.

Every number is the artifact's own: accuracies from the gate's decision.json, sizes from the compression's report, production
from the release state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from legal_tasks import notes as noted
from legal_tasks import retrain
from legal_tasks.artifacts import MANIFEST, digest_path
from legal_tasks.notes import read
from legal_tasks.serving import override
from legal_tasks.serving.override import Override
from legal_tasks.serving.state import NAME, Database, StateError
from legal_tasks.step import var_folder

STATES = ("released", "refused", "unchanged", "failed", "under way")
FORMATS = ("merged", "gptq", "gguf")


@dataclass
class Row:
    """One retrain. Accuracies are fractions with a 95 % interval; sizes in bytes; `at` in seconds since 1970."""

    run: str
    dag: str
    at: float
    month: str  # YYYY-MM that the run was for
    state: str
    reasons: list[str] = field(default_factory=list)
    suite: str = ""
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    bound: float | None = None
    items: int | None = None
    base: float | None = None
    champion: float | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    version: str = ""
    mlflow: str = ""
    gate: str = ""  # folder with the decision that release goes by, and its report: of the choice among bases, else of the gate
    candidate: str = ""  # folder of the compressed model
    against: str = ""  # who released it against the gate's recommendation, and why
    report: str = ""  # folder with report.html: the gate's, or the release's where it marks an override
    candidates: list[dict[str, Any]] = field(default_factory=list)  # where there were several: evaluation.choose.Candidate
    chosen: int | None = None  # `index` of the candidate that passed and was the best


@dataclass
class Production:
    """What serves: `why` are the gate's reasons, `by` who or what asked for it, `since` in seconds since 1970."""

    version: str
    digest: str
    since: float | None
    by: str
    why: list[str]
    against: str = ""  # as in Row


@dataclass
class Asked:
    """Somebody wants a refused model in production and waits for a second person; `user` is the id of who asked."""

    number: int
    by: str
    user: str
    reason: str
    at: float


@dataclass
class Change:
    at: float
    event: str
    version: str
    digest: str
    reason: str


@dataclass
class Overview:
    rows: list[Row]  # newest first
    production: Production | None
    changes: list[Change]  # newest first
    asked: dict[tuple[str, str], Asked] = field(default_factory=dict)  # (dag, run) -> override that waits for a second person
    trouble: str = ""  # why nothing can be said of production: no release state, or one that cannot be read

    def refusals(self, most: int = 5) -> list[Row]:
        return [row for row in self.rows if row.state == "refused"][:most]

    def months(self) -> list[Row]:
        """The last measured run of each month, oldest first: what the picture shows."""
        last = {row.month: row for row in reversed(self.rows) if row.accuracy is not None}
        return [last[month] for month in sorted(last)]


def state_of(notes: dict[str, dict[str, Any]]) -> tuple[str, list[str]]:
    """(one of STATES, reasons)"""
    release, ended = notes.get("release", {}), any(note.get("error") for note in notes.values())
    unchanged = notes.get("prove", {}).get("skipped", False)
    if not (release or ended or unchanged):
        return "under way", []
    return retrain.decide("success", notes)


def row_of(folder: Path) -> Row | None:
    """A retrain from the notes of its tasks; None where the folder is none."""
    notes = noted.read_run(folder)
    if "collect" not in notes:
        return None
    at = min(path.stat().st_mtime for path in folder.glob("*.json"))
    state, reasons = state_of(notes)
    month = str((notes["collect"].get("report") or {}).get("as_of", ""))[:7]
    dag, run = noted.origin(folder)
    row = Row(run, dag, at, month, state, reasons)
    judged = noted.judged(notes)
    if judged:
        fill_accuracy(row, read(Path(judged) / "decision.json"))
    if state == "unchanged":
        row.reasons = reasons[:1]
    formats = (notes.get("compress", {}).get("report") or {}).get("formats") or {}
    row.sizes = {name: formats[name]["size_bytes"] for name in FORMATS if name in formats}
    row.gate = judged or ""
    row.candidate = str(notes.get("compress", {}).get("artifact") or "")
    released = notes.get("release", {}).get("report") or {}
    row.version, row.against = str(released.get("version", "")), str(released.get("override") or "")
    row.report = str(notes["release"].get("artifact") or row.gate) if row.against else row.gate
    row.candidates = noted.listed(notes)
    if row.candidates and state in ("released", "unchanged"):
        row.chosen = notes[noted.CHOICE]["report"]["chosen"]
    links = (notes.get(task, {}).get("mlflow_run_url") for task in ("choose", "gate", "train", "collect"))
    row.mlflow = next(filter(None, map(noted.web_address, links)), "")
    return row


def find(var: Path, dag: str, run: str) -> Row | None:
    """The retrain of this DAG and run id; None where there is none."""
    folder = noted.find_folder(var, dag, run)
    return row_of(folder) if folder.is_dir() else None


def fill_accuracy(row: Row, decision: dict[str, Any]) -> None:
    suites = decision.get("domain") or []
    measured = (decision.get("metrics") or {}).get(suites[0]) if suites else None
    if not measured:
        return
    row.suite = suites[0]
    row.accuracy, row.low, row.high = measured.get("challenger"), measured.get("low"), measured.get("high")
    row.bound, row.items = measured.get("bound"), measured.get("n")
    row.base, row.champion = measured.get("base"), measured.get("champion")


def read_production(path: Path) -> tuple[Production | None, list[Change]]:
    """What serves and the history, from the release state; (None, []) where nothing was ever released. StateError without one."""
    database = Database(path)
    actual, history = database.current().actual, database.history()
    changes = [
        Change(
            event.at,
            event.event,
            str((event.after or {}).get("version", "")),
            str((event.after or {}).get("digest", "")),
            reason_of(event),
        )
        for event in reversed(history)
    ]
    if actual is None:
        return None, changes
    released = [event for event in history if event.event == "released" and (event.after or {}).get("digest") == actual["digest"]]
    last = released[-1] if released else None
    asked = [event for event in history if last and event.event == "intended" and event.revision == last.revision]
    decision = read(Path(actual["decision"]) / "decision.json") if actual.get("decision") else {}
    why = [str(reason) for reason in decision.get("reasons", [])]
    if asked and asked[-1].evidence.get("reason"):
        why = [str(asked[-1].evidence["reason"]), *why]
    by = asked[-1].actor if asked else ""
    against = Override(**actual["override"]).sentence() if actual.get("override") else ""
    return Production(str(actual.get("version", "")), actual["digest"], last.at if last else None, by, why, against), changes


def reason_of(event: Any) -> str:
    """What the history says about a line in words: of an override who, of anything else why."""
    said = str(event.evidence.get("reason", ""))
    if event.event.startswith("override"):
        return f"{event.actor}: {said}"
    return Override(**event.evidence["override"]).sentence() if event.evidence.get("override") else said


def read_asked(path: Path, rows: list[Row]) -> dict[tuple[str, str], Asked]:
    """{(dag, run): the override that somebody asked for and nobody has confirmed yet}, of refused rows."""
    database, found = Database(path), dict[tuple[str, str], Asked]()
    for row in rows:
        if row.state == "refused" and (Path(row.gate) / MANIFEST).is_file() and (Path(row.candidate) / MANIFEST).is_file():
            event = override.pending(database, digest_path(row.gate), digest_path(row.candidate))
            if event is not None:
                asked = Asked(event.id, event.actor, event.evidence["user"], event.evidence["reason"], event.at)
                found[row.dag, row.run] = asked
    return found


def overview(var: Path | None = None, shown: Callable[[str], bool] = lambda dag: True) -> Overview:
    """Everything that the page shows; of runs those whose DAG is `shown`."""
    var = var or var_folder()
    folders = sorted(path for path in (var / "runs").glob("*") if path.is_dir())
    rows = sorted((row for row in map(row_of, folders) if row and shown(row.dag)), key=lambda row: -row.at)
    found = Overview(rows, None, [])
    try:
        found.production, found.changes = read_production(var / NAME)
        found.asked = read_asked(var / NAME, found.refusals())
    except StateError as error:
        found.trouble = str(error)
    return found
