"""`repricing`: the price of an order book moves, told apart from quotes that are only gone.

While something happens that will set a new price, makers cancel first and quote again seconds
later. The naive mid of what is left swings although nobody has traded or offered at another price.
So the price here is the mid of *settled* quotes with a usual spread, and is held otherwise. What
the naive mid does is told as well, as a note, with the probability that it lasts.

Theory of operation. Between two messages a book stands still, but its quotes come of age: each
event first moves the settled price forward to its own time, exactly, and only then changes the
book. So nothing depends on how often timers come. `detect/repricing_state.py` has the memory and
the settled price; here is what is told of it.
"""

from math import exp, inf
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct

from tapewatch.detect.repricing_state import (
    BACK_NS,
    Move,
    RepricingState,
    Swing,
    apply,
    before,
    forget,
    innovation,
    middle,
    settle,
    spread_limit,
)
from tapewatch.kernels.prices import SETTLED_NS
from tapewatch.kernels.tails import p_value, ready
from tapewatch.model.events import Book, Event
from tapewatch.model.inputs import Link, Timer
from tapewatch.model.outputs import Contribution, Observation
from tapewatch.model.time import NS_PER_S

WAIT_NS: Final = 2 * NS_PER_S  # after a swing: then one can say whether it will last
APART_NS: Final = 60 * NS_PER_S  # between two swings, and between two moves, of one market
# A swing has come back when the price is within this share of it (the usual rule for labels).
BACK: Final = 0.35
MOVED: Final = 0.4  # of the swing: so far away, the price has moved
# Scale of the change that is still to come within a minute, as a share of `jump`: with quotes on
# both sides, and while a side is pulled. Measured on books of sports bets of June 2025: a pulled
# book's price differs by 0.042 to 0.057 a minute later, a random minute's by 0.016.
OPEN_TIGHT: Final = 0.3
OPEN_PULLED: Final = 0.6
SCORE_MAX: Final = 1e6
_FOR_ALL: Final = (Timer, Link)

Positive = Annotated[float, Meta(gt=0.0)]


class Repricing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """|settled price - the one of 5 s before| >= jump; and a forecast for every naive swing.

    The settled price r is the mid of the best bid and ask that have stood for 250 ms, where
    0 < spread <= limit; else it is held. In a market whose prices are probabilities (all in (0, 1))
    `jump` is absolute and the limit is `spread`; elsewhere `jump_share` of the price, and
    `spread_usual` times the usual spread. A move that ends a silence of a minute is a note: the
    market may have been away, or only we.

    A swing is a move of the naive mid by `jump` within 5 s. Two seconds later
    p_persist = P(|E + L - x0| > 0.35 peak), where x0 is the mid before, peak the largest distance
    from it so far, E the live mid if its spread is within the limit, else r between bid and ask,
    and L a Laplace variable for what is still to come within a minute.

    Units: score = |move| / jump, line 1; observed, expected and flip in quote units. Rules have no
    p; the contribution of a move has one, against the record of all 5-s moves of this market.
    Reference: what pulled quotes are worth: measured, see `OPEN_PULLED`. Validity of quotes:
    Barndorff-Nielsen, Hansen, Lunde and Shephard 2009, "Realized kernels in practice".
    False alarms: a market that is repriced for good reasons: that is what this reports. An asset
    below 1 whose levels are all below 1 is taken for a probability and judged too mildly.
    """

    name: ClassVar[str] = "repricing"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Book, Timer, Link)
    state_type: ClassVar[type] = RepricingState

    jump: Positive = 0.10
    spread: Positive = 0.10
    jump_share: Positive = 0.03
    spread_usual: Positive = 5.0

    def key(self, event: Event, /) -> str | None:
        if isinstance(event, _FOR_ALL) or (isinstance(event, Book) and event.mirror_of):
            return None
        return event.instrument  # type: ignore[union-attr]

    def start(self, key: str, /) -> RepricingState:
        return RepricingState(key, key.partition(":")[0])

    def update(self, state: RepricingState, event: Event, /) -> Observation | None:
        now = max(event.ts_recv, state.now_ns)
        if isinstance(event, Link):
            if event.source == state.source:
                forget(state, now)
                state.due_ns = _due(state)
            return None
        limit = spread_limit(state, self.spread, self.spread_usual)
        told = self._forecast(state, limit, now)
        self._settle(state, limit, now)
        if isinstance(event, Book):
            apply(state, event, now)
            self._settle(state, limit, now)  # an old level may now be the best
            self._watch(state, now)
        if told is None and state.move is not None:
            told, state.move = self._moved(state, state.move, now), None
        state.due_ns = _due(state)
        return told

    def _floor(self, state: RepricingState, price: float) -> float:
        """The least move that matters."""
        return self.jump if state.bounded else max(self.jump_share * price, 1e-300)

    def _settle(self, state: RepricingState, limit: float, now: int) -> None:
        for _ in settle(state, limit, now):
            self._judge(state)

    def _judge(self, state: RepricingState) -> None:
        """Has the settled price moved?"""
        if not state.fresh:
            return
        state.fresh = False
        at, price = state.prices[-1]
        base = before(state.prices, at - BACK_NS)
        if base is None:  # nobody knows yet what is normal
            return
        floor = self._floor(state, base[1])
        if abs(price - base[1]) < floor * (1.0 - 1e-9) or at < state.next_move_ns:
            return
        state.next_move_ns = at + APART_NS
        held_s = (at - state.held_ns) / NS_PER_S
        z = innovation(state, base[1], price)
        silent_s = state.silence_s if at - state.resumed_ns <= BACK_NS else 0.0
        state.move = Move(at, base[1], price, held_s, silent_s, z)

    def _watch(self, state: RepricingState, now: int) -> None:
        """Has the naive mid swung?"""
        if not state.mid:
            return
        swing = state.swing
        if swing is not None:
            swing.peak = max(swing.peak, abs(state.mid - swing.base))
            return
        base = before(state.mids, now - BACK_NS)
        if base is None or now < state.next_swing_ns:
            return
        size = abs(state.mid - base[1])
        if size < self._floor(state, base[1]) * (1.0 - 1e-9):
            return
        state.next_swing_ns = now + APART_NS
        state.swing = Swing(now, base[1], state.mid, size)

    def _forecast(self, state: RepricingState, limit: float, now: int) -> Observation | None:
        """The forecast of a swing, once it is two seconds old, from what was known then."""
        swing = state.swing
        if swing is None or now < swing.at + WAIT_NS:
            return None
        state.swing = None
        self._settle(state, limit, swing.at + WAIT_NS)
        price, tight = _expected(state, limit, swing.base)
        floor = self._floor(state, swing.base)
        scale = (OPEN_TIGHT if tight else OPEN_PULLED) * floor
        gone = price - swing.base
        p = persists(gone, swing.peak, scale)
        word = "moved" if abs(gone) >= MOVED * swing.peak else "restored" if tight else "open"
        bid, ask = _best(state)
        side = "" if bid and ask else ", one side is empty" if bid or ask else ", the book is empty"
        return Observation(
            detector=self.name,
            instrument=state.key,
            cause="price_jump",
            ts_event=swing.at,
            score=min(SCORE_MAX, max(1.0, swing.peak / floor)),  # also when 0.1 is 0.0999..
            line=1.0,
            severity="info",
            onset_ns=swing.at,
            observed=swing.mid,
            expected=swing.base,
            expected_low=swing.base - floor,
            expected_high=swing.base + floor,
            unit="price",
            flip=swing.base + floor * (1.0 if swing.mid > swing.base else -1.0),
            contributions=(
                Contribution("expected_price", abs(gone) / floor, price, swing.base, "floors"),
                Contribution("spread", min(SCORE_MAX, _spread(bid, ask) / limit), unit="limits"),
            ),
            kind="swing",
            deviation=swing.mid - swing.base,
            deviation_unit="price",
            p_persist=p,
            reason=(
                f"the mid swung from {swing.base:.4g} to {swing.mid:.4g}: {word} after 2 s"
                f" (price now {price:.4g}, {100.0 * p:.0f} % to last a minute{side})"
            ),
        )

    def _moved(self, state: RepricingState, move: Move, now: int) -> Observation:
        """A move of the settled price, told with how rare it is."""
        floor = self._floor(state, move.base)
        size = move.price - move.base
        p, rare = None, ""
        if move.z is not None and ready(state.tail):
            p = p_value(state.tail, move.z)[0]
            rare = f"; one in {1.0 / max(p, 1e-12):,.0f} of its 5-s moves is as large"
        after = f" after {move.silent_s:.0f} s of silence" if move.silent_s else ""
        held = f"; no valid quotes for {move.held_s:.1f} s before" if move.held_s >= 1.0 else ""
        return Observation(
            detector=self.name,
            instrument=state.key,
            cause="price_jump",
            ts_event=move.at,
            score=min(SCORE_MAX, max(1.0, abs(size) / floor)),
            line=1.0,
            severity="info" if move.silent_s else "warn",
            onset_ns=move.at,
            observed=move.price,
            expected=move.base,
            expected_low=move.base - floor,
            expected_high=move.base + floor,
            unit="price",
            flip=move.base + (floor if size > 0.0 else -floor),
            contributions=(
                Contribution(
                    "settled_price", move.z or 0.0, move.price, move.base, unit="sigma", p=p
                ),
            ),
            baseline_count=state.tail.seen,
            baseline_age_s=max(0.0, (now - state.sampled_ns) / NS_PER_S),
            kind="repriced",
            sigma=move.z,
            deviation=size,
            deviation_unit="price",
            reason=(
                f"repriced from {move.base:.4g} to {move.price:.4g} within 5 s{after}{held}{rare}"
            ),
        )


def _due(state: RepricingState) -> int:
    """When the next quote comes of age, a forecast or a sample is due, or something waits to be
    told; 0 for an idle market."""
    times = [born + SETTLED_NS for born in state.young.values()]
    if state.move is not None:
        times.append(state.now_ns + 1)
    if state.swing is not None:
        times.append(state.swing.at + WAIT_NS)
    if state.now_ns < state.message_ns + APART_NS:
        times.append(max(state.sampled_ns, state.now_ns // BACK_NS * BACK_NS) + BACK_NS)
    return min(times, default=0)


def persists(gone: float, peak: float, scale: float) -> float:
    """P(|gone + L| > 0.35 peak) for L ~ Laplace(0, scale): that a swing of size `peak` is not back
    after the minute, when the expected price is `gone` away from where it was.

    Units: all in price. Result in [0, 1].
    """
    reach = BACK * peak
    return 1.0 - (_laplace((reach - gone) / scale) - _laplace((-reach - gone) / scale))


def _laplace(x: float) -> float:
    """Distribution function of Laplace(0, 1)."""
    return 0.5 * exp(max(x, -700.0)) if x < 0.0 else 1.0 - 0.5 * exp(-min(x, 700.0))


def _best(state: RepricingState) -> tuple[float, float]:
    return (state.bids[0][0] if state.bids else 0.0, state.asks[0][0] if state.asks else 0.0)


def _spread(bid: float, ask: float) -> float:
    return ask - bid if bid and ask else inf


def _expected(state: RepricingState, limit: float, base: float) -> tuple[float, bool]:
    """Where the price is, as far as one can tell, and whether quotes say so."""
    bid, ask = _best(state)
    if bid and ask and ask - bid <= limit:  # a crossed book has no spread: its own mid is the best
        return middle(bid, ask), ask > bid
    settled = state.prices[-1][1] if state.prices else base
    most = 1.0 if state.bounded else inf
    return min(max(settled, bid), ask or most), False
