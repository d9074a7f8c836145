"""What `price_jump` remembers of one instrument, and how a step of it begins and ends.

Prices live as coordinates x: the log of a price, of a probability its log-odds. The rest is
numbers; which of them becomes an observation is decided in `price_jump.py`.
"""

from math import exp, log, sqrt
from statistics import median
from typing import Final

from msgspec import Struct, field

from tapewatch.detect.base import TOLD
from tapewatch.kernels.change import student_4, student_4_at
from tapewatch.kernels.prices import SETTLED_NS, faded, half_spread, half_tick, micro
from tapewatch.kernels.scale import log_odds, scale, scale_step
from tapewatch.kernels.tails import Tail, learn, magnitude_at, p_value, ready
from tapewatch.model.time import NS_PER_S

STEP_NS: Final = NS_PER_S
HALF_LIVES_S: Final = (30.0, 300.0, 3600.0)
SPREAD_S: Final = 3600.0  # half-life of the usual half-spread
_KEPT: Final = tuple(0.5 ** (1.0 / half) for half in HALF_LIVES_S)
_STANDS_S: Final = 60.0  # a spread that nobody touches is stale after that
_SPREAD_KEPT: Final = 0.5 ** (1.0 / SPREAD_S)
LONGEST_S: Final = 600.0  # of silence; a longer one counts as this
STRETCH: Final = 0.5  # variance grows with the silence before a step to this power: between a
# market in which nothing happens (0) and a diffusion that nobody sees (1)
WARM: Final = 60  # steps before anything is judged: the scale begins as their mean square
PRINTS: Final = 5  # the last prices, whose median a print must resemble
FAR: Final = 5.0  # times the median, or a fifth of it: no market does that between two prints
RARE: Final = 1e-4  # p at which a statistic is clipped before it enters the record
_TOLD_P: Final = 10.0**-TOLD
_EARLY_AT: Final = student_4_at(_TOLD_P)
_WIDEST: Final = 700.0  # of a coordinate, so that its price is finite
TICK_OF_ONE: Final = 0.01  # the coarsest tick of prediction markets
TICK_OF_PRICE: Final = 0.01  # assumed of a price that has never moved; most are finer
_FLOOR_MAX: Final = 1.0  # nats; a floor that says nothing any more
_MEAN_STEPS: Final = 100_000  # counting stops: the means have forgotten their beginning


class Jump(Struct):
    """A jump that is being followed: coordinates before it and at its peak, and the memory that
    its price has entered since."""

    since_ns: int
    start: float
    peak: float
    score: float
    p: float
    short: float
    middle: float
    long: float
    spread: float
    events: int = 0


class PriceState(Struct):
    """Memory of one instrument. Coordinates and variances are those of `coordinate`."""

    key: str
    probable: bool = False  # its prices are probabilities
    bid: float = 0.0  # of trades
    ask: float = 0.0
    newest_bid: float = 0.0  # the newest quote, which may not have settled
    newest_ask: float = 0.0
    newest_ns: int = 0  # 0: no quotes
    settled_bid: float = 0.0
    settled_ask: float = 0.0
    until: int = 0  # end of the step, 0: nothing seen yet
    low: float = 1.0  # prices inside (low, high) need no judgement in this step
    high: float = 0.0
    x: float = 0.0  # at the end of the step before
    sigma: float = 0.0  # 0: not warm
    floor: float = 0.0
    gap: float = 1.0  # factor of the variance of this step, for the silence before it
    peak: float = 0.0  # the largest |z| of the step
    told: float = 0.0  # the largest of them that was told
    told_at: float = _EARLY_AT  # |z| from which on it is worth telling
    clip: float = 0.0  # |z| as which larger ones enter the record
    fitted: int = -1  # `tail.fitted` that both were computed for
    short: float = 0.0
    middle: float = 0.0
    long: float = 0.0
    spread: float = 0.0  # the usual half-spread
    tick: float = 0.0
    steps: int = 0
    began_ns: int = 0
    prints: list[float] = field(default_factory=list)
    tail: Tail = field(default_factory=Tail)
    jump: Jump | None = None

    def price_of(self, x: float) -> float:
        """The price at a coordinate."""
        x = min(max(x, -_WIDEST), _WIDEST)
        return 1.0 / (1.0 + exp(-x)) if self.probable else exp(x)


def coordinate(state: PriceState, price: float) -> float:
    """Log of a price, log-odds of a probability."""
    return log_odds(price, state.tick) if state.probable else log(price)


def place(state: PriceState, bid: float, ask: float) -> float:
    """Coordinate of the mid: geometric, of probabilities arithmetic."""
    if state.probable:
        return log_odds(0.5 * bid + 0.5 * ask, state.tick)
    return 0.5 * (log(bid) + log(ask))


def half_width(state: PriceState, bid: float, ask: float) -> float:
    """Half the spread in coordinates."""
    if state.probable:
        return 0.5 * max(0.0, log_odds(ask, state.tick) - log_odds(bid, state.tick))
    return half_spread(bid, ask)


def fold(state: PriceState, price: float, side: str) -> tuple[float, float]:
    """Bid and ask after a trade. Where there are quotes it moves them for the moment only: the
    next settled quote knows better."""
    if state.settled_bid:
        return micro(state.settled_bid, state.settled_ask, price, side)
    state.bid, state.ask = micro(state.bid, state.ask, price, side)
    return state.bid, state.ask


def settle(state: PriceState, now: int) -> bool:
    """Let the newest quote count once it has stood; True if the price is another one then."""
    bid, ask = state.newest_bid, state.newest_ask
    if not state.newest_ns or now - state.newest_ns < SETTLED_NS or not 0.0 < bid <= ask:
        return False
    if bid == state.settled_bid and ask == state.settled_ask:
        return False
    state.settled_bid, state.settled_ask = bid, ask
    return True


def remember(state: PriceState, price: float) -> None:
    """Keep the last few prices that were looked at."""
    prints = state.prints
    prints.append(price)
    if len(prints) > PRINTS:
        del prints[0]


def broken(state: PriceState, price: float) -> float:
    """The median of the last prices, if `price` is impossibly far from it; else 0."""
    prints = state.prints
    if len(prints) < PRINTS:
        return 0.0
    middle = median(prints)
    return middle if price > FAR * middle or FAR * price < middle else 0.0


def significance(state: PriceState, z: float) -> tuple[float, bool]:
    """`(p, extrapolated)` by the market's record, or with care where it is too short."""
    if ready(state.tail):
        return p_value(state.tail, z)
    return student_4(z), True


def turn(state: PriceState, now: int) -> None:
    """End the step that is over, learn from it, and begin the one that `now` lies in."""
    state.gap = 1.0
    if state.until:
        settle(state, state.until)
        empty = (now - state.until) // STEP_NS
        _learn(state, empty)
        if empty > 0:
            state.gap = (1.0 + min(empty, LONGEST_S)) ** STRETCH
    else:
        state.began_ns = now
    state.until = now - now % STEP_NS + STEP_NS
    state.peak = state.told = 0.0
    state.low, state.high = 1.0, 0.0
    if state.steps < WARM:
        return
    state.floor = _floor(state)
    gap = state.gap
    state.sigma = scale(gap * state.short, gap * state.middle, gap * state.long, state.floor)
    if state.fitted != state.tail.fitted and ready(state.tail):
        state.fitted = state.tail.fitted
        state.told_at = magnitude_at(state.tail, _TOLD_P)
        state.clip = magnitude_at(state.tail, RARE)
    if state.jump is None:
        reach = state.told_at * state.sigma
        state.low, state.high = state.price_of(state.x - reach), state.price_of(state.x + reach)


def _floor(state: PriceState) -> float:
    """Half a tick or the usual half-spread, in coordinates; with neither, of a price that has
    never moved, half of what a tick may be."""
    price = state.price_of(state.x)
    if state.probable:  # d ln(p / (1 - p)) = dp / (p (1 - p))
        half = half_tick(state.tick or TICK_OF_ONE, price) / max(1.0 - price, TICK_OF_ONE)
    elif state.tick:
        half = half_tick(state.tick, price)
    else:
        half = 0.0 if state.long or state.spread else 0.5 * TICK_OF_PRICE
    return min(max(half, state.spread), _FLOOR_MAX)


def _learn(state: PriceState, empty: int) -> None:
    """Take the step that is over into scale, spread and record; `empty` seconds follow it."""
    bid, ask = state.bid, state.ask
    if state.settled_bid:
        bid, ask = state.settled_bid, state.settled_ask
    elif not bid:
        return
    x = place(state, bid, ask)
    move = x - state.x if state.steps else 0.0
    state.x = x
    state.steps = steps = min(state.steps + 1, _MEAN_STEPS)
    if state.sigma > 0.0:
        u = max(state.peak, abs(move) / state.sigma)
        learn(state.tail, min(u, state.clip) if state.clip else u)
    kept = 1.0 - 1.0 / steps  # a plain mean, until a half-life has passed
    move /= sqrt(state.gap)
    _widen(state, move, kept)
    spread_kept = _SPREAD_KEPT
    if empty > 0:
        spread_kept = 0.5 ** ((1.0 + min(empty, _STANDS_S)) / SPREAD_S)
    state.spread = faded(state.spread, half_width(state, bid, ask), min(kept, spread_kept))


def _widen(state: PriceState, move: float, kept: float) -> None:
    """The three variances after a move; not clipped before there is a scale to clip by."""
    short, middle, long = min(kept, _KEPT[0]), min(kept, _KEPT[1]), min(kept, _KEPT[2])
    if state.sigma > 0.0:
        state.short = scale_step(state.short, move, state.floor, short)
        state.middle = scale_step(state.middle, move, state.floor, middle)
        state.long = scale_step(state.long, move, state.floor, long)
    else:
        state.short = faded(state.short, move * move, short)
        state.middle = faded(state.middle, move * move, middle)
        state.long = faded(state.long, move * move, long)


def put_back(state: PriceState, jump: Jump, price: float) -> None:
    """The jump was a bad print: forget what it taught, and start from the price after it."""
    state.short, state.middle, state.long = jump.short, jump.middle, jump.long
    state.spread = jump.spread
    if not state.settled_bid:
        state.bid = state.ask = price
    state.x = coordinate(state, price)
    state.peak = 0.0
