"""Publishing by hand what the service would publish: CloudEvents over NATS and Redis Streams."""

import itertools
from typing import Any

import msgspec

from tapewatch.io.clock import SystemClock
from tapewatch.model.outputs import Alert, DataVerdict, Report
from tapewatch.model.time import NS_PER_MS

CONDITION = "0x" + "ab12" * 16
INSTRUMENT = f"polymarket:{CONDITION}"
SPIKE = "ANOMALYDETECTOR_PRICE_SPIKE"
_numbers = itertools.count()


def now_ns() -> int:
    return SystemClock().now_ns()


def report(*, anomalous: bool = False, age_s: float = 0.0, **changes: Any) -> Report:
    made_ms = now_ns() // NS_PER_MS - int(age_s * 1000)
    base: dict[str, Any] = {
        "report_id": f"rep_ad_{next(_numbers)}",
        "trace_id": "trc_0xbeef0102030405060716",
        "bot_id": "intel.anomalydetector",
        "condition_id": CONDITION,
        "anomaly_detected": anomalous,
        "z_price": 8.4 if anomalous else 0.2,
        "z_vol": 0.3,
        "warnings": (SPIKE,) if anomalous else (),
        "emitted_at_ms": made_ms,
        "instrument": INSTRUMENT,
        "low_confidence": False,
        "baseline_sample_count": 3600,
        "poll_cycle_ms": made_ms,
        "market": "nfl-game · Yes",
    }
    return Report(**(base | changes))


def alert() -> Alert:
    now = now_ns()
    return Alert(
        id="a1",
        incident="i1",
        instrument=INSTRUMENT,
        detector="price_jump",
        cause="price_jump",
        severity="warn",
        ts_event_ns=now,
        ts_alert_ns=now,
        onset_ns=now,
        p=1e-5,
        p_extrapolated=False,
        score=5.0,
        line=3.5,
        observed=0.91,
        expected=0.62,
        data_verdict=DataVerdict("complete"),
    )


def binary(told: Report | Alert) -> tuple[bytes, dict[str, str]]:
    """A CloudEvent in binary mode."""
    kind = "observation" if isinstance(told, Report) else "alert"
    return msgspec.json.encode(told), {
        "ce-specversion": "1.0",
        "ce-type": f"tapewatch.{kind}.v1",
        "ce-source": "/tapewatch/test",
        "content-type": "application/json",
    }


def structured(told: Report | Alert) -> bytes:
    """The same as one JSON object."""
    kind = "observation" if isinstance(told, Report) else "alert"
    event = {
        "specversion": "1.0",
        "type": f"tapewatch.{kind}.v1",
        "source": "/tapewatch/test",
        "id": "1",
        "data": told,
    }
    return msgspec.json.encode(event)
