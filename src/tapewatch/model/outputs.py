"""Outputs: what the engine says. Sinks see these and nothing else.

Times are ns. Scores are in the detector's own unit, `p` is the probability of a score at least as
extreme under the detector's own baseline (None where the detector has no calibrated tail).
"""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from tapewatch.model.events import Ask

Severity = Literal["info", "warn", "high", "page"]
SEVERITIES: tuple[Severity, ...] = ("info", "warn", "high", "page")


class Contribution(Struct, frozen=True, gc=False, omit_defaults=True):
    """One quantity behind an observation. `score` in sigma unless `unit` says otherwise."""

    name: str
    score: float
    observed: float | None = None
    expected: float | None = None
    unit: str = ""
    p: float | None = None


class Observation(Struct, frozen=True, gc=False, tag="observation"):
    """One detector's measurement of one key at one time. Detectors measure, the gate judges.

    Where there is a `p`, the score is -log10 p, and the gate makes a severity of it, `severity` at
    most; where there is none, a rule is broken and `severity` is what it says.

    `score >= line` means that the detector's own rule calls it anomalous; `severity` is the most
    the gate may make of it. `native` is the detector's result in its original form, if it has one.
    """

    detector: str
    instrument: str
    cause: str
    ts_event: int
    score: float
    line: float
    ready: bool = True
    low_confidence: bool = False
    severity: Severity = "warn"
    onset_ns: int = 0  # when it began, where that differs from ts_event
    p: float | None = None
    p_extrapolated: bool = False
    observed: float | None = None
    expected: float | None = None
    expected_low: float | None = None
    expected_high: float | None = None
    unit: str = ""
    flip: float | None = None  # the observed value at which it would not have fired
    contributions: tuple[Contribution, ...] = ()
    baseline_count: int = 0
    baseline_age_s: float = 0.0
    reason: str = ""  # one sentence for people, safe to print
    report: bool = False  # also goes out as an ObservationReport, sampled
    cycle_ms: int = 0  # poll cycle of a report
    native: Any = None
    kind: str = ""  # what exactly, for a cause that covers several things
    material: bool = True  # False: rare, but below the detector's floor in native units
    sigma: float | None = None  # deviation in units of the detector's own scale
    deviation: float | None = None  # the same in native units: `deviation_unit`
    deviation_unit: str = ""  # ticks, bps, trades, s, ...
    baseline_window_s: float = 0.0  # how far back the baseline reaches, in effect
    interval_s: float = 5.0  # between two measurements: so often p may be small by chance
    p_persist: float | None = None  # probability that a jump of a book lasts 60 s
    accounts: tuple[str, ...] = ()  # whom a wash observation names


class DataVerdict(Struct, frozen=True, gc=False):
    """Can the data behind an alert be trusted?"""

    feed: Literal["complete", "gap", "stale"]
    gap_before_s: float | None = None  # age of the last gap, if there was one in the last 300 s
    lag_ms: float | None = None  # our receive time minus the venue's time of the event
    book: Literal["thin"] | None = None  # None: normal, or no book is watched
    other_venue: Literal["agrees", "differs"] | None = None  # None: no other venue is watched


class Alert(Struct, frozen=True, gc=False, kw_only=True, tag="alert"):
    """What people and programs act on. The JSON form is `tapewatch.alert/1`."""

    schema: str = "tapewatch.alert/1"
    v: int = 1
    id: str
    incident: str
    instrument: str
    market: str | UnsetType = UNSET  # its name for people, where the id is none
    detector: str
    cause: str
    severity: Severity
    ts_event_ns: int
    ts_alert_ns: int
    onset_ns: int
    p: float | None
    p_extrapolated: bool
    score: float
    line: float
    observed: float | None
    expected: float | None
    expected_low: float | None = None
    expected_high: float | None = None
    unit: str = ""
    flip: float | None = None
    low_confidence: bool = False
    kind: str = ""
    contributions: tuple[Contribution, ...] = ()
    baseline_count: int = 0
    baseline_age_s: float = 0.0
    data_verdict: DataVerdict
    reason: str = ""
    simulated: bool = False
    evidence: dict[str, int | str] = {}
    sigma: float | None = None
    deviation: float | None = None
    deviation_unit: str = ""
    baseline_window_s: float = 0.0
    p_persist: float | UnsetType = UNSET  # on price jumps of books only
    wallets: tuple[str, ...] | UnsetType = UNSET  # of wash alerts only
    members: tuple[str, ...] | UnsetType = UNSET  # instruments in a storm; the first one led it
    alarms_per_day: float | None = None  # the budget
    realised_per_day: float | None = None  # what was shown, this one included


class Report(Struct, frozen=True, gc=False, kw_only=True, tag="report"):
    """Bot 4.15's ObservationReport, field for field, plus our own at the end."""

    report_id: str
    trace_id: str
    bot_id: str
    kind: str = "ObservationReport"
    condition_id: str
    anomaly_detected: bool
    z_price: float | None
    z_vol: float | None
    warnings: tuple[str, ...]
    emitted_at_ms: int
    schema: str = "tapewatch.report/1"
    v: int = 1
    instrument: str
    low_confidence: bool
    baseline_sample_count: int
    poll_cycle_ms: int
    market: str = ""  # its name for people, where the venue gives one


class Resolved(Struct, frozen=True, gc=False, tag="resolved"):
    """An incident is over. `alerts` were shown, `merged` more candidates belonged to it."""

    incident: str
    instrument: str
    cause: str
    onset_ns: int
    ts_ns: int
    alerts: int
    merged: int
    peak: float


class Suppressed(Struct, frozen=True, gc=False, tag="suppressed"):
    """A candidate or report that did not go out, and why (a `Reason` name)."""

    reason: str
    instrument: str
    cause: str
    ts_ns: int
    score: float
    what: Literal["alert", "report"] = "alert"


class Fault(Struct, frozen=True, gc=False, tag="fault"):
    """Something is wrong (or right again) with the data or with us; `kind` is a StatusKind or
    `link_up`, `link_down`, `detector_error`, `keys_evicted`, `baseline_refused`, `killswitch_on`,
    `killswitch_off`, `killswitch_unreadable`. `ask` is for the edge."""

    kind: str
    source: str
    instrument: str
    ts_ns: int
    detail: str = ""
    channel: str = ""
    first_id: int = 0
    last_id: int = 0
    since_ns: int = 0
    value: float = 0.0
    ask: Ask | None = None
    stream: str = "ws"


Output = Observation | Alert | Report | Resolved | Suppressed | Fault
