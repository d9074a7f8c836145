"""Incidents: one line for one thing that happens, however often it is measured.

| state | candidate | quiet for `quiet_s` |
|---|---|---|
| none | open, alert | - |
| open | severity rose: alert; `worse` worse and cooled down: alert; else merge | resolve |

Key = instrument, cause and kind. Ids are pure functions of what was seen, so a replay, a retry and
a second instance produce the same ones.
"""

from hashlib import blake2b

from msgspec import Struct

from tapewatch.model.outputs import SEVERITIES, Alert, Observation, Severity


class Incident(Struct):
    """One open incident. `held` is its latest alert that the kill switch kept back."""

    id: str
    onset_ns: int
    last_ns: int
    severity: Severity
    peak: float
    alerts: int = 0
    merged: int = 0
    last_alert_ns: int = 0
    held: Alert | None = None


def stable_id(*parts: str | int) -> str:
    """128-bit hex id of the given parts (BLAKE2b, RFC 7693), the same everywhere and always."""
    text = "\x1f".join(str(part) for part in parts)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def open_incident(seen: Observation, version: int, now: int) -> Incident:
    """A new incident from its first candidate."""
    onset = seen.onset_ns or seen.ts_event
    return Incident(
        id=stable_id(seen.detector, version, seen.instrument, seen.cause, seen.kind, onset),
        onset_ns=onset,
        last_ns=now,
        severity=seen.severity,
        peak=seen.score,
    )


def worsens(
    incident: Incident, seen: Observation, now: int, worse: float, cooldown_ns: int
) -> bool:
    """Whether a further candidate deserves a line of its own; the incident takes it in."""
    risen = SEVERITIES.index(seen.severity) > SEVERITIES.index(incident.severity)
    heavier = seen.score >= incident.peak * (1.0 + worse)
    incident.last_ns = now
    incident.peak = max(incident.peak, seen.score)
    if risen:
        incident.severity = seen.severity
    if risen or (heavier and now - incident.last_alert_ns >= cooldown_ns):
        return True
    incident.merged += 1
    return False
