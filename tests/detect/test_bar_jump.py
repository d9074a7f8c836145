"""`bar_jump`: moves, prints that never were, new levels, and a baseline that none of them hurts."""

import csv
import pathlib
from collections.abc import Iterable
from math import exp
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapewatch.app import table_files
from tapewatch.detect.bar_jump import BarJump, BarJumpState
from tapewatch.model.events import Bar
from tapewatch.model.outputs import Observation
from tapewatch.model.time import parse_rfc3339

ID = "venue:COIN"
MINUTE = 60_000_000_000
T0 = 1_700_000_040 * 1_000_000_000


def market(count: int, seed: int = 1, volatility: float = 0.001) -> list[Bar]:
    """A quiet random walk, with volumes over two decades."""
    random = Random(seed)
    close, bars = 100.0, []
    for minute in range(count):
        opened, close = close, close * exp(random.gauss(0.0, volatility))
        high = max(opened, close) * exp(abs(random.gauss(0.0, volatility / 3)))
        low = min(opened, close) * exp(-abs(random.gauss(0.0, volatility / 3)))
        volume = random.lognormvariate(2.0, 1.0)
        bars.append(bar(minute, opened, high, low, close, volume))
    return bars


def bar(
    minute: int, opened: float, high: float, low: float, close: float, volume: float = 7.0
) -> Bar:
    at = T0 + minute * MINUTE
    return Bar(ID, at, at, opened, high, low, close, volume, MINUTE)


def flat(minute: int, price: float, volume: float = 7.0) -> Bar:
    return bar(minute, price, price, price, price, volume)


def run(bars: Iterable[Bar], state: BarJumpState | None = None) -> list[Observation]:
    detector = BarJump()
    state = detector.start(ID) if state is None else state
    seen = [detector.update(state, one) for one in bars]
    return [one for one in seen if one is not None]


def called(bars: Iterable[Bar], state: BarJumpState | None = None) -> list[Observation]:
    return [one for one in run(bars, state) if one.material and one.score >= one.line]


def after(count: int = 3_000, seed: int = 1) -> tuple[BarJumpState, float, int]:
    """Memory of a quiet market, its last price and its next minute."""
    state = BarJump().start(ID)
    bars = market(count, seed)
    assert called(bars, state) == []
    return state, bars[-1].close, count


def test_a_wick_that_nobody_paid_for_is_a_bad_print() -> None:
    state, price, minute = after()
    (found,) = called([bar(minute, price, price, 0.9 * price, price)], state)
    assert (found.cause, found.kind, found.severity) == ("bad_print", "wick", "warn")
    assert found.observed == pytest.approx(0.9 * price)
    assert found.p is not None
    assert found.p < 1e-5
    assert found.sigma is not None
    assert found.sigma < -10
    assert called([flat(minute + n, price) for n in range(1, 12)], state) == []


def test_the_same_wick_in_unusual_volume_is_a_move() -> None:
    state, price, minute = after()
    (found,) = called([bar(minute, price, price, 0.9 * price, price, 500.0)], state)
    assert (found.cause, found.severity) == ("price_jump", "high")
    assert found.deviation_unit == "bps"
    assert found.deviation == pytest.approx(-1000, rel=0.02)


def test_a_jump_undone_in_ordinary_volume_is_called_again_as_a_bad_print() -> None:
    state, price, minute = after()
    jump, undone = called([flat(minute, 1.3 * price), flat(minute + 2, price)], state)
    assert (jump.cause, undone.cause, undone.kind) == ("price_jump", "bad_print", "undone")
    assert undone.onset_ns == jump.ts_event
    assert undone.observed == pytest.approx(1.3 * price)
    assert called([flat(minute + n, price) for n in range(3, 12)], state) == []


@pytest.mark.parametrize("heavy", [0, 1, 2])
def test_a_move_that_rebounds_in_unusual_volume_is_never_called_a_bad_print(heavy: int) -> None:
    """Also when only one of its bars, before or after the extreme one, had the volume."""
    state, price, minute = after()
    path = [(0.97, 0.97), (0.6, 0.97), (0.99, 0.99), (1.0, 1.0)]
    bars = [
        bar(minute + n, price, price, low * price, close * price, 500.0 if n == heavy else 7.0)
        for n, (low, close) in enumerate(path)
    ]
    causes = {one.cause for one in called(bars, state)}
    if heavy == 2:  # when the wick is seen, nothing speaks for a move yet
        assert "bad_print" in causes
    else:
        assert causes == {"price_jump"}


def test_a_jump_that_stays_is_a_level_shift_after_five_minutes() -> None:
    state, price, minute = after()
    found = called([flat(minute + n, 1.2 * price) for n in range(10)], state)
    shifts = [one for one in found if one.cause == "level_shift"]
    assert [one.severity for one in shifts] == ["info"]
    assert shifts[0].ts_event == T0 + (minute + 6) * MINUTE
    assert {one.cause for one in found} == {"price_jump", "level_shift"}


def test_of_long_bars_the_next_ones_decide() -> None:
    hour = 60 * MINUTE
    state = BarJump().start(ID)
    bars = [
        msgspec.structs.replace(one, ts_event=T0 + n * hour, interval_ns=hour)
        for n, one in enumerate(market(3_000))
    ]
    assert called(bars, state) == []
    price = bars[-1].close
    later = [
        msgspec.structs.replace(flat(0, factor * price), ts_event=T0 + n * hour, interval_ns=hour)
        for n, factor in ((3_000, 1.3), (3_002, 1.0))
    ]
    assert [one.cause for one in called(later, state)] == ["price_jump", "bad_print"]


def test_what_comes_back_by_itself_later_is_neither() -> None:
    state, price, minute = after()
    bars = [flat(minute, 1.2 * price), flat(minute + 7, price)]
    assert [one.cause for one in called(bars, state)] == ["price_jump"]


def test_integrity_is_watched_from_the_sixth_print_on() -> None:
    young = [flat(n, 2.5) for n in range(5)]
    (found,) = called([*young, flat(5, 0.01, 9_000.0)])
    assert (found.cause, found.kind, found.p) == ("bad_print", "impossible", None)
    assert called([*young, flat(5, 0.6)]) == []  # large, but nothing is known of this market
    assert called([*young[:4], flat(4, 0.01)]) == []


def test_one_wrong_print_moves_neither_reference_nor_scale_beyond_the_clip() -> None:
    detector = BarJump()
    state, price, minute = after()
    other = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=BarJumpState)
    wrong = 0.001 * price
    detector.update(state, bar(minute, price, price, wrong, wrong, 1e6))
    detector.update(other, flat(minute, price))
    floor = 0.25 * other.range**2 + 1e-6
    for name, half_life in (("short", 30), ("middle", 300), ("long", 3600)):
        before, now = getattr(other, name), getattr(state, name)
        rate = max(1 - 0.5 ** (1 / half_life), 1 / 3_000)
        most = before + rate * 16.0 * (before + floor) * 1.02
        assert before <= now <= most
    assert sorted(state.closes)[2] == pytest.approx(sorted(other.closes)[2], rel=0.005)
    assert state.range <= other.range * 1.05 + 5e-5
    assert state.volume <= other.volume * 1.011
    # So the next one, a minute later, is still found.
    found = called([bar(minute + 1, price, price, 0.9 * price, price)], state)
    assert found


def test_the_flip_price_is_where_it_would_not_have_fired() -> None:
    state, price, minute = after()
    packed = msgspec.msgpack.encode(state)
    (found,) = called([bar(minute, price, price, 0.9 * price, price)], state)
    assert found.flip is not None
    for factor, fires in ((0.999, True), (1.001, False)):
        again = msgspec.msgpack.decode(packed, type=BarJumpState)
        low = found.flip * factor
        assert bool(called([bar(minute, price, price, low, price)], again)) is fires


def test_a_late_bar_is_history() -> None:
    state, price, minute = after()
    packed = msgspec.msgpack.encode(state)
    assert run([flat(minute - 1, 50.0 * price)], state) == []
    assert msgspec.msgpack.encode(state) == packed


def test_a_longer_pause_allows_a_larger_move() -> None:
    def sigma(pause: int) -> float:
        state, price, minute = after()
        found = called([flat(minute + pause, 1.2 * price, 500.0)], state)
        assert found[0].sigma is not None
        return found[0].sigma

    assert sigma(0) > 1.5 * sigma(10) > 1.5 * sigma(30)
    assert sigma(60) == sigma(600)


@given(st.integers(0, 1_000), st.sampled_from([0.5, 2.0, 1e-6, 1e6]))
@settings(max_examples=20)
def test_the_unit_of_the_price_does_not_matter(seed: int, unit: float) -> None:
    bars = market(400, seed, 0.004)
    bars[300] = flat(300, bars[299].close * 1.5, 900.0)
    scaled = [
        bar(n, b.open * unit, b.high * unit, b.low * unit, b.close * unit, b.volume)
        for n, b in enumerate(bars)
    ]
    plain, other = run(bars), run(scaled)
    assert plain
    assert [one.cause for one in other] == [one.cause for one in plain]
    assert [one.score for one in other] == pytest.approx([one.score for one in plain], rel=1e-6)


@given(st.integers(0, 1_000))
@settings(max_examples=20)
def test_up_and_down_are_the_same(seed: int) -> None:
    bars = market(400, seed, 0.004)
    bars[300] = flat(300, bars[299].close * 1.5, 900.0)
    mirrored = [
        bar(n, 1 / b.open, 1 / b.low, 1 / b.high, 1 / b.close, b.volume) for n, b in enumerate(bars)
    ]
    plain, other = run(bars), run(mirrored)
    assert [one.sigma for one in other] == pytest.approx(
        [None if one.sigma is None else -one.sigma for one in plain], rel=1e-6
    )


@pytest.mark.parametrize(
    ("symbol", "rows", "ids"),
    [("LTCUSD", 500, {"l01"}), ("BTCUSD", 8_000, {"b01", "b02"})],
)
def test_erroneous_prints_of_record_are_called_so(
    shared_data: pathlib.Path, symbol: str, rows: int, ids: set[str]
) -> None:
    folder = shared_data / "bitfinex_1m"
    lines = csv.DictReader((folder / "incidents.csv").read_text().splitlines())
    starts = {row["id"]: row["start_utc"] for row in lines if row["id"] in ids}
    table = table_files.rows(folder / f"{symbol}_1m.parquet", lambda *_: None)
    seen = set()
    state = BarJump().start(ID)
    for number, row in table:
        end = row["ts_ms"] * 1_000_000 + MINUTE
        prices = (row["open"], row["high"], row["low"], row["close"])
        for one in called([Bar(ID, end, end, *prices, row["volume"], MINUTE)], state):
            seen.add((one.cause, one.onset_ns))
        if number == rows:
            break
    assert set(starts) == ids
    for text in starts.values():
        assert ("bad_print", parse_rfc3339(f"{text}:00Z")) in seen


def test_the_reason_says_the_size_in_words() -> None:
    state, price, minute = after()
    (up,) = called([flat(minute, 3.0 * price, 500.0)], state)
    assert "3" in up.reason
    assert "times the last closes" in up.reason
    state, price, minute = after()
    (down,) = called([flat(minute, 0.5 * price, 500.0)], state)
    assert "% below the last closes" in down.reason


def test_a_third_bar_within_minutes_is_a_market_not_a_print() -> None:
    state, price, minute = after()
    bars = [bar(minute + 2 * n, price, price, 0.9 * price, price) for n in range(4)]
    assert [one.cause for one in called(bars, state)] == ["bad_print"] * 2 + ["price_jump"] * 2


def test_ten_means_of_volume_are_unusual_even_where_they_are_common() -> None:
    """In a market of rare large trades the upper 2 % begin far above ten means."""
    state = BarJump().start(ID)
    bars = market(3_000)
    for n, one in enumerate(bars):
        run([msgspec.structs.replace(one, volume=2_000.0 if n % 30 == 0 else 1.0)], state)
    price = bars[-1].close
    quiet = [flat(3_000 + n, price, 1.0) for n in range(6)]
    wick = bar(3_006, price, price, 0.9 * price, price, 12.0 * state.volume)
    assert [one.cause for one in called([*quiet, wick], state)] == ["price_jump"]
