"""A simulated catalogue of Polymarket and a resolver that asks it; and one that answers as told."""

import contextlib
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web

from tapewatch.app.market_cache import MarketCache
from tapewatch.app.resolve import Resolver
from tapewatch.io.http import Http
from tapewatch.simulate.polymarket import PolymarketConfig, PolymarketServer
from tapewatch.simulate.polymarket_listing import Listing
from tapewatch.testing import virtual_time
from tapewatch.venues.base import Budget

T = TypeVar("T")
BUDGET = Budget("gamma", 75, 10.0, 4, 8.0)
CONDITION = "0x" + "ab" * 32
ROW = {
    "conditionId": CONDITION,
    "slug": "game",
    "outcomes": '["Yes", "No"]',
    "clobTokenIds": '["11", "12"]',
}


class Desk:
    """A simulated venue, and a resolver that asks it."""

    def __init__(self, server: PolymarketServer, http: Http, folder: pathlib.Path | None) -> None:
        self.server, self.said = server, list[str]()
        self.clock = virtual_time.loop_clock()
        self.cache = MarketCache(folder, self.clock.now_ns()) if folder else None
        self.resolver = Resolver(
            http,
            self.clock,
            gamma_url=server.gamma_url,
            budget=BUDGET,
            cache=self.cache,
            say=self.said.append,
        )

    def asked(self) -> int:
        return sum(self.server.requests.values())


def with_venue(
    scenario: Callable[[Desk], Awaitable[T]], folder: pathlib.Path | None = None, **config: Any
) -> T:
    async def run() -> T:
        clock, http = virtual_time.loop_clock(), Http()
        try:
            async with PolymarketServer(PolymarketConfig(**config), clock) as server:
                return await scenario(Desk(server, http, folder))
        finally:
            await http.close()

    return virtual_time.run(run())


def game(server: PolymarketServer) -> Listing:
    """A market whose event has no other."""
    return next(one for one in server.listings if len(one.event.markets) == 1)


def contest(server: PolymarketServer) -> Listing:
    return next(one for one in server.listings if one.event.neg_risk)


@contextlib.asynccontextmanager
async def serving(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[Resolver]:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    http = Http()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield Resolver(http, virtual_time.loop_clock(), gamma_url=url, budget=BUDGET)
    finally:
        await http.close()
        await runner.cleanup()


def always(status: int, **more: Any) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, **more)

    return answer
