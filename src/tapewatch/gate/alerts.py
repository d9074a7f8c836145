"""Alerts from observations: which field comes from where. No decisions."""

from typing import Final

from msgspec import UNSET, Struct
from msgspec.structs import replace

from tapewatch.gate.incidents import Incident, stable_id
from tapewatch.gate.storms import NAMED
from tapewatch.model.outputs import Alert, DataVerdict, Observation, Severity

_SAME: Final = (
    "p", "p_extrapolated", "score", "observed", "expected", "expected_low", "expected_high", "unit",
    "flip", "low_confidence", "kind", "contributions", "baseline_count", "baseline_age_s", "reason",
    "sigma", "deviation", "deviation_unit", "baseline_window_s",
)  # fmt: skip


class Candidate(Struct, frozen=True, gc=False):
    """An observation on its way through the gate: `version` of its detector, `seq` of the input it
    came from (the tape position), engine time `now`; `simulated` when the data are not live."""

    seen: Observation
    version: int
    seq: int
    now: int
    simulated: bool = False


def alert(
    incident: Incident, item: Candidate, line: float, word: Severity, data: DataVerdict
) -> Alert:
    """The alert of an incident for its newest candidate."""
    seen = item.seen
    return Alert(
        id=stable_id(incident.id, incident.alerts, word, seen.cause, seen.ts_event),
        incident=incident.id,
        instrument=seen.instrument,
        detector=seen.detector,
        cause=seen.cause,
        severity=word,
        ts_event_ns=seen.ts_event,
        ts_alert_ns=item.now,
        onset_ns=incident.onset_ns,
        line=line,
        data_verdict=data,
        simulated=item.simulated,
        evidence={"seq": item.seq, "detector_version": item.version},
        p_persist=UNSET if seen.p_persist is None else seen.p_persist,
        wallets=seen.accounts or UNSET,
        **{name: getattr(seen, name) for name in _SAME},
    )


def storm_alert(made: Alert, members: list[str]) -> Alert:
    """The alert of a storm: that of its leader, with all who take part."""
    source = made.instrument.partition(":")[0]
    named = ", ".join(members[:NAMED])
    more = f" and {len(members) - NAMED} more" if len(members) > NAMED else ""
    return replace(
        made,
        members=tuple(members[:NAMED]),
        reason=f"{len(members)} instruments of {source} at once: {named}{more}. {made.reason}",
    )
