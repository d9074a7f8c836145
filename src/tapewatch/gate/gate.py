"""The gate: the only place that decides what is shown.

Order of judgement, for every observation at or above its line:

1. baseline  not ready                              -> ANOMALYDETECTOR_INSUFFICIENT_BASELINE
2. data      link down, feed silent, venue halted   -> STALE_DATA (market causes only)
3. incident  open already, not materially worse     -> ALREADY_SHOWN
4. doors     the kill switch, always last           -> KILL_SWITCH_ACTIVE

Reports of the bot 4.15 detector pass the doors too: normal cycles are sampled, anomalous and
borderline ones always go out, none goes out from stale data or while killed.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field
from msgspec.structs import replace

from tapewatch.gate.incidents import Incident, open_incident, stable_id, worsens
from tapewatch.gate.reports import report
from tapewatch.model.events import Status
from tapewatch.model.inputs import Link
from tapewatch.model.outputs import (
    Alert,
    DataVerdict,
    Observation,
    Output,
    Resolved,
    Suppressed,
)
from tapewatch.model.reasons import Reason
from tapewatch.model.time import NS_PER_MS, NS_PER_S

# Causes that speak of the feed itself: stale data are their subject, not an objection.
FEED_CAUSES: Final = frozenset({"silence", "resumed", "feed", "crossed"})
GAP_MEMORY_NS: Final = 300 * NS_PER_S  # a gap is mentioned on alerts for so long (scoring episodes)
MAX_S: Final = 1e9  # longest time in settings: 30 years, far from the end of 64-bit nanoseconds
_GAP_KINDS: Final = frozenset({"gap", "gap_lost", "checksum", "malformed", "unrecorded"})


class Gate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the user may set.

    `cooldown_s`, `worse`: an open incident is shown again when its severity rises, or when it is
    `worse` (a fraction) heavier than its peak and `cooldown_s` have passed. `quiet_s` without a
    candidate closes it; a silence lasts until data come again. `sample_rate`: every n-th normal
    report goes out. `lines` overrides a detector's own line, by detector name, in its unit.
    """

    cooldown_s: Annotated[float, Meta(ge=0.0, le=MAX_S)] = 600.0
    worse: float = 0.2
    quiet_s: Annotated[float, Meta(gt=0.0, le=MAX_S)] = 300.0
    sample_rate: Annotated[int, Meta(ge=1)] = 10
    lines: dict[str, float] = {}


class GateState(Struct):
    """What the gate remembers. `stale` maps a silent instrument to the detector that said so, and
    `venue:*`, or either with `!` for a halt, to why it is stale."""

    kill: Literal["off", "on", "unknown"] = "off"
    incidents: dict[str, Incident] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)
    last_gap: dict[str, int] = field(default_factory=dict)
    cycles: dict[str, int] = field(default_factory=dict)


class Candidate(Struct, frozen=True, gc=False):
    """An observation on its way through the gate: `version` of its detector, `seq` of the input it
    came from (the tape position), engine time `now`; `simulated` when the data are not live."""

    seen: Observation
    version: int
    seq: int
    now: int
    simulated: bool = False


def judge(gate: Gate, state: GateState, item: Candidate) -> Iterable[Output]:
    """Outputs that one observation gives rise to."""
    seen = item.seen
    line = gate.lines.get(seen.detector, seen.line)
    if seen.score < line and not seen.report and seen.cause not in FEED_CAUSES:
        return ()  # nearly all of them
    return _judge(gate, state, item, line)


def _judge(gate: Gate, state: GateState, item: Candidate, line: float) -> Iterator[Output]:
    seen = item.seen
    stale = seen.cause not in FEED_CAUSES and _is_stale(state, seen.instrument)
    if seen.cause == "silence":
        state.stale[seen.instrument] = seen.detector
    elif seen.cause == "resumed":
        _end_silence(state, seen.instrument, item.now)
    if seen.report and not stale:
        yield from _report(gate, state, item, line)
    if seen.score < line:
        return
    if not seen.ready:
        yield _suppressed(Reason.ANOMALYDETECTOR_INSUFFICIENT_BASELINE, item)
    elif stale:
        yield _suppressed(Reason.STALE_DATA, item)
    else:
        yield from _candidate(gate, state, item, line)


def _end_silence(state: GateState, instrument: str, now: int) -> None:
    """Its incident closes when it has been over for the quiet time, so that flapping merges."""
    state.stale.pop(instrument, None)
    for key, incident in state.incidents.items():
        if key.startswith(f"{instrument}|silence|"):
            incident.last_ns = now


def _candidate(gate: Gate, state: GateState, item: Candidate, line: float) -> Iterator[Output]:
    seen, now = item.seen, item.now
    key = f"{seen.instrument}|{seen.cause}|{seen.kind}"
    incident = state.incidents.get(key)
    if incident is None:
        incident = state.incidents[key] = open_incident(seen, item.version, now)
    elif not worsens(incident, seen, now, gate.worse, int(gate.cooldown_s * NS_PER_S)):
        yield _suppressed(Reason.ALREADY_SHOWN, item)
        return
    incident.last_alert_ns = now
    alert = _alert(state, incident, item, line)
    if state.kill == "off":
        incident.alerts += 1
        yield alert
    else:
        incident.held = alert
        yield _suppressed(Reason.KILL_SWITCH_ACTIVE, item)


def _report(gate: Gate, state: GateState, item: Candidate, line: float) -> Iterator[Output]:
    seen = item.seen
    count = state.cycles.get(seen.instrument, 0)
    state.cycles[seen.instrument] = count + 1
    anomalous = seen.ready and seen.score >= line
    if state.kill != "off":
        yield _suppressed(Reason.KILL_SWITCH_ACTIVE, item, what="report")
    elif anomalous or seen.low_confidence or count % gate.sample_rate == 0:
        yield report(seen, line, item.now)
    else:
        yield _suppressed(Reason.SAMPLED_OUT, item, what="report")


def _alert(state: GateState, incident: Incident, item: Candidate, line: float) -> Alert:
    seen, now = item.seen, item.now
    return Alert(
        id=stable_id(incident.id, incident.alerts, seen.severity, seen.ts_event),
        incident=incident.id,
        instrument=seen.instrument,
        detector=seen.detector,
        cause=seen.cause,
        severity="info" if seen.low_confidence else seen.severity,
        ts_event_ns=seen.ts_event,
        ts_alert_ns=now,
        onset_ns=incident.onset_ns,
        p=seen.p,
        p_extrapolated=seen.p_extrapolated,
        score=seen.score,
        line=line,
        observed=seen.observed,
        expected=seen.expected,
        expected_low=seen.expected_low,
        expected_high=seen.expected_high,
        unit=seen.unit,
        flip=seen.flip,
        low_confidence=seen.low_confidence,
        kind=seen.kind,
        contributions=seen.contributions,
        baseline_count=seen.baseline_count,
        baseline_age_s=seen.baseline_age_s,
        data_verdict=_verdict(state, seen, now),
        reason=seen.reason,
        simulated=item.simulated,
        evidence={"seq": item.seq, "detector_version": item.version},
    )


def _verdict(state: GateState, seen: Observation, now: int) -> DataVerdict:
    gap = max(
        state.last_gap.get(seen.instrument, 0), state.last_gap.get(_whole(seen.instrument), 0)
    )
    gapped = gap > 0 and now - gap <= GAP_MEMORY_NS
    stale = _is_stale(state, seen.instrument)
    return DataVerdict(
        feed="stale" if stale else "gap" if gapped else "complete",
        gap_before_s=(now - gap) / NS_PER_S if gapped else None,
        # A poll cycle is dated on its grid: its distance from now is no lag of the feed.
        lag_ms=None if seen.cycle_ms else (now - seen.ts_event) / NS_PER_MS,
    )


def on_timer(gate: Gate, state: GateState, now: int) -> Iterator[Output]:
    """Close incidents that have been quiet; one that was never shown closes without a word."""
    quiet_ns = int(gate.quiet_s * NS_PER_S)
    over = [key for key, open_ in state.incidents.items() if now - open_.last_ns > quiet_ns]
    for key in over:
        instrument, cause, _ = key.rsplit("|", 2)
        if cause == "silence" and instrument in state.stale:
            continue  # a silence is measured at ever longer intervals: it still lasts
        incident = state.incidents.pop(key)
        if incident.alerts and state.kill == "off":
            yield Resolved(
                incident.id,
                instrument,
                cause,
                incident.onset_ns,
                incident.last_ns,
                incident.alerts,
                incident.merged,
                incident.peak,
            )


def on_kill(state: GateState, argument: str, now: int) -> Iterator[Output]:
    """The kill switch moved. Anything but `on` and `off` means that it cannot be read: treated as
    on. When it is released, an incident that is still open and was held back is shown, once."""
    state.kill = argument if argument in ("on", "off") else "unknown"  # type: ignore[assignment]
    if state.kill != "off":
        return
    for incident in state.incidents.values():
        if incident.held is not None:
            incident.alerts += 1
            yield replace(incident.held, ts_alert_ns=now)
            incident.held = None


def on_link(state: GateState, link: Link) -> None:
    """A source without a connection is stale as a whole."""
    if link.state == "down":
        state.stale[f"{link.source}:*"] = "link down"
        state.last_gap[f"{link.source}:*"] = link.ts_recv
    else:
        state.stale.pop(f"{link.source}:*", None)


def on_forget(state: GateState, detector: str, key: str) -> None:
    """A detector lost its memory of `key`: it will not say that a silence it reported has ended."""
    if state.stale.get(key) == detector:
        del state.stale[key]


def on_status(state: GateState, status: Status, now: int) -> None:
    """Remember what an alert must say about its data."""
    key = status.instrument or f"{status.source}:*"
    if status.kind in _GAP_KINDS:
        state.last_gap[key] = now
    elif status.kind == "halted":
        state.stale[f"{key}!"] = "halted"
    elif status.kind == "online":
        state.stale.pop(f"{key}!", None)


def _is_stale(state: GateState, instrument: str) -> bool:
    if not state.stale:
        return False
    whole = _whole(instrument)
    return any(key in state.stale for key in (instrument, f"{instrument}!", whole, f"{whole}!"))


def _whole(instrument: str) -> str:
    return f"{instrument.partition(':')[0]}:*"


def _suppressed(
    reason: Reason, item: Candidate, what: Literal["alert", "report"] = "alert"
) -> Suppressed:
    seen = item.seen
    return Suppressed(reason.value, seen.instrument, seen.cause, item.now, seen.score, what)
