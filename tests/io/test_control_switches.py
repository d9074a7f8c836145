"""Kill switches in several places: how they combine, and each place by itself, for real."""

import asyncio
import pathlib
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import nats
import pytest
import redis
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from switch_kit import Script, Watched, guarded

from servers import Server, nats_server, redis_server
from tapewatch.io.control import Order, write
from tapewatch.io.control_switches import KillSwitchSettings
from tapewatch.model.errors import ConfigError
from tapewatch.testing import virtual_time

ON, OFF = Order(active=True, actor="ops", reason="too loud"), Order(active=False)


@pytest.fixture(scope="module")
def store() -> Iterator[Server]:
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module")
def bus() -> Iterator[Server]:
    with nats_server() as server:
        yield server


def test_on_anywhere_is_on_and_says_who_and_why() -> None:
    async def scenario() -> None:
        one, two = Script("file", OFF), Script("url", OFF)
        watched = Watched(readers=[one, two])
        assert await watched.poll() is None
        two.said = ON
        assert await watched.poll() == ("ops", "on: too loud")
        assert await watched.poll() is None
        one.said = Order(active=True)
        assert await watched.poll() is None  # it is on already
        two.said = OFF
        assert await watched.poll() is None
        one.said = Order(active=False, actor="ops")
        assert await watched.poll() == ("ops", "off")

    guarded(scenario())


def test_unreadable_once_is_forgiven_twice_counts_as_on() -> None:
    async def scenario() -> None:
        one, two = Script("file", OFF), Script("redis", OFF)
        watched = Watched(readers=[one, two])
        assert await watched.poll() is None
        two.said = "Redis is full"
        assert await watched.poll() is None
        assert await watched.poll() == ("redis", "unknown: Redis is full")
        assert watched.switches.places() == [
            ("file", "off", ""),
            ("redis", "unknown", "Redis is full"),
        ]
        one.said = ON
        assert await watched.poll() == ("ops", "on: too loud")
        one.said = OFF
        assert await watched.poll() == ("redis", "unknown: Redis is full")
        two.said = OFF
        assert await watched.poll() == ("file, redis", "off")

    guarded(scenario())


def test_at_first_there_is_no_second_chance() -> None:
    watched = Watched(readers=[Script("url", "gone")])
    assert guarded(watched.poll()) == ("url", "unknown: gone")


def test_what_was_on_and_cannot_be_read_stays_held() -> None:
    async def scenario() -> None:
        one = Script("url", ON)
        watched = Watched(readers=[one])
        await watched.poll()
        one.said = "gone"
        assert await watched.poll() is None
        assert await watched.poll() == ("url", "unknown: gone")

    guarded(scenario())


def test_what_an_earlier_process_passed_on_is_no_change() -> None:
    assert guarded(Watched("on", [Script("file", ON)]).poll()) is None
    assert guarded(Watched("unknown", [Script("file", OFF)]).poll()) == ("file", "off")


def test_one_that_hangs_does_not_keep_the_others_waiting() -> None:
    async def scenario() -> list[tuple[float, str]]:
        loop, found = asyncio.get_running_loop(), []
        stuck, other = Script("url", None), Script("file", OFF)
        watched = Watched(readers=[stuck, other], poll_s=1.0)
        running = asyncio.create_task(watched.switches.run())
        for at in range(1, 6):
            await asyncio.sleep(at - loop.time())
            other.said = ON if at == 3 else OFF
            stuck.said = None if at < 4 else OFF
            found += [(loop.time(), c.argument) for c in watched.given[len(found) :]]
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert stuck.closed
        assert other.closed
        return found

    told = virtual_time.run(scenario())
    assert [what for _, what in told] == [
        "unknown: url does not answer within 0.8 s", "on: too loud", "off",
    ]  # fmt: skip
    assert [at for at, _ in told] == [1.0, 4.0, 5.0]


@given(st.lists(st.lists(st.sampled_from([ON, OFF, "gone"]), min_size=2, max_size=2), max_size=12))
def test_it_is_never_off_while_any_place_is_not(steps: list[list[Any]]) -> None:
    async def scenario() -> None:
        readers = [Script("a", OFF), Script("b", OFF)]
        watched = Watched(readers=readers)
        failed = [1, 1]
        for step in steps:
            for number, (reader, said) in enumerate(zip(readers, step, strict=True)):
                reader.said = said
                failed[number] = failed[number] + 1 if said == "gone" else 0
            await watched.poll()
            if ON in step:
                assert watched.switches.state == "on"
            elif max(failed) >= 2:
                assert watched.switches.state != "off"
            elif step == [OFF, OFF]:
                assert watched.switches.state == "off"

    asyncio.run(scenario())


def test_the_file(tmp_path: pathlib.Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "kill"
        watched = Watched(file=str(path))
        assert await watched.poll() is None
        write(path, "on", actor="ops", reason="too loud", now_ns=1)
        assert await watched.poll() == ("ops", "on: too loud")
        path.write_text("o")
        assert await watched.poll() is None
        told = await watched.poll()
        assert told is not None
        assert told[1] == f"unknown: {path} cannot be read or understood"
        path.unlink()
        assert await watched.poll() == ("file", "off")
        await watched.switches.close()

    guarded(scenario())


class Service:
    """A service on loopback that answers as it is told."""

    def __init__(self) -> None:
        self.status, self.body = 200, b'{"active": false}'
        self.silent = False

    async def answer(self, _: web.Request) -> web.Response:
        if self.silent:
            await asyncio.Event().wait()
        return web.Response(body=self.body, status=self.status, content_type="application/json")


async def serving(service: Service) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_get("/kill", service.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/kill"


def test_an_http_service() -> None:
    async def scenario() -> None:
        service = Service()
        runner, url = await serving(service)
        watched = Watched(url=url, poll_s=0.3)
        assert await watched.poll() is None
        service.body = b'{"status": "ACTIVE", "reason": "maintenance"}'
        assert await watched.poll() == ("url", "on: maintenance")
        for status, body, silent, why in (
            (500, b"", False, "down or overloaded (500)"),
            (302, b"on", False, "answers 302"),
            (404, b"off", False, "answers 404"),
            (200, b"<html>", False, "says neither on nor off"),
            (200, b"off" + b" " * 5_000, False, "says neither on nor off"),
            (200, b"off", True, "answer within 0.24 s"),
        ):
            service.status, service.body, service.silent = status, body, silent
            assert why in await watched.until("unknown")
            service.status, service.body, service.silent = 200, b"off", False
            assert await watched.until("off") == "off"
        await runner.cleanup()
        assert "connection refused" in await watched.until("unknown")
        await watched.switches.close()

    guarded(scenario())


def test_a_key_in_redis(store: Server) -> None:
    async def scenario() -> None:
        with redis.Redis.from_url(store.url) as operator:
            operator.flushall()
            watched = Watched(redis_url=store.url)
            assert await watched.poll() is None  # never thrown
            operator.set("killswitch", '{"active": true, "actor": "risk", "reason": "limit"}')
            assert await watched.poll() == ("risk", "on: limit")
            operator.set("killswitch", "INACTIVE")
            assert await watched.poll() == ("redis", "off")
            operator.set("killswitch", "x" * 5_000)
            assert "neither on nor off" in await watched.until("unknown")
            operator.delete("killswitch")
            operator.rpush("killswitch", "on")
            await watched.poll()
            assert watched.switches.state == "unknown"
            operator.delete("killswitch")
            assert await watched.until("off") == "off"
            await watched.switches.close()

    guarded(scenario())


def test_emptying_redis_does_not_release_the_switch(store: Server) -> None:
    async def scenario() -> None:
        with redis.Redis.from_url(store.url) as operator:
            operator.set("killswitch", "on")
            watched = Watched(redis_url=store.url)
            assert await watched.poll() == ("redis", "on")
            operator.flushall()
            assert "has gone while it was on" in await watched.until("unknown")
            again = Watched("on", redis_url=store.url)  # a process that goes on with the session
            assert "has gone while it was on" in await again.until("unknown")
            operator.set("killswitch", "off")
            for one in (watched, again):
                assert await one.until("off") == "off"
                await one.switches.close()

    guarded(scenario())


def test_a_redis_that_hangs_or_dies() -> None:
    async def scenario() -> None:
        with redis_server() as server:
            watched = Watched(redis_url=server.url, poll_s=0.3)
            assert await watched.poll() is None
            server.process.send_signal(signal.SIGSTOP)
            assert "answer" in await watched.until("unknown")
            server.process.send_signal(signal.SIGCONT)
            await watched.until("off")
            server.kill()
            assert "refused or lost the connection" in await watched.until("unknown")
            server.restart()
            await watched.until("off")
            await watched.switches.close()

    guarded(scenario())


def test_a_subject_of_nats(bus: Server) -> None:
    async def scenario() -> None:
        watched = Watched(bus_url=bus.url, bus_subject="ops.kill")
        assert await watched.poll() is None
        operator = await nats.connect(bus.url)
        await operator.publish("ops.kill", b'{"active": true, "actor": "risk"}')
        assert await watched.until("on") == "on"
        assert watched.given[-1].actor == "risk"
        await operator.publish("ops.kill", b"perhaps")
        assert "ops.kill says neither" in await watched.until("unknown")
        await operator.publish("ops.kill", b"off")
        assert await watched.until("off") == "off"
        await operator.close()
        await watched.switches.close()

    guarded(scenario())


def test_what_a_jetstream_keeps_holds_after_a_start(bus: Server) -> None:
    async def scenario() -> None:
        operator = await nats.connect(bus.url)
        stream = operator.jetstream()
        await stream.add_stream(name="kill", subjects=["kept.kill"])
        await stream.publish("kept.kill", b"on")
        watched = Watched(bus_url=bus.url, bus_subject="kept.kill")
        assert await watched.poll() == ("bus", "on")
        await watched.switches.close()
        await stream.delete_stream("kill")
        await operator.close()

    guarded(scenario())


def test_a_nats_that_hangs_or_dies() -> None:
    async def scenario() -> None:
        with nats_server() as server:
            watched = Watched(bus_url=server.url, poll_s=0.3)
            assert await watched.poll() is None
            server.process.send_signal(signal.SIGSTOP)
            assert "answer" in await watched.until("unknown")
            server.process.send_signal(signal.SIGCONT)
            await watched.until("off")
            server.kill()
            assert "does not answer" in await watched.until("unknown")
            server.restart()
            await watched.until("off")
            operator = await nats.connect(server.url)
            await operator.publish("polytraders.killswitch", b"on")
            await watched.until("on")
            await operator.close()
            await watched.switches.close()

    guarded(scenario())


def test_a_channel_of_redis(store: Server) -> None:
    async def scenario() -> None:
        with redis.Redis.from_url(store.url) as operator:
            watched = Watched(bus_url=store.url, bus_subject="ops.kill")
            assert await watched.poll() is None
            operator.publish("ops.kill", '{"status": "ACTIVE"}')
            assert await watched.until("on") == "on"
            operator.client_kill_filter(_type="pubsub")
            operator.publish("ops.kill", "off")
            await watched.poll()
            assert watched.switches.state != "off"  # nobody heard it: what was said last holds
            await watched.until("on")
            while watched.switches.state != "off":  # said until somebody listens again
                operator.publish("ops.kill", "off")
                await watched.switches.poll()
                await asyncio.sleep(0.01)
            await watched.switches.close()

    guarded(scenario())


def test_a_channel_of_a_redis_that_hangs() -> None:
    async def scenario() -> None:
        with redis_server() as server:
            watched = Watched(bus_url=server.url, poll_s=0.3)
            assert await watched.poll() is None
            server.process.send_signal(signal.SIGSTOP)
            assert "answer" in await watched.until("unknown")
            server.process.send_signal(signal.SIGCONT)
            await watched.until("off")
            await watched.switches.close()

    guarded(scenario())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "ftp://x"),
        ("url", "http://"),
        ("redis_url", "http://:secret@x"),
        ("bus_url", "kafka://:secret@x"),
        ("bus_url", "nats://"),
    ],
)
def test_addresses_are_checked_and_never_quoted(field: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field}: write ") as refused:
        KillSwitchSettings(**{field: value})
    assert "secret" not in str(refused.value)
