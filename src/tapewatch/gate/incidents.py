"""Incidents: one line for one thing that happens, however often it is measured.

| state | candidate | quiet for `quiet_s` |
|---|---|---|
| none | open, alert | - |
| open | risen, ten times rarer, or `worse` and cooled down: alert; else merge | resolve |

Key = instrument, and the group of its cause, or its cause, kind and accounts. Ids are pure
functions of what was seen, so a replay, a retry and a second instance produce the same ones.
"""

from hashlib import blake2b

from msgspec import Struct

from tapewatch.model.outputs import SEVERITIES, Alert, Observation, Severity


class Incident(Struct):
    """One open incident. `held` is its latest alert that the kill switch kept back."""

    id: str
    cause: str
    onset_ns: int
    last_ns: int
    severity: Severity
    peak: float
    alerts: int = 0
    merged: int = 0
    last_alert_ns: int = 0
    held: Alert | None = None
    told: float = 0.0  # score when it was last shown
    types: list[str] = []  # what it turned out to be, as far as told
    stormy: bool = False  # part of a storm, which speaks for it

    def typed(self, cause: str) -> bool:
        """Take note of what it turned out to be; True when that is news."""
        if cause in self.types:
            return False
        self.types.append(cause)
        return True


def stable_id(*parts: str | int) -> str:
    """128-bit hex id of the given parts (BLAKE2b, RFC 7693), the same everywhere and always."""
    text = "\x1f".join(str(part) for part in parts)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def open_incident(seen: Observation, word: Severity, version: int, now: int) -> Incident:
    """A new incident from its first candidate, of severity `word`."""
    onset = seen.onset_ns or seen.ts_event
    return Incident(
        id=stable_id(
            seen.detector, version, seen.instrument, seen.cause, seen.kind, *seen.accounts, onset
        ),
        cause=seen.cause,
        onset_ns=onset,
        last_ns=now,
        severity=word,
        peak=seen.score,
        told=seen.score,
        types=[seen.cause],
    )


def worsens(
    incident: Incident, seen: Observation, word: Severity, now: int, worse: float, cooldown_ns: int
) -> bool:
    """Whether a further candidate deserves a line of its own; the incident takes it in."""
    risen = SEVERITIES.index(word) > SEVERITIES.index(incident.severity)
    rarer = seen.p is not None and seen.score >= incident.told + 1.0
    heavier = seen.score >= incident.peak * (1.0 + worse)
    incident.last_ns = now
    incident.peak = max(incident.peak, seen.score)
    if risen:
        incident.severity = word
    if risen or rarer or (heavier and now - incident.last_alert_ns >= cooldown_ns):
        incident.told = seen.score
        return True
    incident.merged += 1
    return False
