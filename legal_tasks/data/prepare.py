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

from legal_tasks.step import EXIT_CALLER, EXIT_DONE, StepError, build_params, execute


def prepare(
    sources: str, output: Path, profile: str | None, as_of: datetime.date | None = None, overrides: list[str] | None = None
) -> dict[str, Any]:
    """Run the four steps through the store, copy their results under `output`, and return the report."""
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
    card = step("check", records=records)
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
    output.mkdir(parents=True, exist_ok=True)
    for folder, names in ((records, ("set_aside", "contamination", "statutes")), (split, ("train", "validation"))):
        for name in names:
            shutil.copyfile(folder / f"{name}.jsonl", output / f"{name}.jsonl")
    shutil.copyfile(card / "card.md", output / "card.md")
    (output / "report.json").write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return report


def command(argv: list[str] | None = None) -> int:
    """The command line; 0 done, 2 the caller can fix it."""
    parser = argparse.ArgumentParser(prog="python -m legal_tasks.data.prepare", description=__doc__)
    parser.add_argument("--sources", default="embedded", help="a YAML that lists the sources, or `embedded`")
    parser.add_argument("--output", type=Path, required=True, help="new folder for the results")
    parser.add_argument("--profile", help="take values from this profile")
    parser.add_argument("--as-of", type=datetime.date.fromisoformat, help="first day of the period (default: of this month)")
    parser.add_argument("--set", action="append", default=[], metavar="area.module.field=value", help="override a value")
    arguments = parser.parse_args(argv)
    try:
        report = prepare(arguments.sources, arguments.output, arguments.profile, arguments.as_of, arguments.set)
    except StepError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CALLER
    print(json.dumps(report, ensure_ascii=False))
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(command())
