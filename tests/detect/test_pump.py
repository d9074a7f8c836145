"""`pump` on bursts of known shape, on their mirror image, and against those who would blind it."""

import csv
import pathlib
from itertools import chain
from math import exp, inf, sqrt
from random import Random

import pytest
from flow_tapes import (
    KEY,
    START,
    alarms,
    burst,
    drive,
    mirrored,
    observations,
    packed_size,
    quiet,
    sample,
    trade,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tapewatch.detect.pump import Pump
from tapewatch.model.events import Trade
from tapewatch.model.time import NS_PER_MS, NS_PER_S
from tapewatch.testing.streams import sampled

HOURS = 12
QUIET = list(quiet(HOURS))
NOW = START + HOURS * 3600 * NS_PER_S
PUMP = list(burst(NOW, 60, 6.0, 115.0))


def test_a_pump_is_told_while_it_happens() -> None:
    seen = alarms(observations(Pump(), [*QUIET, *PUMP]))
    at, first = seen[0]
    assert NOW < at < NOW + 5 * NS_PER_S
    assert (first.cause, first.kind, first.severity) == ("pump", "pump", "high")
    assert first.observed is not None
    assert first.flip is not None
    assert 0.0 < first.flip < first.observed
    assert first.deviation is not None
    assert 2.0 <= first.deviation < 2.6
    assert "orders in 10 s" in first.reason
    assert "the price up" in first.reason


def test_quiet_tape_is_quiet() -> None:
    assert not observations(Pump(), QUIET)


def test_it_is_told_again_as_it_grows_and_not_with_every_trade() -> None:
    growing = list(burst(NOW, 1200, 60.0, 250.0))
    seen = observations(Pump(), [*QUIET, *growing])
    strengths = [one.deviation for _, one in seen if one.deviation is not None]
    assert 4 <= len(seen) <= 40
    assert max(strengths) > strengths[0] + 2.0
    assert seen[-1][1].severity == "page"
    scores = [one.score for _, one in seen]
    assert max(scores) >= scores[0] + 1.0  # rarer as well, although the record is young


def test_worked_numbers() -> None:
    """Forty orders in ten seconds and 6 % in a minute: S = sqrt(6/3 * 40/20) = 2."""
    detector = Pump(strength=1.9, moves=1e-9, crowd=1e-9)
    state = detector.start(KEY)
    end = START - START % (5 * NS_PER_S)
    for index in range(1, 20):
        assert detector.update(state, sample(end + index * 5 * NS_PER_S, 1)) is None
    at = end + 20 * 5 * NS_PER_S
    price = 100.0 * exp(0.06)
    assert detector.update(state, sample(at, 20, price=100.0)) is None
    seen = detector.update(state, sample(at + 5 * NS_PER_S, 20, price=price))
    assert seen is not None
    assert seen.deviation == pytest.approx(2.0)
    assert seen.observed == pytest.approx(100.0 * (exp(0.06) - 1.0))
    # 1.9 = sqrt(x/3 * 40/20) at x = 5.415 %.
    assert seen.flip == pytest.approx(100.0 * (exp(0.05415) - 1.0))
    orders = next(part for part in seen.contributions if part.name == "orders in 10 s")
    assert orders.observed == 40.0
    assert orders.score == pytest.approx(2.0)


def test_drops_are_the_mirror_image() -> None:
    tape = [*QUIET, *PUMP]
    up = observations(Pump(), tape)
    down = observations(Pump(), list(mirrored(tape)))
    assert [at for at, _ in up] == [at for at, _ in down]
    for (_, one), (_, other) in zip(up, down, strict=True):
        assert (one.kind, other.kind) == ("pump", "dump")
        assert other.deviation == pytest.approx(one.deviation, rel=1e-9)
        assert other.score == pytest.approx(one.score, rel=1e-9)


def test_orders_without_a_move_are_no_pump() -> None:
    many = [trade(NOW + i * NS_PER_MS, 100.2, 0.001) for i in range(5_000)]
    assert not observations(Pump(), [*QUIET, *many])


def test_a_move_without_orders_is_no_pump() -> None:
    sweep = [replace(one, ts_event=NOW, ts_recv=NOW) for one in burst(NOW, 200, 1.0, 130.0)]
    assert not observations(Pump(), [*QUIET, *sweep])  # one order: the same ms and side


@pytest.mark.parametrize("minutes", [1, 10])
def test_ten_thousand_orders_of_dust_a_minute_hide_no_pump(minutes: int) -> None:
    """They neither raise an alarm of their own nor raise the floor above what comes on top."""
    since = NOW - minutes * 60 * NS_PER_S
    random = Random(1)
    dust = [
        trade(since + i * 6 * NS_PER_MS, 100.2 if side == "buy" else 99.8, 1e-6, side)
        for i in range(minutes * 10_000)
        for side in random.choices(("buy", "sell"))
    ]
    before = [one for one in QUIET if one.ts_recv < since]
    seen = alarms(observations(Pump(), [*before, *dust, *PUMP]))
    assert seen
    assert NOW <= seen[0][0] < NOW + 6 * NS_PER_S


def test_steady_dust_for_hours_hides_no_pump() -> None:
    """The orders' floor is then their mean and some scatter, not many times their mean."""
    detector = Pump()
    state = detector.start(KEY)
    end = START - START % (5 * NS_PER_S)
    for index in range(1, 9_000):
        assert detector.update(state, sample(end + index * 5 * NS_PER_S, 800 + index % 7)) is None
    at = end + 9_000 * 5 * NS_PER_S
    seen = detector.update(state, sample(at, 860, price=115.0))
    assert seen is not None
    assert seen.ready
    assert seen.score >= seen.line


def test_floors_grow_with_the_market() -> None:
    """The same burst in a market that has such bursts of orders all day long is nothing."""
    busy = list(quiet(HOURS, gap_s=0.2, seed=3))
    small = list(burst(NOW, 60, 6.0, 112.0))
    assert alarms(observations(Pump(), [*QUIET, *small]))
    assert not alarms(observations(Pump(), [*busy, *small]))


def test_backfilled_trades_are_old_news() -> None:
    old = [replace(one, backfilled=True) for one in PUMP]
    assert not observations(Pump(), [*QUIET, *old])


def test_bars_are_passed_over() -> None:
    detector = Pump()
    state = detector.start(KEY)
    bar = sample(START, -1, interval_ns=60 * NS_PER_S, trades=-1)
    assert detector.update(state, bar) is None
    assert state == detector.start(KEY)


def test_the_first_hours_are_not_ready() -> None:
    early = START + 3600 * NS_PER_S
    tape = [one for one in QUIET if one.ts_recv < early]
    seen = observations(Pump(), [*tape, *burst(early, 60, 6.0, 115.0)])
    assert seen
    assert not any(one.ready for _, one in seen)


@settings(max_examples=5)
@given(st.sampled_from((1e-8, 0.5, 2.0, 3.7, 1e6)))
def test_the_unit_of_price_does_not_matter(factor: float) -> None:
    tape = [one for one in QUIET if one.ts_recv >= NOW - 4 * 3600 * NS_PER_S] + PUMP
    scaled = [replace(one, price=one.price * factor) for one in tape]
    plain, other = observations(Pump(), tape), observations(Pump(), scaled)
    assert [at for at, _ in plain] == [at for at, _ in other]
    assert [one.score for _, one in other] == pytest.approx([one.score for _, one in plain])


def test_other_instruments_do_not_matter() -> None:
    beside = [replace(one, instrument="venue:ELSE/BTC") for one in PUMP]
    both = sorted([*QUIET, *PUMP, *beside], key=lambda one: one.ts_recv)
    assert observations(Pump(), both) == observations(Pump(), [*QUIET, *PUMP])


def test_passing_trades_over_changes_nothing_that_is_told() -> None:
    """Against a detector whose band is shut, so that it looks at every trade: the same episode,
    with the first orders counted at once instead of at the end of their slice."""
    tape = [*QUIET, *PUMP]
    usual, detector = alarms(observations(Pump(), tape)), Pump()
    state, looked = detector.start(KEY), []
    for event in sampled(tape):
        if type(event) in detector.wants:
            state.low = inf
            found = detector.update(state, event)
            looked += [] if found is None else [(event.ts_recv, found)]
    always = alarms(looked)
    assert abs(usual[0][0] - always[0][0]) <= NS_PER_S // 2
    assert max(one.score for _, one in usual) == pytest.approx(
        max(one.score for _, one in always), abs=0.3
    )


def test_its_memory_is_small() -> None:
    detector = Pump()
    state = detector.start(KEY)
    for event in sampled([*QUIET[:2000], *PUMP]):
        if type(event) in detector.wants:
            detector.update(state, event)
    assert packed_size(state) < 1000


def test_busy_markets_stay_quiet(shared_data: pathlib.Path) -> None:
    """A real hour of BTC/USD with a range of 4 %: bursts of orders, but no market carried away."""
    with (shared_data / "kraken_trades/kraken_btcusd_20190701_00h.csv").open() as file:
        rows = list(csv.DictReader(file))
    tape = [
        Trade(
            KEY,
            int(row["ts_ms"]) * NS_PER_MS,
            int(row["ts_ms"]) * NS_PER_MS,
            float(row["price"]),
            float(row["qty"]),
            "buy" if row["side"] == "buy" else "sell",
        )
        for row in rows
    ]
    assert len(tape) > 2_000
    assert not observations(Pump(), tape)
    # Days later the record is ready; the same hour, ten times over, still says nothing.
    hour = 3600 * NS_PER_S
    again = chain.from_iterable(
        (replace(t, ts_event=t.ts_event + k * hour, ts_recv=t.ts_recv + k * hour) for t in tape)
        for k in range(10)
    )
    assert not alarms(drive(Pump(), sampled(again)))


def test_strength_is_symmetric_in_its_two_parts() -> None:
    burst_ = Pump()._measure(Pump().start(KEY), 0.12, 5.0)
    other = Pump()._measure(Pump().start(KEY), 0.015, 40.0)
    assert burst_.strength == pytest.approx(other.strength) == pytest.approx(1.0)
    assert Pump()._measure(Pump().start(KEY), -0.06, 20.0).strength == pytest.approx(sqrt(2.0))
