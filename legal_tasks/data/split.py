"""Split records into train and validation so that relatives never cross: same parent, or nearly the same text.

python -m legal_tasks.data.split --profile small --records CLEAN
"""

from __future__ import annotations

import hashlib
import heapq
import json
import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from legal_tasks.data import dedupe, deliver
from legal_tasks.data.spool import Lines, OnDisk, View
from legal_tasks.data.works import parts
from legal_tasks.records import Record, RecordError, read_records, write_records
from legal_tasks.step import Input, Output, StepError, main

if TYPE_CHECKING:
    import numpy

VERSION = 4
MEASURED = 5000  # validation records that are held against all of train: the standard error of a share is below 0.7 %


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
    near_leaks_of: int  # so many validation records were looked at for that: all, or a sample


class Stored(OnDisk[Record]):
    """The records of a JSON Lines file, read when they are asked for. `categories`: of each; `keys`: see `relatives`."""

    def __init__(self, path: Path) -> None:
        self.categories: list[str] = []
        self.keys = (array("Q"), array("Q"))
        for place, record in enumerate(read_records(path)):
            self.categories.append(sys.intern(record.category))
            prompt = dedupe.normal(record.instruction + record.input)
            for keys, name in zip(self.keys, (str(record.provenance.get("parent", place)), prompt), strict=True):
                keys.append(_hash(name))
        self.lines = Lines(path)

    def __len__(self) -> int:
        return len(self.lines)

    def read_at(self, place: int) -> Record:
        return Record(**json.loads(self.lines[place]))

    def text(self, place: int) -> str:
        return said(self[place])

    def relatives(self) -> Iterator[tuple[int, int]]:
        """Pairs of places with the same parent, and with the same prompt but for spaces and punctuation."""
        import numpy

        for keys in self.keys:
            values = numpy.frombuffer(keys, dtype=numpy.uint64)
            order = numpy.argsort(values, kind="stable")
            same = numpy.flatnonzero(values[order][1:] == values[order][:-1])
            yield from zip(order[same].tolist(), order[same + 1].tolist(), strict=True)


def _hash(text: str) -> int:
    """64 bits: two of a million texts meet with a probability of 3e-8, and would only stay together."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def said(record: Record) -> str:
    return "\n".join(parts(record))


def group(records: Stored, near: float) -> list[list[int]]:
    """Places of records that belong together, in the order of their first."""
    groups = dedupe.Groups(len(records))
    for one, other in records.relatives():
        groups.join(one, other)
    for one, other, _ in dedupe.near_pairs(View(records.text, range(len(records))), near):
        groups.join(one, other)
    return sorted(groups.members().values())


def choose(records: Stored, groups: list[list[int]], share: float, seed: int) -> set[int]:
    """Places for validation: per category, whole groups in the order of a hash until the share is reached.

    A group larger than what is still wanted is passed over, so that a template used a thousand times stays in train.
    """
    strata: dict[str, list[list[int]]] = defaultdict(list)
    for members in groups:
        strata[records.categories[members[0]]].append(members)
    chosen: set[int] = set()
    for name, found in sorted(strata.items()):
        wanted = round(share * sum(map(len, found)))
        for members in sorted(found, key=lambda members: _rank(records[members[0]], seed, name)):
            if len(members) <= wanted:
                chosen.update(members)
                wanted -= len(members)
    return chosen


def _rank(record: Record, seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed} {name} {record.provenance.get('id')} {said(record)}".encode()).digest()


def exact_leaks(train: Iterable[Record], held: Iterable[Record]) -> int:
    """Records of `held` whose question stands word for word in `train`."""
    asked = Counter((record.instruction, record.input) for record in held)
    return sum(asked.pop((record.instruction, record.input), 0) for record in train)


def near_leaks(train: Iterable[str], held: Iterable[str], near: float) -> int:
    """Texts of `held` whose 5-grams have a Jaccard of at least `near` with a text of `train`; every pair is counted."""
    from legal_tasks.data.postings import Postings

    index = Postings(map(_tokens, held))
    found: set[int] = set()
    for text in train:
        found.update(index.near(_tokens(text), near).tolist())
    return len(found)


def _tokens(text: str) -> numpy.ndarray:
    """Hashes of the different 5-grams; a shorter text is its own gram, as in `dedupe.grams`."""
    import numpy

    from legal_tasks.data import minhash

    found = minhash.tokens(text)
    return found if len(found) else numpy.array([_hash(dedupe.normal(text))], dtype=numpy.uint64)


def sample(chosen: set[int], seed: int) -> list[int]:
    """The places of MEASURED of the chosen records, or of all, in order; which of them is decided by a hash."""
    ranked = heapq.nsmallest(MEASURED, chosen, key=lambda place: _hash(f"{seed} {place}"))
    return sorted(ranked)


def run(params: Params) -> Report:
    path = params.records / "records.jsonl"
    if not path.is_file():
        raise StepError(f"--records {params.records} holds no records.jsonl: name the artifact of data.clean")
    try:
        records = Stored(path)
    except RecordError as error:
        raise StepError(f"{error}: run data.clean again") from error
    groups = group(records, params.near)
    chosen = choose(records, groups, params.validation, params.seed)
    if not chosen or len(chosen) == len(records):
        raise StepError(
            f"{len(records)} records in {len(groups)} groups cannot be split at data.split.validation={params.validation}: "
            "raise it, raise data.split.near, or add sources"
        )
    splits = {name: params.output / f"{name}.jsonl" for name in ("train", "validation")}
    parts = {"train": range(len(records)), "validation": sorted(chosen)}
    for name, places in parts.items():
        part = (records[place] for place in places if (place in chosen) == (name == "validation"))
        write_records(splits[name], part)
    deliver.write_parquet(params.output / "dataset", splits)
    deliver.write_alpaca(params.output / "alpaca", splits)
    leaks = exact_leaks(*map(read_records, splits.values()))
    measured = sample(chosen, params.seed)
    near = near_leaks(map(said, read_records(splits["train"])), map(records.text, measured), params.near)
    tally = Counter((name, place in chosen) for place, name in enumerate(records.categories))
    categories = {n: {"train": tally[n, False], "validation": tally[n, True]} for n in sorted(set(records.categories))}
    train, held = len(records) - len(chosen), len(chosen)
    print(f"{train} for training, {held} for validation, {len(groups)} groups")
    return Report(train, held, len(groups), max(map(len, groups)), categories, leaks, near, len(measured))


if __name__ == "__main__":
    sys.exit(main("legal_tasks.data.split"))
