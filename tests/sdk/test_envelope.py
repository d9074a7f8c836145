"""What comes over a bus is somebody's claim."""

import msgspec
import pytest
from bus_kit import CONDITION, INSTRUMENT, alert, binary, report, structured
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model import limits
from tapewatch.model.errors import DecodeError
from tapewatch.model.outputs import Alert, Report
from tapewatch.sdk.envelope import read

# The example of bot 4.15's specification, with none of our fields.
FOREIGN = {
    "report_id": "rep_ad_0xf1a2_1746703000000",
    "trace_id": "trc_0xbeef0102030405060716",
    "bot_id": "intel.anomalydetector",
    "kind": "ObservationReport",
    "condition_id": "0xF1A2B3" + "0" * 58,
    "anomaly_detected": True,
    "z_price": 3.8,
    "z_vol": 1.2,
    "emitted_at_ms": 1746703005000,
}


@pytest.mark.parametrize("told", [report(), report(anomalous=True), alert()])
def test_both_modes_of_cloud_events_give_back_what_was_said(told: Report | Alert) -> None:
    data, headers = binary(told)
    assert read(data, headers) == told
    assert read(structured(told)) == told
    assert read(data, {"CE_TYPE": headers["ce-type"]}) == told


def test_a_report_of_another_publisher_is_read_by_the_bots_own_fields() -> None:
    told = read(msgspec.json.encode(FOREIGN))
    assert isinstance(told, Report)
    assert told.anomaly_detected
    assert told.instrument == "polymarket:0xf1a2b3" + "0" * 58


def test_other_kinds_of_events_are_none_of_our_business() -> None:
    assert read(b'{"specversion": "1.0", "type": "weather.v1", "data": {}}') is None
    assert read(b'{"hello": 1}') is None
    assert read(b"{}", {"ce-type": "weather.v1"}) is None


@pytest.mark.parametrize(
    "change",
    [
        {"anomaly_detected": "yes"},
        {"emitted_at_ms": -1},
        {"emitted_at_ms": 10**30},
        {"report_id": "x" * 1000},
        {"warnings": ["x"] * 1000},
        {"condition_id": None},
        {"z_price": "NaN"},
    ],
)
def test_what_claims_to_be_a_report_and_is_none_is_refused(change: dict[str, object]) -> None:
    data = msgspec.json.encode(FOREIGN | change)
    with pytest.raises(DecodeError):
        read(data)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"x" * (limits.FRAME_BYTES + 1)]
)
def test_rubbish_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read(data)


def test_an_alert_of_another_age_is_refused() -> None:
    wrong = msgspec.structs.replace(alert(), ts_alert_ns=2**62)
    with pytest.raises(DecodeError):
        read(*binary(wrong))


@given(
    st.binary(max_size=200), st.sampled_from(["", "tapewatch.observation.v1", "tapewatch.alert.v1"])
)
def test_any_bytes_give_a_report_an_alert_nothing_or_a_refusal(data: bytes, kind: str) -> None:
    try:
        told = read(data, {"ce-type": kind} if kind else None)
    except DecodeError:
        return
    assert told is None or isinstance(told, Report | Alert)


def test_the_example_is_of_the_market_that_it_names() -> None:
    told = read(structured(report()))
    assert isinstance(told, Report)
    assert (told.condition_id, told.instrument) == (CONDITION, INSTRUMENT)
