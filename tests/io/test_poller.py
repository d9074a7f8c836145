"""Polls of a real server on loopback, in virtual time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise

from aiohttp import web
from plain_venue import Plain

from tapewatch.io.inbox import Inbox
from tapewatch.io.poller import Counters, Poller
from tapewatch.model.inputs import Frame, Input, Link
from tapewatch.testing.virtual_time import loop_clock, run
from tapewatch.venues.base import Budget, Fetch, Poll

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Polled(Plain, frozen=True):
    """Asks for its `paths` every ten seconds, two seconds early."""

    base: str = ""
    paths: tuple[str, ...] = ("/a",)
    body: bytes = b""
    requests: int = 100
    in_flight: int = 30
    lead_s: float = 0.0
    timeout_s: float = 8.0
    told: bool = True

    def budgets(self) -> tuple[Budget, ...]:
        limits = (self.in_flight, self.timeout_s, self.told)
        return (Budget("clob", self.requests, 1.0, *limits),)

    def polls(self, state: dict[str, int], /) -> tuple[Poll, ...]:
        fetches = tuple(
            Fetch(self.base + path, f"rest:{path}", "clob", self.body) for path in self.paths
        )
        return (Poll("books", 10.0, fetches, self.lead_s),)


@contextlib.asynccontextmanager
async def polling(answer: Answer, **options: object) -> AsyncIterator[tuple[Inbox, Counters]]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    venue = Polled("ws://127.0.0.1:1", base=base, **options)  # type: ignore[arg-type]
    inbox, counters = Inbox(), Counters()
    poller = Poller(venue, inbox, loop_clock(), state=venue.start, counters=counters)
    task = asyncio.create_task(poller.run())
    try:
        yield inbox, counters
    finally:
        task.cancel()
        await asyncio.wait({task})
        await runner.cleanup()
        assert poller._http._session is None, "closed whatever ended it"


async def everything(inbox: Inbox, seconds: float) -> list[Input]:
    """What arrives in so many seconds."""
    await asyncio.sleep(seconds)
    return await inbox.drain(1000) if len(inbox) else []


def brief(items: list[Input]) -> list[str]:
    return [
        item.stream if isinstance(item, Frame) else f"{item.stream} {item.state}"
        for item in items
        if isinstance(item, Frame | Link)
    ]


def test_polls_come_on_the_grid_of_their_interval() -> None:
    at: list[float] = []

    async def answer(_: web.Request) -> web.Response:
        at.append(loop_clock().now_ns() / 1e9)
        return web.Response(body=b"[]")

    async def scenario() -> list[str]:
        async with polling(answer, lead_s=2.0) as (inbox, _):
            return brief(await everything(inbox, 35))

    said = run(scenario())
    assert said == ["clob up", *["rest:/a"] * len(at)]
    # After the first, two seconds before each multiple of ten, as near as polls are looked for.
    assert len(at) >= 4
    assert all(7.9 <= moment % 10 <= 8.6 for moment in at[1:])


def test_a_request_that_is_still_out_is_not_repeated_and_is_given_up_after_two_turns() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/slow":
            await asyncio.sleep(1e6)
        return web.Response(body=b"[]")

    async def scenario() -> tuple[list[str], Counters]:
        paths = ("/slow", "/quick")
        async with polling(answer, paths=paths, timeout_s=100.0) as (inbox, counters):
            return brief(await everything(inbox, 27)), counters

    said, counters = run(scenario())
    assert asked.count("/slow") == 2, "given up after 20 s, and asked again at the next turn"
    assert asked.count("/quick") >= 3, "one that keeps us waiting holds up no other"
    assert counters.skipped >= 1
    assert "clob down" in said
    assert said.index("clob up") < said.index("clob down"), "the quick one answered"


def test_a_service_that_fails_is_told_once_and_once_when_it_is_back() -> None:
    broken = True

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=503) if broken else web.Response(body=b"[]")

    async def scenario() -> list[list[str]]:
        nonlocal broken
        async with polling(answer) as (inbox, counters):
            first = brief(await everything(inbox, 35))
            assert counters.fetch_failures >= 3
            assert "503" in counters.last_failure
            broken = False
            return [first, brief(await everything(inbox, 12))]

    down, up = run(scenario())
    assert down == ["clob down"]
    assert up[:2] == ["clob up", "rest:/a"]


def test_what_is_not_to_be_told_is_only_counted() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=503)

    async def scenario() -> tuple[list[str], int]:
        async with polling(answer, told=False) as (inbox, counters):
            return brief(await everything(inbox, 12)), counters.fetch_failures

    said, failures = run(scenario())
    assert said == []
    assert failures


def test_a_venue_that_asks_for_a_pause_gets_it() -> None:
    asked: list[float] = []

    async def answer(_: web.Request) -> web.Response:
        asked.append(asyncio.get_running_loop().time())
        return web.Response(status=429, headers={"Retry-After": "60"})

    async def scenario() -> int:
        async with polling(answer) as (_, counters):
            await asyncio.sleep(125)
            return counters.fetch_failures

    failures = run(scenario())
    assert 2 <= len(asked) <= 3
    assert all(later - earlier >= 60 for earlier, later in pairwise(asked))
    assert failures > len(asked), "turns in the pause fail without a request"


def test_no_more_than_so_many_are_under_way_at_once() -> None:
    now = most = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.5)
        now -= 1
        return web.Response(body=b"[]")

    async def scenario() -> list[str]:
        paths = tuple(f"/{number}" for number in range(100))
        async with polling(answer, paths=paths, requests=1000) as (inbox, _):
            return brief(await everything(inbox, 8))

    said = run(scenario())
    assert most == 30
    assert len(set(said) - {"clob up"}) == 100


def test_a_body_is_posted_as_json() -> None:
    seen: list[tuple[str, str, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.method, request.content_type, await request.read()))
        return web.Response(body=b"[]")

    async def scenario() -> None:
        async with polling(answer, body=b'[{"token_id":"1"}]') as (inbox, _):
            await everything(inbox, 1)

    run(scenario())
    assert seen[0] == ("POST", "application/json", b'[{"token_id":"1"}]')
