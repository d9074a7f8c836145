"""3,000 order books a cycle from the batch endpoint, thirty requests in flight.

The venue is `tapewatch simulate polymarket` in a process of its own. Ours is what a session does:
the poller's client and the venue's decoder, and then the whole path with tape, engine and the
default detectors beside bot 4.15's. The reference does the same requests with plain aiohttp and
decodes the bodies into typed structs. Processor seconds of this process for one cycle, median of
several; one JSON line.
"""

import asyncio
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable

import aiohttp
import msgspec

from tapewatch import __version__
from tapewatch.app.build import engine_of
from tapewatch.app.config import assemble, effective
from tapewatch.app.environment import Setting
from tapewatch.engine.engine import Engine
from tapewatch.io.http import Http
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model.inputs import Frame, Link, Timer
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.base import Fetch
from tapewatch.venues.polymarket import Polymarket
from tapewatch.venues.polymarket_gamma import read_markets

MARKETS = 3_000
CYCLES = 5
START_NS = 1_735_689_600 * NS_PER_S
CYCLE_S = 30


class Level(msgspec.Struct):
    price: str
    size: str


class Book(msgspec.Struct):
    asset_id: str
    timestamp: str
    hash: str
    bids: list[Level]
    asks: list[Level]


async def listed(gamma: str) -> list[dict[str, object]]:
    """All markets of the simulator, as settings."""
    found: dict[str, object] = {}
    cursor = ""
    async with aiohttp.ClientSession() as session:
        while len(found) < MARKETS:
            url = f"{gamma}/markets/keyset?limit=100" + (
                f"&after_cursor={cursor}" if cursor else ""
            )
            async with session.get(url) as response:
                page = read_markets(await response.read(), START_NS)
            for one in page.found:
                if one.market is not None:
                    found[one.condition] = msgspec.to_builtins(one.market)
            cursor = page.cursor
            if not cursor:
                break
    return list(found.values())[:MARKETS]  # type: ignore[arg-type]


async def ours(http: Http, venue: Polymarket, fetches: tuple[Fetch, ...]) -> list[bytes]:
    budget = next(one for one in venue.budgets() if one.surface == "clob")
    budget = msgspec.structs.replace(budget, requests=1_000)
    return await asyncio.gather(*(http.send(fetch, budget) for fetch in fetches))


async def plain(session: aiohttp.ClientSession, fetches: tuple[Fetch, ...]) -> int:
    decoder = msgspec.json.Decoder(list[Book])

    async def one(fetch: Fetch) -> int:
        headers = {"Content-Type": "application/json"}
        async with session.post(fetch.url, data=fetch.body, headers=headers) as response:
            return len(decoder.decode(await response.read()))

    return sum(await asyncio.gather(*(one(fetch) for fetch in fetches)))


async def cpu(work: Callable[[], Awaitable[object]]) -> float:
    began = time.process_time()
    await work()
    return time.process_time() - began


def frames(bodies: list[bytes], fetches: tuple[Fetch, ...], at: int) -> list[Frame]:
    return [
        Frame(at, "polymarket", body, fetch.stream)
        for body, fetch in zip(bodies, fetches, strict=True)
    ]


async def measure(address: dict[str, str], folder: pathlib.Path) -> dict[str, float]:
    markets = await listed(address["gamma"])
    said = {"mode": "poll", "poll_s": CYCLE_S, "trades": "off", "markets": markets}
    said |= {"clob_url": address["clob"]}
    settings = [
        Setting(("source", "polymarket", name), value, "bench") for name, value in said.items()
    ]
    settings.append(Setting(("detector", "zscore", "cycle_s"), CYCLE_S, "bench"))
    config = assemble(settings)[0]
    (venue,) = config.venues
    decoding, engine = Engine([venue], []), engine_of(config)
    tape = TapeWriter(folder / "tape", config=effective(config), version=__version__)
    http, seconds = (
        Http(),
        {name: [] for name in ("plain", "fetch", "decode", "path", "changed", "bytes")},
    )
    polls = venue.polls(decoding.venue_states["polymarket"])
    fetches = next(poll.requests for poll in polls if poll.name == "books")
    for one in (decoding, engine):
        one.step(Link(START_NS, "polymarket", "up", stream="clob"))
    async with aiohttp.ClientSession() as session:
        for cycle in range(CYCLES + 1):
            at = START_NS + cycle * CYCLE_S * NS_PER_S
            bodies: list[bytes] = []

            async def fetch(into: list[bytes] = bodies) -> None:
                into += await ours(http, venue, fetches)

            took = {"plain": await cpu(lambda: plain(session, fetches)), "fetch": await cpu(fetch)}
            inputs = [*frames(bodies, fetches, at), Timer(at + 2 * NS_PER_S)]
            before = decoding.counts.get("Book", 0)
            began = time.process_time()
            for item in inputs:
                decoding.step(item)
            took["decode"] = time.process_time() - began
            took["changed"] = decoding.counts.get("Book", 0) - before
            took["bytes"] = sum(map(len, bodies)) / MARKETS
            began = time.process_time()
            for item in inputs:
                engine.step(item, tape.append(item))
            tape.commit(at)
            took["path"] = time.process_time() - began
            if cycle:
                for name, value in took.items():
                    seconds[name].append(value)
            await asyncio.sleep(1.5)  # books change meanwhile
    await http.close()
    tape.close()
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    command = [sys.executable, "-m", "tapewatch", "simulate", "polymarket"]
    command += ["--markets", str(MARKETS), "--contests", "0"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server,
    ):
        try:
            assert server.stdout is not None
            address = json.loads(server.stdout.readline())
            found = asyncio.run(measure(address, pathlib.Path(folder)))
        finally:
            server.terminate()
    ours_s = found["fetch"] + found["decode"]
    line = {
        "bench": "books",
        "markets": MARKETS,
        "changed": found["changed"],
        "bytes_a_book": round(found["bytes"]),
        "plain_s": round(found["plain"], 3),
        "fetch_and_decode_s": round(ours_s, 3),
        "whole_path_s": round(found["fetch"] + found["path"], 3),
        "ratio_fetch_and_decode": round(ours_s / found["plain"], 2),
        "ratio_whole_path": round((found["fetch"] + found["path"]) / found["plain"], 2),
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
