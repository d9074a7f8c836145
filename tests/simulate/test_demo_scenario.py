"""The built-in demo: everything it plants happens, is labelled, and is visible to a client."""

import itertools

from kraken_client import ClientBook, attached

from tapewatch.model.time import NS_PER_S
from tapewatch.simulate.scenario import DEMO, DEMO_S, load
from tapewatch.testing import virtual_time


def test_the_demo_plants_and_labels_everything() -> None:
    assert load("demo") is DEMO

    async def main() -> None:
        async with attached(scenario=DEMO) as (server, _, client):
            await client.subscribe("trade", snapshot=True)
            await client.subscribe("book")
            await client.until(DEMO_S)
            assert client.closed is None
            told = [
                (record.kind, round((record.t_ns - virtual_time.START_NS) / NS_PER_S))
                for record in server.truth.records
            ]
            assert sorted(told, key=lambda entry: entry[1]) == [
                ("malformed", 24),
                ("trade_gap", 28),
                ("lost_delta", 31),
                ("price_jump", 35),
                ("glitch", 38),
                ("volume_burst", 42),
                ("stall", 47),
            ]
            times = [at for at, raw in client.frames if raw.startswith(b'{"channel":"trade"')]
            assert max(b - a for a, b in itertools.pairwise(times)) > 12
            assert times[-1] > 59
            book = ClientBook()
            for message in client.of("book"):
                book.apply(message)
            assert book.good > 300
            assert book.bad > 0  # this client does not subscribe again

    virtual_time.run(main())
