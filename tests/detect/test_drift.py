"""`drift`: what no single step shows, and silence where nothing goes anywhere."""

import csv
import pathlib
from itertools import pairwise
from math import exp
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from price_tapes import COIN, ODDS, sample, told, walk

from tapewatch.detect.base import LINE
from tapewatch.detect.drift import BLOCK, PAIRS, Drift, DriftState
from tapewatch.kernels.prices import micro
from tapewatch.kernels.tails import READY
from tapewatch.model.outputs import Observation

FREE = Drift(min_bps=0.0, min_spreads=0.0, min_points=0.0)
DAY = 17_280  # samples
READY_AT = 8_000  # samples, by when the record has its 2,000 excursions


def drifting(step: float, seed: int, most: int = 2_000) -> int | None:
    """Samples until it is told that the price moves `step` sd a sample, after half a day."""
    random, state, x = Random(seed), FREE.start(COIN), 0.0
    for index in range(READY_AT + most):
        x += 1e-4 * (random.gauss(0.0, 1.0) + (step if index >= READY_AT else 0.0))
        seen = FREE.update(state, sample(index, 100.0 * exp(x)))
        if seen is not None and seen.score >= LINE and index >= READY_AT:
            assert seen.kind == ("up" if step > 0.0 else "down")
            return index - READY_AT + 1
    return None


def test_a_drift_is_found_in_the_time_that_arithmetic_says() -> None:
    """(h / (drift - k)) of the fastest pair, within a third."""
    for step, limit in ((0.5, 110), (1.0, 40), (2.0, 20), (-1.0, 40)):
        delays = sorted(drifting(step, seed) or 10**6 for seed in range(5))
        assert delays[2] <= limit


def test_a_walk_that_hugs_the_threshold_of_jumps_is_a_drift() -> None:
    """Steps of three sd: each too small for `price_jump` at its line, twenty are not."""
    delays = [drifting(3.0, seed) for seed in range(5)]
    assert all(delay is not None and delay <= 20 for delay in delays)


def test_less_than_one_alarm_a_day_where_nothing_drifts() -> None:
    seen = list(told(FREE, (sample(n, p) for n, p in enumerate(walk(5 * DAY)))))
    assert sum(one.score >= LINE and not one.low_confidence for one in seen) <= 5


def hugging(random: Random) -> list[float]:
    """A price around 0.62 for forty minutes; then somebody walks it up by 0.30 in 68 minutes, a
    little more each minute, so that mean and spread of the last hour grow along."""
    prices = [0.62 + random.choice((-0.01, 0.0, 0.01)) for _ in range(480)]
    knots = ((0, 0.0), (192, 0.01), (480, 0.05), (612, 0.10), (816, 0.30))
    for (start, low), (end, high) in pairwise(knots):
        for at in range(start, end):
            middle = 0.62 + low + (high - low) * (at - start) / (end - start)
            prices.append(round(middle + random.choice((-0.01, 0.0, 0.01)), 2))
    return prices


def test_a_price_that_is_walked_up_by_thirty_points_is_noticed() -> None:
    """... before it has gone four fifths of the way, although its jitter is twenty times a step."""
    detector, moves = Drift(), []
    for seed in range(10):
        tape = [sample(n, p, ODDS, tick=0.01) for n, p in enumerate(hugging(Random(seed)))]
        seen = [one for one in told(detector, tape) if one.score >= LINE and one.material]
        assert seen
        assert seen[0].deviation is not None
        assert seen[0].deviation_unit == "points"
        assert seen[0].observed is not None
        moves.append(seen[0].observed - 0.62)
    assert sorted(moves)[5] <= 0.23
    assert max(moves) <= 0.30


def test_a_price_that_only_jitters_is_no_drift() -> None:
    random = Random(7)
    tape = (
        sample(n, 0.62 + random.choice((-0.01, 0.0, 0.01)), ODDS, tick=0.01) for n in range(2 * DAY)
    )
    assert not [one for one in told(Drift(), tape) if one.score >= LINE]


def first_alarm(detector: Drift, prices: list[float]) -> Observation:
    tape = (sample(n, p) for n, p in enumerate(prices))
    return next(one for one in told(detector, tape) if one.score >= LINE and not one.low_confidence)


def test_it_explains_itself() -> None:
    prices = walk(READY_AT)
    prices += [prices[-1] * exp(1e-4 * at) for at in range(1, 200)]
    seen = first_alarm(FREE, prices)
    assert seen.cause == "drift"
    assert seen.severity == "warn"
    assert seen.observed is not None
    assert seen.expected is not None
    assert seen.flip is not None
    assert seen.expected < seen.flip <= seen.observed
    assert seen.onset_ns < seen.ts_event
    assert len(seen.contributions) == len(PAIRS)
    assert seen.baseline_count > READY
    assert "drifts up" in seen.reason


def test_what_is_small_is_not_material() -> None:
    prices = walk(READY_AT)
    prices += [prices[-1] * exp(1e-4 * at) for at in range(1, 200)]
    assert first_alarm(Drift(min_bps=10.0, min_spreads=0.0), prices).material
    assert not first_alarm(Drift(min_bps=500.0, min_spreads=0.0), prices).material
    spread = [{"bid": p * 0.99, "ask": p * 1.01} for p in prices]
    tape = (sample(n, p, **both) for n, (p, both) in enumerate(zip(prices, spread, strict=True)))
    found = [one for one in told(Drift(min_bps=10.0, min_spreads=1.0), tape) if one.material]
    assert not found


def test_silence_lets_the_sums_sink() -> None:
    state = FREE.start(COIN)
    prices = [100.0 * exp(1e-4 * (at + (at % 2))) for at in range(90)]
    for index, price in enumerate(prices):
        FREE.update(state, sample(index, price))
    high = state.sums[0]
    assert high > 0.0
    FREE.update(state, sample(90, prices[-1], idle_ns=30 * 5_000_000_000))
    assert state.sums[0] == pytest.approx(max(0.0, high - 31 * PAIRS[0][0]), abs=0.01)


def test_bars_after_samples_begin_anew() -> None:
    state = FREE.start(COIN)
    for index, price in enumerate(walk(300)):
        FREE.update(state, sample(index, price))
    bar = msgspec.structs.replace(sample(300, 100.0), interval_ns=60_000_000_000)
    assert FREE.update(state, bar) is None
    assert state.sums == [0.0] * 6
    assert state.track.scales.steps == 1


def test_of_bars_it_is_only_an_info() -> None:
    prices = walk(READY_AT)
    prices += [prices[-1] * exp(1e-4 * at) for at in range(1, 200)]
    minute = 60_000_000_000
    bars = (
        msgspec.structs.replace(sample(0, p), interval_ns=minute, ts_event=n * minute, idle_ns=0)
        for n, p in enumerate(prices, 1)
    )
    seen = [one for one in told(FREE, bars) if one.score >= LINE]
    assert seen
    assert {one.severity for one in seen} == {"info"}


@given(st.integers(0, 100), st.sampled_from((0.25, 2.0, 4096.0)))
@settings(max_examples=5)
def test_the_unit_of_prices_does_not_matter(seed: int, factor: float) -> None:
    prices = walk(400, seed)
    prices += [prices[-1] * exp(3e-4 * at) for at in range(1, 60)]
    plain, scaled = (
        list(told(FREE, (sample(n, by * p) for n, p in enumerate(prices)))) for by in (1.0, factor)
    )
    assert plain
    assert [one.score for one in plain] == pytest.approx([one.score for one in scaled], rel=1e-6)


@given(st.integers(0, 100))
@settings(max_examples=5)
def test_a_state_may_be_packed_at_any_moment(seed: int) -> None:
    plain, packed = FREE.start(COIN), FREE.start(COIN)
    for index, price in enumerate(walk(5 * BLOCK, seed, sd=1e-3)):
        event = sample(index, price)
        packed = msgspec.msgpack.decode(msgspec.msgpack.encode(packed), type=DriftState)
        assert FREE.update(plain, event) == FREE.update(packed, event)


def test_a_real_hour_of_four_per_cent_is_quiet(shared_data: pathlib.Path) -> None:
    path = shared_data / "kraken_trades/kraken_btcusd_20190701_00h.csv"
    detector, state, slot, bid, ask = Drift(), Drift().start(COIN), -1, 0.0, 0.0
    with path.open() as file:
        for row in csv.DictReader(file):
            at = (int(row["ts_ms"]) - 1_561_939_200_000) // 5_000
            if at != slot and bid:
                price = (bid * ask) ** 0.5
                seen = detector.update(state, sample(slot, price, bid=bid, ask=ask, tick=0.1))
                assert seen is None or not (seen.material and seen.score >= LINE)
            slot = at
            bid, ask = micro(bid, ask, float(row["price"]), row["side"])
