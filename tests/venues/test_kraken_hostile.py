"""Whatever the bytes: events or `DecodeError`, and a memory that can be written."""

import json
import math
from typing import Any

import kraken_wire as wire
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kraken_wire import Feed

from tapewatch.model import limits
from tapewatch.model.errors import DecodeError
from tapewatch.model.events import Event, Quote, Status, Trade
from tapewatch.model.text import clean
from tapewatch.venues.kraken import Kraken

STREAMS = ("ws", "rest:/0/public/Trades?pair=XBTUSD", "rest:/0/public/SystemStatus", "rest:x")
BOOK = wire.WireBook()
VALID = [
    BOOK.snapshot(),
    BOOK.update(bids=[("100.0", "4.00000000")]),
    wire.trades([wire.trade(5), wire.trade(7)]),
    wire.trades([wire.trade(5)], "snapshot"),
    wire.ack("trade"),
    wire.instruments(1, 8),
    (
        b'{"channel":"status","type":"update",'
        b'"data":[{"system":"online","connection_id":151135830344161187052}]}'
    ),
    (
        b'{"error":"Currency pair not supported XBT/USD",'
        b'"method":"subscribe","success":false,"symbol":"XBT/USD"}'
    ),
    b'{"Error":"Exceeded msg rate"}',
    (
        b'{"event":"subscriptionStatus","status":"error","errorMessage":"no",'
        b'"pair":"XBT/USD","subscription":{"name":"book"}}'
    ),
    b'[336,{"as":[["27120.00000","4.2","1693415327.9"]],"bs":[]},"book-10","XBT/USD"]',
    b'[336,{"a":[["27120.00000","4.2","1693415327.9","r"]],"c":"974947235"},"book-10","XBT/USD"]',
    b'[1,[["354.0","0.28","1618678150.826417","s","m",""]],"trade","XBT/USD"]',
    b'{"error":[],"result":{"XXBTZUSD":[["1.0","2.0",1762795433.97,"b","l","",5]],"last":"1"}}',
    b'{"error":["EGeneral:Too many requests"]}',
]
PIECES: list[Any] = [json.loads(data) for data in VALID]
WORDS = sorted(
    {"BTC/USD", "XBT/USD", "book-10", "a", "b", "as", "c", "0", "-1", "1e400", "\ud800", "\x1b[2J"}
    | {key for piece in PIECES if isinstance(piece, dict) for key in piece}
    | {value for piece in PIECES if isinstance(piece, dict) for value in map(str, piece.values())}
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(WORDS),
    st.sampled_from([2**53, 2**63, 2**64, -1, 10**30, 1763700000]),
)
JSON = st.recursive(
    st.one_of(SCALARS, st.sampled_from(PIECES)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    ),
    max_leaves=12,
)


def survive(feed: Feed, data: bytes, stream: str) -> None:
    """Decode; check what comes out, and that the memory can be written and read."""
    try:
        events = feed.rest(data, stream) if stream != "ws" else feed.ws(data)
    except DecodeError:
        return
    for event in events:
        check(event)
    before = feed.state
    feed.reload()
    assert feed.state == before


def check(event: Event) -> None:
    if isinstance(event, Trade):
        assert 0 < event.price < math.inf
        assert 0 < event.size < math.inf
    elif isinstance(event, Quote):
        numbers = (event.bid, event.bid_size, event.ask, event.ask_size)
        assert all(0 <= number < math.inf for number in numbers)
    elif isinstance(event, Status):
        for text in (event.detail, event.channel):
            assert clean(text) == text


def feeds() -> list[Feed]:
    """One of each protocol, with a live book and trades."""
    ready = []
    for protocol in ("v2", "v1"):
        feed = Feed(Kraken(symbols=("BTC/USD",), protocol=protocol, books=True))
        feed.live()
        ready.append(feed)
    return ready


@given(st.binary(max_size=200), st.sampled_from(STREAMS))
def test_any_bytes(data: bytes, stream: str) -> None:
    survive(Feed(), data, stream)


@given(st.lists(JSON, max_size=4), st.sampled_from(STREAMS))
def test_any_json(values: list[Any], stream: str) -> None:
    for feed in feeds():
        for value in values:
            survive(feed, json.dumps(value).encode(), stream)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid frame with some of its parts replaced."""
    piece = json.loads(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 3))):
        holder: Any = piece
        at: Any = None
        while isinstance(holder, list | dict) and holder:
            keys = sorted(holder) if isinstance(holder, dict) else range(len(holder))
            at = draw(st.sampled_from(keys))
            inner = holder[at]
            if not isinstance(inner, list | dict) or not inner or draw(st.booleans()):
                break
            holder = inner
        if at is not None:
            value = draw(SCALARS if draw(st.booleans()) else JSON)
            holder[at] = json.loads(json.dumps(value))  # a copy: values may share their parts
    return json.dumps(piece, separators=(",", ":")).encode()


@given(st.lists(mutated(), max_size=5), st.sampled_from(STREAMS))
def test_mutated_frames(frames: list[bytes], stream: str) -> None:
    for feed in feeds():
        for data in frames:
            survive(feed, data, stream)
        feed.wait(3)


@given(st.sampled_from(VALID), st.data())
@example(VALID[0], None)
def test_damaged_frames(data: bytes, draw: Any) -> None:
    feed = feeds()[0]
    cut = len(data) // 2 if draw is None else draw.draw(st.integers(0, len(data) - 1))
    survive(feed, data[:cut], "ws")
    survive(feed, data[:cut] + b"\xff\x00" + data[cut:], "ws")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"NO NEW ASSETS",
        b"<html>520</html>",
        b"\xff\xfe\x00",
        b"7",
        b"null",
        b'"text"',
        b"[1,2,3]",
        b"[" * 100_000,
        b'{"channel":"book","type":"update","data":' + b"[" * 100_000,
        b'{"channel":"trade","data":[]}',
        b'{"channel":"book","type":"update","data":{}}',
        b'{"channel":"instrument","data":7}',
        b'{"channel":"status","data":[7]}',
        b'[1,7,"trade","XBT/USD"]',
        b'[1,[],"book-10","XBT/USD"]',
        b'[1,{"q":[]},"book-10","XBT/USD"]',
        b'{"a":' + b"1" * 5000 + b"}",
        b" " * (limits.FRAME_BYTES + 1),
    ],
    ids=lambda data: str(data[:20]),
)
def test_unreadable_frames(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Feed().ws(data)


@pytest.mark.parametrize("data", [b"<html>", b"7", b"{}", b'{"error":[],"result":{"A":[],"B":[]}}'])
def test_unreadable_answers(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Feed().rest(data)


def test_an_error_too_deep_to_print() -> None:
    deep = "[" * 900 + "]" * 900
    events = Feed().ws(f'{{"error":{deep}}}'.encode())
    assert wire.kinds(events) == ["rejected"]
