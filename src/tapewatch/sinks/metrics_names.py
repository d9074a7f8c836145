"""Every metric by name, with its labels and its meaning: the one list of them.

The sink makes its families from it, the reference page is written from it, and tests hold the alert
rules and dashboards against it. No series is made here.
"""

from typing import Final, Literal, get_args

from msgspec import Struct

from tapewatch.model.events import StatusKind

Kind = Literal["counter", "gauge", "histogram"]

OTHER: Final = "other"  # the label value of what is not known by name
# Causes of detectors that come with tapewatch, and of the two systems it grew from.
CAUSES: Final = (
    "price_jump", "level_shift", "bad_print", "drift", "regime", "intensity", "volume", "flow",
    "book", "crossed", "silence", "resumed", "feed", "divergence", "sum_arb", "wash", "spoof",
    "pump", "shape", "driftlock", "price_spike", "volume_spike",
)  # fmt: skip
FAULTS: Final[tuple[str, ...]] = (
    *get_args(StatusKind),
    "link_up", "link_down", "detector_error", "keys_evicted", "baseline_refused",
    "killswitch_on", "killswitch_off", "killswitch_unreadable",
)  # fmt: skip
SPIKES: Final = ("price_spike", "volume_spike")  # anomaly types of bot 4.15
QUANTITIES: Final = ("price", "volume")  # what it scores

OBSERVATIONS: Final = "tapewatch_observations_total"
CYCLES: Final = "tapewatch_cycles_total"
REPORTS: Final = "tapewatch_reports_total"
ANOMALIES: Final = "tapewatch_anomalies_total"
HIGH_Z: Final = "tapewatch_high_z_total"
ALERTS: Final = "tapewatch_alerts_total"
RESOLVED: Final = "tapewatch_incidents_resolved_total"
SUPPRESSED: Final = "tapewatch_suppressed_total"
FAULT: Final = "tapewatch_faults_total"
LINK_UP: Final = "tapewatch_link_up"
STALE: Final = "tapewatch_stale_markets"
MARKETS: Final = "tapewatch_markets"
LEFT_OUT: Final = "tapewatch_markets_left_out"
Z_SCORE: Final = "tapewatch_z_score"
Z_PEAK: Final = "tapewatch_z_score_peak"
Z_LARGEST: Final = "tapewatch_z_score_largest"
AGE: Final = "tapewatch_baseline_age_seconds"
AGE_MAX: Final = "tapewatch_baseline_age_max_seconds"
READY: Final = "tapewatch_alert_ready_seconds"

BUILD: Final = "tapewatch_build_info"
MODE: Final = "tapewatch_mode"
KILL: Final = "tapewatch_kill_switch"
INPUTS: Final = "tapewatch_inputs_total"
EVENTS: Final = "tapewatch_events_total"
INBOX: Final = "tapewatch_inbox_inputs"
INBOX_WAITS: Final = "tapewatch_inbox_waits_total"
WAITING: Final = "tapewatch_waiting_outputs"
RECORDING: Final = "tapewatch_recording"
TAPE_BYTES: Final = "tapewatch_tape_bytes"
LAG: Final = "tapewatch_lag_seconds"
COVERAGE: Final = "tapewatch_coverage_ratio"
ALARMS: Final = "tapewatch_alarms_per_day"
STATES: Final = "tapewatch_detector_states"
SINK_OUTPUTS: Final = "tapewatch_sink_outputs_total"
SINK_RETRIES: Final = "tapewatch_sink_retries_total"
SINK_QUEUE: Final = "tapewatch_sink_queue_outputs"
OUTBOX: Final = "tapewatch_outbox_rows"
SOCKET: Final = "tapewatch_socket_total"
HTTP: Final = "tapewatch_http_requests_total"
COMPONENT: Final = "tapewatch_component_up"

THEIR_REPORTS: Final = "polytraders_intel_anomalydetector_observations_emitted_total"
THEIR_ANOMALIES: Final = "polytraders_intel_anomalydetector_anomalies_total"
THEIR_Z: Final = "polytraders_intel_anomalydetector_z_score"
THEIR_AGE: Final = "polytraders_intel_anomalydetector_baseline_age_s"


class Metric(Struct, frozen=True):
    """One name on the page that Prometheus reads. `labels` in the order of their values."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()


_OURS: Final = (
    Metric(OBSERVATIONS, "counter", "Measurements, by detector.", ("detector",)),
    Metric(CYCLES, "counter", "Cycles that detector zscore judged, told or not."),
    Metric(
        REPORTS,
        "counter",
        "ObservationReports that went out (normal ones are sampled).",
        ("anomaly_detected",),
    ),
    Metric(
        ANOMALIES,
        "counter",
        "Cycles of detector zscore beyond its threshold, also while the kill switch is on.",
        ("type",),
    ),
    Metric(
        HIGH_Z,
        "counter",
        "Cycles with |z| above metrics.high_z. Unlike a gauge it remembers what came and went "
        "between two scrapes.",
        ("metric",),
    ),
    Metric(ALERTS, "counter", "Alerts that went out.", ("cause", "severity")),
    Metric(RESOLVED, "counter", "Incidents that ended."),
    Metric(
        SUPPRESSED,
        "counter",
        "Alerts and reports that did not go out, by reason.",
        ("what", "reason"),
    ),
    Metric(FAULT, "counter", "What was wrong, or right again, with the data.", ("kind",)),
    Metric(
        LINK_UP, "gauge", "1 while a socket or an HTTP service is reachable.", ("source", "stream")
    ),
    Metric(STALE, "gauge", "Instruments, or whole sources, that have no current data."),
    Metric(MARKETS, "gauge", "Markets that detector zscore judged lately (metrics.fresh_s)."),
    Metric(LEFT_OUT, "gauge", "Markets judged lately that have no series of their own here."),
    Metric(
        Z_SCORE,
        "gauge",
        "Latest z-score, in standard deviations, of the metrics.top_k markets that peaked most.",
        ("market", "name", "metric"),
    ),
    Metric(
        Z_PEAK,
        "gauge",
        "Their z-score farthest from 0 within metrics.peak_s to twice that, with its sign.",
        ("market", "name", "metric"),
    ),
    Metric(Z_LARGEST, "gauge", "The same without its sign, over all markets.", ("metric",)),
    Metric(
        AGE,
        "gauge",
        "Seconds since the baseline's newest sample, of the metrics.top_k oldest markets that were "
        "not judged lately.",
        ("market", "name"),
    ),
    Metric(AGE_MAX, "gauge", "The oldest of all markets that were judged within a day."),
    Metric(READY, "histogram", "From an alert's judgement until its evidence was on disk."),
)

_VITALS: Final = (
    Metric(BUILD, "gauge", "Always 1; the version is the label.", ("version",)),
    Metric(MODE, "gauge", "1 for the mode of the service.", ("mode",)),
    Metric(KILL, "gauge", "1 for the state of the kill switch; unknown counts as on.", ("state",)),
    Metric(INPUTS, "counter", "Inputs of the session, those of its earlier processes included."),
    Metric(EVENTS, "counter", "Market events and statuses decoded in the session.", ("type",)),
    Metric(INBOX, "gauge", "Inputs that wait for the engine."),
    Metric(INBOX_WAITS, "counter", "Inputs for which the inbox was full: their source waited."),
    Metric(WAITING, "gauge", "Outputs that wait for the disk to take their evidence."),
    Metric(RECORDING, "gauge", "1 while frames are recorded, 0 while the disk refuses."),
    Metric(TAPE_BYTES, "gauge", "Size of the tape."),
    Metric(LAG, "gauge", "Our receipt minus the venue's time, of the latest trade."),
    Metric(COVERAGE, "gauge", "Share of the session with a connected and complete feed, 0..1."),
    Metric(
        ALARMS, "gauge", "Alarms a day over all markets: the budget, and what was shown.", ("what",)
    ),
    Metric(STATES, "gauge", "Keys that a detector remembers.", ("detector",)),
    Metric(
        SINK_OUTPUTS,
        "counter",
        "What became of outputs. failed is a dead letter; spilled is safe in the outbox.",
        ("sink", "result"),
    ),
    Metric(SINK_RETRIES, "counter", "Deliveries that were tried again.", ("sink",)),
    Metric(SINK_QUEUE, "gauge", "Outputs that wait for a sink.", ("sink",)),
    Metric(OUTBOX, "gauge", "Rows of the outbox.", ("sink", "state")),
    Metric(SOCKET, "counter", "What all sockets did.", ("what",)),
    Metric(HTTP, "counter", "Requests to HTTP services of venues.", ("result",)),
    Metric(
        COMPONENT, "gauge", "1 while a server that we use answers (redis, bus).", ("component",)
    ),
)

_THEIRS: Final = (
    Metric(THEIR_REPORTS, "counter", "ObservationReports emitted.", ("anomaly_detected",)),
    Metric(THEIR_ANOMALIES, "counter", "Total anomaly events by type.", ("anomaly_type",)),
    Metric(
        THEIR_Z,
        "gauge",
        "Latest z-score of price and volume, of at most metrics.compat_markets markets.",
        ("condition_id", "metric"),
    ),
    Metric(
        THEIR_AGE,
        "gauge",
        "Age of the rolling baseline in seconds, of the same markets.",
        ("condition_id",),
    ),
)

OURS: Final = {metric.name: metric for metric in (*_OURS, *_VITALS)}
POLYTRADERS: Final = {metric.name: metric for metric in _THEIRS}  # with `compat = "polytraders"`
