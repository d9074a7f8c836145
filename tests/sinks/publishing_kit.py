"""Outputs, outboxes and consumers for the tests of publishing."""

import asyncio
import pathlib
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

import msgspec
import nats
from redis.asyncio import Redis

from tapewatch.io.outbox import OutboxSink, OutboxWorker
from tapewatch.io.store import Owed, Store
from tapewatch.model.outputs import Alert, DataVerdict, Report
from tapewatch.sinks.bus_settings import BusSettings

CONDITION = "0x" + "ab12" * 16
INSTRUMENT = f"polymarket:{CONDITION}"
TOPIC = BusSettings().topic
GUARD_S = 30.0  # real seconds; a guard, not a measurement


def make_report(number: int, *, anomalous: bool = False, **changes: Any) -> Report:
    base: dict[str, Any] = {
        "report_id": f"rep_ad_0xf1a2_{number}",
        "trace_id": "trc_0xbeef0102030405060716",
        "bot_id": "intel.anomalydetector",
        "condition_id": CONDITION,
        "anomaly_detected": anomalous,
        "z_price": 3.8 if anomalous else 0.2,
        "z_vol": 1.2,
        "warnings": ("ANOMALYDETECTOR_PRICE_SPIKE",) if anomalous else (),
        "emitted_at_ms": 1_746_703_005_000 + number,
        "instrument": INSTRUMENT,
        "low_confidence": False,
        "baseline_sample_count": 120,
        "poll_cycle_ms": 1_746_703_000_000 + number,
        "market": "nfl-game · Yes",
    }
    return Report(**(base | changes))


def make_alert(number: int = 1, instrument: str = INSTRUMENT, **changes: Any) -> Alert:
    base: dict[str, Any] = {
        "id": f"{number:032x}",
        "incident": "i1",
        "instrument": instrument,
        "detector": "price_jump",
        "cause": "price_jump",
        "severity": "warn",
        "ts_event_ns": 1_746_703_005_000_000_000,
        "ts_alert_ns": 1_746_703_005_123_456_789,
        "onset_ns": 1,
        "p": 1e-5,
        "p_extrapolated": False,
        "score": 5.0,
        "line": 3.5,
        "observed": 0.91,
        "expected": 0.62,
        "data_verdict": DataVerdict("complete"),
    }
    return Alert(**(base | changes))


def owed(output: Alert | Report, mode: str = "") -> Owed:
    """A row of an outbox that does not exist."""
    return Owed(1, output, msgspec.json.encode(output), mode, 0)


def ids(reports: Sequence[Report]) -> list[str]:
    return [report.report_id for report in reports]


class Box:
    """A store and the worker that empties it."""

    def __init__(self, folder: pathlib.Path, sink: OutboxSink, buffer: int = 10_000) -> None:
        self.sink = sink
        self.store = Store(folder / f"{id(self)}.sqlite", buffer=buffer)
        self.worker = OutboxWorker(sink, rng=random.Random(7), store=self.store)

    async def say(self, *outputs: Alert | Report, mode: str = "general_live") -> None:
        """What `Live` does with outputs."""
        self.store.add(outputs, [self.sink.name], [self.sink.name], mode=mode)
        await self.worker.offer(outputs)

    async def until(self, count: int, state: str = "delivered") -> None:
        """Wait until so many rows are in `state`."""
        counts = self.store.counts
        await until(lambda: counts().get((self.sink.name, state), 0) >= count)  # type: ignore[call-overload]

    async def __aenter__(self) -> Self:
        self.worker.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.worker.drain(1)
        self.store.close()


async def until(true: Callable[[], bool]) -> None:
    """Look again and again, with a guard."""
    async with asyncio.timeout(GUARD_S):
        while not true():  # noqa: ASYNC110  what real servers and threads do
            await asyncio.sleep(0.01)


async def redis_events(url: str, topic: str) -> list[dict[str, Any]]:
    """Every event of a Redis stream, duplicates included."""
    async with Redis.from_url(url) as redis:
        entries = await redis.xrange(topic)
    return [msgspec.json.decode(fields[b"event"]) for _, fields in entries]


async def nats_messages(url: str, topic: str) -> list[Any]:
    """Every message that a JetStream keeps of `topic`."""
    client = await nats.connect(url)
    try:
        subscription = await client.jetstream().pull_subscribe(topic)
        left = (await subscription.consumer_info()).num_pending or 0
        found: list[Any] = []
        while len(found) < left:
            found += await subscription.fetch(min(left - len(found), 100), timeout=GUARD_S)
        return found
    finally:
        await client.close()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """In real time, with a guard."""

    async def guarded() -> None:
        async with asyncio.timeout(2 * GUARD_S):
            await scenario()

    asyncio.run(guarded())
