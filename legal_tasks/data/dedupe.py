"""Exact and near duplicates: MinHash LSH on character 5-grams finds candidates, true Jaccard decides."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

GRAM = 5
MOST_CANDIDATES = 200
_NOISE = re.compile(r"[\s\W_]+")


def normal(text: str) -> str:
    """The text without spaces and punctuation, in lower case: what similarity is measured on."""
    return _NOISE.sub("", text).lower()


def grams(text: str, size: int = GRAM) -> set[str]:
    """Character n-grams of the normalised text; a shorter text is its own gram."""
    plain = normal(text)
    if len(plain) <= size:
        return {plain} if plain else set()
    return {plain[place : place + size] for place in range(len(plain) - size + 1)}


def jaccard(first: set[str], second: set[str]) -> float:
    """Size of the intersection over that of the union, 0..1."""
    if not first or not second:
        return 0.0
    common = len(first & second)
    return common / (len(first) + len(second) - common)


class Groups:
    """Union-find over 0..n-1; the smallest member names the group."""

    def __init__(self, size: int) -> None:
        self.parent = list(range(size))

    def find(self, member: int) -> int:
        while self.parent[member] != member:
            self.parent[member] = self.parent[self.parent[member]]
            member = self.parent[member]
        return member

    def join(self, first: int, second: int) -> None:
        first, second = sorted((self.find(first), self.find(second)))
        self.parent[second] = first

    def members(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for member in range(len(self.parent)):
            found[self.find(member)].append(member)
        return found


def exact_groups(texts: Iterable[str]) -> list[list[int]]:
    """Groups of two and more places whose texts are equal but for spaces and punctuation."""
    first: dict[bytes, int] = {}
    groups: dict[int, list[int]] = {}
    for place, text in enumerate(texts):
        digest = hashlib.blake2b(normal(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        head = first.setdefault(digest, place)
        if head != place:
            groups.setdefault(head, [head]).append(place)
    return list(groups.values())


def near_pairs(
    texts: Sequence[str],
    threshold: float = 0.7,
    seed: int = 1,
    accept: Callable[[str, str, float], bool] = lambda first, second, score: True,
) -> Iterator[tuple[int, int, float]]:
    """(earlier place, later place, Jaccard) of the accepted pairs at or above `threshold`, in the order of the later place.

    Pairs that earlier pairs have linked already are left out: they add nothing to a group. A text is compared with at
    most MOST_CANDIDATES candidates.
    """
    import numpy

    from legal_tasks.data import minhash

    linked, tokens = Groups(len(texts)), minhash.Tokens(texts)
    for place, others in minhash.candidates(texts, seed):
        own, compared = None, 0
        for other in others:
            if linked.find(other) == linked.find(place):
                continue
            own = tokens[place] if own is None else own
            theirs = tokens[other]
            low, high = sorted((len(own), len(theirs)))
            if low < threshold * high:
                continue
            compared += 1
            if compared > MOST_CANDIDATES:
                break
            common = len(numpy.intersect1d(own, theirs, assume_unique=True))
            score = common / (low + high - common)
            if score >= threshold and accept(texts[other], texts[place], score):
                linked.join(other, place)
                yield other, place, score
