"""An independent client of the simulated Kraken: it shares no code with the server."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import aiohttp

from tapewatch.simulate.faults import Fault, parse
from tapewatch.simulate.kraken import KrakenConfig, KrakenServer
from tapewatch.simulate.scenario import MarketConfig, Scenario
from tapewatch.testing import virtual_time

Message = dict[str, Any]
Rows = list[dict[str, str]]
Side = dict[str, str]  # price text -> size text


def now_s() -> float:
    """Virtual seconds since the loop began."""
    return asyncio.get_running_loop().time()


def texts(raw: bytes) -> Message:
    """JSON with every number as its literal text."""
    return json.loads(raw, parse_float=str, parse_int=str)


def crc(asks: Side, bids: Side) -> int:
    """The venue's book checksum over {price text: size text} of both sides."""
    parts = []
    for side, best_high in ((asks, False), (bids, True)):
        for price in sorted(side, key=Decimal, reverse=best_high)[:10]:
            parts += [price.replace(".", "").lstrip("0"), side[price].replace(".", "").lstrip("0")]
    return zlib.crc32("".join(parts).encode())


class ClientBook:
    """Applies v2 book messages as the venue's guide says; `good` and `bad` count checksums."""

    def __init__(self, depth: int = 10) -> None:
        self.depth, self.good, self.bad = depth, 0, 0
        self.bids: Side = {}
        self.asks: Side = {}

    def apply(self, message: Message) -> bool:
        data = message["data"][0]
        if message["type"] == "snapshot":
            self.bids, self.asks = {}, {}
        for side, changes in ((self.bids, data["bids"]), (self.asks, data["asks"])):
            for level in changes:
                if Decimal(level["qty"]) == 0:
                    side.pop(level["price"], None)
                else:
                    side[level["price"]] = level["qty"]
        for side, best_high in ((self.bids, True), (self.asks, False)):
            for price in sorted(side, key=Decimal, reverse=best_high)[self.depth :]:
                del side[price]
        right = crc(self.asks, self.bids) == int(data["checksum"])
        self.good += right
        self.bad += not right
        return right

    def best(self) -> tuple[Decimal, Decimal]:
        return max(map(Decimal, self.bids)), min(map(Decimal, self.asks))


class Client:
    """One websocket; `frames` is what arrived: (virtual time, bytes)."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.frames: list[tuple[float, bytes]] = []
        self.closed: int | None = None

    async def ask(self, message: Message) -> None:
        await self.socket.send_str(json.dumps(message))

    async def subscribe(self, channel: str, *symbols: str, **params: Any) -> None:
        params = {"channel": channel, "symbol": list(symbols or ("BTC/USD",)), **params}
        await self.ask({"method": "subscribe", "params": params, "req_id": 7})

    async def unsubscribe(self, channel: str, *symbols: str, **params: Any) -> None:
        params = {"channel": channel, "symbol": list(symbols or ("BTC/USD",)), **params}
        await self.ask({"method": "unsubscribe", "params": params})

    async def next(self) -> bytes | None:
        """The next frame as bytes; None when the connection is over (`closed` is the code)."""
        message = await self.socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            self.frames.append((now_s(), message.data.encode()))
            return self.frames[-1][1]
        self.closed = self.socket.close_code
        return None

    async def until(self, when_s: float) -> None:
        """Read until the virtual time, or the end of the connection."""
        while self.closed is None and now_s() < when_s:
            try:
                async with asyncio.timeout_at(when_s):
                    await self.next()
            except TimeoutError:
                return

    def of(self, channel: str, kind: str | None = None) -> list[Message]:
        """Messages of one v2 channel that arrived, numbers as texts."""
        start = f'{{"channel":"{channel}"'.encode()
        found = [texts(raw) for _, raw in self.frames if raw.startswith(start)]
        return [one for one in found if kind is None or one["type"] == kind]

    def lists(self, name: str) -> list[list[Any]]:
        """v1 data lists of one channel name that arrived."""
        found = [json.loads(raw) for _, raw in self.frames if raw.startswith(b"[")]
        return [one for one in found if one[-2] == name]

    def replies(self) -> list[Message]:
        """Answers to requests."""
        return [json.loads(raw) for _, raw in self.frames if b'"time_out"' in raw]

    def trades(self, kind: str | None = None) -> Rows:
        return [row for message in self.of("trade", kind) for row in message["data"]]


@asynccontextmanager
async def venue(
    *faults: Fault, market: MarketConfig | None = None, **config: Any
) -> AsyncIterator[tuple[KrakenServer, aiohttp.ClientSession]]:
    """A server in virtual time and an HTTP session."""
    planned = Scenario(market=market or MarketConfig(), faults=tuple(faults))
    config = {"symbols": ("BTC/USD",), "scenario": planned, **config}
    async with (
        KrakenServer(KrakenConfig(**config), virtual_time.loop_clock()) as server,
        aiohttp.ClientSession() as http,
    ):
        yield server, http


@asynccontextmanager
async def connected(http: aiohttp.ClientSession, url: str) -> AsyncIterator[Client]:
    async with http.ws_connect(url, max_msg_size=1 << 20) as socket:
        yield Client(socket)


async def rest(http: aiohttp.ClientSession, server: KrakenServer, call: str) -> tuple[int, Any]:
    """Status and decoded body of a public REST call."""
    async with http.get(f"{server.rest_url}/0/public/{call}") as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if answer.content_type.endswith("json") else text


@asynccontextmanager
async def attached(
    *faults: str, **config: Any
) -> AsyncIterator[tuple[KrakenServer, aiohttp.ClientSession, Client]]:
    """A server with faults, an HTTP session, and a v2 client."""
    async with (
        venue(*map(parse, faults), **config) as (server, http),
        connected(http, server.ws_url) as client,
    ):
        yield server, http, client


def calls(fault: str, *names: str, count: int = 1) -> list[tuple[int, Any]]:
    """Answers of REST calls to a server with one fault."""

    async def main() -> list[tuple[int, Any]]:
        async with venue(parse(fault)) as (server, http):
            await asyncio.sleep(0.1)
            return [await rest(http, server, name) for name in names for _ in range(count)]

    return virtual_time.run(main())
