"""An independent client of the simulated Polymarket: it shares no code with the server."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tapewatch.simulate.polymarket import PolymarketConfig, PolymarketServer
from tapewatch.testing import virtual_time

Message = dict[str, Any]


def now_s() -> float:
    """Virtual seconds since the loop began."""
    return asyncio.get_running_loop().time()


def hash_of(book: Message, generation: str = "2025") -> str:
    """SHA-1 of the compact book, keys in the venue's order."""
    names = ["market", "asset_id", "timestamp", "hash", "bids", "asks"]
    names += [] if generation == "2024" else ["min_order_size", "tick_size", "neg_risk"]
    names += ["last_trade_price"] if generation == "2026" else []
    text = json.dumps({name: book[name] for name in names} | {"hash": ""}, separators=(",", ":"))
    return hashlib.sha1(text.encode()).hexdigest()


class ClientBook:
    """One token's book, kept by the socket's messages; `good` and `bad` count hashes."""

    def __init__(self) -> None:
        self.book: Message = {}
        self.good = self.bad = 0

    def load(self, message: Message) -> None:
        self.book = message
        self._check(message["hash"])

    def apply(self, change: Message, timestamp: str) -> None:
        side = "bids" if change["side"] == "BUY" else "asks"
        rows = {row["price"]: row["size"] for row in self.book[side]}
        rows.pop(change["price"], None)
        if change["size"] != "0":
            rows[change["price"]] = change["size"]
        prices = sorted(rows, key=float, reverse=side == "asks")
        self.book[side] = [{"price": price, "size": rows[price]} for price in prices]
        self.book["timestamp"] = timestamp

    def check(self, digest: str) -> None:
        self._check(digest)

    def best(self) -> tuple[float, float]:
        bids, asks = self.book["bids"], self.book["asks"]
        return float(bids[-1]["price"]) if bids else 0.0, float(asks[-1]["price"]) if asks else 1.0

    def _check(self, digest: str) -> None:
        right = hash_of(self.book) == digest
        self.good += right
        self.bad += not right


class Client:
    """One market channel; `frames` is what arrived: (virtual time, text)."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.frames: list[tuple[float, str]] = []
        self.closed: int | None = None

    async def open(self, tokens: list[str], **more: Any) -> None:
        await self.ask({"type": "market", "assets_ids": tokens, **more})

    async def subscribe(self, tokens: list[str], **more: Any) -> None:
        await self.ask({"operation": "subscribe", "assets_ids": tokens, **more})

    async def ask(self, message: Message | str) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        await self.socket.send_str(text)

    async def until(self, when_s: float) -> None:
        """Read until the virtual time, or the end of the connection."""
        while self.closed is None and now_s() < when_s:
            try:
                async with asyncio.timeout_at(when_s):
                    message = await self.socket.receive()
            except TimeoutError:
                return
            if message.type is aiohttp.WSMsgType.TEXT:
                self.frames.append((now_s(), message.data))
            elif message.type is aiohttp.WSMsgType.BINARY:
                self.frames.append((now_s(), message.data.decode("utf-8", "replace")))
            else:
                self.closed = self.socket.close_code or 1006

    def timed(self, kind: str = "") -> list[tuple[float, Message]]:
        """Messages that arrived, lists taken apart, with their times."""
        found: list[tuple[float, Message]] = []
        for at, text in self.frames:
            if text[:1] in "[{" and text:
                data = json.loads(text)
                found += [(at, one) for one in (data if isinstance(data, list) else [data])]
        return [(at, one) for at, one in found if not kind or one.get("event_type") == kind]

    def of(self, kind: str, token: str = "") -> list[Message]:
        return [one for _, one in self.timed(kind) if not token or one.get("asset_id") == token]

    def books(self) -> dict[str, ClientBook]:
        """All books by token after all messages, hashes checked on the way."""
        found: dict[str, ClientBook] = {}
        for _, message in self.timed():
            if message["event_type"] == "book":
                found.setdefault(message["asset_id"], ClientBook()).load(message)
            elif message["event_type"] == "price_change":
                rows = [row for row in message["price_changes"] if row["asset_id"] in found]
                for row in rows:
                    found[row["asset_id"]].apply(row, message["timestamp"])
                for token, digest in {row["asset_id"]: row["hash"] for row in rows}.items():
                    found[token].check(digest)
        return found


@asynccontextmanager
async def venue(**config: Any) -> AsyncIterator[tuple[PolymarketServer, aiohttp.ClientSession]]:
    """A server in virtual time and an HTTP session."""
    config = {"markets": 4, "contests": 0, **config}
    async with (
        PolymarketServer(PolymarketConfig(**config), virtual_time.loop_clock()) as server,
        aiohttp.ClientSession() as http,
    ):
        yield server, http


@asynccontextmanager
async def connected(http: aiohttp.ClientSession, url: str) -> AsyncIterator[Client]:
    async with http.ws_connect(url, max_msg_size=0) as socket:
        yield Client(socket)


async def get(http: aiohttp.ClientSession, url: str, **params: Any) -> tuple[int, Any]:
    """Status and JSON."""
    async with http.get(url, params=params) as answer:
        return answer.status, json.loads(await answer.read())


async def post(http: aiohttp.ClientSession, url: str, body: Any) -> tuple[int, Any]:
    """Status and JSON."""
    async with http.post(url, json=body) as answer:
        return answer.status, json.loads(await answer.read())
