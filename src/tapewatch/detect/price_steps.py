"""What `price_jump` remembers of one instrument, and how a step of it begins and ends.

Prices live as coordinates x: the log of a price, of a probability its log-odds. The rest is
numbers; which of them becomes an observation is decided in `price_jump.py`.
"""

from math import exp, log
from statistics import median
from typing import Final

from msgspec import Struct, field

from tapewatch.detect import price_scale
from tapewatch.detect.base import TOLD
from tapewatch.detect.price_scale import Scales, look_ahead, look_back, price_at
from tapewatch.kernels.change import student_4, student_4_at
from tapewatch.kernels.prices import SETTLED_NS, faded, micro
from tapewatch.kernels.tails import Tail, learn, magnitude_at, p_value, ready
from tapewatch.model.time import NS_PER_S

STEP_NS: Final = NS_PER_S
# Of steps with events. Twenty seconds rather than thirty: more power on a GARCH tape (8 sd of the
# moment at one false step in a thousand: 0.90 instead of 0.83), no less on trades of quiet coins.
HALF_LIVES_S: Final = (20.0, 300.0, 3600.0)
SPREAD_S: Final = 3600.0  # half-life of the usual half-spread
_KEPT: Final = (
    0.5 ** (1.0 / HALF_LIVES_S[0]),
    0.5 ** (1.0 / HALF_LIVES_S[1]),
    0.5 ** (1.0 / HALF_LIVES_S[2]),
)
_SPREAD_KEPT: Final = 0.5 ** (1.0 / SPREAD_S)
_STANDS_S: Final = 60.0  # a spread that nobody touches is stale after that
PRINTS: Final = 5  # the last prices, whose median a print must resemble
FAR: Final = 5.0  # times the median, or a fifth of it: no market does that between two prints
RARE: Final = 1e-4  # p at which a statistic is clipped before it enters the record
ADMITTED: Final = 3e-4  # of the clipped ones a step: three times as often as they should come
MOST_CREDIT: Final = 3.0  # so many in a row
NEAR: Final = 0.75  # of what is worth telling: on a lattice the record is too coarse to be exact
_FARTHEST: Final = 300.0  # nats: its exponential is finite
_TOLD_P: Final = 10.0**-TOLD
_EARLY_AT: Final = student_4_at(_TOLD_P)


class Jump(Struct):
    """A jump that is being followed: coordinates before it and at its peak, and the memory that
    its price has entered since."""

    since_ns: int
    start: float
    peak: float
    score: float
    p: float
    scales: Scales
    events: int = 0


class PriceState(Struct, array_like=True):
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
    peak: float = 0.0  # the largest |z| of the step
    told: float = 0.0  # the largest of them that was told
    told_at: float = _EARLY_AT  # |z| from which on it is worth telling
    clip: float = 0.0  # |z| as which larger ones enter the record
    credit: float = 0.0  # rare statistics that the record may still take
    fitted: int = -1  # `tail.fitted` that both were computed for
    tick: float = 0.0
    began_ns: int = 0
    prints: list[float] = field(default_factory=list)
    scales: Scales = field(default_factory=Scales)
    tail: Tail = field(default_factory=Tail)
    jump: Jump | None = None

    def price_of(self, x: float) -> float:
        """The price at a coordinate."""
        return price_at(x, probable=self.probable)


def coordinate(state: PriceState, price: float) -> float:
    """Log of a price, log-odds of a probability."""
    return price_scale.coordinate(price, state.tick, probable=state.probable)


def place(state: PriceState, bid: float, ask: float) -> float:
    """Coordinate of the mid: geometric, of probabilities arithmetic."""
    if state.probable:
        return coordinate(state, 0.5 * bid + 0.5 * ask)
    return 0.5 * (log(bid) + log(ask))


def half_width(state: PriceState, bid: float, ask: float) -> float:
    """Half the spread in coordinates."""
    return price_scale.half_width(bid, ask, state.tick, probable=state.probable)


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
    if state.probable and price < 1.0 and middle < 1.0:  # half of 0.02 is nothing; odds tell
        odds, usual = price / (1.0 - price), middle / (1.0 - middle)
        far = odds > FAR * FAR * usual or FAR * FAR * odds < usual
    else:
        far = price > FAR * middle or FAR * price < middle
    return middle if far else 0.0


def significance(state: PriceState, z: float) -> tuple[float, bool]:
    """`(p, extrapolated)` by the market's record, or with care where it is too short."""
    if ready(state.tail):
        return p_value(state.tail, z)
    return student_4(z), True


def turn(state: PriceState, now: int) -> None:
    """End the step that is over, learn from it, and begin the one that `now` lies in."""
    scales = state.scales
    empty = 0
    if state.until:
        empty = (now - state.until) // STEP_NS
        _learn(state, empty)
    else:
        state.began_ns = now
    state.until = now - now % STEP_NS + STEP_NS
    state.peak = state.told = 0.0
    state.low, state.high = 1.0, 0.0
    price = state.price_of(state.x)
    look_ahead(scales, price, state.tick, empty, probable=state.probable)
    if scales.sigma == 0.0:
        return
    if state.fitted != state.tail.fitted and ready(state.tail):
        state.fitted = state.tail.fitted
        state.told_at = NEAR * magnitude_at(state.tail, _TOLD_P)
        state.clip = magnitude_at(state.tail, RARE)
    if state.jump is None:
        factor = exp(min(state.told_at * scales.sigma, _FARTHEST))
        if state.probable:  # the odds move by the factor
            odds = price / (1.0 - price)
            state.low = odds / (odds + factor)
            state.high = odds * factor / (1.0 + odds * factor)
        else:
            state.low, state.high = price / factor, price * factor


def _learn(state: PriceState, empty: int) -> None:
    """Take the step that is over into scale, spread and record; `empty` seconds follow it."""
    bid, ask = state.bid, state.ask
    if state.settled_bid:
        bid, ask = state.settled_bid, state.settled_ask
    elif not bid:
        return
    scales = state.scales
    x = place(state, bid, ask)
    move = x - state.x if scales.steps else 0.0
    state.x = x
    if scales.sigma > 0.0:
        _record(state, max(state.peak, abs(move) / scales.sigma))
    most = look_back(scales, move, _KEPT)
    kept = _SPREAD_KEPT
    if empty > 0:
        kept = 0.5 ** ((1.0 + min(empty, _STANDS_S)) / SPREAD_S)
    scales.spread = faded(scales.spread, half_width(state, bid, ask), min(most, kept))


def _record(state: PriceState, u: float) -> None:
    """Count a statistic. Very rare ones enter as `RARE`, and no more often than `ADMITTED`: what
    somebody plants often must not pass for the market's own tail."""
    state.credit = min(state.credit + ADMITTED, MOST_CREDIT)
    if state.clip and u > state.clip:
        if state.credit < 1.0:
            return
        state.credit -= 1.0
        u = state.clip
    learn(state.tail, u)


def put_back(state: PriceState, jump: Jump, price: float) -> None:
    """The jump was a bad print: forget what it taught, and start from the price after it."""
    state.scales = jump.scales
    if not state.settled_bid:
        state.bid = state.ask = price
    state.x = coordinate(state, price)
    state.peak = 0.0
