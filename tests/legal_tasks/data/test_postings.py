"""Shared grams are counted exactly."""

import random

import numpy
import pytest

from legal_tasks.data.postings import Postings


def hashes(*values):
    return numpy.array(values, dtype=numpy.uint64)


def test_each_entry_tells_how_many_of_the_hashes_it_has():
    index = Postings([hashes(1, 2, 3), hashes(), hashes(3, 4), hashes(9)])
    assert index.shared(hashes(2, 3, 4, 8)).tolist() == [2, 0, 2, 0]
    assert index.shared(hashes(7)).tolist() == index.shared(hashes()).tolist() == [0, 0, 0, 0]
    assert index.known(hashes(1, 5, 9, 10)).tolist() == [True, False, True, False] and index.sizes.tolist() == [3, 0, 2, 1]


@pytest.mark.parametrize("bound", [0.3, 0.7, 1.0])
def test_near_entries_are_those_that_counting_every_pair_finds(bound):
    dice = random.Random(3)
    entries = [set(dice.sample(range(60), dice.randint(1, 40))) for _ in range(60)]
    entries += [entry ^ {dice.randrange(60)} for entry in entries[:20]]
    index = Postings([hashes(*sorted(entry)) for entry in entries])
    for one in [*entries, {90, 91}, set(range(60))]:
        expected = [place for place, other in enumerate(entries) if len(one & other) / len(one | other) >= bound]
        assert index.near(hashes(*sorted(one)), bound).tolist() == [place for place in expected if entries[place] & one]


def test_an_index_without_entries_knows_nothing():
    index = Postings([])
    assert index.shared(hashes(1)).tolist() == [] and index.known(hashes(1)).tolist() == [False]
    assert index.near(hashes(1, 2), 0.5).tolist() == []
