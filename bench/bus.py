"""Messages a second and processor time a message of each publisher: one JSON line.

Whole path from rows of an outbox to acknowledgements, against a plain loop of the same client in
the same run (pipelined XADD, publish_async, produce) with nothing but the report's bytes. Servers
are those of the tests. `store` is the outbox itself: a report in, and its mark, in batches.
"""

# ruff: noqa: E402  the servers are beside the tests
import argparse
import asyncio
import json
import pathlib
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent / "tests" / "sinks")]

import nats
from confluent_kafka import Producer
from publishing_kit import make_report, owed
from redis.asyncio import Redis

from servers import kafka_broker, nats_server, redis_server
from tapewatch.io.store import Owed, Store
from tapewatch.model import limits
from tapewatch.model.outputs import Report
from tapewatch.sinks.bus import BusSink, publisher
from tapewatch.sinks.bus_settings import BusSettings

Work = Callable[[Sequence[Sequence[Owed]]], Awaitable[None]]
PLAIN = "plain"  # topic of the loops we compare with


def batches(reports: Sequence[Report]) -> list[list[Owed]]:
    """As the worker gets them."""
    rows = [owed(report) for report in reports]
    size = limits.BUS_BATCH
    return [rows[first : first + size] for first in range(0, len(rows), size)]


async def ours(url: str, work: Sequence[Sequence[Owed]]) -> None:
    """The bus sink as it is used."""
    settings = BusSettings(duplicate_window_s=1.0)
    sink = BusSink(settings, publisher(settings, url), mode="general_live")
    for batch in work:
        assert not any(await sink.publish(batch))
    await sink.close()


async def plain_redis(url: str, work: Sequence[Sequence[Owed]]) -> None:
    """Pipelined XADD."""
    async with Redis.from_url(url) as redis:
        for batch in work:
            pipeline = redis.pipeline(transaction=False)
            for row in batch:
                pipeline.xadd(PLAIN, {"event": row.body}, maxlen=1_000_000)
            await pipeline.execute()


async def plain_nats(url: str, work: Sequence[Sequence[Owed]]) -> None:
    """publish_async, acknowledged."""
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name=PLAIN, subjects=[PLAIN])
    for batch in work:
        await asyncio.gather(*[await stream.publish_async(PLAIN, row.body) for row in batch])
    await client.close()


async def plain_kafka(url: str, work: Sequence[Sequence[Owed]]) -> None:
    """produce and flush."""
    config: dict[str, Any] = {"bootstrap.servers": url.removeprefix("kafka://"), "log_level": 0}
    producer = Producer({**config, "enable.idempotence": True, "linger.ms": 5})
    for batch in work:
        for row in batch:
            producer.produce(PLAIN, row.body)
        assert not await asyncio.to_thread(producer.flush, 10)


def measured(work: Callable[[], Awaitable[None]], count: int) -> tuple[float, float]:
    """`(messages a second, microseconds of this process a message)`."""
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    asyncio.run(work())  # type: ignore[arg-type]
    took = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return count / took, used / count * 1e6


def compared(url: str, plain: Callable[..., Awaitable[None]], count: int, rounds: int) -> Any:
    """Medians over rounds, alternating."""
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "plain": []}
    for number in range(rounds):
        first = number * count
        work = batches([make_report(n) for n in range(first, first + count)])
        found["ours"].append(measured(lambda work=work: ours(url, work), count))
        found["plain"].append(measured(lambda work=work: plain(url, work), count))
    middle = {
        name: {
            "messages_per_s": round(median(rate for rate, _ in runs)),
            "cpu_us_per_message": round(median(cost for _, cost in runs), 1),
        }
        for name, runs in found.items()
    }
    ratio = middle["ours"]["cpu_us_per_message"] / middle["plain"]["cpu_us_per_message"]
    return {**middle, "cpu_to_plain": round(ratio, 2)}


def outbox(count: int) -> dict[str, float]:
    """Microseconds a report, in batches of 200 in and of `BUS_BATCH` out."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(pathlib.Path(folder) / "outbox.sqlite", buffer=count)
        began = time.perf_counter()
        for first in range(0, count, 200):
            store.add([make_report(n) for n in range(first, first + 200)], [], ["bus"])
        added = time.perf_counter()
        while rows := store.owed("bus", limits.BUS_BATCH):
            store.settle("bus", [row.seq for row in rows])
        settled = time.perf_counter()
        store.close()
    return {
        "add_us": round((added - began) / count * 1e6, 1),
        "read_and_mark_us": round((settled - added) / count * 1e6, 1),
    }


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    result: dict[str, Any] = {"bench": "bus", "batch": limits.BUS_BATCH}
    size = len(owed(make_report(1)).body)
    result["report_bytes"] = size
    with redis_server() as server:
        result["redis"] = compared(server.url, plain_redis, options.messages, options.rounds)
    with nats_server() as server:
        result["nats"] = compared(server.url, plain_nats, options.messages, options.rounds)
    with kafka_broker() as url:  # in this process: its processor time is counted on both sides
        result["kafka_mock"] = compared(url, plain_kafka, options.messages, options.rounds)
    result["store"] = outbox(options.messages)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
