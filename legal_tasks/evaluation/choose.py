"""Choose among the candidates of a run: of those that the gate let pass, the best by accuracy on the domain suite.

    python -m legal_tasks.evaluation.choose --candidates '{"embedded": "NOTES", "embedded-small": "NOTES"}'

NOTES is a folder with the result lines of a candidate's tasks (`compare.json`, `compress.json`, `prove.json`, `gate.json`, as
`--report` writes them). Equal accuracies: the smaller model. What production runs already (`unchanged`) stands with what it
measured in this run. Where no candidate passed, the decision is `refused` with the reasons of each; where none came to a
decision, the step fails and names the tasks.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from legal_tasks import tracking
from legal_tasks.evaluation.tables import percent, render_decision, table
from legal_tasks.step import Output, Skip, StepError, main

VERSION = 1
REUSE = "never"
SUMMARY = True  # the run's numbers are the chosen candidate's
PASSED = ("pass", "unchanged")


@dataclass(frozen=True)
class Params:
    candidates: Annotated[dict[str, Path], "JSON {base: folder with the notes of the candidate's tasks}"]
    output: Annotated[Path, Output("the chosen gate's files; decision.json and decision.md tell of all candidates")]
    failed: Annotated[dict[str, str], "JSON {base: the task of it that failed}; its notes decide nothing"] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        if not self.candidates:
            raise StepError("--candidates must name at least one base, got {}")
        unknown = self.failed.keys() - self.candidates.keys()
        if unknown:
            raise StepError(f"--failed names {', '.join(sorted(unknown))}; candidates are {', '.join(self.candidates)}")


@dataclass(frozen=True)
class Candidate:
    """A base of this run and what became of it."""

    index: int  # in the order of --candidates
    base: str
    decision: str  # pass, unchanged, refused, failed
    reasons: list[str]
    accuracy: float | None = None  # share of the domain suite that is right; None = not measured
    size_bytes: int | None = None  # of the merged weights
    gate: str | None = None  # folder made by evaluation.gate
    model: str | None = None  # folder made by compression.compress


@dataclass
class Report:
    decision: str  # pass or refused
    base: str
    chosen: int  # place in `candidates`
    model: str  # folder made by compression.compress
    reasons: list[str]
    metrics: dict[str, float | None]  # metric -> the chosen candidate's number
    candidates: list[dict[str, Any]]


def read(path: Path) -> dict[str, Any]:
    """A JSON mapping; {} where there is no such file."""
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise StepError(f"{path} is not JSON ({error}): run the task that made it again") from error


def gates(params: Params) -> dict[str, Path]:
    """{base: folder made by its gate} of the candidates whose gate has spoken."""
    found = {}
    for base, notes in params.candidates.items():
        folder = read(notes / "gate.json").get("artifact") if base not in params.failed and not unchanged(notes) else None
        if folder:
            found[base] = Path(folder)
    return found


def unchanged(notes: Path) -> str:
    """Why a candidate was not judged: it is what production runs. Empty where that is not so."""
    note = read(notes / "prove.json")
    reason = str(note.get("reason", ""))
    return reason if note.get("skipped") and reason.startswith("unchanged") else ""


def extra_inputs(params: Params) -> dict[str, Path]:
    """The gates' folders: what the choice is made of, so that all of them stay as long as what was chosen."""
    return {f"gate[{base}]": folder for base, folder in gates(params).items()}


def domain_accuracy(decision: dict[str, Any]) -> tuple[str, float | None]:
    """(domain suite, the model's share of it): all exams together where there are several."""
    known = decision.get("accuracies", {})
    suites = ["domain", *decision.get("domain", [])]
    suite = next((name for name in suites if name in known), suites[-1])
    return suite, (known.get(suite) or {}).get("value")


def describe(index: int, base: str, notes: Path, failed: str | None) -> Candidate:
    """A candidate from its notes."""
    if failed is not None:
        said = str(read(notes / f"{failed}.json").get("error") or "it ended without a word: see its log").strip().split("\n")[-1]
        return Candidate(index, base, "failed", [f"{failed} failed: {said}"])
    compress = read(notes / "compress.json")
    size = ((compress.get("report") or {}).get("formats", {}).get("merged") or {}).get("size_bytes")
    made = Candidate(index, base, "unchanged", [unchanged(notes)], size_bytes=size, model=compress.get("artifact"))
    if made.reasons[0]:
        return made
    folder = read(notes / "gate.json").get("artifact")
    decision = read(Path(folder) / "decision.json") if folder else {}
    if decision.get("decision") not in ("pass", "refused"):
        raise StepError(f"--candidates {base}: {notes} holds no decision of its gate; name the task that failed in --failed")
    reasons = [str(reason) for reason in decision["reasons"]]
    return replace(made, decision=decision["decision"], reasons=reasons, accuracy=domain_accuracy(decision)[1], gate=folder)


def measure_unchanged(found: list[Candidate], params: Params) -> list[Candidate]:
    """Fill in what the model in production reached on the suite by which the others are judged."""
    judged = next((each for each in found if each.gate), None)
    if judged is None:
        return found
    suite, _ = domain_accuracy(read(Path(str(judged.gate)) / "decision.json"))
    measured = []
    for each in found:
        if each.decision == "unchanged":
            folder = read(params.candidates[each.base] / "compare.json").get("artifact")
            comparison = read(Path(folder) / "comparison.json") if folder else {}
            part = comparison.get("domain") if suite == "domain" else comparison.get("suites", {}).get(suite)
            each = replace(each, accuracy=((part or {}).get("challenger") or {}).get("value"))
        measured.append(each)
    return measured


def choose(found: Sequence[Candidate]) -> Candidate:
    """The best of those that passed, else the best of the refused; StepError where all failed or one cannot be compared."""
    judged = [each for each in found if each.decision != "failed"]
    if not judged:
        said = "; ".join(f"{each.base}: {each.reasons[0]}" for each in found)
        raise StepError(f"no candidate came to a decision: {said}; mend it, then clear that task")
    passed = [each for each in judged if each.decision in PASSED]
    if len(passed) > 1 and (unknown := [each.base for each in passed if each.accuracy is None]):
        raise StepError(f"{', '.join(unknown)}: no accuracy on the domain suite, so it cannot be compared; run compare again")
    return max(passed or judged, key=rank)


def rank(each: Candidate) -> tuple[float, float, int]:
    """The higher the better; equal accuracies: the smaller model, then the one that was named first."""
    size = float("inf") if each.size_bytes is None else each.size_bytes
    return (-1.0 if each.accuracy is None else each.accuracy, -size, -each.index)


def why(best: Candidate, found: Sequence[Candidate], reasons: Sequence[str]) -> list[str]:
    """The decision's reasons in the light of all candidates; those of the gate alone where there is only one."""
    if len(found) == 1:
        return list(reasons)
    if best.decision not in PASSED:
        return [f"{each.base}: {reason}" for each in found for reason in each.reasons]
    others = ", ".join(f"{each.base} {each.decision} {percent(each.accuracy)}" for each in found if each is not best)
    return [*reasons, f"chosen among {len(found)} bases: {best.base} {percent(best.accuracy)}; {others}"]


def render(found: Sequence[Candidate], best: Candidate) -> str:
    """The candidates as a Markdown table, for decision.md."""
    rows = []
    for each in found:
        size = "—" if each.size_bytes is None else f"{each.size_bytes / 2**20:.1f} MiB"
        mark = "✓" if each is best and each.decision in PASSED else ""
        rows.append([mark, each.base, each.decision, percent(each.accuracy), size, "；".join(each.reasons)])
    return "\n## 候选底座\n\n" + table(["选用", "底座", "结论", "领域准确率", "合并模型大小", "理由"], rows)


def run(params: Params) -> Report:
    found = [describe(n, base, notes, params.failed.get(base)) for n, (base, notes) in enumerate(params.candidates.items())]
    found = measure_unchanged(found, params)
    best = choose(found)
    print(render(found, best), flush=True)
    reasons = why(best, found, best.reasons)
    listed = [asdict(each) for each in found]
    if best.decision == "unchanged":
        report = Report("unchanged", best.base, best.index, str(best.model), reasons, {}, listed)
        raise Skip("; ".join(reasons), asdict(report))
    if not best.model or not best.gate:
        raise StepError(f"--candidates {best.base}: {params.candidates[best.base]} holds no result of compress: run it again")
    for path in sorted(Path(best.gate).iterdir()):
        if path.is_file() and path.name not in ("manifest.json", "report.json"):
            shutil.copyfile(path, params.output / path.name)
    decision = {**read(Path(best.gate) / "decision.json"), "reasons": reasons, "base": best.base, "candidates": listed}
    (params.output / "decision.json").write_text(json.dumps(decision, ensure_ascii=False, indent=1) + "\n", "utf-8")
    (params.output / "decision.md").write_text(render_decision(decision) + render(found, best), "utf-8")
    for name in ("decision.json", "decision.md"):
        tracking.log_file(params.output / name)
    numbers = {name: row["challenger"] for name, row in decision["metrics"].items()}
    return Report(best.decision, best.base, best.index, best.model, reasons, numbers, listed)


if __name__ == "__main__":
    sys.exit(main("legal_tasks.evaluation.choose"))
