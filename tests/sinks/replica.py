"""One of two processes that say the same: `replica.py STORE NAME BUS CLAIMS REPORTS GRACE_S`.

Prints a line for every step of ten reports, and at the end its counters as JSON.
"""

import asyncio
import dataclasses
import pathlib
import random
import sys

import msgspec
from publishing_kit import make_report

from tapewatch.io.outbox import OutboxWorker
from tapewatch.io.store import Store
from tapewatch.sinks.bus import bus_sinks
from tapewatch.sinks.bus_claims import RedisClaims
from tapewatch.sinks.bus_settings import BusSettings

STEP = 10
PACE_S = 0.01


@dataclasses.dataclass
class Order:
    store: str
    name: str
    bus: str
    claims: str
    reports: int
    grace_s: float


def tell(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


async def main(order: Order) -> None:
    settings = BusSettings(publish_to=(order.bus,), claim_grace_s=order.grace_s)
    (sink,) = bus_sinks(
        settings,
        mode="general_live",
        paused=lambda: False,
        claims=lambda: RedisClaims(order.claims, order.name, settings.claim_ttl_s),
    )
    store = Store(pathlib.Path(order.store))
    worker = OutboxWorker(sink, rng=random.Random(0), store=store)
    worker.start()
    for first in range(0, order.reports, STEP):
        said = [make_report(number, anomalous=True) for number in range(first, first + STEP)]
        store.add(said, [], [sink.name], mode="general_live")
        await worker.offer(said)
        await asyncio.sleep(PACE_S)
        tell(first)
    while store.counts().get((sink.name, "pending"), 0):  # noqa: ASYNC110  of a real bus
        await asyncio.sleep(PACE_S)
    await worker.drain(5)
    store.close()
    tell(msgspec.json.encode(sink.counters).decode())


if __name__ == "__main__":
    store, name, bus, claims, reports, grace_s = sys.argv[1:]
    asyncio.run(main(Order(store, name, bus, claims, int(reports), float(grace_s))))
