"""The Data API as Polymarket answers it, and a venue that hears it."""

import json
from typing import Any

from polymarket_feed import (
    CONDITION,
    MARKET,
    T0,
    YES,
    Feed,
    trades,
)

from tapewatch.model.events import Event
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.base import Fetch, Poll
from tapewatch.venues.polymarket import Polymarket
from tapewatch.venues.polymarket_trades import PAGES

WALLET = "0x" + "1a" * 20
T0_S = T0 // NS_PER_S
V1 = "rest:/trades?batch=0&page="
V2 = "rest:/v2/trades?batch=0&page="
POLLED = {"markets": (MARKET,), "mode": "poll"}


def row(at_s: int = 0, **changes: Any) -> dict[str, Any]:
    """A row of v1, `at_s` seconds after T0."""
    return {
        "proxyWallet": WALLET,
        "side": "BUY",
        "asset": YES,
        "conditionId": CONDITION,
        "size": 5.4,
        "price": 0.55,
        "timestamp": T0_S + at_s,
        "title": "Will they win?",
        "transactionHash": f"0x{at_s & 0xFFFF:064x}",
        "name": "\u202e",
        **changes,
    }


_NAMES = {
    "proxyWallet": "proxy_wallet",
    "asset": "token_id",
    "conditionId": "condition_id",
    "transactionHash": "transaction_hash",
}


def newer(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows as v2 has them."""
    return {"data": [{_NAMES.get(key, key): value for key, value in one.items()} for one in rows]}


class Data:
    """A feed, and the service: all trades that it has, newest first."""

    def __init__(self, venue: Polymarket) -> None:
        self.feed = Feed(venue)
        self.rows: list[dict[str, Any]] = []
        self.feed.now = T0 + NS_PER_S

    def add(self, *rows: dict[str, Any]) -> None:
        self.rows = sorted([*rows, *self.rows], key=lambda one: -one["timestamp"])

    def asked(self, name: str = "trades") -> tuple[Fetch, ...]:
        polls: dict[str, Poll] = {one.name: one for one in self.feed.venue.polls(self.feed.state)}
        return polls[name].requests if name in polls else ()

    def answer(self, fetch: Fetch) -> list[Event]:
        """v1, as the venue does."""
        query = dict(part.split("=") for part in fetch.url.partition("?")[2].split("&"))
        begin, count = int(query["offset"]), int(query["limit"])
        data = json.dumps(self.rows[begin : begin + count]).encode()
        return self.feed.raw(data, fetch.stream)

    def sweep(self) -> list[Event]:
        """Newest page and all that is asked for afterwards."""
        events: list[Event] = []
        for fetch in self.asked():
            events += self.answer(fetch)
        for _ in range(PAGES):
            for fetch in self.asked("trades_more"):
                self.feed.reload()
                events += self.answer(fetch)
        assert not self.asked("trades_more")
        return events


def polled(generation: str = "v1", **more: Any) -> Data:
    return Data(Polymarket(trades=generation, **{**POLLED, **more}))  # type: ignore[arg-type]


def sizes(events: list[Event]) -> list[float]:
    return [one.size for one in trades(events)]
