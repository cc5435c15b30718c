"""MinHash sketches of Chinese texts in bulk: character 5-grams are hashed by numpy, sketched by rensa, banded by numpy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy

from legal_tasks.data.dedupe import GRAM

PERMUTATIONS, BANDS = 128, 32
PER_BAND = 24  # earlier texts of one band that a text is compared with
CHUNK = 5000  # texts that are sketched at once
PLANES = 0x32000  # code points up to CJK extension H
_MIX = numpy.uint64(0x9E3779B97F4A7C15)
_NO_BANDS = numpy.zeros((0, BANDS), dtype=numpy.uint64)


def candidates(texts: Sequence[str], seed: int) -> Iterator[tuple[int, list[int]]]:
    """(place, earlier places that share a band of the sketch) of the places that have any, in order."""
    bands = numpy.concatenate([_bands(texts[at : at + CHUNK], seed) for at in range(0, len(texts), CHUNK)] or [_NO_BANDS])
    found: dict[int, set[int]] = defaultdict(set)
    for column in bands.T:
        order = numpy.argsort(column, kind="stable")
        ordered = column[order]
        same = ordered[1:] == ordered[:-1]
        edges = numpy.flatnonzero(numpy.diff(numpy.concatenate(([0], same.view(numpy.int8), [0]))))
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            members = order[start : end + 1].tolist()
            if column[members[0]]:  # 0: a text without grams
                for number, place in enumerate(members[1:], 1):
                    found[place].update(members[: min(number, PER_BAND)])
    for place in sorted(found):
        yield place, sorted(found[place])


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


@lru_cache(maxsize=20000)
def tokens(text: str) -> numpy.ndarray:
    """The text's different grams as sorted 64-bit hashes."""
    return numpy.unique(_gram_hashes([text])[0])


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
