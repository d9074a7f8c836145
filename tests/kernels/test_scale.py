"""The robust scale against its definition, and against masking."""

import random
from math import log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.kernels.scale import CLIP, WEIGHTS, log_odds, scale, scale_step

POSITIVE = st.floats(1e-9, 1e6)


@given(POSITIVE, POSITIVE, POSITIVE, POSITIVE)
def test_the_scale_is_the_weighted_root(a: float, b: float, c: float, floor: float) -> None:
    expected = sum(w * v for w, v in zip(WEIGHTS, (a, b, c), strict=True)) + floor**2
    assert scale(a, b, c, floor) == pytest.approx(sqrt(expected))
    assert scale(a, b, c, floor) >= floor


@given(POSITIVE, st.floats(-1e9, 1e9), POSITIVE, st.floats(0.0, 1.0))
def test_one_innovation_moves_a_variance_by_a_bounded_fraction(
    variance: float, innovation: float, floor: float, kept: float
) -> None:
    after = scale_step(variance, innovation, floor, kept)
    most = (1.0 - kept) * CLIP**2 * (variance + floor**2)
    assert kept * variance * (1 - 1e-12) <= after <= (kept * variance + most) * (1 + 1e-12)


@given(POSITIVE, st.floats(-1e3, 1e3), POSITIVE, st.floats(0.0, 1.0), st.floats(0.1, 10.0))
def test_the_unit_does_not_matter(v: float, r: float, f: float, kept: float, k: float) -> None:
    assert scale_step(k * k * v, k * r, k * f, kept) == pytest.approx(
        k * k * scale_step(v, r, f, kept), rel=1e-9
    )


def test_it_finds_the_standard_deviation_of_a_gaussian() -> None:
    chance, variance = random.Random(1), 1.0
    kept = 0.5 ** (1 / 2_000)
    for _ in range(20_000):
        variance = scale_step(variance, chance.gauss(0.0, 3.0), 1e-6, kept)
    assert sqrt(variance) == pytest.approx(3.0, rel=0.05)


def test_a_bad_print_does_not_hide_the_next() -> None:
    kept, variance = 0.5 ** (5 / 300), 1.0
    bad = scale_step(variance, 1e6, 0.1, kept)
    assert sqrt(bad) < 1.1  # without the clip it would be above 100,000


def test_log_odds_are_those_of_a_probability_kept_off_the_ends() -> None:
    assert log_odds(0.5, 0.01) == 0.0
    assert log_odds(0.91, 0.01) == pytest.approx(log(0.91 / 0.09))
    assert log_odds(0.0, 0.01) == pytest.approx(-log_odds(1.0, 0.01))
    assert log_odds(0.0, 0.01) == pytest.approx(log(0.005 / 0.995))
