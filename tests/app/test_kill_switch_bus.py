"""KILL_SWITCH_ON over the whole path to a real Redis: what is said, and what is only detected."""

import asyncio
import pathlib
from collections.abc import Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from servers import redis_server
from tapewatch.app.build import engine_of
from tapewatch.app.config import assemble
from tapewatch.app.environment import Setting
from tapewatch.app.ledger import Ledger
from tapewatch.app.live import Listener, Live
from tapewatch.io.clock import SystemClock
from tapewatch.io.store import Store
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model.inputs import Command, Frame, Input, Timer
from tapewatch.model.outputs import Output, Suppressed
from tapewatch.model.time import NS_PER_MS, NS_PER_S
from tapewatch.sinks.bus import bus_sinks
from tapewatch.sinks.bus_settings import BusSettings
from tapewatch.venues.ndjson import Row, TradeRow

MARKET = "polymarket:0xaa"
T0 = 1_735_689_600 * NS_PER_S
CYCLE = 30 * NS_PER_S
GUARD_S = 30.0
BUS = BusSettings()


def cycle(number: int) -> list[Input]:
    """Two prices by turns, and a spike in every tenth cycle."""
    price = 0.6 if number % 10 == 9 else 0.49 + 0.02 * (number % 2)
    row = Row(trade=TradeRow(MARKET, T0 + number * CYCLE + 1, price, 10.0))
    frame = Frame(T0 + number * CYCLE + 1, "ndjson", msgspec.json.encode(row), "rest:import")
    return [frame, Timer(T0 + (number + 1) * CYCLE)]


def kill(number: int, word: str) -> Command:
    return Command(ts_recv=T0 + number * CYCLE, actor="test", op="kill", argument=word)


class Inputs:
    """Sources that play what they are told, up to `stop`."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()

    async def run(self) -> None:
        await self.stop.wait()

    async def close(self) -> None:
        self.stop.set()

    def serve(self, _: Any) -> None:
        """Nobody is asked for more."""


class Heard(Listener):
    """What the engine says, whether it goes out or not."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []

    def on_outputs(self, outputs: Sequence[Output]) -> None:
        self.outputs += outputs


class Path:
    """A live session whose inputs the test puts in, and what is on the bus."""

    def __init__(self, folder: pathlib.Path, url: str) -> None:
        said = [
            Setting(("source", "ndjson", "ids"), (MARKET,), "test"),
            Setting(("detector", "zscore", "cycle_s"), 30.0, "test"),
        ]
        self.engine = engine_of(assemble(said)[0])
        self.store = Store(folder / "alerts.sqlite")
        self.sinks = bus_sinks(
            BusSettings(publish_to=(url,)),
            mode="general_live",
            paused=lambda: self.engine.gate_state.kill != "off",
        )
        self.heard = Heard()
        self.live = Live(
            self.engine,
            tape=TapeWriter(folder / "tape", config={}, version="test"),
            store=self.store,
            sinks=self.sinks,
            clock=SystemClock(),
            ledger=Ledger(instruments=(MARKET,)),
            listener=self.heard,
        )
        self.redis = Redis.from_url(url)

    async def put(self, items: list[Input]) -> None:
        for item in items:
            await self.live.inbox.put(item)
        async with asyncio.timeout(GUARD_S):
            while self.engine.now < items[-1].ts_recv or self.live.waiting:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def owed(self, most: int) -> None:
        async with asyncio.timeout(GUARD_S):
            while self.store.counts().get((self.sinks[0].name, "pending"), 0) > most:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def emitted(self) -> list[int]:
        """Cycles in which what is on the bus was emitted."""
        found = []
        for topic in BUS.topics:
            for _, fields in await self.redis.xrange(topic):
                data = msgspec.json.decode(fields[b"event"])["data"]
                at = data.get("emitted_at_ms", 0) * NS_PER_MS or data["ts_alert_ns"]
                found.append((at - T0) // CYCLE)
        return found


def test_kill_switch_on_stops_the_bus_and_nothing_else(tmp_path: pathlib.Path) -> None:
    async def scenario(url: str) -> None:
        path, inputs, stop = Path(tmp_path, url), Inputs(), asyncio.Event()
        running = asyncio.create_task(path.live.run(inputs, stop))  # type: ignore[arg-type]
        await path.put([item for n in range(200) for item in cycle(n)])
        await path.owed(0)
        before = await path.emitted()
        assert max(before) == 200
        await path.put([kill(200, "on"), *(item for n in range(200, 260) for item in cycle(n))])
        assert await path.emitted() == before
        held = [out for out in path.heard.outputs if isinstance(out, Suppressed)]
        reasons = [out.reason for out in held if out.what == "report"]
        assert reasons.count("KILL_SWITCH_ACTIVE") == 60  # it went on detecting
        await path.put([kill(260, "off"), *(item for n in range(260, 320) for item in cycle(n))])
        await path.owed(0)
        after = await path.emitted()
        assert len(after) > len(before)
        assert not [cycle for cycle in after if 200 < cycle <= 260]
        stop.set()
        await running
        path.store.close()
        await path.redis.aclose()

    with redis_server() as server:
        asyncio.run(scenario(server.url))


def test_kill_switch_on_holds_what_was_said_before_it(tmp_path: pathlib.Path) -> None:
    """A bus that is down when the switch comes on, and back before it is released."""

    async def scenario(server: Any) -> None:
        path, inputs, stop = Path(tmp_path, server.url), Inputs(), asyncio.Event()
        running = asyncio.create_task(path.live.run(inputs, stop))  # type: ignore[arg-type]
        server.kill()
        await path.put([item for n in range(200) for item in cycle(n)])
        await path.put([kill(200, "on"), Timer(T0 + 201 * CYCLE)])
        await asyncio.to_thread(server.restart)
        worker = path.live.workers[0]
        async with asyncio.timeout(GUARD_S):
            while worker.last_error != "the kill switch is on":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await path.emitted() == []
        await path.put([kill(202, "off"), Timer(T0 + 203 * CYCLE)])
        await path.owed(0)
        assert len(await path.emitted()) > 20
        stop.set()
        await running
        path.store.close()
        await path.redis.aclose()

    with redis_server() as server:
        asyncio.run(scenario(server))
