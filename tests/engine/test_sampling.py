"""Samples: what a stretch of five seconds holds, when it is over, and that it adds up."""

import itertools
import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.engine.sampling import FOLDS, SAMPLE_NS, Sampler, forget, on_timer
from tapewatch.model.events import Bar, Book, MarketEvent, Quote, Sample, Trade
from tapewatch.model.instrument import Side
from tapewatch.model.time import NS_PER_MS, NS_PER_S

BTC, ETH = "kraken:BTC/USD", "kraken:ETH/USD"
T0 = 1_763_700_000 * NS_PER_S


def on_event(sampler: Sampler, event: MarketEvent) -> Sample | None:
    fold = FOLDS.get(type(event))
    return None if fold is None else fold(sampler, event)


def trade(
    at: float, price: float, size: float = 1.0, side: Side = "buy", name: str = BTC, **more: bool
) -> Trade:
    ts = T0 + round(at * 1000) * NS_PER_MS
    return Trade(name, ts, ts, price, size, side, **more)


def quote(at: float, bid: float, ask: float) -> Quote:
    ts = T0 + round(at * 1000) * NS_PER_MS
    return Quote(BTC, ts, ts, bid, 1.0, ask, 1.0)


def run(events: list[MarketEvent], until: float) -> list[Sample]:
    sampler = Sampler()
    found = [sample for event in events if (sample := on_event(sampler, event)) is not None]
    return found + on_timer(sampler, T0 + int(until * NS_PER_S))


def test_a_stretch_of_trades_adds_up() -> None:
    (sample,) = run(
        [
            trade(0.5, 100.0, 2.0, "buy"),
            trade(0.5, 101.0, 1.0, "buy"),  # the same order
            trade(1.0, 99.0, 1.0, "sell"),
            trade(2.0, 100.5, 4.0, "unknown"),
        ],
        5.0,
    )
    assert (sample.trades, sample.orders) == (4, 3)
    assert (sample.bought, sample.sold) == (301.0, 99.0)
    assert (sample.volume, sample.largest) == (802.0, 402.0)
    assert (sample.high, sample.low) == (101.0, 99.0)
    assert sample.tick == 1.0
    assert (sample.ts_event, sample.interval_ns, sample.idle_ns) == (T0 + SAMPLE_NS, SAMPLE_NS, -1)


def test_the_price_is_the_micro_mid_and_does_not_bounce() -> None:
    bounces = [trade(i * 0.5, (100.0, 102.0)[i % 2], 1.0, ("sell", "buy")[i % 2]) for i in range(9)]
    prices = [sample.price for sample in run(bounces, 5.0)]
    assert prices == [pytest.approx(math.sqrt(100.0 * 102.0))]


def test_a_stretch_ends_with_the_first_event_or_timer_after_it() -> None:
    sampler = Sampler()
    assert on_event(sampler, trade(1.0, 100.0)) is None
    assert on_timer(sampler, T0 + 4 * NS_PER_S) == []
    first = on_event(sampler, trade(5.0, 101.0))
    assert first is not None
    assert (first.trades, first.ts_event, first.ts_recv) == (1, T0 + SAMPLE_NS, T0 + SAMPLE_NS)
    (second,) = on_timer(sampler, T0 + 12 * NS_PER_S)
    assert (second.ts_event, second.ts_recv) == (T0 + 2 * SAMPLE_NS, T0 + 12 * NS_PER_S)
    assert second.idle_ns == 0
    assert on_timer(sampler, T0 + 20 * NS_PER_S) == []  # nothing happened, nothing is said
    (third,) = [on_event(sampler, trade(61.0, 100.0)), *on_timer(sampler, T0 + 65 * NS_PER_S)][1:]
    assert third.idle_ns == 50 * NS_PER_S


def test_a_quote_counts_once_it_has_stood() -> None:
    steady = [quote(0.1, 99.0, 101.0)]
    flicker = [quote(4.0, 50.0, 51.0), quote(4.2, 99.0, 101.0)]
    (sample,) = run(steady + flicker, 5.0)
    assert (sample.price, sample.bid, sample.ask, sample.trades) == (100.0, 99.0, 101.0, 0)
    (moved,) = run([*steady, quote(4.7, 109.0, 111.0)], 5.0)
    assert moved.price == 110.0
    (young,) = run([*steady, quote(4.9, 109.0, 111.0)], 5.0)
    assert young.price == 100.0


def test_a_crossed_or_one_sided_book_keeps_the_last_price() -> None:
    (sample,) = run([quote(0.0, 99.0, 101.0), quote(1.0, 103.0, 101.0), quote(2.0, 0.0, 90.0)], 5.0)
    assert sample.price == 100.0


def test_quotes_come_before_trades() -> None:
    (sample,) = run([trade(0.1, 90.0), quote(0.2, 99.0, 101.0), trade(4.0, 90.0)], 5.0)
    assert sample.price == 100.0
    assert sample.low == 90.0


def test_backfilled_trades_and_books_do_not_count() -> None:
    book = Book(BTC, T0, T0 + NS_PER_S, ((1.0, 1.0),), ((2.0, 1.0),))
    events = [trade(0.1, 100.0), trade(0.2, 50.0, backfilled=True), book]
    (sample,) = run(events, 5.0)
    assert (sample.trades, sample.low) == (1, 100.0)


def test_a_bar_is_a_sample_of_its_own() -> None:
    minute = 60 * NS_PER_S
    bars = [
        Bar(BTC, T0 + n * minute, T0 + n * minute, 10.0, 12.0, 9.0, 11.0 + n, 5.0, minute)
        for n in (1, 2, 5)
    ]
    first, second, third = run(bars, 0.0)
    assert (first.price, first.high, first.low, first.idle_ns) == (12.0, 12.0, 9.0, -1)
    assert (first.trades, first.bought, first.volume) == (-1, -1.0, 60.0)
    assert (second.idle_ns, third.idle_ns) == (0, 2 * minute)
    assert second.tick == 1.0


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 3_000),  # ms since the event before
        st.sampled_from([BTC, ETH]),
        st.floats(1.0, 1e4),
        st.floats(1e-3, 1e3),
        st.sampled_from(["buy", "sell", "unknown"]),
    ),
    max_size=60,
)


def dated(steps: list[tuple[int, str, float, float, Side]]) -> list[Trade]:
    now, trades = T0, []
    for ms, name, price, size, side in steps:
        now += ms * NS_PER_MS
        trades.append(Trade(name, now, now, price, size, side))
    return trades


def all_samples(trades: list[Trade]) -> list[Sample]:
    return run(list(trades), 1e6)


@given(EVENTS)
def test_nothing_is_lost_and_nothing_counts_twice(
    steps: list[tuple[int, str, float, float, Side]],
) -> None:
    trades = dated(steps)
    samples = all_samples(trades)
    for name in (BTC, ETH):
        mine = [one for one in samples if one.instrument == name]
        assert sum(one.trades for one in mine) == sum(t.instrument == name for t in trades)
        volume = math.fsum(t.price * t.size for t in trades if t.instrument == name)
        assert math.fsum(one.volume for one in mine) == pytest.approx(volume)
        ends = [one.ts_event for one in mine]
        assert ends == sorted(set(ends))
        for before, after in itertools.pairwise(mine):
            assert after.idle_ns == after.ts_event - SAMPLE_NS - before.ts_event
    assert all(one.bid <= one.ask for one in samples)


@given(EVENTS)
def test_an_unrelated_instrument_changes_nothing(
    steps: list[tuple[int, str, float, float, Side]],
) -> None:
    trades = dated(steps)
    together = [one for one in all_samples(trades) if one.instrument == BTC]
    alone = all_samples([t for t in trades if t.instrument == BTC])
    assert sorted(map(repr, together)) == sorted(map(repr, alone))


@given(EVENTS, st.integers(0, 60))
def test_a_sampler_can_be_packed_at_any_moment(
    steps: list[tuple[int, str, float, float, Side]], cut: int
) -> None:
    trades = dated(steps)
    sampler = Sampler()
    found = [on_event(sampler, t) for t in trades[:cut]]
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(sampler), type=Sampler)
    found += [on_event(copy, t) for t in trades[cut:]]
    found += on_timer(copy, T0 + 10**6 * NS_PER_S)
    assert [one for one in found if one is not None] == all_samples(trades)


def test_doubling_all_prices_doubles_prices_and_amounts_only() -> None:
    chance = random.Random(1)
    trades = [trade(n * 0.7, 100.0 + chance.gauss(0, 1), 1.0) for n in range(200)]
    doubled = [msgspec.structs.replace(t, price=2.0 * t.price) for t in trades]
    for one, two in zip(all_samples(trades), all_samples(doubled), strict=True):
        assert two.price == pytest.approx(2.0 * one.price)
        assert two.volume == pytest.approx(2.0 * one.volume)
        assert (two.trades, two.orders, two.idle_ns) == (one.trades, one.orders, one.idle_ns)


def test_a_forgotten_instrument_starts_afresh() -> None:
    sampler = Sampler()
    on_event(sampler, trade(0.1, 100.0))
    forget(sampler, BTC)
    forget(sampler, "kraken:NONE/USD")
    assert on_timer(sampler, T0 + 60 * NS_PER_S) == []
    assert sampler == Sampler()
