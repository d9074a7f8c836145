"""The gates between modes: what each asks, what the evidence says, and whether it is passed.

Bot 4.15 names three: its unit tests (before the shadow), fewer than 1 % false positives over 48
hours (before limited live), every synthetic 5-sigma spike found in a soak of seven days (before
general live). It does not say of what the false positives are a share; three answers are given,
each with its 95 % interval: of the judged cycles, which is its own wording; of the incidents; and
false incidents a market-day, which is what people feel. The first and the last are gates.
"""

import csv
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, field

from tapewatch.app.build import engine_of, simulated
from tapewatch.app.config import Config, effective
from tapewatch.app.evaluate.scoring import Proportion, Rate, proportion, rate
from tapewatch.app.ledger import Ledger
from tapewatch.app.replay import configured, steps
from tapewatch.app.self_check import self_check
from tapewatch.detect.zscore import ZScore
from tapewatch.gate.advice import Mode
from tapewatch.io.tape_read import TapeReader
from tapewatch.model.errors import ConfigError
from tapewatch.model.outputs import Alert, Observation, Output, Report, Resolved
from tapewatch.model.text import clean
from tapewatch.model.time import format_rfc3339

SHADOW_H: Final = 48.0  # the bot's second gate
FALSE_SHARE: Final = 0.01
SOAK_DAYS: Final = 7.0  # its third
COVERED: Final = 0.95  # of those hours, with complete data
AUDIT_COLUMNS: Final = ("incident", "verdict", "when", "instrument", "cause", "severity", "reason")

_SPIKES: Final = ("price_spike", "volume_spike")  # causes of the bot's own detector

Verdict = Literal["real", "false", ""]


class Gated(Struct, frozen=True):
    """One gate: what it asks, what was found, and whether that is enough."""

    gate: str
    asks: str
    found: str
    passed: bool


class Incident(Struct):
    """What a session told about one thing; `cycles`: anomalous reports that belong to it."""

    id: str
    instrument: str
    cause: str
    severity: str
    onset_ns: int
    reason: str
    cycles: int = 0


class Trial(Struct):
    """What a session's tape says of the alarms. `judged` cycles had a baseline; `stray` of those
    that were anomalous belong to no incident that was told."""

    hours: float = 0.0
    coverage: float = 0.0
    markets: int = 0
    live: bool = True
    judged: int = 0
    stray: int = 0
    per_day: float = 0.0  # of one market, which the settings allow
    incidents: dict[str, Incident] = field(default_factory=dict)


class Soak(Struct, frozen=True, kw_only=True):
    """What `tapewatch evaluate soak` writes; `detectors` names the settings it was made with."""

    schema: str
    days: float
    markets: int
    detectors: str
    price: tuple[int, int]  # planted spikes: found, of
    volume: tuple[int, int]


def fingerprint(config: Config) -> str:
    """Name of the settings that decide what is found: detectors and gate."""
    plain = effective(config)
    decisive = msgspec.json.encode([plain["detector"], plain["gate"]], order="deterministic")
    return hashlib.sha256(decisive).hexdigest()[:16]


def trial(tape: pathlib.Path) -> Trial:
    """Replay a session. Raises `TapeError`."""
    config = configured(tape)
    reader, engine = TapeReader(tape), engine_of(config)
    instruments = tuple(i for venue in config.venues for i in venue.instruments())
    ledger, seen = Ledger(instruments=instruments), Trial(live=not simulated(config))
    latest: dict[str, Incident] = {}
    for _, _, outputs in steps(reader, engine):
        ledger.started_ns = ledger.started_ns or engine.now
        for output in outputs:
            ledger.see(output)
        _see(seen, latest, outputs)
    seen.hours = ledger.elapsed_s(engine.now) / 3600.0
    seen.coverage = ledger.coverage(engine.now)
    seen.markets = len(instruments)
    seen.per_day = config.gate.budget.group_alarms_per_day
    return seen


def _see(seen: Trial, latest: dict[str, Incident], outputs: Sequence[Output]) -> None:
    """What one input gave rise to. The report of a cycle goes out before the alert that it is the
    first of, so both are looked at together."""
    anomalous: list[str] = []
    for output in outputs:
        match output:
            case Observation(report=True, ready=True):
                seen.judged += 1
            case Report(anomaly_detected=True):
                anomalous.append(output.instrument)
            case Alert() if output.severity != "info":
                told = seen.incidents.setdefault(output.incident, _incident(output))
                if output.cause in _SPIKES:
                    latest[output.instrument] = told
            case Resolved() if output.cause in _SPIKES:
                latest.pop(output.instrument, None)
            case _:
                pass
    for instrument in anomalous:
        incident = latest.get(instrument)
        if incident is None:
            seen.stray += 1
        else:
            incident.cycles += 1


def _incident(alert: Alert) -> Incident:
    return Incident(
        alert.incident,
        alert.instrument,
        alert.cause,
        alert.severity,
        alert.onset_ns,
        alert.reason,
    )


def write_audit(path: pathlib.Path, seen: Trial) -> None:
    """A sheet for the people who look at the charts: one line an incident, without a verdict.
    Raises `ConfigError`."""
    try:
        with path.open("x", encoding="utf-8", newline="") as out:
            sheet = csv.writer(out)
            sheet.writerow(AUDIT_COLUMNS)
            for one in seen.incidents.values():
                when = format_rfc3339(one.onset_ns, 0)
                told = (one.instrument, one.cause, one.severity, clean(one.reason))
                sheet.writerow([one.id, "", when, *map(_plain_cell, told)])
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", "--write-audit") from error


def _plain_cell(text: str) -> str:
    """No formula: a spreadsheet would run what a venue wrote."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text


def read_audit(path: pathlib.Path) -> dict[str, Verdict]:
    """Verdicts by incident. Raises `ConfigError`."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read {path}: {error}", "--audit") from error
    found: dict[str, Verdict] = {}
    for number, row in enumerate(rows, 2):
        incident, verdict = row.get("incident") or "", (row.get("verdict") or "").strip().lower()
        if not incident or verdict not in ("real", "false", ""):
            raise ConfigError(
                f'{path.name} line {number}: the verdict is real or false, not "'
                f'{clean(verdict, 20)}"',
                "--audit",
            )
        found[incident] = verdict  # type: ignore[assignment]
    return found


def read_soak(path: pathlib.Path) -> Soak:
    """Raises `ConfigError`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Soak)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", "--soak") from error


def unit_gates(config: Config) -> list[Gated]:
    """The bot's first gate, tried on the spot with these settings."""
    detector = next((d for d in config.detectors if isinstance(d, ZScore)), None)
    if detector is None:
        return [Gated("unit", "the detector zscore runs", "it is switched off", passed=False)]
    return [
        Gated(f"unit: {one.name}", "behaves as specified", one.seen, one.ok)
        for one in self_check(detector)
    ]


def live_gates(
    seen: Trial, audit: Mapping[str, Verdict], *, accept_simulated: bool = False
) -> list[Gated]:
    """The second gate: 48 hours, all incidents looked at, and few of them false."""
    verdicts = [audit.get(incident, "") for incident in seen.incidents]
    missing = verdicts.count("")
    wrong = [
        i for i, verdict in zip(seen.incidents.values(), verdicts, strict=True) if verdict != "real"
    ]
    # What nobody judged counts as false, and so does an anomaly that belongs to no incident.
    cycles = proportion(min(seen.judged, sum(i.cycles for i in wrong) + seen.stray), seen.judged)
    share = proportion(len(wrong), len(verdicts))
    days = seen.hours / 24.0 * seen.coverage * seen.markets
    daily = rate(len(wrong), days)
    watched = "a live market" if seen.live else "a simulated market"
    lasted = f"{seen.hours:.1f} h, {seen.coverage:.1%} of it complete, of {watched}"
    return [
        Gated(
            "48 hours",
            f"at least {SHADOW_H:g} h of a live market, {COVERED:.0%} of it complete",
            lasted,
            seen.hours >= SHADOW_H and seen.coverage >= COVERED and (seen.live or accept_simulated),
        ),
        Gated(
            "audit",
            "a verdict on every incident",
            f"{len(verdicts) - missing:,} of {len(verdicts):,}",
            missing == 0,
        ),
        Gated(
            "false positives",
            f"fewer than {FALSE_SHARE:.0%} of the judged cycles, with 95 % confidence",
            _proportion(cycles, "cycles"),
            seen.judged > 0 and cycles.high < FALSE_SHARE,
        ),
        Gated(
            "false alarms",
            f"at most {seen.per_day:g} a market-day (your budget), with 95 % confidence",
            f"{_rate(daily)}; {_proportion(share, 'incidents')} false",
            days > 0 and daily.high <= seen.per_day,
        ),
    ]


def soak_gates(soak: Soak | None, config: Config) -> list[Gated]:
    """The third gate."""
    if soak is None:
        how = "none was given; make one with: tapewatch evaluate soak"
        return [Gated("soak", f"a soak of {SOAK_DAYS:g} days", how, passed=False)]
    same = soak.detectors == fingerprint(config)
    price, volume = soak.price, soak.volume
    return [
        Gated(
            "soak",
            f"{SOAK_DAYS:g} days with these settings",
            f"{soak.days:g} days, {soak.markets} markets"
            + ("" if same else "; made with other settings"),
            soak.days >= SOAK_DAYS and same,
        ),
        Gated(
            "5-sigma spikes",
            "all of those that were planted",
            f"price {price[0]:,} of {price[1]:,}, volume {volume[0]:,} of {volume[1]:,}",
            price[0] == price[1] > 0 and volume[0] == volume[1] > 0,
        ),
    ]


def gates(  # what each mode asks includes what the one before it asked
    mode: Mode,
    config: Config,
    *,
    seen: Trial | None,
    audit: Mapping[str, Verdict],
    soak: Soak | None,
    accept_simulated: bool = False,
) -> list[Gated]:
    """Every gate on the way to `mode`."""
    found = unit_gates(config)
    if mode in ("limited_live", "general_live"):
        if seen is None:
            how = "no session was given; name one with --session"
            found.append(Gated("48 hours", f"a session of {SHADOW_H:g} h", how, passed=False))
        else:
            found += live_gates(seen, audit, accept_simulated=accept_simulated)
    if mode == "general_live":
        found += soak_gates(soak, config)
    return found


def as_plain(found: Sequence[Gated]) -> list[dict[str, Any]]:
    """The gates as JSON data."""
    builtins: list[dict[str, Any]] = msgspec.to_builtins(found)
    return builtins


def _proportion(value: Proportion, what: str) -> str:
    if value.share is None:
        return f"no {what}"
    return (
        f"{value.hits:,} of {value.n:,} {what} ({value.share:.3%}, 95 % {value.low:.3%} to"
        f" {value.high:.3%})"
    )


def _rate(value: Rate) -> str:
    if value.rate is None:
        return "no market-days"
    return (
        f"{value.rate:.3f} in a market-day (95 % {value.low:.3f} to {value.high:.3f},"
        f" {value.exposure:,.1f} market-days)"
    )
