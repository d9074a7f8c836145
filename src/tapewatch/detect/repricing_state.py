"""What `repricing` remembers of one book, and its settled price. No judgement is made here.

A level counts once it has been there for `SETTLED_NS` without interruption. Only the young levels
need a time of birth; all others are old enough.
"""

from collections.abc import Iterator
from math import log
from typing import Final

from msgspec import Struct, field

from tapewatch.kernels.prices import SETTLED_NS
from tapewatch.kernels.scale import log_odds, scale, scale_step
from tapewatch.kernels.tails import Tail, learn
from tapewatch.model.events import Book
from tapewatch.model.time import NS_PER_S

BACK_NS: Final = 5 * NS_PER_S  # a move is measured over so long
SILENCE_S: Final = 60.0  # what moved over so long a silence has not moved within seconds
STEPS: Final = 256  # remembered prices; beyond, every second one is forgotten
LEVELS: Final = 20  # of a side that are looked at
HALVES_S: Final = (30.0, 300.0, 3600.0)  # half-lives of the variances (`kernels/scale.py`)
SPREADS: Final = 200.0  # messages after which a spread counts half in the usual one
TICK: Final = 0.001  # finest tick of prediction markets: keeps log odds finite

Step = tuple[int, float]  # ns, price


class Swing(Struct):
    """A move of the naive mid that is not judged yet: from `base` to `mid` at `at`."""

    at: int
    base: float
    mid: float
    peak: float


class Move(Struct, frozen=True):
    """A move of the settled price that is not told yet. `z`: in units of its scale."""

    at: int
    base: float
    price: float
    held_s: float
    silent_s: float
    z: float | None


class RepricingState(Struct):
    """Memory of one market. `young` has the birth of levels younger than `SETTLED_NS`, a bid under
    its negated price. `prices` are settled, `mids` naive ones, by the time at which they began;
    `held_ns` is when the settled price was last confirmed before it was set."""

    key: str
    source: str
    now_ns: int = 0
    message_ns: int = 0
    void: bool = False  # the connection broke: nothing is known of the book
    bounded: bool = True  # all prices so far are in (0, 1)
    bids: tuple[tuple[float, float], ...] = ()
    asks: tuple[tuple[float, float], ...] = ()
    young: dict[float, int] = {}
    mid: float = 0.0  # of this moment's book, 0.0: it has not two sides
    mids: list[Step] = []
    prices: list[Step] = []
    fresh: bool = False  # the settled price has changed and was not judged
    valid: bool = False
    valid_ns: int = 0  # until when quotes were valid, when they are not
    held_ns: int = 0
    usual: float = 0.0  # usual spread as a share of the mid
    resumed_ns: int = 0
    silence_s: float = 0.0  # length of the silence that ended then
    swing: Swing | None = None
    move: Move | None = None
    due_ns: int = 0  # when a timer is wanted, 0: never
    next_swing_ns: int = 0
    next_move_ns: int = 0
    sampled_ns: int = 0
    sample: float = 0.0
    half: float = 0.0  # usual half of a valid spread, in units of the innovation
    variances: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tail: Tail = field(default_factory=Tail)


def forget(state: RepricingState, now: int) -> None:
    """A connection went or came: the book is void, and what comes next is another time."""
    state.bids = state.asks = ()
    state.young.clear()
    state.mids.clear()
    state.swing, state.mid = None, 0.0
    state.void, state.now_ns = True, now


def spread_limit(state: RepricingState, bounded: float, usual: float) -> float:
    """The largest spread with which quotes are a price, in quote units."""
    if state.bounded:
        return bounded
    mid = state.mid or (state.prices[-1][1] if state.prices else 0.0)
    return max(usual * state.usual * mid, 1e-300)


def middle(bid: float, ask: float) -> float:
    """The mid; unlike the half of the sum it neither overflows nor becomes 0."""
    return bid + 0.5 * (ask - bid)


def before(steps: list[Step], at: int) -> Step | None:
    """The step that held at `at`."""
    for step in reversed(steps):
        if step[0] <= at:
            return step
    return None


def settle(state: RepricingState, limit: float, now: int) -> Iterator[None]:
    """Let quotes come of age up to `now`, one moment after the other, and sample the settled price
    on the way."""
    if now < state.now_ns:
        return
    young = state.young
    while young:
        due = min(young.values()) + SETTLED_NS
        if due > now:
            break
        _advance(state, due)
        for key in [key for key, born in young.items() if born + SETTLED_NS <= due]:
            del young[key]
        _price(state, limit, due)
        yield
    _advance(state, now)
    _price(state, limit, now)
    state.now_ns = now
    yield


def apply(state: RepricingState, book: Book, now: int) -> None:
    """Take in the book after a message."""
    silence_s = (now - state.message_ns) / NS_PER_S
    if state.message_ns and (state.void or silence_s >= SILENCE_S):
        state.resumed_ns, state.silence_s = now, silence_s
    state.message_ns, state.void = now, False
    bids, asks = book.bids[:LEVELS], book.asks[:LEVELS]
    if state.bounded and any(price >= 1.0 for price, _ in (*bids[:1], *asks[-1:])):
        state.bounded = False
    _births(state, state.bids, bids, -1.0, now)
    _births(state, state.asks, asks, 1.0, now)
    state.bids, state.asks = bids, asks
    state.mid = 0.0
    if bids and asks:
        state.mid = mid = middle(bids[0][0], asks[0][0])
        _remember(state.mids, now, mid)
        spread = (asks[0][0] - bids[0][0]) / mid
        if spread > 0.0:
            old = state.usual or spread
            kept = 0.5 ** (1.0 / SPREADS)
            state.usual = kept * old + (1.0 - kept) * min(spread, 5.0 * old)


def innovation(state: RepricingState, base: float, price: float) -> float | None:
    """A move in units of its scale; None as long as there is none."""
    if not state.sampled_ns or not any(state.variances):
        return None
    moved = abs(_scaled(state, price) - _scaled(state, base))
    return moved / max(scale(*state.variances, state.half), 1e-12)


def _births(
    state: RepricingState,
    old: tuple[tuple[float, float], ...],
    new: tuple[tuple[float, float], ...],
    sign: float,
    now: int,
) -> None:
    """Levels that are new are young; those that are gone are no longer."""
    were, are = {price for price, _ in old}, {price for price, _ in new}
    if were == are:
        return
    for price in were - are:
        state.young.pop(sign * price, None)
    for price in are - were:
        state.young[sign * price] = now


def _price(state: RepricingState, limit: float, at: int) -> None:
    """Set the settled price where quotes are valid; otherwise it is held."""
    young = state.young
    bid = next((price for price, _ in state.bids if -price not in young), 0.0)
    ask = next((price for price, _ in state.asks if price not in young), 0.0)
    valid = 0.0 < bid < ask <= bid + limit * (1.0 + 1e-9)
    if not valid:
        if state.valid:
            state.valid, state.valid_ns = False, at
        return
    price = middle(bid, ask)
    since = at if state.valid else state.valid_ns or at
    state.valid = True
    if state.prices and state.prices[-1][1] == price:
        return
    state.held_ns, state.fresh = since, True
    _remember(state.prices, at, price)
    half = 0.5 * (_scaled(state, ask) - _scaled(state, bid))
    kept = 0.5 ** (1.0 / SPREADS)
    state.half = kept * state.half + (1.0 - kept) * half if state.half else half


def _advance(state: RepricingState, now: int) -> None:
    """Sample the settled price on the grid of 5 s, score and learn its move."""
    idle = now >= state.message_ns + int(SILENCE_S * NS_PER_S)
    if idle or not state.prices or now - state.sampled_ns < BACK_NS:
        return
    x = _scaled(state, state.prices[-1][1])
    elapsed = now - state.sampled_ns
    if state.sampled_ns and elapsed < 2 * BACK_NS:  # a longer step is another statistic
        moved = abs(x - state.sample)
        sigma = scale(*state.variances, state.half)
        if sigma > 0.0:
            learn(state.tail, moved / sigma)
        dt_s = elapsed / NS_PER_S
        short, middle, long = (
            scale_step(v, moved, state.half, 0.5 ** (dt_s / h))
            for v, h in zip(state.variances, HALVES_S, strict=True)
        )
        state.variances = (short, middle, long)
    state.sampled_ns, state.sample = now // BACK_NS * BACK_NS, x


def _scaled(state: RepricingState, price: float) -> float:
    """Log odds of a probability, else the logarithm: moves are alike at all levels."""
    return log_odds(price, TICK) if state.bounded else log(price)


def _remember(steps: list[Step], at: int, price: float) -> None:
    """Append; forget what is older than the step that holds at the start of the window."""
    if steps and steps[-1][0] == at:
        steps[-1] = (at, price)
    elif not steps or steps[-1][1] != price:
        steps.append((at, price))
    while len(steps) > 1 and steps[1][0] <= at - BACK_NS:
        del steps[0]
    if len(steps) > STEPS:
        del steps[1:-1:2]
