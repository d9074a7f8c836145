"""`volume`: amounts given the number of orders, and what must not be taken for an amount."""

import pathlib
from collections import Counter
from math import exp
from random import Random
from typing import Any

import pytest
from flow_tapes import KEY, REAL, SLICE_NS, START, alarms, drive, packed_size, real_samples, sample
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tapewatch.detect.volume import Volume
from tapewatch.model.events import Sample
from tapewatch.model.outputs import Observation
from tapewatch.model.time import NS_PER_S

FIRST = START - START % SLICE_NS


def lognormal(slices: int, orders: int = 10, spread: float = 1.0, seed: int = 1) -> list[Sample]:
    """About `orders` orders a slice, their amounts lognormal around 100."""
    random, tape = Random(seed), []
    for index in range(1, slices + 1):
        count = random.randint(1, 2 * orders - 1)
        amounts = [100.0 * exp(random.gauss(0.0, spread)) for _ in range(count)]
        end = FIRST + index * SLICE_NS
        more = {"largest": max(amounts), "volume": sum(amounts)}
        tape.append(sample(end, count, end - SLICE_NS, **more))
    return tape


def after(tape: list[Sample], **more: float) -> Sample:
    last = tape[-1].ts_event
    return replace(sample(last + SLICE_NS, 10, last), **more)


TAPE = lognormal(5_000)


def test_p_is_calibrated_for_each_kind() -> None:
    tape, hits = lognormal(30_000, seed=2), Counter[tuple[str, float]]()
    detector = Volume()
    state = detector.start(KEY)
    for index, one in enumerate(tape):
        found = detector.update(state, one)
        if index >= 5_000 and found is not None and found.p is not None:
            for level in (1e-2, 1e-3):
                hits[found.kind, level] += found.p <= level
    # Largest order and volume of a slice go together, and only the rarer of the two is told.
    large = {lv: hits["large order", lv] + hits["large volume", lv] for lv in (1e-2, 1e-3)}
    for level in (1e-2, 1e-3):
        assert 0.5 <= hits["small volume", level] / (level * 25_000) <= 2.0
        assert 1.0 <= large[level] / (level * 25_000) <= 4.0


def test_one_huge_order_is_told_with_its_reasons() -> None:
    huge = after(TAPE, largest=2e6, volume=2e6 + 900.0)
    ((_, one),) = alarms(drive(Volume(), [*TAPE, huge]))
    assert (one.cause, one.severity, one.unit) == ("volume", "warn", "quote")
    assert one.kind in ("large order", "large volume")
    assert one.observed is not None
    assert one.observed >= 2e6
    assert one.expected is not None
    assert 100.0 < one.expected < 3_000.0
    assert one.flip is not None
    assert one.expected < one.flip < one.observed
    assert "times the expected" in one.reason


def test_a_hundred_ordinary_orders_are_no_volume() -> None:
    crowd = after(TAPE, largest=700.0, volume=16_000.0)
    assert not alarms(drive(Volume(), [*TAPE, replace(crowd, orders=100, trades=100)]))


def test_many_orders_of_dust_do_not_blind_it() -> None:
    """Beside ten thousand tiny orders a minute, one huge order is still huge."""
    start = TAPE[-1].ts_event
    dust = [
        replace(one, ts_event=one.ts_event - FIRST + start, orders=833, trades=833)
        for one in lognormal(12, seed=9)
    ]
    huge = after(dust, largest=2e6, volume=2e6 + 900.0)
    seen = alarms(drive(Volume(), [*TAPE, *dust, replace(huge, orders=833, trades=833)]))
    assert [one.ts_event for _, one in seen] == [huge.ts_event]


def test_little_volume_is_never_more_than_a_note() -> None:
    seen = drive(Volume(), [*TAPE, after(TAPE, largest=1e-6, volume=1e-6)])
    assert seen[-1][1].kind == "small volume"
    assert seen[-1][1].score >= seen[-1][1].line
    assert not alarms(seen)


def test_in_a_thin_market_volume_is_a_note() -> None:
    thin = lognormal(6_000, orders=1)
    seen = drive(Volume(), [*thin, after(thin, largest=2e6, volume=2e6, orders=1, trades=1)])
    assert seen[-1][1].material
    assert seen[-1][1].severity == "info"


def test_bars_are_judged_by_volume_alone() -> None:
    minute = 60 * NS_PER_S
    unknown = {"orders": -1, "trades": -1, "largest": -1.0, "bought": -1.0, "sold": -1.0}
    bars = [
        replace(one, interval_ns=minute, ts_event=FIRST + i * minute, volume=one.largest, **unknown)
        for i, one in enumerate(TAPE)
    ]
    huge = replace(bars[-1], ts_event=bars[-1].ts_event + minute, volume=3e6)
    seen = drive(Volume(), [*bars, huge])
    assert {one.kind for _, one in seen} <= {"large volume", "small volume"}
    assert seen[-1][1].kind == "large volume"
    assert seen[-1][1].score >= seen[-1][1].line
    assert seen[-1][1].severity == "info"


def test_slices_without_trades_are_passed_over() -> None:
    detector = Volume()
    state = detector.start(KEY)
    assert detector.update(state, sample(FIRST, 0, volume=0.0)) is None
    assert state == detector.start(KEY)


@settings(max_examples=10)
@given(st.sampled_from((1e-6, 0.5, 3.0, 1e6)))
def test_the_unit_of_amounts_does_not_matter(factor: float) -> None:
    tape = [*TAPE[:3_000], after(TAPE[:3_000], largest=2e6, volume=2e6)]
    scaled = [
        replace(one, largest=one.largest * factor, volume=one.volume * factor) for one in tape
    ]
    plain, other = drive(Volume(), tape), drive(Volume(), scaled)
    assert [at for at, _ in plain] == [at for at, _ in other]
    assert [one.score for _, one in other] == pytest.approx([one.score for _, one in plain])


def test_one_monster_does_not_hide_the_next() -> None:
    first = after(TAPE, largest=1e12, volume=1e12)
    later = [
        replace(one, ts_event=one.ts_event - FIRST + first.ts_event) for one in lognormal(2_000)
    ]
    second = after(later, largest=2e6, volume=2e6)
    seen = drive(Volume(), [*TAPE, first, *later, second])
    assert seen[-1][1].ts_event == second.ts_event
    assert seen[-1][1].score >= seen[-1][1].line


def test_a_monster_moves_the_scatter_little() -> None:
    detector = Volume()
    state = detector.start(KEY)
    for one in TAPE:
        detector.update(state, one)
    before = state.total.square
    detector.update(state, after(TAPE, largest=1e60, volume=1e60))
    assert state.total.square < 1.02 * before


def test_its_memory_is_small() -> None:
    detector = Volume()
    state = detector.start(KEY)
    for one in TAPE:
        detector.update(state, one)
    assert packed_size(state) < 1_700


def test_p_is_calibrated_on_quiet_real_tape(
    shared_data: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each kind, told or outdone by another one, in slices with trades."""
    hits, judged, found = Counter[tuple[str, float]](), 0, []
    judge = Volume._judge

    def noted(*args: Any) -> Observation | None:
        found.append(judge(*args))
        return found[-1]

    monkeypatch.setattr(Volume, "_judge", noted)
    for stem in REAL:
        detector = Volume()
        state = detector.start(KEY)
        for one in real_samples(shared_data / "pumps", stem):
            ready = state.order_tail.seen >= 2_000
            found.clear()
            detector.update(state, one)
            judged += ready
            for level in (1e-2, 1e-3) if ready else ():
                hits.update(
                    (o.kind, level) for o in found if o and o.p is not None and o.p <= level
                )
    assert judged > 10_000
    for kind in ("large order", "large volume", "small volume"):
        for level in (1e-2, 1e-3):
            assert 0.5 <= hits[kind, level] / (level * judged) <= 2.0, (kind, level)
