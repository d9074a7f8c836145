"""The whole path over a real local websocket, in virtual time: simulator, tape, engine, sinks."""

import asyncio
import pathlib
from collections.abc import Sequence

import msgspec
import pytest

from tapewatch.app.ledger import Ledger
from tapewatch.app.live import Live
from tapewatch.app.replay import Digest, check, replay
from tapewatch.app.sources import Sources
from tapewatch.detect.feed import Feed
from tapewatch.detect.staleness import Staleness
from tapewatch.detect.zscore import ZScore
from tapewatch.engine.engine import Engine
from tapewatch.io.store import Store
from tapewatch.io.tape_read import TapeReader
from tapewatch.io.tape_write import TapeWriter
from tapewatch.io.worker import WhenFull
from tapewatch.model.events import Event, Trade
from tapewatch.model.outputs import Alert, Output
from tapewatch.simulate.kraken import KrakenConfig, KrakenServer
from tapewatch.simulate.scenario import DEMO, DEMO_S, Scenario
from tapewatch.testing import virtual_time
from tapewatch.venues.kraken import Kraken

BTC = "kraken:BTC/USD"


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


class Session:
    """One short live session and what it left behind."""

    def __init__(self, folder: pathlib.Path, scenario: Scenario, seconds: float) -> None:
        self.folder, self.scenario, self.seconds = folder, scenario, seconds
        self.trades: list[Trade] = []
        self.ledger = Ledger(instruments=(BTC,))
        self.sink = Memory()
        self.digest = Digest()

    @staticmethod
    def engine(venue: Kraken) -> Engine:
        return Engine([venue], [ZScore(), Staleness(), Feed()])

    def run(self) -> "Session":
        virtual_time.run(self._run())
        return self

    async def _run(self) -> None:
        clock = virtual_time.loop_clock()
        config = KrakenConfig(symbols=("BTC/USD",), scenario=self.scenario)
        async with KrakenServer(config, clock) as server:
            self.server = server
            self.venue = Kraken(symbols=("BTC/USD",), url=server.ws_url, rest_url=server.rest_url)
            engine = self.engine(self.venue)
            self.ledger.started_ns = clock.now_ns()
            self.store = Store(self.folder / "alerts.sqlite")
            live = Live(
                engine,
                tape=TapeWriter(self.folder / "tape", config={}, version="test"),
                store=self.store,
                sinks=[self.sink],
                clock=clock,
                ledger=self.ledger,
                on_events=self._events,
            )
            sources = Sources([self.venue], live.inbox, clock)
            stop = asyncio.Event()
            asyncio.get_running_loop().call_later(self.seconds, stop.set)
            await live.run(sources, stop)
            self.ended_ns = clock.now_ns()
            self.counts = engine.counts

    def _events(self, events: Sequence[Event]) -> None:
        self.trades.extend(event for event in events if isinstance(event, Trade))

    @property
    def alerts(self) -> list[Alert]:
        return [out for out in self.sink.got if isinstance(out, Alert)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return Session(tmp_path_factory.mktemp("demo"), DEMO, DEMO_S).run()


def test_what_the_demo_plants_is_found(demo: Session) -> None:
    causes = {alert.cause for alert in demo.alerts}
    assert {"price_spike", "volume_spike", "feed", "silence"} <= causes


def test_no_trade_is_lost_or_invented(demo: Session) -> None:
    ids = [int(trade.trade_id) for trade in demo.trades]
    assert sorted(ids) == list(range(min(ids), max(ids) + 1))
    exchange = demo.server.exchange
    pair = exchange.pairs["BTC/USD"]
    served = {trade.id: trade for trade in exchange.recent("BTC/USD", 50_000)}
    for trade in demo.trades:
        sent = served[int(trade.trade_id)]
        ticks = round(trade.price * 10**pair.price_digits), round(trade.size * 10**pair.size_digits)
        assert (*ticks, trade.aggressor) == (sent.price, sent.size, sent.taker)


def test_gaps_are_filled_and_accounted_for(demo: Session) -> None:
    assert demo.ledger.gaps >= 1
    assert demo.ledger.filled >= 1
    assert 0.5 < demo.ledger.coverage(demo.ended_ns) < 1.0


def test_every_alert_is_on_the_tape_and_in_the_outbox_exactly_once(demo: Session) -> None:
    shown = [alert.id for alert in demo.alerts]
    taped = [
        msgspec.json.decode(line)["id"]
        for _, line in TapeReader(demo.folder / "tape").alerts()
        if b'"type":"alert"' in line
    ]
    assert shown == taped
    assert len(set(shown)) == len(shown)
    assert demo.store.counts() == {("memory", "delivered"): len(shown)}


def test_a_replay_says_what_was_said_live(demo: Session) -> None:
    tape = demo.folder / "tape"
    assert check(tape, demo.engine(demo.venue)) >= len(demo.alerts)
    one, two = (asyncio.run(replay(TapeReader(tape), demo.engine(demo.venue))) for _ in range(2))
    assert one == two
    assert one.events == demo.counts
