"""The Data API: trades with wallets, by offset (v1) and by cursor (v2).

v1 ignores what it does not know: a request for `condition_id` instead of `market` gets the trades
of all markets. Its offset has a cap, beyond which it is refused; under fault F37 pages repeat much
sooner.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from aiohttp import web

from tapewatch.model.time import NS_PER_S
from tapewatch.simulate.polymarket_clob import refused, reply
from tapewatch.simulate.polymarket_exchange import PolymarketExchange
from tapewatch.simulate.polymarket_ledger import Row
from tapewatch.simulate.polymarket_listing import Listing

LIMIT_V1: Final = 10_000
DEFAULT: Final = 100
LIMIT_V2: Final = 1_000
OFFSET_MAX: Final = 3_000  # observed (protocols 2.5), though 10,000 is documented


class Data:
    """`/trades` and `/v2/trades`."""

    def __init__(self, exchange: PolymarketExchange) -> None:
        self._exchange = exchange

    def routes(self) -> Iterable[tuple[str, str, Callable[[web.Request], Any]]]:
        """Method, path and coroutine of every call."""
        return (
            ("GET", "/trades", self._trades),
            ("GET", "/v2/trades", self._trades_v2),
            ("GET", "/", self._ok),
        )

    async def _ok(self, _: web.Request) -> web.Response:
        return reply({"data": "OK"})

    async def _trades(self, request: web.Request) -> web.Response:
        """v1. `market` is a list with commas; `takerOnly` is true unless said otherwise."""
        query, active = request.query, self._exchange.active
        limit = min(_whole(query.get("limit"), DEFAULT), LIMIT_V1)
        offset = _whole(query.get("offset"), 0)
        repeat = active.find("F37", call="trades")
        if repeat is not None:
            offset = min(offset, int(repeat.params["offset"]))
        if offset > OFFSET_MAX:
            return refused(400, f"max historical activity offset of {OFFSET_MAX} exceeded")
        if active.find("F39", call="trades") is not None:
            return reply(b"[]")
        wanted = [word for word in query.get("market", "").split(",") if word]
        rows = self._rows(wanted, "trades")
        if query.get("takerOnly", "true").lower() != "false":
            rows = (row for row in rows if row.taker)
        rows = _narrowed(rows, query.get("user", ""), query.get("side", ""))
        if query.get("filterType") in {"CASH", "TOKENS"}:
            rows = _large(rows, query["filterType"], _amount(query.get("filterAmount")))
        return reply([_v1(row) for row in islice(rows, offset, offset + limit)])

    async def _trades_v2(self, request: web.Request) -> web.Response:
        """v2. The cursor names the last row that was sent."""
        query = request.query
        limit = min(_whole(query.get("limit"), DEFAULT), LIMIT_V2)
        if self._exchange.active.find("F39", call="v2/trades") is not None:
            return reply({"data": [], "pagination": {"has_more": False, "next_cursor": None}})
        wanted = [query["condition_id"]] if query.get("condition_id") else []
        rows = self._rows(wanted, "v2/trades")
        if query.get("taker_only", "true").lower() != "false":
            rows = (row for row in rows if row.taker)
        rows = _narrowed(rows, query.get("user", ""), query.get("side", ""))
        cursor = query.get("cursor", "")
        if cursor:
            if not cursor.isdecimal():
                return refused(400, "invalid cursor")
            last = int(cursor[:18])
            rows = (row for row in rows if row.order < last)
        page = list(islice(rows, limit + 1))
        more, page = len(page) > limit, page[:limit]
        pages = {"has_more": more, "next_cursor": str(page[-1].order) if more else None}
        return reply({"data": [_v2(row) for row in page], "pagination": pages})

    def _rows(self, wanted: list[str], call: str) -> Iterator[Row]:
        """Settled rows, newest first; of all markets where the filter is not understood."""
        exchange = self._exchange
        for word in wanted:
            listing = exchange.catalogue.by_condition.get(word)
            if listing is not None:
                exchange.want(listing)
        if exchange.active.find("F45", call=call) is not None:
            wanted = []
        now = exchange.now_ns()
        return (row for row in exchange.ledger.rows(wanted) if row.visible_ns <= now)


def _narrowed(rows: Iterator[Row], user: str, side: str) -> Iterator[Row]:
    return (
        row
        for row in rows
        if (not user or row.wallet == user.lower()) and (not side or row.side == side.upper())
    )


def _large(rows: Iterator[Row], kind: str, least: float) -> Iterator[Row]:
    cash = kind == "CASH"
    return (row for row in rows if row.size * (row.price if cash else 1.0) >= least)


def _whole(text: str | None, default: int) -> int:
    return int(text[:9]) if text and text.isdecimal() else default


def _amount(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _name(row: Row) -> str:
    return f"sim-{row.wallet[2:8]}"


def _v1(row: Row) -> dict[str, Any]:
    listing: Listing = row.listing
    return {
        "proxyWallet": row.wallet,
        "side": row.side,
        "asset": row.token,
        "conditionId": listing.condition,
        "size": row.size,
        "price": row.price,
        "timestamp": row.ns // NS_PER_S,
        "title": listing.question,
        "slug": listing.slug,
        "icon": "",
        "eventSlug": listing.event.slug,
        "outcome": listing.outcomes[row.outcome],
        "outcomeIndex": row.outcome,
        "name": _name(row),
        "pseudonym": _name(row),
        "bio": "",
        "profileImage": "",
        "profileImageOptimized": "",
        "transactionHash": row.tx,
    }


def _v2(row: Row) -> dict[str, Any]:
    listing: Listing = row.listing
    return {
        "proxy_wallet": row.wallet,
        "side": row.side,
        "token_id": row.token,
        "condition_id": listing.condition,
        "size": row.size,
        "price": row.price,
        "timestamp": row.ns // NS_PER_S,
        "title": listing.question,
        "slug": listing.slug,
        "icon": "",
        "event_slug": listing.event.slug,
        "outcome": listing.outcomes[row.outcome],
        "outcome_index": row.outcome,
        "name": _name(row),
        "pseudonym": _name(row),
        "transaction_hash": row.tx,
    }
