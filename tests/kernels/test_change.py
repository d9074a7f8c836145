"""Cumulative sums, and Student's t with four degrees of freedom."""

from math import isclose, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.kernels.change import CUSUM_CLIP, cusum, student_4, student_4_at


@given(st.lists(st.floats(-10.0, 10.0), max_size=50), st.sampled_from((0.1, 0.25, 0.5)))
def test_it_is_the_largest_sum_of_any_stretch_that_ends_now(zs: list[float], slack: float) -> None:
    """The definition, by brute force (Page 1954)."""
    up = down = 0.0
    for z in zs:
        up, down = cusum(up, down, z, slack)
    clipped = [min(max(z, -CUSUM_CLIP), CUSUM_CLIP) for z in zs]
    ends = range(len(zs) + 1)
    assert isclose(up, max(sum(z - slack for z in clipped[at:]) for at in ends), abs_tol=1e-9)
    assert isclose(down, max(sum(-z - slack for z in clipped[at:]) for at in ends), abs_tol=1e-9)


@given(st.floats(0.0, 50.0), st.floats(0.0, 50.0), st.floats(-10.0, 10.0))
def test_the_sides_are_mirrors(up: float, down: float, z: float) -> None:
    assert cusum(up, down, z, 0.1) == cusum(down, up, -z, 0.1)[::-1]


def test_one_wild_move_counts_as_four() -> None:
    assert cusum(1.0, 1.0, 1e9, 0.25) == (4.75, 0.0)


# Two-sided points of the t table with 4 degrees of freedom.
@pytest.mark.parametrize(("z", "p"), [(2.132, 0.1), (2.776, 0.05), (4.604, 0.01), (8.610, 0.001)])
def test_the_table(z: float, p: float) -> None:
    assert student_4(z) == pytest.approx(p, rel=1e-3)


def test_it_is_the_integral_of_its_density() -> None:
    def density(t: float) -> float:
        return 0.375 * (1.0 + t * t / 4.0) ** -2.5

    width, total = 1e-3, 0.0
    for step in range(3_000):
        total += width * density((step + 0.5) * width)
    assert student_4(3.0) == pytest.approx(1.0 - 2.0 * total, rel=1e-5)


def test_far_out_it_keeps_its_digits() -> None:
    """Its density is 12 z^-5 there."""
    assert student_4(0.0) == 1.0
    assert student_4(1e6) == pytest.approx(6e-24, rel=1e-6)
    assert student_4(sqrt(1e300)) >= 0.0


@given(st.floats(1e-12, 0.999))
def test_the_inverse(p: float) -> None:
    assert student_4(student_4_at(p)) == pytest.approx(p, rel=1e-6)
