"""What the tests of advice are made of: reports, alerts and faults of one market, and a clock."""

from typing import Any

from tapewatch.gate.advice import Advice, AdviceSettings, Mode
from tapewatch.gate.advisor import Advisor
from tapewatch.model.outputs import Alert, DataVerdict, Fault, Report
from tapewatch.model.reasons import Reason
from tapewatch.model.time import NS_PER_MS, NS_PER_S

T0 = 1_763_700_000 * NS_PER_S
CONDITION = "0x" + "ab12" * 16
YES = f"polymarket:{CONDITION}"
BTC = "kraken:BTC/USD"
SPIKE = str(Reason.ANOMALYDETECTOR_PRICE_SPIKE)


def at(seconds: float) -> int:
    return T0 + int(seconds * NS_PER_S)


def report(when: float = 0.0, instrument: str = YES, **changes: Any) -> Report:
    base: dict[str, Any] = {
        "report_id": "rep_ad_0xab12_1763700000000",
        "trace_id": "trc_0x00",
        "bot_id": "intel.anomalydetector",
        "condition_id": instrument.partition(":")[2],
        "anomaly_detected": False,
        "z_price": 0.4,
        "z_vol": 0.1,
        "warnings": (),
        "emitted_at_ms": at(when) // NS_PER_MS,
        "instrument": instrument,
        "low_confidence": False,
        "baseline_sample_count": 3_600,
        "poll_cycle_ms": at(when) // NS_PER_MS,
    }
    return Report(**(base | changes))


def spike(when: float = 0.0, **changes: Any) -> Report:
    told = {"anomaly_detected": True, "z_price": -8.4, "warnings": (SPIKE,)}
    return report(when, **(told | changes))


def alert(when: float = 0.0, severity: str = "high", **changes: Any) -> Alert:
    base: dict[str, Any] = {
        "id": "a1",
        "incident": "i1",
        "instrument": YES,
        "detector": "price_jump",
        "cause": "price_jump",
        "severity": severity,
        "ts_event_ns": at(when),
        "ts_alert_ns": at(when),
        "onset_ns": at(when),
        "p": 1e-6,
        "p_extrapolated": False,
        "score": 6.0,
        "line": 3.5,
        "observed": 0.91,
        "expected": 0.62,
        "data_verdict": DataVerdict("complete"),
    }
    return Alert(**(base | changes))


def fault(kind: str, when: float = 0.0, instrument: str = YES, **changes: Any) -> Fault:
    return Fault(kind, instrument.partition(":")[0], instrument, at(when), **changes)


def live(mode: Mode = "general_live", **settings: Any) -> Advisor:
    """One that has heard a normal report at second 0."""
    advisor = Advisor(AdviceSettings(**settings), mode=mode)
    advisor.fold([report()], T0)
    return advisor


def told(advice: Advice) -> tuple[str, str]:
    return advice.action, advice.reason
