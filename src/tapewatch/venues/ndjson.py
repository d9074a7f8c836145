"""Rows that somebody already made sense of, as `tapewatch import` writes them: no wire format.

    {"trade":{"instrument":"kraken:BTC/USD","ts_event":1561939203172000000,"price":10749.4,...}}
    {"bar":{"instrument":"bitfinex:BTCUSD","ts_event":1391212860000000000,"interval_ns":60000000000,...}}
    {"book":{"instrument":"polymarket:game/1","ts_event":1750212212579000000,"bids":[[0.29,1507.0]]}}

The fields are those of `Trade`, `Bar` and `Book` without `ts_recv`, which is the frame's. A book's
row is what one message changes: new sizes of levels, 0 where one is gone, or, with `snapshot`, all
of them. There is nothing to connect to.
"""

from collections.abc import Iterable
from math import inf, isfinite
from typing import ClassVar

import msgspec
from msgspec import Struct

from tapewatch.model.errors import ConfigError, DecodeError, Refused
from tapewatch.model.events import Bar, Book, Event, Status, Trade
from tapewatch.model.inputs import Frame, Link
from tapewatch.model.instrument import Side, split_id
from tapewatch.model.outputs import Fault
from tapewatch.model.text import clean
from tapewatch.model.time import TS_MAX_NS, TS_MIN_NS
from tapewatch.venues.base import Budget, Endpoint, Fetch, Poll
from tapewatch.venues.row_books import PRICE_MAX, RowBook


class TradeRow(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One trade; units as in `Trade`."""

    instrument: str
    ts_event: int
    price: float
    size: float
    aggressor: Side = "unknown"
    trade_id: str = ""
    taker: str = ""
    maker: str = ""


class BarRow(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One candle; units as in `Bar`."""

    instrument: str
    ts_event: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    interval_ns: int
    trades: int = -1


class BookRow(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """What one message changes in a book: (price, new size) pairs in any order."""

    instrument: str
    ts_event: int
    bids: tuple[tuple[float, float], ...] = ()
    asks: tuple[tuple[float, float], ...] = ()
    snapshot: bool = False
    mirror_of: str = ""


AnyRow = TradeRow | BarRow | BookRow


class Row(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One frame: exactly one of them."""

    trade: TradeRow | None = None
    bar: BarRow | None = None
    book: BookRow | None = None


class NdjsonState(Struct):
    """The instruments that are expected, for quick look-up, and books by instrument."""

    known: frozenset[str] = frozenset()
    books: dict[str, RowBook] = {}


_decode = msgspec.json.Decoder(Row).decode


class Ndjson(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Imported rows. `ids` are the instruments in them; rows of others are refused."""

    name: ClassVar[str] = "ndjson"
    state_type: ClassVar[type] = NdjsonState

    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.ids:
            raise ConfigError("ids is empty; name the instruments of the rows")
        for instrument in self.ids:
            split_id(instrument)

    def instruments(self) -> tuple[str, ...]:
        """Ids of what the rows are about."""
        return self.ids

    def endpoint(self) -> Endpoint:
        """There is none. Raises `Refused`."""
        raise Refused("Imported rows cannot be watched live; replay the tape that has them.")

    def budgets(self) -> tuple[Budget, ...]:
        """Nobody to ask."""
        return ()

    def streams(self, state: NdjsonState, /) -> tuple[str, ...]:  # noqa: ARG002  the contract's
        """None."""
        return ()

    def subscribe(self, state: NdjsonState, stream: str, /) -> tuple[bytes, ...]:  # noqa: ARG002  the contract's
        """Nobody to tell."""
        return ()

    def resubscribe(self, state: NdjsonState, fault: Fault, /) -> tuple[bytes, ...]:  # noqa: ARG002  the contract's
        """Nobody to tell."""
        return ()

    def fetch(self, state: NdjsonState, fault: Fault, /) -> Fetch | None:  # noqa: ARG002  the contract's
        """Nobody to ask."""
        return None

    def polls(self, state: NdjsonState, /) -> tuple[Poll, ...]:  # noqa: ARG002  the contract's
        """Nobody to ask."""
        return ()

    def start(self) -> NdjsonState:
        """Nothing but the ids."""
        return NdjsonState(frozenset(self.ids))

    def decode(self, state: NdjsonState, frame: Frame, /) -> Iterable[Event]:
        """The event of one row, or the `Status` of an impossible one."""
        try:
            row = _decode(frame.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(f"not an imported row: {clean(str(error))}") from error
        trade, ts_recv = row.trade, frame.ts_recv
        if trade is not None and row.bar is None and row.book is None:
            plain = (  # nearly all of them; in words in `impossible`
                trade.instrument in state.known
                and TS_MIN_NS <= trade.ts_event <= TS_MAX_NS
                and 0.0 < trade.price < inf
                and 0.0 < trade.size < inf
            )
            if not plain:
                return (_invalid(frame, _wrong(state, trade)),)
            return (
                Trade(
                    trade.instrument,
                    trade.ts_event,
                    ts_recv,
                    trade.price,
                    trade.size,
                    trade.aggressor,
                    trade.trade_id,
                    0,
                    False,
                    trade.taker,
                    trade.maker,
                ),
            )
        found = row.bar if row.book is None else row.book
        if found is None or trade is not None or (row.bar is not None and row.book is not None):
            raise DecodeError("an imported row has one trade, one bar or one book")
        wrong = _wrong(state, found)
        if wrong:
            return (_invalid(frame, wrong),)
        if isinstance(found, BookRow):
            return (_book(state, found, ts_recv),)
        return (_bar(found, ts_recv),)

    def on_link(self, state: NdjsonState, link: Link, /) -> Iterable[Event]:  # noqa: ARG002
        """Nothing depends on a connection."""
        return ()

    def on_timer(self, state: NdjsonState, now: int, /) -> Iterable[Event]:  # noqa: ARG002
        """There are no deadlines."""
        return ()


def _wrong(state: NdjsonState, row: AnyRow) -> str:
    """What makes the row impossible, empty when nothing does."""
    known = row.instrument in state.known
    if known and isinstance(row, BookRow) and row.mirror_of:
        known = row.mirror_of in state.known
    if not known:
        return f"a row of {clean(row.instrument, 60)}, which is not expected here"
    return impossible(row)


def _invalid(frame: Frame, wrong: str) -> Status:
    return Status(frame.source, "", frame.ts_recv, frame.ts_recv, "invalid", wrong)


def _bar(row: BarRow, ts_recv: int) -> Bar:
    return Bar(
        row.instrument,
        row.ts_event,
        ts_recv,
        row.open,
        row.high,
        row.low,
        row.close,
        row.volume,
        row.interval_ns,
        row.trades,
    )


def _book(state: NdjsonState, row: BookRow, ts_recv: int) -> Book:
    """The book after one message."""
    book = state.books.get(row.instrument)
    if book is None:
        book = state.books[row.instrument] = RowBook()
    if row.snapshot:
        book.clear()
    book.bids.put(row.bids)
    book.asks.put(row.asks)
    bids, asks = book.bids.best(), book.asks.best()
    return Book(row.instrument, row.ts_event, ts_recv, bids, asks, row.mirror_of)


def impossible(row: AnyRow) -> str:
    """What no market can do, in words; empty when the values are possible."""
    if not TS_MIN_NS <= row.ts_event <= TS_MAX_NS:
        return "its time is not between 2009 and 2100"
    if isinstance(row, BookRow):
        return _wrong_book(row)
    return _wrong_trade(row) if isinstance(row, TradeRow) else _wrong_bar(row)


def _wrong_trade(row: TradeRow) -> str:
    if not (isfinite(row.price) and row.price > 0.0):
        return f"the price is {row.price:g}"
    if not (isfinite(row.size) and row.size > 0.0):
        return f"the size is {row.size:g}"
    return ""


def _wrong_bar(row: BarRow) -> str:
    prices = (row.open, row.high, row.low, row.close)
    if not all(isfinite(price) and price > 0.0 for price in prices):
        return "a price is not positive"
    if row.low > min(prices) or row.high < max(prices):
        return "high and low do not enclose open and close"
    if not (isfinite(row.volume) and row.volume >= 0.0):
        return f"the volume is {row.volume:g}"
    return "" if row.interval_ns > 0 else "the interval is not positive"


def _wrong_book(row: BookRow) -> str:
    for price, size in row.bids + row.asks:
        if not 0.0 < price <= PRICE_MAX:
            return f"the price of a level is {price:g}"
        if not (isfinite(size) and size >= 0.0):
            return f"the size of a level is {size:g}"
    return ""
