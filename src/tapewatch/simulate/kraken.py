"""A Kraken on loopback: websocket v2 at `/v2`, v1 at `/`, REST at `/0/public/*`, on one port.

It serves a synthetic market or a played file, and shows faults on request. It is a simulator: it
listens on this machine only, and nothing it says is real.
"""

import asyncio
import errno
import pathlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from msgspec import Struct

from tapewatch.io.clock import Clock
from tapewatch.io.reach import is_loopback
from tapewatch.model.errors import ConfigError, TapewatchError
from tapewatch.simulate.connection import Connection
from tapewatch.simulate.director import GOING_AWAY, Director
from tapewatch.simulate.exchange import Exchange
from tapewatch.simulate.faults import ActiveFaults, complete
from tapewatch.simulate.market import Flow, Market, seeded
from tapewatch.simulate.pairs import Pair, pair_of
from tapewatch.simulate.port import taken_text
from tapewatch.simulate.requests import answer_v1, answer_v2
from tapewatch.simulate.rest import Rest, error_page
from tapewatch.simulate.scenario import Scenario
from tapewatch.simulate.source import Player, read_trades
from tapewatch.simulate.truth import Truth

SHUTDOWN_S: Final = 1.0  # grace for clients when the server stops


class KrakenConfig(Struct, frozen=True, kw_only=True):
    """`speed` is for `tape` only; infinite means as fast as clients read. A tape is played to the
    first of `symbols`, from the first subscription to its trades on."""

    host: str = "127.0.0.1"
    port: int = 0
    symbols: tuple[str, ...] = ("BTC/USD", "ETH/USD", "DOGE/USD")
    seed: int = 0
    scenario: Scenario = Scenario()
    tape: pathlib.Path | None = None
    speed: float = 1.0
    truth: pathlib.Path | None = None


class KrakenServer:
    """`async with KrakenServer(config, clock) as server`: listening inside, gone outside.

    Raises `ConfigError` for a scenario, file or address that cannot be served, `TapewatchError`
    when the port is taken.
    """

    def __init__(self, config: KrakenConfig, clock: Clock) -> None:
        if not is_loopback(f"ws://{config.host}"):
            raise ConfigError(f"{config.host} is not this machine; a simulator stays on loopback")
        if not config.speed > 0:
            raise ConfigError("speed must be positive", "--speed")
        self._config, self._clock = config, clock
        self._connections: set[Connection] = set()
        self._numbers = seeded(config.seed, "connections")
        self._active = ActiveFaults()
        base_ns = clock.now_ns()
        flow, pairs = self._source(base_ns)
        self._check_symbols({pair.symbol for pair in pairs})
        faults = [complete(fault) for fault in config.scenario.faults]
        self.truth = Truth(config.truth)
        if isinstance(flow, Market):
            flow.plant(config.scenario.anomalies, self.truth)
        self.exchange = Exchange(pairs, flow, self._active, self.truth, base_ns)
        self._director = Director(flow, self.exchange, faults, self._connections)
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._port = 0

    @property
    def _host(self) -> str:
        host = self._config.host
        return f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"

    @property
    def ws_url(self) -> str:
        """Websocket v2."""
        return f"ws://{self._host}/v2"

    @property
    def ws_v1_url(self) -> str:
        """Websocket v1."""
        return f"ws://{self._host}"

    @property
    def rest_url(self) -> str:
        """Base of `/0/public/*`."""
        return f"http://{self._host}"

    async def over(self) -> None:
        """Wait for the end of a tape (a market has none). Raises what broke the server, if any."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        rest = Rest(self.exchange, self.wall_ns, loop.time)
        app = web.Application(middlewares=[self._ban])
        app.router.add_get("/v2", self._serve)
        app.router.add_get("/", self._serve)
        app.router.add_get("/0/public/{call}", rest.handle)
        runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_S
        )
        try:
            await runner.setup()
            self._stack.push_async_callback(runner.cleanup)
            self._stack.callback(self.truth.close)
            await web.TCPSite(runner, self._config.host, self._config.port).start()
        except OSError as error:
            await self._stack.aclose()
            if error.errno == errno.EADDRINUSE:
                raise TapewatchError(taken_text(self._config.port)) from error
            raise ConfigError(f"cannot listen on {self._config.host}: {error.strerror}") from error
        self._port = runner.addresses[0][1]
        self._director.start(loop.time())
        self._tasks = [
            asyncio.create_task(self._director.run()),
            asyncio.create_task(self._director.beat()),
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tasks, self._tasks = self._tasks, []
        done = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        connections = tuple(self._connections)
        for connection in connections:
            connection.leave(GOING_AWAY)
        await self._stack.aclose()
        for connection in connections:
            connection.drop()  # a client that does not read would keep its socket for ever
        for task in done:
            task.result()  # what broke the market must not pass for a clean end

    def wall_ns(self) -> int:
        """The venue's clock."""
        return self._clock.now_ns() + self.exchange.skew_ns()

    @web.middleware
    async def _ban(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Fault F12: the edge in front of the venue lets nobody in."""
        ban = self._active.find("F12")
        return await handler(request) if ban is None else error_page(ban, request)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        """One websocket, from handshake to close."""
        version = 2 if request.path == "/v2" else 1
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.Response(status=426, text="this is a websocket")
        connection = Connection(request, version, self.exchange, self.wall_ns, self._director.play)
        connection.number = self._numbers.getrandbits(64) | 1 << 63  # as large as the venue's
        self._connections.add(connection)
        try:
            await connection.run(answer_v2 if version == 2 else answer_v1)
        finally:
            self._connections.discard(connection)
        return connection.socket

    def _source(self, base_ns: int) -> tuple[Flow, list[Pair]]:
        config = self._config
        if not config.symbols:
            raise ConfigError("name at least one pair", "--symbols")
        pairs = [pair_of(symbol) for symbol in dict.fromkeys(config.symbols)]
        if config.tape is None:
            return Market(pairs, config.scenario.market, config.seed, base_ns), pairs
        trades = read_trades(config.tape, pairs[0].symbol)
        player = Player(pairs[0], trades, config.speed, config.seed, base_ns)
        return player, [player.pair]

    def _check_symbols(self, listed: set[str]) -> None:
        scenario = self._config.scenario
        named = {anomaly.symbol for anomaly in scenario.anomalies}
        named |= {fault.scope.symbol for fault in scenario.faults}
        for symbol in sorted(named - listed - {""}):
            raise ConfigError(f"the script names {symbol[:40]}, which is not among the pairs")
