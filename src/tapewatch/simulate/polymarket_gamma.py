"""Gamma, the catalogue: markets, events and search, with the venue's filters and habits.

Lists in parameters are repeated parameters (a comma is part of a value), arrays in answers are JSON
in strings, closed markets are shown only to those who ask for them, and unknown parameters are
ignored.
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from aiohttp import web
from multidict import MultiMapping

from tapewatch.model.time import NS_PER_S, format_rfc3339
from tapewatch.simulate.polymarket_book import ONE
from tapewatch.simulate.polymarket_clob import refused, reply
from tapewatch.simulate.polymarket_exchange import PolymarketExchange
from tapewatch.simulate.polymarket_listing import EventListing, Listing

MARKETS_PAGE: Final = 100
EVENTS_PAGE: Final = 500
DEFAULT_PAGE: Final = 20
BEFORE_END_NS: Final = 4 * 3_600 * NS_PER_S  # from the start of a game to the end of its market
IDS: Final = 100  # condition ids in one request
_NUMBERS: Final = {
    "liquidity_num_min": ("liquidityNum", 1),
    "liquidity_num_max": ("liquidityNum", -1),
    "volume_num_min": ("volumeNum", 1),
    "volume_num_max": ("volumeNum", -1),
}
_DATES: Final = {
    "start_date_min": ("startDate", 1),
    "start_date_max": ("startDate", -1),
    "end_date_min": ("endDate", 1),
    "end_date_max": ("endDate", -1),
}
Query = MultiMapping[str]


class Gamma:
    """`/markets`, `/events` and `/public-search`."""

    def __init__(self, exchange: PolymarketExchange) -> None:
        self._exchange = exchange

    def routes(self) -> Iterable[tuple[str, str, Callable[[web.Request], Any]]]:
        """Method, path and coroutine of every call."""
        return (
            ("GET", "/markets/keyset", self._markets_keyset),
            ("GET", "/events/keyset", self._events_keyset),
            ("GET", "/markets", self._markets_list),
            ("GET", "/events", self._events_list),
            ("GET", "/markets/{id}", self._market),
            ("GET", "/events/{id}", self._event),
            ("GET", "/markets/slug/{slug}", self._market),
            ("GET", "/events/slug/{slug}", self._event),
            ("GET", "/public-search", self._search),
        )

    async def _markets_keyset(self, request: web.Request) -> web.Response:
        found = self._markets(request.query)
        return _keyset("markets", found, request.query, MARKETS_PAGE)

    async def _events_keyset(self, request: web.Request) -> web.Response:
        return _keyset("events", self._events(request.query), request.query, EVENTS_PAGE)

    async def _markets_list(self, request: web.Request) -> web.Response:
        return _offset(self._markets(request.query), request.query, MARKETS_PAGE)

    async def _events_list(self, request: web.Request) -> web.Response:
        return _offset(self._events(request.query), request.query, EVENTS_PAGE)

    async def _market(self, request: web.Request) -> web.Response:
        where = request.match_info
        for listing in self._exchange.catalogue.markets:
            if listing.id == where.get("id") or listing.slug == where.get("slug"):
                return reply(self.market(listing))
        return _not_found()

    async def _event(self, request: web.Request) -> web.Response:
        where = request.match_info
        for event in self._exchange.catalogue.events:
            if event.id == where.get("id") or event.slug == where.get("slug"):
                return reply(self.event(event))
        return _not_found()

    async def _search(self, request: web.Request) -> web.Response:
        """Events of which every word is part of the title, the slug or a question."""
        query = request.query
        words = query.get("q", "").lower().replace("-", " ").split()
        if not words:
            return refused(422, "q is required")
        size = min(_count(query.get("limit_per_type"), 5), 50)
        start = size * (_count(query.get("page"), 1) - 1)
        found = [
            event
            for event in self._exchange.catalogue.events
            if all(word in _words(event) for word in words)
            and (query.get("events_status") != "active" or _open(event))
        ]
        page = [self.event(event) for event in found[start : start + size]]
        more = {"hasMore": start + size < len(found), "totalResults": len(found)}
        return reply({"events": page, "tags": [], "profiles": [], "pagination": more})

    def _markets(self, query: Query) -> list[dict[str, Any]]:
        if len(query.getall("condition_ids", [])) > IDS:
            return []
        chosen = [one for one in self._candidates(query) if _fits(one, query)]
        rows = [self.market(listing) for listing in chosen]
        for name, (field, sign) in _NUMBERS.items():
            if name in query:
                bound = _number(query[name])
                rows = [row for row in rows if (row[field] - bound) * sign >= 0]
        for name, (field, sign) in _DATES.items():
            if name in query:
                date = query[name]
                rows = [
                    row for row in rows if (row[field] >= date if sign > 0 else row[field] <= date)
                ]
        return _ordered(rows, query)

    def _candidates(self, query: Query) -> Iterable[Listing]:
        """The few that ids name, or all: asking for some of thousands is quick."""
        catalogue = self._exchange.catalogue
        for name, index in (
            ("condition_ids", catalogue.by_condition),
            ("clob_token_ids", catalogue.by_token),
        ):
            if name in query:
                found = {id(one): one for word in query.getall(name) if (one := index.get(word))}
                return sorted(found.values(), key=lambda one: one.number)
        return catalogue.markets

    def _events(self, query: Query) -> list[dict[str, Any]]:
        slugs, ids = set(query.getall("slug", [])), set(query.getall("id", []))
        found = [
            event
            for event in self._exchange.catalogue.events
            if (not slugs or event.slug in slugs)
            and (not ids or event.id in ids)
            and ("closed" not in query or _open(event) != _true(query["closed"]))
        ]
        return _ordered([self.event(event) for event in found], query)

    def event(self, event: EventListing) -> dict[str, Any]:
        """An event with its markets."""
        return {
            **self._event_head(event),
            "markets": [self._market_body(listing) for listing in event.markets],
        }

    def market(self, listing: Listing) -> dict[str, Any]:
        """A market with its event."""
        return {**self._market_body(listing), "events": [self._event_head(listing.event)]}

    def _event_head(self, event: EventListing) -> dict[str, Any]:
        first = event.markets[0]
        volume = sum(self._exchange.ledger.volume.get(m.condition, 0.0) for m in event.markets)
        found: dict[str, Any] = {
            "id": event.id,
            "ticker": event.slug,
            "slug": event.slug,
            "title": event.title,
            "description": f"{event.title} Simulated: nothing of it is real.",
            "resolutionSource": "",
            "startDate": format_rfc3339(first.created_ns, 6),
            "creationDate": format_rfc3339(first.created_ns, 6),
            "endDate": format_rfc3339(first.end_ns, 0),
            "active": True,
            "closed": not _open(event),
            "archived": False,
            "new": False,
            "featured": False,
            "restricted": True,
            "volume": round(volume, 6),
            "openInterest": 0,
            "enableOrderBook": True,
            "negRisk": event.neg_risk,
            "enableNegRisk": event.neg_risk,
            "negRiskAugmented": False,
            "showAllOutcomes": True,
            "tags": [{"id": "1", "label": "Sports", "slug": "sports"}],
        }
        if event.neg_risk:
            found["negRiskMarketID"] = event.group_id
        return found

    def _market_body(self, listing: Listing) -> dict[str, Any]:
        book = self._exchange.books[listing.condition]
        volume = self._exchange.ledger.volume.get(listing.condition, 0.0)
        liquidity = (sum(book.bids.values()) + sum(book.asks.values())) / 200
        updated = format_rfc3339(self._exchange.now_ns(), 6)
        found: dict[str, Any] = {
            "id": listing.id,
            "question": listing.question,
            "conditionId": listing.condition,
            "slug": listing.slug,
            "resolutionSource": "",
            "endDate": format_rfc3339(listing.end_ns, 0),
            "startDate": format_rfc3339(listing.created_ns, 6),
            "liquidity": f"{liquidity:.4f}",
            "liquidityNum": liquidity,
            "liquidityClob": liquidity,
            "description": f"{listing.question} Simulated: nothing of it is real.",
            "outcomes": _strings(listing.outcomes),
            "volume": f"{volume:.6f}",
            "volumeNum": volume,
            "volume24hr": volume,
            "active": listing.active,
            "closed": listing.closed,
            "marketMakerAddress": "",
            "createdAt": format_rfc3339(listing.created_ns, 6),
            "updatedAt": updated,
            "new": False,
            "featured": False,
            "archived": listing.archived,
            "restricted": True,
            "questionID": listing.question_id,
            "enableOrderBook": True,
            "orderPriceMinTickSize": listing.tick / ONE,
            "orderMinSize": listing.min_size,
            "clobTokenIds": self._token_ids(listing),
            "acceptingOrders": listing.accepting,
            "negRisk": listing.event.neg_risk,
            "negRiskOther": False,
            **self._state(listing),
        }
        if listing.event.neg_risk:
            found["negRiskMarketID"] = listing.event.group_id
            found["groupItemTitle"] = listing.label
        return found

    def _state(self, listing: Listing) -> dict[str, Any]:
        """What becomes of a market: its prices now, and its resolution."""
        book = self._exchange.books[listing.condition]
        bid, ask = (best / ONE for best in book.best)
        start = format_rfc3339(listing.end_ns - BEFORE_END_NS, 0)
        found: dict[str, Any] = {
            "spread": round(ask - bid, 4),
            "lastTradePrice": float(book.last or 0),
            "bestBid": bid,
            "bestAsk": ask,
            "outcomePrices": _strings(_outcome_prices(listing, (bid + ask) / 2)),
            "umaResolutionStatuses": _strings((listing.uma,) if listing.uma else ()),
            "secondsDelay": listing.seconds_delay,
            "feesEnabled": False,
            "ready": False,
            "funded": False,
            "sportsMarketType": "moneyline",
            "gameStartTime": _spaced(start),
        }
        if listing.uma:
            found["umaResolutionStatus"] = listing.uma
        if listing.closed:
            found["closedTime"] = _spaced(format_rfc3339(listing.closed_ns, 0))
        return found

    def _token_ids(self, listing: Listing) -> str:
        if listing.hidden_tokens is not None:
            return listing.hidden_tokens
        if self._exchange.active.find("F44", listing.condition) is not None:
            return _strings((listing.condition, listing.question_id))
        return _strings((listing.yes, listing.no))


def _not_found() -> web.Response:
    return reply({"type": "not found error", "error": "id not found"}, 404)


def _spaced(time: str) -> str:
    """`2026-05-09 02:07:01+00`, which is not what the other times look like."""
    return time.replace("T", " ").replace("Z", "+00")


def _outcome_prices(listing: Listing, mid: float) -> tuple[str, str]:
    if listing.winner >= 0:
        return ("1", "0") if listing.winner == 0 else ("0", "1")
    return f"{mid:.5g}", f"{1 - mid:.5g}"


def _strings(values: Sequence[str]) -> str:
    """A JSON array as Gamma writes it into a string."""
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"


def _words(event: EventListing) -> str:
    parts = [event.title, event.slug, *(one.question + one.slug for one in event.markets)]
    return " ".join(parts).lower().replace("-", " ")


def _open(event: EventListing) -> bool:
    return any(not listing.closed for listing in event.markets)


def _fits(listing: Listing, query: Query) -> bool:
    named: dict[str, tuple[str, ...]] = {
        "condition_ids": (listing.condition,),
        "clob_token_ids": (listing.yes, listing.no) if listing.hidden_tokens is None else (),
        "slug": (listing.slug,),
        "id": (listing.id,),
        "question_ids": (listing.question_id,),
        "uma_resolution_status": (listing.uma,),
        "resolution_status": ("resolved" if listing.winner >= 0 else "active",),
    }
    for name, own in named.items():
        if name in query and not set(query.getall(name)) & set(own):
            return False
    wanted = _true(query.get("closed", "false"))
    if listing.closed != wanted:
        return False
    for name, value in (("active", listing.active), ("archived", listing.archived)):
        if name in query and _true(query[name]) != value:
            return False
    return "tag_id" not in query or "1" in query.getall("tag_id")


def _true(text: str) -> bool:
    return text.lower() == "true"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _count(text: str | None, default: int) -> int:
    return max(1, int(text[:9])) if text and text.isdecimal() else default


def _ordered(rows: list[dict[str, Any]], query: Query) -> list[dict[str, Any]]:
    field = query.get("order", "")
    if not field or any(not isinstance(row.get(field), str | int | float) for row in rows):
        return rows
    falling = not _true(query.get("ascending", "true"))
    key: Callable[[dict[str, Any]], Any] = lambda row: row[field]  # noqa: E731
    if field == "id":
        key = lambda row: int(row["id"])  # noqa: E731
    return sorted(rows, key=key, reverse=falling)


def _keyset(key: str, rows: list[dict[str, Any]], query: Query, most: int) -> web.Response:
    """A page after a cursor. `next_cursor` is absent on the last page; `offset` is refused, and a
    cursor under any other name than `after_cursor` is not seen."""
    if "offset" in query:
        return reply({"type": "validation error", "error": "offset is not supported"}, 422)
    size = min(_count(query.get("limit"), DEFAULT_PAGE), most)
    start = 0
    if query.get("after_cursor"):
        try:
            after = base64.b64decode(query["after_cursor"], b"-_", validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return reply({"type": "validation error", "error": "invalid cursor"}, 422)
        start = next((at + 1 for at, row in enumerate(rows) if row["id"] == after), len(rows))
    page = rows[start : start + size]
    body: dict[str, Any] = {key: page}
    if start + size < len(rows):
        body["next_cursor"] = base64.urlsafe_b64encode(page[-1]["id"].encode()).decode()
    return reply(body)


def _offset(rows: list[dict[str, Any]], query: Query, most: int) -> web.Response:
    """The old way: a bare list."""
    size = min(_count(query.get("limit"), DEFAULT_PAGE), most)
    offset = query.get("offset", "0")
    start = int(offset[:9]) if offset.isdecimal() else 0
    return reply(rows[start : start + size])
