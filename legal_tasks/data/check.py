"""Check the records against bounds and against the month before, with eyes other than those that cleaned them; write the card.

python -m legal_tasks.data.check --profile small --records CLEAN
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from legal_tasks import tracking
from legal_tasks.data import card, drift
from legal_tasks.data.scan import scan
from legal_tasks.records import Record, RecordError, read_records
from legal_tasks.step import Input, Output, StepError, main

VERSION = 4


@dataclass(frozen=True)
class Params:
    records: Annotated[Path, Input("the artifact of data.clean")]
    output: Annotated[Path, Output("folder with README.md and card.html (the data card) and profile.json")]
    least_records: Annotated[int, "smallest number of records"] = 1000
    most_personal_data: Annotated[int, "largest number of personal numbers left in the records"] = 0
    most_set_aside: Annotated[float, "largest share of items set aside, 0..1"] = 0.9
    least_categories: Annotated[int, "smallest number of categories"] = 1
    previous: Annotated[
        Path | None, "profile.json of the month to compare with (default: the newest earlier one of these sources)"
    ] = None
    drift_mix: Annotated[float, "largest change of a category's share of the records, 0..1"] = 0.15
    drift_size: Annotated[float, "largest factor by which the number of records grows or shrinks, 1 or more"] = 2.0
    drift_set_aside: Annotated[float, "largest change of the share of a source's items that is set aside, 0..1"] = 0.1
    drift_phrase: Annotated[float, "largest rise of the share of the records that holds a phrase, 0..1"] = 0.05

    def __post_init__(self) -> None:
        if self.drift_size < 1:
            raise StepError(f"data.check.drift_size is {self.drift_size}; it is a factor of 1 or more")
        for name in ("drift_mix", "drift_set_aside", "drift_phrase"):
            if not 0 <= getattr(self, name) <= 1:
                raise StepError(f"data.check.{name} is {getattr(self, name)}; it is a share and must lie between 0 and 1")
        if not 0 <= self.most_set_aside <= 1:
            raise StepError(f"data.check.most_set_aside is {self.most_set_aside}; it is a share and must lie between 0 and 1")


@dataclass
class Report:
    records: int
    categories: dict[str, int]
    lengths: dict[str, int]  # characters of a record: median, p95, longest
    personal_data_left: dict[str, int]
    set_aside_share: float
    compared_with: str  # the earlier month's first day; "" where there is none
    card: str


def extra_inputs(params: Params) -> dict[str, Path]:
    """The profile of the month that the records are compared with."""
    found = _previous(params)
    return {"previous": found} if found else {}


def _previous(params: Params) -> Path | None:
    if params.previous is not None:
        if not params.previous.is_file():
            raise StepError(f"--previous {params.previous} is not a file; name profile.json of an earlier month, or leave it out")
        return params.previous
    report, as_of = _clean_report(params), _as_of(params)
    if not as_of:
        return None
    names = {row["name"] for row in report["sources"]}
    return drift.earlier(params.records.parent.parent / "data.check", as_of, names)


def _clean_report(params: Params) -> dict[str, Any]:
    path = params.records / "report.json"
    if not path.is_file():
        raise StepError(f"--records {params.records} holds no report.json: name the artifact of data.clean")
    return json.loads(path.read_text("utf-8"))


def _as_of(params: Params) -> str:
    manifest = params.records / "manifest.json"
    return str(json.loads(manifest.read_text("utf-8"))["params"].get("as_of", "")) if manifest.is_file() else ""


def _texts(record: Record) -> Iterable[str]:
    yield from (record.instruction, record.input, record.output)
    yield from (part for turn in record.history for part in turn)


@dataclass
class Looked:
    """What one reading of the records shows. `left`: {kind of personal data: finds}; `doubled`: ids met twice, in order."""

    tally: card.Tally
    left: Counter[str]
    doubled: dict[str, None]


def _look(path: Path) -> Looked:
    looked, ids = Looked(card.Tally(), Counter(), {}), set[str]()
    for record in read_records(path):
        looked.tally.add(record)
        looked.left.update(kind for text in _texts(record) for kind in scan(text))
        name = str(record.provenance.get("id"))
        if name in ids:
            looked.doubled[name] = None
        ids.add(name)
    return looked


def run(params: Params) -> Report:
    path = params.records / "records.jsonl"
    if not path.is_file():
        raise StepError(f"--records {params.records} holds no records.jsonl: name the artifact of data.clean")
    try:
        looked = _look(path)
        texts = drift.sample(read_records(path))
    except RecordError as error:
        raise StepError(f"{error}: run data.clean again") from error
    tally, left = looked.tally, looked.left
    cleaned = _clean_report(params)
    counts = cleaned["records"]
    aside = sum(counts["set_aside"].values())
    share = aside / counts["in"] if counts["in"] else 1.0
    faults = _faults(params, looked, counts, share)
    profile, changes, before = _drift(params, tally, texts, cleaned["sources"]) if tally.records else ({}, [], "")
    jumps = drift.explain(changes)
    if jumps:
        faults.append(
            f"compared with {before}: {'; '.join(jumps)} (data.check.drift_* allow less: look at the sources, or raise the bound)"
        )
    if faults:
        raise StepError("the records do not meet the bounds: " + "; ".join(faults))
    sizes = sorted(tally.lengths) or [0]
    lengths = {"median": sizes[len(sizes) // 2], "p95": sizes[int(len(sizes) * 0.95)], "longest": sizes[-1]}
    (params.output / "profile.json").write_text(json.dumps(profile, ensure_ascii=False, indent=1) + "\n", "utf-8")
    (params.output / "changes.json").write_text(json.dumps(changes, ensure_ascii=False, indent=1) + "\n", "utf-8")
    card.write(params.output, facts(params.records, tally, changes, _as_of(params)))
    for name in ("README.md", "card.html", "funnel.svg", "lengths.svg"):
        tracking.log_file(params.output / name, "data_card")
    print(
        f"{tally.records} records meet the bounds; {share:.1%} of the items were set aside; compared with {before or 'nothing'}"
    )
    categories = dict(sorted(tally.categories.items()))
    return Report(tally.records, categories, lengths, dict(left), round(share, 4), before, "card.html")


def _drift(
    params: Params, tally: card.Tally, texts: list[str], sources: list[dict[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """(this month's profile, changes, the month compared with or "")."""
    profile, path = drift.describe(tally.categories, texts, sources, _as_of(params)), _previous(params)
    if path is None:
        return profile, [], ""
    before = json.loads(path.read_text("utf-8"))
    bounds = drift.Bounds(params.drift_mix, params.drift_size, params.drift_set_aside, params.drift_phrase)
    return profile, drift.compare(profile, before, texts, bounds), before["as_of"] or "an earlier month"


def facts(cleaned: Path, tally: card.Tally, changes: list[dict[str, Any]], as_of: str) -> card.Facts:
    """What the card tells, from the artifact of data.clean."""
    report = json.loads((cleaned / "report.json").read_text("utf-8"))
    examples = card.examples_of(_rows(cleaned / "set_aside.jsonl"))
    count, pairs = 0, []
    for pair in _rows(cleaned / "contamination.jsonl"):
        count += 1
        if count <= card.PAIRS:
            pairs.append(pair)
    return card.Facts(tally, report, examples, pairs, count, changes, as_of)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line != "\n":
                yield json.loads(line)


def _faults(params: Params, looked: Looked, counts: dict[str, Any], share: float) -> list[str]:
    records, left, categories = looked.tally.records, looked.left, looked.tally.categories
    faults = []
    if records < params.least_records:
        faults.append(f"{records} records, data.check.least_records asks for {params.least_records}: add sources or lower it")
    if sum(left.values()) > params.most_personal_data:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(left.items()))
        faults.append(f"personal data left ({kinds}), data.check.most_personal_data allows {params.most_personal_data}")
    if share > params.most_set_aside:
        faults.append(f"{share:.1%} of the items set aside ({counts['set_aside']}), data.check.most_set_aside allows less")
    if len(categories) < params.least_categories:
        faults.append(f"{len(categories)} categories, data.check.least_categories asks for {params.least_categories}")
    if counts["in"] != counts["used"] + counts["reference"] + sum(counts["set_aside"].values()):
        faults.append(f"the accounts do not balance: {counts}; run data.clean again")
    if looked.doubled:
        faults.append(f"{len(looked.doubled)} records share an id, e.g. {next(iter(looked.doubled))}; run data.clean again")
    return faults


if __name__ == "__main__":
    sys.exit(main("legal_tasks.data.check"))
