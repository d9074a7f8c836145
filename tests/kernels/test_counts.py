"""Tails of the negative binomial law against exact sums, and its moments against definitions."""

from math import exp, fsum, lgamma, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.kernels.counts import (
    SIZE_LEAST,
    SIZE_MOST,
    beta_share,
    count_step,
    empty_steps,
    negbin_size,
    negbin_tails,
)

means = st.floats(1e-3, 300.0)
sizes = st.floats(SIZE_LEAST, 1e3)


def mass(count: int, mean: float, size: float) -> float:
    """P(X = count) by its definition."""
    choose = lgamma(count + size) - lgamma(size) - lgamma(count + 1.0)
    return exp(choose + size * log(size / (size + mean)) + count * log(mean / (size + mean)))


def upper_sum(count: int, mean: float, size: float) -> float:
    """P(X >= count), summed until nothing is added any more."""
    term, total, k = mass(count, mean, size), 0.0, count
    while k < mean or term > 1e-17 * total:
        total += term
        term *= (k + size) / (k + 1.0) * mean / (size + mean)
        k += 1
    return total


@given(means, sizes, st.integers(0, 400))
def test_both_tails_are_the_exact_sums(mean: float, size: float, count: int) -> None:
    lower, upper = negbin_tails(float(count), mean, size)
    assert lower == pytest.approx(
        fsum(mass(k, mean, size) for k in range(count + 1)), rel=1e-8, abs=1e-250
    )
    assert upper == pytest.approx(upper_sum(count, mean, size), rel=1e-8, abs=1e-250)


def test_worked_numbers() -> None:
    # Size 1 is the geometric law: P(X >= k) = (mean / (1 + mean))^k.
    lower, upper = negbin_tails(3.0, 1.0, 1.0)
    assert upper == pytest.approx(0.125)
    assert lower == pytest.approx(1.0 - 0.0625)
    assert negbin_tails(40.0, 1.0, 1.0)[1] == pytest.approx(0.5**40)
    # A very large size is Poisson's law: P(X >= 2) = 1 - 2 / e at mean 1.
    assert negbin_tails(2.0, 1.0, SIZE_MOST)[1] == pytest.approx(1.0 - 2.0 / exp(1.0), rel=1e-5)
    assert negbin_tails(0.0, 5.0, 2.0)[1] == 1.0


@given(means, sizes, st.integers(1, 300))
def test_summing_and_the_fraction_agree(mean: float, size: float, count: int) -> None:
    """Small counts are summed; half a count more or less, for which there is no sum, must fit."""
    _, upper = negbin_tails(float(count), mean, size)
    above, below = (negbin_tails(count + step, mean, size)[1] for step in (-0.5, 0.5))
    assert above >= upper * (1.0 - 1e-9)
    assert below <= upper * (1.0 + 1e-9)


@given(st.floats(0.1, 500.0), st.floats(0.1, 500.0), st.floats(1e-6, 1.0 - 1e-6))
def test_the_beta_share_and_its_mirror_add_up(a: float, b: float, x: float) -> None:
    assert beta_share(a, b, x, 1.0 - x) + beta_share(b, a, 1.0 - x, x) == pytest.approx(1.0)


def test_the_beta_share_at_its_ends() -> None:
    assert beta_share(2.0, 3.0, 0.0, 1.0) == 0.0
    assert beta_share(2.0, 3.0, 1.0, 0.0) == 1.0
    assert beta_share(2.0, 1.0, 0.5, 0.5) == pytest.approx(0.25)  # I_x(2, 1) = x^2


def test_size_from_moments() -> None:
    assert negbin_size(8.0, 4.0) == 0.5
    assert negbin_size(0.0, 4.0) == SIZE_MOST  # Poisson
    assert negbin_size(-1.0, 4.0) == SIZE_MOST  # less scatter than Poisson
    assert negbin_size(1e9, 4.0) == SIZE_LEAST


@given(st.floats(0.0, 50.0), st.floats(0.0, 100.0), st.floats(-10.0, 100.0), st.integers(1, 400))
def test_empty_stretches_in_closed_form(
    mean: float, square: float, scatter: float, steps: int
) -> None:
    kept = 0.99
    expected = (mean, square, scatter)
    for _ in range(steps):
        expected = count_step(*expected, 0.0, expected[0], kept)
    assert empty_steps(mean, square, scatter, kept, float(steps)) == pytest.approx(
        expected, rel=1e-9, abs=1e-9
    )
