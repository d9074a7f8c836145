"""`spoof`: quotes that are not meant: large ones that vanish unfilled, and quotes that flicker.

Three patterns, from what a book shows after each message and from trades, where there are any:

| kind | what is seen |
|---|---|
| `layering` | a large order near the touch is soon gone, unfilled, after trades opposite to it |
| `place_cancel` | the same without trades, much more often than this market has it |
| `stuffing` | levels near the touch that appear and are gone within 250 ms, in bulk |

It cannot know who does it, nor why: an order book has no names. Only layering that repeats warns.
"""

from math import log, log10
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct

from tapewatch.detect.base import LINE
from tapewatch.kernels.prices import SETTLED_NS
from tapewatch.kernels.tails import Tail, learn, magnitude_at, p_value, ready
from tapewatch.model.events import Book, Event, Trade
from tapewatch.model.inputs import Link, Timer
from tapewatch.model.outputs import Observation, Severity
from tapewatch.model.time import NS_PER_S

LEVELS: Final = 5  # of a side: near the touch
LARGE: Final = 5.0  # usual level sizes
GONE: Final = 0.8  # of what was added
STEP_NS: Final = 5 * NS_PER_S
IDLE_NS: Final = 60 * NS_PER_S
SIZES: Final = 500.0  # half-life of the usual size of a level, in changed levels
LEARNT: Final = 50  # levels before one is called large
ADDS: Final = 16  # large orders that are watched at once
YOUNG: Final = 64  # young levels that are watched at once
FORGET_NS: Final = 300 * NS_PER_S  # layering further apart is not a pattern
APART_NS: Final = 60 * NS_PER_S  # between two notes of one kind
SCORE_MAX: Final = 300.0


class Add(Struct):
    """A large order that appeared: when, what was added, what traded on the other side since, and
    whether something traded at its price."""

    at: int
    size: float
    opposite: int = 0
    filled: bool = False


class SpoofState(Struct):
    """Memory of one book. Levels are named by their price, bids by the negated one. `flickers` and
    `cancels` are counts of this slice of 5 s; the tails have those of the slices before."""

    key: str
    source: str
    message_ns: int = 0
    slice_ns: int = 0
    due_ns: int = 0
    bids: tuple[tuple[float, float], ...] = ()
    asks: tuple[tuple[float, float], ...] = ()
    young: dict[float, int] = {}
    adds: dict[float, Add] = {}
    size: float = 0.0  # ln of the usual size of a level
    sizes: int = 0
    flickers: int = 0
    cancels: int = 0
    usual: tuple[float, float] = (0.0, 0.0)  # mean flickers and cancels of a slice
    slices: int = 0
    tails: list[Tail] = []  # none before the first slice: most streams of trades have no book
    layered: int = 0
    layered_ns: int = 0
    told: dict[str, int] = {}


class Spoof(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts of patterns against their own record, and layering that repeats.

    Large is five times the usual size of a level (geometric mean of the best five of a side). A
    level that is gone was not filled when a better one of its side still stood, or when trades are
    there and none was at its price. `within_s`: how fast a large order must be gone; `repeats`: so
    often within 5 min layering warns. `flickers` is the least that counts as stuffing in 5 s.

    Units: score = decades, line 3.5, of counts in 5 s; until 2,000 slices are known count over
    limit (ten times the mean, at least `flickers`), line 1; of layering repeats over `repeats`.
    Reference: the patterns of spoofing and stuffing in CFTC v. Sarao 2015 and Egginton, Van Ness
    and Van Ness 2016, "Quote stuffing".
    False alarms: market makers that pull before news; venues that replace an order by cancel and
    add.
    """

    name: ClassVar[str] = "spoof"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Book, Trade, Timer, Link)
    state_type: ClassVar[type] = SpoofState

    within_s: Annotated[float, Meta(gt=0.0)] = 5.0
    repeats: Annotated[int, Meta(ge=1)] = 3
    flickers: Annotated[int, Meta(ge=1)] = 50

    def key(self, event: Event, /) -> str | None:
        if isinstance(event, Trade):
            return event.instrument
        if not isinstance(event, Book) or event.mirror_of:
            return None
        return event.instrument

    def start(self, key: str, /) -> SpoofState:
        return SpoofState(key, key.partition(":")[0])

    def update(self, state: SpoofState, event: Event, /) -> Observation | None:
        if isinstance(event, Trade):
            if state.adds:
                _traded(state, event)
            return None
        now = event.ts_recv
        if isinstance(event, Link):
            if event.source == state.source:
                state.bids = state.asks = ()
                state.young.clear()
                state.adds.clear()
            return None
        told = self._slice(state, now)
        if isinstance(event, Book):
            state.message_ns = now
            bids, asks = event.bids, event.asks
            old = (state.bids, state.asks)
            state.bids, state.asks = bids, asks
            layering = self._side(state, old[0], bids, -1.0, now)
            layering = self._side(state, old[1], asks, 1.0, now) or layering
            if layering and told is None:
                told = self._layering(state, now)
        idle = now >= state.message_ns + IDLE_NS
        state.due_ns = 0 if idle else now // STEP_NS * STEP_NS + STEP_NS
        return told

    def _side(
        self,
        state: SpoofState,
        old: tuple[tuple[float, float], ...],
        new: tuple[tuple[float, float], ...],
        sign: float,
        now: int,
    ) -> bool:
        """Changes of one side; True when one of them was layering."""
        if old == new:
            return False
        before, after = dict(old), dict(new)
        found = False
        for rank, (price, size) in enumerate(old):
            left = after.get(price, 0.0)
            if left < size:
                found = self._less(state, sign * price, size, left, rank, now) or found
        for price, size in new[:LEVELS]:
            added = size - before.get(price, 0.0)
            if added > 0.0 and old:
                self._more(state, sign * price, added, now, fresh=price not in before)
        return found

    def _more(self, state: SpoofState, name: float, added: float, now: int, *, fresh: bool) -> None:
        """A level near the touch has grown or is new."""
        if fresh and len(state.young) < YOUNG:
            state.young[name] = now
        size = log(added)
        if state.sizes >= LEARNT and size - state.size >= log(LARGE) and len(state.adds) < ADDS:
            state.adds[name] = Add(now, added)
        kept = 0.5 ** (1.0 / SIZES) if state.sizes > SIZES else state.sizes / (state.sizes + 1.0)
        state.size += (1.0 - kept) * (size - state.size)
        state.sizes += 1

    def _less(
        self, state: SpoofState, name: float, size: float, left: float, rank: int, now: int
    ) -> bool:
        """A level has shrunk or is gone."""
        if left <= 0.0:
            born = state.young.pop(name, None)
            state.flickers += born is not None and now - born < SETTLED_NS
        add = state.adds.get(name)
        if add is None or size - left < GONE * add.size:
            return False
        del state.adds[name]
        if now - add.at > self.within_s * NS_PER_S or add.filled:
            return False
        if rank == 0 and not add.opposite:  # the best level: it may have been filled
            return False
        state.cancels += 1
        if not add.opposite:
            return False
        state.layered = state.layered + 1 if now - state.layered_ns < FORGET_NS else 1
        state.layered_ns = now
        return True

    def _slice(self, state: SpoofState, now: int) -> Observation | None:
        """A slice of 5 s is over: judge its counts, then learn them."""
        start = now // STEP_NS * STEP_NS
        if start <= state.slice_ns:
            return None
        over, state.slice_ns = state.slice_ns, start
        _expire(state, now, int(self.within_s * NS_PER_S))
        flickers, cancels = state.flickers, state.cancels
        state.flickers = state.cancels = 0
        if not over or not state.message_ns or over >= state.message_ns + IDLE_NS:
            return None
        if not state.tails:
            state.tails += (Tail(), Tail())
        told = self._rare(state, 0, "stuffing", flickers, self.flickers, now)
        told = told or self._rare(state, 1, "place_cancel", cancels, self.repeats, now)
        for tail, count in zip(state.tails, (flickers, cancels), strict=True):
            learn(tail, float(count))
        state.slices += 1
        kept = min(0.5 ** (1.0 / 360.0), (state.slices - 1.0) / state.slices)
        state.usual = (
            kept * state.usual[0] + (1.0 - kept) * flickers,
            kept * state.usual[1] + (1.0 - kept) * cancels,
        )
        return told

    def _rare(
        self, state: SpoofState, which: int, kind: str, count: int, least: int, now: int
    ) -> Observation | None:
        if count < least:
            return None
        tail, usual = state.tails[which], state.usual[which]
        limit, line, p, extrapolated = max(float(least), 10.0 * usual), 1.0, None, False
        score = min(SCORE_MAX, count / limit)
        if ready(tail):
            p, extrapolated = p_value(tail, float(count))
            score, line = min(SCORE_MAX, -log10(max(p, 1e-300))), LINE
            limit = max(float(least), magnitude_at(tail, 10.0**-LINE))
        if score < line:
            return None
        what = "levels flickered" if which == 0 else "large orders came and went unfilled"
        reason = f"{count} {what} within 5 s, usually {usual:.2g}"
        return self._told(
            state, kind, now, score, line, reason, p=p, extrapolated=extrapolated,
            observed=float(count), expected=usual, limit=limit,
        )  # fmt: skip

    def _layering(self, state: SpoofState, now: int) -> Observation | None:
        if state.layered < self.repeats:
            return None
        reason = (
            f"{state.layered} times within minutes a large order vanished unfilled"
            " after trades on the other side"
        )
        return self._told(
            state, "layering", now, state.layered / self.repeats, 1.0, reason, severity="warn",
            observed=float(state.layered), limit=float(self.repeats),
        )  # fmt: skip

    def _told(  # noqa: PLR0913  one observation has many parts
        self,
        state: SpoofState,
        kind: str,
        now: int,
        score: float,
        line: float,
        reason: str,
        *,
        observed: float,
        limit: float,
        expected: float = 0.0,
        p: float | None = None,
        extrapolated: bool = False,
        severity: Severity = "info",
    ) -> Observation | None:
        said = state.told.get(kind)
        if said is not None and said <= now < said + APART_NS:
            return None
        state.told[kind] = now
        return Observation(
            detector=self.name,
            instrument=state.key,
            cause="spoof",
            ts_event=now,
            score=min(SCORE_MAX, score),
            line=line,
            severity=severity,
            p=p,
            p_extrapolated=extrapolated,
            observed=observed,
            expected=expected,
            expected_high=limit,
            unit="orders",
            flip=limit,
            baseline_count=state.slices,
            kind=kind,
            deviation=observed - expected,
            deviation_unit="orders",
            reason=reason,
        )


def _traded(state: SpoofState, trade: Trade) -> None:
    """A trade beside large orders: it fills one at its price, and a buyer lifts what a large bid
    has helped to sell."""
    buys, sells = trade.aggressor == "buy", trade.aggressor == "sell"
    for name, add in state.adds.items():
        if abs(name) == trade.price:
            add.filled = True
        elif (name < 0.0 and buys) or (name > 0.0 and sells):
            add.opposite += 1


def _expire(state: SpoofState, now: int, within_ns: int) -> None:
    """Forget what is too old to matter."""
    for name in [name for name, born in state.young.items() if now - born >= SETTLED_NS]:
        del state.young[name]
    for name in [name for name, add in state.adds.items() if now - add.at > within_ns]:
        del state.adds[name]
