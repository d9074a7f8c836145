"""Shifted sums and z against slow, exact references."""

from math import isfinite, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.kernels.moments import Z_MAX, mean_std, shifted_sums, z_score

samples = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50)


@given(st.floats(1e-9, 1e9), st.integers(1, 5_000))
def test_equal_samples_have_exactly_no_spread(value: float, count: int) -> None:
    anchor, sum_1, sum_2 = shifted_sums([value] * count)
    assert (anchor, mean_std(count, sum_1, sum_2, 0)) == (value, (0.0, 0.0))


@given(samples)
def test_anchor_is_a_sample_within_one_deviation_of_the_mean(values: list[float]) -> None:
    anchor, sum_1, sum_2 = shifted_sums(values)
    offset, std = mean_std(len(values), sum_1, sum_2, 0)
    assert anchor in values
    assert abs(offset) <= std * (1 + 1e-9) + 1e-12


def test_population_and_sample_deviation() -> None:
    values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]
    anchor, sum_1, sum_2 = shifted_sums(values)
    assert anchor + mean_std(8, sum_1, sum_2, 0)[0] == 5.0
    assert mean_std(8, sum_1, sum_2, 0)[1] == 2.0
    assert mean_std(8, sum_1, sum_2, 1)[1] == pytest.approx(sqrt(32 / 7), rel=1e-15)


@pytest.mark.parametrize(
    ("deviation", "std", "level", "expected"),
    [
        (0.05, 0.01, 0.62, 5.0),
        (-0.05, 0.01, 0.62, -5.0),
        (0.0, 0.0, 0.62, 0.0),
        (1e-17, 0.0, 0.62, 0.0),  # a last digit is not a deviation
        (0.01, 0.0, 0.62, None),
        (0.01, 1e-14, 0.62, None),  # nor is it a spread
        (5.0, 0.0, 0.0, None),
        (1e150, 1e-150, 0.0, Z_MAX),
        (-1e150, 1e-150, 0.0, -Z_MAX),
    ],
)
def test_z(deviation: float, std: float, level: float, expected: float | None) -> None:
    assert z_score(deviation, std, level) == (
        None if expected is None else pytest.approx(expected, rel=1e-15)
    )


@given(st.floats(-2e150, 2e150), st.floats(0, 2e150), st.floats(-1e150, 1e150))
def test_z_is_finite_or_none(deviation: float, std: float, level: float) -> None:
    z = z_score(deviation, std, level)
    assert z is None or isfinite(z)
