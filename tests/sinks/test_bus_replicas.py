"""Two replicas of a service say the same. Claims save work; the ids make it right."""

import asyncio
import collections
import json
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis
from publishing_kit import (
    TOPIC,
    Box,
    make_report,
    nats_messages,
    owed,
    redis_events,
    run,
    until,
)

from servers import Server, free_port, nats_server, redis_server
from tapewatch.sinks.bus import BusSink, publisher
from tapewatch.sinks.bus_claims import RedisClaims
from tapewatch.sinks.bus_settings import BusSettings

REPORTS = 1_000
HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def claims() -> Iterator[Server]:
    with redis_server() as server:
        yield server


class Replica:
    """One process; `reach` waits until it has said so many reports."""

    def __init__(self, store: pathlib.Path, bus: str, claims: str, grace_s: float) -> None:
        words = [str(store), store.stem, bus, claims, str(REPORTS), str(grace_s)]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "replica.py"), *words], stdout=subprocess.PIPE, text=True
        )

    def reach(self, reports: int) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if int(line) >= reports:
                return
        raise AssertionError("it ended before")

    def finish(self) -> dict[str, int]:
        output, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        counters: dict[str, int] = json.loads(output.splitlines()[-1])
        return counters

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def seen(server: Server, scheme: str) -> collections.Counter[str]:
    """How often each id is on the bus."""

    async def ids() -> list[str]:
        if scheme == "redis":
            return [event["id"] for event in await redis_events(server.url, TOPIC)]
        return [message.headers["ce-id"] for message in await nats_messages(server.url, TOPIC)]

    return collections.Counter(asyncio.run(ids()))


EVERY = {f"rep_ad_0xf1a2_{number}" for number in range(REPORTS)}


@pytest.mark.parametrize("scheme", ["nats", "redis"])
def test_two_replicas_that_are_stopped_flushed_and_killed_lose_nothing(
    scheme: str, claims: Server, tmp_path: pathlib.Path
) -> None:
    """A is stopped for longer than the grace, the claims are flushed, A goes on, is killed in the
    middle and started again. A consumer that drops ids it knows misses none and sees none twice."""
    with redis_server() if scheme == "redis" else nats_server() as bus:
        one = Replica(tmp_path / "a.sqlite", bus.url, claims.url, 0.2)
        two = Replica(tmp_path / "b.sqlite", bus.url, claims.url, 0.2)
        try:
            one.reach(150)
            one.process.send_signal(signal.SIGSTOP)
            two.reach(350)
            with redis.Redis.from_url(claims.url) as client:
                client.flushall()
            two.reach(450)
            one.process.send_signal(signal.SIGCONT)
            one.reach(600)
            one.kill()
            two.finish()
            one = Replica(tmp_path / "a.sqlite", bus.url, claims.url, 0.2)
            one.finish()
        finally:
            one.kill()
            two.kill()
        found = seen(bus, scheme)
    assert found.keys() == EVERY
    twice = sum(found.values()) - REPORTS
    assert twice == 0 or scheme == "redis"  # NATS itself drops what it has
    assert twice < REPORTS / 2, f"{twice} raw duplicates: the claims save nothing"


def test_two_replicas_on_one_redis_publish_each_report_once(
    claims: Server, tmp_path: pathlib.Path
) -> None:
    """Without faults the claims are exact: nothing is sent twice."""
    with redis_server() as bus:
        both = [Replica(tmp_path / f"{n}.sqlite", bus.url, claims.url, 30.0) for n in "cd"]
        counters = [replica.finish() for replica in both]
        found = seen(bus, "redis")
    assert found.keys() == EVERY
    assert set(found.values()) == {1}
    assert sum(each["published"] for each in counters) == REPORTS
    assert sum(each["left"] for each in counters) == REPORTS
    assert sum(each["taken_over"] for each in counters) == 0


def replica_sink(bus: str, claims: str, name: str, **changes: float) -> BusSink:
    settings = BusSettings(**changes)  # type: ignore[arg-type]
    return BusSink(
        settings,
        publisher(settings, bus),
        mode="general_live",
        claims=RedisClaims(claims, name, settings.claim_ttl_s),
    )


def test_two_replicas_in_different_modes_do_not_silence_each_other(claims: Server) -> None:
    async def scenario(bus: str) -> None:
        settings = BusSettings(instance="modes")
        report = make_report(1)
        for mode in ("shadow_only", "general_live"):
            sink = BusSink(
                settings,
                publisher(settings, bus),
                mode=mode,  # type: ignore[arg-type]
                claims=RedisClaims(claims.url, mode, 60),
            )
            assert await sink.publish([owed(report)]) == [None]
            assert sink.counters.published == 1
            await sink.close()
        assert len(await redis_events(bus, TOPIC)) == 1
        assert len(await redis_events(bus, f"{TOPIC}.shadow")) == 1

    with redis_server() as bus:
        run(lambda: scenario(bus.url))


def test_what_another_one_claimed_and_did_not_publish_is_taken_over(
    claims: Server, tmp_path: pathlib.Path
) -> None:
    async def scenario(bus: str) -> None:
        dead = RedisClaims(claims.url, "dead", 60)
        key = f"claim:{bus}:{TOPIC}:rep_ad_0xf1a2_"
        assert await dead.take([f"{key}1", f"{key}2"]) == ["ours", "ours"]
        await dead.done([f"{key}2"])
        await dead.close()
        sink = replica_sink(bus, claims.url, "alive", claim_grace_s=0.3)
        async with Box(tmp_path, sink) as box:
            await box.say(make_report(1), make_report(2), make_report(3))
            await box.until(3)
            row = box.store.counts()
        assert row == {(sink.name, "delivered"): 3}
        assert (sink.counters.published, sink.counters.left, sink.counters.taken_over) == (2, 1, 1)
        assert [event["id"][-1] for event in await redis_events(bus, TOPIC)] == ["3", "1"]

    with redis_server() as bus:
        run(lambda: scenario(bus.url))


def test_without_redis_everything_is_published(tmp_path: pathlib.Path) -> None:
    secret = "hunter2"
    nobody = f"redis://:{secret}@127.0.0.1:{free_port()}"

    async def scenario(bus: str) -> None:
        sink = replica_sink(bus, nobody, "alone")
        async with Box(tmp_path, sink) as box:
            for number in range(5):
                await box.say(make_report(number))
                await box.until(number + 1)
            kept = sink._claims
            assert isinstance(kept, RedisClaims)
            assert 1 <= kept.failures <= 2  # it is not asked every time
            assert kept.trouble
            assert secret not in kept.trouble
            assert box.worker.last_error == ""

    with redis_server() as bus:
        run(lambda: scenario(bus.url))


def test_a_redis_that_hangs_does_not_hang_the_bus(tmp_path: pathlib.Path) -> None:
    async def scenario(bus: str, claims: Server) -> None:
        sink = replica_sink(bus, claims.url, "patient")
        async with Box(tmp_path, sink) as box:
            await box.say(make_report(1))
            await box.until(1)
            claims.process.send_signal(signal.SIGSTOP)
            await box.say(make_report(2))
            await box.until(2)
            claims.process.send_signal(signal.SIGCONT)
            kept = sink._claims
            assert isinstance(kept, RedisClaims)
            assert kept.failures > 0

    with redis_server() as bus, redis_server() as stopped:
        run(lambda: scenario(bus.url, stopped))


def test_claims_are_told_apart_and_end(claims: Server) -> None:
    async def scenario() -> None:
        one, two = (RedisClaims(claims.url, name, ttl_s=60) for name in ("one", "two"))
        short = RedisClaims(claims.url, "short", ttl_s=0.05)
        assert await one.take(["k1", "k2"]) == ["ours", "ours"]
        assert await one.take(["k1"]) == ["ours"]
        assert await two.take(["k1", "k2", "k3"]) == ["theirs", "theirs", "ours"]
        await one.done(["k1"])
        assert await two.take(["k1"]) == ["done"]
        assert await one.take(["k1"]) == ["done"]
        await one.done([])
        assert await short.take(["k4"]) == ["ours"]
        with redis.Redis.from_url(claims.url) as client:
            await until(lambda: not client.exists("k4"))
            assert 0 < client.pttl("k1") <= 60_000
        for each in (one, two, short):
            assert each.failures == 0
            await each.close()

    run(scenario)
