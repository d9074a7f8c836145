"""Calibrated tails against the laws they were drawn from."""

import math
import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapewatch.kernels.tails import (
    BINS,
    HALF_LIFE,
    READY,
    Tail,
    learn,
    learn_least,
    magnitude_at,
    p_value,
    ready,
)

Law = Callable[[random.Random], float]


def student(chance: random.Random, freedom: int) -> float:
    return abs(chance.gauss(0.0, 1.0)) / math.sqrt(chance.gammavariate(freedom / 2, 2.0) / freedom)


LAWS: dict[str, Law] = {
    "gaussian": lambda chance: abs(chance.gauss(0.0, 1.0)),
    "exponential": lambda chance: chance.expovariate(1.0),
    "student 3": lambda chance: student(chance, 3),
    "student 4": lambda chance: student(chance, 4),
}


def learnt(law: Law, count: int, seed: int = 1) -> Tail:
    chance, tail = random.Random(seed), Tail()
    for _ in range(count):
        learn(tail, law(chance))
    return tail


@pytest.mark.parametrize("name", LAWS)
def test_p_is_as_frequent_as_it_says(name: str) -> None:
    """Realised over nominal, scored before learning; 95,000 draws expect 95 at 1e-3."""
    law, hits, scored = LAWS[name], {1e-2: 0, 1e-3: 0}, 0
    for seed in range(2):
        chance, tail = random.Random(100 + seed), Tail()
        for _ in range(50_000):
            x = law(chance)
            if ready(tail):
                scored += 1
                p, _ = p_value(tail, x)
                for level in hits:
                    hits[level] += p <= level
            learn(tail, x)
    for level, count in hits.items():
        assert 0.5 <= count / (scored * level) <= 2.0, (level, count)


def test_a_gaussian_law_would_fail_on_heavy_tails() -> None:
    """What calibration is for: a fixed Gaussian p is wrong tenfold at 1e-3."""
    chance = random.Random(7)
    hits = sum(math.erfc(student(chance, 3) / math.sqrt(2.0)) <= 1e-3 for _ in range(50_000))
    assert hits > 10 * 50


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=300), st.floats(0.0, 1e6))
@settings(max_examples=50)
def test_p_is_a_probability_and_falls_with_the_magnitude(values: list[float], x: float) -> None:
    tail = Tail()
    for value in values:
        learn(tail, value)
    p, _ = p_value(tail, x)
    assert 0.0 < p <= 1.0
    edge = math.exp(tail.edge)
    if x > edge:  # within the tail the law is strictly ordered
        assert p_value(tail, 2.0 * x)[0] <= p


@pytest.mark.parametrize("name", LAWS)
@given(p=st.floats(1e-8, 1.5e-2))
@settings(max_examples=30)
def test_the_magnitude_at_a_p_has_that_p(name: str, p: float) -> None:
    tail = FITTED[name]
    found, _ = p_value(tail, magnitude_at(tail, p))
    assert found == pytest.approx(p, rel=1e-6)


FITTED = {name: learnt(law, 5_000) for name, law in LAWS.items()}


def test_before_there_is_enough_p_is_no_rarer_than_the_record() -> None:
    tail = learnt(LAWS["gaussian"], READY - 1)
    assert not ready(tail)
    p, extrapolated = p_value(tail, 1e3)
    assert extrapolated
    assert p == pytest.approx(1.0 / READY)
    learn(tail, 1.0)
    assert ready(tail)
    assert p_value(tail, 1e3)[0] < 1e-6


def test_p_says_when_it_rests_on_the_fitted_law() -> None:
    tail = FITTED["student 4"]
    assert not p_value(tail, magnitude_at(tail, 1e-2))[1]
    assert p_value(tail, magnitude_at(tail, 1e-4))[1]


def test_the_record_forgets() -> None:
    """After a few half-lives ten times larger, what was rare is usual."""
    tail = learnt(LAWS["exponential"], 20_000)
    assert p_value(tail, 20.0)[0] < 1e-6
    chance = random.Random(2)
    for _ in range(4 * HALF_LIFE):
        learn(tail, 10.0 * chance.expovariate(1.0))
    assert p_value(tail, 20.0)[0] == pytest.approx(math.exp(-2.0), rel=0.2)


def test_a_lattice_with_one_heavy_value_is_no_storm() -> None:
    """99 % zeros and ones, as on a coarse tick: the next step up is rare, not impossible. Between
    the steps there is nothing to fit, so p is only as good as a bin is wide."""
    chance, tail = random.Random(3), Tail()
    draws = [abs(round(chance.gauss(0.0, 0.6))) for _ in range(30_000)]
    for x in draws:
        learn(tail, float(x))
    share = sum(x >= 2 for x in draws) / len(draws)
    assert share / 4.0 <= p_value(tail, 2.0)[0] <= share * 4.0


def test_a_tail_survives_packing_and_its_size_is_fixed() -> None:
    tail = FITTED["gaussian"]
    packed = msgspec.msgpack.encode(tail)
    assert msgspec.msgpack.decode(packed, type=Tail) == tail
    assert len(tail.counts) == 2 * BINS
    assert len(packed) < 500


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0.02, 900.0)), min_size=1, max_size=60))
def test_least_magnitudes_at_once_are_as_good_as_one_by_one(runs: list[tuple[int, float]]) -> None:
    at_once, one_by_one = Tail(), Tail()
    for least, magnitude in runs:
        learn_least(at_once, least)
        for _ in range(least):
            learn(one_by_one, 0.0)
        learn(at_once, magnitude)
        learn(one_by_one, magnitude)
    assert at_once.counts == one_by_one.counts
    assert (at_once.total, at_once.seen) == (one_by_one.total, one_by_one.seen)


def test_a_flood_of_least_magnitudes_keeps_the_record_in_bounds() -> None:
    tail = Tail()
    learn(tail, 5.0)
    for _ in range(10):
        learn_least(tail, 10**9)
        assert tail.total < 2 * HALF_LIFE
    assert tail.seen == 10 * 10**9 + 1
    assert 0.0 < p_value(tail, 5.0)[0] < 1e-3
    learn_least(tail, 0)
    assert tail.seen == 10 * 10**9 + 1
