"""A step's inputs as MLflow's datasets: where each lies, how many rows it has, its whole digest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from legal_tasks.notes import read

COUNTED_BYTES = 256 * 2**20  # a larger file without a report is not read only to count its lines
# Numbers of a report that are the rows of the artifact.
ROWS = {"data.collect": ("items.collected",), "data.clean": ("written",), "data.split": ("train", "validation")}


def describe(digests: Mapping[str, str], places: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """{input: {digest, uri, step, rows}}; `step` (which made it) and `rows` are None where nothing tells."""
    found = {}
    for name, digest in digests.items():
        place = places.get(name)
        manifest = read(place / "manifest.json") if place else {}
        found[name] = {
            "digest": digest,
            "uri": str(Path(place).absolute()) if place else None,
            "step": manifest.get("step"),
            "rows": rows_of(place) if place else None,
        }
    return found


def rows_of(place: Path) -> int | None:
    """Rows of a JSON Lines file, or of an artifact or folder of such files; None for anything else, or too large to count."""
    if place.is_dir():
        paths = ROWS.get(str(read(place / "manifest.json").get("step")), ())
        report = read(place / "report.json") if paths else {}
        told = [_at(report, path) for path in paths]
        if told and all(isinstance(number, int) for number in told):
            return sum(number for number in told if number is not None)
    files = [place] if place.is_file() else sorted(place.glob("*.jsonl"))
    files = [file for file in files if file.suffix == ".jsonl"]
    if not files or sum(file.stat().st_size for file in files) > COUNTED_BYTES:
        return None
    return sum(1 for file in files for line in _lines(file) if line.strip())


def _lines(file: Path) -> Iterator[bytes]:
    with open(file, "rb") as lines:
        yield from lines


def _at(report: Mapping[str, Any], path: str) -> Any:
    value: Any = report
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def inputs_of(about: Mapping[str, Any]) -> list[Any]:
    """MLflow's dataset inputs. Its field for a digest takes 36 characters: the whole one stands in source and profile."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    found = []
    for name, told in about.items():
        told = {"digest": told} if isinstance(told, str) else told  # journals of an older version
        source = {"uri": told.get("uri"), "sha256": told["digest"], "made_by": told.get("step")}
        profile = {"num_rows": told.get("rows"), "sha256": told["digest"]}
        dataset = Dataset(
            name[:200],
            told["digest"][:36],
            "local",
            json.dumps({key: value for key, value in source.items() if value is not None}, ensure_ascii=False),
            profile=json.dumps({key: value for key, value in profile.items() if value is not None}),
        )
        found.append(DatasetInput(dataset, [InputTag("mlflow.data.context", name[:200])]))
    return found
