"""MinHash sketches of Chinese texts in bulk: character 5-grams are hashed by numpy, sketched by rensa, banded by numpy."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy

from legal_tasks.data.dedupe import GRAM

PERMUTATIONS, BANDS = 128, 32
PER_BAND = 24  # earlier texts of one band that a text is compared with
CHUNK, CHARACTERS = 5000, 2_000_000  # texts, and characters of theirs, that are sketched at once
KEPT = 1 << 24  # hashes of grams, 128 MiB
PLANES = 0x32000  # code points up to CJK extension H
_MIX = numpy.uint64(0x9E3779B97F4A7C15)
_NO_KEYS = numpy.zeros(0, dtype=numpy.uint64)


def candidates(texts: Sequence[str], seed: int) -> Iterator[tuple[int, list[int]]]:
    """(place, earlier places that share a band of the sketch) of the places that have any, in order.

    Texts are read once, in order. Memory: about 300 bytes per text, however many candidates there are.
    """
    count = len(texts)
    columns: list[numpy.ndarray] = [numpy.zeros(count, dtype=numpy.uint64) for _ in range(BANDS)]
    at = 0
    for part in _chunks(texts):
        keys = _bands(part, seed)
        for column, values in zip(columns, keys.T, strict=True):
            column[at : at + len(part)] = values
        at += len(part)
    orders, starts = [], []
    before = numpy.zeros((BANDS, count), dtype=numpy.uint8)  # how many members of its bucket a text is compared with
    for band in range(BANDS):
        column, columns[band] = columns[band], _NO_KEYS
        order = numpy.argsort(column, kind="stable").astype(numpy.int32)
        ordered = column[order]
        first = numpy.concatenate(([True], ordered[1:] != ordered[:-1])) if count else numpy.zeros(0, dtype=bool)
        begin = numpy.maximum.accumulate(numpy.where(first, numpy.arange(count), 0)).astype(numpy.int32)
        number = numpy.minimum(numpy.arange(count) - begin, PER_BAND).astype(numpy.uint8)
        before[band, order] = numpy.where(ordered == 0, 0, number)  # 0: a text without grams
        start = numpy.zeros(count, dtype=numpy.int32)
        start[order] = begin
        orders.append(order)
        starts.append(start)
    for place in numpy.flatnonzero(before.any(axis=0)).tolist():
        found: set[int] = set()
        for band in numpy.flatnonzero(before[:, place]).tolist():
            begin = starts[band][place]
            found.update(orders[band][begin : begin + before[band, place]].tolist())
        yield place, sorted(found)


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for place in range(len(texts)):
        part.append(texts[place])
        size += len(part[-1])
        if len(part) == CHUNK or size >= CHARACTERS:
            yield part
            part, size = [], 0
    if part:
        yield part


def _bands(texts: Sequence[str], seed: int) -> numpy.ndarray:
    """Keys of the bands of each text's MinHash sketch, (texts, BANDS) of uint64; 0 for a text without grams."""
    import rensa

    hashes, ends = _gram_hashes(texts)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(hashes, ends, PERMUTATIONS, seed)
    sketch = numpy.array(matrix.to_rows(), dtype=numpy.uint64).reshape(len(texts), BANDS, PERMUTATIONS // BANDS)
    keys: numpy.ndarray = numpy.zeros((len(texts), BANDS), dtype=numpy.uint64)
    for column in range(sketch.shape[2]):
        keys = (keys ^ sketch[:, :, column]) * _MIX
        keys ^= keys >> numpy.uint64(29)
    keys |= numpy.uint64(1)
    keys[numpy.diff(ends) == 0] = 0
    return keys


def tokens(text: str) -> numpy.ndarray:
    """The text's different grams as sorted 64-bit hashes."""
    return numpy.unique(_gram_hashes([text])[0])


def gram_hashes(text: str) -> numpy.ndarray:
    """The hash of each of the text's grams in order, repeated ones too."""
    return _gram_hashes([text])[0]


class Tokens:
    """`tokens` of texts by their place; the last ones used are kept, up to KEPT hashes."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.kept: OrderedDict[int, numpy.ndarray] = OrderedDict()
        self.size = 0

    def __getitem__(self, place: int) -> numpy.ndarray:
        if place in self.kept:
            self.kept.move_to_end(place)
            return self.kept[place]
        found = self.kept[place] = tokens(self.texts[place])
        self.size += len(found)
        while self.size > KEPT and len(self.kept) > 1:
            self.size -= len(self.kept.popitem(last=False)[1])
        return found


@lru_cache(maxsize=1)
def _letters() -> numpy.ndarray:
    """Which code points count: letters and digits of the planes in use, as `normal` keeps them."""
    return numpy.array([chr(code).isalnum() for code in range(PLANES)])


def _gram_hashes(texts: Sequence[str]) -> tuple[numpy.ndarray, numpy.ndarray]:
    """(hashes of all character 5-grams in order, where each text's begin and end), both uint64; a text of fewer has none."""
    plain = [text.lower() for text in texts]
    codes = numpy.frombuffer("".join(plain).encode("utf-32-le", "surrogatepass"), dtype=numpy.uint32)
    rows = numpy.repeat(numpy.arange(len(texts)), [len(text) for text in plain])
    keep = _letters()[numpy.minimum(codes, PLANES - 1)]
    codes, rows = codes[keep].astype(numpy.uint64), rows[keep]
    size = max(0, len(codes) - GRAM + 1)
    hashes = numpy.zeros(size, dtype=numpy.uint64)
    for place in range(GRAM):
        hashes = hashes * _MIX + codes[place : place + size]
    hashes ^= hashes >> numpy.uint64(32)
    hashes *= _MIX
    hashes ^= hashes >> numpy.uint64(29)
    whole = rows[:size] == rows[GRAM - 1 :] if size else numpy.zeros(0, dtype=bool)
    counts = numpy.bincount(rows[:size][whole], minlength=len(texts))
    return hashes[whole], numpy.concatenate(([0], numpy.cumsum(counts))).astype(numpy.uint64)
