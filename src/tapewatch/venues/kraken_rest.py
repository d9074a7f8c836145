"""Kraken's REST answers, and the requests for them: trades of a gap or a silence, system state.

Errors come as `{"error": [...]}` in an HTTP 200. A page of trades serves both purposes at once: ids
that are missing fill their gap, and ids beyond the newest that the socket brought, if they are old
enough to have arrived, prove that the socket is mute.
"""

import re
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote

from msgspec import Struct

from tapewatch.model.errors import DecodeError
from tapewatch.model.events import Ask, StatusKind, Trade
from tapewatch.model.time import NS_PER_MS, NS_PER_S
from tapewatch.venues.base import Fetch
from tapewatch.venues.kraken_state import (
    Market,
    Reading,
    Subscription,
    clock_ahead_ns,
    epoch_ns,
    halt,
    load,
    spoken,
)
from tapewatch.venues.kraken_symbols import rest_name
from tapewatch.venues.kraken_trades import TRADE_ID_MAX, aggressor, lose, place, positive
from tapewatch.venues.kraken_v1 import number

PAGE: Final = 1000  # rows an answer may have
OVERLAP_NS: Final = NS_PER_S  # asked for again, so that a gap's last known neighbour is in the page
GRACE_NS: Final = 3 * NS_PER_S  # a trade younger than this may still be on its way to us
# Without ids only time tells what is new; v1 and REST round it differently.
SAME_NS: Final = NS_PER_MS
RESUBSCRIBES: Final = 3  # afterwards a mute socket is dropped

_TRADES: Final = "/0/public/Trades"
_SYSTEM: Final = "/0/public/SystemStatus"
_PAIR: Final = re.compile(r"[?&]pair=([A-Za-z0-9./]{1,40})(?:&|$)", re.ASCII)


class _Row(Struct):
    trade: Trade
    number: int  # 0 where the row has none


def fetch_trades(rest_url: str, symbol: str, since_ns: int) -> Fetch:
    """The request for trades of `symbol` after `since_ns` (the venue's time)."""
    since = max(since_ns - OVERLAP_NS, 0)
    query = f"{_TRADES}?pair={quote(rest_name(symbol))}&since={since}&count={PAGE}"
    return Fetch(rest_url + query, f"rest:{query}")


def fetch_system(rest_url: str) -> Fetch:
    """The request for the venue's own state."""
    return Fetch(rest_url + _SYSTEM, f"rest:{_SYSTEM}")


def decode_rest(reading: Reading, stream: str, data: bytes) -> None:
    """Decode one answer to the request in `stream`. Raises `DecodeError`."""
    message = load(data)
    if not isinstance(message, dict):
        raise DecodeError("a Kraken REST answer is not an object")
    path = stream.removeprefix("rest:")
    found = _PAIR.search(path)
    market = reading.state.market(found.group(1)) if found else None
    errors = message.get("error")
    if errors:
        text = spoken(errors)
        limited = any(word in text for word in ("Rate limit", "Too many", "Throttled"))
        unknown = text.startswith("EQuery:Unknown asset pair")
        kind: StatusKind = "rate_limited" if limited else "rejected" if unknown else "unavailable"
        reading.say(kind, market, text, channel="rest")
        return
    result = message.get("result")
    if not isinstance(result, dict):
        raise DecodeError("a Kraken REST answer has no result")
    if path.startswith(_SYSTEM):
        halt(reading, result.get("status"))
    elif path.startswith(_TRADES) and market is not None:
        _trades(reading, market, result)
    else:
        reading.say("unknown", market, f"answer to {path}", channel="rest")


def _trades(reading: Reading, market: Market, result: dict[str, Any]) -> None:
    # The key of the rows is one of the pair's other names.
    lists = [value for key, value in result.items() if key != "last"]
    if len(lists) != 1 or not isinstance(lists[0], list):
        raise DecodeError("Kraken's trades are not one list")
    rows: list[_Row] = []
    for index, item in enumerate(lists[0]):
        row = _row(market, item, index, reading.ts_recv)
        if row is None:
            reading.say("invalid", market, f"trade row {index}", channel="rest")
        else:
            rows.append(row)
    rows.sort(key=lambda row: row.number)
    settled_ns = reading.ts_recv - clock_ahead_ns(reading.state) - GRACE_NS
    asked_ns = 0 if market.trades is None else market.trades.asked_ns
    newest_ns = market.sequence.last_ns or asked_ns
    unseen = 0
    for row in rows:
        if row.number and reading.numbered:
            unseen += _numbered(reading, market, row, settled_ns)
        # Trades of v1 have no ids: only time can be compared.
        elif newest_ns + SAME_NS < row.trade.ts_event <= settled_ns:
            unseen += 1
            market.sequence.last_ns = max(market.sequence.last_ns, row.trade.ts_event)
            reading.events.append(row.trade)
    if rows:
        _close(reading, market, rows)
    if unseen and reading.state.link_up and market.trades is not None:
        _mute(reading, market, market.trades, unseen)


def _numbered(reading: Reading, market: Market, row: _Row, settled_ns: int) -> int:
    """1 when the socket should have brought this trade."""
    if row.number <= market.sequence.last_id:
        if market.sequence.missing(row.number):
            place(reading, market, row.trade, row.number, "rest")
        return 0
    if row.trade.ts_event > settled_ns:
        return 0
    place(reading, market, row.trade, row.number, "rest")
    return 1


def _close(reading: Reading, market: Market, rows: list[_Row]) -> None:
    """What the page covers and does not have is lost; what is beyond it is on the next page."""
    first, last = rows[0], rows[-1]
    lose(reading, market, market.sequence.cut(first.number, last.number))
    for hole in market.sequence.holes:
        if last.number < hole.first and last.trade.ts_event > hole.since_ns:
            hole.since_ns, hole.asked_ns, hole.tries = last.trade.ts_event, 0, 0


def _mute(reading: Reading, market: Market, feed: Subscription, unseen: int) -> None:
    ask: Ask = "resubscribe" if feed.attempts < RESUBSCRIBES else "reconnect"
    feed.attempts += 1
    feed.again(reading.ts_recv)
    detail = f"the venue has {unseen} trades that the socket did not bring"
    reading.say("mute", market, detail, channel="trade", ask=ask, value=float(unseen))


def _row(market: Market, item: Any, index: int, ts_recv: int) -> _Row | None:
    """`[price, volume, seconds, b or s, order type, misc, id]`; old rows end before the id."""
    if not isinstance(item, list) or len(item) < 6:
        return None
    price, size, side = number(item[0]), number(item[1]), aggressor(item[3])
    seconds = item[2] if isinstance(item[2], Decimal | int) else None
    trade_id = item[6] if len(item) > 6 else 0
    if price is None or size is None or side is None or seconds is None:
        return None
    if not isinstance(trade_id, int) or not 0 <= trade_id < TRADE_ID_MAX:
        return None
    paid, amount, ts_event = positive(price), positive(size), epoch_ns(Decimal(seconds))
    if paid is None or amount is None or not ts_event:
        return None
    text = str(trade_id) if trade_id else ""
    trade = Trade(
        market.instrument, ts_event, ts_recv, paid, amount, side, text, index, backfilled=True
    )
    return _Row(trade, trade_id)
