"""Compare challenger, base, champion and the compressed models on the same items: differences with intervals.

python -m legal_tasks.evaluation.compare --evaluation HARNESS --compression COMPRESS
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from legal_tasks.artifacts import canonical, sha256_text
from legal_tasks.evaluation import paired
from legal_tasks.evaluation.items import GENERATED, Row, read_lines, write_lines
from legal_tasks.evaluation.tables import render_comparison
from legal_tasks.step import Input, Output, StepError, main

VERSION = 1


@dataclass(frozen=True)
class Params:
    evaluation: Annotated[Path, Input("folder made by evaluation.harness")]
    output: Annotated[
        Path, Output("folder with comparison.json, comparison.md, questions.jsonl and the challenger's answers.jsonl")
    ]
    compression: Annotated[Path | None, Input("folder made by compression.compress")] = None
    seed: Annotated[int, "seed of the bootstrap"] = 0
    category_items: Annotated[int, "smallest category that is compared by itself, items"] = 20

    def __post_init__(self) -> None:
        if self.category_items < 1:
            raise StepError(f"--category-items must be at least 1, got {self.category_items}")


@dataclass
class Report:
    suites: dict[str, dict[str, Any]]  # suite -> {base, champion, challenger, gain, n}
    losses: dict[str, float | None]  # format -> relative loss of accuracy
    faults: dict[str, str]  # suite -> why it cannot be compared


def run(params: Params) -> Report:
    summary = json.loads((params.evaluation / "summary.json").read_text("utf-8"))
    roles = [role for role in ("base", "champion", "challenger") if (params.evaluation / role).is_dir()]
    suites: dict[str, Any] = {}
    for suite, about in summary["suites"].items():
        rows = {role: load_rows(params.evaluation / role / f"{suite}.jsonl") for role in roles}
        suites[suite] = {**about, **compare_suite(suite, rows, params.seed, params.category_items)}
    answers = load_rows(params.evaluation / "challenger" / "answers.jsonl")
    write_lines(params.output / "answers.jsonl", [{"id": row["id"], "answer": row["answer"]} for row in answers])
    write_lines(params.output / "questions.jsonl", questions(params.evaluation / "items"))
    losses = compare_compressed(params, suites) if params.compression else {}
    result = {"suites": suites, "compression": losses, "roles": roles, "seed": params.seed, "rounds": paired.ROUNDS}
    (params.output / "comparison.json").write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    text = render_comparison(result)
    (params.output / "comparison.md").write_text(text, "utf-8")
    print(text)
    return Report(
        {suite: _short(part) for suite, part in suites.items() if not part.get("fault")},
        {name: (part["loss"] or {}).get("value") for name, part in losses.items()},
        {suite: part["fault"] for suite, part in suites.items() if part.get("fault")},
    )


def _short(part: dict[str, Any]) -> dict[str, Any]:
    shown = {role: part[role]["value"] for role in ("base", "champion", "challenger") if part.get(role)}
    return shown | {"gain": part["gain"]["value"], "n": part["n"]}


def questions(folder: Path) -> Iterator[dict[str, Any]]:
    """What was asked, for the check that no training record holds it; wordings taught on purpose are left out."""
    for path in sorted(folder.glob("*.jsonl")):
        for item in read_lines(path):
            if item["kind"] != "answer" and item.get("wording") != "seen":
                yield {"suite": path.stem, "question": item["question"], "options": list((item.get("options") or {}).values())}


def load_rows(path: Path) -> list[Row]:
    """The rows of one role on one suite, or none where the file is missing."""
    return list(read_lines(path)) if path.is_file() else []


def measured(row: Row) -> float:
    """The number that a suite averages: 1 for right, for refused on a harmful prompt, for *refused* on a harmless one."""
    return float(row["picked"] == "refused") if row["kind"] == "over_refusal" else float(row["correct"])


def find_fault(rows: dict[str, list[Row]]) -> str | None:
    """Why the roles' rows cannot be compared; None if they can."""
    expected = [row["id"] for row in rows["challenger"]]
    for role, answered in rows.items():
        if not answered:
            return f"{role} has no answers"
        ids = [row["id"] for row in answered]
        if ids != expected:
            other = len(set(ids) ^ set(expected))
            return f"{role} answered other items than the challenger ({len(ids)} against {len(expected)}, {other} not shared)"
        if len(set(ids)) != len(ids):
            return f"{role} answered an item twice"
        broken = sum(row.get("correct") not in (0, 1) for row in answered)
        if broken:
            return f"{role} has no verdict on {broken} of {len(answered)} items"
    return None


def compare_suite(suite: str, rows: dict[str, list[Row]], seed: int = 0, category_items: int = 20) -> dict[str, Any]:
    """Everything about one suite: the roles' shares, gain (challenger - base), difference (challenger - champion).

    Where items say which wording is unseen, the numbers are those of unseen wordings and `seen` holds the others.
    """
    fault = find_fault(rows)
    if fault:
        return {"fault": fault, "n": len(rows["challenger"])}
    wordings = [row.get("wording") for row in rows["challenger"]]
    unseen = [number for number, wording in enumerate(wordings) if wording != "seen"]
    seen = [number for number, wording in enumerate(wordings) if wording == "seen"]
    if not unseen or not seen:
        return _compare(rows, range(len(wordings)), seed, category_items) | {"wording": "unseen" if unseen else "seen"}
    found = _compare(rows, unseen, seed, category_items) | {"wording": "unseen"}
    return found | {"seen": _compare(rows, seen, seed, category_items)}


def _compare(rows: dict[str, list[Row]], chosen: Sequence[int], seed: int, category_items: int) -> dict[str, Any]:
    kept = {role: [answered[number] for number in chosen] for role, answered in rows.items()}
    challenger = kept["challenger"]
    clusters = [row.get("template") or f"item {row['id']}" for row in challenger]
    values = {role: [measured(row) for row in answered] for role, answered in kept.items()}
    found: dict[str, Any] = {"n": len(challenger), "clusters": len(set(clusters)), "items": items_digest(challenger)}
    found["kind"] = challenger[0]["kind"]
    chances = [row["chance"] for row in challenger if row.get("chance") is not None]
    found["chance"] = sum(chances) / len(chances) if chances else None
    for role in ("base", "champion", "challenger"):
        found[role] = paired.share(values[role], clusters, seed).as_dict() if role in values else None
    for name, old in (("gain", "base"), ("difference", "champion")):
        found[name] = _delta(values["challenger"], values[old], clusters, seed) if old in values else None
    if found["kind"] in GENERATED:
        labels = [row["picked"] for row in challenger]
        found["classes"] = {label: labels.count(label) for label in sorted(set(labels))}
    else:
        found["partial"] = sum(row["partial"] for row in challenger) / len(challenger)
        found["categories"] = _categories(kept, values, category_items)
    found["lost"] = [
        row["id"] for row, new, old in zip(challenger, values["challenger"], values["base"], strict=True) if new < old
    ]
    return found


def _delta(new: list[float], old: list[float], clusters: list[str], seed: int) -> dict[str, Any]:
    estimate = paired.difference(new, old, clusters, seed)
    return estimate.as_dict() | {"mcnemar": paired.mcnemar(new, old), "detectable": paired.detectable(estimate)}


def _categories(kept: dict[str, list[Row]], values: dict[str, list[float]], smallest: int) -> list[dict[str, Any]]:
    """Per category base against challenger, with McNemar's p adjusted over the categories."""
    names = [row.get("category") for row in kept["challenger"]]
    found = []
    for name in sorted({name for name in names if name}):
        where = [number for number, other in enumerate(names) if other == name]
        if len(where) < smallest:
            continue
        new, old = [[values[role][number] for number in where] for role in ("challenger", "base")]
        row = {"category": name, "n": len(where), "base": sum(old) / len(old), "challenger": sum(new) / len(new)}
        found.append(row | paired.mcnemar(new, old))
    for row, adjusted in zip(found, paired.adjust([row["p"] for row in found]), strict=True):
        row["p_adjusted"] = adjusted
    return found


def items_digest(rows: Sequence[Row]) -> str:
    """Digest of which items with which right answers: equal digests mean that two accuracies are comparable."""
    return sha256_text(canonical(sorted([str(row["id"]), row["answer"] if row["kind"] not in GENERATED else ""] for row in rows)))


def compare_compressed(params: Params, suites: dict[str, Any]) -> dict[str, Any]:
    """Relative loss of accuracy of each compressed format against the merged model, on the items that both answered."""
    assert params.compression is not None
    found: dict[str, dict[str, Any]] = {}
    for folder in sorted(path for path in (params.compression / "evaluation").glob("*") if path.is_dir()):
        for file in sorted(folder.glob("*.jsonl")):
            suite = file.stem
            merged = {row["id"]: row for row in load_rows(params.evaluation / "challenger" / file.name)}
            answered = load_rows(file)
            name = folder.name if len(list(folder.glob("*.jsonl"))) == 1 else f"{folder.name}:{suite}"
            if not answered or any(row["id"] not in merged for row in answered):
                found[name] = {"format": folder.name, "suite": suite, "loss": None, "n": len(answered)}
                found[name]["fault"] = "no answers" if not answered else "answered items that the merged model did not"
                continue
            clusters = [row.get("template") or f"item {row['id']}" for row in answered]
            new = [measured(row) for row in answered]
            old = [measured(merged[row["id"]]) for row in answered]
            loss = paired.relative_loss(new, old, clusters, params.seed)
            found[name] = {
                "format": folder.name,
                "suite": suite,
                "n": len(answered),
                "merged": sum(old) / len(old),
                "compressed": sum(new) / len(new),
                "agree": sum(row["picked"] == merged[row["id"]]["picked"] for row in answered) / len(answered),
                "loss": loss.as_dict() if loss else None,
                "mcnemar": paired.mcnemar(new, old),
            }
    return found


if __name__ == "__main__":
    sys.exit(main("legal_tasks.evaluation.compare"))
