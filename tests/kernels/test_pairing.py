"""Evidence of meetings: by chance it gains nothing, and it costs what was searched."""

from math import comb, log10

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.kernels.pairing import CHANCE, choices, closeness, decades


def test_a_coincidence_is_worth_nothing_on_average() -> None:
    """The e-value of a uniform p has mean 1; in ln p, for it is steep near 0."""
    steps, total = 200_000, 0.0
    low, high = log10(1e-12), log10(CHANCE)
    for index in range(steps):
        p = 10 ** (low + (high - low) * (index + 0.5) / steps)
        total += 10 ** decades(p) * p * 2.302585 * (high - low) / steps
    assert 0.80 < total <= 1.0  # the mass below 1e-9 is given away


def test_rarer_is_worth_more() -> None:
    worth = [decades(p) for p in (0.05, 0.01, 1e-3, 1e-6, 1e-9)]
    assert worth == sorted(worth)
    assert worth[-1] - worth[0] > 5.0
    assert decades(0.0) == decades(1e-9)  # nothing is believed to be rarer


@given(st.integers(1, 60), st.floats(0.001, 0.9), st.integers(1, 3))
def test_by_chance_evidence_has_a_mean_of_at_most_one(
    trials: int, share: float, partners: int
) -> None:
    """A member that meets the `partners` others by chance, `share` of the time each."""
    share /= partners
    inside = share * partners
    mean = sum(
        comb(trials, hits)
        * inside**hits
        * (1.0 - inside) ** (trials - hits)
        * 10 ** closeness(hits, -hits * log10(share), trials, partners)
        for hits in range(trials + 1)
    )
    assert mean <= 1.0 + 1e-9


def test_trades_with_outsiders_count_against_a_ring() -> None:
    worth = [closeness(5, 10.0, trials, 1) for trials in (5, 10, 50, 500)]
    assert worth == sorted(worth, reverse=True)
    assert worth[0] > 9.0 > worth[-1]
    with pytest.raises(AssertionError):
        closeness(6, 1.0, 5, 1)


@given(st.integers(1, 300), st.integers(0, 8))
def test_a_search_costs_the_number_of_sets(accounts: int, members: int) -> None:
    assert choices(accounts, members) == pytest.approx(
        log10(comb(accounts, members)) if members < accounts else 0.0, abs=1e-9
    )
