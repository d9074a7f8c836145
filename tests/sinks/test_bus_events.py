"""Topics by mode, addresses that keep their secrets, and CloudEvents that others can read."""

import json
import urllib.parse
from typing import Any

import msgspec
import pytest
from publishing_kit import CONDITION, INSTRUMENT, make_alert, make_report, owed

from tapewatch.gate.advice import Mode
from tapewatch.model.errors import ConfigError
from tapewatch.sinks.bus_events import headers, message_of, structured, traceparent
from tapewatch.sinks.bus_settings import (
    BusSettings,
    address_name,
    stricter,
    topic_of,
)

SECRET = "hunter2"
REPORTS, ALERTS = "polytraders.reports.observation", "tapewatch.alerts"


@pytest.mark.parametrize(
    ("mode", "chosen", "other"),
    [
        ("shadow_only", f"{REPORTS}.shadow", f"{REPORTS}.shadow"),
        ("limited_live", REPORTS, f"{REPORTS}.shadow"),
        ("general_live", REPORTS, REPORTS),
    ],
)
def test_modes_choose_the_topic(mode: Mode, chosen: str, other: str) -> None:
    settings = BusSettings(limited_markets=(CONDITION.upper().replace("0X", "0x"),))
    elsewhere = f"polymarket:0x{'cd' * 32}"
    assert topic_of(settings, mode, make_report(1)) == chosen
    assert topic_of(settings, mode, make_report(1, instrument=elsewhere)) == other
    alert_of = {REPORTS: ALERTS, f"{REPORTS}.shadow": f"{ALERTS}.shadow"}
    assert topic_of(settings, mode, make_alert(1)) == alert_of[chosen]
    assert topic_of(settings, mode, make_alert(1, elsewhere)) == alert_of[other]


@pytest.mark.parametrize(
    "name", [INSTRUMENT, CONDITION, f"polygon:{CONDITION}", f"{INSTRUMENT}/NO", "other"]
)
def test_a_limited_market_is_all_of_its_instruments(name: str) -> None:
    settings = BusSettings(limited_markets=(CONDITION,))
    live = topic_of(settings, "limited_live", make_report(1, instrument=name)) == REPORTS
    assert live == (CONDITION in name)


def test_of_two_modes_the_stricter_one_counts() -> None:
    assert stricter("shadow_only", "general_live") == "shadow_only"
    assert stricter("general_live", "limited_live") == "limited_live"
    assert stricter("", "general_live") == "general_live"
    then_on_trial = owed(make_report(1), "shadow_only")
    assert message_of(BusSettings(), "general_live", then_on_trial).topic == f"{REPORTS}.shadow"
    then_live = owed(make_report(1), "general_live")
    assert message_of(BusSettings(), "shadow_only", then_live).topic == f"{REPORTS}.shadow"
    assert message_of(BusSettings(), "general_live", then_live).topic == REPORTS


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (f"nats://user:{SECRET}@bus.example:4222", "nats://bus.example:4222"),
        (f"rediss://:{SECRET}@[::1]:6379/2", "rediss://[::1]:6379/2"),
        (f"redis://host:6379?password={SECRET}", "redis://host:6379"),
        (f"kafka://a:9092,b:9092/{SECRET}", "kafka://a:9092,b:9092"),
        (f"kafkas://us%40er:{SECRET}@a:9092", "kafkas://a:9092"),
    ],
)
def test_the_name_of_a_bus_holds_no_secret(url: str, name: str) -> None:
    assert address_name(url) == name
    BusSettings(publish_to=(url,))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"http://user:{SECRET}@host", "publish_to number 1 is no address of a bus"),
        (f"user:{SECRET}@host:4222", "publish_to number 1 is no address"),
        (f"nats:user:{SECRET}@host", "publish_to number 1 is no address"),
        (f"nats://user:{SECRET}@", "publish_to number 1 names no host"),
        (f"nats://user:{SECRET}@ho st", "publish_to number 1 names no host"),
        (f"redis://[{SECRET}", "publish_to number 1 is no address"),
        (SECRET, "publish_to number 1 is no address"),
        ("", "publish_to number 1 is no address"),
    ],
)
def test_a_wrong_address_is_told_without_quoting_it(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        BusSettings(publish_to=(url,))
    assert str(caught.value).startswith(said)
    assert "nats://host:port" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"publish_to": ("nats://a:1", "nats://u:p@a:1")}, "publish_to has nats://a:1 twice"),
        ({"topic": "a b"}, "topic is made of"),
        ({"topic": "a.>"}, "topic is made of"),
        ({"topic": ".a"}, "topic is made of"),
        ({"alerts_topic": "x" * 300}, "alerts_topic is made of"),
        ({"topic": "a", "alerts_topic": "a"}, "alerts_topic must differ"),
        ({"instance": "a/b"}, "instance is a name"),
        ({"claim_ttl_s": 1.0}, "claim_ttl_s must be longer"),
    ],
)
def test_settings_are_checked(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        BusSettings(**changes)


class ReportOfS2(msgspec.Struct, kw_only=True):
    """Bot 4.15's ObservationReport as its own documents have it; somebody who knows no more."""

    report_id: str
    trace_id: str
    bot_id: str
    kind: str
    condition_id: str
    anomaly_detected: bool
    z_price: float | None
    z_vol: float | None
    warnings: list[str]
    emitted_at_ms: int


def test_the_data_is_the_bots_report_unchanged() -> None:
    report = make_report(7, anomalous=True)
    message = message_of(BusSettings(), "general_live", owed(report))
    read = msgspec.json.decode(message.data, type=ReportOfS2)
    assert read == ReportOfS2(
        report_id="rep_ad_0xf1a2_7",
        trace_id="trc_0xbeef0102030405060716",
        bot_id="intel.anomalydetector",
        kind="ObservationReport",
        condition_id=CONDITION,
        anomaly_detected=True,
        z_price=3.8,
        z_vol=1.2,
        warnings=["ANOMALYDETECTOR_PRICE_SPIKE"],
        emitted_at_ms=1_746_703_005_007,
    )
    event = json.loads(structured(message))
    assert msgspec.convert(event["data"], ReportOfS2) == read


def test_attributes_are_those_of_cloudevents() -> None:
    message = message_of(BusSettings(instance="east"), "general_live", owed(make_report(7)))
    event = json.loads(structured(message))
    del event["data"]
    span = event["traceparent"].split("-")[2]
    assert event == {
        "specversion": "1.0",
        "id": "rep_ad_0xf1a2_7",
        "source": "/tapewatch/east",
        "type": "tapewatch.observation.v1",
        "subject": INSTRUMENT,
        "time": "2025-05-08T11:16:45.007Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:tapewatch:report:1",
        "partitionkey": CONDITION,
        "traceparent": f"00-000000000000beef0102030405060716-{span}-00",
    }
    assert all(name.isalnum() and name.islower() for name in event)  # as the specification wants
    alert = json.loads(structured(message_of(BusSettings(), "general_live", owed(make_alert()))))
    assert alert["type"] == "tapewatch.alert.v1"
    assert alert["id"] == alert["data"]["id"]
    assert alert["time"] == "2025-05-08T11:16:45.123456Z"
    assert alert["dataschema"] == "urn:tapewatch:alert:1"


@pytest.mark.parametrize("trace_id", ["", "trc_0x", "trc_0x0000", "trc_0xZZ", "x" * 99, "trc_0xé"])
def test_a_trace_context_is_always_valid(trace_id: str) -> None:
    version, trace, span, flags = traceparent(trace_id, "rep_1").split("-")
    assert (version, flags) == ("00", "00")
    assert len(trace) == 32
    assert len(span) == 16
    assert int(trace, 16) > 0
    assert int(span, 16) > 0


def test_headers_cannot_be_forged() -> None:
    nasty = 'polymarket:0x1\r\nNats-Msg-Id: forged "é%'
    message = message_of(BusSettings(), "general_live", owed(make_report(1, instrument=nasty)))
    found = headers(message, "ce-", escaped=True)
    assert found["ce-subject"] == "polymarket:0x1%0D%0ANats-Msg-Id:%20forged%20%22%C3%A9%25"
    assert urllib.parse.unquote(found["ce-subject"]) == nasty
    assert found["content-type"] == "application/json"
    assert "ce-datacontenttype" not in found
    assert headers(message, "ce_", escaped=False)["ce_subject"] == nasty
