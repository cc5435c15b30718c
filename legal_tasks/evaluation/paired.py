"""Paired statistics on item results: shares, differences, intervals, tests. All by scipy and numpy, all seeded.

Items made from one template are not independent, so the bootstrap draws whole clusters (Efron & Tibshirani 1993; for
language-model evaluations Miller 2024, arXiv:2411.00640). Bootstrap intervals collapse when all items agree, so an
interval is never narrower than the closed form that allows for unseen disagreement: Wilson (1927) for one share,
Agresti & Min (2005) for a paired difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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

    _, index = numpy.unique(numpy.asarray([str(name) for name in clusters]), return_inverse=True)
    table = numpy.stack([numpy.ones(len(index)), *(numpy.asarray(column, dtype=float) for column in columns)], axis=1)
    sums = numpy.zeros((index.max() + 1, table.shape[1]))
    numpy.add.at(sums, index, table)
    return numpy.unique(sums, axis=0, return_counts=True)


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


def _z(confidence: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(confidence))


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


def share(values: Sequence[float], clusters: Sequence[Any], seed: int = 0) -> Estimate:
    """The mean of 0/1 values with its intervals."""
    n, value = len(values), sum(values) / len(values)
    draws = bootstrap([values], clusters, seed)[:, 0]
    low, high, lower, upper = _quantiles(draws)
    wide, side = wilson(value, n, _z(0.5 + TWO_SIDED / 2)), wilson(value, n, _z(ONE_SIDED))
    return Estimate(value, min(low, wide[0]), max(high, wide[1]), min(lower, side[0]), max(upper, side[1]), n, len(set(clusters)))


def difference(new: Sequence[float], old: Sequence[float], clusters: Sequence[Any], seed: int = 0) -> Estimate:
    """Mean of new - old over the same items, with its intervals."""
    n = len(new)
    deltas = [a - b for a, b in zip(new, old, strict=True)]
    low, high, lower, upper = _quantiles(bootstrap([deltas], clusters, seed)[:, 0])
    better, worse = sum(delta > 0 for delta in deltas), sum(delta < 0 for delta in deltas)
    wide = agresti_min(better, worse, n, _z(0.5 + TWO_SIDED / 2))
    side = agresti_min(better, worse, n, _z(ONE_SIDED))
    return Estimate(
        sum(deltas) / n,
        min(low, wide[0]),
        max(high, wide[1]),
        min(lower, side[0]),
        max(upper, side[1]),
        n,
        len(set(clusters)),
    )


def relative_loss(new: Sequence[float], old: Sequence[float], clusters: Sequence[Any], seed: int = 0) -> Estimate | None:
    """(mean of old - mean of new) / mean of old over the same items; None where old has nothing right."""
    import numpy

    right = sum(old)
    if not right:
        return None
    draws = bootstrap([new, old], clusters, seed)
    draws = draws[draws[:, 1] > 0]
    low, high, lower, upper = _quantiles(1 - draws[:, 0] / draws[:, 1])
    n = len(new)
    better = int(numpy.sum(numpy.asarray(new) > numpy.asarray(old)))
    worse = int(numpy.sum(numpy.asarray(new) < numpy.asarray(old)))
    scale = right / n
    wide = [-bound / scale for bound in agresti_min(better, worse, n, _z(0.5 + TWO_SIDED / 2))]
    side = [-bound / scale for bound in agresti_min(better, worse, n, _z(ONE_SIDED))]
    return Estimate(
        1 - sum(new) / right,
        min(low, wide[1]),
        max(high, wide[0]),
        min(lower, side[1]),
        max(upper, side[0]),
        n,
        len(set(clusters)),
    )


def mcnemar(new: Sequence[float], old: Sequence[float]) -> dict[str, float]:
    """McNemar's exact test on the items on which two models differ: {better, worse, p}."""
    from scipy.stats import binomtest

    better = sum(a > b for a, b in zip(new, old, strict=True))
    worse = sum(a < b for a, b in zip(new, old, strict=True))
    p = float(binomtest(better, better + worse, 0.5).pvalue) if better + worse else 1.0
    return {"better": better, "worse": worse, "p": p}


def adjust(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Benjamini & Hochberg 1995)."""
    from scipy.stats import false_discovery_control

    return [float(p) for p in false_discovery_control(p_values)] if p_values else []


def detectable(estimate: Estimate, power: float = 0.8) -> float:
    """The smallest true difference that a one-sided 95 % test finds with this power, at the noise seen."""
    noise = (estimate.high - estimate.low) / (2 * _z(0.5 + TWO_SIDED / 2))
    return (_z(ONE_SIDED) + _z(power)) * noise
