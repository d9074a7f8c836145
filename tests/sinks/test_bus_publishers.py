"""Publishing on real servers: what arrives, what is refused, and what a dead bus does."""

import asyncio
import pathlib
import signal
import sys
from collections.abc import Iterator

import msgspec
import nats
import pytest
from confluent_kafka import Consumer
from publishing_kit import (
    CONDITION,
    GUARD_S,
    TOPIC,
    Box,
    ids,
    make_alert,
    make_report,
    nats_messages,
    owed,
    redis_events,
    run,
    until,
)
from redis.asyncio import Redis

from servers import Server, free_port, kafka_broker, nats_server, redis_server
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError, DeliveryError
from tapewatch.model.outputs import Report
from tapewatch.sinks.bus import BusSink, Publisher, bus_sinks, publisher
from tapewatch.sinks.bus_events import message_of
from tapewatch.sinks.bus_kafka import _config as kafka_config
from tapewatch.sinks.bus_nats import NatsPublisher
from tapewatch.sinks.bus_settings import BusSettings

SETTINGS = BusSettings()
SECRET = "hunter2"


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    with nats_server() as server:
        yield server.url


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as server:
        yield server.url


def sink_of(url: str, settings: BusSettings = SETTINGS) -> BusSink:
    return BusSink(settings, publisher(settings, url), mode="general_live")


def test_nats_keeps_reports_and_alerts_with_their_attributes(
    nats_url: str, tmp_path: pathlib.Path
) -> None:
    async def scenario() -> None:
        settings = BusSettings(topic="a.reports", alerts_topic="a.alerts")
        async with Box(tmp_path, sink_of(nats_url, settings)) as box:
            await box.say(make_report(1, anomalous=True), make_alert(1), make_report(2))
            await box.say(make_report(3), mode="shadow_only")
            await box.until(4)
            assert box.worker.last_error == ""
        got = await nats_messages(nats_url, "a.reports")
        reports = [msgspec.json.decode(message.data, type=Report) for message in got]
        assert ids(reports) == ["rep_ad_0xf1a2_1", "rep_ad_0xf1a2_2"]
        assert reports[0] == make_report(1, anomalous=True)
        told = got[0].headers
        assert told["Nats-Msg-Id"] == told["ce-id"] == "rep_ad_0xf1a2_1"
        assert told["ce-type"] == "tapewatch.observation.v1"
        assert told["content-type"] == "application/json"
        assert len(await nats_messages(nats_url, "a.alerts")) == 1
        shadow = await nats_messages(nats_url, "a.reports.shadow")
        assert [message.headers["ce-id"] for message in shadow] == ["rep_ad_0xf1a2_3"]

    run(scenario)


def test_nats_drops_what_it_has_but_a_shadow_is_no_duplicate(nats_url: str) -> None:
    async def scenario() -> None:
        settings = BusSettings(topic="b.reports", alerts_topic="b.alerts")
        operator = await nats.connect(nats_url)
        await operator.jetstream().add_stream(name="BOTH", subjects=["b.>"])
        await operator.close()
        client = publisher(settings, nats_url)
        assert isinstance(client, NatsPublisher)
        await client.connect()
        live = message_of(settings, "general_live", owed(make_report(1)))
        shadow = message_of(settings, "shadow_only", owed(make_report(1)))
        for _ in range(2):
            assert await client.publish([shadow, live, live]) == [None, None, None]
        assert client.duplicates == 4
        await client.close()
        assert len(await nats_messages(nats_url, "b.reports")) == 1
        assert len(await nats_messages(nats_url, "b.reports.shadow")) == 1

    run(scenario)


def test_a_stream_of_the_operator_is_used_as_it_is(nats_url: str) -> None:
    async def scenario() -> None:
        client = await nats.connect(nats_url)
        await client.jetstream().add_stream(name="MINE", subjects=["c.>"])
        settings = BusSettings(topic="c.reports", alerts_topic="elsewhere.alerts")
        publishing = publisher(settings, nats_url)
        await publishing.connect()
        await publishing.publish([message_of(settings, "general_live", owed(make_report(1)))])
        await publishing.close()
        assert (await client.jetstream().stream_info("MINE")).state.messages == 1
        assert await client.jetstream().find_stream_name_by_subject("elsewhere.alerts") != "MINE"
        await client.close()

    run(scenario)


def test_nats_refuses_what_is_too_big_and_takes_the_rest(
    nats_url: str, tmp_path: pathlib.Path
) -> None:
    async def scenario() -> None:
        settings = BusSettings(topic="d.reports", alerts_topic="d.alerts")
        async with Box(tmp_path, sink_of(nats_url, settings)) as box:
            await box.say(make_report(1), make_report(2, market="x" * 2_000_000), make_report(3))
            await box.until(2)
            await box.until(1, "dead")
            assert box.worker.counters.failed == 1
            assert box.worker.last_error == ""
        assert len(await nats_messages(nats_url, "d.reports")) == 2

    run(scenario)


def test_redis_keeps_structured_events_and_no_more_than_it_should(
    redis_url: str, tmp_path: pathlib.Path
) -> None:
    async def scenario() -> None:
        settings = BusSettings(topic="e.reports", alerts_topic="e.alerts", keep_messages=1000)
        async with Box(tmp_path, sink_of(redis_url, settings)) as box:
            await box.say(*(make_report(number) for number in range(3000)), make_alert(1))
            await box.until(3001)
        events = await redis_events(redis_url, "e.reports")
        assert 1000 <= len(events) < 1500
        assert events[-1]["id"] == "rep_ad_0xf1a2_2999"
        assert msgspec.convert(events[-1]["data"], Report) == make_report(2999)
        assert [event["type"] for event in await redis_events(redis_url, "e.alerts")] == [
            "tapewatch.alert.v1"
        ]

    run(scenario)


def test_kafka_gets_keys_headers_and_data(tmp_path: pathlib.Path) -> None:
    async def scenario(url: str) -> None:
        async with Box(tmp_path, sink_of(url)) as box:
            await box.say(make_report(1, anomalous=True), make_alert(1), make_report(2))
            await box.until(3)
            assert box.worker.last_error == ""

    with kafka_broker() as url:
        run(lambda: scenario(url))
        consumer = Consumer(
            {
                "bootstrap.servers": url.removeprefix("kafka://"),
                "group.id": "test",
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
        consumer.subscribe([TOPIC])
        got = consumer.consume(2, GUARD_S)
        consumer.close()
    told = {message.key(): dict(message.headers()) for message in got}
    assert told.keys() == {CONDITION.encode()}
    assert told[CONDITION.encode()]["ce_type"] == b"tapewatch.observation.v1"
    assert {msgspec.json.decode(message.value())["report_id"] for message in got} == {
        "rep_ad_0xf1a2_1",
        "rep_ad_0xf1a2_2",
    }


def test_kafka_without_a_broker_is_told(tmp_path: pathlib.Path) -> None:
    url = f"kafka://user:{SECRET}@127.0.0.1:{free_port()}"

    async def scenario() -> None:
        async with Box(tmp_path, sink_of(url)) as box:
            await box.say(make_report(1))
            await until(lambda: box.worker.last_error != "")
            assert box.worker.last_error.startswith("kafka://127.0.0.1:")
            assert SECRET not in box.worker.last_error
            assert box.store.counts() == {(box.sink.name, "pending"): 1}

    run(scenario)


@pytest.mark.parametrize("scheme", ["nats", "redis"])
def test_a_dead_bus_is_told_without_secrets_and_nothing_is_lost(
    scheme: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down from the start, far longer than its buffer; then it comes up."""
    monkeypatch.setattr(limits, "BUS_BATCH", 50)
    port = free_port()
    url = f"{scheme}://user:{SECRET}@127.0.0.1:{port}"

    async def scenario() -> None:
        sink = BusSink(SETTINGS, publisher(SETTINGS, url), mode="general_live")
        async with Box(tmp_path, sink, buffer=10) as box:
            for number in range(100):
                await box.say(make_report(number, anomalous=number % 10 == 0))
            await until(lambda: box.worker.counters.retries > 0)
            assert box.worker.last_error.startswith(f"{scheme}://127.0.0.1:{port} ")
            assert SECRET not in box.worker.last_error
            assert box.store.counts() == {
                (sink.name, "pending"): 20,
                (sink.name, "dropped"): 80,
            }
        left = sink_of(url.replace(f"user:{SECRET}@", ""))
        box = Box(tmp_path, left)
        with (redis_server if scheme == "redis" else nats_server)() as server:
            working = sink_of(server.url)
            async with Box(tmp_path, working) as box:
                await box.say(*(make_report(number, anomalous=True) for number in range(120)))
                await box.until(120)

    run(scenario)


def count(server: Server, scheme: str) -> "asyncio.Task[int]":
    async def counted() -> int:
        if scheme == "redis":
            return len(await redis_events(server.url, TOPIC))
        return len(await nats_messages(server.url, TOPIC))

    return asyncio.create_task(counted())


@pytest.mark.parametrize("scheme", ["nats", "redis"])
def test_a_bus_that_is_killed_and_comes_back_gets_everything(
    scheme: str, tmp_path: pathlib.Path
) -> None:
    async def scenario(server: Server) -> None:
        sink = sink_of(server.url)
        async with Box(tmp_path, sink) as box:
            await box.say(*(make_report(number) for number in range(50)))
            await box.until(50)
            server.kill()
            await box.say(*(make_report(number) for number in range(50, 100)))
            await until(lambda: box.worker.last_error != "")
            await asyncio.to_thread(server.restart)
            await box.until(100)
            assert box.worker.last_error == ""
        seen = await count(server, scheme)
        assert seen == 100

    starting = redis_server("--appendfsync", "always") if scheme == "redis" else nats_server()
    with starting as server:
        run(lambda: scenario(server))


@pytest.mark.parametrize("scheme", ["nats", "redis"])
def test_a_bus_that_hangs_does_not_hang_us(
    scheme: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("bus_nats.ACK_S", "bus_nats.ANSWER_S", "bus_redis.ANSWER_S"):
        monkeypatch.setattr(f"tapewatch.sinks.{module}", 0.2)

    async def scenario(server: Server) -> None:
        async with Box(tmp_path, sink_of(server.url)) as box:
            await box.say(make_report(1))
            await box.until(1)
            server.process.send_signal(signal.SIGSTOP)
            await box.say(make_report(2))
            await until(lambda: box.worker.counters.retries > 0)
            assert box.store.counts()[box.sink.name, "pending"] == 1
            server.process.send_signal(signal.SIGCONT)
            await box.until(2)

    with redis_server() if scheme == "redis" else nats_server() as server:
        run(lambda: scenario(server))


def test_redis_that_takes_nothing_is_told_and_holds_nobody_up(tmp_path: pathlib.Path) -> None:
    async def scenario(server: Server) -> None:
        async with Redis.from_url(server.url) as admin, Box(tmp_path, sink_of(server.url)) as box:
            await admin.set(TOPIC, "not a stream")
            await box.say(make_report(1, anomalous=True))
            await until(lambda: "refuses (WRONGTYPE)" in box.worker.last_error)
            await admin.config_set("requirepass", SECRET)
            await admin.delete(TOPIC)
            await admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await until(lambda: "password" in box.worker.last_error)
            assert SECRET not in box.worker.last_error
            await admin.config_set("requirepass", "")
            await box.until(1)

    with redis_server() as server:
        run(lambda: scenario(server))


def test_nothing_is_published_while_the_kill_switch_is_on(
    redis_url: str, tmp_path: pathlib.Path
) -> None:
    async def scenario() -> None:
        killed = False
        settings = BusSettings(topic="k.reports", alerts_topic="k.alerts", publish_to=(redis_url,))
        (sink,) = bus_sinks(settings, mode="general_live", paused=lambda: killed)
        async with Box(tmp_path, sink) as box:
            await box.say(make_report(1))
            await box.until(1)
            killed = True
            await box.say(make_report(2, anomalous=True))  # emitted just before
            await until(lambda: box.worker.last_error == "the kill switch is on")
            assert len(await redis_events(redis_url, "k.reports")) == 1
            assert box.store.owed(sink.name)[0].attempts == 0
            killed = False
            await box.until(2)
        assert len(await redis_events(redis_url, "k.reports")) == 2

    run(scenario)


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [("nats://h:1", "nats", "nats"), ("redis://h:1", "redis", "redis"),
     ("kafka://h:1", "confluent_kafka", "kafka")],
)  # fmt: skip
def test_a_client_that_is_not_installed_is_named(
    url: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"pip install 'tapewatch\[{extra}\]'"):
        publisher(SETTINGS, url)


def test_kafka_is_told_how_to_sign_in() -> None:
    plain, signed, secure = (
        kafka_config(SETTINGS, url)
        for url in (
            "kafka://a:9092,b:9092",
            f"kafka://me:{SECRET}%21@a:9092",
            f"kafkas://me:{SECRET}@a:9092",
        )
    )
    assert plain["bootstrap.servers"] == "a:9092,b:9092"
    assert plain["security.protocol"] == "PLAINTEXT"
    assert "sasl.password" not in plain
    assert signed["security.protocol"] == "SASL_PLAINTEXT"
    assert signed["sasl.password"] == f"{SECRET}!"
    assert secure["security.protocol"] == "SASL_SSL"
    assert kafka_config(SETTINGS, "kafkas://a:1")["security.protocol"] == "SSL"
    assert all(config["enable.idempotence"] for config in (plain, signed, secure))


class Slow:
    """A publisher whose connection takes as long as it is told."""

    name = "redis://slow"

    def __init__(self) -> None:
        self.connecting, self.go_on = asyncio.Event(), asyncio.Event()
        self.published = 0

    async def connect(self) -> None:
        self.connecting.set()
        await self.go_on.wait()

    async def publish(self, messages: object, /) -> list[None]:
        self.published += 1
        return [None]

    async def close(self) -> None:
        return


def test_a_switch_that_comes_on_while_connecting_is_heard() -> None:
    async def scenario() -> None:
        slow = Slow()
        typed: Publisher = slow
        killed = False
        sink = BusSink(SETTINGS, typed, paused=lambda: killed)
        publishing = asyncio.create_task(sink.publish([owed(make_report(1))]))
        await slow.connecting.wait()
        killed = True
        slow.go_on.set()
        with pytest.raises(DeliveryError, match="the kill switch is on"):
            await publishing
        assert slow.published == 0

    run(scenario)
