"""The last stored result of the exam's benchmark (`make bench NAME=exam`), as a retrain's report shows it.

One retrain trains one seed; whether what it gains is law is shown by the benchmark, over several seeds and with controls.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from legal_tasks import settings
from legal_tasks.artifacts import canonical, digest_path, sha256_file, sha256_text

RESULT = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "exam.json"
PROFILE = "small"
NAMES = {"base": "the shipped base", "world": "the embedded world", "settings": "the small profile's training settings"}
COLUMNS = {
    "base": ("base, best format",),
    "LoRA": ("lora",),
    "low": ("lora", "low"),
    "shuffled": ("lora on shuffled answers",),
    "no question": ("options without question",),
    "bigrams": ("bigram naive Bayes",),
    "case": ("case_analysis", "lora"),
    "general": ("general change",),
}


def made_with() -> dict[str, str]:
    """Digests of what the benchmark's numbers depend on: base, world (seed 0), training settings."""
    from legal_tasks.embedded import world

    with tempfile.TemporaryDirectory() as folder:
        world.write(Path(folder) / "world", 0)
        written = digest_path(Path(folder) / "world")
    training = settings.load(PROFILE).get("training.lora", {})
    return {"base": digest_path(Path(__file__).parent / "base"), "world": written, "settings": sha256_text(canonical(training))}


def changed(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """What the numbers were made with that is another one today, in words."""
    return [NAMES[name] for name in NAMES if before.get(name) != now[name]]


def read(path: Path = RESULT) -> dict[str, Any] | None:
    """{date, digest of the file, made_with, changed, chance, table}; None where no result is stored."""
    if not path.is_file():
        return None
    result = json.loads(path.read_text("utf-8"))
    before = result.get("made_with", {})
    return {
        "date": result["date"],
        "digest": sha256_file(path),
        "made_with": before,
        "changed": changed(before, made_with()),
        "chance": 0.25,
        "table": result["table"],
    }


def cell(row: dict[str, Any], keys: tuple[str, ...]) -> str:
    value: Any = row
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value = value.get("value")
    return "-" if value is None else f"{value:.3f}"


def lines(stored: dict[str, Any]) -> list[str]:
    """The table as text: a line per seed, shares right on unseen wordings; then what has changed since."""
    title = f"embedded exam, stored {stored['date']} (sha256 {stored['digest'][:12]}; chance {stored['chance']})"
    found = [title, "seed " + " ".join(f"{name:>11s}" for name in COLUMNS)]
    for row in stored["table"]:
        found.append(f"{row['seed']:4d} " + " ".join(f"{cell(row, keys):>11s}" for keys in COLUMNS.values()))
    if stored["changed"]:
        found.append(f"changed since: {', '.join(stored['changed'])}; measure again with: make bench NAME=exam")
    return found
