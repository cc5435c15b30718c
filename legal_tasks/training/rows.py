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

PACKED = ("input_ids", "labels", "position_ids")
WINDOW = 50  # batches that are sorted by length together

Row = dict[str, list[int]]


@dataclass
class Rows:
    """Labelled rows, the category of each, and what was left out or cut."""

    rows: list[Row] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)  # of the file, from 1, so that a row can be named
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


def encode(tokenizer, records: Sequence[Record], max_length: int, cutting: bool = True) -> Rows:
    """Rows of at most `max_length` tokens. A chat whose question alone fills them is left out, a longer answer is cut.

    Without `cutting` every longer chat is left out.
    """
    result = Rows()
    for line, record in enumerate(records, start=1):
        row = labelled(tokenizer, asdict(record), max_length + 1)
        too_long = len(row["input_ids"]) > max_length
        row = {name: values[:max_length] for name, values in row.items()}
        if all(label == IGNORED for label in row["labels"]):
            result.left_out["question longer than max_length"] += 1
            continue
        if too_long and not cutting:
            result.left_out["longer than max_length, which LLaMA-Factory cuts elsewhere"] += 1
            continue
        result.truncated += too_long
        result.rows.append(row)
        result.categories.append(record.category)
        result.lines.append(line)
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


def collate(rows: Sequence[Row], pad: int, packed: bool = False):
    """{input_ids, labels} tensors of shape (rows, longest row), padded on the right; `packed`: see `join`.

    There is no attention mask: under causal attention no token sees the padding to its right, and padding has no
    label, so the loss is the same and the attention kernels take their faster, mask-free path.
    """
    import torch

    if packed:
        return join(rows)
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), IGNORED)
    for index, row in enumerate(rows):
        ids[index, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
        labels[index, : len(row["labels"])] = torch.tensor(row["labels"])
    return {"input_ids": ids, "labels": labels}


def join(rows: Sequence[Row]):
    """{input_ids, labels, position_ids} tensors of shape (1, tokens): the rows one after the other, without padding.

    Positions begin anew with each row, by which transformers' attention masks keep every row to itself. A row's first
    token is no label, because the row before it would be asked for it.
    """
    import torch

    ids = [number for row in rows for number in row["input_ids"]]
    labels = [label for row in rows for label in (IGNORED, *row["labels"][1:])]
    positions = [position for row in rows for position in range(len(row["input_ids"]))]
    return {name: torch.tensor([values]) for name, values in zip(PACKED, (ids, labels, positions), strict=True)}


def cut(batch, parts: int):
    """`batch` (tensors of `collate`) as at most `parts` batches of whole rows, in order.

    Each loses the columns after its last label: under causal attention nothing that is learned depends on them.
    """
    import torch

    if "position_ids" in batch:
        starts = [*torch.nonzero(batch["position_ids"][0] == 0).flatten().tolist(), batch["position_ids"].shape[1]]
        places = [starts[round(number * (len(starts) - 1) / parts)] for number in range(parts + 1)]
        return [{name: batch[name][:, a:b] for name in PACKED} for a, b in zip(places, places[1:], strict=False) if b > a]
    pieces = []
    for ids, labels in zip(batch["input_ids"].chunk(parts), batch["labels"].chunk(parts), strict=True):
        used = int((labels != IGNORED).any(0).nonzero().max()) + 1
        pieces.append({"input_ids": ids[:, :used], "labels": labels[:, :used]})
    return pieces
