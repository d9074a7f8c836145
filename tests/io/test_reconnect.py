"""Getting a connection, and getting it back: refusals, backoff, budget."""

import asyncio
import random
import socket

import pytest
from plain_venue import Plain, brief, make_socket, running, serving, take
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from tapewatch.io.backoff import Allowance
from tapewatch.io.inbox import Inbox
from tapewatch.io.websocket import Socket
from tapewatch.model.errors import Refused, Retryable
from tapewatch.testing.virtual_time import loop_clock, run


@pytest.mark.parametrize(
    ("status", "header", "text", "least", "most"),
    [
        (403, None, "Plain answers 403 from this network. Your region", 30, 60),
        (429, "120", "Plain answers 429 from this network. Your region", 120, 120),
        (429, "99999999999", "Plain answers 429 from this network. Your region", 600, 600),
        (503, None, "Plain is down or overloaded (503).", 0, 0.5),
        (522, None, "Plain is down behind its edge (522).", 30, 60),
        (302, None, "Plain answers 302 instead of data.", 0, 0.5),
    ],
)
def test_handshake_answers(
    status: int, header: str | None, text: str, least: float, most: float
) -> None:
    asked: list[float] = []

    def answer(connection: ServerConnection, _: Request) -> Response | None:
        asked.append(asyncio.get_running_loop().time())
        if len(asked) > 1:
            return None
        headers = Headers({"Retry-After": header} if header else {})
        return Response(status, "no", headers, b"")

    async def scenario() -> list[str]:
        async with serving(ServerConnection.wait_closed, answer=answer) as url:
            inbox = Inbox()
            socket = make_socket(Plain(url), inbox)
            async with running(socket):
                said = brief(await take(inbox, 2))
                assert isinstance(socket.failure, Retryable)
                return said

    said = run(scenario())
    assert said[0].startswith(f"down {text}")
    assert said[1] == "up"
    assert least <= asked[1] - asked[0] <= most


def test_wrong_address_ends_the_socket_at_the_first_visit_only() -> None:
    answers = iter([None, 404, None])

    def answer(connection: ServerConnection, _: Request) -> Response | None:
        status = next(answers)
        return connection.respond(status, "no") if status else None

    async def session(connection: ServerConnection) -> None:
        await connection.close(1001)

    async def later() -> list[str]:
        async with serving(session, answer=answer) as url:
            inbox = Inbox()
            async with running(make_socket(Plain(url), inbox)):
                return [text.split(" ")[0] for text in brief(await take(inbox, 4))]

    async def first() -> None:
        async with serving(session, answer=lambda c, _: c.respond(404, "no")) as url:
            inbox = Inbox()
            socket = make_socket(Plain(url), inbox)
            async with running(socket) as task:
                assert isinstance(await socket.tried(), Refused)
                await task

    assert run(later()) == ["up", "down", "down", "up"]
    with pytest.raises(Refused, match=r"answers 404: it does not offer this connection"):
        run(first())


def test_an_address_that_is_none_is_refused() -> None:
    async def scenario() -> None:
        await make_socket(Plain("http://ws.kraken.com/v2"), Inbox()).run()

    with pytest.raises(Refused, match=r"Cannot use ws\.kraken\.com: "):
        run(scenario())


def test_connection_refused_then_back() -> None:
    async def scenario() -> tuple[list[str], int]:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        inbox = Inbox()
        client = make_socket(Plain(f"ws://127.0.0.1:{port}"), inbox)
        async with running(client):
            failure = await client.tried()
            assert isinstance(failure, Retryable)
            await asyncio.sleep(300)  # the same trouble again and again is one link
            async with serve(ServerConnection.wait_closed, "127.0.0.1", port):
                said = brief(await take(inbox, 2))
                assert await client.tried() is None
        return [text.replace(str(port), "PORT") for text in said], client.counters.attempts

    said, attempts = run(scenario())
    refused = "down Cannot reach 127.0.0.1:PORT (connection refused). Try: tapewatch doctor."
    assert said == [refused, "up"]
    assert 300 / 60 < attempts < 100


def test_name_lookup_failure_in_the_users_words() -> None:
    async def scenario() -> str:
        inbox = Inbox()
        client = make_socket(Plain("wss://ws.kraken.invalid/v2"), inbox)
        async with running(client):
            return str(await client.tried())

    assert run(scenario()) == (
        "Cannot reach ws.kraken.invalid (name lookup failed). You seem to be offline. "
        "Try: tapewatch demo (needs no network) or tapewatch doctor."
    )


@pytest.mark.parametrize(("attempts", "per_s"), [(100, 600.0), (5, 60.0)])
def test_instant_closes_never_exceed_the_budget(attempts: int, per_s: float) -> None:
    """An hour with a venue that hangs up at once: no window holds more attempts than allowed."""
    visits: list[float] = []

    async def session(connection: ServerConnection) -> None:
        visits.append(asyncio.get_running_loop().time())

    async def scenario() -> None:
        async with serving(session) as url:
            inbox = Inbox()
            venue = Plain(url, attempts=attempts, attempts_window_s=per_s)
            # Two sockets of one venue share its budget.
            allowance = Allowance(attempts, per_s)
            for seed in (1, 2):
                client = Socket(
                    venue,
                    inbox,
                    loop_clock(),
                    allowance=allowance,
                    rng=random.Random(seed),
                    state=venue.start,
                )
                asyncio.create_task(client.run(), name=f"socket.{seed}")  # noqa: RUF006  run() ends it
            await asyncio.sleep(3600)

    run(scenario())
    assert len(visits) > 60
    windows = [sum(1 for at in visits if begin <= at < begin + per_s) for begin in visits]
    assert max(windows) <= attempts


def test_backoff_is_forgotten_only_after_a_healthy_minute() -> None:
    """Each connection lives 59 s, then 61 s: the pauses grow, then shrink to the first ceiling."""
    pauses: list[float] = []
    ended = 0.0

    async def session(connection: ServerConnection) -> None:
        nonlocal ended
        loop = asyncio.get_running_loop()
        pauses.append(loop.time() - ended)
        life = 59.0 if len(pauses) < 20 else 61.0
        until = loop.time() + life
        while loop.time() < until:
            await connection.send("data")
            await asyncio.sleep(min(4, until - loop.time()))
        ended = loop.time()

    async def scenario() -> None:
        async with serving(session) as url:
            inbox = Inbox()
            async with running(make_socket(Plain(url), inbox)):
                while len(pauses) < 30:
                    await inbox.drain()

    run(scenario())
    assert max(pauses[8:20]) > 15
    assert max(pauses[21:]) <= 0.5


def test_reconnect_on_demand() -> None:
    async def session(connection: ServerConnection) -> None:
        await connection.send("data")
        await connection.wait_closed()

    async def scenario() -> tuple[list[str], int]:
        async with serving(session) as url:
            inbox = Inbox()
            client = make_socket(Plain(url), inbox)
            client.reconnect("nothing to drop")
            async with running(client):
                first = await take(inbox, 2)
                client.reconnect("mute for 18 s")
                return brief(first + await take(inbox, 3)), client.counters.connects

    said, connects = run(scenario())
    assert said == ["up", "data", "down mute for 18 s", "up", "data"]
    assert connects == 2


def test_close_while_connecting_ends_it() -> None:
    async def scenario() -> tuple[list[str], float]:
        async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
            inbox = Inbox()
            client = make_socket(
                Plain(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"), inbox
            )
            async with running(client) as task:
                await asyncio.sleep(1)
                await client.close()
                await task
            return brief(await inbox.drain()), asyncio.get_running_loop().time()

    assert run(scenario()) == (["down stopped"], 1)


def test_close_during_the_pause_ends_it() -> None:
    async def scenario() -> float:
        inbox = Inbox()
        client = make_socket(Plain("ws://127.0.0.1:9"), inbox)
        async with running(client) as task:
            await client.tried()
            await client.close()
            await task
        return asyncio.get_running_loop().time()

    assert run(scenario()) == 0
