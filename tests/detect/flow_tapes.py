"""Tapes for the tests of order flow: quiet markets of a known law, bursts, their mirror image."""

import functools
import pathlib
from collections.abc import Iterable, Iterator
from math import cos, exp, pi
from random import Random
from typing import Any

import msgspec
import pyarrow.parquet
from msgspec.structs import replace

from tapewatch.detect.base import Detector
from tapewatch.model.events import Event, Sample, Trade
from tapewatch.model.instrument import Side
from tapewatch.model.outputs import Observation
from tapewatch.model.time import NS_PER_MS, NS_PER_S
from tapewatch.testing.streams import sampled

START = 1_750_000_000 * NS_PER_S
SLICE_NS = 5 * NS_PER_S
KEY = "venue:COIN/BTC"
OTHER: dict[Side, Side] = {"buy": "sell", "sell": "buy", "unknown": "unknown"}


def trade(at: int, price: float, size: float = 1.0, side: Side = "buy", key: str = KEY) -> Trade:
    return Trade(key, at, at, price, size, side)


def quiet(hours: float, gap_s: float = 20.0, seed: int = 1) -> Iterator[Trade]:
    """Single orders at random times, bouncing between a bid of 99.8 and an ask of 100.2."""
    random, at = Random(seed), START
    end = START + int(hours * 3600) * NS_PER_S
    while True:
        at += int(random.expovariate(1.0 / gap_s) * NS_PER_S) // NS_PER_MS * NS_PER_MS + NS_PER_MS
        if at >= end:
            return
        side: Side = random.choice(("buy", "sell"))
        yield trade(at, 100.2 if side == "buy" else 99.8, random.lognormvariate(0.0, 1.0), side)


def burst(
    at: int, orders: int, seconds: float, last: float, size: float = 1.0, first: float = 100.0
) -> Iterator[Trade]:
    """Orders at equal distances that carry the price from `first` to `last`."""
    for index in range(1, orders + 1):
        when = at + int(seconds * NS_PER_S * index / orders) // NS_PER_MS * NS_PER_MS
        price = first + (last - first) * index / orders
        yield trade(when, price, size, "buy" if last >= first else "sell")


def mirrored(trades: Iterable[Trade]) -> Iterator[Trade]:
    """The tape seen from the other currency: prices inverted, sides swapped, amounts kept."""
    for one in trades:
        notional = one.price * one.size
        yield replace(
            one, price=1.0 / one.price, size=notional * one.price, aggressor=OTHER[one.aggressor]
        )


def observations(
    detector: Detector[Any], trades: Iterable[Trade], *, key: str = KEY
) -> list[tuple[int, Observation]]:
    """Receive times and observations of one instrument, through the engine's samples."""
    return drive(detector, [event for event in sampled(trades) if _of(event) == key])


def _of(event: Event) -> str:
    return event.instrument if isinstance(event, Trade | Sample) else ""


def drive(detector: Detector[Any], events: Iterable[Event]) -> list[tuple[int, Observation]]:
    state = detector.start(KEY)
    seen = []
    for event in events:
        if type(event) in detector.wants:
            found = detector.update(state, event)
            if found is not None:
                seen.append((event.ts_recv, found))
    return seen


def alarms(seen: Iterable[tuple[int, Observation]]) -> list[tuple[int, Observation]]:
    """Those that the gate could make an alarm of, budget and incidents aside."""
    return [
        (at, one)
        for at, one in seen
        if one.ready and one.material and one.score >= one.line and one.severity != "info"
    ]


def counted(
    slices: int, rate: float, *, shape: float = 0.0, day: float = 0.0, seed: int = 1
) -> Iterator[Sample]:
    """Samples of orders alone: Poisson counts whose rate is `rate` a slice, times a daily wave of
    amplitude `day` (nats), times a gamma factor of that shape drawn anew each minute."""
    random, closed, mixed = Random(seed), 0, 1.0
    for index in range(slices):
        if index % 12 == 0 and shape:
            mixed = random.gammavariate(shape, 1.0 / shape)
        end = START - START % SLICE_NS + (index + 1) * SLICE_NS
        wave = exp(day * cos(2.0 * pi * (end % (86_400 * NS_PER_S)) / (86_400 * NS_PER_S)))
        count = _poisson(random, rate * wave * mixed)
        if count:
            yield sample(end, count, closed)
            closed = end


def _poisson(random: Random, mean: float) -> int:
    count, left = 0, random.expovariate(1.0)
    while left < mean:
        count, left = count + 1, left + random.expovariate(1.0)
    return count


def sample(end: int, orders: int, closed: int = 0, **more: Any) -> Sample:
    """So many orders of size one at a price of 100, half of them bought, unless told otherwise."""
    plain = Sample(
        instrument=KEY,
        ts_event=end,
        ts_recv=end,
        interval_ns=SLICE_NS,
        idle_ns=end - SLICE_NS - closed if closed else -1,
        price=100.0,
        high=100.0,
        low=100.0,
        bid=99.9,
        ask=100.1,
        tick=0.1,
        trades=orders,
        orders=orders,
        bought=50.0 * orders,
        sold=50.0 * orders,
        largest=100.0,
        volume=100.0 * orders,
    )
    return replace(plain, **more) if more else plain


def packed_size(state: Any) -> int:
    return len(msgspec.msgpack.encode(state))


# Small coins, and the second an hour before something was announced: quiet until then.
REAL: dict[str, int] = {
    "SNM_2021-11-20T1701Z": 1_637_424_060,
    "FIO_2021-02-04T1700Z": 1_612_454_400,
    "GVT_2021-02-20T1700Z": 1_613_836_800,
    "NEBL_2021-04-02T2100Z": 1_617_393_600,
    "CTXC_2021-03-18T1700Z": 1_616_083_200,
    "FIO_2021-06-13T1701Z": 1_623_600_060,
}


@functools.cache
def real_samples(pumps: pathlib.Path, stem: str) -> tuple[Sample, ...]:
    """Samples of one real file until it is no longer quiet."""
    columns = pyarrow.parquet.read_table(pumps / f"{stem}.parquet").to_pydict()
    until = REAL[stem] * 1_000
    trades = [
        trade(ms * NS_PER_MS, price, size, side)
        for ms, price, size, side in zip(
            columns["ts_ms"], columns["price"], columns["qty"], columns["side"], strict=True
        )
        if ms < until
    ]
    return tuple([one for one in sampled(trades) if isinstance(one, Sample)])
