"""Made-up markets of known law, second by second, and the frames that tell of them.

Every law is a generator of `Step`s: where bid and ask stand at the end of each second, how far the
log price moved in sd of that second, and how often it was traded. Nothing here knows detectors.
The parameters below are all there are; a tape is its law's name and a seed. Seeds 0-9 are for
whoever tunes something, 100-199 for what is reported.

Most move by 2 bps a second, a lively coin of 110 % a year, where floors in native units are part of
what is measured; the `wild` one by 10 bps, where hardly anything is too small to matter.
"""

from collections.abc import Callable, Iterator
from itertools import count, repeat
from math import exp, floor, log, pi, sin, sqrt
from random import Random
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from tapewatch.model.inputs import Frame, Timer
from tapewatch.model.instrument import Side
from tapewatch.model.time import NS_PER_MS, NS_PER_S
from tapewatch.venues.ndjson import Row, TradeRow

START_S: Final = 1_600_000_000  # of every tape: 2020-09-13 12:26:40 UTC
PRICE: Final = 100.0
SIGMA: Final = 2e-4  # sd of the log price over a second
WILD: Final = 5.0  # times as much
HALF_SPREAD: Final = 0.1  # in sd of a second
DAY_S: Final = 86_400
# GARCH(1,1) with unit mean variance: memory as in minutes of trades, kurtosis from the innovations.
ALPHA: Final = 0.08
BETA: Final = 0.90
DIURNAL: Final = 0.5  # amplitude of the factor on sigma, one period a day
OU_HALF_LIFE_S: Final = 69.0
GRID: Final = 0.03  # tick of the busy lattice: its price moves by two thirds of one a second
TICK: Final = 0.01  # of the others
TICKS: Final = 62  # where those begin; they are reflected at half and at twice that
SLOW_S: Final = 300.0  # mean time between moves of a slow lattice
RARE_S: Final = 7_200.0  # ... of one that hardly moves
HAWKES_RATE: Final = 1.0  # trades a second
HAWKES_BRANCHING: Final = 0.7
HAWKES_DECAY_S: Final = 10.0


class Step(NamedTuple):
    """One second: bid and ask at its end, the true sd of its move, and the number of trades."""

    bid: float
    ask: float
    sigma: float
    trades: int = 2


class Law(Struct, frozen=True):
    """How a market moves. Nothing in it should ever be told."""

    name: str
    steps: Callable[[Random], Iterator[Step]]


def quoted(x: float, sigma: float, trades: int = 2, unit: float = SIGMA) -> Step:
    """The step of a market whose log price is `x` above its beginning; `unit` is its usual sd."""
    half = HALF_SPREAD * unit
    return Step(PRICE * exp(x - half), PRICE * exp(x + half), sigma, trades)


def student(random: Random, freedom: int) -> float:
    """A draw of Student's t with unit variance; `freedom` > 2."""
    squares = random.gammavariate(0.5 * freedom, 2.0)
    return random.gauss(0.0, 1.0) * sqrt((freedom - 2.0) / squares)


def gaussian(sigma: float) -> Callable[[Random], Iterator[Step]]:
    """A random walk."""

    def steps(random: Random) -> Iterator[Step]:
        x = 0.0
        for _ in count():
            x += random.gauss(0.0, sigma)
            yield quoted(x, sigma, unit=sigma)

    return steps


def ornstein_uhlenbeck(random: Random) -> Iterator[Step]:
    """It comes back with a half-life of OU_HALF_LIFE_S; the sd given is that of the innovation."""
    x, kept = 0.0, 0.5 ** (1.0 / OU_HALF_LIFE_S)
    for _ in count():
        x = kept * x + random.gauss(0.0, SIGMA)
        yield quoted(x, SIGMA)


def garch(freedom: int) -> Callable[[Random], Iterator[Step]]:
    """GARCH(1,1) with t innovations and a daily cycle of volatility (Bollerslev 1987)."""

    def steps(random: Random) -> Iterator[Step]:
        x, variance = 0.0, 1.0
        for second in count():
            day = 1.0 + DIURNAL * sin(2.0 * pi * second / DAY_S)
            shock = student(random, freedom) * sqrt(variance)
            sigma = SIGMA * day * sqrt(variance)
            x += SIGMA * day * shock
            yield quoted(x, sigma)
            variance = 1.0 - ALPHA - BETA + ALPHA * shock * shock + BETA * variance

    return steps


def rounded(random: Random) -> Iterator[Step]:
    """A random walk of which only the ticks on either side are seen."""
    x = 0.0
    for _ in count():
        x += random.gauss(0.0, SIGMA)
        bid = GRID * floor(PRICE * exp(x) / GRID)
        yield Step(bid, bid + GRID, SIGMA)


def lattice(every_s: float) -> Callable[[Random], Iterator[Step]]:
    """Bid and ask are neighbouring ticks and move by one, every `every_s` on average."""

    def steps(random: Random) -> Iterator[Step]:
        ticks = TICKS
        for _ in count():
            if random.random() < 1.0 / every_s:
                ticks += 1 if random.random() < 0.5 else -1
                ticks = min(max(ticks, TICKS // 2), 2 * TICKS)
            yield Step(TICK * ticks, TICK * (ticks + 1), 1.0 / ticks / sqrt(every_s))

    return steps


def frozen(random: Random) -> Iterator[Step]:  # noqa: ARG001  a law like the others
    """One price, for ever."""
    return repeat(Step(TICK * TICKS, TICK * TICKS, 0.0))


def hawkes(random: Random) -> Iterator[Step]:
    """A random walk traded in clusters: self-exciting arrivals with an exponential kernel.

    Reference: Hawkes 1971; simulated by thinning (Ogata 1981).
    """
    x, excited = 0.0, 0.0
    base = HAWKES_RATE * (1.0 - HAWKES_BRANCHING)
    for _ in count():
        at, trades = 0.0, 0
        while at < 1.0:
            most = base + excited
            wait = random.expovariate(most)
            if at + wait >= 1.0:
                excited *= exp(-(1.0 - at) / HAWKES_DECAY_S)
                break
            at += wait
            excited *= exp(-wait / HAWKES_DECAY_S)
            if random.random() < (base + excited) / most:
                trades += 1
                excited += HAWKES_BRANCHING / HAWKES_DECAY_S
        x += random.gauss(0.0, SIGMA)
        yield quoted(x, SIGMA, trades)


LAWS: Final = (
    Law("gaussian", gaussian(SIGMA)),
    Law("gaussian_wild", gaussian(WILD * SIGMA)),
    Law("ornstein_uhlenbeck", ornstein_uhlenbeck),
    Law("garch_t3", garch(3)),
    Law("garch_t4", garch(4)),
    Law("hawkes", hawkes),
    Law("lattice_busy", rounded),
    Law("lattice_slow", lattice(SLOW_S)),
    Law("lattice_rare", lattice(RARE_S)),
    Law("frozen", frozen),
)


def law(name: str) -> Law:
    """The law of that name."""
    return next(one for one in LAWS if one.name == name)


def instrument(name: str) -> str:
    """Id of the market of that law."""
    return f"synthetic:{name}"


def random_of(name: str, seed: int) -> Random:
    """The source of chance of one tape."""
    return Random(f"{name}/{seed}")  # noqa: S311  seeded, nothing secret


def timer(second: int) -> Timer:
    """The timer at the beginning of a second of the tape."""
    return Timer((START_S + second) * NS_PER_S)


def frames(market: str, second: int, step: Step, random: Random) -> list[Frame]:
    """The trades of one second as rows of the `ndjson` venue, in time order.

    Two trades are a purchase at the ask and a sale at the bid in either order, so that the price is
    known at the end of the second; with more or fewer each side is chance. Sizes are lognormal.
    """
    start = (START_S + second) * NS_PER_S
    times = sorted([random.randrange(1_000) for _ in range(step.trades)])
    buys = [random.random() < 0.5 for _ in times]
    if len(times) == 2:
        buys[1] = not buys[0]
    made = []
    for ms, buy in zip(times, buys, strict=True):
        side: Side = "buy" if buy else "sell"
        at = start + ms * NS_PER_MS
        price = step.ask if buy else step.bid
        row = TradeRow(market, at, price, random.lognormvariate(0.0, 1.0), side)
        made.append(Frame(at, "ndjson", msgspec.json.encode(Row(trade=row))))
    return made


def shifted(step: Step, by: float) -> Step:
    """`step` with its log price moved by `by`."""
    factor = exp(by)
    return step._replace(bid=step.bid * factor, ask=step.ask * factor)


def log_mid(step: Step) -> float:
    """Log of the geometric mid."""
    return 0.5 * (log(step.bid) + log(step.ask))
