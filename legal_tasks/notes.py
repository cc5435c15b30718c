"""What the tasks of a run have noted: the result line of each in `var/runs/<run>/<task>.json`.

Where the tasks from train to gate work for several candidates, those of each lie in a folder of their own, `<run>/<index>/`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CHOICE, LAST = "choose", ("choose", "release")

Note = dict[str, Any]


def read(path: Path) -> Note:
    """A JSON mapping; {} where there is none, or where it is just being replaced."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def path_of(run: Path, task: str, index: int = -1) -> Path:
    """A task's note; `index`: which candidate a mapped task works for, -1 for the run as a whole."""
    return (run / str(index) if index >= 0 else run) / f"{task}.json"


def read_folder(folder: Path) -> dict[str, Note]:
    """{task: its note}"""
    paths = [path for path in sorted(folder.glob("*.json")) if not path.name.endswith(".progress.json")]
    return {path.stem: read(path) for path in paths}


def read_candidates(run: Path) -> dict[int, dict[str, Note]]:
    """{index: {task: its note}} of each candidate that has got so far; {} for a run without candidates."""
    folders = sorted((int(path.name), path) for path in run.glob("*") if path.name.isdigit() and path.is_dir())
    return {index: read_folder(path) for index, path in folders}


def read_run(run: Path) -> dict[str, Note]:
    """{task: its note} of a run: with several candidates those of the chosen one, once one is chosen.

    A run's only candidate counts as chosen from its start.
    """
    own, candidates = read_folder(run), read_candidates(run)
    only = next(iter(candidates)) if len(candidates) == 1 and CHOICE not in own else None
    chosen = (own.get(CHOICE, {}).get("report") or {}).get("chosen", only)
    last = {task: own.pop(task) for task in LAST if task in own}
    return {**own, **(candidates.get(chosen, {}) if chosen is not None else {}), **last}


def judged(notes: dict[str, Note]) -> str | None:
    """Folder with the decision.json of a run: that of its choice among candidates, else of its gate."""
    return notes.get(CHOICE, {}).get("artifact") or notes.get("gate", {}).get("artifact")


def listed(notes: dict[str, Note]) -> list[dict[str, Any]]:
    """What became of each candidate, where there were several; see evaluation.choose.Candidate."""
    found = (notes.get(CHOICE, {}).get("report") or {}).get("candidates") or []
    return found if len(found) > 1 else []
