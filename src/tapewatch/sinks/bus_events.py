"""Outputs as CloudEvents 1.0: attributes around a report or an alert that stays as it is.

NATS and Kafka carry the attributes as headers and the output as the data (binary mode), Redis one
JSON object (structured mode). `source` and `id` together name one event, whichever replica sends it
and however often: they are what a consumer drops duplicates by.
"""

import re
from hashlib import blake2b
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from tapewatch.gate.advice import Mode
from tapewatch.io.store import Owed
from tapewatch.model.outputs import Alert, Report
from tapewatch.model.time import NS_PER_MS, format_rfc3339
from tapewatch.sinks.bus_settings import BusSettings, market_of, stricter, topic_of

SPEC_VERSION: Final = "1.0"
CONTENT_TYPE: Final = "application/json"
REPORT_TYPE: Final = "tapewatch.observation.v1"
ALERT_TYPE: Final = "tapewatch.alert.v1"
_PLAIN: Final = re.compile(r"[!#$&-~]*")  # printable ASCII but for space, quote and percent
_SAFE: Final = "!#$&'()*+,/:;=?@[]-._~^`{|}<>\\"  # the same for `quote`
_encode = msgspec.json.Encoder().encode


class Message(Struct, frozen=True):
    """One event on its way. `key` keeps those of one market together and in order; `data` is the
    output's JSON; `attributes` are CloudEvents', without a prefix."""

    topic: str
    key: str
    id: str
    attributes: dict[str, str]
    data: bytes


def message_of(settings: BusSettings, mode: Mode, owed: Owed) -> Message:
    """The event of an output. Of the mode in which it was said and that of today the stricter one
    counts, so that a backlog never says more than was meant then, or is meant now."""
    output = owed.output
    attributes = {
        "specversion": SPEC_VERSION,
        "id": _id(output),
        "source": f"/tapewatch/{settings.instance}",
        "type": ALERT_TYPE if isinstance(output, Alert) else REPORT_TYPE,
        "subject": output.instrument,
        "time": _time(output),
        "datacontenttype": CONTENT_TYPE,
        "dataschema": f"urn:{output.schema.replace('/', ':').replace('.', ':')}",
        "partitionkey": market_of(output),
    }
    if isinstance(output, Report):
        attributes["traceparent"] = traceparent(output.trace_id, output.report_id)
    topic = topic_of(settings, stricter(owed.mode, mode), output)
    return Message(topic, attributes["partitionkey"], attributes["id"], attributes, owed.body)


def traceparent(trace_id: str, span: str) -> str:
    """W3C trace context of a report: its trace id, filled up with zeros on the left, or a digest
    where it is no hexadecimal number; the span is a digest of what it is called. Not sampled."""
    digits = trace_id.rpartition("0x")[2].lower()
    if not digits or len(digits) > 32 or not set(digits) <= set("0123456789abcdef"):
        digits = _digest(trace_id, 16)
    digits = digits.rjust(32, "0")
    if not digits.strip("0"):  # zero is no trace
        digits = _digest(trace_id, 16)
    return f"00-{digits}-{_digest(span, 8)}-00"


def headers(message: Message, prefix: str, *, escaped: bool) -> dict[str, str]:
    """Binary mode: attributes as headers `prefix`name. `escaped` as the HTTP and NATS bindings want
    it: everything but printable ASCII, and space, quote and percent, as %XX."""
    found = {
        f"{prefix}{name}": _escaped(value) if escaped else value
        for name, value in message.attributes.items()
        if name != "datacontenttype"
    }
    return {**found, "content-type": CONTENT_TYPE}


def structured(message: Message) -> bytes:
    """Structured mode: one JSON object."""
    return _encode({**message.attributes, "data": msgspec.Raw(message.data)})


def _escaped(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else quote(value, safe=_SAFE)


def _id(output: Alert | Report) -> str:
    return output.id if isinstance(output, Alert) else output.report_id


def _time(output: Alert | Report) -> str:
    if isinstance(output, Alert):
        return format_rfc3339(output.ts_alert_ns)
    return format_rfc3339(output.emitted_at_ms * NS_PER_MS, 3)


def _digest(text: str, size: int) -> str:
    return blake2b(text.encode(), digest_size=size).hexdigest()
