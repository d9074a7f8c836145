"""`crossed`: the best bid is not below the best ask, and it stays so. A rule; nothing to learn.

No market that matches orders can look like this for long: usually a level was lost or is stale in
our copy of the book. Where two outcomes of a bet have books that repeat each other, both are
watched and the market is told once.
"""

from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct

from tapewatch.model.events import Book, Event, Quote, Status
from tapewatch.model.inputs import Link, Timer
from tapewatch.model.outputs import Observation
from tapewatch.model.time import NS_PER_S

_FOR_ALL: Final = (Timer, Link)
_VOID: Final = frozenset({"checksum", "halted"})  # the book is known to be wrong, or frozen
SCORE_MAX: Final = 1e6
AGAIN_NS: Final = 300 * NS_PER_S  # what is so close in time belongs together (scoring episodes)

Positive = Annotated[float, Meta(gt=0.0)]


class CrossedState(Struct):
    """Memory of one market. Since when its own book and its mirror are crossed (0: they are not),
    and the prices of the last crossed one."""

    key: str
    source: str
    own_ns: int = 0
    mirror_ns: int = 0
    bid: float = 0.0
    ask: float = 0.0
    told: bool = False
    told_ns: int = 0  # the last time
    due_ns: int = 0  # when a timer is wanted, 0: never


class Crossed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """bid >= ask > 0 at the ends of messages for `after_s`; told once until no book is crossed.

    One that heals earlier is a message still on its way. (Counting updates instead would keep a
    frozen crossed book secret.) Locked books (bid = ask) count. A book that is crossed again within
    five minutes is not late but wrong: high.

    Units: score = age / after_s, line 1; `observed` = age in s. No p: rules have none.
    Reference: fault F22 of `tapewatch simulate`. On books of sports bets of June 2025, 21 crossings
    in 46 h, 6 of them shorter than a second.
    False alarms: auctions, where crossed books are meant; venues that match in batches.
    """

    name: ClassVar[str] = "crossed"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Quote, Book, Status, Timer, Link)
    state_type: ClassVar[type] = CrossedState

    after_s: Positive = 1.0

    def key(self, event: Event, /) -> str | None:
        if isinstance(event, _FOR_ALL):
            return None
        if isinstance(event, Book) and event.mirror_of:
            return event.mirror_of
        return event.instrument or None  # type: ignore[union-attr]

    def start(self, key: str, /) -> CrossedState:
        return CrossedState(key, key.partition(":")[0])

    def update(self, state: CrossedState, event: Event, /) -> Observation | None:
        if isinstance(event, Quote):
            bid, ask, mirror = event.bid, event.ask, False
        elif isinstance(event, Book):
            bid = event.bids[0][0] if event.bids else 0.0
            ask = event.asks[0][0] if event.asks else 0.0
            mirror = bool(event.mirror_of)
        elif isinstance(event, Timer):
            return self._told(state, event.ts_recv)
        else:
            if _voids(state, event):
                _forget(state)
            return None
        if not bid >= ask > 0.0:
            if not (state.own_ns or state.mirror_ns):
                return None  # nearly always
            bid = ask = 0.0
        # Also when this very message heals it: the book was crossed until now.
        told = self._told(state, event.ts_recv)
        _note(state, bid, ask, event.ts_recv, mirror=mirror)
        if not state.told:
            since = _since(state)
            state.due_ns = since and since + int(self.after_s * NS_PER_S)
        return told

    def _told(self, state: CrossedState, now: int) -> Observation | None:
        since = _since(state)
        if state.told or not since:
            return None
        age_s = (now - since) / NS_PER_S
        if age_s < self.after_s:
            return None
        again = 0 < state.told_ns <= now < state.told_ns + AGAIN_NS
        state.told, state.told_ns, state.due_ns = True, now, 0
        word = ("locked" if state.bid == state.ask else "crossed") + " again" * again
        return Observation(
            detector=self.name,
            instrument=state.key,
            cause="crossed",
            ts_event=now,
            score=min(SCORE_MAX, age_s / self.after_s),
            line=1.0,
            severity="high" if again else "warn",
            onset_ns=since,
            observed=age_s,
            expected=0.0,
            unit="s",
            flip=self.after_s,
            deviation=state.bid - state.ask,
            deviation_unit="price",
            reason=(
                f"the book is {word}: bid {state.bid:.6g}, ask {state.ask:.6g},"
                f" for {age_s:.1f} s; a level is stale or was lost, ask for a snapshot"
            ),
        )


def _since(state: CrossedState) -> int:
    """When the first of the books that are crossed now became so; 0: none is."""
    return min(state.own_ns or state.mirror_ns, state.mirror_ns or state.own_ns)


def _note(state: CrossedState, bid: float, ask: float, now: int, *, mirror: bool) -> None:
    """Since when which book is crossed, after a message; both prices 0: it is not."""
    if bid:
        state.bid, state.ask = bid, ask
    since = (state.mirror_ns if mirror else state.own_ns) or now
    if mirror:
        state.mirror_ns = since if bid else 0
    else:
        state.own_ns = since if bid else 0
    if not (state.own_ns or state.mirror_ns):
        _forget(state)


def _voids(state: CrossedState, event: Event) -> bool:
    """Whether the book is gone: another connection, or the venue says so."""
    if isinstance(event, Link):
        return event.source == state.source
    return isinstance(event, Status) and event.kind in _VOID and event.instrument == state.key


def _forget(state: CrossedState) -> None:
    state.own_ns = state.mirror_ns = state.due_ns = 0
    state.told = False
