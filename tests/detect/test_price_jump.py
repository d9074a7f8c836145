"""`price_jump`: on the tick, calibrated, followed, and quiet where nothing has happened."""

import csv
import pathlib
from collections.abc import Iterator
from math import exp, log, sqrt
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from price_tapes import COIN, ODDS, bounce, sample, told, trade, walk

from tapewatch.detect.base import LINE
from tapewatch.detect.price_jump import PriceJump
from tapewatch.detect.price_scale import KEPT, STRETCH, WARM, Scales, Track, innovation, look_ahead
from tapewatch.detect.price_steps import PriceState
from tapewatch.kernels.tails import READY
from tapewatch.model.events import Trade
from tapewatch.model.outputs import Observation

HOUR = "kraken_trades/kraken_btcusd_20190701_00h.csv"
WARMED = READY + WARM + 40


def warmed(detector: PriceJump, seed: int = 1, seconds: int = WARMED) -> PriceState:
    """A second-by-second Gaussian tape, one sd a basis point."""
    state = detector.start(COIN)
    for at, price in enumerate(walk(seconds, seed)):
        detector.update(state, trade(at, price))
    return state


def alarms(seen: list[Observation], cause: str = "price_jump") -> list[Observation]:
    return [
        one
        for one in seen
        if one.cause == cause and one.score >= one.line and one.material and one.ready
    ]


def test_a_jump_is_told_by_the_event_that_makes_it() -> None:
    detector = PriceJump(min_bps=1.0)
    state = warmed(detector)
    before = state.ask
    seen = detector.update(state, trade(WARMED, before * exp(8e-4)))
    assert seen is not None
    assert seen.score >= LINE
    assert not seen.low_confidence
    assert seen.material
    assert seen.observed == pytest.approx(before * exp(8e-4))
    assert seen.expected == pytest.approx(before)
    assert seen.sigma == pytest.approx(8.0, rel=0.15)
    assert seen.deviation == pytest.approx(8.0, rel=0.01)
    assert seen.expected_high is not None
    assert seen.observed is not None
    assert seen.flip == seen.expected_high < seen.observed
    assert seen.ts_event == trade(WARMED, 1.0).ts_event
    assert len(seen.contributions) == 3
    assert "up" in seen.reason


def test_it_would_not_have_fired_below_the_flip_point() -> None:
    for factor, fires in ((0.999, False), (1.001, True)):
        detector = PriceJump(min_bps=1.0)
        state = warmed(detector)
        before = state.ask
        copy = msgspec.convert(msgspec.to_builtins(state), PriceState)
        first = detector.update(copy, trade(WARMED, before * exp(8e-4)))
        assert first is not None
        assert first.flip is not None
        move = (first.flip - before) * factor
        seen = detector.update(state, trade(WARMED, before + move))
        assert (seen is not None and seen.score >= LINE) == fires


def test_the_worked_example() -> None:
    """0.62 +- 0.01 for forty minutes, one tick at 0.91, six seconds of silence, then 0.62."""
    detector, state = PriceJump(), PriceJump().start(ODDS)
    for at, (price, side) in enumerate(bounce(2_400)):
        assert not alarms(list(told(detector, [trade(at, price, side, ODDS)], state)))
    usual = state.scales.short, state.scales.long
    fired = detector.update(state, trade(2_400, 0.91, "buy", ODDS))
    assert fired is not None
    assert alarms([fired])
    assert not fired.low_confidence
    undone = detector.update(state, trade(2_406, 0.62, "sell", ODDS))
    assert undone is not None
    assert (undone.cause, undone.kind, undone.severity) == ("bad_print", "undone", "info")
    assert undone.onset_ns == fired.ts_event
    assert undone.observed == pytest.approx(0.91)
    assert undone.expected == pytest.approx(fired.expected)
    assert (state.scales.short, state.scales.long) == pytest.approx(usual, rel=0.1)
    for at, (price, side) in enumerate(bounce(60, seed=2), 2_407):
        assert not list(told(detector, [trade(at, price, side, ODDS)], state))
    again = detector.update(state, trade(2_467, 0.91, "buy", ODDS))
    assert again is not None
    assert alarms([again])
    assert again.sigma == pytest.approx(fired.sigma, rel=0.25)


def test_the_worked_example_of_a_price_that_never_moved() -> None:
    detector, state = PriceJump(), PriceJump().start(ODDS)
    for at in range(2_400):
        assert detector.update(state, trade(at, 0.62, "unknown", ODDS)) is None
    fired = detector.update(state, trade(2_400, 0.91, "unknown", ODDS))
    assert fired is not None
    assert alarms([fired])


def test_polled_every_five_seconds_the_example_is_at_least_an_info() -> None:
    detector, state = PriceJump(), PriceJump().start(ODDS)
    for at, (price, side) in enumerate(bounce(480)):
        assert not list(told(detector, [trade(5 * at, price, side, ODDS)], state))
    fired = detector.update(state, trade(2_400, 0.91, "buy", ODDS))
    assert fired is not None
    assert alarms([fired])
    assert fired.low_confidence
    assert fired.p_extrapolated


def test_a_jump_that_holds_is_a_new_level_and_no_second_alarm() -> None:
    detector = PriceJump(min_bps=1.0)
    state = warmed(detector)
    base = state.ask
    tape = [trade(WARMED + at, base * exp(2e-3 + 1e-5 * (at % 3))) for at in range(30)]
    seen = list(told(detector, tape, state))
    assert [one.cause for one in seen if one.score >= LINE] == ["price_jump", "level_shift"]
    assert seen[-1].severity == "info"
    assert seen[-1].ts_event - seen[-1].onset_ns > 10_000_000_000


def test_a_jump_that_goes_on_is_followed_from_its_beginning() -> None:
    detector = PriceJump(min_bps=1.0)
    state = warmed(detector)
    base = state.ask
    tape = [trade(WARMED, base * exp(2e-3)), trade(WARMED + 1, base * exp(6e-3))]
    tape.append(trade(WARMED + 2, base))
    seen = list(told(detector, tape, state))
    assert [one.cause for one in seen] == ["price_jump", "price_jump", "bad_print"]
    assert seen[-1].observed == pytest.approx(base * exp(6e-3), rel=1e-5)


def test_the_bounce_between_bid_and_ask_is_no_jump() -> None:
    random = Random(3)
    detector, state = PriceJump(), PriceJump().start(COIN)
    tape = [trade(at, *random.choice(((100.0, "sell"), (100.4, "buy")))) for at in range(20_000)]
    assert not [one for one in told(detector, tape, state) if one.score >= LINE]


def test_a_frozen_lattice_is_silent_for_a_day() -> None:
    detector, state = PriceJump(), PriceJump().start(ODDS)
    frozen = (trade(5 * at, 0.62, "buy" if at % 2 else "sell", ODDS) for at in range(17_280))
    assert not list(told(detector, frozen, state))


def test_a_decoy_hides_nothing() -> None:
    """A spike of 5 sd, sixty seconds after one of 50: found in at least 99 of 100."""
    detector, random = PriceJump(min_bps=0.0), Random(4)
    state, x, found, tried = detector.start(COIN), 0.0, 0, 0
    for at in range(5_000 + 100 * 1_000):
        phase = at % 1_000 if at >= 5_000 else -1
        move = random.gauss(0.0, 1e-4)
        if phase in {0, 60}:
            move = random.choice((-1.0, 1.0)) * (5e-3 if phase == 0 else 5e-4)
        x += move
        seen = detector.update(state, trade(at, 100.0 * exp(x)))
        if phase == 60:
            tried += 1
            found += seen is not None and seen.p is not None and seen.p <= 1e-3
    assert tried == 100
    assert found >= 99


def test_calibrated_on_a_gaussian_tape() -> None:
    detector, state, ps = PriceJump(), PriceJump().start(COIN), []
    count = 40_000
    for at, price in enumerate(walk(count, seed=5)):
        seen = detector.update(state, trade(at, price))
        if seen is not None and seen.p is not None and at > WARMED:
            ps.append(seen.p)
    for p, low, high in ((1e-2, 0.8, 1.25), (1e-3, 0.5, 2.0)):
        assert low < sum(one <= p for one in ps) / (count - WARMED) / p < high


@given(st.integers(0, 50), st.sampled_from((0.5, 2.0, 1024.0)))
@settings(max_examples=5)
def test_the_unit_of_prices_does_not_matter(seed: int, factor: float) -> None:
    detector = PriceJump(min_bps=0.0)
    prices = walk(600, seed)
    prices[500] *= 1.01
    plain, scaled = (
        list(told(detector, [trade(at, by * price) for at, price in enumerate(prices)]))
        for by in (1.0, factor)
    )
    assert plain
    assert [one.ts_event for one in plain] == [one.ts_event for one in scaled]
    assert [one.score for one in plain] == pytest.approx([one.score for one in scaled], rel=1e-6)


@given(st.lists(st.floats(-2e-3, 2e-3), min_size=WARM + 5, max_size=WARM + 30), st.data())
@settings(max_examples=30)
def test_the_scale_is_the_slow_one(moves: list[float], data: st.DataObject) -> None:
    """Against the recursion written out, with silences between."""
    idle = data.draw(st.lists(st.integers(0, 900), min_size=len(moves), max_size=len(moves)))
    track, x, price = Track(), 0.0, 100.0
    innovation(track, sample(0, price), probable=False)
    variances, silent = [0.0, 0.0, 0.0], 0.0
    for index, (move, empty) in enumerate(zip(moves, idle, strict=True), 1):
        gap = (1.0 + min(empty, 600)) ** STRETCH if empty and index >= WARM else 1.0
        warm = index >= WARM
        floor = 0.0 if any(variances) else 0.005
        sigma = sqrt(
            gap * (0.6 * variances[0] + 0.3 * variances[1] + 0.1 * variances[2]) + floor**2
        )
        x += move
        now = sample(index, 100.0 * exp(x), idle_ns=empty * 5_000_000_000)
        z, seen, silent = innovation(track, now, probable=False)
        assert silent == empty
        assert seen == pytest.approx(move, abs=1e-12)
        assert z == pytest.approx(move / sigma if warm else 0.0, rel=1e-6, abs=1e-9)
        for at, usual in enumerate(KEPT):
            kept = min(usual, index / (index + 1.0))
            square = move * move / gap
            if warm:
                square = min(square, 16.0 * (variances[at] + floor**2))
            variances[at] = kept * variances[at] + (1.0 - kept) * square


def test_silence_widens_what_is_expected_after_it() -> None:
    scales = Scales(short=1e-8, middle=1e-8, long=1e-8, steps=WARM)
    look_ahead(scales, 100.0, 0.0, 0, probable=False)
    alone = scales.sigma
    look_ahead(scales, 100.0, 0.0, 80, probable=False)
    assert scales.sigma == pytest.approx(3.0 * alone)
    look_ahead(scales, 100.0, 0.0, 10**9, probable=False)
    assert scales.sigma < 5.0 * alone


def test_impossible_prints_break_a_rule_from_the_sixth_price_on() -> None:
    detector = PriceJump()
    for factor in (0.19, 5.1):
        state = detector.start(COIN)
        for at in range(5):
            assert detector.update(state, trade(at, 100.0)) is None
        seen = detector.update(state, trade(5, 100.0 * factor))
        assert seen is not None
        assert (seen.cause, seen.kind, seen.p) == ("bad_print", "integrity", None)
        assert seen.score >= seen.line
        assert seen.expected == 100.0
        assert state.ask == 100.0  # it sets no price
        assert detector.update(state, trade(6, 100.0)) is None
    state = detector.start(COIN)
    for at in range(5):
        assert detector.update(state, trade(at, 100.0)) is None
    assert detector.update(state, trade(5, 499.0)) is None
    assert detector.update(state, trade(6, 21.0)) is None


def test_a_new_level_stops_being_a_broken_print() -> None:
    detector, state = PriceJump(), PriceJump().start(COIN)
    tape = [trade(at, 100.0) for at in range(10)] + [trade(at, 1_000.0) for at in range(10, 20)]
    assert [one.kind for one in told(detector, tape, state)] == ["integrity"] * 3


def test_before_the_record_is_there_p_is_careful_and_of_low_confidence() -> None:
    detector = PriceJump(min_bps=1.0)
    state = warmed(detector, seconds=300)
    seen = detector.update(state, trade(300, state.ask * exp(2e-3)))
    assert seen is not None
    assert seen.low_confidence
    assert seen.p_extrapolated
    assert seen.p is not None
    assert 1e-6 < seen.p < 1e-4


def test_too_small_to_matter_is_told_as_such() -> None:
    seen = {}
    for name, detector in (
        ("bps", PriceJump(min_bps=50.0, min_spreads=0.0)),
        ("spreads", PriceJump(min_bps=0.0, min_spreads=25.0)),
        ("neither", PriceJump(min_bps=20.0, min_spreads=10.0)),
    ):
        state = detector.start(COIN)
        for at, price in enumerate(walk(WARMED)):
            detector.update(state, trade(at, price * exp(1e-4 * (1 if at % 2 else -1)),
                                         "buy" if at % 2 else "sell"))  # fmt: skip
        jump = detector.update(state, trade(WARMED, state.ask * exp(8e-3), "buy"))
        assert jump is not None
        seen[name] = jump.material
    assert seen == {"bps": False, "spreads": True, "neither": True}


def test_of_probabilities_points_matter() -> None:
    for price, matters in ((0.40, False), (0.47, True)):
        detector, state = PriceJump(min_points=5.0), PriceJump().start(ODDS)
        for at in range(WARMED):
            detector.update(state, trade(at, 0.38, "unknown", ODDS))
        seen = detector.update(state, trade(WARMED, price, "unknown", ODDS))
        material = seen is not None and seen.material
        assert material == matters
        assert seen is None or seen.deviation_unit == "points"


def test_backfilled_trades_are_old_news() -> None:
    detector = PriceJump()
    state = warmed(detector)
    old = msgspec.structs.replace(trade(WARMED, 200.0), backfilled=True)
    assert detector.update(state, old) is None
    inside = msgspec.structs.replace(trade(WARMED - 0.5, state.bid), backfilled=True, ts_recv=1)
    assert detector.update(state, inside) is None
    assert state.ask < 150.0


@given(st.integers(0, 1_000))
@settings(max_examples=5)
def test_a_state_may_be_packed_at_any_moment(seed: int) -> None:
    detector, plain = PriceJump(min_bps=0.0), PriceJump().start(COIN)
    packed = PriceJump().start(COIN)
    prices = walk(400, seed)
    prices[300] *= 1.02
    for at, price in enumerate(prices):
        event = trade(at, price, "buy" if at % 3 else "sell")
        packed = msgspec.msgpack.decode(msgspec.msgpack.encode(packed), type=PriceState)
        assert detector.update(plain, event) == detector.update(packed, event)


def test_its_memory_is_small() -> None:
    detector = PriceJump()
    assert len(msgspec.msgpack.encode(warmed(detector))) < 1_000


def real_hour(folder: pathlib.Path) -> Iterator[Trade]:
    with (folder / HOUR).open() as file:
        for row in csv.DictReader(file):
            now = int(row["ts_ms"]) * 1_000_000
            yield Trade(COIN, now, now, float(row["price"]), float(row["qty"]), row["side"])  # type: ignore[arg-type]


def test_a_real_hour_of_four_per_cent_is_quiet(shared_data: pathlib.Path) -> None:
    detector = PriceJump()
    assert not alarms(list(told(detector, real_hour(shared_data))))


def test_log_moves_are_symmetric() -> None:
    """As far up as down is as rare."""
    scores = []
    for sign in (1.0, -1.0):
        detector = PriceJump(min_bps=0.0)
        state = warmed(detector)
        seen = detector.update(state, trade(WARMED, state.ask * exp(sign * 6e-4)))
        assert seen is not None
        assert seen.observed is not None
        assert seen.expected is not None
        assert log(seen.observed / seen.expected) == pytest.approx(sign * 6e-4)
        scores.append(seen.score)
    assert scores[0] == pytest.approx(scores[1])
