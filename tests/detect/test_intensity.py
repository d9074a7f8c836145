"""`intensity`: its probabilities on tapes of known law, bursts, lulls, what must not move it."""

import pathlib
from collections import Counter
from math import cos, exp, pi

import pytest
from flow_tapes import (
    KEY,
    REAL,
    SLICE_NS,
    START,
    alarms,
    counted,
    drive,
    packed_size,
    real_samples,
    sample,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tapewatch.detect.intensity import Intensity, _edge
from tapewatch.kernels.counts import SIZE_MOST, negbin_tails
from tapewatch.model.events import Sample
from tapewatch.model.time import NS_PER_S

DAY = 86_400 * NS_PER_S
RATE, SHAPE, WAVE = 2.0, 1.5, 0.7
FIRST = START - START % SLICE_NS


def busy(slices: int, orders: int = 40) -> list[Sample]:
    """A market with about as many orders in every slice."""
    return [
        sample(FIRST + i * SLICE_NS, orders + i * 7919 % 13 - 6, FIRST + (i - 1) * SLICE_NS)
        for i in range(1, slices + 1)
    ]


def after(tape: list[Sample], orders: int) -> Sample:
    last = tape[-1].ts_event
    return sample(last + SLICE_NS, orders, last)


def test_p_is_calibrated_where_poisson_fails() -> None:
    """Four days of gamma-mixed Poisson counts with a daily wave; the first half day is warm-up."""
    detector, skipped, slices = Intensity(), 8_640, 69_120
    state = detector.start(KEY)
    ours, poisson = Counter[float](), Counter[float]()
    for one in counted(slices, RATE, shape=SHAPE, day=WAVE):
        found = detector.update(state, one)
        if (one.ts_event - FIRST) // SLICE_NS <= skipped:
            continue
        wave = exp(WAVE * cos(2.0 * pi * (one.ts_event % DAY) / DAY))
        naive = negbin_tails(float(one.orders), RATE * wave, SIZE_MOST)[1]
        for level in (1e-2, 1e-3):
            ours[level] += found is not None and found.p is not None and found.p <= level
            poisson[level] += naive <= level
    for level in (1e-2, 1e-3):
        nominal = level * (slices - skipped)
        assert 0.5 <= ours[level] / nominal <= 2.0
        assert poisson[level] / nominal > 5.0  # although it knows the true mean of the hour


def test_a_burst_is_told_with_its_reasons() -> None:
    tape = busy(3_000)
    seen = drive(Intensity(), [*tape, after(tape, 400)])
    ((at, one),) = alarms(seen)
    assert at == tape[-1].ts_event + SLICE_NS
    assert (one.cause, one.kind, one.severity, one.unit) == (
        "intensity", "burst", "warn", "orders in 5 s",
    )  # fmt: skip
    assert one.expected == pytest.approx(40.0, abs=2.0)
    assert one.deviation == pytest.approx(360.0, abs=2.0)
    assert one.flip is not None
    assert 40.0 < one.flip < 400.0
    assert one.reason == "400 orders in 5 s, usual are 40"


def test_the_flip_point_flips() -> None:
    tape = busy(3_000)
    ((_, one),) = alarms(drive(Intensity(), [*tape, after(tape, 400)]))
    assert one.flip is not None
    below, above = int(one.flip) - 1, int(one.flip) + 2
    assert not alarms(drive(Intensity(), [*tape, after(tape, below)]))
    assert alarms(drive(Intensity(), [*tape, after(tape, above)]))


def test_a_lull_is_told() -> None:
    tape = busy(3_000)
    ((_, one),) = alarms(drive(Intensity(), [*tape, after(tape, 3)]))
    assert one.kind == "lull"
    assert one.sigma is not None
    assert one.sigma < 0.0
    assert one.flip is not None
    assert 3.0 < one.flip < 40.0


def test_in_a_thin_market_a_burst_is_a_note() -> None:
    tape = list(counted(40_000, 0.1, shape=1.0))
    seen = drive(Intensity(), [*tape, after(tape, 60)])
    last = seen[-1][1]
    assert last.score >= last.line
    assert last.material
    assert last.severity == "info"
    assert not alarms(seen)


def test_small_bursts_do_not_matter() -> None:
    tape = list(counted(40_000, 0.1, shape=1.0))
    seen = drive(Intensity(), [*tape, after(tape, 15)])
    assert seen[-1][1].score >= seen[-1][1].line
    assert not seen[-1][1].material


def test_before_there_is_a_record_nothing_is_ready() -> None:
    tape = busy(300)
    seen = drive(Intensity(), [*tape, after(tape, 4_000)])
    assert not any(one.ready for _, one in seen)


def test_the_time_of_day_is_learnt() -> None:
    """A busy half-hour at the same time each day: a surprise at first, usual on the fifth day."""
    tape, closed = [], 0
    for index in range(5 * 17_280 + 1):
        end = FIRST + index * SLICE_NS
        noon = (end % DAY) // (1800 * NS_PER_S) == 24
        closed, before = end, closed
        tape.append(sample(end, (60 if noon else 6) + index * 7919 % 3, before))
    state, detector = Intensity().start(KEY), Intensity()
    surprises = Counter[int]()
    for one in tape:
        found = detector.update(state, one)
        if found is not None and found.score >= 2.5:
            surprises[(one.ts_event - FIRST) // DAY] += 1
    assert surprises[0] + surprises[1] > 10
    assert surprises[4] < surprises[1] / 3


def test_empty_time_costs_nothing_and_counts() -> None:
    """Ten hours without a trade halve the expected count ten times, in one step."""
    detector = Intensity()
    state = detector.start(KEY)
    tape = busy(3_000)
    for one in tape:
        detector.update(state, one)
    later = tape[-1].ts_event + 36_000 * NS_PER_S
    seen = detector.update(state, sample(later, 41, tape[-1].ts_event))
    assert seen is None or seen.expected is not None
    assert state.mean / state.known < 0.2


def test_bars_are_counted_where_they_can_be() -> None:
    detector = Intensity()
    minute = 60 * NS_PER_S
    unknown = sample(FIRST, -1, interval_ns=minute, trades=-1)
    assert detector.update(detector.start(KEY), unknown) is None
    state = detector.start(KEY)
    seen = None
    for index in range(1, 3_000):
        trades = 40 + index * 7919 % 13 if index < 2_999 else 2_000
        bar = sample(FIRST + index * minute, -1, interval_ns=minute, trades=trades)
        seen = detector.update(state, bar)
    assert seen is not None
    assert seen.unit == "trades in 60 s"
    assert seen.ready
    assert seen.score >= seen.line


@settings(max_examples=10)
@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_prices_and_amounts_do_not_matter(price: float, amount: float) -> None:
    tape = [*busy(2_200), after(busy(2_200), 300)]
    scaled = [
        replace(one, price=one.price * price, volume=one.volume * amount, bought=0.0)
        for one in tape
    ]
    assert drive(Intensity(), scaled) == drive(Intensity(), tape)


def test_its_memory_is_small() -> None:
    detector = Intensity()
    state = detector.start(KEY)
    for one in busy(20_000):
        detector.update(state, one)
    assert packed_size(state) < 1_000


def test_p_is_calibrated_on_quiet_real_tape(shared_data: pathlib.Path) -> None:
    """Small coins before anything was announced: all five-second slices, empty ones included."""
    hits, slices = Counter[float](), 0.0
    for stem in REAL:
        detector = Intensity()
        state = detector.start(KEY)
        for one in real_samples(shared_data / "pumps", stem):
            before = state.tail.seen
            found = detector.update(state, one)
            if before >= 2_000:
                slices += 1.0 + max(one.idle_ns, 0) / SLICE_NS
                for level in (1e-2, 1e-3):
                    hits[level] += found is not None and found.p is not None and found.p <= level
    assert slices > 50_000
    for level in (1e-2, 1e-3):
        assert 0.5 <= hits[level] / (level * slices) <= 2.0


def test_a_market_that_has_never_been_active_has_a_flip_point_all_the_same() -> None:
    state = Intensity().start("a:b")
    state.active, state.active_known = 0.0, 5.0
    assert _edge(state, (10.0, 1.0, 2.0), up=True) > 1.0
