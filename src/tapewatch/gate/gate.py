"""The gate: the only place that decides what is shown.

Order of judgement, for every observation at or above its line:

1. baseline  not ready                              -> ANOMALYDETECTOR_INSUFFICIENT_BASELINE
2. matter    below the detector's floor             -> IMMATERIAL
3. data      link down, feed silent, venue halted,
             or a gap or a reconnect just now       -> STALE_DATA (market causes only)
4. incident  open already, not materially worse     -> ALREADY_SHOWN
5. storm     many instruments of the source at once -> ALREADY_SHOWN, but for the storm itself
6. budget    enough rarer events in the last days   -> BUDGET_SPENT (market causes with a p)
7. doors     the kill switch, always last           -> KILL_SWITCH_ACTIVE

The line of an observation with a p is the profile's, in decades; of a rule, the detector's own.
Reports of the bot 4.15 detector pass the doors too: normal cycles are sampled, anomalous and
borderline ones always go out, none goes out from stale data or while killed.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, field
from msgspec.structs import replace

from tapewatch.gate.alerts import Candidate, alert, storm_alert
from tapewatch.gate.budget import (
    PROFILES,
    Account,
    Profile,
    ProfileName,
    affordable,
    enter,
    realised,
)
from tapewatch.gate.context import Beside, contributions, expire, note, verdict, whole
from tapewatch.gate.incidents import Incident, open_incident, worsens
from tapewatch.gate.reports import report, sampled
from tapewatch.gate.severity import FEED_CAUSES, GROUPS, TYPES, alarms, severity
from tapewatch.gate.storms import MEMBERS, Opening, Storm, gathered, join, storm_key
from tapewatch.model.events import Status
from tapewatch.model.inputs import Link
from tapewatch.model.instrument import group_of
from tapewatch.model.outputs import Alert, Output, Resolved, Severity, Suppressed
from tapewatch.model.reasons import Reason
from tapewatch.model.time import NS_PER_S

MAX_S: Final = 1e9  # longest time in settings: 30 years, far from the end of 64-bit nanoseconds
_GAP_KINDS: Final = frozenset({"gap", "gap_lost", "checksum", "malformed", "unrecorded"})
_UNSETTLING: Final = frozenset({"gap", "checksum", "unrecorded"})  # prices jump over these

Rate = Annotated[float, Meta(ge=0.0, le=1e6)]


class Gate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the user may set.

    `profile` (`strict`, `balanced`, `sensitive`) is a choice of the next two and of how rare a
    warning must be; 0 is the profile's own number (balanced: 6 a day in all, 1 of one instrument's
    group). `alarms_per_day` in its place holds for one group as well as for all together, unless
    `group_alarms_per_day` says otherwise. An open incident is shown again when its severity rises,
    when it is ten times rarer, or when it is `worse` (a fraction) heavier than its peak and
    `cooldown_s` have passed. `quiet_s` without a candidate closes it; a silence lasts until data
    come again. For `settle_s` after a gap or a reconnect market causes are held back.
    `sample_rate`: the report of every n-th normal cycle goes out. `lines` overrides a detector's
    own line, by detector name, in its unit.
    """

    profile: ProfileName = "balanced"
    alarms_per_day: Rate = 0.0
    group_alarms_per_day: Rate = 0.0
    cooldown_s: Annotated[float, Meta(ge=0.0, le=MAX_S)] = 600.0
    worse: float = 0.2
    quiet_s: Annotated[float, Meta(gt=0.0, le=MAX_S)] = 300.0
    settle_s: Annotated[float, Meta(ge=0.0, le=MAX_S)] = 5.0
    sample_rate: Annotated[int, Meta(ge=1)] = 10
    lines: dict[str, float] = {}

    @property
    def budget(self) -> Profile:
        """The profile with what the user put in place of its numbers."""
        profile = PROFILES[self.profile]
        fleet = self.alarms_per_day or profile.alarms_per_day
        group = self.group_alarms_per_day or self.alarms_per_day or profile.group_alarms_per_day
        return Profile(fleet, group, profile.line)


class GateState(Struct):
    """What the gate remembers. `stale` maps a silent instrument to the detector that said so, and
    `venue:*`, or either with `!` for a halt or `~` for data that the venue calls stale, to why.
    `unsettled`: when an instrument or a source last lost something. `accounts`: of instrument
    groups, and `*` of all."""

    kill: Literal["off", "on", "unknown"] = "off"
    incidents: dict[str, Incident] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)
    last_gap: dict[str, int] = field(default_factory=dict)
    unsettled: dict[str, int] = field(default_factory=dict)
    recent: dict[str, dict[str, Beside]] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    openings: list[Opening] = field(default_factory=list)
    storms: dict[str, Storm] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # of markets, for people


def judge(gate: Gate, state: GateState, item: Candidate) -> Iterable[Output]:
    """Outputs that one observation gives rise to."""
    seen = item.seen
    line = _line(gate, item)
    if seen.score < line and not seen.report and seen.cause not in FEED_CAUSES:
        if seen.ready and seen.p is not None:
            note(state.recent, seen, item.now)
        return ()  # nearly all of them
    return _judge(gate, state, item, line)


def _line(gate: Gate, item: Candidate) -> float:
    seen = item.seen
    own = seen.line if seen.p is None else PROFILES[gate.profile].line
    return gate.lines.get(seen.detector, own)


def _judge(gate: Gate, state: GateState, item: Candidate, line: float) -> Iterator[Output]:
    seen = item.seen
    market = seen.cause not in FEED_CAUSES
    stale = market and _is_stale(state, seen.instrument)
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
    elif not seen.material:
        note(state.recent, seen, item.now)
        yield _suppressed(Reason.IMMATERIAL, item)
    elif stale or (market and _is_unsettled(gate, state, item)):
        yield _suppressed(Reason.STALE_DATA, item)
    else:
        note(state.recent, seen, item.now)
        yield from _candidate(gate, state, item, line)


def _end_silence(state: GateState, instrument: str, now: int) -> None:
    """Its incident closes when it has been over for the quiet time, so that flapping merges."""
    state.stale.pop(instrument, None)
    for key, incident in state.incidents.items():
        if key.startswith(f"{instrument}|silence|"):
            incident.last_ns = now


def _candidate(gate: Gate, state: GateState, item: Candidate, line: float) -> Iterator[Output]:
    """Open an incident, or take the candidate into the one that is open."""
    seen, now = item.seen, item.now
    group = GROUPS.get(seen.cause)
    kind = "" if group else ",".join((seen.kind, *seen.accounts))
    if seen.p_persist is not None:  # a forecast is a line of its own: it can be right or wrong
        group, kind = None, f"{seen.kind}@{seen.onset_ns}"
    key = f"{seen.instrument}|{group or seen.cause}|{kind}"
    word = severity(seen, line)
    incident = state.incidents.get(key)
    if incident is None:
        incident = state.incidents[key] = open_incident(seen, word, item.version, now)
        # What names accounts is about them, however many others are named at the time.
        apart = not alarms(word) or seen.accounts
        storm = None if apart else _storm(state, item, group or seen.cause)
        if storm is not None:
            incident.stormy = True
            yield from storm
            return
    elif incident.stormy or not (
        worsens(incident, seen, word, now, gate.worse, int(gate.cooldown_s * NS_PER_S))
        or (seen.cause in TYPES and incident.typed(seen.cause))
    ):
        yield _suppressed(Reason.ALREADY_SHOWN, item)
        return
    if not _pays(gate, state, item, word):
        yield _suppressed(Reason.BUDGET_SPENT, item)
        return
    yield from _emit(state, item, incident, _alert(gate, state, incident, item, line, word))


def _pays(gate: Gate, state: GateState, item: Candidate, word: Severity) -> bool:
    """Whether the budget has room for this event; the event is entered either way."""
    if word == "info":
        return True
    seen, now, budget = item.seen, item.now, gate.budget
    group = group_of(seen.instrument)
    accounts = [
        (state.accounts.setdefault(name, Account(now)), per_day)
        for name, per_day in ((group, budget.group_alarms_per_day), ("*", budget.alarms_per_day))
    ]
    # A broken rule and a lost feed are told whatever the budget, and rank below everything else.
    told = seen.p is None or seen.cause in FEED_CAUSES
    shown = told or all(
        affordable(account, per_day, group, seen.score, seen.interval_s, now)
        for account, per_day in accounts
    )
    for account, _ in accounts:
        enter(account, group, 0.0 if told else seen.score, now, shown=shown)
    return shown


def _storm(state: GateState, item: Candidate, group: str) -> Iterable[Output] | None:
    """What a storm makes of an incident that opens; None when there is no storm."""
    seen, now = item.seen, item.now
    source = seen.instrument.partition(":")[0]
    key = storm_key(source, group)
    members = gathered(state.openings, Opening(now, key, seen.instrument, seen.score))
    incident = state.incidents.get(key)
    if incident is None and len(members) < MEMBERS:
        return None
    told = replace(seen, instrument=f"{source}:*", kind="storm")
    shell = replace(item, seen=told)
    if incident is None:
        state.storms[key] = Storm(members, len(members))
        incident = state.incidents[key] = open_incident(told, seen.severity, item.version, now)
    else:
        incident.last_ns = now
        incident.merged += 1
        if not join(state.storms[key], seen.instrument):
            return (_suppressed(Reason.ALREADY_SHOWN, item),)
    names = state.storms[key].members
    line = seen.line
    made = alert(
        incident, shell, line, severity(seen, line), verdict({}, told, now, 0, stale=False)
    )
    return _emit(state, shell, incident, storm_alert(made, names))


def _emit(state: GateState, item: Candidate, incident: Incident, made: Alert) -> Iterator[Output]:
    """The last door."""
    incident.last_alert_ns = item.now
    if state.kill == "off":
        incident.alerts += 1
        yield made
    else:
        incident.held = made
        yield _suppressed(Reason.KILL_SWITCH_ACTIVE, item)


def _report(gate: Gate, state: GateState, item: Candidate, line: float) -> Iterator[Output]:
    seen = item.seen
    anomalous = seen.ready and seen.score >= line
    if state.kill != "off":
        yield _suppressed(Reason.KILL_SWITCH_ACTIVE, item, what="report")
    elif anomalous or seen.low_confidence or sampled(seen, gate.sample_rate):
        yield report(seen, line, item.now, state.names.get(seen.instrument, ""))
    else:
        yield _suppressed(Reason.SAMPLED_OUT, item, what="report")


def _alert(
    gate: Gate, state: GateState, incident: Incident, item: Candidate, line: float, word: Severity
) -> Alert:
    seen, now = item.seen, item.now
    gap = max(state.last_gap.get(seen.instrument, 0), state.last_gap.get(whole(seen.instrument), 0))
    stale = _is_stale(state, seen.instrument)
    causes = state.recent.get(seen.instrument, {})
    made = alert(incident, item, line, word, verdict(causes, seen, now, gap, stale=stale))
    account = state.accounts.get(group_of(seen.instrument))
    return replace(
        made,
        market=state.names.get(seen.instrument, UNSET),
        contributions=contributions(causes, seen),
        alarms_per_day=gate.budget.group_alarms_per_day,
        realised_per_day=realised(account, now) if account is not None else 0.0,
    )


def on_timer(gate: Gate, state: GateState, now: int) -> Iterable[Output]:
    """Close incidents that have been quiet; one that was never shown closes without a word."""
    if state.recent:
        expire(state.recent, now)
    return _closed(gate, state, now) if state.incidents else ()


def _closed(gate: Gate, state: GateState, now: int) -> Iterator[Output]:
    quiet_ns = int(gate.quiet_s * NS_PER_S)
    over = [key for key, open_ in state.incidents.items() if now - open_.last_ns > quiet_ns]
    for key in over:
        instrument, cause = key.rsplit("|", 2)[0], state.incidents[key].cause
        if cause == "silence" and instrument in state.stale:
            continue  # a silence is measured at ever longer intervals: it still lasts
        incident = state.incidents.pop(key)
        state.storms.pop(key, None)
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
    """A source without its connection is stale as a whole; of one with several, the venue says."""
    if link.stream != "ws":
        return
    if link.state == "down":
        state.stale[f"{link.source}:*"] = "link down"
        state.last_gap[f"{link.source}:*"] = link.ts_recv
    else:
        state.stale.pop(f"{link.source}:*", None)
        if f"{link.source}:*" in state.last_gap:  # not the first connection
            state.unsettled[f"{link.source}:*"] = link.ts_recv


def on_forget(state: GateState, detector: str, key: str) -> None:
    """A detector lost its memory of `key`: it will not say that a silence it reported has ended."""
    if state.stale.get(key) == detector:
        del state.stale[key]


def on_status(state: GateState, status: Status, now: int) -> None:
    """Remember what an alert must say about its data."""
    key = status.instrument or f"{status.source}:*"
    if status.kind in _GAP_KINDS:
        state.last_gap[key] = now
        if status.kind in _UNSETTLING:
            state.unsettled[key] = now
    elif status.kind == "halted":
        state.stale[f"{key}!"] = "halted"
    elif status.kind == "online":
        state.stale.pop(f"{key}!", None)
    elif status.kind == "stale":
        state.stale[f"{key}~"] = status.detail
        state.last_gap[key] = now
    elif status.kind == "current":
        if state.stale.pop(f"{key}~", None) is not None:
            state.unsettled[key] = now
    elif status.kind == "listed" and status.instrument:
        state.names[status.instrument] = status.detail


def _is_stale(state: GateState, instrument: str) -> bool:
    if not state.stale:
        return False
    source = whole(instrument)
    return any(
        f"{key}{mark}" in state.stale for key in (instrument, source) for mark in ("", "!", "~")
    )


def _is_unsettled(gate: Gate, state: GateState, item: Candidate) -> bool:
    """Whether the source was just reconnected, or a gap was just seen: a price jumps over both."""
    if not state.unsettled:
        return False
    instrument = item.seen.instrument
    last = max(state.unsettled.get(key, 0) for key in (instrument, whole(instrument)))
    return item.now - last < gate.settle_s * NS_PER_S


def _suppressed(
    reason: Reason, item: Candidate, what: Literal["alert", "report"] = "alert"
) -> Suppressed:
    seen = item.seen
    return Suppressed(reason.value, seen.instrument, seen.cause, item.now, seen.score, what)
