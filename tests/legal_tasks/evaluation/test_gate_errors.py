"""The gate's own error rates on fewer pairs than the benchmark draws: none may miss what is specified for certain."""

import math

import pytest

pytest.importorskip("scipy")

from benchmarks import gate  # noqa: E402

PAIRS = 150


@pytest.mark.slow
@pytest.mark.parametrize("part", list(gate.PARTS))
def test_the_gate_errs_no_more_often_than_specified(part):
    n, difference = gate.PARTS[part]
    found = gate.simulate(PAIRS, n, difference, seed=7)
    for _, where, mode, side, bound in gate.SPECIFIED:
        if where == part:
            slack = 2.6 * math.sqrt(bound * (1 - bound) / PAIRS)  # 99.5 % of draws at the bound stay within
            promoted = found[mode]["promoted"] / PAIRS
            assert promoted >= bound - slack if side == "least" else promoted <= bound + slack


def test_a_suite_of_fifty_items_comes_out_undecided():
    found = gate.simulate(5, 50, 0.0)
    assert [part["promoted"] for part in found.values()] == [0, 0]
    assert found["replace"]["undecided"] == 5


def test_drawn_models_are_as_good_and_as_different_as_they_say():
    import numpy

    dice = numpy.random.default_rng(0)
    one, other = gate.alike(dice, 200_000, 0.85, 2)
    assert (one.mean(), other.mean()) == pytest.approx((0.85, 0.85), abs=0.004)
    assert (one != other).mean() == pytest.approx(0.2, abs=0.004)
    worse = gate.changed(dice, one, -0.03)
    assert worse.mean() - one.mean() == pytest.approx(-0.03, abs=0.004)
    assert (worse != one).mean() == pytest.approx(0.2, abs=0.004)
