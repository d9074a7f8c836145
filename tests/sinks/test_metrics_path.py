"""Metrics at the end of the real path: frames, decoder, detector, gate, worker, page."""

import asyncio
import pathlib
import random
from collections.abc import Iterator

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tapewatch.detect.zscore import ZScore
from tapewatch.engine.engine import Engine
from tapewatch.gate.gate import Gate
from tapewatch.io.inbox import Inbox
from tapewatch.io.poller import Counters as PollCounters
from tapewatch.io.tape_write import TapeWriter
from tapewatch.io.websocket import Counters as SocketCounters
from tapewatch.io.worker import Worker
from tapewatch.model.inputs import Command, Frame, Input, Link, Timer
from tapewatch.model.time import NS_PER_S
from tapewatch.sinks import metrics_names as names
from tapewatch.sinks.metrics import Metrics
from tapewatch.sinks.metrics_settings import MetricsSettings
from tapewatch.sinks.metrics_vitals import Vitals, take
from tapewatch.venues.ndjson import Ndjson

T0 = 1_767_225_600 * NS_PER_S
MARKET = "ndjson:game"
WARM, SECONDS, SPIKE = 40, 100, 80


class Service:
    """One market, a cycle a second, and everything that stands between its frames and the page."""

    def __init__(self) -> None:
        self.now = T0
        self.engine = Engine([Ndjson(ids=(MARKET,))], [ZScore(min_samples=30)], Gate())
        self.metrics = Metrics(MetricsSettings(), self, detectors=("zscore",))
        self.worker = Worker(self.metrics, rng=random.Random(0))

    def now_ns(self) -> int:
        return self.now

    def frame(self, price: float) -> Frame:
        row = {"instrument": MARKET, "ts_event": self.now, "price": price, "size": 1.0}
        return Frame(self.now, "ndjson", msgspec.json.encode({"trade": row}))

    async def take_in(self, *inputs: Input) -> None:
        for item in inputs:
            await self.worker.offer(self.engine.step(item))

    async def second(self, price: float | None) -> None:
        """A second with a trade, or without any."""
        self.now += NS_PER_S
        if price is not None:
            await self.take_in(self.frame(price))
        await self.take_in(Timer(self.now))

    def value(self, name: str, **labels: str) -> float:
        text = self.metrics.render()[0].decode()
        families = text_string_to_metric_families(text)
        samples = (s for family in families for s in family.samples if s.name == name)
        return sum(s.value for s in samples if labels.items() <= s.labels.items())


def prices() -> Iterator[float]:
    """A quiet market that moves by a tick, and one spike of far more than five deviations."""
    for i in range(SECONDS):
        yield 0.62 + 0.01 * (i % 3) if i != SPIKE else 0.91


def test_synthetic_price_spike() -> None:
    service = Service()

    async def run() -> None:
        service.worker.start()
        for price in prices():
            await service.second(price)
        assert await service.worker.drain(5.0)

    asyncio.run(run())
    assert service.worker.counters.dropped == 0
    assert service.value(names.CYCLES) == SECONDS
    assert service.value(names.ANOMALIES, type="price_spike") == 1
    assert service.value(names.HIGH_Z, metric="price") == 1
    assert service.value(names.ALERTS, cause="price_spike") == 1
    assert service.value(names.Z_PEAK, market=MARKET, metric="price") > 5
    assert service.value(names.REPORTS, anomaly_detected="true") == 1


def test_kill_switch_on() -> None:
    service = Service()

    async def run() -> None:
        service.worker.start()
        await service.take_in(Command(T0, "file", "kill", "on"))
        for price in prices():
            await service.second(price)
        assert await service.worker.drain(5.0)

    asyncio.run(run())
    assert service.value(names.REPORTS) == service.value(names.ALERTS) == 0
    assert service.value(names.CYCLES) == SECONDS
    assert service.value(names.HIGH_Z, metric="price") == 1
    assert service.value(names.SUPPRESSED, what="report", reason="KILL_SWITCH_ACTIVE") == SECONDS


def test_the_feed_is_lost() -> None:
    """No cycle is judged, the z-score goes away, and the baseline grows old: the Stale rule sees
    the first, whoever looks at the page the others."""
    service = Service()

    async def run() -> None:
        service.worker.start()
        await service.take_in(Link(T0, "ndjson", "up"))
        for _ in range(WARM):
            await service.second(0.62)
        await service.take_in(Link(service.now, "ndjson", "down", "gone"))
        for _ in range(600):
            await service.second(None)
        assert await service.worker.drain(5.0)

    asyncio.run(run())
    assert service.value(names.CYCLES) == WARM
    assert service.value(names.LINK_UP, source="ndjson") == 0
    assert service.value(names.MARKETS) == 0
    assert service.value(names.AGE, market=MARKET) == 600


def test_vitals_are_read_from_the_session(tmp_path: pathlib.Path) -> None:
    service = Service()
    tape = TapeWriter(tmp_path / "tape", config={}, version="0")
    inbox = Inbox()

    def vitals() -> Vitals:
        return take(
            service.engine,
            inbox=inbox,
            tape=tape,
            workers=[service.worker],
            sockets=[SocketCounters(frames=3), SocketCounters(frames=4, connects=1)],
            polls=PollCounters(fetched=5),
            version="9",
        )

    async def run() -> None:
        service.worker.start()
        service.metrics.vitals = vitals
        await service.take_in(Command(T0, "file", "kill", "unknown"))
        await service.second(0.62)
        await inbox.put(Timer(T0))
        assert await service.worker.drain(5.0)

    asyncio.run(run())
    assert service.value(names.BUILD, version="9") == 1
    assert service.value(names.INPUTS) == 3
    assert service.value(names.EVENTS, type="Trade") == 1
    assert service.value(names.INBOX) == 1
    assert service.value(names.SOCKET, what="frames") == 7
    assert service.value(names.HTTP, result="fetched") == 5
    assert service.value(names.KILL, state="unknown") == 1
    assert service.value(names.RECORDING) == 1
    assert service.value(names.STATES, detector="zscore") == 1
    assert service.value(names.ALARMS, what="budget") == pytest.approx(6.0)
    delivered = service.value(names.SINK_OUTPUTS, sink="metrics", result="delivered")
    assert delivered == service.worker.counters.delivered > 0
    tape.close()
