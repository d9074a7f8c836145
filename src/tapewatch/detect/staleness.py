"""`staleness`: an instrument falls silent, and speaks again.

It watches the events of one instrument, not the bytes of a connection: a socket that answers pings
while its market data have stopped is the fault it exists for. It cannot know whether the venue has
simply nothing to say; a `mute` or `quiet` status (the venue asked its REST interface) does.

Theory of operation. Events teach the usual gap and restart the clock; timers look at the clock. A
silence is reported when it starts and each time it has doubled, its end once.
"""

from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct

from tapewatch.model.errors import ConfigError
from tapewatch.model.events import Book, Event, Quote, Status, Trade
from tapewatch.model.inputs import Frame, Link, Timer
from tapewatch.model.outputs import Observation
from tapewatch.model.time import NS_PER_S

# About the last 50 messages decide what is usual; so many are also needed to know it at all.
_MEMORY: Final = 50
_MARKET: Final = (Quote, Trade, Book)
_NOT_MINE: Final = (Timer, Link, Frame)

Positive = Annotated[float, Meta(gt=0.0)]


class StalenessState(Struct):
    """Memory of one instrument; times in ns of receipt."""

    key: str
    source: str
    last_ns: int = 0  # the last event
    since_ns: int = 0  # silence counts from here: the last event, or a link or venue that came back
    gap_s: float = 0.0  # usual time between messages
    gaps: int = 0  # how many taught it, up to _MEMORY
    due_s: float = 0.0  # length at which the silence is reported next; 0: not reported yet
    silent: bool = False  # a silence was reported and has not ended
    link_down: bool = False
    halted: bool = False


class Staleness(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """silent when (now - last event) > min(max(min_silence_s, factor * usual gap), max_silence_s).

    The usual gap is the mean of the last messages' gaps (exponentially weighted, each gap cut at
    the limit so that an outage does not pass for normal). Until it is known the limit is
    `max_silence_s`. While the venue has halted trading nothing is reported; while the link is down
    the silence is the link's, and only worth a note.

    Units: score = silence / limit, line 1; observed, expected and flip in seconds; times of
    receipt, since the venue's time stands still while it is silent. No p: gaps of a self-exciting
    stream have no simple tail.
    Reference: session script's stream health (HEALTHY below 30 s, UNHEALTHY from 120 s), which is
    `max_silence_s`; the factor is a choice: arrivals cluster (Hawkes 1971), so
    long gaps are usual, and a small factor would take them for silence.
    False alarms: markets that really trade less often than every `max_silence_s` (raise it), above
    all where no book is subscribed; a feed that only sends changes, at night.
    """

    name: ClassVar[str] = "staleness"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Trade, Quote, Book, Status, Link, Timer)
    state_type: ClassVar[type] = StalenessState

    min_silence_s: Positive = 10.0
    factor: Positive = 20.0
    max_silence_s: Positive = 120.0

    def __post_init__(self) -> None:
        if not self.min_silence_s <= self.max_silence_s:
            raise ConfigError(
                f"min_silence_s = {self.min_silence_s:g} is above"
                f" max_silence_s = {self.max_silence_s:g}"
            )

    def key(self, event: Event, /) -> str | None:
        return None if isinstance(event, _NOT_MINE) else event.instrument or None

    def start(self, key: str, /) -> StalenessState:
        return StalenessState(key, key.partition(":")[0])

    def update(self, state: StalenessState, event: Event, /) -> Observation | None:
        if isinstance(event, _MARKET):
            if not (isinstance(event, Trade) and event.backfilled):
                return self._on_message(state, event.ts_recv)
        elif isinstance(event, Timer):
            return self._on_timer(state, event.ts_recv)
        elif isinstance(event, Link):
            if event.source == state.source:
                state.link_down = event.state == "down"
                _restart(state, event.ts_recv)
        elif isinstance(event, Status):
            _on_status(state, event)
        return None

    def _on_message(self, state: StalenessState, now: int) -> Observation | None:
        gap_s = (now - state.last_ns) / NS_PER_S
        if gap_s <= 0.0:  # one message may carry many events: it is messages that have gaps
            return None
        ended: Observation | None = None
        if gap_s > self.min_silence_s:  # seldom; a reported silence is always that long
            if state.silent:
                ended = self._resumed(state, now)
            # Cut at the limit that holds now, so that one outage does not pass for normal.
            gap_s = min(gap_s, self._limit_s(state))
        if state.last_ns:
            if state.gaps < _MEMORY:
                state.gaps += 1
            state.gap_s += (gap_s - state.gap_s) / state.gaps
        state.last_ns = state.since_ns = now
        return ended

    def _on_timer(self, state: StalenessState, now: int) -> Observation | None:
        if state.halted or not state.since_ns:
            return None
        length_s = (now - state.since_ns) / NS_PER_S
        limit_s = self._limit_s(state)
        if length_s <= max(limit_s, state.due_s):
            return None
        state.silent, state.due_s = True, 2.0 * length_s
        usual = f" (normal: {state.gap_s:.2g} s)" if state.gaps == _MEMORY else ""
        why = f": the link to {state.source} is down" if state.link_down else ""
        return Observation(
            detector=self.name,
            instrument=state.key,
            cause="silence",
            ts_event=now,
            score=length_s / limit_s,
            line=1.0,
            severity="info" if state.link_down else "warn",
            onset_ns=state.last_ns,
            observed=length_s,
            expected=state.gap_s if state.gaps == _MEMORY else None,
            expected_high=limit_s,
            unit="s",
            flip=limit_s,
            baseline_count=state.gaps,
            reason=f"nothing for {length_s:.0f} s{usual}{why}",
        )

    def _resumed(self, state: StalenessState, now: int) -> Observation:
        length_s = (now - state.last_ns) / NS_PER_S
        state.silent, state.due_s = False, 0.0
        return Observation(
            detector=self.name,
            instrument=state.key,
            cause="resumed",
            ts_event=now,
            score=max(1.0, length_s / self._limit_s(state)),
            line=1.0,
            severity="info",
            onset_ns=state.last_ns,
            observed=length_s,
            unit="s",
            baseline_count=state.gaps,
            reason=f"data again after {length_s:.0f} s of silence",
        )

    def _limit_s(self, state: StalenessState) -> float:
        if state.gaps < _MEMORY:
            return self.max_silence_s
        return min(max(self.min_silence_s, self.factor * state.gap_s), self.max_silence_s)


def _on_status(state: StalenessState, status: Status) -> None:
    """A halt of this instrument, or of its whole source."""
    if status.instrument != state.key and (status.instrument or status.source != state.source):
        return
    if status.kind == "halted":
        state.halted = True
    elif status.kind == "online" and state.halted:
        state.halted = False
        _restart(state, status.ts_recv)


def _restart(state: StalenessState, now: int) -> None:
    """Count silence from here; the next one is the market's own, and is reported as such."""
    if state.last_ns:
        state.since_ns, state.due_s = max(now, state.last_ns), 0.0
