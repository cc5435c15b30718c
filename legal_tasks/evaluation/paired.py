"""Paired statistics on item results: shares, differences, intervals, tests. All by scipy and numpy, all seeded.

Items made from one template are not independent, so the bootstrap draws whole clusters (Efron & Tibshirani 1993; for
language-model evaluations Miller 2024, arXiv:2411.00640). Bootstrap intervals collapse when all items agree, so an
interval is never narrower than the closed form that allows for unseen disagreement: Wilson (1927) for one share,
Agresti & Min (2005) for a paired difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

ROUNDS = 10_000
TWO_SIDED, ONE_SIDED = 0.95, 0.95


@dataclass(frozen=True)
class Estimate:
    """A number with its two-sided 95 % interval [low, high] and its one-sided 95 % bounds (lower, upper)."""

    value: float
    low: float
    high: float
    lower: float
    upper: float
    n: int
    clusters: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _classes(columns: Sequence[Sequence[float]], clusters: Sequence[Any]) -> tuple[Any, Any]:
    """(sums, counts): the distinct vectors (items, sum of each column) that clusters have, and how many have each.

    A draw of clusters with replacement needs only how often each distinct vector is drawn: one multinomial.
    """
    import numpy

    table = numpy.stack([numpy.ones(len(clusters)), *(numpy.asarray(column, dtype=float) for column in columns)], axis=1)
    if len(set(clusters)) == len(clusters):
        sums = table
    else:
        _, index = numpy.unique(numpy.asarray([str(name) for name in clusters]), return_inverse=True)
        sums = numpy.zeros((index.max() + 1, table.shape[1]))
        numpy.add.at(sums, index, table)
    sizes = [int(most) + 1 for most in sums.max(axis=0)]
    if sums.min() < 0 or (sums % 1).any() or math.prod(sizes) > 1_000_000:
        return numpy.unique(sums, axis=0, return_counts=True)
    counts = numpy.bincount(numpy.ravel_multi_index(list(sums.astype(int).T), sizes))  # the same classes without a sort
    present = counts.nonzero()[0]
    return numpy.stack(numpy.unravel_index(present, sizes), axis=1).astype(float), counts[present]


def bootstrap(columns: Sequence[Sequence[float]], clusters: Sequence[Any], seed: int, rounds: int = ROUNDS) -> Any:
    """Means of each column over `rounds` draws of whole clusters: array (rounds, columns)."""
    import numpy

    sums, counts = _classes(columns, clusters)
    total = int(counts.sum())
    generator = numpy.random.default_rng(seed)
    parts = []
    step = max(1, 20_000_000 // len(counts))
    for start in range(0, rounds, step):
        drawn = generator.multinomial(total, counts / total, size=min(step, rounds - start)) @ sums
        parts.append(drawn[:, 1:] / drawn[:, :1])
    return numpy.concatenate(parts)


def _quantiles(draws: Any) -> tuple[float, float, float, float]:
    import numpy

    tail, side = (1 - TWO_SIDED) / 2, 1 - ONE_SIDED
    low, high, lower, upper = (float(q) for q in numpy.quantile(draws, [tail, 1 - tail, side, 1 - side]))
    return low, high, lower, upper


@lru_cache
def _z(confidence: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(confidence))


def _widths() -> tuple[float, float]:
    return _z(0.5 + TWO_SIDED / 2), _z(ONE_SIDED)


def wilson(share: float, n: int, z: float) -> tuple[float, float]:
    """Wilson's score interval of a share of `n` trials, z standard normal quantiles wide."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def agresti_min(better: int, worse: int, n: int, z: float) -> tuple[float, float]:
    """Adjusted Wald interval of a paired difference of shares: half an observation added to each cell of the 2x2 table."""
    total, plus, minus = n + 2, better + 0.5, worse + 0.5
    difference = (plus - minus) / total
    half = z * math.sqrt(max(0.0, (plus + minus) / total - difference**2) / total)
    return max(-1.0, difference - half), min(1.0, difference + half)


class Sample:
    """Columns of 0/1 values over the same items, with one set of bootstrap draws that every estimate shares.

    `columns`: {name: values}; `clusters`: what each item was made from, items of one cluster being drawn together.
    """

    def __init__(self, columns: Mapping[str, Sequence[float]], clusters: Sequence[Any], seed: int = 0, rounds: int = ROUNDS):
        self.columns = {name: list(values) for name, values in columns.items()}
        self.n, self.clusters = len(clusters), len(set(clusters))
        drawn = bootstrap(list(self.columns.values()), clusters, seed, rounds)
        self.draws = {name: drawn[:, number] for number, name in enumerate(self.columns)}

    def _mean(self, name: str) -> float:
        return sum(self.columns[name]) / self.n

    def _estimate(self, value: float, draws: Any, wide: tuple[float, float], side: tuple[float, float]) -> Estimate:
        low, high, lower, upper = _quantiles(draws)
        outer = min(low, wide[0]), max(high, wide[1]), min(lower, side[0]), max(upper, side[1])
        return Estimate(value, *outer, self.n, self.clusters)

    def share(self, name: str) -> Estimate:
        """The mean of a column with its intervals."""
        value = self._mean(name)
        wide, side = (wilson(value, self.n, z) for z in _widths())
        return self._estimate(value, self.draws[name], wide, side)

    def difference(self, new: str, old: str) -> Estimate:
        """Mean of new - old with its intervals."""
        moved = mcnemar_counts(self.columns[new], self.columns[old])
        wide, side = (agresti_min(*moved, self.n, z) for z in _widths())
        value = (sum(self.columns[new]) - sum(self.columns[old])) / self.n
        return self._estimate(value, self.draws[new] - self.draws[old], wide, side)

    def relative_loss(self, new: str, old: str) -> Estimate | None:
        """(mean of old - mean of new) / mean of old; None where old has nothing right."""
        scale = self._mean(old)
        if not scale:
            return None
        kept = self.draws[old] > 0
        worse, better = reversed(mcnemar_counts(self.columns[new], self.columns[old]))
        wide, side = (agresti_min(worse, better, self.n, z) for z in _widths())
        draws = 1 - self.draws[new][kept] / self.draws[old][kept]
        return self._estimate(
            1 - self._mean(new) / scale, draws, (wide[0] / scale, wide[1] / scale), (side[0] / scale, side[1] / scale)
        )


def share(values: Sequence[float], clusters: Sequence[Any], seed: int = 0) -> Estimate:
    """The mean of 0/1 values with its intervals."""
    return Sample({"values": values}, clusters, seed).share("values")


def difference(new: Sequence[float], old: Sequence[float], clusters: Sequence[Any], seed: int = 0) -> Estimate:
    """Mean of new - old over the same items, with its intervals."""
    return Sample({"new": new, "old": old}, clusters, seed).difference("new", "old")


def relative_loss(new: Sequence[float], old: Sequence[float], clusters: Sequence[Any], seed: int = 0) -> Estimate | None:
    """(mean of old - mean of new) / mean of old over the same items; None where old has nothing right."""
    return Sample({"new": new, "old": old}, clusters, seed).relative_loss("new", "old")


def mcnemar_counts(new: Sequence[float], old: Sequence[float]) -> tuple[int, int]:
    """(items on which new is better, items on which it is worse)."""
    import numpy

    first, second = numpy.asarray(new, dtype=float), numpy.asarray(old, dtype=float)
    return int((first > second).sum()), int((first < second).sum())


def mcnemar(new: Sequence[float], old: Sequence[float]) -> dict[str, float]:
    """McNemar's exact test on the items on which two models differ: {better, worse, p}."""
    from scipy.special import bdtr

    better, worse = mcnemar_counts(new, old)
    tail = float(bdtr(min(better, worse), better + worse, 0.5)) if better + worse else 1.0
    p = min(1.0, 2 * tail)  # the binomial with share 1/2 is symmetric
    return {"better": better, "worse": worse, "p": p}


def adjust(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Benjamini & Hochberg 1995)."""
    from scipy.stats import false_discovery_control

    return [float(p) for p in false_discovery_control(p_values)] if p_values else []


def detectable(estimate: Estimate, power: float = 0.8) -> float:
    """The smallest true difference that a one-sided 95 % test finds with this power, at the noise seen."""
    noise = (estimate.high - estimate.low) / (2 * _z(0.5 + TWO_SIDED / 2))
    return (_z(ONE_SIDED) + _z(power)) * noise
