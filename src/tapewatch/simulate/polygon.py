"""A Polygon node on loopback: JSON-RPC over HTTP at `/`, over a websocket at `/ws`.

Its chain settles what is matched in a simulated Polymarket of the same process, which listens too,
so that the feed and its source can be compared. It is a simulator: it listens on this machine only,
and nothing it says is real.
"""

import errno
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from msgspec import Struct, json

from tapewatch.io.clock import Clock
from tapewatch.model.errors import ConfigError, TapewatchError
from tapewatch.model.time import NS_PER_S
from tapewatch.simulate import polygon_faults as catalogue
from tapewatch.simulate.faults import ActiveFaults, Fault, kind_of
from tapewatch.simulate.market import seeded
from tapewatch.simulate.polygon_chain import BLOCK_S, Block, Chain, Listener
from tapewatch.simulate.polygon_logs import Layout, Tx, settled
from tapewatch.simulate.polygon_node import Node, limited
from tapewatch.simulate.polygon_rings import Ring, Rings
from tapewatch.simulate.polygon_socket import NodeSocket
from tapewatch.simulate.polymarket import PolymarketConfig, PolymarketServer
from tapewatch.simulate.polymarket_frames import Match
from tapewatch.simulate.polymarket_ledger import Ledger
from tapewatch.simulate.port import taken_text
from tapewatch.simulate.rest import ERROR_PAGE
from tapewatch.simulate.truth import Record

SHUTDOWN_S: Final = 1.0  # grace for clients when the server stops
GOING_AWAY: Final = 1001  # close code of a server that leaves (RFC 6455, 7.4.1)
BODY_BYTES: Final = 1 << 20  # of a request


class PolygonConfig(Struct, frozen=True, kw_only=True):
    """`market` is the Polymarket whose matches are settled; its `port` is free to choose, as is
    `port` of the node. `layout`: by which contracts; `mixed` takes turns by market."""

    market: PolymarketConfig = PolymarketConfig()
    port: int = 0
    layout: str = "v2"
    faults: tuple[Fault, ...] = ()
    rings: tuple[Ring, ...] = ()


class _Settling(Ledger):
    """The Data API's ledger, and the way of every match to the chain."""

    def __init__(self, settle: Callable[[Match], None]) -> None:
        super().__init__()
        self._settle = settle

    def add(self, match: Match, settled_ns: int) -> None:
        super().add(match, settled_ns)
        self._settle(match)


class PolygonServer:
    """`async with PolygonServer(config, clock) as server`: listening inside, gone outside.

    Raises `ConfigError` for what cannot be served, `TapewatchError` when a port is taken.
    """

    def __init__(self, config: PolygonConfig, clock: Clock) -> None:
        if config.layout not in {"v1", "v2", "mixed"}:
            raise ConfigError("layout is v1, v2 or mixed", "--layout")
        self._config = config
        base_ns = clock.now_ns()
        self.market = PolymarketServer(config.market, clock)
        self.active = ActiveFaults()
        self.chain = Chain(config.market.seed, lambda: self.market.now_ns() // NS_PER_S)
        self.chain.listener = Listener(self._removed, self._added)
        self.node = Node(self.chain, self.active, seeded(config.market.seed, "node"))
        self._base_ns = base_ns
        self._open: dict[str, list[Match]] = {}  # matches of transactions not yet in a block
        self.market.exchange.ledger = _Settling(self._match)
        self.rings = Rings(self.market, config.market.seed, base_ns)
        for ring in config.rings:
            self.rings.plant(ring)
        for fault in config.faults:
            whole = catalogue.complete(fault)
            self.market.agenda.at(whole.at_s, self._beginning(whole))
        self.market.agenda.at(0.0, self._mine)
        self._sockets: set[NodeSocket] = set()
        self._stack = AsyncExitStack()
        self._port = 0

    @property
    def _host(self) -> str:
        host = self._config.market.host
        return f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"

    @property
    def rpc_url(self) -> str:
        """JSON-RPC over HTTP."""
        return f"http://{self._host}/"

    @property
    def ws_url(self) -> str:
        """JSON-RPC with subscriptions."""
        return f"ws://{self._host}/ws"

    def fault(self, text: str) -> Callable[[], None]:
        """A fault now: `reorg,depth=5`. It lasts until the returned function is called."""
        head, comma, params = text.partition(",")
        fault = catalogue.parse(f"{head}@0{comma}{params}")
        self._begin(fault)
        return lambda: self.active.end(fault)

    async def over(self) -> None:
        """Wait for the end of the market, which has none. Raises what broke it, if anything."""
        await self.market.over()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_post("/", self._post)
        app.router.add_get("/ws", self._socket)
        runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_S
        )
        host = self._config.market.host
        await self._stack.enter_async_context(self.market)
        try:
            await runner.setup()
            self._stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, host, self._config.port).start()
        except OSError as error:
            await self._stack.aclose()
            if error.errno == errno.EADDRINUSE:
                raise TapewatchError(taken_text(self._config.port)) from error
            raise ConfigError(f"cannot listen on {host}: {error.strerror}") from error
        self._port = runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sockets = tuple(self._sockets)
        for socket in sockets:
            socket.leave(GOING_AWAY)
        await self._stack.aclose()
        for socket in sockets:
            socket.drop()  # a client that does not read would keep its socket for ever

    async def _post(self, request: web.Request) -> web.StreamResponse:
        self._awaken()
        page = self.active.find("F35")
        if page is not None:
            status = int(page.params["status"])
            return web.Response(
                status=status, text=ERROR_PAGE.format(status), content_type="text/html"
            )
        if limited(self.active.find("F33")):
            return web.Response(status=429, text="Too Many Requests")
        data = await request.read()
        broken = self.active.find("F41")
        if broken is not None and broken.params["frame"] in {"text", "empty"}:
            text = "upstream connect error" if broken.params["frame"] == "text" else ""
            return web.Response(text=text, content_type="application/json")
        body = json.encode(self.node.body(data))
        return web.Response(body=body, content_type="application/json")

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        self._awaken()
        socket = NodeSocket(request, self.node)
        self._sockets.add(socket)
        try:
            await socket.run()
        finally:
            self._sockets.discard(socket)
        return socket.socket

    def _awaken(self) -> None:
        """Recordings begin when somebody comes, here or at the Polymarket."""
        waiting = self.market.exchange.waiting
        for condition in tuple(waiting):
            waiting.pop(condition)()

    def _match(self, match: Match) -> None:
        self._open.setdefault(match.tx, []).append(match)

    def _mine(self, due_s: float) -> None:
        """Every two seconds, unless the chain stands still."""
        self.market.agenda.at(due_s + BLOCK_S, self._mine)
        if self.active.find("halt"):
            return
        matches, self._open = self._open, {}
        self.chain.pending += [self._settled(found) for found in matches.values()]
        self.chain.mine()

    def _settled(self, matches: list[Match]) -> Tx:
        layout: Layout = "v1" if self._config.layout == "v1" else "v2"
        if self._config.layout == "mixed" and matches[0].listing.number % 2:
            layout = "v1"
        return settled(matches, layout)

    def _added(self, block: Block) -> None:
        for socket in tuple(self._sockets):
            socket.block(block, removed=False)

    def _removed(self, block: Block) -> None:
        for socket in tuple(self._sockets):
            socket.block(block, removed=True)

    def _beginning(self, fault: Fault) -> Callable[[float], None]:
        def act(at_s: float) -> None:
            self._begin(fault)
            if fault.for_s:
                self.market.agenda.at(at_s + fault.for_s, lambda _: self.active.end(fault))

        return act

    def _begin(self, fault: Fault) -> None:
        """Do it, or let it be found where it acts; and write it down."""
        kind = kind_of(fault, catalogue.POLYGON, catalogue.VENUE)
        params = dict(fault.params)
        match fault.fault:
            case "reorg":
                depth, dropped = int(fault.params["depth"]), int(fault.params["dropped"])
                lost = self.chain.reorganise(depth, dropped)
                params["transactions"] = len(lost)
                self.chain.mine()  # the new chain is the longer one
            case "F11":
                for socket in tuple(self._sockets):
                    socket.leave(int(fault.params["code"]))
            case _:
                self.active.begin(fault)
        now = self._base_ns + round(max(fault.at_s, self.market.agenda.now()) * NS_PER_S)
        end = now + round(fault.for_s * NS_PER_S)
        record = Record(now, end, kind.name, "polygon:*", kind.code, params)
        self.market.truth.note(record)
