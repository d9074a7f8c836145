"""Scores against values known from tables, closed forms and slow definitions."""

from math import comb, exp, inf, isclose, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.app.evaluate import scoring
from tapewatch.app.evaluate.scoring import Interval
from tapewatch.kernels.counts import beta_share
from tapewatch.model.time import NS_PER_S

SCORES = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=12)


def test_binomial_closed_forms() -> None:
    low, high = scoring.binomial_interval(10, 10)
    assert isclose(low, 0.025**0.1, rel_tol=1e-9)
    assert high == 1.0
    low, high = scoring.binomial_interval(0, 20)
    assert low == 0.0
    assert isclose(high, 1.0 - 0.025 ** (1 / 20), rel_tol=1e-9)
    assert scoring.binomial_interval(0, 0) == (0.0, 1.0)


def test_binomial_solves_its_definition() -> None:
    low, high = scoring.binomial_interval(7, 19)
    above = sum(comb(19, i) * low**i * (1 - low) ** (19 - i) for i in range(7, 20))
    below = sum(comb(19, i) * high**i * (1 - high) ** (19 - i) for i in range(8))
    assert isclose(above, 0.025, rel_tol=1e-9)
    assert isclose(below, 0.025, rel_tol=1e-9)


def test_wilson_table() -> None:
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    for hits, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        found = scoring.wilson_interval(hits, n)
        assert found == pytest.approx((low, high), abs=5e-5)
    assert scoring.wilson_interval(1000, 1000).low == pytest.approx(0.99617, abs=1e-5)


def test_poisson_table() -> None:
    # Garwood's limits as printed in Johnson, Kotz and Kemp, "Univariate discrete distributions".
    for count, low, high in (
        (0, 0.0, 3.689),
        (1, 0.0253, 5.572),
        (5, 1.623, 11.668),
        (10, 4.795, 18.390),
    ):
        assert scoring.poisson_interval(count) == pytest.approx((low, high), abs=1e-3)


def test_poisson_solves_its_definition_for_many() -> None:
    low, high = scoring.poisson_interval(5_000)
    assert isclose(1.0 - scoring.gamma_share(5_000, low), 0.975, rel_tol=1e-6)
    assert low == pytest.approx(5_000 - 1.96 * sqrt(5_000), rel=1e-3)
    assert high == pytest.approx(5_000 + 1.96 * sqrt(5_000), rel=1e-3)


def test_special_functions() -> None:
    assert isclose(scoring.gamma_share(1.0, 2.5), 1.0 - exp(-2.5), rel_tol=1e-12)
    assert isclose(scoring.gamma_share(2.0, 0.3), 1.0 - exp(-0.3) * 1.3, rel_tol=1e-12)
    assert isclose(beta_share(1.0, 4.0, 0.2, 0.8), 1.0 - 0.8**4, rel_tol=1e-12)
    assert isclose(beta_share(3.0, 1.0, 0.9, 0.1), 0.9**3, rel_tol=1e-12)


def test_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is only an oracle")
    for hits, n in ((1, 7), (300, 1_000), (9_999, 10_000)):
        exact = stats.binomtest(hits, n).proportion_ci(0.95, "exact")
        assert scoring.binomial_interval(hits, n) == pytest.approx(tuple(exact), rel=1e-8)
    for count in (3, 77, 12_345):
        low, high = stats.chi2.ppf(0.025, 2 * count) / 2, stats.chi2.ppf(0.975, 2 * count + 2) / 2
        assert scoring.poisson_interval(count) == pytest.approx((low, high), rel=1e-8)


def test_impossible_counts_are_refused() -> None:
    for hits, n in ((-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="not a proportion"):
            scoring.binomial_interval(hits, n)
    with pytest.raises(ValueError, match="not negative"):
        scoring.poisson_interval(-1)


def test_rates() -> None:
    none = scoring.rate(0, 2.0)
    assert none.rate == 0.0
    assert none.high == pytest.approx(3.689 / 2, abs=1e-3)
    assert scoring.rate(1, 0.0).rate is None
    assert scoring.rate(4, 2.0).rate == 2.0
    assert scoring.proportion(0, 0).share is None


def test_episodes_end_after_quiet_time_not_after_a_length() -> None:
    minutes = [0, 4, 8, 12, 18, 30]
    times = [minute * 60 * NS_PER_S for minute in minutes]
    assert scoring.episodes(reversed(times)) == [times[0], times[4], times[5]]
    assert scoring.episodes([0, 300 * NS_PER_S]) == [0]
    assert scoring.episodes([0, 300 * NS_PER_S + 1]) == [0, 300 * NS_PER_S + 1]
    assert scoring.episodes([]) == []


def test_delays_and_recall() -> None:
    onset = 1_000 * NS_PER_S
    times = [onset - 31 * NS_PER_S, onset + 8 * NS_PER_S, onset + 5 * NS_PER_S]
    assert scoring.delay_s(times, onset, 30, 300) == 5.0
    assert scoring.delay_s(times, onset, 31, 300) == -31.0
    assert scoring.delay_s(times, onset, 30, 4) == inf
    found = scoring.recalls([5.0, -3.0, inf, 12.0], (10, 300))
    assert (found["within_10_s"].hits, found["within_300_s"].hits) == (2, 3)


def test_chance_keeps_out_of_the_zone_and_repeats() -> None:
    zone = Interval(400.0, 700.0)
    drawn = scoring.chance_instants(0, 1_000, zone, "file", 2_000)
    assert drawn == scoring.chance_instants(0, 1_000, zone, "file", 2_000)
    assert all(0 <= at < 400 or 700 <= at < 1_000 for at in drawn)
    assert sum(at < 400 for at in drawn) / 2_000 == pytest.approx(4 / 7, abs=0.04)
    assert len(scoring.chance_instants(0, 1_000, None, "file")) == scoring.CHANCE_INSTANTS
    with pytest.raises(ValueError, match="no time is left"):
        scoring.chance_instants(0, 1_000, Interval(-5.0, 1_000.0), "file")
    luck = scoring.chance([0], [20 * NS_PER_S, 40 * NS_PER_S], 30, 300)
    assert (luck.hits, luck.n) == (1, 2)


@given(SCORES, SCORES)
def test_auc_is_the_share_of_pairs(positive: list[float], negative: list[float]) -> None:
    pairs = sum((p > q) + 0.5 * (p == q) for p in positive for q in negative)
    assert isclose(scoring.auc(positive, negative) or 0.0, pairs / (len(positive) * len(negative)))


def test_ranking_scores() -> None:
    assert scoring.auc([], [1.0]) is None
    assert scoring.brier([0.8, 0.3], [True, False]) == pytest.approx((0.04 + 0.09) / 2)
    assert scoring.brier([], []) is None
    # By hand: wanted at ranks 1 and 3: (1/1 + 2/3) / 2.
    assert scoring.average_precision([9, 8, 7], [True, False, True]) == pytest.approx(5 / 6)
    assert scoring.average_precision([9, 8, 7], [True, False, True], 4) == pytest.approx(5 / 12)
    assert scoring.average_precision([1, 1], [True, False]) == 0.5
    assert scoring.average_precision([], []) == 0.0


def test_bootstrap_of_a_mean() -> None:
    events = [float(n % 10) for n in range(400)]
    found = scoring.bootstrap(events, lambda drawn: sum(drawn) / len(drawn), "seed")
    assert found is not None
    half = 1.96 * sqrt(8.25 / 400)
    assert found == pytest.approx((4.5 - half, 4.5 + half), abs=0.06)
    assert found == scoring.bootstrap(events, lambda drawn: sum(drawn) / len(drawn), "seed")
    assert scoring.bootstrap([], len, "seed") is None
    assert scoring.bootstrap([1], lambda _: None, "seed") is None


def test_plain_json() -> None:
    found = scoring.plain({"load": scoring.rate(1, 0.0), "ci": Interval(0.5, inf)})
    assert found["load"]["high"] is None
    assert found["ci"] == [0.5, None]
