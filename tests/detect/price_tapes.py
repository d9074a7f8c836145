"""Made-up prices for the tests of `price_jump`, `drift` and `regime`."""

from collections.abc import Iterable, Iterator
from math import exp
from random import Random
from typing import Any

from tapewatch.detect.base import Detector
from tapewatch.model.events import Event, Quote, Sample, Trade
from tapewatch.model.instrument import Side
from tapewatch.model.outputs import Observation
from tapewatch.model.time import NS_PER_S

START_NS = 1_700_000_000 * NS_PER_S
COIN, ODDS = "kraken:BTC/USD", "polymarket:0xab12"
SAMPLE_NS = 5 * NS_PER_S


def trade(at_s: float, price: float, side: Side = "unknown", key: str = COIN) -> Trade:
    """One trade, `at_s` seconds after the beginning."""
    now = START_NS + round(at_s * NS_PER_S)
    return Trade(key, now, now, price, 1.0, side)


def quote(at_s: float, bid: float, ask: float, key: str = COIN) -> Quote:
    now = START_NS + round(at_s * NS_PER_S)
    return Quote(key, now, now, bid, 1.0, ask, 1.0)


def sample(index: int, price: float, key: str = COIN, **other: Any) -> Sample:
    """The `index`-th five seconds."""
    values: dict[str, Any] = {"bid": 0.0, "ask": 0.0, "tick": 0.0, "idle_ns": 0}
    values.update(other)
    end = START_NS + (index + 1) * SAMPLE_NS
    return Sample(
        key, end, end, SAMPLE_NS, values["idle_ns"] if index else -1, price, price, price,
        values["bid"], values["ask"], values["tick"], 5, 5, 1.0, 1.0, 1.0, 2.0,
    )  # fmt: skip


def walk(count: int, seed: int = 1, sd: float = 1e-4, start: float = 100.0) -> list[float]:
    """A Gaussian random walk of the log price."""
    random, x, made = Random(seed), 0.0, []
    for _ in range(count):
        x += random.gauss(0.0, sd)
        made.append(start * exp(x))
    return made


def bounce(count: int, seed: int = 1, middle: float = 0.62) -> list[tuple[float, Side]]:
    """A price that stands, traded at `middle` and a tick of 0.01 on either side."""
    random = Random(seed)
    made: list[tuple[float, Side]] = []
    for _ in range(count):
        side: Side = random.choice(("buy", "sell"))
        step = random.choice((0, 0, 1)) if side == "buy" else random.choice((0, 0, -1))
        made.append((round(middle + 0.01 * step, 2), side))
    return made


def told(
    detector: Detector[Any], events: Iterable[Event], state: Any = None
) -> Iterator[Observation]:
    """What a detector says of one instrument."""
    for event in events:
        if state is None:
            key = detector.key(event)
            assert key is not None
            state = detector.start(key)
        seen = detector.update(state, event)
        if seen is not None:
            yield seen
