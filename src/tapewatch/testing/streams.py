"""Streams for the conformance suite: lively, extreme, a market's first seconds, damaged frames.

Everything is a pure function of a seed. These are stimuli, not a model of any market.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from random import Random
from typing import Final

from msgspec.structs import replace

from tapewatch.engine import sampling
from tapewatch.model.events import Bar, Book, Event, Quote, Sample, Status, StatusKind, Trade
from tapewatch.model.inputs import Frame, Link, Timer
from tapewatch.model.instrument import Side
from tapewatch.model.time import NS_PER_S, TS_MAX_NS, TS_MIN_NS

START_NS: Final = 1_750_000_000 * NS_PER_S
_SIDES: Final[tuple[Side, ...]] = ("buy", "sell", "unknown")
_KINDS: Final[tuple[StatusKind, ...]] = (
    "gap", "duplicate", "checksum", "malformed", "halted", "online", "lag", "mute",
)  # fmt: skip


def sampled(stream: Iterable[Event]) -> list[Event]:
    """The events with the samples that the engine makes of them, where it would pass them on."""
    sampler = sampling.Sampler()
    found: list[Event] = []
    for event in stream:
        if isinstance(event, Timer):
            found += sampling.on_timer(sampler, event.ts_recv)
        elif isinstance(event, Trade | Quote | Bar):
            sample = sampling.FOLDS[type(event)](sampler, event)
            found += [] if sample is None else [sample]
        found.append(event)
    return found


def lively(instruments: tuple[str, ...], events: int, seed: int = 1) -> list[Event]:
    """About `events` events: a timer a second, frames, trades, quotes and books between, jumps, a
    silence, crossed books, statuses, and a link that goes down and up; and samples of it all."""
    random = Random(seed)  # noqa: S311  (a seeded stimulus, nothing secret)
    prices = dict.fromkeys(instruments, 100.0)
    stream: list[Event] = []
    now = START_NS
    while len(stream) < events:
        now += NS_PER_S
        second = (now - START_NS) // NS_PER_S
        stream.append(Timer(now))
        if second % 1000 == 400:
            stream.append(Link(now, instruments[0].partition(":")[0], "down", "closed"))
        elif second % 1000 == 420:
            stream.append(Link(now, instruments[0].partition(":")[0], "up"))
        if second % 700 > 650:  # silence
            continue
        for instrument in instruments:
            price = prices[instrument] * (1.0 + random.gauss(0.0, 1e-4))
            if random.random() < 0.002:
                price *= random.choice((0.7, 1.4))
            prices[instrument] = price = round(price, 2)
            stream.extend(_second(random, instrument, price, now))
    return sampled(stream)


def _second(random: Random, instrument: str, price: float, now: int) -> Iterator[Event]:
    at = now + random.randrange(NS_PER_S // 2)
    source, _, symbol = instrument.partition(":")
    kind = random.choice(("trade", "trade", "trade", "heartbeat"))
    yield Frame(at, source, f'{{"channel":"{kind}","symbol":"{symbol}","price":{price}}}'.encode())
    if at // NS_PER_S % 16 == 0:  # seldom, so that the stream stays long
        yield _frame(instrument, at, price)
    yield Trade(
        instrument, at - 50_000_000, at, price, random.lognormvariate(-3, 2),
        random.choice(_SIDES), str(at), backfilled=random.random() < 0.05,
        taker=f"account{at % 41}", maker=f"account{at % 7}" if at % 3 == 0 else "",
    )  # fmt: skip
    bid = round(price - 0.01, 2)
    ask = round(price + random.choice((0.01, 0.01, 0.01, -0.02)), 2)
    yield Quote(instrument, at, at + 1, bid, random.random() + 0.1, ask, random.random() + 0.1)
    chance = random.random()
    if chance < 0.2:
        yield Book(instrument, at, at + 1, ((bid, 1.0), (bid - 0.01, 2.0)), ((ask, 1.0),))
    elif chance < 0.25:
        status = random.choice(_KINDS)
        yield Status(source, instrument, at, at, status, "detail", first_id=1, last_id=3, value=9.0)
    elif chance < 0.3:
        minute = 60 * NS_PER_S
        yield Bar(instrument, at, at, price, price + 1.0, price - 1.0, price, 5.0, minute, 7)


def _frame(instrument: str, at: int, price: float) -> Frame:
    """A raw message; now and then one that does not look like the others."""
    source, _, symbol = instrument.partition(":")
    text = f'{{"channel":"trade","symbol":"{symbol}","price":{price},"time":{at}}}'
    if at // NS_PER_S % 976 == 0:
        text = "<html>502 Bad Gateway</html>"
    return Frame(at, source, text.encode())


def extremes(instrument: str, start: int = START_NS) -> list[Event]:
    """Legal, and nothing that anyone expects: the ends of every range, times that jump."""
    source = instrument.partition(":")[0]
    stream: list[Event] = []
    values = (5e-324, 1e-9, 1.0, 1e9, 1.7e308)
    hostile = "\x1b[2J\u202e" + "x" * 10_000
    recv = start
    for time in (TS_MIN_NS, start, start + 1, 0, TS_MAX_NS):
        for index, (value, other) in enumerate(product(values, values)):
            recv += NS_PER_S
            stream += [
                Trade(instrument, time, recv, value, other, "buy", hostile, index),
                Trade(instrument, recv, time, other, 0.0, "unknown", backfilled=True),
                Quote(instrument, time, recv, value, value, other, other),
                Quote(instrument, time, recv, 0.0, 0.0, value, other),
                Quote(instrument, time, recv, 0.0, 0.0, 0.0, 0.0),
                Book(instrument, time, recv, (), ()),
                Book(instrument, time, recv, ((value, other),) * 1000, ((other, value),) * 1000),
                Bar(instrument, time, recv, value, other, value, other, 0.0, 1),
                Status(
                    source, instrument, time, recv, "invalid", hostile, hostile, 1, -1, 0, value
                ),
                Status(source, "", time, recv, "lag", hostile, value=-other),
                Frame(recv, source, _GARBAGE[index % len(_GARBAGE)], hostile),
                Frame(time, source, f'{{"{hostile}":{value}}}'.encode()),
                Sample(
                    instrument,
                    time,
                    recv,
                    NS_PER_S,
                    time,
                    value,
                    value,
                    other,
                    other,
                    value,
                    other,
                    index,
                    index,
                    other,
                    value,
                    other,
                    value,
                ),
                Frame(recv, source, b"\xff\x00" * 1_000),
                Link(recv, source, "down" if index % 2 else "up", hostile),
                Timer(time),
                Timer(recv),
            ]
    return sampled(stream)


def first_seconds(instrument: str) -> list[Event]:
    """A market's first three seconds, in which its price doubles: nobody can call that odd yet."""
    stream: list[Event] = []
    for second, price in enumerate((100.0, 200.0, 100.0)):
        now = START_NS + second * NS_PER_S
        stream += [
            Timer(now),
            _frame(instrument, now, price),
            Trade(instrument, now, now, price, 10.0**second, "buy", str(second)),
            Quote(instrument, now, now + 1, price - 1.0, 1.0, price + 1.0, 1.0),
            Book(instrument, now, now + 2, ((price - 1.0, 1.0),), ((price + 1.0, 1.0),)),
        ]
    return sampled(stream)


_GARBAGE: Final = (
    b"", b" ", b"PONG", b"[]", b"{}", b"null", b"0", b'""', b"NaN", b"[1,2", b"\xff\xfe\x00",
    b"[" * 100_000, b'{"a":' * 5_000, b"9" * 5_000, b"<html>502 Bad Gateway</html>",
)  # fmt: skip
_VALUE: Final = re.compile(rb'(?<=[:,\[])(?:-?[\d.eE+]+|"[^"]*"|true|false|null)(?=[,\]}])')
_VALUES: Final = (
    b"0", b"-1", b"1e400", b"-1e-400", b"1e308", b"NaN", b"null", b"true", b"[]", b"{}", b'""',
    b'"abc"', b'"-0.5"', b'"1e999"', b'"1970-01-01T00:00:00Z"', b"99999999999999999999999",
    b'"\\u0000\\u001b[2J"', b'"\\ud800"',
)  # fmt: skip


def garbage(frames: Sequence[Frame], count: int = 2_000, seed: int = 1) -> Iterator[Frame]:
    """Every third frame as it is, the others cut, flipped, spliced, or with one value replaced."""
    random = Random(seed)  # noqa: S311  (as above)
    for data in _GARBAGE:
        yield replace(frames[0], data=data)
    for index in range(count):
        frame = frames[index % len(frames)]
        yield frame if index % 3 == 0 else replace(frame, data=_damaged(random, frame.data))


def _damaged(random: Random, data: bytes) -> bytes:
    values = list(_VALUE.finditer(data))
    here, there = sorted(random.randrange(len(data) + 1) for _ in range(2))
    match random.randrange(8):
        case 0:
            return data[:here]
        case 1:
            return data[:here] + data[there:]
        case 2:
            return data[:there] + data[here:]
        case 3:
            return data[:here] + bytes([random.randrange(256)]) + data[here + 1 :]
        case _ if values:
            old = random.choice(values)
            return data[: old.start()] + random.choice(_VALUES) + data[old.end() :]
        case _:
            return data[::-1]


def unbroken(stream: Iterable[Event]) -> Iterator[Event]:
    """`stream` without spells without data: what fills up after one looks like growth."""
    spells = ("stale", "halted", "incomplete")
    return (event for event in stream if not (type(event) is Status and event.kind in spells))
