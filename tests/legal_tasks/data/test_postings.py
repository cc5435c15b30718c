"""Shared grams are counted exactly."""

import numpy

from legal_tasks.data.postings import Postings


def hashes(*values):
    return numpy.array(values, dtype=numpy.uint64)


def test_each_entry_tells_how_many_of_the_hashes_it_has():
    index = Postings([hashes(1, 2, 3), hashes(), hashes(3, 4), hashes(9)])
    assert index.shared(hashes(2, 3, 4, 8)).tolist() == [2, 0, 2, 0]
    assert index.shared(hashes(7)).tolist() == index.shared(hashes()).tolist() == [0, 0, 0, 0]
    assert index.known(hashes(1, 5, 9, 10)).tolist() == [True, False, True, False] and index.sizes.tolist() == [3, 0, 2, 1]


def test_an_index_without_entries_knows_nothing():
    index = Postings([])
    assert index.shared(hashes(1)).tolist() == [] and index.known(hashes(1)).tolist() == [False]
