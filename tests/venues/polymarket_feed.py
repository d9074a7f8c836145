"""Frames as Polymarket writes them, and a venue that hears them."""

import hashlib
import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from tapewatch.model.events import Book, Event, Quote, Status, Trade
from tapewatch.model.inputs import Frame, Link
from tapewatch.model.time import NS_PER_MS, NS_PER_S
from tapewatch.venues.polymarket import Polymarket
from tapewatch.venues.polymarket_markets import Market
from tapewatch.venues.polymarket_state import PolymarketState

T0 = 1_763_700_000 * NS_PER_S
CONDITION = "0x" + "ab" * 32
YES, NO = "71321045679252212594626385532706912750332728571942532289631379312455583992563", "5211431"
MARKET = Market(condition=CONDITION, yes=YES, no=NO, slug="game", event="league")
INSTRUMENT = f"polymarket:{CONDITION}"


def markets(count: int) -> tuple[Market, ...]:
    """Made-up ones; the first is `MARKET`."""
    others = (
        Market(condition=f"0x{n:064x}", yes=str(10 * n + 1), no=str(10 * n + 2), slug=f"m{n}")
        for n in range(1, count)
    )
    return (MARKET, *others)


def sha1(message: dict[str, Any], generation: int = 1) -> str:
    """The venue's hash of a book, written down apart from the code under test."""
    keys = ["market", "asset_id", "timestamp", "hash", "bids", "asks"]
    keys += ["min_order_size", "tick_size", "neg_risk"] if generation else []
    keys += ["last_trade_price"] if generation > 1 else []
    full = {"min_order_size": "5", "tick_size": "0.01", "neg_risk": False, **message, "hash": ""}
    text = json.dumps({key: full[key] for key in keys}, separators=(",", ":"))
    return hashlib.sha1(text.encode()).hexdigest()


class Side(dict[str, str]):
    """Price text -> size text."""

    def levels(self, *, reverse: bool) -> list[dict[str, str]]:
        order = sorted(self.items(), key=lambda level: Decimal(level[0]), reverse=reverse)
        return [{"price": price, "size": size} for price, size in order]


class WireBook:
    """The venue's side of one token."""

    def __init__(self, market: Market = MARKET, *, no: bool = False, generation: int = 1) -> None:
        self.market, self.asset = market, market.no if no else market.yes
        self.generation, self.now = generation, T0
        self.bids = Side({"0.48": "11", "0.49": "10"})
        self.asks = Side({"0.52": "10", "0.53": "11"})
        if no:  # what repeats the other outcome
            self.bids = Side({"0.47": "11", "0.48": "10"})
            self.asks = Side({"0.51": "10", "0.52": "11"})

    def best(self) -> tuple[str, str]:
        bids, asks = self.bids.levels(reverse=True), self.asks.levels(reverse=False)
        return (bids[0]["price"] if bids else "0"), (asks[0]["price"] if asks else "0")

    def full(self) -> dict[str, Any]:
        message: dict[str, Any] = {
            "market": self.market.condition,
            "asset_id": self.asset,
            "timestamp": str(self.now // NS_PER_MS),
            "hash": "",
            "bids": self.bids.levels(reverse=False),
            "asks": self.asks.levels(reverse=True),
        }
        if self.generation > 1:
            message["last_trade_price"] = ""
        message["hash"] = sha1(message, self.generation)
        return message

    def book(self) -> dict[str, Any]:
        return {"event_type": "book", **self.full()}

    def rest(self) -> dict[str, Any]:
        extra = {"min_order_size": "5", "tick_size": "0.01", "neg_risk": False}
        return {**self.full(), **extra}

    def put(self, side: str, price: str, size: str, ms: int = 1) -> dict[str, Any]:
        """One row of a `price_change`."""
        self.now += ms * NS_PER_MS
        ladder = self.bids if side == "BUY" else self.asks
        if Decimal(size):
            ladder[price] = size
        else:
            ladder.pop(price, None)
        best = self.best()
        return {
            "asset_id": self.asset,
            "price": price,
            "size": size,
            "side": side,
            "hash": self.full()["hash"],
            "best_bid": best[0],
            "best_ask": best[1],
        }

    def change(self, *rows: dict[str, Any]) -> dict[str, Any]:
        return {
            "market": self.market.condition,
            "price_changes": list(rows),
            "event_type": "price_change",
            "timestamp": str(self.now // NS_PER_MS),
        }

    def update(self, side: str, price: str, size: str) -> dict[str, Any]:
        return self.change(self.put(side, price, size))


def mirrored(yes: WireBook, no: WireBook, side: str, price: str, size: str) -> dict[str, Any]:
    """A change of both outcomes in one message."""
    row = yes.put(side, price, size)
    other = "SELL" if side == "BUY" else "BUY"
    no.now = yes.now - NS_PER_MS
    return yes.change(row, no.put(other, str(1 - Decimal(price)), size))


def trade(
    price: str = "0.5", size: str = "20", side: str = "BUY", tx: str = "0xaa", **more: Any
) -> dict[str, Any]:
    return {
        "event_type": "last_trade_price",
        "market": CONDITION,
        "asset_id": YES,
        "price": price,
        "size": size,
        "side": side,
        "fee_rate_bps": "0",
        "timestamp": str(T0 // NS_PER_MS),
        "transaction_hash": tx,
        **more,
    }


class Feed:
    """A venue with its memory, and the time."""

    def __init__(self, venue: Polymarket | None = None) -> None:
        self.venue = venue or Polymarket(markets=(MARKET,))
        self.state: PolymarketState = self.venue.start()
        self.now = T0

    def up(self, stream: str = "ws:0") -> list[Event]:
        return list(self.venue.on_link(self.state, Link(self.now, "polymarket", "up", "", stream)))

    def down(self, stream: str = "ws:0", reason: str = "gone") -> list[Event]:
        link = Link(self.now, "polymarket", "down", reason, stream)
        return list(self.venue.on_link(self.state, link))

    def raw(self, data: bytes, stream: str = "ws:0") -> list[Event]:
        frame = Frame(self.now, "polymarket", data, stream)
        return list(self.venue.decode(self.state, frame))

    def ws(self, *messages: dict[str, Any], stream: str = "ws:0") -> list[Event]:
        """One frame: an object if there is one message, else a list."""
        found = messages[0] if len(messages) == 1 else list(messages)
        return self.raw(json.dumps(found, separators=(",", ":")).encode(), stream)

    def rest(self, *books: dict[str, Any]) -> list[Event]:
        return self.raw(json.dumps(list(books)).encode(), "rest:/books?batch=0")

    def wait(self, seconds: float) -> list[Event]:
        """Timers, one a second."""
        events: list[Event] = []
        end = self.now + round(seconds * NS_PER_S)
        while self.now < end:
            self.now = min(end, self.now + NS_PER_S)
            events += self.venue.on_timer(self.state, self.now)
        return events

    def reload(self) -> None:
        packed = msgspec.msgpack.encode(self.state)
        self.state = msgspec.msgpack.decode(packed, type=PolymarketState)


def live(venue: Polymarket | None = None) -> tuple[Feed, WireBook, WireBook]:
    """Connected, with the books of both outcomes."""
    feed, yes, no = Feed(venue), WireBook(), WireBook(no=True)
    feed.up()
    feed.ws(yes.book(), no.book())
    return feed, yes, no


def statuses(events: Iterable[Event], kind: str = "") -> list[Status]:
    return [one for one in events if isinstance(one, Status) and kind in ("", one.kind)]


def kinds(events: Iterable[Event]) -> list[str]:
    return [one.kind for one in statuses(events)]


def tops(events: Iterable[Event]) -> list[tuple[float, float, float, float]]:
    return [(e.bid, e.bid_size, e.ask, e.ask_size) for e in events if isinstance(e, Quote)]


def trades(events: Iterable[Event]) -> list[Trade]:
    return [event for event in events if isinstance(event, Trade)]


def books(events: Iterable[Event]) -> list[Book]:
    return [event for event in events if isinstance(event, Book)]
