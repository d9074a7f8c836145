"""Imported rows: what becomes an event, and what does not."""

import json
from typing import Any

import pytest

from tapewatch.model.errors import ConfigError, DecodeError, Refused
from tapewatch.model.events import Bar, Event, Status, Trade
from tapewatch.model.inputs import Frame
from tapewatch.venues.ndjson import Ndjson

VENUE = Ndjson(ids=("kraken:BTC/USD",))
AT = 1_561_939_203_172_000_000
TRADE = {"instrument": "kraken:BTC/USD", "ts_event": AT, "price": 10749.4, "size": 0.004}
BAR = {
    "instrument": "kraken:BTC/USD",
    "ts_event": AT,
    "open": 2.0,
    "high": 3.0,
    "low": 1.0,
    "close": 2.5,
    "volume": 0.0,
    "interval_ns": 60_000_000_000,
}


def decoded(row: Any) -> list[Event]:
    data = row if isinstance(row, bytes) else json.dumps(row).encode()
    return list(VENUE.decode(VENUE.start(), Frame(AT + 1, "ndjson", data)))


def test_a_trade_and_a_bar() -> None:
    row = {"trade": TRADE | {"aggressor": "sell", "trade_id": "7"}}
    assert decoded(row) == [Trade("kraken:BTC/USD", AT, AT + 1, 10749.4, 0.004, "sell", "7")]
    assert decoded({"trade": TRADE}) == [
        Trade("kraken:BTC/USD", AT, AT + 1, 10749.4, 0.004, "unknown")
    ]
    bar = Bar("kraken:BTC/USD", AT, AT + 1, 2.0, 3.0, 1.0, 2.5, 0.0, 60_000_000_000)
    assert decoded({"bar": BAR}) == [bar]


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("trade", {"price": 0.0}, "the price is 0"),
        ("trade", {"price": -1.0}, "the price is -1"),
        ("trade", {"size": 0.0}, "the size is 0"),
        ("trade", {"ts_event": 2**80}, "its time is not between 2009 and 2100"),
        ("trade", {"ts_event": 5}, "its time is not between 2009 and 2100"),
        ("trade", {"instrument": "kraken:ETH/USD"}, "a row of kraken:ETH/USD"),
        ("bar", {"low": 2.1}, "high and low do not enclose"),
        ("bar", {"high": 2.4}, "high and low do not enclose"),
        ("bar", {"open": 0.0}, "a price is not positive"),
        ("bar", {"volume": -1.0}, "the volume is -1"),
        ("bar", {"interval_ns": 0}, "the interval is not positive"),
    ],
)
def test_impossible_rows_are_told(kind: str, change: dict[str, Any], said: str) -> None:
    row = {"trade": TRADE, "bar": BAR}[kind] | change
    (event,) = decoded({kind: row})
    assert isinstance(event, Status)
    assert event.kind == "invalid"
    assert event.detail.startswith(said)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[1]", b"\xff", b'{"trade":{}}', b'{"tape":{}}', b'{"trade":1e400}',
     b"[" * 100_000,
     json.dumps({"trade": TRADE, "bar": BAR}).encode(),
     json.dumps({"trade": TRADE | {"price": "1e400"}}).encode()],
)  # fmt: skip
def test_what_is_no_row(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decoded(data)


def test_there_is_nothing_to_connect_to() -> None:
    with pytest.raises(Refused, match="replay the tape"):
        VENUE.endpoint()
    assert VENUE.subscribe(VENUE.start(), "ws") == ()


def test_ids_are_checked() -> None:
    with pytest.raises(ConfigError, match="empty"):
        Ndjson(ids=())
    with pytest.raises(ConfigError, match="venue:symbol"):
        Ndjson(ids=("BTC",))
