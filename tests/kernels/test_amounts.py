"""How rare an amount is: each account counts once, round amounts are common, memory is bounded."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.kernels.amounts import (
    AMOUNTS,
    Amounts,
    canonical,
    chance,
    first_digits,
    has_used,
    learn,
)


def market(seed: int = 1, accounts: int = 300) -> Amounts:
    """A third of the accounts use 100, the others amounts of their own."""
    random = Random(seed)
    amounts = Amounts()
    for account in range(accounts):
        own = canonical(round(random.lognormvariate(4.0, 1.0), 2))
        learn(amounts, account, 100.0 if account % 3 == 0 else own)
    return amounts


def test_common_amounts_are_common_and_unseen_ones_rare() -> None:
    amounts = market()
    assert chance(amounts, 100.0, 0.0, 2) == pytest.approx(0.36, abs=0.04)
    assert chance(amounts, 137.42, 0.0, 0) < 1e-4
    assert chance(amounts, 140.0, 0.0, 0) > 100 * chance(amounts, 137.42, 0.0, 0)


def test_nearness_is_the_density_nearby() -> None:
    amounts = market()
    near, nearer = (chance(amounts, 60.0, distance, 0) for distance in (0.02, 0.01))
    assert near == pytest.approx(2.0 * nearer)
    assert 0.004 < near < 0.03  # two thirds of a log-normal density of 0.4, times 0.04
    assert chance(amounts, 1e6, 0.01, 0) < near


def test_an_account_that_repeats_itself_adds_nothing() -> None:
    amounts = market()
    before = chance(amounts, 55.5, 0.0, 1)
    for _ in range(1_000):
        learn(amounts, 1, 55.5)
    assert has_used(amounts, 1, 55.5)
    assert not has_used(amounts, 2, 55.5)
    assert amounts.seen[55.5] == 1
    assert chance(amounts, 55.5, 0.0, 1) == pytest.approx(before, rel=0.1)


@given(
    st.lists(st.floats(0.0, 1.7e308), min_size=1, max_size=50),
    st.floats(0.0, 1.0),
    st.integers(0, 3),
)
def test_a_chance_is_a_probability(values: list[float], distance: float, users: int) -> None:
    amounts = Amounts()
    for account, value in enumerate(values):
        amount = canonical(value)
        assert 0.0 < chance(amounts, amount, distance, users) <= 1.0
        learn(amounts, account, amount)


def test_memory_is_bounded_and_keeps_what_is_common() -> None:
    random = Random(2)
    amounts = Amounts()
    for account in range(5 * AMOUNTS):
        own = canonical(round(random.lognormvariate(4.0, 2.0), 4))
        learn(amounts, account, 100.0 if account % 3 == 0 else own)
    assert len(amounts.seen) <= AMOUNTS
    assert amounts.total == sum(amounts.bins.values())
    assert chance(amounts, 100.0, 0.0, 0) > 0.15


def test_first_digits_speak_of_whole_markets_only() -> None:
    random = Random(3)
    natural, drawn = Amounts(), Amounts()
    for account in range(999):
        learn(natural, account, canonical(10 ** random.uniform(0.0, 3.0)))
    assert first_digits(natural) is None
    for account in range(2_000):
        learn(natural, account, canonical(10 ** random.uniform(0.0, 3.0)))
        learn(drawn, account, canonical(float(random.randint(1, 999))))
    assert first_digits(natural) < 3.0
    assert first_digits(drawn) > 20.0
    narrow = Amounts()
    for account in range(2_000):
        learn(narrow, account, canonical(random.uniform(1.0, 9.0)))
    assert first_digits(narrow) is None  # less than two decades
