"""The CLOB's public REST calls, with its words for errors, and the faults of its books."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec import Struct, json

from tapewatch.model.time import NS_PER_S, format_rfc3339
from tapewatch.simulate.polymarket_book import ONE, PRICES, Face
from tapewatch.simulate.polymarket_exchange import PolymarketExchange
from tapewatch.simulate.polymarket_listing import Listing

BATCH: Final = 500  # tokens of one POST (protocols 2.7)
TOKEN_DIGITS: Final = 78
PAGE: Final = 500  # markets of one page of `/markets`
START, END = "MA==", "LTE="  # its cursors
GHOST: Final = '"bids":[{"price":"0.01","size":"1000"}],"asks":[{"price":"0.99","size":"1000"}]'

INVALID_ID: Final = "Invalid token id"
NO_BOOK: Final = "No orderbook exists for the requested token id"
INVALID_PAYLOAD: Final = "Invalid payload"
INVALID_SIDE: Final = "Invalid side"
TOO_MANY: Final = "Payload exceeds the limit"
NO_MARKET: Final = "market not found"


class _Ask(Struct):
    """One item of a POST."""

    token_id: str
    side: str = ""


_asks = msgspec.json.Decoder(list[_Ask]).decode
Answer = Callable[[Face], Any]


def reply(body: Any, status: int = 200) -> web.Response:
    """JSON; bytes are JSON already."""
    data = body if isinstance(body, bytes) else json.encode(body)
    return web.Response(body=data, status=status, content_type="application/json")


def refused(status: int, words: str) -> web.Response:
    """The CLOB's and the other services' form of an error."""
    return reply({"error": words}, status)


class Clob:
    """`/book`, `/books` and the others."""

    def __init__(self, exchange: PolymarketExchange) -> None:
        self._exchange = exchange
        self._stale: dict[str, bytes] = {}  # by token, while fault F24 lasts
        self.asked = 0  # books, over all requests

    def routes(self) -> Iterable[tuple[str, str, Callable[[web.Request], Any]]]:
        """Method, path and coroutine of every call."""
        one = self._one
        many = self._many
        return (
            ("GET", "/ok", self._ok),
            ("GET", "/time", self._time),
            ("GET", "/book", one(self._book)),
            ("POST", "/books", self._books),
            ("GET", "/midpoint", one(lambda face: {"mid": _mid(face)})),
            ("POST", "/midpoints", many(_mid)),
            ("GET", "/price", self._price),
            ("POST", "/prices", many(_prices)),
            ("GET", "/spread", one(lambda face: {"spread": _spread(face)})),
            ("POST", "/spreads", many(_spread)),
            ("GET", "/last-trade-price", one(self._last)),
            ("POST", "/last-trades-prices", self._lasts),
            ("GET", "/tick-size", one(lambda face: {"minimum_tick_size": self._tick(face)})),
            ("GET", "/neg-risk", one(self._neg_risk)),
            ("GET", "/fee-rate", one(lambda _: {"base_fee": 0})),
            ("GET", "/markets", self._markets),
            ("GET", "/markets/{condition}", self._market),
            ("GET", "/markets-by-token/{token}", self._by_token),
        )

    async def _ok(self, _: web.Request) -> web.Response:
        return reply(b'"OK"')

    async def _time(self, _: web.Request) -> web.Response:
        return reply(self._exchange.now_ns() // NS_PER_S)

    def _one(self, answer: Answer) -> Callable[[web.Request], Any]:
        async def call(request: web.Request) -> web.Response:
            token = request.query.get("token_id", "")
            face = self._exchange.book(token)
            if face is None:
                return self._unknown(token)
            return reply(answer(face))

        return call

    def _many(self, answer: Answer) -> Callable[[web.Request], Any]:
        async def call(request: web.Request) -> web.Response:
            asks = await self._read(request)
            if isinstance(asks, web.Response):
                return asks
            found = {ask.token_id: self._exchange.book(ask.token_id) for ask in asks}
            return reply({name: answer(face) for name, face in found.items() if face})

        return call

    async def _read(self, request: web.Request) -> list[_Ask] | web.Response:
        try:
            asks = _asks(await request.read())
        except msgspec.DecodeError:
            return refused(400, INVALID_PAYLOAD)
        return refused(400, TOO_MANY) if len(asks) > BATCH else asks

    async def _books(self, request: web.Request) -> web.Response:
        asks = await self._read(request)
        if isinstance(asks, web.Response):
            return asks
        found = [self._exchange.book(ask.token_id) for ask in asks]
        return reply(b"[" + b",".join([self._book(face) for face in found if face]) + b"]")

    def _book(self, face: Face) -> bytes:
        """The book as REST shows it, faults F23 and F24 included."""
        self.asked += 1
        active = self._exchange.active
        listing = self._exchange.catalogue.by_token[face.token]
        self._exchange.want(listing)
        if not active.any:
            return face.json
        condition = listing.condition
        if active.find("F24", condition) is not None:
            return self._stale.setdefault(face.token, face.json)
        self._stale.pop(face.token, None)
        if active.find("F23", condition) is not None:
            return face.other(GHOST)
        return face.json

    async def _price(self, request: web.Request) -> web.Response:
        token, side = request.query.get("token_id", ""), request.query.get("side", "")
        face = self._exchange.book(token)
        if face is None:
            return self._unknown(token)
        if side.upper() not in {"BUY", "SELL"}:
            return refused(400, INVALID_SIDE)
        return reply({"price": _prices(face)[side.upper()]})

    def _last(self, face: Face) -> dict[str, str]:
        listing = self._exchange.catalogue.by_token[face.token]
        row = next(self._exchange.ledger.rows([listing.condition]), None)
        return {"price": face.last or "0.5", "side": row.side if row else ""}

    async def _lasts(self, request: web.Request) -> web.Response:
        asks = await self._read(request)
        if isinstance(asks, web.Response):
            return asks
        found = {ask.token_id: self._exchange.book(ask.token_id) for ask in asks}
        rows = [{**self._last(face), "token_id": token} for token, face in found.items() if face]
        return reply(rows)

    def _tick(self, face: Face) -> float:
        return self._exchange.catalogue.by_token[face.token].tick / ONE

    def _neg_risk(self, face: Face) -> dict[str, bool]:
        return {"neg_risk": self._exchange.catalogue.by_token[face.token].event.neg_risk}

    async def _markets(self, request: web.Request) -> web.Response:
        cursor = request.query.get("next_cursor", START)
        markets = self._exchange.catalogue.markets
        start = 0 if cursor == START else int(cursor) if cursor.isdecimal() else len(markets)
        page = markets[start : start + PAGE]
        more = start + PAGE < len(markets)
        return reply(
            {
                "limit": PAGE,
                "count": len(page),
                "next_cursor": str(start + PAGE) if more else END,
                "data": [self._object(one) for one in page],
            }
        )

    async def _market(self, request: web.Request) -> web.Response:
        listing = self._exchange.catalogue.by_condition.get(request.match_info["condition"])
        return reply(self._object(listing)) if listing else refused(404, NO_MARKET)

    async def _by_token(self, request: web.Request) -> web.Response:
        listing = self._exchange.catalogue.by_token.get(request.match_info["token"])
        if listing is None:
            return refused(404, NO_MARKET)
        return reply(
            {
                "condition_id": listing.condition,
                "primary_token_id": listing.yes,
                "secondary_token_id": listing.no,
            }
        )

    def _unknown(self, token: str) -> web.Response:
        if token.isdecimal() and len(token) <= TOKEN_DIGITS:
            return refused(404, NO_BOOK)
        return refused(400, INVALID_ID)

    def _object(self, listing: Listing) -> dict[str, Any]:
        """The CLOB's own view of a market: closed ones may well accept orders, it says."""
        book = self._exchange.books[listing.condition]
        hidden = listing.hidden_tokens is not None
        faces = (book.yes, book.no)
        return {
            "enable_order_book": listing.winner < 0,
            "active": listing.active,
            "closed": listing.closed,
            "archived": listing.archived,
            "accepting_orders": listing.accepting,
            "accepting_order_timestamp": format_rfc3339(listing.created_ns, 0),
            "minimum_order_size": listing.min_size,
            "minimum_tick_size": listing.tick / ONE,
            "condition_id": listing.condition,
            "question_id": listing.question_id,
            "question": listing.question,
            "description": listing.question,
            "market_slug": listing.slug,
            "end_date_iso": format_rfc3339(listing.end_ns, 0),
            "game_start_time": None,
            "seconds_delay": listing.seconds_delay,
            "fpmm": "",
            "maker_base_fee": 0,
            "taker_base_fee": 0,
            "notifications_enabled": True,
            "neg_risk": listing.event.neg_risk,
            "neg_risk_market_id": listing.event.group_id,
            "neg_risk_request_id": "",
            "icon": "",
            "image": "",
            "rewards": {"rates": None, "min_size": 0, "max_spread": 0},
            "is_50_50_outcome": False,
            "tokens": [
                {
                    "token_id": "" if hidden else face.token,
                    "outcome": listing.outcomes[place],
                    "price": _value(listing, place, face),
                    "winner": listing.winner == place,
                }
                for place, face in enumerate(faces)
            ],
            "tags": ["Sports", "Simulated"],
        }


def _value(listing: Listing, place: int, face: Face) -> float:
    """The price of an outcome: 1 or 0 once it is decided."""
    if listing.winner >= 0:
        return float(listing.winner == place)
    return sum(face.best) / 2 / ONE


def _mid(face: Face) -> str:
    """Half way between the best; an empty side counts as 0 or 1, as at the venue."""
    return f"{sum(face.best) / 2 / ONE:.5f}".rstrip("0").rstrip(".")


def _prices(face: Face) -> dict[str, str]:
    bid, ask = face.best
    return {"BUY": PRICES[bid], "SELL": PRICES[ask]}


def _spread(face: Face) -> str:
    bid, ask = face.best
    return PRICES[max(0, ask - bid)]
