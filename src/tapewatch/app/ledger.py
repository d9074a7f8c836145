"""The account of a session: what was received, what was missed, what was said.

Every figure of the status line and of the summary comes from here, and here from the engine's
outputs alone, so a replayed tape gives the same account as the live session.
"""

from itertools import pairwise

from msgspec import Struct, field

from tapewatch.model import limits
from tapewatch.model.inputs import STOPPED
from tapewatch.model.outputs import Alert, Fault, Output, Report, Suppressed
from tapewatch.model.time import NS_PER_S


class Span(Struct, frozen=True):
    """An interval [start, end] of ns in which something of `key` was missed."""

    key: str
    start: int
    end: int


class Ledger(Struct):
    """Counts by name, gaps, and the alerts that mattered most. `suppressed` counts alerts by
    reason, `reports_held` reports that were sampled out or held back.

    A gap is a time in which the live feed of an instrument (or, with key `venue:*`, of a whole
    source) was not connected, not current or not complete; our own orderly end is none. It counts
    against coverage even when its trades were fetched afterwards, because nobody could have been
    warned in time; `filled` tells how many were.
    """

    instruments: tuple[str, ...] = ()
    started_ns: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    suppressed: dict[str, int] = field(default_factory=dict)
    alerts: int = 0
    alarms: int = 0  # alerts of severity warn and above
    reports: int = 0
    reports_held: int = 0
    connects: dict[str, int] = field(default_factory=dict)  # by socket or service
    gaps: int = 0
    filled: int = 0
    biggest: Alert | None = None
    last_alert: Alert | None = None
    spans: list[Span] = field(default_factory=list)
    down: dict[str, int] = field(default_factory=dict)
    stopped_ns: int = 0  # when the session was ended in good order, and not gone on with yet
    idle_ns: int = 0  # between such an end and the next start

    def see(self, output: Output) -> None:
        """Take one output into account."""
        match output:
            case Fault():
                self._fault(output)
            case Alert():
                self.alerts += 1
                self.alarms += output.severity != "info"
                self.last_alert = output
                if self.biggest is None or _weight(output) > _weight(self.biggest):
                    self.biggest = output
            case Report():
                self.reports += 1
            case Suppressed(what="report"):
                self.reports_held += 1
            case Suppressed():
                self.suppressed[output.reason] = self.suppressed.get(output.reason, 0) + 1

    def _fault(self, fault: Fault) -> None:
        self.faults[fault.kind] = self.faults.get(fault.kind, 0) + 1
        source = f"{fault.source}:*"
        link = f"{fault.source}/{fault.stream}"
        match fault.kind:
            case "link_up" if self._is_watched(fault.source):
                self.connects[link] = self.connects.get(link, 0) + 1
                if fault.stream == "ws":
                    self._close(source, fault.ts_ns)
                if self.stopped_ns:
                    self.idle_ns += fault.ts_ns - self.stopped_ns
                    self.stopped_ns = 0
            case "link_down" if fault.detail == STOPPED:
                self.stopped_ns = fault.ts_ns
            case "link_down" if fault.stream == "ws" and self.connects:
                self._open(source, fault.since_ns or fault.ts_ns)
            case "stale":
                self._open(fault.instrument or source, fault.since_ns or fault.ts_ns)
            case "current":
                self._close(fault.instrument or source, fault.ts_ns)
            case "gap" | "mute":
                self.gaps += 1
                self._lose(Span(fault.instrument, fault.since_ns or fault.ts_ns, fault.ts_ns))
            case "gap_filled":
                self.filled += 1

    def _is_watched(self, source: str) -> bool:
        """Not so of what we connect to for ourselves, such as Redis."""
        watched = {instrument.partition(":")[0] for instrument in self.instruments}
        return not watched or source in watched

    def _open(self, key: str, since: int) -> None:
        if key not in self.down:
            self.gaps += 1
            self.down[key] = since

    def _close(self, source: str, now: int) -> None:
        since = self.down.pop(source, None)
        if since is not None:
            self._lose(Span(source, since, now))

    def _lose(self, span: Span) -> None:
        """Add a span. When there are too many, the two that are closest become one: the account
        then says that more was lost than was."""
        self.spans = _merged([*self.spans, span])
        if len(self.spans) > limits.LOST_SPANS:
            pairs = [(a, b) for a, b in pairwise(self.spans) if a.key == b.key]
            if pairs:
                first, second = min(pairs, key=lambda pair: pair[1].start - pair[0].end)
                at = self.spans.index(first)
                self.spans[at : at + 2] = [Span(first.key, first.start, second.end)]

    def lost_s(self, now: int) -> float:
        """Seconds without complete data, averaged over the instruments watched."""
        if not self.connects:
            return self.elapsed_s(now)
        spans = [*self.spans, *(Span(key, since, now) for key, since in self.down.items())]
        watched = self.instruments or ("",)
        return sum(_union_ns(spans, instrument) for instrument in watched) / len(watched) / NS_PER_S

    def elapsed_s(self, now: int) -> float:
        """Seconds of watching, over all processes of the session."""
        return (now - self.started_ns - self.idle_ns) / NS_PER_S

    def coverage(self, now: int) -> float:
        """Share of the session, in 0..1, during which the feed was connected and complete."""
        elapsed = self.elapsed_s(now)
        if not self.connects:
            return 0.0
        return 1.0 if elapsed <= 0 else max(0.0, 1.0 - self.lost_s(now) / elapsed)

    @property
    def reconnects(self) -> int:
        """Connections after the first, of every socket and service."""
        return sum(count - 1 for count in self.connects.values())


def _weight(alert: Alert) -> tuple[int, float]:
    return ("info", "warn", "high", "page").index(alert.severity), alert.score / alert.line


def _merged(spans: list[Span]) -> list[Span]:
    """The spans by key and start, those that overlap or touch as one."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.key, span.start)):
        last = merged[-1] if merged else None
        if last is not None and last.key == span.key and span.start <= last.end:
            merged[-1] = Span(span.key, last.start, max(last.end, span.end))
        else:
            merged.append(span)
    return merged


def _union_ns(spans: list[Span], instrument: str) -> int:
    """Length of the union of the spans that concern `instrument`."""
    whole = f"{instrument.partition(':')[0]}:*"
    total, reached = 0, 0
    for span in sorted(
        (s for s in spans if s.key in (instrument, whole)), key=lambda s: (s.start, s.end)
    ):
        total += max(0, span.end - max(span.start, reached))
        reached = max(reached, span.end)
    return total
