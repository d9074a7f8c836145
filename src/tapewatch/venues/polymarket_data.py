"""Polymarket's Data API: what to ask about trades, and what its rows say. Pure wire format; which
rows are new is `polymarket_trades`' business.

Two generations. v1 gives pages by offset, newest first, of several markets at once, and forgets
what lies further back than some thousand rows. v2 has cursors, and is asked for one market. Both
know no id of a trade, give its time in whole seconds, and only after settlement.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal
from urllib.parse import urlencode

import msgspec
from msgspec import Struct, field

from tapewatch.model.errors import DecodeError
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.base import Fetch
from tapewatch.venues.polymarket_books import SCALE, SIZE_MAX, units
from tapewatch.venues.polymarket_catalogue import number_of
from tapewatch.venues.polymarket_wire import time_ns

Generation = Literal["v2", "v1"]

V1: Final = "/trades"
V2: Final = "/v2/trades"
PATHS: Final = (V1, V2)
ROWS: Final = 500  # a page: a row has up to 1 kB, and a frame has a bound
FULL: Final = 100  # a page of so many is taken to be full: limits have shrunk before
OVERLAP: Final = 50  # rows that a page by offset repeats: new trades push older ones on
_ID: Final = 80  # characters of a hash or wallet that are kept


class Row(Struct, frozen=True, array_like=True, gc=False):
    """One trade of a taker. `price` in units of 1/`SCALE`, `size` in shares, `ts_ns` a whole
    second. `transaction` may be shared by many trades."""

    condition: str
    asset: str
    transaction: str
    wallet: str
    buys: bool
    price: int
    size: float
    ts_ns: int

    def key(self) -> str:
        """Equal for equal rows; that two trades are equal is possible. Its time (s) comes first."""
        side = "b" if self.buys else "s"
        what = f"{self.transaction}/{self.asset}/{self.wallet}"
        return f"{self.ts_ns // NS_PER_S}/{what}/{side}/{self.price}/{self.size!r}"


class Sweep(Struct):
    """The trades of a batch of markets, as far as they are known. `newest_ns`: of the newest.
    `known`: how often a row was seen, by its key, oldest first. `began`: there was a sweep before.

    Of a sweep under way: `rows`, newest first; `page`: the number that is to come, 0: none is
    under way; `cursor` of it. `frozen`: instruments of which the service has nothing new although
    there must be; that was said.
    """

    newest_ns: int = 0
    began: bool = False
    known: dict[str, int] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    page: int = 0
    cursor: str = ""
    frozen: list[str] = field(default_factory=list)


class Answer(Struct, frozen=True):
    """One page, newest first. `rows`: those that can be read; `given`: how many there were.
    `problems`: one sentence each; `cursor`: of the next page (v2), empty after the last."""

    rows: tuple[Row, ...]
    given: int
    problems: tuple[str, ...] = ()
    cursor: str = ""


class _V1(Struct, rename="camel"):
    asset: str
    condition_id: str
    side: str
    price: Any
    size: Any
    timestamp: Any
    transaction_hash: str = ""
    proxy_wallet: str = ""


class _V2(Struct):
    token_id: str
    condition_id: str
    side: str
    price: Any
    size: Any
    timestamp: Any
    transaction_hash: str = ""
    proxy_wallet: str = ""


class _Pages(Struct, frozen=True):
    has_more: bool = False
    next_cursor: str | None = None


class _Envelope(Struct):
    data: list[msgspec.Raw]
    pagination: _Pages = _Pages()


_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_envelope = msgspec.json.Decoder(_Envelope).decode
_v1 = msgspec.json.Decoder(_V1).decode
_v2 = msgspec.json.Decoder(_V2).decode


def ask_trades(
    data_url: str,
    generation: Generation,
    conditions: Sequence[str],
    batch: int,
    *,
    page: int = 0,
    offset: int = 0,
    cursor: str = "",
) -> Fetch:
    """The request for one page of trades of takers: of `conditions`, one of them for v2. `batch`
    and `page` are for the stream: `rest:/trades?batch=3&page=0`."""
    pairs = [("limit", str(ROWS))]
    if generation == "v1":
        path = V1
        pairs += [("market", ",".join(conditions)), ("takerOnly", "true"), ("offset", str(offset))]
    else:
        path = V2
        pairs += [("condition_id", conditions[0]), ("taker_only", "true")]
        if cursor:
            pairs.append(("cursor", cursor))
    url = f"{data_url}{path}?{urlencode(pairs, safe=',')}"
    return Fetch(url, f"rest:{path}?batch={batch}&page={page}", "data")


def read_trades(data: bytes) -> Answer:
    """A page of either generation. Raises `DecodeError` for what is none."""
    try:
        decode: Callable[[msgspec.Raw], _V1 | _V2]
        if data.lstrip()[:1] == b"[":
            rows, cursor, decode = _raws(data), "", _v1
        else:
            envelope = _envelope(data)
            rows, pages, decode = envelope.data, envelope.pagination, _v2
            cursor = (pages.next_cursor or "") if pages.has_more else ""
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DecodeError(f"trades of Polymarket cannot be read: {clean(str(error))}") from error
    found: list[Row] = []
    problems: list[str] = []
    for raw in rows:
        try:
            one = _row(decode(raw))
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            one = clean(str(error))
        if isinstance(one, Row):
            found.append(one)
        else:
            problems.append(one)
    return Answer(tuple(found), len(rows), tuple(problems), cursor)


def _row(row: _V1 | _V2) -> Row | str:
    price, size, ts_ns = number_of(row.price), number_of(row.size), time_ns(row.timestamp)
    ticks = units(price)
    if not (0 < ticks < SCALE and 0.0 < size < SIZE_MAX and ts_ns):
        return clean(f"trade: price {row.price}, size {row.size}, time {row.timestamp}")
    side = row.side.upper()
    if side not in {"BUY", "SELL"}:
        return clean(f"trade: side {row.side}")
    return Row(
        row.condition_id.lower()[:_ID],
        (row.asset if isinstance(row, _V1) else row.token_id)[:_ID],
        _id(row.transaction_hash),
        _id(row.proxy_wallet),
        side == "BUY",
        ticks,
        size,
        ts_ns - ts_ns % NS_PER_S,
    )


def _id(text: str) -> str:
    """A hash or an address in one spelling; empty for what is none."""
    return text.lower() if text.isascii() and text.isalnum() and len(text) <= _ID else ""
