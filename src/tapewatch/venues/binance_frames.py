"""Binance's frames: events of combined streams and of raw ones, acknowledgements, REST answers.

The frequent kinds are recognised by the stream's name and decoded straight into structs; everything
else, and those whenever that fails, takes the general way, which names what is wrong. What Binance
sends beside trades and quotes (book differences, candles, marks) is left out without a word: a
capture may have it.
"""

import re
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct, field

from tapewatch.model.errors import DecodeError
from tapewatch.model.events import Event, Quote, Trade
from tapewatch.model.text import clean
from tapewatch.venues.binance_state import (
    FINITE,
    ID_MAX,
    RENUMBERED_UPDATES,
    BinanceState,
    Market,
    place,
    status,
    venue_ns,
)

ROWS_SAID: Final = 20  # bad rows of one answer that are said one by one
_STREAM: Final = b'{"stream":"'
# Channels that hold no trade and no quote of ours.
_OTHERS: Final = frozenset(
    {"depthUpdate", "kline", "24hrTicker", "24hrMiniTicker", "markPriceUpdate", "forceOrder",
     "avgPrice", "continuous_kline", "indexPriceUpdate", "contractInfo"}
)  # fmt: skip
_SYMBOL: Final = re.compile(r"[?&]symbol=([A-Z0-9_]{1,40})(?:&|$)", re.ASCII)
T = TypeVar("T")


class TradeRow(Struct, gc=False):
    """`trade`: one execution. `kind` is MARKET where the venue says what it was."""

    symbol: str = field(name="s")
    number: int = field(name="t")
    price: float = field(name="p")
    size: float = field(name="q")
    time_ms: int = field(name="T")
    buyer_is_maker: bool = field(name="m")
    kind: str = field(name="X", default="MARKET")


class AggregateRow(Struct, gc=False):
    """`aggTrade`: what one taker's order took at one price."""

    symbol: str = field(name="s")
    number: int = field(name="a")
    price: float = field(name="p")
    size: float = field(name="q")
    time_ms: int = field(name="T")
    buyer_is_maker: bool = field(name="m")
    kind: str = "MARKET"


class QuoteRow(Struct, gc=False):
    """`bookTicker`: best bid and ask. Spot quotes have no time."""

    symbol: str = field(name="s")
    update: int = field(name="u")
    bid: float = field(name="b")
    bid_size: float = field(name="B")
    ask: float = field(name="a")
    ask_size: float = field(name="A")
    time_ms: int = field(name="T", default=0)


class FetchedTrade(Struct, gc=False):
    """A row of `historicalTrades`."""

    number: int = field(name="id")
    price: float
    size: float = field(name="qty")
    time_ms: int = field(name="time")
    buyer_is_maker: bool = field(name="isBuyerMaker")


class FetchedAggregate(Struct, gc=False):
    """A row of `aggTrades`."""

    number: int = field(name="a")
    price: float = field(name="p")
    size: float = field(name="q")
    time_ms: int = field(name="T")
    buyer_is_maker: bool = field(name="m")


AnyTrade = TradeRow | AggregateRow | FetchedTrade | FetchedAggregate


class _Trades(Struct, gc=False):
    data: TradeRow


class _Aggregates(Struct, gc=False):
    data: AggregateRow


class _Quotes(Struct, gc=False):
    data: QuoteRow


# Not strict: Binance writes prices and sizes as text.
_DECODERS: Final[dict[bytes, msgspec.json.Decoder[Any]]] = {
    b"trade": msgspec.json.Decoder(_Trades, strict=False),
    b"aggTrade": msgspec.json.Decoder(_Aggregates, strict=False),
    b"bookTicker": msgspec.json.Decoder(_Quotes, strict=False),
}
_ROWS: Final[dict[str, type[TradeRow | AggregateRow | QuoteRow]]] = {
    "trade": TradeRow, "aggTrade": AggregateRow, "bookTicker": QuoteRow,
}  # fmt: skip


def decode_frame(state: BinanceState, data: bytes, ts_recv: int) -> list[Event]:
    """Events of one websocket message. Raises `DecodeError`."""
    if data.startswith(_STREAM):
        end = data.find(b'"', len(_STREAM))
        channel = data[len(_STREAM) : end].partition(b"@")[2]
        decoder = _DECODERS.get(channel)
        if decoder is not None:
            try:
                return _event(state, decoder.decode(data).data, ts_recv)
            except (ValueError, RecursionError):
                pass  # the general way says what is wrong
        elif channel.startswith(b"depth") and data.endswith(b"}}"):
            return []
    message = _load(data)
    if not isinstance(message, dict):
        raise DecodeError("a Binance frame is no object")
    if "stream" in message and "data" in message:
        message = message["data"]
        if not isinstance(message, dict):
            return [status("unknown", ts_recv, None, "data is no object")]
    return _general(state, message, ts_recv)


def _general(state: BinanceState, message: dict[str, Any], ts_recv: int) -> list[Event]:
    kind = message.get("e")
    if kind is None and {"u", "s", "b", "a"} <= message.keys():
        kind = "bookTicker"  # spot does not say
    if not isinstance(kind, str):
        kind = ""
    if kind in _ROWS:
        try:
            row = msgspec.convert(message, _ROWS[kind], strict=False)
        except (ValueError, RecursionError, OverflowError) as error:
            return [status("invalid", ts_recv, None, f"{kind}: {error}", channel=kind)]
        return _event(state, row, ts_recv)
    if kind in _OTHERS or "lastUpdateId" in message:
        return []
    if "error" in message or "code" in message:
        return [_refusal(state, message, ts_recv)]
    if "result" in message and "id" in message:
        return _answer(state, message, ts_recv)
    said = clean(kind, 40) or ", ".join(list(message)[:5])
    return [status("unknown", ts_recv, None, f"a message of {said}")]


def _event(
    state: BinanceState, row: TradeRow | AggregateRow | QuoteRow, ts_recv: int
) -> list[Event]:
    market = state.markets.get(row.symbol)
    if market is None:
        return [status("unknown", ts_recv, None, f"symbol {row.symbol}")]
    events: list[Event] = []
    market.data_ns = ts_recv
    if isinstance(row, QuoteRow):
        _quote(events, market, row, ts_recv)
    else:
        numbering = "trade" if isinstance(row, TradeRow) else "aggTrade"
        if not market.numbering:
            market.numbering = numbering
        if market.numbering == numbering:  # the other stream tells the same trades again
            _trade(events, market, row, ts_recv, fetched=False)
    return events


def _trade(
    events: list[Event], market: Market, row: AnyTrade, ts_recv: int, *, fetched: bool
) -> None:
    ts_event, number = venue_ns(row.time_ms), row.number
    if not (ts_event and 0 < number < ID_MAX):
        detail = f"trade {number}: time {row.time_ms}"
        events.append(status("invalid", ts_recv, market, detail, channel="trade"))
        return
    sequence = market.sequence
    if isinstance(row, TradeRow) and row.kind != "MARKET":
        # An insurance fund's or a liquidation's print is nobody's trade, but it has a number.
        if number == sequence.last_id + 1:
            sequence.advance(number, ts_event)
        return
    if not (0.0 < row.price < FINITE and 0.0 < row.size < FINITE):
        detail = f"trade {number}: price {row.price}, size {row.size}"
        events.append(status("invalid", ts_recv, market, detail, channel="trade"))
        return
    trade = Trade(
        market.instrument,
        ts_event,
        ts_recv,
        row.price,
        row.size,
        "sell" if row.buyer_is_maker else "buy",
        str(number),
        0,
        fetched,
    )
    if number == sequence.last_id + 1:
        sequence.advance(number, ts_event)
        events.append(trade)
    else:
        place(events, market, trade, number, fetched=fetched)


def _quote(events: list[Event], market: Market, row: QuoteRow, ts_recv: int) -> None:
    update = row.update
    if not 0 < update < ID_MAX:
        events.append(status("invalid", ts_recv, market, f"quote {update}", channel="bookTicker"))
        return
    if -RENUMBERED_UPDATES < update - market.update <= 0:
        return  # delivered again, or late
    sides = _side(row.bid, row.bid_size), _side(row.ask, row.ask_size)
    if None in sides:
        detail = f"bid {row.bid}, {row.bid_size}, ask {row.ask}, {row.ask_size}"
        events.append(status("invalid", ts_recv, market, detail, channel="bookTicker"))
        return
    market.update = update
    (bid, bid_size), (ask, ask_size) = sides  # type: ignore[misc]
    ts_event = venue_ns(row.time_ms) or ts_recv
    events.append(Quote(market.instrument, ts_event, ts_recv, bid, bid_size, ask, ask_size))


def _side(price: float, size: float) -> tuple[float, float] | None:
    """A best price with its size; zeros where the side is empty; None where it is impossible."""
    if 0.0 < price < FINITE and 0.0 < size < FINITE:
        return price, size
    return (0.0, 0.0) if price == 0.0 == size else None


def _answer(state: BinanceState, message: dict[str, Any], ts_recv: int) -> list[Event]:
    """To a subscription (`null`), or to the list that we ask for instead of a ping."""
    number, result = message["id"], message["result"]
    if result is None and isinstance(number, int) and number in state.unanswered:
        del state.unanswered[number]
        return [status("subscribed", ts_recv, None, f"request {number}")]
    return []


def _refusal(state: BinanceState, message: dict[str, Any], ts_recv: int) -> Event:
    error = message.get("error")
    told = error if isinstance(error, dict) else message
    number = message.get("id")
    if isinstance(number, int):
        state.unanswered.pop(number, None)
    detail = f"{clean(str(told.get('code'))[:20])}: {str(told.get('msg'))[:120]}"
    limited = "Too many" in detail
    return status("rate_limited" if limited else "rejected", ts_recv, None, detail)


def decode_rest(state: BinanceState, stream: str, data: bytes, ts_recv: int) -> list[Event]:
    """Events of one answer to the request in `stream`. Raises `DecodeError`."""
    found = _SYMBOL.search(stream)
    market = state.markets.get(found.group(1)) if found else None
    message = _load(data)
    if isinstance(message, dict) and "code" in message:
        detail = f"{str(message['code'])[:20]}: {str(message.get('msg'))[:120]}"
        return [status("unavailable", ts_recv, market, detail, channel="rest")]
    if not isinstance(message, list):
        raise DecodeError("a Binance REST answer is no list")
    if market is None:
        return [status("unknown", ts_recv, None, "an answer of no symbol of ours", channel="rest")]
    kind: type[FetchedAggregate | FetchedTrade] = (
        FetchedAggregate if "/aggTrades?" in stream else FetchedTrade
    )
    events: list[Event] = []
    bad = 0
    for row in message:
        try:
            _trade(events, market, msgspec.convert(row, kind, strict=False), ts_recv, fetched=True)
        except (ValueError, RecursionError, OverflowError) as error:
            bad += 1
            if bad <= ROWS_SAID:
                events.append(status("invalid", ts_recv, market, str(error), channel="rest"))
    if message and not bad:
        _give_up(events, market, message, kind, ts_recv)
    return events


def _give_up(
    events: list[Event], market: Market, rows: list[Any], kind: type[Any], ts_recv: int
) -> None:
    """What an answer leaves out between its first and its last row, the venue does not have."""
    numbers = [msgspec.convert(row, kind, strict=False).number for row in (rows[0], rows[-1])]
    for hole in market.sequence.cut(numbers[0] - 1, numbers[1] + 1):
        detail = {"first_id": hole.first, "last_id": hole.last}
        events.append(status("gap_lost", ts_recv, market, channel="trade", **detail))  # type: ignore[arg-type]


def _load(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        what = "HTML" if data.lstrip()[:1] == b"<" else "no JSON"
        raise DecodeError(f"a Binance frame is {what}: {type(error).__name__}") from error
