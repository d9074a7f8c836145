"""A Polymarket on loopback: CLOB, Gamma and Data API over HTTP, the market channel, on one port.

It serves a made-up market or recorded books, and shows faults on request. It is a simulator: it
listens on this machine only, and nothing it says is real.
"""

import asyncio
import errno
import pathlib
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from msgspec import Struct

from tapewatch.io.clock import Clock
from tapewatch.io.reach import is_loopback
from tapewatch.model.errors import ConfigError, TapewatchError
from tapewatch.model.time import NS_PER_S
from tapewatch.simulate.faults import ActiveFaults
from tapewatch.simulate.market import seeded
from tapewatch.simulate.polymarket_agenda import Agenda
from tapewatch.simulate.polymarket_book import Generation
from tapewatch.simulate.polymarket_clob import Clob
from tapewatch.simulate.polymarket_data import Data
from tapewatch.simulate.polymarket_edge import Edge
from tapewatch.simulate.polymarket_exchange import PolymarketExchange
from tapewatch.simulate.polymarket_faults import parse
from tapewatch.simulate.polymarket_floor import Floor
from tapewatch.simulate.polymarket_frames import Form
from tapewatch.simulate.polymarket_gamma import Gamma
from tapewatch.simulate.polymarket_listing import Listing
from tapewatch.simulate.polymarket_planting import Planter
from tapewatch.simulate.polymarket_scenario import PolymarketScenario
from tapewatch.simulate.polymarket_socket import Limits, Sockets
from tapewatch.simulate.polymarket_source import Players, read_books, read_wallets
from tapewatch.simulate.polymarket_troubles import Troubles
from tapewatch.simulate.port import taken_text
from tapewatch.simulate.truth import Record, Truth

SHUTDOWN_S: Final = 1.0  # grace for clients when the server stops
GOING_AWAY: Final = 1001  # close code of a server that leaves (RFC 6455, 7.4.1)
BODY_BYTES: Final = 1 << 20  # of a request
MARKETS_MAX: Final = 20_000


class PolymarketConfig(Struct, frozen=True, kw_only=True):
    """`markets` in all, of which `contests` negative-risk events have `outcomes` each, and `short`
    have condition ids of 31 bytes. `books` and `wallets` are recordings, played at `speed`
    (infinite: as fast as clients read) in markets of their own."""

    host: str = "127.0.0.1"
    port: int = 0
    markets: int = 12
    contests: int = 1
    outcomes: int = 4
    short: int = 0
    seed: int = 0
    scenario: PolymarketScenario = PolymarketScenario()
    limits: Limits = Limits()
    generation: Generation = "2025"
    form: Form = "new"
    books: tuple[pathlib.Path, ...] = ()
    wallets: pathlib.Path | None = None
    speed: float = 1.0
    truth: pathlib.Path | None = None


class PolymarketServer:
    """`async with PolymarketServer(config, clock) as server`: listening inside, gone outside.

    Raises `ConfigError` for what cannot be served, `TapewatchError` when the port is taken.
    """

    def __init__(self, config: PolymarketConfig, clock: Clock) -> None:
        if not is_loopback(f"ws://{config.host}"):
            raise ConfigError(f"{config.host} is not this machine; a simulator stays on loopback")
        least = 0 if config.books or config.wallets else 1
        if not least <= config.markets <= MARKETS_MAX:
            raise ConfigError(f"markets must be between 1 and {MARKETS_MAX:,}", "--markets")
        if not config.speed > 0:
            raise ConfigError("speed must be positive", "--speed")
        self._config, self._clock = config, clock
        self.active = ActiveFaults()
        self.truth = Truth(config.truth)
        self.agenda = Agenda()
        self._base_ns = clock.now_ns()
        self.exchange = PolymarketExchange(self.active, self.truth, self.now_ns, config.seed)
        self.floor = Floor(
            self.exchange, self.agenda, config.scenario.market, config.seed, self._base_ns
        )
        self.floor.fill(config.markets, config.contests, config.outcomes, config.short)
        self.sockets = Sockets(
            self.exchange, config.limits, self._later, seeded(config.seed, "sockets")
        )
        self.exchange.audience = self.sockets
        self.exchange.rehash(config.generation)
        self.exchange.form = config.form
        self.players = Players(self.floor, config.speed, config.seed, self.sockets.waiting)
        for path in config.books:
            self.players.add(read_books(path))
        if config.wallets is not None:
            self.players.add(read_wallets(config.wallets))
        self.planter = Planter(self.floor, self._base_ns, config.seed)
        self.troubles = Troubles(
            self.floor, self.planter, self.sockets, config.generation, config.form
        )
        self.planter.script(config.scenario.anomalies)
        self.troubles.script(config.scenario.faults)
        self.clob, self.edge = Clob(self.exchange), Edge(self.exchange)
        self._stack = AsyncExitStack()
        self._task: asyncio.Task[None] | None = None
        self._port = 0

    @property
    def _host(self) -> str:
        host = self._config.host
        return f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"

    @property
    def ws_url(self) -> str:
        """The market channel."""
        return f"ws://{self._host}/ws/market"

    @property
    def clob_url(self) -> str:
        """Base of the CLOB's calls."""
        return f"http://{self._host}/clob"

    @property
    def gamma_url(self) -> str:
        """Base of Gamma's calls."""
        return f"http://{self._host}/gamma"

    @property
    def data_url(self) -> str:
        """Base of the Data API's calls."""
        return f"http://{self._host}/data"

    @property
    def listings(self) -> Sequence[Listing]:
        """All markets, in the order of listing."""
        return self.exchange.catalogue.markets

    @property
    def requests(self) -> dict[str, int]:
        """How often each call was asked for, as `clob/books`; `ws/market` are handshakes."""
        return self.edge.requests

    def now_ns(self) -> int:
        """The venue's clock."""
        skew = self.active.find("F42")
        shift = round(float(skew.params["seconds"]) * NS_PER_S) if skew else 0
        return self._clock.now_ns() + shift

    def down(self, surface: str, on: bool = True) -> None:  # noqa: FBT001, FBT002  `down("clob")`
        """A service (`clob`, `gamma`, `data`, `ws`) is gone, or back."""
        (self.edge.down.add if on else self.edge.down.discard)(surface)
        if on and surface == "ws":
            for socket in self.sockets.open:
                socket.drop()

    def fault(self, text: str) -> Callable[[], None]:
        """A fault now: `F25,share=0.5` as on the command line, but without a time. It lasts until
        the returned function is called."""
        head, comma, params = text.partition(",")
        return self.troubles.begin(parse(f"{head}@0{comma}{params}"))

    def spike(self, word: str = "", sigmas: float = 5.0) -> Record:
        """A price spike now; `planter` has everything else that can be planted."""
        return self.planter.spike(word, sigmas)

    async def over(self) -> None:
        """Wait for the end of the market, which has none. Raises what broke it, if anything."""
        assert self._task is not None
        await asyncio.wait((self._task,))
        self._task.result()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_get("/ws/market", self.edge.guarded_socket(self.sockets.serve))
        self.edge.add(app, "clob", self.clob.routes())
        self.edge.add(app, "gamma", Gamma(self.exchange).routes())
        self.edge.add(app, "data", Data(self.exchange).routes())
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
        self.agenda.start(asyncio.get_running_loop().time())
        self._task = asyncio.create_task(self.agenda.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        assert task is not None
        broken = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        sockets = tuple(self.sockets.open)
        for socket in sockets:
            socket.leave(GOING_AWAY)
        await self._stack.aclose()
        for socket in sockets:
            socket.drop()  # a client that does not read would keep its socket for ever
        if broken:
            task.result()  # what broke the market must not pass for a clean end

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        self.agenda.at(self.agenda.now() + seconds, lambda _: act())
