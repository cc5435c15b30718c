"""From split records to the exact sequence of training rows: labels, category mix, length grouping."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from legal_tasks.records import Record, RecordError, read_records
from legal_tasks.step import StepError
from legal_tasks.training.chat import IGNORED, labelled

WINDOW = 50  # batches that are sorted by length together

Row = dict[str, list[int]]


@dataclass
class Rows:
    """Labelled rows, the category of each, and what was left out or cut."""

    rows: list[Row] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    left_out: Counter = field(default_factory=Counter)  # reason -> records
    truncated: int = 0

    @property
    def learned_tokens(self) -> int:
        return sum(label != IGNORED for row in self.rows for label in row["labels"])


def load(path: Path) -> list[Record]:
    """The records of a split's file; StepError names the file and line of what is not one."""
    if not path.is_file():
        raise StepError(f"--data: {path} does not exist; give the folder that data.split wrote")
    try:
        return list(read_records(path))
    except RecordError as error:
        raise StepError(f"--data: {error}") from error


def encode(tokenizer, records: Sequence[Record], max_length: int) -> Rows:
    """Rows of at most `max_length` tokens. A chat whose question alone fills them is left out, a longer answer is cut."""
    result = Rows()
    for record in records:
        row = labelled(tokenizer, asdict(record), max_length + 1)
        cut = len(row["input_ids"]) > max_length
        row = {name: values[:max_length] for name, values in row.items()}
        if all(label == IGNORED for label in row["labels"]):
            result.left_out["question longer than max_length"] += 1
            continue
        result.truncated += cut
        result.rows.append(row)
        result.categories.append(record.category)
    return result


def mix(categories: Sequence[str], copies: dict[str, float], seed: int) -> list[int]:
    """Row numbers of one epoch: each row `copies[category]` times (1 where not named), fractions drawn by `seed`."""
    chooser = random.Random(seed)
    numbers: list[int] = []
    for category in dict.fromkeys(categories):
        members = [number for number, name in enumerate(categories) if name == category]
        share = copies.get(category, 1.0)
        numbers += members * int(share)
        numbers += sorted(chooser.sample(members, round((share - int(share)) * len(members))))
    return numbers


def order(lengths: Sequence[int], numbers: Sequence[int], rows: int, batch: int, seed: int) -> list[int]:
    """The whole training as one list of `rows` row numbers, of which each `batch` in turn is one batch.

    Epochs follow one another, each in a new random order. Within a window of WINDOW batches the rows are sorted by
    length, so that a batch holds rows of like length and little padding, and the batches are then shuffled.
    """
    chooser = random.Random(seed)
    stream: list[int] = []
    while len(stream) < rows:
        epoch = list(numbers)
        chooser.shuffle(epoch)
        stream += epoch
    stream = stream[:rows]
    ordered: list[int] = []
    for start in range(0, rows, WINDOW * batch):
        window = sorted(stream[start : start + WINDOW * batch], key=lambda number: lengths[number])
        full = len(window) // batch * batch
        batches = [window[i : i + batch] for i in range(0, full, batch)]
        chooser.shuffle(batches)
        batches.append(window[full:])
        ordered += [number for group in batches for number in group]
    return ordered


def within(ordered: Sequence[int], lengths: Sequence[int], tokens: int, update: int) -> list[int]:
    """The beginning of an order that holds at most `tokens` tokens, in whole updates of `update` rows, one at least."""
    kept = read = 0
    for start in range(0, len(ordered), update):
        read += sum(lengths[number] for number in ordered[start : start + update])
        if read > tokens and kept:
            break
        kept = start + update
    return list(ordered[:kept])


def collate(rows: Sequence[Row], pad: int):
    """{input_ids, labels} tensors of shape (rows, longest row), padded on the right.

    There is no attention mask: under causal attention no token sees the padding to its right, and padding has no
    label, so the loss is the same and the attention kernels take their faster, mask-free path.
    """
    import torch

    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), IGNORED)
    for index, row in enumerate(rows):
        ids[index, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
        labels[index, : len(row["labels"])] = torch.tensor(row["labels"])
    return {"input_ids": ids, "labels": labels}
