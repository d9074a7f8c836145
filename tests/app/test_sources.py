"""HTTP requests for the engine: a venue that keeps us waiting holds up no other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from tapewatch.app.sources import Sources
from tapewatch.io.inbox import Inbox
from tapewatch.io.poller import FETCH_WAIT_S
from tapewatch.model.inputs import Frame
from tapewatch.model.outputs import Fault
from tapewatch.testing import virtual_time
from tapewatch.venues.base import Fetch
from tapewatch.venues.kraken import Kraken
from tapewatch.venues.kraken_state import KrakenState


class Asking(Kraken, frozen=True):
    """A venue of another name that fetches what the fault's detail says."""

    def fetch(self, state: KrakenState, fault: Fault, /) -> Fetch:
        return Fetch(self.rest_url + fault.detail, f"rest:{fault.detail}")


class Slow(Asking, frozen=True):
    name = "slow"


class Quick(Asking, frozen=True):
    name = "quick"


def probe(source: str, path: str) -> Fault:
    return Fault("quiet", source, "", 0, path, ask="probe")


class Server:
    """Answers `/slow` after so many seconds, `/busy` with a refusal, everything else at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if request.path == "/busy":
            return web.Response(status=503, headers={"Retry-After": "600"})
        return web.json_response({})


@asynccontextmanager
async def served() -> AsyncIterator[Server]:
    server, app = Server(), web.Application()
    app.router.add_get("/{path}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[tuple[Sources, Inbox]]:
    inbox, away = Inbox(), "ws://127.0.0.1:1"
    venues = [
        kind(symbols=("BTC/USD",), url=away, rest_url=url)
        for kind, url in ((Slow, server.url), (Quick, server.url.replace("127.0.0.1", "localhost")))
    ]
    states = {venue.name: venue.start() for venue in venues}
    sources = Sources(venues, inbox, virtual_time.loop_clock(), state=states.__getitem__)
    task = asyncio.create_task(sources.run())
    await asyncio.sleep(0)
    try:
        yield sources, inbox
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    for source in sources._sources.values():
        assert source.poller._http._session is None, "closed whatever ended it"


async def frame(inbox: Inbox) -> Frame:
    while True:
        for item in await inbox.drain():
            if isinstance(item, Frame):
                return item


def test_a_refusal_is_not_tried_again_and_holds_up_no_other() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with served() as server, running(server) as (sources, inbox):
            sources.serve(probe("slow", "/busy"))
            sources.serve(probe("quick", "/one"))
            assert (await frame(inbox)).source == "quick"
            assert loop.time() < 10.0
            await asyncio.sleep(30.0)
            assert server.asked.count("/busy") == 1
            assert sources.counters.fetch_failures == 1
            sources.serve(probe("slow", "/busy"))  # the decoder asks again: refused before sending
            await asyncio.sleep(1.0)
            assert sources.counters.fetch_failures == 2

    virtual_time.run(main())


def test_a_request_that_waited_too_long_is_dropped() -> None:
    async def main() -> None:
        async with served() as server, running(server) as (sources, _):
            count = int(FETCH_WAIT_S) + 10
            for number in range(count):  # one a second is sent
                sources.serve(probe("quick", f"/{number}"))
            await asyncio.sleep(2 * count)
            counters = sources.counters
            assert counters.fetches_dropped > 0
            assert counters.fetched == len(server.asked) == count - counters.fetches_dropped

    virtual_time.run(main())
