"""Backoff and allowance as arithmetic."""

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from tapewatch.io.backoff import BASE_S, CAP_S, HEALTHY_S, Allowance, Backoff

seconds = st.floats(0, 1e4)


@given(seed=st.integers(0, 1000), failures=st.integers(1, 40), asked=st.floats(0, 600))
def test_delays_stay_between_what_was_asked_and_the_cap(
    seed: int, failures: int, asked: float
) -> None:
    backoff = Backoff(random.Random(seed))
    delays = [backoff.next_s(asked) for _ in range(failures)]
    assert all(asked <= delay <= max(CAP_S, asked) for delay in delays)
    if asked == 0:
        assert all(delay <= BASE_S * 2**n for n, delay in enumerate(delays))


def test_delays_are_spread_and_reach_the_cap() -> None:
    backoff = Backoff(random.Random(1))
    delays = [backoff.next_s() for _ in range(400)][8:]
    assert min(delays) < 0.05 * CAP_S
    assert max(delays) > 0.95 * CAP_S


def test_a_wait_that_was_asked_for_is_spread_too() -> None:
    delays = [Backoff(random.Random(seed)).next_s(30) for seed in range(50)]
    assert min(delays) < 35
    assert max(delays) > 55


def test_forgets_after_enough_health_only() -> None:
    backoff = Backoff(random.Random(1))
    for _ in range(20):
        backoff.next_s()
    backoff.worked(HEALTHY_S - 0.1)
    assert max(backoff.next_s() for _ in range(20)) > BASE_S
    backoff.worked(HEALTHY_S)
    assert backoff.next_s() <= BASE_S


@given(
    count=st.integers(1, 5),
    per_s=st.floats(0.1, 100),
    gaps=st.lists(st.floats(0, 50), min_size=1, max_size=60),
)
def test_no_window_holds_more_than_allowed(count: int, per_s: float, gaps: list[float]) -> None:
    allowance = Allowance(count, per_s)
    now, taken = 0.0, []
    for gap in gaps:
        now += gap
        taken.append(now + allowance.reserve_s(now))
    # 1 ns of rounding: the answer is a difference, the loop's clock no finer.
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(taken))
    for first, beyond in zip(taken, taken[count:], strict=False):
        assert beyond - first >= per_s - 1e-9


@given(count=st.integers(1, 5), now=seconds)
def test_the_first_ones_never_wait(count: int, now: float) -> None:
    allowance = Allowance(count, 10.0)
    assert [allowance.reserve_s(now) for _ in range(count)] == [0.0] * count
    assert allowance.reserve_s(now) > 9.99
