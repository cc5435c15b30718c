"""Against scipy, closed forms and numbers worked by hand."""

import math

import pytest

scipy_stats = pytest.importorskip("scipy.stats")
numpy = pytest.importorskip("numpy")

from legal_tasks.evaluation import paired  # noqa: E402


def singles(n):
    return [str(number) for number in range(n)]


def test_wilson_equals_scipys():
    expected = scipy_stats.binomtest(30, 40).proportion_ci(0.95, method="wilson")
    assert paired.wilson(0.75, 40, 1.959964) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_agresti_min_by_hand():
    # n = 100, 12 better, 5 worse: p = (12.5 - 5.5) / 102, variance ((18 / 102) - p^2) / 102.
    centre = 7 / 102
    half = 1.645 * math.sqrt((18 / 102 - centre**2) / 102)
    assert paired.agresti_min(12, 5, 100, 1.645) == pytest.approx((centre - half, centre + half))


def test_share_of_independent_items_has_the_binomial_interval():
    values = [1.0] * 750 + [0.0] * 250
    found = paired.share(values, singles(1000))
    expected = scipy_stats.binomtest(750, 1000).proportion_ci(0.95, method="exact")
    assert found.value == 0.75
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.003)


def test_difference_equals_scipys_bootstrap():
    generator = numpy.random.default_rng(1)
    old = (generator.random(400) < 0.6).astype(float)
    new = (generator.random(400) < 0.7).astype(float)
    expected = scipy_stats.bootstrap((new - old,), numpy.mean, n_resamples=5000, method="percentile", rng=generator)
    found = paired.difference(list(new), list(old), singles(400))
    assert found.value == pytest.approx(float((new - old).mean()))
    interval = expected.confidence_interval
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.008)
    assert found.low < found.lower < found.value < found.upper < found.high


def test_items_of_one_template_count_as_one_observation():
    """Ten templates whose ten items all agree: the interval is that of ten observations, not of a hundred."""
    values = [float(number < 70) for number in range(100)]
    alone = paired.share(values, singles(100))
    clustered = paired.share(values, [str(number // 10) for number in range(100)])
    assert clustered.clusters == 10
    assert clustered.high - clustered.low > 2.5 * (alone.high - alone.low)
    assert clustered.low == pytest.approx(0.4, abs=0.06)


def test_unequal_clusters_keep_their_weight():
    """One cluster of 90 right items, one of 10 wrong ones: a draw is 1, 0.9 or 0, the mean of all items 0.9."""
    draws = paired.bootstrap([[1.0] * 90 + [0.0] * 10], ["a"] * 90 + ["b"] * 10, seed=0, rounds=4000)
    values, counts = numpy.unique(draws.round(6), return_counts=True)
    assert list(values) == [0.0, 0.9, 1.0]
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.04)


def test_agreement_of_few_items_proves_little():
    """Five items on which both agree: the bootstrap alone would be certain."""
    found = paired.difference([1.0] * 5, [1.0] * 5, singles(5))
    assert found.value == 0
    assert found.lower < -0.2


def test_the_lower_bound_holds_as_often_as_it_says():
    """Paired draws with a true difference of 0: the one-sided 95 % bound lies above it about one time in twenty."""
    generator = numpy.random.default_rng(5)
    missed = 0
    for seed in range(200):
        kinds = generator.choice([1, -1, 0], p=[0.1, 0.1, 0.8], size=500)
        new, old = (kinds > 0).astype(float), (kinds < 0).astype(float)
        missed += paired.difference(list(new), list(old), singles(500), seed).lower > 0
    assert 2 <= missed <= 18


def test_the_same_seed_gives_the_same_interval():
    values = [float(number % 3 == 0) for number in range(60)]
    clusters = [str(number % 9) for number in range(60)]
    assert paired.share(values, clusters, 3) == paired.share(values, clusters, 3)
    draws = [paired.bootstrap([values], clusters, seed, rounds=50).tolist() for seed in (3, 3, 4)]
    assert draws[0] == draws[1] != draws[2]


def test_relative_loss_by_hand():
    old, new = [1.0] * 80 + [0.0] * 20, [1.0] * 76 + [0.0] * 24
    found = paired.relative_loss(new, old, singles(100))
    assert found.value == pytest.approx(0.05)
    assert found.low < 0.05 < found.high
    assert paired.relative_loss([0.0, 1.0], [0.0, 0.0], singles(2)) is None


def test_mcnemar_by_hand():
    """6 items only the new model has right, 1 only the old: 2 * (C(7,0) + C(7,1)) / 2^7 = 0.125."""
    new, old = [1] * 6 + [0] + [1] * 5, [0] * 6 + [1] + [1] * 5
    assert paired.mcnemar(new, old) == {"better": 6, "worse": 1, "p": pytest.approx(0.125)}
    assert paired.mcnemar([1, 0], [1, 0])["p"] == 1.0


def test_p_values_are_adjusted_as_benjamini_and_hochberg_say():
    """By hand: 0.01 * 4 / 1, 0.02 * 4 / 2, 0.03 * 4 / 3, 0.4 * 4 / 4, each at most its successor."""
    assert paired.adjust([0.4, 0.01, 0.03, 0.02]) == pytest.approx([0.4, 0.04, 0.04, 0.04])
    assert paired.adjust([]) == []


def test_the_smallest_detectable_difference_of_a_known_noise():
    """Standard error 0.01: (1.645 + 0.842) * 0.01."""
    estimate = paired.Estimate(0.0, -0.0195996, 0.0195996, -0.0164, 0.0164, 1000, 1000)
    assert paired.detectable(estimate) == pytest.approx(0.02487, abs=1e-4)
