"""An inverted index of grams: how many grams does a text share with each of many others? Counted one by one, not by sketches."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy


class Postings:
    """Entries 0..n-1, each a set of gram hashes (see `minhash.tokens`). `sizes`: (n,) how many grams each has."""

    def __init__(self, entries: Iterable[numpy.ndarray]) -> None:
        sets = list(entries)
        self.sizes = numpy.array([len(one) for one in sets], dtype=numpy.int64)
        hashes = numpy.concatenate([*sets, numpy.zeros(0, dtype=numpy.uint64)])
        numbers = numpy.repeat(numpy.arange(len(sets), dtype=numpy.int32), self.sizes)
        order = numpy.argsort(hashes, kind="stable")
        self.numbers = numbers[order]
        self.keys, starts = numpy.unique(hashes[order], return_index=True)
        self.starts = numpy.concatenate((starts, [len(hashes)])).astype(numpy.int64)

    def known(self, hashes: numpy.ndarray) -> numpy.ndarray:
        """Which of the hashes any entry has, as bool of the same shape."""
        if not len(self.keys):
            return numpy.zeros(hashes.shape, dtype=bool)
        return self.keys[numpy.minimum(numpy.searchsorted(self.keys, hashes), len(self.keys) - 1)] == hashes

    def shared(self, tokens: numpy.ndarray) -> numpy.ndarray:
        """(n,) how many of the different hashes in `tokens` each entry has."""
        return self._count(numpy.searchsorted(self.keys, tokens[self.known(tokens)]))

    def near(self, tokens: numpy.ndarray, bound: float) -> numpy.ndarray:
        """Entries whose Jaccard with `tokens` is at least `bound` (0..1).

        Such an entry has at least `bound` of the tokens, so of any few of them all but the share that it may lack: those that
        the fewest entries have are looked at first, and nearly always they are enough to see that there is none
        (prefix filter, Chaudhuri et al. 2006, Bayardo et al. 2007).
        """
        size = len(tokens)
        lacks = size - math.ceil(bound * size - 1e-9)
        needed = min(size - lacks, max(1, size // 10))
        places = numpy.searchsorted(self.keys, tokens[self.known(tokens)])
        unknown = size - len(places)
        first = lacks + needed - unknown  # unknown tokens are the rarest of all
        if first <= 0:
            return numpy.zeros(0, dtype=numpy.int64)
        rare = places[numpy.argsort(self.starts[places + 1] - self.starts[places], kind="stable")[:first]]
        if not (self._count(rare) >= needed).any():
            return numpy.zeros(0, dtype=numpy.int64)
        common = self._count(places)
        return numpy.flatnonzero((common >= bound * (size + self.sizes - common)) & (common > 0))

    def _count(self, places: numpy.ndarray) -> numpy.ndarray:
        starts, counts = self.starts[places], self.starts[places + 1] - self.starts[places]
        within = numpy.arange(counts.sum()) - numpy.repeat(numpy.cumsum(counts) - counts, counts)
        return numpy.bincount(self.numbers[numpy.repeat(starts, counts) + within], minlength=len(self.sizes))
