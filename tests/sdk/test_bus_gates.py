"""Gates that read a bus, against real servers: NATS with JetStream, and Redis.

S2-INT-1 is in `test_liquidity_guard.py`.
"""

import asyncio
import pathlib
from collections.abc import Iterator
from typing import Any

import nats
import pytest
from bus_kit import CONDITION, SPIKE, alert, binary, now_ns, report, structured
from redis.asyncio import Redis

from servers import Server, nats_server, redis_server
from tapewatch.gate import NatsGate, RedisGate
from tapewatch.model.errors import ConfigError
from tapewatch.model.outputs import Alert, Report
from tapewatch.model.reasons import Reason
from tapewatch.sdk.bus_gate import ALERTS, REPORTS, BusGate
from tapewatch.sdk.shadow_log import ShadowLog

GUARD_S = 30.0
SHADOWED = f"{REPORTS}.shadow"


class Ahead:
    """The machine's clock, set ahead on demand."""

    def __init__(self) -> None:
        self.by_s = 0.0

    def now_ns(self) -> int:
        return now_ns() + int(self.by_s * 1e9)


class Bus:
    """A server, how to publish on it, and the gate that reads it."""

    def __init__(self, kind: str, server: Server) -> None:
        self.kind, self.server = kind, server

    def gate(self, **options: Any) -> BusGate:
        """Its `told` holds what it was told."""
        self.told: asyncio.Queue[Report | Alert] = asyncio.Queue(1_000)
        options.setdefault("on_told", self.told.put_nowait)
        make = NatsGate if self.kind == "nats" else RedisGate
        return make(self.server.url, **options)

    async def heard(self, *told: Report | Alert, topic: str = REPORTS) -> None:
        """Publish, and wait until the gate has it."""
        await self.publish(topic, *told)
        async with asyncio.timeout(GUARD_S):
            for one in told:
                while await self.told.get() != one:
                    continue

    async def publish(self, topic: str, *told: Report | Alert) -> None:
        if self.kind == "redis":
            client = Redis.from_url(self.server.url)
            for one in told:
                await client.xadd(topic, {"event": structured(one)})
            await client.aclose()
            return
        link = await nats.connect(self.server.url)
        stream = link.jetstream()
        await stream.add_stream(name="tapewatch", subjects=["polytraders.>", "tapewatch.>"])
        for one in told:
            data, headers = binary(one)
            await stream.publish(topic, data, headers=headers)
        await link.close()

    async def rubbish(self, topic: str) -> None:
        if self.kind == "redis":
            client = Redis.from_url(self.server.url)
            await client.xadd(topic, {"event": b"{]", "other": b"\xff"})
            await client.xadd(topic, {"nothing": b"here"})
            await client.aclose()
            return
        link = await nats.connect(self.server.url)
        await link.publish(topic, b"{]")
        await link.publish(topic, b"", headers={"ce-type": "tapewatch.alert.v1"})
        await link.close()


@pytest.fixture(params=["nats", "redis"])
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    start = nats_server if request.param == "nats" else redis_server
    with start() as server:
        yield Bus(request.param, server)


def test_a_report_is_known_to_a_strategy_as_soon_as_it_is_published(bus: Bus) -> None:
    async def scenario() -> None:
        async with bus.gate() as gate:
            assert gate.check(CONDITION).reason == Reason.SERVICE_SILENT
            await bus.heard(report())
            allowed = gate.check(CONDITION)
            assert (allowed.action, allowed.name) == ("allow", "nfl-game · Yes")
            await bus.heard(report(anomalous=True))
            blocked = await gate.ask("nfl-game")
            assert (blocked.action, blocked.reason, blocked.score) == ("block", SPIKE, 8.4)

    asyncio.run(scenario())


def test_alerts_are_read_as_well(bus: Bus) -> None:
    async def scenario() -> None:
        async with bus.gate() as gate:
            await bus.heard(report())
            await bus.heard(alert(), topic=ALERTS)
            widened = gate.check(CONDITION)
            assert (widened.action, widened.reason) == ("widen", "price_jump")
            assert widened.evidence == "a1"

    asyncio.run(scenario())


def test_what_is_on_trial_is_told_and_binds_nobody(bus: Bus) -> None:
    async def scenario() -> None:
        async with bus.gate() as gate:
            await bus.heard(report(anomalous=True), topic=SHADOWED)
            trial = gate.check(CONDITION)
            assert (trial.action, trial.shadow, trial.reason) == ("allow", "block", SPIKE)

    asyncio.run(scenario())


def test_one_who_starts_late_knows_what_was_said_just_before(bus: Bus) -> None:
    async def scenario() -> None:
        await bus.publish(REPORTS, *(report() for _ in range(250)), report(anomalous=True))
        async with bus.gate() as gate:  # entering waits for what the bus has kept
            advice = gate.check(CONDITION)
            assert advice.action == "block"
            assert advice.expires_at_ns <= now_ns() + 10_000_000_000
            assert gate.counters.messages >= 251

    asyncio.run(scenario())


def test_rubbish_is_counted_and_passed_over(bus: Bus) -> None:
    async def scenario() -> None:
        async with bus.gate() as gate:
            await bus.heard(report())
            await bus.rubbish(REPORTS)
            await bus.heard(report(anomalous=True))
            assert gate.check(CONDITION).action == "block"
            assert gate.counters.malformed == 2
            assert gate.trouble

    asyncio.run(scenario())


def test_a_bus_that_dies_leaves_the_safe_side_and_its_return_is_noticed(bus: Bus) -> None:
    async def scenario() -> None:
        clock = Ahead()
        async with bus.gate(clock=clock) as gate:
            await bus.heard(report())
            assert gate.check(CONDITION).action == "allow"
            bus.server.kill()
            assert gate.check(CONDITION).action == "allow"  # what was heard is still current
            clock.by_s = 61.0
            gone = gate.check(CONDITION)
            assert (gone.action, gone.reason) == ("block", Reason.SERVICE_SILENT)
            clock.by_s = 0.0
            bus.server.restart()
            await bus.heard(report(anomalous=True))
            assert gate.check(CONDITION).reason == SPIKE
            assert gate.counters.lost >= 1

    asyncio.run(scenario())


def test_a_caller_without_an_event_loop_uses_it_the_same(bus: Bus, tmp_path: pathlib.Path) -> None:
    log = ShadowLog(tmp_path / "shadow.ndjson")
    asyncio.run(bus.publish(REPORTS, report(anomalous=True)))
    with bus.gate(shadow_log=log) as gate:
        assert gate.check("nfl-game").action == "block"
    assert '"block"' in log.path.read_text()


def test_a_mistake_in_the_callback_is_not_swallowed(bus: Bus) -> None:
    async def scenario() -> None:
        failed = asyncio.Event()

        def fail(_: Report | Alert) -> None:
            failed.set()
            raise KeyError("mine")

        gate = bus.gate(on_told=fail)
        await gate.__aenter__()
        await bus.publish(REPORTS, report())
        async with asyncio.timeout(GUARD_S):
            await failed.wait()
        with pytest.raises(KeyError, match="mine"):
            gate.check(CONDITION)
        with pytest.raises(KeyError, match="mine"):
            await gate.__aexit__()

    asyncio.run(scenario())


@pytest.mark.parametrize("make", [NatsGate, RedisGate])
def test_without_a_server_a_strategy_starts_and_is_on_the_safe_side(make: Any) -> None:
    scheme = "nats" if make is NatsGate else "redis"

    async def scenario() -> None:
        async with make(f"{scheme}://user:secret@127.0.0.1:1") as gate:
            assert gate.check(CONDITION).action == "block"
            assert "secret" not in gate.trouble
            assert "127.0.0.1:1" in gate.trouble

    asyncio.run(scenario())


@pytest.mark.parametrize("make", [NatsGate, RedisGate])
def test_an_address_of_something_else_is_refused_without_its_password(make: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        make("http://user:secret@127.0.0.1:1")
    assert "secret" not in str(caught.value)
