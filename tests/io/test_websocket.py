"""One connection of the websocket driver: frames, silence, backpressure, endings."""

import asyncio
import contextlib
import itertools

import pytest
from plain_venue import Plain, brief, make_socket, running, serving, take, talk_to
from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tapewatch.io.inbox import Inbox
from tapewatch.io.websocket import OPEN_S, SENDS_PER_S
from tapewatch.model import limits
from tapewatch.model.inputs import Frame, Input, Link
from tapewatch.testing.virtual_time import START_NS, run


def test_subscribes_then_frames_between_links() -> None:
    async def session(connection: ServerConnection) -> None:
        assert connection.request is not None
        assert "Sec-WebSocket-Extensions" not in connection.request.headers
        await connection.send("ack " + str(await connection.recv()))
        await asyncio.sleep(1)
        await connection.send("data")
        await asyncio.sleep(1)

    async def scenario() -> list[Input]:
        return await talk_to(session, 4)

    items = run(scenario())
    assert brief(items) == [
        "up",
        'ack {"subscribe":1}',
        "data",
        "down Plain closed the connection (1000 normal closure)",
    ]
    assert all(isinstance(item, Frame | Link) and item.source == "plain" for item in items)
    assert [item.ts_recv - START_NS for item in items] == [0, 0, 10**9, 2 * 10**9]


def test_silence_ends_the_connection_and_a_new_one_is_made() -> None:
    async def session(connection: ServerConnection) -> None:
        await connection.send("only one")
        await connection.wait_closed()

    async def scenario() -> list[Input]:
        return await talk_to(session, 5)

    items = run(scenario())
    assert brief(items) == ["up", "only one", "down no data for 5 s", "up", "only one"]
    assert items[2].ts_recv - items[1].ts_recv == 5 * 10**9
    assert items[3].ts_recv - items[2].ts_recv <= 0.5 * 10**9


def test_half_open_peer_after_the_handshake() -> None:
    """The peer neither sends nor closes nor answers a close: only our own clock can tell."""

    async def scenario() -> list[Input]:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            protocol = ServerProtocol()
            protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
            request = protocol.events_received()[0]
            assert isinstance(request, Request)
            protocol.send_response(protocol.accept(request))
            writer.write(b"".join(protocol.data_to_send()))
            with contextlib.suppress(ConnectionError):
                while await reader.read(100):
                    pass
            writer.close()

        async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
            inbox = Inbox()
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with running(make_socket(Plain(url), inbox)):
                return await take(inbox, 3)

    items = run(scenario())
    assert brief(items) == ["up", "down no data for 5 s", "up"]
    assert items[1].ts_recv - items[0].ts_recv == 5 * 10**9


def test_peer_that_never_answers_the_handshake() -> None:
    async def scenario() -> tuple[str, int]:
        async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            inbox = Inbox()
            async with running(make_socket(Plain(f"ws://127.0.0.1:{port}"), inbox)):
                (link,) = await take(inbox, 1)
                assert isinstance(link, Link)
                return link.reason.replace(str(port), "PORT"), link.ts_recv - START_NS

    reason, waited = run(scenario())
    assert reason == "Cannot reach 127.0.0.1:PORT (no answer within 10 s). Try: tapewatch doctor."
    assert waited == OPEN_S * 10**9


@pytest.mark.parametrize(
    ("code", "said", "text"),
    [
        (1001, "", "Plain closed the connection (1001 going away)"),
        (1011, "", "Plain closed the connection (1011 internal error)"),
        (1012, "", "Plain closed the connection (1012 service restart)"),
        (4000, "bye\x1b[2J", "Plain closed the connection (4000 bye·[2J)"),
        (4001, "", "Plain closed the connection (4001 no reason given)"),
    ],
)
def test_close_codes(code: int, said: str, text: str) -> None:
    async def session(connection: ServerConnection) -> None:
        await connection.send("last")
        await connection.close(code, said)

    async def scenario() -> list[Input]:
        return await talk_to(session, 4)

    assert brief(run(scenario())) == ["up", "last", f"down {text}", "up"]


def test_abnormal_close_keeps_what_came_before_it() -> None:
    async def session(connection: ServerConnection) -> None:
        for number in range(200):
            await connection.send(str(number))
        await asyncio.sleep(0.1)
        connection.transport.abort()

    async def scenario() -> list[Input]:
        return await talk_to(session, 202)

    said = brief(run(scenario()))
    assert said[1:-1] == [str(number) for number in range(200)]
    assert said[-1] == "down Plain dropped the connection without a word (1006)"


def test_oversize_frame_is_refused_and_the_next_connection_works() -> None:
    sizes = iter([limits.FRAME_BYTES + 1, limits.FRAME_BYTES])

    async def session(connection: ServerConnection) -> None:
        await connection.send("x" * next(sizes))
        await connection.wait_closed()

    async def scenario() -> list[Input]:
        return await talk_to(session, 4)

    items = run(scenario())
    assert brief(items)[:3] == [
        "up",
        "down Plain sent a frame larger than 1,048,576 bytes (1009)",
        "up",
    ]
    assert isinstance(items[3], Frame)
    assert len(items[3].data) == limits.FRAME_BYTES


def test_frames_that_are_not_utf8_arrive_verbatim() -> None:
    raw = b'{"a":"\xff\xfe\x00"}'

    async def session(connection: ServerConnection) -> None:
        wire = WireFrame(Opcode.TEXT, raw).serialize(mask=False)
        connection.transport.write(wire)
        await connection.send(raw)  # the same as a binary message
        await connection.wait_closed()

    async def scenario() -> list[Input]:
        return await talk_to(session, 3)

    frames = [item.data for item in run(scenario()) if isinstance(item, Frame)]
    assert frames == [raw, raw]


def test_broken_protocol_is_named() -> None:
    async def session(connection: ServerConnection) -> None:
        connection.transport.write(b"\xff\xff garbage")
        await connection.wait_closed()

    async def scenario() -> list[Input]:
        return await talk_to(session, 2)

    assert brief(run(scenario()))[1].startswith("down Plain broke the websocket protocol (1002")


def test_ping_and_paced_messages() -> None:
    heard: list[tuple[float, str]] = []

    async def session(connection: ServerConnection) -> None:
        await connection.send("hello")
        async for message in connection:
            heard.append((asyncio.get_running_loop().time(), str(message)))
            await connection.send("pong")

    async def scenario() -> None:
        async with serving(session) as url:
            inbox = Inbox()
            messages = tuple(b"sub %d" % number for number in range(SENDS_PER_S))
            client = make_socket(Plain(url, messages=messages, ping_every_s=4.0), inbox)
            client.send((b"too early",))
            assert client.counters.unsent == 1
            async with running(client):
                await take(inbox, 2)
                client.send([b"again %d" % number for number in range(SENDS_PER_S)])
                await asyncio.sleep(13)
                assert client.counters.sent == 2 * SENDS_PER_S
                client.send([b"x"] * (limits.SOCKET_SENDS + 1))
                assert client.counters.unsent == 2

    run(scenario())
    texts = [text for _, text in heard]
    assert texts[: 2 * SENDS_PER_S] == [
        *(f"sub {n}" for n in range(SENDS_PER_S)),
        *(f"again {n}" for n in range(SENDS_PER_S)),
    ]
    sent = [at for at, _ in heard[: 2 * SENDS_PER_S]]
    assert all(later - earlier > 0.049 for earlier, later in itertools.pairwise(sent))
    assert [round(at) for at, text in heard if text == '{"ping":1}'] == [4, 8, 12]


def test_a_full_inbox_slows_the_venue_and_loses_nothing() -> None:
    async def session(connection: ServerConnection) -> None:
        for number in range(500):
            await connection.send(str(number))
        await connection.wait_closed()

    async def scenario() -> tuple[list[str], int, int]:
        async with serving(session) as url:
            inbox = Inbox(capacity=3)
            client = make_socket(Plain(url), inbox)
            async with running(client):
                taken: list[Input] = []
                while len(taken) < 502:
                    # Far longer than the allowed silence, but the silence is ours.
                    await asyncio.sleep(20)
                    taken += await inbox.drain(50)
            return brief(taken), client.counters.waits, inbox.waits

    said, waits, inbox_waits = run(scenario())
    assert said[1:501] == [str(number) for number in range(500)]
    assert said[501] == "down no data for 5 s"
    assert 100 < waits <= inbox_waits


def test_close_is_polite_keeps_frames_and_ends_the_run() -> None:
    codes: list[int | None] = []

    async def session(connection: ServerConnection) -> None:
        for number in range(50):
            await connection.send(str(number))
        await connection.wait_closed()
        codes.append(connection.close_code)

    async def scenario() -> list[str]:
        async with serving(session) as url:
            inbox = Inbox()
            client = make_socket(Plain(url), inbox)
            async with running(client) as task:
                await asyncio.sleep(1)
                await client.close()
                await task
            return brief(await inbox.drain(100))

    assert run(scenario()) == ["up", *(str(number) for number in range(50)), "down stopped"]
    assert codes == [1000]
