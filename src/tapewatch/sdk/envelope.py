"""What comes over a bus, as reports and alerts: somebody's claim, so typed and bounded.

Three forms are read: a CloudEvent in binary mode (its type in a header, the report as the data), a
CloudEvent in structured mode (one JSON object with `specversion`), and a bare report of bot 4.15 as
other publishers may send it. Of a report only the bot's own fields are needed.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from tapewatch.model import limits
from tapewatch.model.errors import DecodeError
from tapewatch.model.outputs import Alert, Report
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_MS, TS_MAX_NS

REPORT_TYPE: Final = "tapewatch.observation."  # and a version
ALERT_TYPE: Final = "tapewatch.alert."
_TYPE_HEADERS: Final = ("ce-type", "ce_type")  # of NATS and of Kafka
_MOST_MS: Final = TS_MAX_NS // NS_PER_MS

Text = Annotated[str, Meta(max_length=limits.TEXT_CHARS)]
Ms = Annotated[int, Meta(ge=0, le=_MOST_MS)]


class _Event(Struct):
    """A CloudEvent in structured mode, or a bare report."""

    specversion: str = ""
    type: str = ""
    kind: str = ""
    data: msgspec.Raw = msgspec.Raw()


class _Report(Struct, kw_only=True):
    """A report as far as the gate needs it."""

    report_id: Text
    condition_id: Text
    anomaly_detected: bool
    emitted_at_ms: Ms
    z_price: float | None = None
    z_vol: float | None = None
    warnings: Annotated[tuple[Text, ...], Meta(max_length=32)] = ()
    trace_id: Text = ""
    bot_id: Text = ""
    instrument: Text = ""
    low_confidence: bool = False
    baseline_sample_count: int = 0
    poll_cycle_ms: Ms = 0
    market: Text = ""


_event = msgspec.json.Decoder(_Event).decode
_report = msgspec.json.Decoder(_Report).decode
_alert = msgspec.json.Decoder(Alert).decode


def read(data: bytes, headers: Mapping[str, str] | None = None) -> Report | Alert | None:
    """What a message says; None for kinds of messages that are none of the gate's business.

    Raises `DecodeError` for anything that claims to be a report or an alert and is none.
    """
    if len(data) > limits.FRAME_BYTES:
        raise DecodeError(f"a message of {len(data):,} bytes")
    lowered = {key.lower(): value for key, value in (headers or {}).items()}
    kind = next((lowered[name] for name in _TYPE_HEADERS if name in lowered), "")
    try:
        if not kind:
            event = _event(data)
            if event.specversion:
                kind, data = event.type, bytes(event.data)
            elif event.kind == "ObservationReport":
                kind = REPORT_TYPE
        if kind.startswith(REPORT_TYPE):
            return _whole(_report(data))
        if kind.startswith(ALERT_TYPE):
            return _sane(_alert(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(clean(f"a message that cannot be read: {error}")) from error
    return None


def _whole(told: _Report) -> Report:
    condition = told.condition_id.lower()
    return Report(
        report_id=told.report_id,
        trace_id=told.trace_id,
        bot_id=told.bot_id,
        condition_id=condition,
        anomaly_detected=told.anomaly_detected,
        z_price=told.z_price,
        z_vol=told.z_vol,
        warnings=told.warnings,
        emitted_at_ms=told.emitted_at_ms,
        instrument=told.instrument or f"polymarket:{condition}",
        low_confidence=told.low_confidence,
        baseline_sample_count=told.baseline_sample_count,
        poll_cycle_ms=told.poll_cycle_ms,
        market=told.market,
    )


def _sane(alert: Alert) -> Alert:
    if not 0 <= alert.ts_alert_ns <= TS_MAX_NS or len(alert.instrument) > limits.TEXT_CHARS:
        raise DecodeError("an alert with an impossible time or instrument")
    return alert
