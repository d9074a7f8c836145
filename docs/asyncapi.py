"""Writes `reference/asyncapi.yaml`, which says what is published: `python docs/asyncapi.py`.

AsyncAPI 3.0, from the structs that are sent and the settings they are sent by. A test checks that
it is current. The file is YAML in a plain style: nothing here needs a library for it.
"""

import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from tapewatch import __version__
from tapewatch.model.outputs import Alert, Report
from tapewatch.sinks import bus_events
from tapewatch.sinks.bus_settings import SHADOW, BusSettings

PAGE = pathlib.Path(__file__).resolve().parent / "reference" / "asyncapi.yaml"
NOTE = "# Written by docs/asyncapi.py from the code; it renews it.\n"
REFERENCE = "#/components/schemas/{name}"
TEXT = {"type": "string"}
ATTRIBUTES = {
    "id": {**TEXT, "description": "Pure function of what it names; drop what you have seen."},
    "source": {**TEXT, "description": "/tapewatch/<instance>, the same for all replicas."},
    "specversion": {"const": bus_events.SPEC_VERSION},
    "type": TEXT,
    "subject": {**TEXT, "description": "The instrument."},
    "time": {**TEXT, "format": "date-time"},
    "dataschema": {**TEXT, "format": "uri"},
    "partitionkey": {**TEXT, "description": "The market; its events are in order."},
}
TRACE = {"traceparent": {**TEXT, "description": "W3C trace context, from trace_id."}}
SAID = {
    Report: (
        "report",
        bus_events.REPORT_TYPE,
        "Bot 4.15's ObservationReport, and our own fields after it.",
        BusSettings().topic,
    ),
    Alert: ("alert", bus_events.ALERT_TYPE, "An alert.", BusSettings().alerts_topic),
}


def document() -> dict[str, Any]:
    """The whole of it as JSON data."""
    _, schemas = msgspec.json.schema_components(list(SAID), ref_template=REFERENCE)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "tapewatch",
            "version": __version__,
            "license": {"name": "Apache-2.0"},
            "description": (
                "CloudEvents 1.0. NATS (prefix ce-) and Kafka (prefix ce_) carry the attributes as "
                "headers and the output as the payload; Redis Streams one field, event, with both "
                "as one JSON object. Delivery is at least once: drop what has a source and an id "
                "that you know. Topics are settings; these are the defaults. What is published on "
                f"a topic that ends in {SHADOW} is on trial and binds nobody."
            ),
        },
        "defaultContentType": bus_events.CONTENT_TYPE,
        "servers": {
            name: {"host": host, "protocol": protocol}
            for name, host, protocol in (
                ("nats", "localhost:4222", "nats"),
                ("redis", "localhost:6379", "redis"),
                ("kafka", "localhost:9092", "kafka"),
            )
        },
        "channels": dict(channels()),
        "operations": dict(operations()),
        "components": {"messages": dict(messages()), "schemas": schemas},
    }


def channels() -> Iterator[tuple[str, Any]]:
    """A channel for each topic, and for its shadow."""
    for name, _, _, topic in SAID.values():
        reference = {name: {"$ref": f"#/components/messages/{name}"}}
        yield f"{name}s", {"address": topic, "messages": reference}
        yield f"{name}sOnTrial", {"address": f"{topic}{SHADOW}", "messages": reference}


def operations() -> Iterator[tuple[str, Any]]:
    """We send; nobody sends to us."""
    for channel, _ in channels():
        yield (
            f"send{channel[:1].upper()}{channel[1:]}",
            {"action": "send", "channel": {"$ref": f"#/channels/{channel}"}},
        )


def messages() -> Iterator[tuple[str, Any]]:
    """What is sent, in binary mode."""
    for struct, (name, kind, summary, _) in SAID.items():
        own = TRACE if struct is Report else {}
        attributes = {**ATTRIBUTES, "type": {"const": kind}, **own}
        yield (
            name,
            {
                "name": kind,
                "summary": summary,
                "contentType": bus_events.CONTENT_TYPE,
                "headers": {
                    "type": "object",
                    "properties": {f"ce-{key}": value for key, value in attributes.items()},
                    "required": [f"ce-{key}" for key in attributes],
                },
                "payload": {"$ref": REFERENCE.format(name=struct.__name__)},
            },
        )


def yaml(value: Any, indent: int = 0) -> Iterator[str]:
    """Lines of block style; scalars and empty collections as JSON, which YAML 1.2 contains."""
    space = "  " * indent
    pairs = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for key, item in pairs:
        head = f"{space}{json.dumps(key)}:" if key is not None else f"{space}-"
        if isinstance(item, (dict, list, tuple)) and item:
            yield head
            yield from yaml(item, indent + 1)
        else:
            yield f"{head} {json.dumps(item)}"


def page() -> str:
    """The file."""
    plain = json.loads(msgspec.json.encode(document()))
    return NOTE + "\n".join(yaml(plain)) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    sys.stdout.write(f"{PAGE.name}\n")
