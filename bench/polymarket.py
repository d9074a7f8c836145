"""A cycle of 3,000 books of real size from Polymarket's batch endpoint: one JSON line.

A book has 49 levels a side and 3.9 kB, as the venue's have on average; half of them change between
two cycles. The server is a process of its own and takes 20 ms for an answer, so that requests
overlap; it counts how many are in flight. Ours is the session's own poller and decoder, and then
the whole path: tape, engine with every default detector and bot 4.15's, gate, the cycle's timer.
The reference, in the same run, asks for the same books with plain aiohttp and decodes the bodies
into typed structs. Processor seconds of this process for one cycle, median of several.
"""

import argparse
import asyncio
import gc
import json
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from tapewatch import __version__
from tapewatch.app.build import engine_of
from tapewatch.app.config import assemble, effective
from tapewatch.app.environment import Setting
from tapewatch.engine.engine import Engine
from tapewatch.io.inbox import Inbox
from tapewatch.io.poller import Counters, Poller
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model.inputs import Frame, Input, Link, Timer
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.base import Fetch

MARKETS = 3_000
CYCLES = 7
CYCLE_NS = 30 * NS_PER_S
START_NS = 1_735_689_600 * NS_PER_S
LEVELS = 98  # of a book; prices from 0.01 to 0.99
LATENCY_S = 0.02
BUDGET_S = 0.2  # what a cycle may cost


class Level(msgspec.Struct):
    """Of the reference."""

    price: str
    size: str


class Book(msgspec.Struct):
    """Of the reference."""

    market: str
    asset_id: str
    timestamp: str
    hash: str
    bids: list[Level]
    asks: list[Level]
    last_trade_price: str


def condition(at: int) -> str:
    """Id of a market."""
    return f"0x{at + 1:064x}"


def token(at: int) -> str:
    """Id of its first outcome, with as many digits as the venue's have."""
    return str(10**76 + 2 * at)


def book(at: int, version: int) -> bytes:
    """One book as the venue writes it: best levels last."""
    chance = random.Random(f"{at} {version}")
    middle = 50 + at % 7 - 3 + chance.randint(-1, 1)
    rows = [
        f'{{"price":"0.{price:02d}","size":"{chance.uniform(5, 99_999):.2f}"}}'
        for price in range(1, LEVELS + 2)
    ]
    bids, asks = rows[: middle - 1], rows[:middle:-1]
    stamp = START_NS // 1_000_000 + version * 30_000 + at
    return (
        f'{{"market":"{condition(at)}","asset_id":"{token(at)}","timestamp":"{stamp}",'
        f'"hash":"{chance.getrandbits(160):040x}","bids":[{",".join(bids)}],'
        f'"asks":[{",".join(asks)}],"min_order_size":"5","tick_size":"0.01","neg_risk":false,'
        f'"last_trade_price":"0.{middle:02d}"}}'
    ).encode()


class Server:
    """POST /books, and what the bench asks of it: GET /next (half of the books change), /peak."""

    def __init__(self, markets: int) -> None:
        self.cycle = self.now = self.peak = 0
        self.places = {token(at): at for at in range(markets)}
        self.books = [book(at, 0) for at in range(markets)]

    async def answer(self, request: web.Request) -> web.Response:
        """Some books, in the order asked for."""
        self.now += 1
        self.peak = max(self.peak, self.now)
        asked = json.loads(await request.read())
        await asyncio.sleep(LATENCY_S)
        body = b",".join(self.books[self.places[one["token_id"]]] for one in asked)
        self.now -= 1
        return web.Response(body=b"[%s]" % body, content_type="application/json")

    async def next(self, _: web.Request) -> web.Response:
        """The books of the next cycle."""
        self.cycle += 1
        for at in range(self.cycle % 2, len(self.books), 2):
            self.books[at] = book(at, self.cycle)
        return web.Response()

    async def said(self, _: web.Request) -> web.Response:
        """Most requests in flight since the last time."""
        peak, self.peak = self.peak, 0
        return web.json_response(peak)

    async def run(self) -> None:
        """Serve until killed; the port goes to standard output."""
        app = web.Application()
        app.router.add_post("/books", self.answer)
        app.router.add_get("/next", self.next)
        app.router.add_get("/peak", self.said)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()


class Clock:
    """The time that the poller sees."""

    def __init__(self) -> None:
        self.ns = START_NS

    def now_ns(self) -> int:
        """Ns."""
        return self.ns


class Ours:
    """A session without its edge: poller, tape, engine; and a decoder alone."""

    def __init__(self, url: str, markets: int, folder: pathlib.Path) -> None:
        listed = [
            {"condition": condition(at), "yes": token(at), "no": token(at) + "1", "slug": f"m{at}"}
            for at in range(markets)
        ]
        source = {"mode": "poll", "poll_s": 30.0, "trades": "off", "markets": listed}
        source |= {"clob_url": url, "clob_per_10s": 10_000, "refresh_s": 86_400.0}
        said = [
            Setting(("source", "polymarket", name), value, "bench")
            for name, value in source.items()
        ]
        said.append(Setting(("detector", "zscore", "cycle_s"), 30.0, "bench"))
        config = assemble(said)[0]
        (self.venue,) = config.venues
        self.decoder, self.engine = Engine([self.venue], []), engine_of(config)
        self.tape = TapeWriter(folder / "tape", config=effective(config), version=__version__)
        self.inbox, self.clock, self.counters = Inbox(), Clock(), Counters()
        state = self.decoder.venue_states["polymarket"]
        polls = {poll.name: poll for poll in self.venue.polls(state)}
        self.fetches: tuple[Fetch, ...] = polls["books"].requests
        self.inputs: list[Input] = []
        self.longest_s = 0.0  # of a timer: the event loop stands still for so long

    @asynccontextmanager
    async def polling(self) -> AsyncIterator[None]:
        """The session's poller runs; it asks when the clock says that a cycle begins."""
        books = _OnlyBooks(self.venue)
        poller = Poller(
            books,
            self.inbox,
            self.clock,
            state=lambda: self.decoder.venue_states["polymarket"],
            counters=self.counters,
        )
        task = asyncio.create_task(poller.run())
        try:
            await self.fetch()  # the first turn is at once
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def fetch(self) -> None:
        """Wait for the books of a cycle."""
        self.inputs = []
        while sum(isinstance(item, Frame) for item in self.inputs) < len(self.fetches):
            self.inputs += await self.inbox.drain()
        assert not self.counters.fetch_failures, self.counters.last_failure

    def decode(self) -> None:
        """What the frames mean."""
        for item in self.inputs:
            self.decoder.step(item)

    def whole(self) -> None:
        """Tape and engine, and the timer that ends the cycle."""
        for item in [*self.inputs, Timer(self.clock.ns + 2 * NS_PER_S)]:
            self.engine.step(item, self.tape.append(item))
        self.tape.commit(self.clock.ns)

    def idle(self) -> None:
        """The other timers of the cycle."""
        for second in range(3, 32):
            item = Timer(self.clock.ns + second * NS_PER_S)
            began = time.process_time()
            self.engine.step(item, self.tape.append(item))
            self.longest_s = max(self.longest_s, time.process_time() - began)


class _OnlyBooks:
    """The venue without what the catalogue is asked for."""

    def __init__(self, venue: Any) -> None:
        self._venue = venue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._venue, name)

    def polls(self, state: Any) -> list[Any]:
        """Of books only, on the cycle's second."""
        return [
            msgspec.structs.replace(poll, lead_s=0.0)
            for poll in self._venue.polls(state)
            if poll.name == "books"
        ]


_decode = msgspec.json.Decoder(list[Book]).decode


async def plain(session: aiohttp.ClientSession, fetches: tuple[Fetch, ...]) -> None:
    """The reference."""

    async def one(fetch: Fetch) -> int:
        headers = {"Content-Type": "application/json"}
        async with session.post(fetch.url, data=fetch.body, headers=headers) as response:
            return len(_decode(await response.read()))

    await asyncio.gather(*(one(fetch) for fetch in fetches))


async def cpu(work: Callable[[], Awaitable[object]]) -> float:
    """Processor seconds."""
    gc.collect()
    began = time.process_time()
    await work()
    return time.process_time() - began


def spent(work: Callable[[], object]) -> float:
    """The same of what does not wait."""
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


async def measured(url: str, markets: int, cycles: int, folder: pathlib.Path) -> dict[str, Any]:
    """Seconds by name, of every cycle; and sizes."""
    ours = Ours(url, markets, folder)
    link = Link(START_NS, "polymarket", "up", stream="clob")
    for engine in (ours.decoder, ours.engine):
        engine.step(link)
    found: dict[str, list[float]] = {}
    async with aiohttp.ClientSession() as session:

        async def ask(path: str) -> Any:
            async with session.get(f"{url}/{path}") as response:
                return json.loads(await response.read() or b"null")

        async with ours.polling():
            ours.decode()
            ours.whole()
            ours.idle()
            ours.longest_s = 0.0
            for _ in range(cycles):
                await ask("next")
                took = {"plain": await cpu(lambda: plain(session, ours.fetches))}
                await ask("peak")
                ours.clock.ns += CYCLE_NS
                took["fetch"] = await cpu(ours.fetch)
                took["in_flight"] = await ask("peak")
                took["decode"] = spent(ours.decode)
                took["path"] = spent(ours.whole)
                took["idle"] = spent(ours.idle)
                for name, value in took.items():
                    found.setdefault(name, []).append(value)
    ours.tape.close()
    frames = [item for item in ours.inputs if isinstance(item, Frame)]
    size = sum(len(frame.data) for frame in frames)
    return {
        **found,
        "book_bytes": size / markets,
        "longest": ours.longest_s,
        "detectors": len(ours.engine.detectors),
    }


@contextmanager
def served(markets: int) -> Any:
    """URL of a server."""
    command = [sys.executable, __file__, "--serve", "--markets", str(markets)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markets", type=int, default=MARKETS)
    parser.add_argument("--cycles", type=int, default=CYCLES)
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(Server(options.markets).run())
        return
    with served(options.markets) as url, tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measured(url, options.markets, options.cycles, pathlib.Path(folder)))
    seconds = {
        name: statistics.median(found[name])
        for name in ("plain", "fetch", "decode", "path", "idle")
    }
    asked = seconds["fetch"] + seconds["decode"]
    whole = seconds["fetch"] + seconds["path"]
    result = {
        "bench": "polymarket",
        "markets": options.markets,
        "book_bytes": round(found["book_bytes"]),
        "detectors": found["detectors"],
        "in_flight": max(found["in_flight"]),
        "plain_s": round(seconds["plain"], 3),
        "fetch_s": round(seconds["fetch"], 3),
        "decode_s": round(seconds["decode"], 3),
        "fetch_and_decode_s": round(asked, 3),
        "within_budget": asked <= BUDGET_S,
        "whole_path_s": round(whole, 3),
        "other_timers_s": round(seconds["idle"], 3),
        "longest_timer_s": round(found["longest"], 3),
        "fetch_and_decode_to_plain": round(asked / seconds["plain"], 2),
        "whole_path_to_plain": round(whole / seconds["plain"], 2),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
