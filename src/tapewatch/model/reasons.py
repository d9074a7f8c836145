"""Why something was said, or not said. Reasons are values, never log strings.

The first six are bot 4.15's own, with its texts; the others are ours.
"""

from enum import StrEnum
from typing import Literal

from msgspec import Struct


class Reason(StrEnum):
    """Every reason tapewatch gives. `REASONS` holds what each means."""

    ANOMALYDETECTOR_PRICE_SPIKE = "ANOMALYDETECTOR_PRICE_SPIKE"
    ANOMALYDETECTOR_VOLUME_SPIKE = "ANOMALYDETECTOR_VOLUME_SPIKE"
    STALE_DATA = "STALE_DATA"
    KILL_SWITCH_ACTIVE = "KILL_SWITCH_ACTIVE"
    ANOMALYDETECTOR_INSUFFICIENT_BASELINE = "ANOMALYDETECTOR_INSUFFICIENT_BASELINE"
    PARAMETER_CHANGE_REQUIRES_APPROVAL = "PARAMETER_CHANGE_REQUIRES_APPROVAL"
    ALREADY_SHOWN = "ALREADY_SHOWN"
    SAMPLED_OUT = "SAMPLED_OUT"
    IMMATERIAL = "IMMATERIAL"
    BUDGET_SPENT = "BUDGET_SPENT"
    UNKNOWN_MARKET = "UNKNOWN_MARKET"
    SERVICE_SILENT = "SERVICE_SILENT"


class ReasonInfo(Struct, frozen=True):
    """What a reason means, what tapewatch does, and what a user is told (may be empty)."""

    severity: Literal["INFO", "WARN", "HARD_REJECT"]
    meaning: str
    action: str
    user_message: str = ""


REASONS: dict[Reason, ReasonInfo] = {
    Reason.ANOMALYDETECTOR_PRICE_SPIKE: ReasonInfo(
        "WARN",
        "Price z-score at or above z_score_threshold against the rolling baseline.",
        "A report with anomaly_detected=true and an alert go out.",
        "Unusual price movement detected on this market.",
    ),
    Reason.ANOMALYDETECTOR_VOLUME_SPIKE: ReasonInfo(
        "WARN",
        "Volume z-score at or above z_score_threshold against the rolling baseline.",
        "A report with anomaly_detected=true and an alert go out.",
        "Unusual trading volume detected on this market.",
    ),
    Reason.STALE_DATA: ReasonInfo(
        "WARN",
        "The market's data are not current: link down, feed silent, or venue halted.",
        "Price and volume candidates are held back; nothing is scored from stale data.",
    ),
    Reason.KILL_SWITCH_ACTIVE: ReasonInfo(
        "HARD_REJECT",
        "The kill switch is on, or cannot be read.",
        "Detection continues; no report and no alert goes out. An incident that is still open "
        "when the switch is released is shown once, then.",
        "Anomaly detection signals paused while trading is suspended system-wide.",
    ),
    Reason.ANOMALYDETECTOR_INSUFFICIENT_BASELINE: ReasonInfo(
        "INFO",
        "The rolling baseline has too few samples for a reliable score.",
        "The market is not judged until its baseline is populated.",
    ),
    Reason.PARAMETER_CHANGE_REQUIRES_APPROVAL: ReasonInfo(
        "HARD_REJECT",
        "A locked parameter was set below its minimum.",
        "The configuration is refused.",
    ),
    Reason.ALREADY_SHOWN: ReasonInfo(
        "INFO",
        "The incident is open and this candidate is not materially worse.",
        "It is counted in the incident instead of being shown again.",
    ),
    Reason.IMMATERIAL: ReasonInfo(
        "INFO",
        "Rare for this market, but below the detector's floor in native units (percent, orders, "
        "spreads): every quiet market has its own rare ripples.",
        "The observation is kept; no alert goes out.",
    ),
    Reason.BUDGET_SPENT: ReasonInfo(
        "INFO",
        "Enough events of the last days were at least as rare: this one is not among the alarms "
        "per day that were asked for.",
        "The observation is kept; no alert goes out. It is shown if it grows rarer.",
    ),
    Reason.UNKNOWN_MARKET: ReasonInfo(
        "WARN",
        "A strategy asked about a market of which nothing was heard, or a name of several.",
        "The gate answers with its safe side.",
    ),
    Reason.SERVICE_SILENT: ReasonInfo(
        "WARN",
        "Nothing was heard from tapewatch for longer than data stay current, or it cannot be "
        "reached.",
        "The gate answers with its safe side.",
    ),
    Reason.SAMPLED_OUT: ReasonInfo(
        "INFO",
        "A normal cycle between two sampled reports.",
        "Counted, not emitted; anomalous and borderline cycles are always emitted.",
    ),
}
