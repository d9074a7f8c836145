"""Kraken websocket v2: frames in, events out.

The two frequent kinds, updates of trades and of books, are recognised by the first bytes that
Kraken writes and decoded straight into structs. Everything else, and those two whenever that fails
(another order of keys, a wrong type, a number too large for float arithmetic), takes the general
way with exact numbers. Both ways give the same events.
"""

from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from tapewatch.model.errors import DecodeError
from tapewatch.model.events import Trade
from tapewatch.venues.books import ExactLevel, FloatLevel
from tapewatch.venues.kraken_books import BookRow, replace_book, settle, update_exactly
from tapewatch.venues.kraken_replies import answer_v2, error_v2, instruments
from tapewatch.venues.kraken_state import Reading, halt, load, spoken, venue_ns
from tapewatch.venues.kraken_trades import FINITE, TRADE_ID_MAX, Origin, place

_TRADES: Final = b'{"channel":"trade","type":"update",'
_BOOKS: Final = b'{"channel":"book","type":"update",'
Row = TypeVar("Row")


class TradeRow(Struct, gc=False):
    """One item of the trade channel."""

    symbol: str
    side: Literal["buy", "sell"]
    price: float
    qty: float
    trade_id: int
    timestamp: str


class FloatBookRow(Struct, gc=False):
    """One item of the book channel, its numbers as floats."""

    symbol: str
    checksum: int
    bids: list[FloatLevel] = []
    asks: list[FloatLevel] = []
    timestamp: str = ""


class ExactBookRow(Struct):
    """The same, with all digits. A wrong timestamp does not spoil the levels."""

    symbol: str
    checksum: int
    bids: list[ExactLevel] = []
    asks: list[ExactLevel] = []
    timestamp: Any = ""


class _Trades(Struct, gc=False):
    data: list[TradeRow]


class _Books(Struct, gc=False):
    data: list[FloatBookRow]


_decode_trades = msgspec.json.Decoder(_Trades).decode
_decode_books = msgspec.json.Decoder(_Books).decode


def decode_frequent(reading: Reading, data: bytes) -> bool:
    """Decode one of the two frequent kinds of frame. False, with nothing done, for others."""
    books: list[FloatBookRow] = []
    trades: list[TradeRow] = []
    try:
        if data.startswith(_BOOKS):
            books = _decode_books(data).data
        elif data.startswith(_TRADES):
            trades = _decode_trades(data).data
        else:
            return False
    except (ValueError, RecursionError):
        return False  # not what it looked like; the general way finds the bad row
    for index, book in enumerate(books):
        _book_update(reading, book, data, index)
    for index, trade in enumerate(trades):
        _trade(reading, trade, index, "live")
    return True


def _trade(reading: Reading, row: TradeRow, index: int, origin: Origin) -> None:
    state = reading.state
    market = state.markets.get(row.symbol)
    if market is None or market.trades is None:
        reading.say("unknown", None, f"trade of {row.symbol}", channel="trade")
        return
    ts_event, number = venue_ns(state, row.timestamp), row.trade_id
    price, size = row.price, row.qty
    if not (
        ts_event and 0.0 < price < FINITE and 0.0 < size < FINITE and 0 < number < TRADE_ID_MAX
    ):
        detail = f"trade {number}: price {price}, qty {size}, time {row.timestamp}"
        reading.say("invalid", market, detail, channel="trade")
        return
    live = origin == "live"
    if live:
        market.trades.flows(reading.ts_recv)
    trade = Trade(
        market.instrument,
        ts_event,
        reading.ts_recv,
        price,
        size,
        row.side,
        str(number),
        index,
        not live,
    )
    sequence = market.sequence
    if number == sequence.last_id + 1:
        sequence.advance(number, ts_event)
        reading.events.append(trade)
    else:
        place(reading, market, trade, number, origin)


def _book_update(reading: Reading, row: FloatBookRow, data: bytes, index: int) -> None:
    market = reading.state.markets.get(row.symbol)
    if market is None or market.levels is None:
        reading.say("unknown", None, f"book of {row.symbol}", channel="book")
        return
    if not market.valid:
        return  # between a failed checksum and the fresh snapshot
    market.levels.flows(reading.ts_recv)
    ts_event, book = venue_ns(reading.state, row.timestamp), market.book
    if ts_event and book.apply(book.asks, row.asks) and book.apply(book.bids, row.bids):
        settle(reading, market, row.checksum, ts_event)
    else:
        _book(reading, load(data)["data"][index], snapshot=False)


def decode_any(reading: Reading, message: dict[str, Any]) -> None:
    """Decode any v2 frame. Raises `DecodeError` for a shape that Kraken does not send."""
    match message.get("channel"):
        case "heartbeat":
            reading.state.beat_ns = reading.ts_recv
        case "trade":
            _trades(reading, message)
        case "book":
            snapshot = _kind(message) == "snapshot"
            for row in _rows(message):
                _book(reading, row, snapshot=snapshot)
        case "instrument":
            instruments(reading, message)
        case "status":
            _system(reading, message)
        case None if "method" in message:
            answer_v2(reading, message)
        case None:
            error_v2(reading, message)
        case other:
            reading.say("unknown", None, f"channel {spoken(other)}")


def _kind(message: dict[str, Any]) -> str:
    kind = message.get("type")
    if kind not in ("snapshot", "update"):
        raise DecodeError("a Kraken frame is neither snapshot nor update")
    return str(kind)


def _rows(message: dict[str, Any]) -> list[Any]:
    rows = message.get("data")
    if not isinstance(rows, list):
        raise DecodeError("a Kraken frame has no list of data")
    return rows


def _system(reading: Reading, message: dict[str, Any]) -> None:
    for row in _rows(message):
        if not isinstance(row, dict):
            raise DecodeError("a Kraken status is not an object")
        halt(reading, row.get("system"))


def _trades(reading: Reading, message: dict[str, Any]) -> None:
    snapshot = _kind(message) == "snapshot"
    found: list[tuple[int, TradeRow]] = []
    for index, item in enumerate(_rows(message)):
        row = _convert(reading, item, TradeRow, "trade")
        if row is not None:
            found.append((index, row))
    if snapshot:
        _history_came(reading, {row.symbol for _, row in found})
        found.sort(key=lambda one: one[1].trade_id)
    for index, row in found:
        _trade(reading, row, index, "snapshot" if snapshot else "live")


def _history_came(reading: Reading, symbols: set[str]) -> None:
    """A trade snapshot answers a subscription. One without trades does not say whose it is: it
    counts for the first that still waits."""
    feeds = [(market.symbol, market.trades) for market in reading.state.markets.values()]
    named = [feed for symbol, feed in feeds if symbol in symbols]
    waiting = [feed for _, feed in feeds if feed is not None and not feed.live]
    for feed in named if symbols else waiting[:1]:
        if feed is not None:
            feed.acked = feed.live = True
            feed.last_ns = reading.ts_recv


def _book(reading: Reading, item: Any, *, snapshot: bool) -> None:
    row = _convert(reading, item, ExactBookRow, "book")
    if row is None:
        return
    market = reading.state.markets.get(row.symbol)
    if market is None or market.levels is None:
        reading.say("unknown", None, f"book of {row.symbol}", channel="book")
        return
    ts_event = venue_ns(reading.state, row.timestamp) if isinstance(row.timestamp, str) else 0
    if not ts_event:
        if row.timestamp != "":  # captures of 2023 have none in snapshots
            reading.say("invalid", market, f"time {spoken(row.timestamp)}", channel="book")
        ts_event = reading.ts_recv
    found = BookRow(row.bids, row.asks, row.checksum, ts_event)
    if snapshot:
        replace_book(reading, market, found, (market.price_decimals, market.size_decimals))
    else:
        update_exactly(reading, market, found)


def _convert(reading: Reading, item: Any, row_type: type[Row], channel: str) -> Row | None:
    """`item` as a row; one that is none is dropped with a word."""
    try:
        return msgspec.convert(item, row_type)
    except (ValueError, ArithmeticError) as error:  # also text that is no Unicode
        market = reading.state.market(item.get("symbol")) if isinstance(item, dict) else None
        reading.say("invalid", market, str(error), channel=channel)
        return None
