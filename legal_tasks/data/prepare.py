"""The data phase alone: collect, clean, check and split in order, into one folder.

python -m legal_tasks.data.prepare --profile small --sources sources.yaml --output DIR
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from legal_tasks.data import card
from legal_tasks.data import check as check_step
from legal_tasks.records import read_records
from legal_tasks.step import EXIT_CALLER, EXIT_DONE, StepError, build_params, execute


def prepare(
    sources: str,
    output: Path,
    profile: str | None,
    as_of: datetime.date | None = None,
    overrides: list[str] | None = None,
    previous: Path | None = None,
) -> dict[str, Any]:
    """Run the four steps through the store, copy their results under `output`, and return the report.

    `previous`: the output folder of an earlier month to compare with; None takes the newest that the store holds.
    """
    started = time.time()
    if output.exists() and any(output.iterdir()):
        raise StepError(f"--output {output} is not empty: name a new folder")
    day = as_of or datetime.date.today().replace(day=1)
    found: dict[str, dict[str, Any]] = {}

    def step(name: str, **values: Any) -> Path:
        module = importlib.import_module(f"legal_tasks.data.{name}")
        params = build_params(module, f"legal_tasks.data.{name}", values, profile, overrides or [])
        found[name] = execute(f"legal_tasks.data.{name}", params)
        return Path(found[name]["artifact"])

    items = step("collect", sources=sources, as_of=day)
    records = step("clean", items=items, as_of=day)
    check = step("check", records=records, previous=previous / "profile.json" if previous else None)
    split = step("split", records=records)
    cleaned, halves = found["clean"]["report"], found["split"]["report"]
    report = {
        "items": {name: cleaned["records"][name] for name in ("in", "used", "reference", "set_aside")},
        "derived": cleaned["records"]["derived"],
        **{name: cleaned[name] for name in ("hits", "personal_data", "contaminated", "sources")},
        "train": halves["train"],
        "validation": halves["validation"],
        "seconds": round(time.time() - started, 1),
    }
    report["items_per_second"] = round(report["items"]["in"] / max(report["seconds"], 0.1), 1)
    _deliver(output, records, check, split, day)
    (output / "report.json").write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return report


def _deliver(output: Path, records: Path, check: Path, split: Path, day: datetime.date) -> None:
    """Copy what the steps made, and write the card again with the numbers of both splits."""
    output.mkdir(parents=True, exist_ok=True)
    for folder, names in ((records, ("set_aside", "contamination", "statutes")), (split, ("train", "validation"))):
        for name in names:
            shutil.copyfile(folder / f"{name}.jsonl", output / f"{name}.jsonl")
    for name in ("dataset", "alpaca"):
        shutil.copytree(split / name, output / name)
    shutil.copyfile(check / "profile.json", output / "profile.json")
    tally, halves = card.Tally(), {}
    for name in ("train", "validation"):
        before = tally.records
        for record in read_records(split / f"{name}.jsonl"):
            tally.add(record)
        halves[name] = tally.records - before
    changes = json.loads((check / "changes.json").read_text("utf-8"))
    facts = check_step.facts(records, tally, changes, day.isoformat())
    facts.halves = halves
    card.write(output, facts)


def show(report: dict[str, Any]) -> str:
    """The funnel as a table for people."""
    lines = [f"{count:>9,}  {stage}" for stage, count in card.funnel(report["items"])]
    lines += [f"{report['items']['reference']:>9,}  reference (statute store)"]
    lines += [f"{count:>9,}  set aside: {reason}" for reason, count in report["items"]["set_aside"].items()]
    lines += [f"{report['derived']:>9,}  records derived from larger items"]
    lines += [f"{report[name]:>9,}  {name}" for name in ("train", "validation")]
    return "\n".join(lines)


def command(argv: list[str] | None = None) -> int:
    """The command line; 0 done, 2 the caller can fix it."""
    parser = argparse.ArgumentParser(prog="python -m legal_tasks.data.prepare", description=__doc__)
    parser.add_argument("--sources", default="embedded", help="a YAML that lists the sources, or `embedded`")
    parser.add_argument("--output", type=Path, required=True, help="new folder for the results")
    parser.add_argument("--profile", help="take values from this profile")
    parser.add_argument("--as-of", type=datetime.date.fromisoformat, help="first day of the period (default: of this month)")
    parser.add_argument("--previous", type=Path, help="output folder of an earlier month to compare with")
    parser.add_argument("--set", action="append", default=[], metavar="area.module.field=value", help="override a value")
    arguments = parser.parse_args(argv)
    try:
        report = prepare(
            arguments.sources, arguments.output, arguments.profile, arguments.as_of, arguments.set, arguments.previous
        )
    except StepError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CALLER
    print(show(report))
    print(json.dumps(report, ensure_ascii=False))
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(command())
