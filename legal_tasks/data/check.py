"""Check the records against bounds, with eyes other than those that cleaned them; write the data card.

python -m legal_tasks.data.check --profile small --records CLEAN
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from legal_tasks.data.scan import scan
from legal_tasks.records import Record, RecordError, read_records
from legal_tasks.step import Input, Output, StepError, main

VERSION = 3


@dataclass(frozen=True)
class Params:
    records: Annotated[Path, Input("the artifact of data.clean")]
    output: Annotated[Path, Output("folder with card.md")]
    least_records: Annotated[int, "smallest number of records"] = 1000
    most_personal_data: Annotated[int, "largest number of personal numbers left in the records"] = 0
    most_set_aside: Annotated[float, "largest share of items set aside, 0..1"] = 0.9
    least_categories: Annotated[int, "smallest number of categories"] = 1

    def __post_init__(self) -> None:
        if not 0 <= self.most_set_aside <= 1:
            raise StepError(f"data.check.most_set_aside is {self.most_set_aside}; it is a share and must lie between 0 and 1")


@dataclass
class Report:
    records: int
    categories: dict[str, int]
    lengths: dict[str, int]  # characters of a record: median, p95, longest
    personal_data_left: dict[str, int]
    set_aside_share: float
    card: str


def _texts(record: Record) -> Iterable[str]:
    yield from (record.instruction, record.input, record.output)
    yield from (part for turn in record.history for part in turn)


def run(params: Params) -> Report:
    path = params.records / "records.jsonl"
    if not path.is_file():
        raise StepError(f"--records {params.records} holds no records.jsonl: name the artifact of data.clean")
    try:
        records = list(read_records(path))
    except RecordError as error:
        raise StepError(f"{error}: run data.clean again") from error
    left = Counter(kind for record in records for text in _texts(record) for kind in scan(text))
    categories = Counter(record.category for record in records)
    counts = json.loads((params.records / "accounts.json").read_text("utf-8"))
    aside = sum(counts["set_aside"].values())
    share = aside / counts["in"] if counts["in"] else 1.0
    faults = _faults(params, records, left, categories, counts, share)
    if faults:
        raise StepError("the records do not meet the bounds: " + "; ".join(faults))
    sizes = sorted(sum(map(len, _texts(record))) for record in records) or [0]
    lengths = {"median": sizes[len(sizes) // 2], "p95": sizes[int(len(sizes) * 0.95)], "longest": sizes[-1]}
    (params.output / "card.md").write_text(card(records, counts, lengths), "utf-8")
    print(f"{len(records)} records meet the bounds; {share:.1%} of the items were set aside")
    return Report(len(records), dict(sorted(categories.items())), lengths, dict(left), round(share, 4), "card.md")


def _faults(
    params: Params, records: list[Record], left: Counter[str], categories: Counter[str], counts: dict[str, Any], share: float
) -> list[str]:
    faults = []
    if len(records) < params.least_records:
        faults.append(
            f"{len(records)} records, data.check.least_records asks for {params.least_records}: add sources or lower it"
        )
    if sum(left.values()) > params.most_personal_data:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(left.items()))
        faults.append(f"personal data left ({kinds}), data.check.most_personal_data allows {params.most_personal_data}")
    if share > params.most_set_aside:
        faults.append(f"{share:.1%} of the items set aside ({counts['set_aside']}), data.check.most_set_aside allows less")
    if len(categories) < params.least_categories:
        faults.append(f"{len(categories)} categories, data.check.least_categories asks for {params.least_categories}")
    if counts["in"] != counts["used"] + counts["reference"] + sum(counts["set_aside"].values()):
        faults.append(f"the accounts do not balance: {counts}; run data.clean again")
    ids = Counter(record.provenance.get("id") for record in records)
    doubled = [name for name, count in ids.items() if count > 1]
    if doubled:
        faults.append(f"{len(doubled)} records share an id, e.g. {doubled[0]}; run data.clean again")
    return faults


def card(records: list[Record], counts: dict[str, Any], lengths: dict[str, int]) -> str:
    """The data card in Markdown: accounts, categories, sources, licences, lengths."""
    aside = [f"| set aside: {reason} | {count} |" for reason, count in sorted(counts["set_aside"].items())]
    lines = ["# Data card", "", "## Items", "", "| fate | items |", "|---|---|", f"| in | {counts['in']} |"]
    lines += [f"| used | {counts['used']} |", f"| reference | {counts['reference']} |", *aside, ""]
    lines += [f"{len(records)} records were written, {counts['derived']} of them derived from a larger item."]
    for title, values in (
        ("Categories", Counter(record.category for record in records)),
        ("Sources", Counter(record.source for record in records)),
        ("Licences", Counter(str(record.provenance.get("licence")) for record in records)),
    ):
        lines += ["", f"## {title}", "", "| name | records |", "|---|---|"]
        lines += [f"| {name} | {count} |" for name, count in sorted(values.items())]
    lines += ["", "## Length in characters", "", *(f"- {name}: {size}" for name, size in lengths.items()), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main("legal_tasks.data.check"))
