"""Kraken frames captured by others, against expectations computed here with json and Decimal."""

import json
import pathlib
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import kraken_wire as wire
import pytest

from tapewatch.model.events import Event, Quote, Status, Trade
from tapewatch.model.inputs import Frame
from tapewatch.model.time import NS_PER_S, parse_rfc3339
from tapewatch.venues.kraken import Kraken
from tapewatch.venues.kraken_symbols import listed_symbols

T0 = 1_690_700_000 * NS_PER_S
TEN = (
    "WAVES/EUR",
    "XMR/USD",
    "KSM/XBT",
    "GRT/ETH",
    "SC/EUR",
    "ETH/CHF",
    "OCEAN/XBT",
    "OMG/USD",
    "XBT/CHF",
    "ADA/XBT",
)


def decode(kraken: Kraken, frames: list[bytes], stream: str = "ws") -> list[Event]:
    """All events; frame number i is received i seconds after `T0`."""
    state, events = kraken.start(), list[Event]()
    for number, data in enumerate(frames):
        frame = Frame(T0 + number * NS_PER_S, "kraken", data, stream)
        events.extend(kraken.decode(state, frame))
    return events


class Ladders:
    """A book by the book: dicts of Decimals, sorted when asked."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}
        self.shown: tuple[Any, ...] | None = None

    def apply(self, side: dict[Decimal, Decimal], levels: list[tuple[str, str]]) -> None:
        for price, qty in levels:
            side[Decimal(price)] = Decimal(qty)
        for price in [price for price, qty in side.items() if qty == 0]:
            del side[price]
        for price in sorted(side, reverse=side is self.bids)[self.depth :]:
            del side[price]

    def quote(self, instrument: str, ts_event: int, ts_recv: int) -> Iterator[Quote]:
        bid = max(self.bids, default=None)
        ask = min(self.asks, default=None)
        top = (
            0.0 if bid is None else float(bid),
            0.0 if bid is None else float(self.bids[bid]),
            0.0 if ask is None else float(ask),
            0.0 if ask is None else float(self.asks[ask]),
        )
        if top != self.shown:
            self.shown = top
            yield Quote(instrument, ts_event, ts_recv, *top)


def v2_quotes(frames: list[bytes], depth: int = 10) -> list[Quote]:
    book, quotes = Ladders(depth), []
    for number, data in enumerate(frames):
        message = json.loads(data, parse_float=str, parse_int=str)
        (row,) = message["data"]
        if message["type"] == "snapshot":
            book.bids, book.asks = {}, {}
        book.apply(book.bids, [(level["price"], level["qty"]) for level in row["bids"]])
        book.apply(book.asks, [(level["price"], level["qty"]) for level in row["asks"]])
        ts_recv = T0 + number * NS_PER_S
        ts_event = parse_rfc3339(row["timestamp"]) if "timestamp" in row else ts_recv
        quotes += book.quote(wire.BTC, ts_event, ts_recv)
    return quotes


@pytest.fixture
def wiretext(shared_data: pathlib.Path) -> list[bytes]:
    name = "wire/kraken_v2/book_d10_btcusd_wiretext_restored_510.ndjson"
    return (shared_data / name).read_bytes().splitlines()


def test_v2_book_of_wire_text(wiretext: list[bytes]) -> None:
    """Every checksum of 510 holds, the precision being read off the text."""
    assert len(wiretext) == 510
    events = decode(Kraken(symbols=("BTC/USD",)), wiretext)
    assert events == v2_quotes(wiretext)
    assert len(events) == 209


def test_v2_book_that_lost_its_zeros(shared_data: pathlib.Path) -> None:
    """The precision comes from the instrument channel."""
    name = "wire/kraken_v2/orderbook-v2_btcusd_d10_510msgs_20230730.json"
    saved = json.loads((shared_data / name).read_text())
    messages = [saved["init"], *saved["updates"]]
    assert len(messages) == 510
    # Alternately in Kraken's order of keys (the fast way) and in another (the general way).
    turned = [dict(reversed(m.items())) if n % 2 else m for n, m in enumerate(messages)]
    frames = [json.dumps(m, separators=(",", ":")).encode() for m in turned]
    events = decode(Kraken(symbols=("XBT/USD",)), [wire.instruments(1, 8), *frames])
    expected = v2_quotes([b'{"type":"x","data":[{"bids":[],"asks":[]}]}', *frames])
    assert events == expected[1:]
    assert len(events) == 209


def test_v2_book_whose_level_was_flipped(wiretext: list[bytes]) -> None:
    """One wrong digit in one level of the best ten, and the book is void."""
    for number in (0, 2, 255, 509):
        frames = list(wiretext)
        qty = re.search(rb'"qty":\d+\.\d*[1-9]\d*', frames[number])
        assert qty is not None
        old = qty.group()
        new = old[:-1] + (b"1" if old[-1:] != b"1" else b"2")
        frames[number] = frames[number].replace(old, new, 1)
        events = decode(Kraken(symbols=("BTC/USD",)), frames)
        (status,) = wire.statuses(events)
        assert (status.kind, status.ask, status.channel) == ("checksum", "resubscribe", "book")
        assert status.ts_recv == T0 + number * NS_PER_S
        assert not [e for e in events if isinstance(e, Quote) and e.ts_recv >= status.ts_recv]


def v1_session(path: pathlib.Path) -> list[tuple[int, bytes]]:
    """(receive time, frame) of a cryptofeed capture; lines with arrows are its own."""
    session = []
    for line in path.read_text().splitlines():
        match = re.match(r"(\d+\.\d+): ([\[{].*)", line)
        if match:
            ts_recv = int(Decimal(match.group(1)) * NS_PER_S)
            session.append((ts_recv, match.group(2).encode()))
    return session


def seconds(text: str) -> int:
    return int(Decimal(text) * NS_PER_S)


def our_name(pair: str) -> str:
    return "kraken:" + pair.replace("XBT", "BTC")


def v1_quotes(books: dict[str, Ladders], ts_recv: int, message: list[Any]) -> list[Quote]:
    book = books[message[-1]]
    rows = []
    for payload in message[1:-2]:
        for key in payload.keys() - {"c"}:
            side = book.asks if key[0] == "a" else book.bids
            if key in ("as", "bs"):
                side.clear()
            book.apply(side, [(row[0], row[1]) for row in payload[key]])
            rows += payload[key]
    ts_event = max(seconds(row[2]) for row in rows)
    return list(book.quote(our_name(message[-1]), ts_event, ts_recv))


def test_v1_books(shared_data: pathlib.Path) -> None:
    """4,269 checksums of ten pairs at depth 1,000 hold."""
    session = v1_session(shared_data / "wire/kraken_v1/cryptofeed_KRAKEN.ws.50.0")
    kraken = Kraken(symbols=TEN, channels=("book",), depth=1000, protocol="v1")
    state, checked = kraken.start(), 0
    books = {pair: Ladders(1000) for pair in TEN}
    for ts_recv, data in session:
        message = json.loads(data)
        expected: list[Event] = []
        if isinstance(message, list):
            expected += v1_quotes(books, ts_recv, message)
            checked += "c" in message[-3]
        elif message["event"] == "subscriptionStatus":
            name = our_name(message["pair"])
            expected.append(Status("kraken", name, ts_recv, ts_recv, "subscribed", channel="book"))
        assert list(kraken.decode(state, Frame(ts_recv, "kraken", data))) == expected
    assert checked == 4269


def test_v1_book_fixture(shared_data: pathlib.Path) -> None:
    saved = json.loads((shared_data / "wire/kraken_v1/orderbook-v1_btcusd_d10.json").read_text())
    messages = [*saved["init"], *saved["updates"]]
    frames = [json.dumps(message).encode() for message in messages]
    events = decode(Kraken(symbols=("BTC/USD",), protocol="v1"), frames)
    books = {"XBT/USD": Ladders(10)}
    expected = [
        quote
        for number, message in enumerate(messages)
        if isinstance(message, list)
        for quote in v1_quotes(books, T0 + number * NS_PER_S, message)
    ]
    assert wire.kinds(events) == ["subscribed"]
    assert [event for event in events if isinstance(event, Quote)] == expected
    assert sum("c" in m[-3] for m in messages if isinstance(m, list)) > 400


def test_v1_trades(shared_data: pathlib.Path) -> None:
    session = v1_session(shared_data / "wire/kraken_v1/cryptofeed_KRAKEN.ws.48.0")
    kraken = Kraken(symbols=TEN, channels=("trade",), protocol="v1")
    state, events, expected = kraken.start(), list[Event](), []
    for ts_recv, data in session:
        events.extend(kraken.decode(state, Frame(ts_recv, "kraken", data)))
        message = json.loads(data)
        if isinstance(message, list):
            for index, (price, volume, time, side, _, _) in enumerate(message[1]):
                taker: Any = {"b": "buy", "s": "sell"}[side]
                name, ts_event = our_name(message[-1]), seconds(time)
                expected.append(
                    Trade(name, ts_event, ts_recv, float(price), float(volume), taker, "", index)
                )
    assert wire.of_trades(events) == expected
    assert len(expected) == 10
    assert wire.kinds(events) == ["subscribed"] * 10


def test_v1_tickers_are_named_and_left_alone(shared_data: pathlib.Path) -> None:
    session = v1_session(shared_data / "wire/kraken_v1/cryptofeed_KRAKEN.ws.49.0")
    kraken = Kraken(symbols=TEN, protocol="v1")
    events = decode(kraken, [data for _, data in session])
    tickers = sum(data.startswith(b"[") for _, data in session)
    assert tickers > 0
    assert wire.kinds(events) == ["subscribed"] * 10 + ["unknown"] * tickers


def rest_trades(body: bytes, ts_recv: int) -> list[Trade]:
    found = []
    rows = json.loads(body, parse_float=Decimal)["result"]["XBTUSDT"]
    for index, (price, volume, time, side, _, _, number) in enumerate(rows):
        taker: Any = {"b": "buy", "s": "sell"}[side]
        found.append(
            Trade(
                "kraken:BTC/USDT",
                int(time * NS_PER_S),
                ts_recv,
                float(price),
                float(volume),
                taker,
                str(number),
                index,
                backfilled=True,
            )
        )
    return found


def test_rest_trades_fill_a_gap(shared_data: pathlib.Path) -> None:
    """Of a page of 1,000 trades, 998 are missing between two that the socket brought."""
    body = (shared_data / "wire/kraken_rest/nautilus_http_trades.json").read_bytes()
    kraken = Kraken(symbols=("BTC/USDT",))
    state = kraken.start()
    ts_recv = 1_762_820_060 * NS_PER_S
    expected = rest_trades(body, ts_recv)
    assert len(expected) == 1000
    seen = []
    for trade in (expected[0], expected[-1]):
        row = wire.trade(int(trade.trade_id), ts_ns=trade.ts_event, symbol="BTC/USDT")
        seen += kraken.decode(state, Frame(ts_recv, "kraken", wire.trades([row])))
    gap = seen[1]
    assert isinstance(gap, Status)
    assert (gap.kind, gap.ask) == ("gap", "backfill")
    assert (gap.first_id, gap.last_id) == (10218209, 10219206)
    stream = "rest:/0/public/Trades?pair=XBTUSDT&since=1"
    events = list(kraken.decode(state, Frame(ts_recv, "kraken", body, stream)))
    assert events[:-1] == expected[1:-1]
    closed = events[-1]
    assert isinstance(closed, Status)
    assert closed.kind == "gap_filled"
    assert (closed.first_id, closed.last_id) == (10218209, 10219206)


def test_rest_trades_that_nobody_brought(shared_data: pathlib.Path) -> None:
    """All 1,000 rows come out, exact, when the socket brought none."""
    body = (shared_data / "wire/kraken_rest/nautilus_http_trades.json").read_bytes()
    ts_recv = 1_762_820_060 * NS_PER_S
    kraken = Kraken(symbols=("BTC/USDT",))
    frame = Frame(ts_recv, "kraken", body, "rest:/0/public/Trades?pair=XBTUSDT")
    assert list(kraken.decode(kraken.start(), frame)) == rest_trades(body, ts_recv)


def test_single_fixtures(shared_data: pathlib.Path) -> None:
    folder = shared_data / "wire/kraken_v2"

    def read(name: str) -> list[Event]:
        return decode(Kraken(symbols=("BTC/USD",)), [(folder / name).read_bytes()])

    assert read("nautilus_ws_trade_update.json") == [
        Trade(wire.BTC, 1696613755440295000, T0, 105944.2, 0.00027625, "buy", "10218208", 0, False),
        Trade(wire.BTC, 1696613756123456000, T0, 105910.5, 0.0001246, "sell", "10218209", 1, False),
    ]
    assert wire.kinds(read("nautilus_ws_book_snapshot.json")) == ["checksum"]  # not a valid vector
    assert read("nautilus_ws_book_update.json") == []  # there is no book yet
    assert wire.kinds(read("nautilus_ws_ohlc_update.json")) == ["unknown"]
    assert wire.kinds(read("nautilus_ws_ticker_snapshot.json")) == ["unknown"]
    assert read("nautilus_ws_pong.json") == []
    (acked,) = wire.statuses(read("nautilus_ws_subscribe_response.json"))
    assert (acked.kind, acked.instrument, acked.channel) == ("subscribed", wire.BTC, "ticker")
    system = shared_data / "wire/kraken_rest/nautilus_http_system_status.json"
    online = decode(
        Kraken(symbols=("BTC/USD",)), [system.read_bytes()], "rest:/0/public/SystemStatus"
    )
    assert online == []


def test_asset_pairs(shared_data: pathlib.Path) -> None:
    line = (shared_data / "wire/kraken_rest/cryptofeed_KRAKEN.0_assetpairs").read_bytes()
    body = line[line.index(b"{") :].splitlines()[0]
    listings = json.loads(body)["result"].values()
    listed = listed_symbols(body)
    assert len(listed) == sum("wsname" in listing for listing in listings) == 293
    assert {"BTC/USD", "DOGE/EUR", "ETH/BTC"} <= set(listed)
    assert not [symbol for symbol in listed if "XBT" in symbol or "XDG" in symbol]
