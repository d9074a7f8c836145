"""`feed`: rules for what is wrong with the data rather than with the market.

Most of it is the venue's decoder speaking (`Status` events); two rules are its own: late trades,
and clocks that disagree. It has no baseline and nothing to learn. A crossed book is `crossed`, and
a price that jumps and comes back is for the price detectors.
"""

from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct, field

from tapewatch.model.events import Event, Status, Trade
from tapewatch.model.outputs import Contribution, Observation, Severity
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S

REPEAT_S: Final = 60.0  # the same fault again within this is counted, not repeated


class Rule(Struct, frozen=True):
    """How bad one kind of fault is, and how it is said. Below a score of `from_score` it is only
    worth a note."""

    severity: Severity
    sentence: str
    from_score: float = 0.0


# Kinds of `Status`. What repairs itself without loss is `info`.
RULES: Final[dict[str, Rule]] = {
    "gap": Rule("info", "trade ids jump; the missing trades are being fetched"),
    "gap_lost": Rule("warn", "trades are missing for good: the venue does not have them either"),
    "withdrawn": Rule("warn", "trades that were told have not happened"),
    "duplicate": Rule("info", "a trade was delivered twice; it counts once"),
    "reordered": Rule("info", "a trade arrived late and fills a hole"),
    "checksum": Rule("warn", "the book does not match the venue's checksum"),
    "unchecked": Rule("warn", "the checksum keeps failing; the book is no longer checked"),
    "malformed": Rule("warn", "a frame cannot be read"),
    "invalid": Rule("warn", "a row has an impossible value; it was dropped"),
    "unknown": Rule("info", "a frame of an unknown kind"),
    "mute": Rule("warn", "the feed is mute although the venue trades"),
    "no_data": Rule("warn", "subscribed, but no data have come"),
    "no_heartbeat": Rule("warn", "the venue's heartbeat is missing"),
    "no_answer": Rule("warn", "the venue has not answered the request for missing trades"),
    "unavailable": Rule("info", "the venue refuses a request for now"),
    "rejected": Rule("high", "the venue refused a subscription"),
    "ack_timeout": Rule("warn", "the venue does not answer a subscription"),
    "rate_limited": Rule("warn", "the venue says that we ask too much"),
    "halted": Rule("info", "the venue has halted trading"),
    "lag": Rule("warn", "trades arrive late"),
    # A second or two is a machine without time synchronisation, which moves no market.
    "clock": Rule("warn", "our clock and the venue's disagree", 5.0),
    "stale": Rule("warn", "there are no current data"),
    "incomplete": Rule("info", "trades may be missing; volume is not judged"),
    "mirror": Rule("warn", "the books of the two outcomes contradict each other"),
    "ghost": Rule("info", "the book over REST is empty where it should not be"),
    "unrecorded": Rule("high", "inputs were received but could not be recorded"),
}
# The rest of `StatusKind` says that all is well (again).
GOOD: Final = frozenset(
    {"subscribed", "quiet", "online", "gap_filled", "resynced", "listed", "current", "complete"}
)

Positive = Annotated[float, Meta(gt=0.0)]


class FeedState(Struct):
    """Memory of one instrument, or of a whole source (`venue:*`)."""

    key: str
    source: str
    late: bool = False  # lag was reported and has not subsided
    early: bool = False  # so was a venue clock ahead of ours
    said_ns: dict[str, int] = field(default_factory=dict)  # last report, by kind in RULES
    repeats: dict[str, int] = field(default_factory=dict)  # not reported since, by kind in RULES


class Found(Struct, frozen=True):
    """One fault: `kind` in RULES, `ts` of receipt, `observed` in seconds where there is one."""

    kind: str
    ts: int
    score: float
    observed: float | None
    onset_ns: int
    detail: str


class Feed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One observation per fault; the same kind again within 60 s only counts.

    `lag_s`, `ahead_s`: a trade received so long after, or before, the venue's time of it; said once
    until half of it is reached again. Backfilled trades are late by nature and not judged.

    Units: score is 1 for a rule that is simply broken; for lag and clock the excess over the limit.
    The line is 1. `observed` in seconds where there is one; the contribution names the kind and how
    often it was seen since it was last said. No p: rules have none.
    Reference: the fault list of `tapewatch simulate`, F02-F03, F06-F08, F13-F17, F40-F43, F46.
    False alarms: a venue that stamps trades with the time of the order, or in whole seconds (lag);
    a machine without time synchronisation (clock).
    """

    name: ClassVar[str] = "feed"
    version: ClassVar[int] = 2
    wants: ClassVar[tuple[type[Event], ...]] = (Trade, Status)
    state_type: ClassVar[type] = FeedState

    lag_s: Positive = 5.0
    ahead_s: Positive = 1.0

    def key(self, event: Event, /) -> str | None:
        if isinstance(event, Status):
            return event.instrument or f"{event.source}:*"
        return event.instrument if isinstance(event, Trade) else None

    def start(self, key: str, /) -> FeedState:
        return FeedState(key, key.partition(":")[0])

    def update(self, state: FeedState, event: Event, /) -> Observation | None:
        if type(event) is Trade:
            return None if event.backfilled else self._on_trade(state, event)
        return self._on_status(state, event) if isinstance(event, Status) else None

    def _on_trade(self, state: FeedState, trade: Trade) -> Observation | None:
        lag_s = (trade.ts_recv - trade.ts_event) / NS_PER_S
        if not (state.late or state.early) and -self.ahead_s <= lag_s <= self.lag_s:
            return None  # nearly all of them
        if state.late and lag_s < 0.5 * self.lag_s:
            state.late = False
        elif state.early and lag_s > -0.5 * self.ahead_s:
            state.early = False
        if lag_s > self.lag_s and not state.late:
            state.late = True
            score, detail = lag_s / self.lag_s, f"by {lag_s:.1f} s"
            found = Found("lag", trade.ts_recv, score, lag_s, trade.ts_event, detail)
        elif lag_s < -self.ahead_s and not state.early:
            state.early = True
            score, detail = -lag_s / self.ahead_s, f"the venue's is {-lag_s:.1f} s ahead"
            found = Found("clock", trade.ts_recv, score, lag_s, 0, detail)
        else:
            return None
        return _say(state, found)

    def _on_status(self, state: FeedState, status: Status) -> Observation | None:
        kind = status.kind
        if kind in GOOD or self.key(status) != state.key:
            return None
        score, observed, detail = 1.0, None, clean(status.detail)
        if status.last_id:
            detail = f"{status.first_id} to {status.last_id}{detail and ', '}{detail}"
        if kind in {"lag", "clock"}:
            observed = status.value
            score = max(1.0, abs(observed) / (self.lag_s if kind == "lag" else self.ahead_s))
            detail = f"by {observed:.1f} s{detail and ', '}{detail}"
        return _say(state, Found(kind, status.ts_recv, score, observed, status.since_ns, detail))


def _say(state: FeedState, found: Found) -> Observation | None:
    """The observation of one fault, or None and a count when its kind was said just now."""
    kind = found.kind
    said = state.said_ns.get(kind)
    if said is not None and said <= found.ts < said + REPEAT_S * NS_PER_S:
        state.repeats[kind] = state.repeats.get(kind, 0) + 1
        return None
    state.said_ns[kind] = found.ts
    more = state.repeats.pop(kind, 0)
    rule = RULES[kind]
    return Observation(
        detector=Feed.name,
        instrument=state.key,
        cause="feed",
        ts_event=found.ts,
        score=found.score,
        line=1.0,
        severity=rule.severity if found.score >= rule.from_score else "info",
        onset_ns=found.onset_ns,
        observed=found.observed,
        unit="" if found.observed is None else "s",
        kind=kind,
        contributions=(Contribution(kind, 1.0 + more, unit="times"),),
        reason=rule.sentence
        + (f" ({found.detail})" if found.detail else "")
        + (f"; {more} more since it was last said" if more else ""),
    )
