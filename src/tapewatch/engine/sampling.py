"""Samples: five seconds of one instrument in one event, so that features are computed once.

Theory of operation. A stretch begins with the first trade or quote after the last one was closed
and ends at the next multiple of `SAMPLE_NS`. It is closed by the first event or timer at or after
its end; what comes later belongs to the next. A stretch without events gives no sample and costs
nothing, whatever the number of instruments; the next sample says how long nothing happened. A bar
is a sample of its own. Backfilled trades are old news and do not count.

The memory is one `Stretch` an instrument. Trades wait in it and are added up `FOLD` at a time or at
the end of the stretch, which costs a third of adding each up as it comes. A quote that is withdrawn
before it has settled sets no price.
"""

from collections.abc import Callable
from math import sqrt
from typing import Final

from msgspec import Struct

from tapewatch.kernels.moments import SAMPLE_MAX
from tapewatch.kernels.prices import SETTLED_NS, micro
from tapewatch.model import limits
from tapewatch.model.events import Bar, Quote, Sample, Trade
from tapewatch.model.instrument import Side
from tapewatch.model.time import NS_PER_MS

SAMPLE_NS: Final = int(limits.SAMPLE_S * 1_000_000_000)
FOLD: Final = 32  # trades that wait, at most: a bound on memory
_SAME: Final = 1e-9  # of a price: smaller steps are rounding


class Stretch(Struct, array_like=True):
    """What is known of one instrument, and of its current stretch (`end` 0: none is open)."""

    end: int = 0
    closed: int = 0  # end of the stretch before, 0: none yet
    last: float = 0.0  # price of the last trade
    tick: float = 0.0
    bid: float = 0.0  # of trades
    ask: float = 0.0
    high: float = 0.0
    low: float = 0.0
    trades: int = 0
    orders: int = 0
    bought: float = 0.0
    sold: float = 0.0
    volume: float = 0.0
    largest: float = 0.0
    order_ms: int = 0
    order_side: Side = "unknown"
    order: float = 0.0  # notional of the current order
    newest_bid: float = 0.0  # the newest quote, which may still be withdrawn
    newest_ask: float = 0.0
    newest_ns: int = 0  # 0: this instrument has no quotes
    settled_bid: float = 0.0
    settled_ask: float = 0.0
    mid: float = 0.0  # the last valid mid of settled quotes
    waiting: list[Trade] = []


class Sampler(Struct):
    """All stretches, and the instruments whose stretch is open, in the order of opening."""

    stretches: dict[str, Stretch] = {}
    open: list[str] = []


def on_trade(sampler: Sampler, trade: Trade) -> Sample | None:
    """Take a trade in; returns the sample of the stretch before, if that is over."""
    now, done = trade.ts_recv, None
    stretch = sampler.stretches.get(trade.instrument)
    if stretch is None:
        stretch = sampler.stretches[trade.instrument] = Stretch()
    if now >= stretch.end:
        done = _turn(sampler, stretch, trade.instrument, now)
    if not trade.backfilled:
        stretch.waiting.append(trade)
        if len(stretch.waiting) >= FOLD:
            _fold(stretch)
    return done


def on_quote(sampler: Sampler, quote: Quote) -> Sample | None:
    """Take a quote in; returns the sample of the stretch before, if that is over."""
    now = quote.ts_recv
    stretch = sampler.stretches.get(quote.instrument)
    if stretch is None:
        stretch = sampler.stretches[quote.instrument] = Stretch()
    done = _turn(sampler, stretch, quote.instrument, now) if now >= stretch.end else None
    bid, ask = quote.bid, quote.ask
    if bid != stretch.newest_bid or ask != stretch.newest_ask or not stretch.newest_ns:
        _settle(stretch, now)
        if 0.0 < bid < ask:
            tick = _finer(stretch.tick, ask - bid, ask)
            if stretch.newest_bid > 0.0:
                tick = _finer(tick, abs(bid - stretch.newest_bid), ask)
            stretch.tick = tick
        stretch.newest_bid, stretch.newest_ask, stretch.newest_ns = bid, ask, now
    return done


def on_bar(sampler: Sampler, bar: Bar) -> Sample:
    """A bar as the sample that it is."""
    stretch = sampler.stretches.get(bar.instrument)
    if stretch is None:
        stretch = sampler.stretches[bar.instrument] = Stretch()
    if stretch.last:
        stretch.tick = _finer(stretch.tick, abs(bar.close - stretch.last), bar.close)
    idle = max(0, bar.ts_event - bar.interval_ns - stretch.closed) if stretch.closed else -1
    stretch.last, stretch.closed = bar.close, max(stretch.closed, bar.ts_event)
    return Sample(
        bar.instrument,
        bar.ts_event,
        bar.ts_recv,
        bar.interval_ns,
        idle,
        bar.close,
        bar.high,
        bar.low,
        0.0,
        0.0,
        stretch.tick,
        bar.trades,
        -1,
        -1.0,
        -1.0,
        -1.0,
        min(bar.volume * bar.close, SAMPLE_MAX),
    )


# What to do with an event, by its type. Books give no samples: their best prices come as quotes,
# where a venue has them.
FOLDS: Final[dict[type, Callable[..., Sample | None]]] = {
    Trade: on_trade,
    Quote: on_quote,
    Bar: on_bar,
}


def on_timer(sampler: Sampler, now: int) -> list[Sample]:
    """Samples of all stretches that are over, in the order in which they began."""
    if not sampler.open:
        return []
    done: list[Sample] = []
    still: list[str] = []
    for instrument in sampler.open:
        stretch = sampler.stretches[instrument]
        if now < stretch.end:
            still.append(instrument)
            continue
        sample = _close(stretch, instrument, now)
        if sample is not None:
            done.append(sample)
    sampler.open = still
    return done


def forget(sampler: Sampler, instrument: str) -> None:
    """Drop the memory of one instrument."""
    if sampler.stretches.pop(instrument, None) is not None and instrument in sampler.open:
        sampler.open.remove(instrument)


def _turn(sampler: Sampler, stretch: Stretch, instrument: str, now: int) -> Sample | None:
    """Close the stretch that is over, if there is one, and open the one that `now` lies in."""
    done = None
    if stretch.end:
        done = _close(stretch, instrument, now)
    else:
        sampler.open.append(instrument)
    stretch.end = now - now % SAMPLE_NS + SAMPLE_NS
    stretch.trades = stretch.orders = 0
    stretch.bought = stretch.sold = stretch.volume = stretch.largest = 0.0
    stretch.high = stretch.low = 0.0
    stretch.order_side, stretch.order_ms, stretch.order = "unknown", 0, 0.0
    return done


def _fold(stretch: Stretch) -> None:
    """Add up the trades that wait: lists, built-ins and local names, since this is for each one."""
    waiting = stretch.waiting
    if not waiting:
        return
    prices = [trade.price for trade in waiting]
    low = min(prices)
    stretch.high = max(stretch.high, *prices)
    stretch.low = min(stretch.low, low) if stretch.low else low
    _fold_sides(stretch)
    _fold_amounts(stretch)
    stretch.trades += len(waiting)
    waiting.clear()


def _fold_sides(stretch: Stretch) -> None:
    """What was bought and sold last, and the smallest step."""
    last, tick, bid, ask = stretch.last, stretch.tick, stretch.bid, stretch.ask
    side: Side | None = None
    for trade in stretch.waiting:
        price = trade.price
        if price == last and trade.aggressor == side:
            continue  # says the same again
        side = trade.aggressor
        bid, ask = micro(bid, ask, price, side)
        if price != last:
            if last:
                tick = _finer(tick, abs(price - last), price)
            last = price
    stretch.last, stretch.tick, stretch.bid, stretch.ask = last, tick, bid, ask


def _fold_amounts(stretch: Stretch) -> None:
    """Amounts by side, and orders: what one taker does in one millisecond on one side."""
    orders, largest = stretch.orders, stretch.largest
    order_ms, order_side, order = stretch.order_ms, stretch.order_side, stretch.order
    amounts = {"buy": 0.0, "sell": 0.0, "unknown": 0.0}
    for trade in stretch.waiting:
        side, notional = trade.aggressor, trade.price * trade.size
        if notional > SAMPLE_MAX:  # noqa: PLR1730  (min() costs as much as all the rest)
            notional = SAMPLE_MAX
        amounts[side] += notional
        ms = trade.ts_event // NS_PER_MS
        if ms == order_ms and side == order_side:
            order += notional
        else:
            orders += 1
            order_ms, order_side, order = ms, side, notional
        if order > largest:  # noqa: PLR1730
            largest = order
    stretch.bought += amounts["buy"]
    stretch.sold += amounts["sell"]
    stretch.volume += amounts["buy"] + amounts["sell"] + amounts["unknown"]
    stretch.orders, stretch.largest = orders, largest
    stretch.order_ms, stretch.order_side, stretch.order = order_ms, order_side, order


def _finer(tick: float, step: float, price: float) -> float:
    """The smaller of the tick known and a step seen, unless the step is only rounding."""
    return step if _SAME * price < step and (step < tick or tick == 0.0) else tick


def _settle(stretch: Stretch, now: int) -> None:
    """The newest quote counts once it has stood long enough."""
    if stretch.newest_ns and now - stretch.newest_ns >= SETTLED_NS:
        bid, ask = stretch.newest_bid, stretch.newest_ask
        stretch.settled_bid, stretch.settled_ask = bid, ask
        if 0.0 < bid < ask:
            stretch.mid = 0.5 * bid + 0.5 * ask


def _close(stretch: Stretch, instrument: str, now: int) -> Sample | None:
    """The sample of the open stretch; None when there is no price yet."""
    end = stretch.end
    _fold(stretch)
    _settle(stretch, end)
    if stretch.mid:
        price, bid, ask = stretch.mid, stretch.settled_bid, stretch.settled_ask
    elif stretch.bid and stretch.ask:
        price, bid, ask = sqrt(stretch.bid) * sqrt(stretch.ask), stretch.bid, stretch.ask
    else:
        price, bid, ask = stretch.last, 0.0, 0.0
    idle = end - SAMPLE_NS - stretch.closed if stretch.closed else -1
    stretch.closed, stretch.end = end, 0
    if price == 0.0:
        return None
    return Sample(
        instrument,
        end,
        now,
        SAMPLE_NS,
        idle,
        price,
        stretch.high or price,
        stretch.low or price,
        bid,
        ask,
        stretch.tick,
        stretch.trades,
        stretch.orders,
        stretch.bought,
        stretch.sold,
        stretch.largest,
        stretch.volume,
    )
