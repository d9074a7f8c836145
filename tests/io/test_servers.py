"""The servers that other tests stand on answer, keep what they are told to keep, and end."""

import asyncio

import nats
import redis
from confluent_kafka import Consumer, Producer

from servers import kafka_broker, nats_server, redis_server


def test_redis_answers_and_comes_back_with_its_data() -> None:
    with redis_server("--appendfsync", "always") as server:
        with redis.Redis.from_url(server.url) as client:
            client.set("a", "1")
        server.restart()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("a") == b"1"
    assert server.process.returncode is not None


def test_nats_keeps_a_stream() -> None:
    async def scenario(url: str) -> int:
        client = await nats.connect(url)
        stream = client.jetstream()
        await stream.add_stream(name="s", subjects=["a"])
        number = (await stream.publish("a", b"x")).seq
        await client.close()
        return number

    with nats_server() as server:
        assert asyncio.run(scenario(server.url)) == 1


def test_kafka_speaks_over_tcp() -> None:
    with kafka_broker() as url:
        servers = url.removeprefix("kafka://")
        producer = Producer({"bootstrap.servers": servers})
        producer.produce("t", b"x")
        assert producer.flush(20) == 0
        reader = Consumer(
            {"bootstrap.servers": servers, "group.id": "g", "auto.offset.reset": "earliest"}
        )
        reader.subscribe(["t"])
        message = reader.poll(20)
        assert message is not None
        assert message.value() == b"x"
        reader.close()
