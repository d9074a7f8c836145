"""A venue without a wire format and a server on loopback, for tests of the websocket driver."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import ClassVar

from msgspec import Struct
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response

from tapewatch.io.backoff import Allowance
from tapewatch.io.inbox import Inbox
from tapewatch.io.websocket import Socket
from tapewatch.model.events import Event
from tapewatch.model.inputs import Frame, Input, Link
from tapewatch.model.outputs import Fault
from tapewatch.testing.virtual_time import loop_clock
from tapewatch.venues.base import Budget, Endpoint, Fetch, Poll

Serve = Callable[[ServerConnection], Awaitable[None]]


class Plain(Struct, frozen=True):
    """A venue whose wire format is nobody's business here."""

    name: ClassVar[str] = "plain"
    state_type: ClassVar[type] = dict
    url: str
    messages: tuple[bytes, ...] = (b'{"subscribe":1}',)
    silence_s: float = 5.0
    ping_every_s: float = 20.0
    attempts: int = 100
    attempts_window_s: float = 600.0

    def instruments(self) -> tuple[str, ...]:
        return ()

    def endpoint(self) -> Endpoint:
        return Endpoint(
            url=self.url,
            silence_s=self.silence_s,
            ping=b'{"ping":1}',
            ping_every_s=self.ping_every_s,
            attempts=self.attempts,
            attempts_window_s=self.attempts_window_s,
        )

    def budgets(self) -> tuple[Budget, ...]:
        return ()

    def streams(self, state: dict[str, int], /) -> tuple[str, ...]:
        return ("ws",)

    def subscribe(self, state: dict[str, int], stream: str, /) -> tuple[bytes, ...]:
        return self.messages

    def resubscribe(self, state: dict[str, int], fault: Fault, /) -> tuple[bytes, ...]:
        return ()

    def fetch(self, state: dict[str, int], fault: Fault, /) -> Fetch | None:
        return None

    def polls(self, state: dict[str, int], /) -> tuple[Poll, ...]:
        return ()

    def start(self) -> dict[str, int]:
        return {}

    def decode(self, state: dict[str, int], frame: Frame, /) -> Iterable[Event]:
        return ()

    def on_link(self, state: dict[str, int], link: Link, /) -> Iterable[Event]:
        return ()

    def on_timer(self, state: dict[str, int], now: int, /) -> Iterable[Event]:
        return ()


def make_socket(venue: Plain, inbox: Inbox) -> Socket:
    allowance = Allowance(venue.attempts, venue.attempts_window_s)
    return Socket(
        venue, inbox, loop_clock(), allowance=allowance, rng=random.Random(7), state=venue.start
    )


@contextlib.asynccontextmanager
async def running(socket: Socket) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(socket.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


@contextlib.asynccontextmanager
async def serving(
    session: Serve, *, answer: Callable[..., Response | None] | None = None
) -> AsyncIterator[str]:
    async def on_connection(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            await session(connection)

    async with serve(
        on_connection,
        "127.0.0.1",
        0,
        ping_interval=None,
        process_request=answer,
        close_timeout=0.1,
        compression=None,
    ) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2"


async def take(inbox: Inbox, count: int) -> list[Input]:
    taken: list[Input] = []
    while len(taken) < count:
        taken += await inbox.drain(count - len(taken))
    return taken


def brief(items: Iterable[Input]) -> list[str]:
    return [
        item.data.decode() if isinstance(item, Frame) else f"{item.state} {item.reason}".strip()
        for item in items
        if isinstance(item, Frame | Link)
    ]


async def talk_to(session: Serve, count: int, **options: float) -> list[Input]:
    """The first `count` inputs that a socket makes of a server."""
    async with serving(session) as url:
        inbox = Inbox()
        async with running(make_socket(Plain(url, **options), inbox)):  # type: ignore[arg-type]
            return await take(inbox, count)
