"""Split records into train and validation so that relatives never cross: same parent, or nearly the same text.

python -m legal_tasks.data.split --profile small --records CLEAN
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from legal_tasks.data import dedupe, deliver
from legal_tasks.records import Record, RecordError, read_records, write_records
from legal_tasks.step import Input, Output, StepError, main

VERSION = 3


@dataclass(frozen=True)
class Params:
    records: Annotated[Path, Input("the artifact of data.clean")]
    output: Annotated[Path, Output("folder with train.jsonl, validation.jsonl, dataset/ (Parquet) and alpaca/ (LLaMA-Factory)")]
    validation: Annotated[float, "share of the records for validation, 0..0.5"] = 0.05
    seed: Annotated[int, "seed of the choice"] = 0
    near: Annotated[float, "Jaccard of character 5-grams from which records are relatives"] = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.validation <= 0.5:
            raise StepError(f"data.split.validation is {self.validation}; it is a share above 0 and at most 0.5")
        if not 0 < self.near <= 1:
            raise StepError(f"data.split.near is {self.near}; it must lie above 0 and at most at 1")


@dataclass
class Report:
    train: int
    validation: int
    groups: int
    largest_group: int
    categories: dict[str, dict[str, int]]  # category -> train, validation
    leaks: int  # validation records whose question stands word for word in train
    near_leaks: int  # validation records as near to one in train as `near`, counted gram by gram, not by sketches


def _text(record: Record) -> str:
    return "\n".join([*(part for turn in record.history for part in turn), record.instruction, record.input, record.output])


def group(records: list[Record], near: float) -> list[list[int]]:
    """Places of records that belong together, in the order of their first."""
    groups = dedupe.Groups(len(records))
    first: dict[str, int] = {}
    for place, record in enumerate(records):
        prompt = dedupe.normal(record.instruction + record.input)
        for key in (f"parent {record.provenance.get('parent', place)}", f"prompt {prompt}"):
            groups.join(first.setdefault(key, place), place)
    for one, other, _ in dedupe.near_pairs([_text(record) for record in records], near):
        groups.join(one, other)
    return sorted(groups.members().values())


def choose(records: list[Record], groups: list[list[int]], share: float, seed: int) -> set[int]:
    """Places for validation: per category, whole groups in the order of a hash until the share is reached.

    A group larger than what is still wanted is passed over, so that a template used a thousand times stays in train.
    """
    strata: dict[str, list[list[int]]] = defaultdict(list)
    for members in groups:
        strata[records[members[0]].category].append(members)
    chosen: set[int] = set()
    for name, found in sorted(strata.items()):
        wanted = round(share * sum(map(len, found)))
        for members in sorted(found, key=lambda members: _rank(records[members[0]], seed, name)):
            if len(members) <= wanted:
                chosen.update(members)
                wanted -= len(members)
    return chosen


def _rank(record: Record, seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed} {name} {record.provenance.get('id')} {_text(record)}".encode()).hexdigest()


def near_leaks(train: list[str], held: list[str], near: float) -> int:
    """Texts of `held` whose 5-grams have a Jaccard of at least `near` with a text of `train`; every pair is counted."""
    sets = [dedupe.grams(text) for text in held]
    places: dict[str, list[int]] = defaultdict(list)
    for place, tokens in enumerate(sets):
        for token in tokens:
            places[token].append(place)
    found: set[int] = set()
    for text in train:
        tokens = dedupe.grams(text)
        shared = Counter(place for token in tokens if token in places for place in places[token])
        found.update(p for p, count in shared.items() if count >= near * (len(tokens) + len(sets[p]) - count))
    return len(found)


def run(params: Params) -> Report:
    path = params.records / "records.jsonl"
    if not path.is_file():
        raise StepError(f"--records {params.records} holds no records.jsonl: name the artifact of data.clean")
    try:
        records = list(read_records(path))
    except RecordError as error:
        raise StepError(f"{error}: run data.clean again") from error
    groups = group(records, params.near)
    chosen = choose(records, groups, params.validation, params.seed)
    if not chosen or len(chosen) == len(records):
        raise StepError(
            f"{len(records)} records in {len(groups)} groups cannot be split at data.split.validation={params.validation}: "
            "raise it, raise data.split.near, or add sources"
        )
    train = [record for place, record in enumerate(records) if place not in chosen]
    held = [record for place, record in enumerate(records) if place in chosen]
    splits = {"train": train, "validation": held}
    for name, part in splits.items():
        write_records(params.output / f"{name}.jsonl", part)
    deliver.write_parquet(params.output / "dataset", splits)
    deliver.write_alpaca(params.output / "alpaca", splits)
    prompts = {(record.instruction, record.input) for record in train}
    leaks = sum((record.instruction, record.input) in prompts for record in held)
    near = near_leaks([_text(record) for record in train], [_text(record) for record in held], params.near)
    tally = {"train": Counter(r.category for r in train), "validation": Counter(r.category for r in held)}
    categories = {c: {part: tally[part][c] for part in tally} for c in sorted({r.category for r in records})}
    print(f"{len(train)} for training, {len(held)} for validation, {len(groups)} groups")
    return Report(len(train), len(held), len(groups), max(map(len, groups)), categories, leaks, near)


if __name__ == "__main__":
    sys.exit(main("legal_tasks.data.split"))
