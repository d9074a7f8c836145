"""What stands before the simulated services: routing, counters, and faults of HTTP.

All services are on one port, each under its own prefix (`/clob`, `/gamma`, `/data`), and again
without one, where paths are the venue's own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from aiohttp import web

from tapewatch.simulate.faults import Fault
from tapewatch.simulate.polymarket_clob import refused
from tapewatch.simulate.polymarket_exchange import PolymarketExchange

PAGE: Final = (
    "<!DOCTYPE html><html><head><title>{0}</title></head>"
    "<body><h1>Error {0}</h1><p>cloudflare</p></body></html>"
)
WORDS: Final = {
    425: "matching engine is restarting, please retry",
    429: "Too Many Requests",
    503: "Trading is currently disabled. Check polymarket.com for updates",
}
HTTP_MAX: Final = 599

Route = tuple[str, str, Callable[[web.Request], Any]]
Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Edge:
    """Every request passes here. `requests` counts them by service and call, `refused` those that
    a fault answered, `down` names the services that are gone."""

    def __init__(self, exchange: PolymarketExchange) -> None:
        self._exchange = exchange
        self.requests: dict[str, int] = {}
        self.refused: dict[str, int] = {}
        self.down: set[str] = set()
        self._spent: dict[str, list[float]] = {}

    def add(self, app: web.Application, surface: str, routes: Iterable[Route]) -> None:
        """Serve the calls of one service under its prefix and without."""
        taken = {(route.method, route.resource.canonical) for route in app.router.routes()
                 if route.resource is not None}  # fmt: skip
        for method, path, call in routes:
            serve = self._guarded(surface, path.strip("/"), call)
            for full in (f"/{surface}{path}", path):
                if full != "/" and (method, full) not in taken:
                    app.router.add_route(method, full, serve)

    def guarded_socket(self, serve: Serve) -> Serve:
        """The handshake passes here, too; its service is `ws`."""
        return self._guarded("ws", "market", serve)

    def _guarded(self, surface: str, name: str, call: Serve) -> Serve:
        """The call, behind the faults of HTTP."""
        call_name = name.split("/{", maxsplit=1)[0]

        async def serve(request: web.Request) -> web.StreamResponse:
            key = f"{surface}/{call_name}"
            self.requests[key] = self.requests.get(key, 0) + 1
            answer = await self._fault(request, surface, call_name)
            if answer is None:
                return await call(request)
            self.refused[key] = self.refused.get(key, 0) + 1
            return answer

        return serve

    async def _fault(
        self, request: web.Request, surface: str, name: str
    ) -> web.StreamResponse | None:
        def find(code: str) -> Fault | None:
            active = self._exchange.active
            return active.find(code, call=name) or active.find(code, call=surface)

        if surface in self.down or find("F12") is not None:
            return _reset(request)
        edge = find("F34")
        if edge is not None:
            status = int(edge.params["status"])
            return _page(status) if status else _reset(request)
        page = find("F35")
        if page is not None and surface != "ws":
            status = int(page.params["status"])
            words = WORDS.get(status, "service not ready")
            return refused(status, words) if page.params["body"] == "json" else _page(status)
        restart = find("F32")
        if restart is not None and surface == "clob" and name not in {"ok", "time"}:
            status = int(restart.params["status"])
            return refused(status, WORDS.get(status, "service not ready"))
        limit = find("F33")
        if limit is not None and surface != "ws":
            return await self._limited(limit, f"{surface}/{name}")
        return None

    async def _limited(self, limit: Fault, key: str) -> web.StreamResponse | None:
        """Beyond the rate: 429, or an answer that waits in a queue, as the venue documents."""
        per_s = float(limit.params["per_s"])
        now = asyncio.get_running_loop().time()
        spent = [at for at in self._spent.get(key, ()) if now - at < 1.0]
        self._spent[key] = spent
        if len(spent) < per_s:
            spent.append(now)
            return None
        delay_s = float(limit.params["delay_s"])
        if delay_s:
            await asyncio.sleep(delay_s)
            return None
        answer = refused(429, WORDS[429])
        answer.headers["Retry-After"] = str(int(limit.params["retry_after_s"]))
        return answer


def _reset(request: web.Request) -> web.StreamResponse:
    """End TCP; what is returned goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


def _page(status: int) -> web.Response:
    """HTML of the edge server."""
    return web.Response(
        status=min(status, HTTP_MAX),
        text=PAGE.format(status),
        content_type="text/html",
        headers={"Server": "cloudflare", "CF-RAY": "8e0f1a2b3c4d5e6f-SIM"},
    )
