"""The rolling window against a slow reference that recomputes everything, exactly, each time."""

from fractions import Fraction
from math import sqrt
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tapewatch.kernels.moments import SAMPLE_MAX
from tapewatch.kernels.windows import Window, count, expire, push, spread


def reference(values: list[float]) -> tuple[float, float]:
    """Mean and population std in rational arithmetic, rounded once."""
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    return float(mean), sqrt(sum((x - mean) ** 2 for x in exact) / len(exact))


def hard_samples(random: Random, size: int) -> list[float]:
    """A walk far from zero with flat stretches, huge outliers, level shifts and tiny moves."""
    values, level = [], 87_000.0
    for index in range(size):
        regime = index // 5_000 % 4
        if regime == 0:
            level += random.gauss(0.0, 0.5)
        elif regime == 1 and random.random() < 0.001:
            level *= random.choice((0.5, 2.0))
        elif regime == 2:
            level = round(level + random.choice((-0.1, 0.0, 0.0, 0.1)), 1)
        value = level
        if random.random() < 0.001:
            value *= 10.0 ** random.uniform(1, 6)
        values.append(value)
    return values


def test_no_drift_over_a_hundred_thousand_samples() -> None:
    window, length = Window(), 200
    values = hard_samples(Random(5), 100_000)
    for at, value in enumerate(values):
        push(window, at, value)
        expire(window, at - length + 1)
        anchor, offset, std = spread(window, 0)  # every time, as the detector does
        if at % 97 == 0:
            inside = values[max(0, at - length + 1) : at + 1]
            mean, exact_std = reference(inside)
            assert count(window) == len(inside)
            assert abs(std - exact_std) <= 1e-12 * exact_std
            assert abs((anchor - mean) + offset) <= 1e-12 * max(exact_std, abs(mean) * 1e-3)


def test_constant_price_has_exactly_zero_spread_also_after_another_level() -> None:
    window = Window()
    for at in range(1_000):
        push(window, at, 0.91 if at < 100 else 0.62)
        expire(window, at - 299)
    assert spread(window, 0) == (0.62, 0.0, 0.0)


def test_an_outlier_that_left_leaves_no_trace() -> None:
    window = Window()
    values = [1.0 + 0.001 * (at % 7) for at in range(400)]
    values[50] = SAMPLE_MAX
    for at, value in enumerate(values):
        push(window, at, value)
        expire(window, at - 99)
        _, _, std = spread(window, 0)
    assert abs(std - reference(values[-100:])[1]) <= 1e-15


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.floats(-SAMPLE_MAX, SAMPLE_MAX)), min_size=1, max_size=200
    ),
    st.integers(1, 50),
)
def test_any_samples_any_times(steps: list[tuple[int, float]], length: int) -> None:
    window, now = Window(), 0
    kept: list[tuple[int, float]] = []
    for step, value in steps:
        now += step
        expire(window, now - length)
        push(window, now, value)
        kept = [(at, x) for at, x in kept if at >= now - length] + [(now, value)]
        window = msgspec.msgpack.decode(msgspec.msgpack.encode(window), type=Window)
        _, _, std = spread(window, 0)
        assert window.values[window.head :] == [x for _, x in kept]
        assert 0.0 <= std <= 2 * SAMPLE_MAX


def test_removed_samples_do_not_pile_up() -> None:
    window = Window()
    for at in range(10_000):
        push(window, at, float(at % 3))
        expire(window, at - 9)
        assert len(window.values) < 300
    assert count(window) == 10
