"""A live session against the simulator in virtual time, for the tests of the whole path."""

import asyncio
import pathlib
from collections.abc import Sequence

from tapewatch.app.ledger import Ledger
from tapewatch.app.live import Listener, Live
from tapewatch.app.sources import Sources
from tapewatch.detect.driftlock import Driftlock
from tapewatch.detect.feed import Feed
from tapewatch.detect.staleness import Staleness
from tapewatch.detect.zscore import ZScore
from tapewatch.engine.engine import Engine
from tapewatch.io.store import Store
from tapewatch.io.tape_write import TapeWriter
from tapewatch.io.worker import WhenFull
from tapewatch.model.events import Event, Trade
from tapewatch.model.outputs import Alert, Output
from tapewatch.simulate.kraken import KrakenConfig, KrakenServer
from tapewatch.testing import virtual_time
from tapewatch.venues.kraken import Kraken


class Memory:
    """A sink that keeps what it gets."""

    name = "memory"
    accepts = (Alert,)
    durable = True
    when_full: WhenFull = "spill"

    def __init__(self) -> None:
        self.got: list[Output] = []

    async def deliver(self, batch: Sequence[Output], /) -> None:
        self.got.extend(batch)


class _Trades(Listener):
    """Collects trades."""

    def __init__(self, trades: list[Trade]) -> None:
        self._trades = trades

    def on_events(self, events: Sequence[Event]) -> None:
        self._trades.extend(event for event in events if isinstance(event, Trade))


class Session:
    """One short live session and what it left behind."""

    def __init__(self, folder: pathlib.Path, seconds: float, market: KrakenConfig) -> None:
        self.folder, self.seconds, self.market = folder, seconds, market
        self.trades: list[Trade] = []
        self.ledger = Ledger(instruments=tuple(f"kraken:{symbol}" for symbol in market.symbols))
        self.sink = Memory()

    def engine(self, shard: tuple[int, int] = (0, 1)) -> Engine:
        """A fresh engine such as the session had."""
        return Engine([self.venue], [Driftlock(), ZScore(), Staleness(), Feed()], shard=shard)

    @property
    def tape(self) -> pathlib.Path:
        return self.folder / "tape"

    def run(self) -> "Session":
        virtual_time.run(self._run())
        return self

    async def _run(self) -> None:
        clock = virtual_time.loop_clock()
        async with KrakenServer(self.market, clock) as server:
            self.server = server
            self.venue = Kraken(
                symbols=self.market.symbols, url=server.ws_url, rest_url=server.rest_url
            )
            engine = self.engine()
            self.ledger.started_ns = clock.now_ns()
            self.store = Store(self.folder / "alerts.sqlite")
            live = Live(
                engine,
                tape=TapeWriter(self.folder / "tape", config={}, version="test"),
                store=self.store,
                sinks=[self.sink],
                clock=clock,
                ledger=self.ledger,
                listener=_Trades(self.trades),
            )
            sources = Sources(
                [self.venue], live.inbox, clock, state=live.engine.venue_states.__getitem__
            )
            stop = asyncio.Event()
            asyncio.get_running_loop().call_later(self.seconds, stop.set)
            await live.run(sources, stop)
            self.ended_ns = clock.now_ns()
            self.counts = engine.counts

    @property
    def alerts(self) -> list[Alert]:
        return [out for out in self.sink.got if isinstance(out, Alert)]
