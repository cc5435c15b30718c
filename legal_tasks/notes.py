"""What the tasks of a run have noted: the result line of each in `var/runs/<DAG>@<run>/<task>.json`.

Where the tasks from train to gate work for several candidates, those of each lie in a folder of their own, `<run>/<index>/`.
Run ids are what people type: `folder_name` keeps each in its place, and two runs never in one. Folders of earlier versions,
`var/runs/<run>/`, are read, not written.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

FIRST_DAG = "monthly_retrain"  # whose notes did not say their DAG
LONGEST = 200  # characters of a folder's name; file systems take 255 bytes
CHOICE, LAST = "choose", ("choose", "release")

Note = dict[str, Any]


def read(path: Path) -> Note:
    """A JSON mapping; {} where there is none, or where it is just being replaced."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def folder_name(dag_id: str, run_id: str) -> str:
    """`<DAG>@<run>` with everything but letters, digits, `_`, `-`, `.` and `~` as %XX; a long one is cut, with a hash of both.

    Different runs have different names, and none is `.`, `..` or holds a `/`.
    """
    name = f"{quote(dag_id, safe='')}@{quote(run_id, safe='')}"
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(json.dumps([dag_id, run_id]).encode("utf-8")).hexdigest()
    return f"{name[:100].replace('@', '+')}@{digest}@"


def run_folder(var: Path, dag_id: str, run_id: str, index: int = -1) -> Path:
    """Where the tasks of a DAG run note their results; `index`: the folder of a candidate's mapped tasks."""
    folder = var / "runs" / folder_name(dag_id, run_id)
    return folder / str(index) if index >= 0 else folder


def find_folder(var: Path, dag_id: str, run_id: str) -> Path:
    """As `run_folder`, also of a run whose notes an earlier version wrote."""
    folder, old = run_folder(var, dag_id, run_id), run_id.replace("/", "_")
    if folder.is_dir() or not old.strip(".") or "@" in old or len(old.encode("utf-8")) > 255 or "\0" in old:
        return folder
    earlier = var / "runs" / old
    return earlier if earlier.is_dir() and origin(earlier)[0] == dag_id else folder


def origin(folder: Path) -> tuple[str, str]:
    """(DAG, run) whose notes a folder holds: by its name where that tells, else by what the notes say."""
    dag, at, run = folder.name.partition("@")
    if at and "@" not in run:
        return unquote(dag), unquote(run)
    notes = list(read_folder(folder).values())
    dags, runs = ([str(note[name]) for note in notes if name in note] for name in ("dag", "dag_run"))
    return next(iter(dags), FIRST_DAG), next(iter(runs), folder.name)


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


def web_address(text: Any) -> str:
    """An address that may become a link: http or https with a host and nothing that a browser takes out; else empty."""
    if not isinstance(text, str) or any(character <= " " or character in '"<>\\' for character in text):
        return ""
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    return text if parts.scheme in ("http", "https") and parts.hostname else ""
