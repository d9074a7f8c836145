"""`gap`: an instrument falls silent for longer than it does by itself, and speaks again.

It watches the events of one instrument, not the bytes of a connection: a socket that answers pings
while its market data have stopped is the fault it exists for.

Theory of operation. Gaps between messages are measured in units of the usual gap, and their record
(`kernels/tails.py`) says how often one gets so long. Timers look at the clock, so silence itself
raises the alarm and not its end. Nearly all gaps are short and need no record of their own: those
below a bound, which is steered so that one in twenty-five is above it, are only counted, and enter
the record together when a longer one comes. That keeps the usual event at a comparison and a count.
"""

from math import exp, log10
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct, field

from tapewatch.detect.base import LINE
from tapewatch.kernels.tails import Tail, learn, learn_least, magnitude_at, p_value, ready
from tapewatch.model.events import Bar, Book, Event, Quote, Status, Trade
from tapewatch.model.inputs import Link, Timer
from tapewatch.model.outputs import SEVERITIES, Observation, Severity
from tapewatch.model.time import NS_PER_S

SHORT: Final = 24  # short gaps for one that is recorded by itself
STEER: Final = 0.05  # e-folds by which one recorded gap moves the bound, at most
QUICK_FROM: Final = 256  # gaps before the bound is used
HALF_LIFE: Final = 60.0  # gaps after which one counts half in the usual gap
_STEP: Final = 1.0 - 0.5 ** (1.0 / HALF_LIFE)
CLIP: Final = 10.0  # a longer gap enters the usual one as so many of it: an outage is not usual
KNOWN: Final = 50  # gaps before which nothing is called usual
MANY: Final = 5.0  # until the record can speak: so many times what one gap in a hundred exceeds
RULE_S: Final = 60.0  # ... and at least a minute of messages, or, of a fast stream,
RULE_GAPS: Final = 100.0  # so many mean gaps: of 400,000 in bursts (Hawkes, 0.7) none reached 50
MIN_GAPS: Final = 30.0  # a silence shorter than so many mean gaps, of late or of an hour, is none
SLOW_S: Final = 1800.0  # half-life of that mean: a burst of a minute is not how a stream is
SLICE_S: Final = 5.0  # p is that of a slice of five seconds, as elsewhere
TELL: Final = 3.0  # decades from which a silence is told
LOOK: Final = 0.02  # of its length: so long until a silence is looked at again
HIGH_S: Final = 600.0  # what is silent for so long has most likely failed
SCORE_MAX: Final = 300.0
_MARKET: Final = (Trade, Quote, Book)
_FOR_ALL: Final = (Timer, Link)

Seconds = Annotated[float, Meta(ge=0.0)]
Positive = Annotated[float, Meta(gt=0.0)]


class GapState(Struct, array_like=True):
    """Memory of one instrument; times in ns of receipt, other lengths in s."""

    key: str
    source: str
    last_ns: int = 0  # the last message
    quick_ns: int = 0  # gaps below it are counted only
    short: int = 0  # how many since the last one that was not
    block_ns: int = 0  # where they began
    run: int = 0  # short ones since the last long one that are in the record already
    price: float = 0.0  # the last one, 0.0: unknown
    usual_s: float = 0.0
    slow_n: float = 0.0  # gaps of about the last hour, and their time
    slow_s: float = 0.0
    bar_s: float = 0.0  # interval of bars, 0.0: the stream has messages
    tail: Tail = field(default_factory=Tail)  # of gaps in units of the usual one
    restart_ns: int = 0  # a link or a venue came back: silence counts from here
    told_s: float = 0.0  # length when the silence was last told, 0.0: it was not
    told_score: float = 0.0
    noted: bool = False  # it was told because of its length alone
    told_severity: Severity = "info"
    link_down: bool = False
    halted: bool = False
    due_ns: int = 0  # when a timer is wanted; it may be early, since messages do not move it


class Silence(Struct, frozen=True):
    """How odd a silence is: a calibrated p, or a rule (p None) with its limit."""

    score: float
    line: float
    p: float | None
    extrapolated: bool
    limit_s: float


class Gap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """P(gap / usual gap >= silence / usual gap), by the record of this stream's own gaps.

    `min_s` of messages (or thirty gaps, of the usual ones or of the last hour's mean, if that is
    longer) and `min_bars` of bars: a shorter silence does not matter. The usual gap is an
    exponentially weighted mean (half-life 60 gaps, each cut at ten times the mean). p is that of a
    slice of five seconds: of a fast stream, the p of one gap times the gaps in it. Until the record
    can speak, a rule, after 50 gaps: five times what one gap in a hundred exceeds, and a minute or,
    of a fast stream, a hundred mean gaps.
    Only a stream that flows can warn: usual gap and mean of the last hour up to `flowing_s`, of
    bars usual gap up to two. From ten minutes on it is high. While the link is down the silence is
    the link's, and a note; while the venue has halted trading there is none. A silence is told
    once, again when it rises to high, and when it ends.

    `told_s`: every silence of that length is noted, whatever the record says; 0: none is.
    `unknown_s`: the same before 50 gaps are known.

    Units: score = decades, line 3.5; of a rule silence / limit, line 1. Observed, expected, flip
    in s, times of receipt, since the venue's time stands still while it is silent.
    Reference: gaps are not exponential: arrivals excite each other (Hawkes 1971), hence the record.
    False alarms: nights and holidays that the record has not seen yet; a feed that only sends
    changes.
    """

    name: ClassVar[str] = "gap"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Trade, Quote, Book, Bar, Status, Link, Timer)
    state_type: ClassVar[type] = GapState

    min_s: Positive = 5.0
    min_bars: Positive = 5.0
    flowing_s: Positive = 3.0
    told_s: Seconds = 0.0
    unknown_s: Seconds = 120.0

    def key(self, event: Event, /) -> str | None:
        if isinstance(event, _FOR_ALL):
            return None
        if isinstance(event, Book) and event.mirror_of:
            return event.mirror_of  # the market speaks, through whichever of its books
        return event.instrument or None  # type: ignore[union-attr]

    def start(self, key: str, /) -> GapState:
        return GapState(key, key.partition(":")[0])

    def update(self, state: GapState, event: Event, /) -> Observation | None:
        if type(event) is Trade and not event.backfilled:
            gap_ns = event.ts_recv - state.last_ns
            if gap_ns < state.quick_ns:  # the hot path
                if gap_ns > 0:  # one message may carry many events: it is messages that have gaps
                    state.last_ns = event.ts_recv
                    state.short += 1
                state.price = event.price
                return None
        return self._update(state, event)

    def _update(self, state: GapState, event: Event) -> Observation | None:
        """All that is not a trade soon after the message before."""
        if isinstance(event, Timer):
            return self._on_timer(state, event.ts_recv)
        if not isinstance(event, Trade | Quote | Book):
            return self._on_other(state, event)
        if isinstance(event, Trade) and event.backfilled:
            return None
        now, found = event.ts_recv, None
        gap_ns = now - state.last_ns
        if gap_ns >= state.quick_ns:
            found = self._on_message(state, event, now)
        elif gap_ns > 0:
            state.short += 1
            state.last_ns = now
        state.price = _price(event) or state.price
        return found

    def _on_other(self, state: GapState, event: Event) -> Observation | None:
        """What comes seldom."""
        found = None
        if isinstance(event, Bar):
            if state.bar_s or not state.last_ns:  # bars made of messages that are here as well
                state.bar_s = event.interval_ns / NS_PER_S
                found = self._on_message(state, event, event.ts_recv)
                state.price = event.close
        elif isinstance(event, Link):
            if event.source == state.source:
                state.link_down = event.state == "down"
                self._restart(state, event.ts_recv)
        elif isinstance(event, Status):
            self._on_status(state, event)
        return found

    def _on_status(self, state: GapState, status: Status) -> None:
        """A halt of this instrument, or of its whole source."""
        if status.instrument != state.key and (status.instrument or status.source != state.source):
            return
        if status.kind == "halted":
            state.halted = True
        elif status.kind == "online" and state.halted:
            state.halted = False
            self._restart(state, status.ts_recv)

    def _restart(self, state: GapState, now: int) -> None:
        """Silence counts from here; one that was told has not ended, and is told anew."""
        state.restart_ns = now
        state.told_score, state.told_severity = 0.0, "info"
        if state.last_ns:
            state.due_ns = now + self._least_ns(state)

    def _on_message(self, state: GapState, event: Event, now: int) -> Observation | None:
        """A gap that is recorded by itself, or ends a silence that was told."""
        gap_s = (now - state.last_ns) / NS_PER_S
        if gap_s <= 0.0:
            return None
        ended = self._resumed(state, event, gap_s) if state.told_s else None
        if state.last_ns:
            _record(state, gap_s)
        state.last_ns = state.block_ns = now
        state.due_ns = now + self._least_ns(state)
        return ended

    def _on_timer(self, state: GapState, now: int) -> Observation | None:
        if not state.last_ns or state.halted:
            state.due_ns = 0
            return None
        since = max(state.last_ns, state.restart_ns)
        least_ns = self._least_ns(state)
        if now < since + least_ns:
            state.due_ns = since + least_ns
            return None
        length_s = (now - since) / NS_PER_S
        found = self._judge(state, now, length_s)
        state.due_ns = self._next(state, since, now, length_s)
        return found

    def _least_ns(self, state: GapState) -> int:
        """A shorter silence does not matter."""
        least_s = self.min_bars * state.bar_s
        if not least_s:
            mean_s = max(state.usual_s, state.slow_s / state.slow_n if state.slow_n else 0.0)
            least_s = min(max(self.min_s, MIN_GAPS * mean_s), self.told_s or HIGH_S)
        return int(least_s * NS_PER_S)

    def _next(self, state: GapState, since: int, now: int, length_s: float) -> int:
        """When a silence that lasts is looked at again: the longer it is, the seldomer, but on the
        second where a limit is known."""
        known = (self.told_s, self.unknown_s, HIGH_S)
        limits = [since + int(limit_s * NS_PER_S) for limit_s in known if limit_s > length_s]
        if state.told_severity == "high" or (length_s > HIGH_S and state.told_s):
            return 0
        return min([now + int(max(1.0, LOOK * length_s) * NS_PER_S), *limits])

    def _judge(self, state: GapState, now: int, length_s: float) -> Observation | None:
        """Is a silence to be told, or told again?"""
        seen = self._rarity(state, length_s)
        severity: Severity = "info"
        known = state.tail.seen >= KNOWN and self._flows(state)
        if known and not state.link_down and seen.score >= seen.line:
            severity = "high" if length_s >= HIGH_S else "warn"
        if 0.0 < self.told_s <= length_s and not state.noted:
            state.noted = True
            score = length_s / self.told_s
            seen = Silence(score, 1.0, None, extrapolated=False, limit_s=self.told_s)
            state.told_s, state.quick_ns = length_s, 0
            return self._silent(state, now, length_s, seen, "info")
        if seen.score < (TELL if seen.p is not None else seen.line):
            return None
        worse = SEVERITIES.index(severity) > SEVERITIES.index(state.told_severity)
        reached = state.told_score < seen.line <= seen.score
        if state.told_s and not (worse or reached):
            return None
        state.told_s, state.told_score = length_s, seen.score
        state.told_severity, state.quick_ns = severity, 0
        return self._silent(state, now, length_s, seen, severity)

    def _flows(self, state: GapState) -> bool:
        if state.bar_s:
            return 0.0 < state.usual_s <= 2.0 * state.bar_s
        slow_s = self.flowing_s * state.slow_n
        return 0.0 < state.slow_s <= slow_s and state.usual_s <= self.flowing_s

    def _rarity(self, state: GapState, length_s: float) -> Silence:
        """How odd a silence of so many seconds is."""
        _flush(state)
        tail, usual_s = state.tail, state.usual_s
        if tail.seen < KNOWN or usual_s <= 0.0:
            limit_s = self.unknown_s or 1e9
            return Silence(length_s / limit_s, 1.0, None, extrapolated=False, limit_s=limit_s)
        if not ready(tail):
            slow_s = state.slow_s / state.slow_n if state.slow_n else 0.0
            fast_s = RULE_GAPS * max(usual_s, slow_s)
            least_s = self.min_bars * state.bar_s or min(RULE_S, fast_s)
            limit_s = max(MANY * magnitude_at(tail, 0.01) * usual_s, least_s)
            score = min(SCORE_MAX, length_s / limit_s)
            return Silence(score, 1.0, None, extrapolated=False, limit_s=limit_s)
        p, extrapolated = p_value(tail, length_s / usual_s)
        gaps = max(1.0, SLICE_S / usual_s)
        p = min(1.0, p * gaps)
        limit_s = magnitude_at(tail, 10.0**-LINE / gaps) * usual_s
        score = min(SCORE_MAX, -log10(max(p, 1e-300)))
        return Silence(score, LINE, p, extrapolated, limit_s)

    def _silent(
        self, state: GapState, now: int, length_s: float, seen: Silence, severity: Severity
    ) -> Observation:
        known = state.tail.seen >= KNOWN
        limit_s = max(seen.limit_s, self._least_ns(state) / NS_PER_S)
        usual = f" (usually {state.usual_s:.2g} s)" if known else ""
        why = f": the link to {state.source} is down" if state.link_down else ""
        return Observation(
            detector=self.name,
            instrument=state.key,
            cause="silence",
            ts_event=now,
            score=seen.score,
            line=seen.line,
            severity=severity,
            onset_ns=state.last_ns,
            p=seen.p,
            p_extrapolated=seen.extrapolated,
            observed=length_s,
            expected=state.usual_s if known else None,
            expected_low=0.0,
            expected_high=limit_s,
            unit="s",
            flip=limit_s,
            deviation=length_s - state.usual_s,
            deviation_unit="s",
            baseline_count=state.tail.seen,
            baseline_age_s=length_s,
            baseline_window_s=state.usual_s * min(state.tail.seen, 20_000),
            reason=f"nothing for {length_s:.0f} s{usual}{why}",
        )

    def _resumed(self, state: GapState, event: Event, gap_s: float) -> Observation:
        """The end of a silence that was told; nobody needs it where the silence was no alert."""
        shown = state.told_severity != "info" or self.told_s or state.link_down
        state.told_s = state.told_score = 0.0
        state.told_severity, state.noted = "info", False
        before, after = state.price, _price(event)
        moved = before > 0.0 and after > 0.0 and before != after
        price = f"; repriced from {before:.6g} to {after:.6g} while silent" if moved else ""
        return Observation(
            detector=self.name,
            instrument=state.key,
            cause="resumed",
            ts_event=event.ts_recv,
            score=1.0 if shown else 0.0,
            line=1.0,
            severity="info",
            onset_ns=state.last_ns,
            observed=gap_s,
            expected=state.usual_s,
            unit="s",
            deviation=after - before if moved else None,
            deviation_unit="price" if moved else "",
            baseline_count=state.tail.seen,
            reason=f"data again after {gap_s:.0f} s of silence{price}",
        )


def _record(state: GapState, gap_s: float) -> None:
    """Let a gap enter the record, and the short ones before it."""
    _flush(state)
    run, state.run = state.run, 0
    usual_s = state.usual_s
    if usual_s <= 0.0:
        state.usual_s = gap_s
        return
    learn(state.tail, gap_s / usual_s)
    cut_s = min(gap_s, CLIP * usual_s)
    state.usual_s += (cut_s - usual_s) * _STEP
    _slowly(state, 1, min(gap_s, CLIP * max(usual_s, state.slow_s / max(state.slow_n, 1.0))))
    if state.bar_s or state.tail.seen < QUICK_FROM:
        state.quick_ns = 0
        return
    quick_ns = state.quick_ns or 2.0 * usual_s * NS_PER_S
    state.quick_ns = int(quick_ns * exp(STEER * max(-1.0, 1.0 - run / SHORT)))


def _flush(state: GapState) -> None:
    """The short gaps enter the record as its least, and the usual gap as their mean."""
    short = state.short
    if not short:
        return
    mean_s = (state.last_ns - state.block_ns) / NS_PER_S / short
    kept = 0.5 ** (short / HALF_LIFE)
    state.usual_s = kept * state.usual_s + (1.0 - kept) * mean_s
    learn_least(state.tail, short)
    _slowly(state, short, mean_s * short)
    state.run += short
    state.short, state.block_ns = 0, state.last_ns


def _slowly(state: GapState, gaps: int, lasted_s: float) -> None:
    """The mean gap of about the last hour takes in some more of them."""
    kept = 0.5 ** (lasted_s / SLOW_S)
    state.slow_n = kept * state.slow_n + gaps
    state.slow_s = kept * state.slow_s + lasted_s


def _price(event: Event) -> float:
    if isinstance(event, Trade):
        return event.price
    if isinstance(event, Bar):
        return event.open
    return _middle(event) if isinstance(event, Book) else 0.0


def _middle(event: Event) -> float:
    """The mid of a book that is not a mirror and not crossed, else 0.0."""
    assert isinstance(event, Book)
    if event.mirror_of or not event.bids or not event.asks:
        return 0.0
    bid, ask = event.bids[0][0], event.asks[0][0]
    return bid + 0.5 * (ask - bid) if bid < ask else 0.0
