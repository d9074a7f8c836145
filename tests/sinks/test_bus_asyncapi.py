"""The AsyncAPI document says what is really published."""

import json
import pathlib
import runpy
from typing import Any

import pytest
from publishing_kit import make_alert, make_report, owed

from tapewatch.sinks.bus_events import headers, message_of
from tapewatch.sinks.bus_settings import BusSettings

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "asyncapi.py"))


def test_the_document_is_current(generator: dict[str, Any]) -> None:
    written = (DOCS / "reference" / "asyncapi.yaml").read_text("utf-8")
    assert written == generator["page"](), "run python docs/asyncapi.py"


def test_every_reference_leads_somewhere(generator: dict[str, Any]) -> None:
    document = generator["document"]()
    found = json.dumps(document).split('"$ref": "#/')[1:]
    assert len(found) > 10
    for reference in found:
        here = document
        for part in reference.partition('"')[0].split("/"):
            here = here[part]
        assert here


@pytest.mark.parametrize("output", [make_report(1), make_alert(1)])
def test_a_message_is_as_the_document_says(generator: dict[str, Any], output: Any) -> None:
    document = generator["document"]()
    message = message_of(BusSettings(), "general_live", owed(output))
    (channel,) = (c for c in document["channels"].values() if c["address"] == message.topic)
    (name,) = channel["messages"]
    said = document["components"]["messages"][name]
    sent = headers(message, "ce-", escaped=True)
    assert {*said["headers"]["properties"]} == {*sent} - {"content-type"}
    assert said["headers"]["properties"]["ce-type"]["const"] == sent["ce-type"]
    assert sent["content-type"] == said["contentType"]
    schema = document["components"]["schemas"][said["payload"]["$ref"].rpartition("/")[2]]
    data = json.loads(message.data)
    assert set(schema["required"]) <= data.keys() <= schema["properties"].keys()


def test_shadow_topics_are_in_it(generator: dict[str, Any]) -> None:
    addresses = {channel["address"] for channel in generator["document"]()["channels"].values()}
    assert addresses == set(BusSettings().topics)


def test_the_style_is_yaml(generator: dict[str, Any]) -> None:
    lines = list(generator["yaml"]({"a": [1, {"b": None}], "c: d": "x\ny", "e": {}}))
    assert lines == [
        '"a":', "  - 1", "  -", '    "b": null', '"c: d": "x\\ny"', '"e": {}',
    ]  # fmt: skip
