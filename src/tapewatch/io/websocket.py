"""One websocket for one venue: connect, subscribe, listen, notice death, come back.

It moves bytes and knows no wire format: what to send and how long to wait comes from the `Venue`,
what arrives goes verbatim into the inbox between a `Link` up and a `Link` down. Every ending of a
connection passes through `recv`, so that frames which arrived before it are never lost.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
)
from websockets.protocol import State

from tapewatch.io.backoff import Allowance, Backoff
from tapewatch.io.clock import Clock
from tapewatch.io.inbox import Inbox
from tapewatch.io.reach import answered, host_of, is_loopback, unreachable
from tapewatch.model import limits
from tapewatch.model.errors import Refused, Retryable, SourceError
from tapewatch.model.inputs import STOPPED, Frame, Link
from tapewatch.model.text import clean
from tapewatch.venues.base import Endpoint, Venue

OPEN_S: Final = 10.0  # name lookup, TCP, TLS and handshake together
CLOSE_S: Final = 1.0  # a polite goodbye; a dead peer will not return it
SENDS_PER_S: Final = 20  # Kraken's unpublished limit, as other clients found it
FINAL: Final = frozenset({400, 401, 404, 405, 410, 426})  # wrong address or protocol: stays wrong

_CLOSE_CODES: Final = {
    1000: "normal closure",
    1001: "going away",
    1002: "protocol error",
    1008: "policy violation",
    1011: "internal error",
    1012: "service restart",
    1013: "try again later",
}


class Counters(Struct):
    """What one socket did so far. `waits`: frames for which the inbox was full."""

    attempts: int = 0
    connects: int = 0
    disconnects: int = 0
    frames: int = 0
    bytes: int = 0
    waits: int = 0
    sent: int = 0
    unsent: int = 0  # messages for which there was no connection or no room


class Socket:
    """Keeps one connection of `venue`, the one called `stream`, alive while `run` runs.

    `state` gives the decoder's memory: what to subscribe to depends on it. `allowance` is shared by
    all sockets of one venue, because venues count attempts per address.
    `failure` is the latest trouble, `retry_in_s` the pause that followed it.
    """

    def __init__(
        self,
        venue: Venue[Any],
        inbox: Inbox,
        clock: Clock,
        *,
        allowance: Allowance,
        rng: random.Random,
        state: Callable[[], Any],
        stream: str = "ws",
    ) -> None:
        self.counters = Counters()
        self.stream = stream
        self._state = state
        self.failure: SourceError | None = None
        self.retry_in_s = 0.0
        self._venue, self._inbox, self._clock = venue, inbox, clock
        self._allowance, self._backoff = allowance, Backoff(rng)
        self._opening: asyncio.Task[ClientConnection] | None = None
        self._connection: ClientConnection | None = None
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue(maxsize=limits.SOCKET_SENDS)
        self._leaving = ""  # why we end the connection, when it is us
        self._said: tuple[str, str] = ("", "")
        self._tried = asyncio.Event()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Connect again and again until `close`.

        Raises `Refused` if the venue says on the first visit that this can never work. Later the
        same answer is taken for a passing fault: the address has worked before.
        """
        while not self._stopping.is_set():
            await self._pause(self._allowance.reserve_s(asyncio.get_running_loop().time()))
            if not self._stopping.is_set():
                await self._visit()

    async def tried(self) -> SourceError | None:
        """Wait for the outcome of the first attempt: None once connected, else the trouble."""
        await self._tried.wait()
        return None if self.counters.connects else self.failure

    def send(self, messages: Sequence[bytes]) -> None:
        """Queue messages for the present connection; without one they are counted and dropped,
        since the next connection subscribes afresh."""
        for message in messages:
            if self._connection is None or self._outgoing.full():
                self.counters.unsent += 1
            else:
                self._outgoing.put_nowait(message)

    def reconnect(self, reason: str) -> None:
        """Drop the connection, if there is one; `run` makes a new one under the usual backoff."""
        if self._connection is not None:
            self._leaving = reason
            self._connection.transport.abort()

    async def close(self) -> None:
        """End `run`, politely. Frames that arrive until the venue agrees are still kept."""
        self._stopping.set()
        if self._opening is not None:
            self._opening.cancel()
        if self._connection is not None:
            self._leaving = STOPPED
            await self._connection.close()

    async def _visit(self) -> None:
        """One attempt, the connection it may give, and the pause after it."""
        endpoint = self._venue.endpoint()
        self.counters.attempts += 1
        self._opening = asyncio.create_task(
            self._connect(endpoint), name=f"{self._venue.name}.connect"
        )
        try:
            connection = await self._opening
        except SourceError as failure:
            self.failure = failure
        except asyncio.CancelledError:
            if not self._stopping.is_set():  # it was not `close` but our owner
                raise
            self.failure = Retryable("stopped")
        else:
            self.failure = Retryable(await self._converse(connection, endpoint))
            self.counters.disconnects += 1
        await self._say("down", str(self.failure))
        self._tried.set()
        if isinstance(self.failure, Refused) and not self.counters.connects:
            raise self.failure
        asked = self.failure.retry_after_s if isinstance(self.failure, Retryable) else None
        self.retry_in_s = self._backoff.next_s(asked or 0.0)
        await self._pause(self.retry_in_s)

    async def _connect(self, endpoint: Endpoint) -> ClientConnection:
        url = endpoint.url
        try:
            return await connect(
                url,
                compression=None,  # a shared deflate window costs memory, and bombs can hide in it
                ping_interval=None,  # protocol pings are answered by edges that lost the venue
                open_timeout=OPEN_S,
                close_timeout=CLOSE_S,
                max_size=limits.FRAME_BYTES,
                max_queue=limits.SOCKET_FRAMES,
                proxy=None if is_loopback(url) else True,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            if status in FINAL:
                raise Refused(
                    f"{host_of(url)} answers {status}: it does not offer this connection. "
                    "The address is wrong, or the venue changed its protocol."
                ) from error
            after = error.response.headers.get("Retry-After")
            raise answered(self._venue.name, status, after) from error
        except (InvalidURI, InvalidProxy, ImportError) as error:  # import: a SOCKS proxy is set
            raise Refused(f"Cannot use {host_of(url)}: {clean(str(error))}") from error
        except (OSError, InvalidHandshake) as error:
            raise unreachable(url, error, OPEN_S) from error

    async def _converse(self, connection: ClientConnection, endpoint: Endpoint) -> str:
        """Use one connection to its end; returns why it ended."""
        loop = asyncio.get_running_loop()
        self.counters.connects += 1
        self._leaving = ""
        self._outgoing = asyncio.Queue(maxsize=limits.SOCKET_SENDS)
        self._connection = connection
        began = loop.time()
        try:
            async with connection, asyncio.TaskGroup() as group:
                await self._say("up")
                self._tried.set()
                talkers = (
                    group.create_task(self._write(connection), name=f"{self._venue.name}.write"),
                    group.create_task(
                        self._ping(connection, endpoint), name=f"{self._venue.name}.ping"
                    ),
                )
                if self._stopping.is_set():
                    self.reconnect(STOPPED)
                heard, reason = await self._receive(connection, endpoint.silence_s)
                for talker in talkers:
                    talker.cancel()
        finally:
            self._connection = None
        self._backoff.worked(heard - began)
        return reason

    async def _receive(self, connection: ClientConnection, silence_s: float) -> tuple[float, str]:
        """Listen to the end; returns when the last frame came (loop time) and why it ended."""
        loop = asyncio.get_running_loop()
        heard, reason = loop.time(), ""
        while not reason:
            try:
                # The clock stops while we wait for room in the inbox: that silence is ours.
                async with asyncio.timeout(silence_s):
                    data = await connection.recv(decode=False)
            except TimeoutError:
                self.reconnect(f"no data for {silence_s:g} s")
            except ConnectionClosed as closed:
                reason = self._leaving or self._farewell(closed)
            else:
                heard = loop.time()
                await self._keep(data)
        return heard, reason

    async def _keep(self, data: bytes) -> None:
        frame = Frame(self._clock.now_ns(), self._venue.name, data, self.stream)
        self.counters.frames += 1
        self.counters.bytes += len(data)
        self.counters.waits += self._inbox.full()
        await self._inbox.put(frame)

    async def _write(self, connection: ClientConnection) -> None:
        """Subscribe, then send what `send` queues, slowly enough for the venue."""
        pace = Allowance(1, 1 / SENDS_PER_S)
        loop = asyncio.get_running_loop()
        pending = list(self._venue.subscribe(self._state(), self.stream))
        with contextlib.suppress(ConnectionClosed):  # `_receive` sees it too and says why
            while connection.state is State.OPEN:
                message = pending.pop(0) if pending else await self._outgoing.get()
                await asyncio.sleep(pace.reserve_s(loop.time()))
                await connection.send(message.decode())
                self.counters.sent += 1

    async def _ping(self, connection: ClientConnection, endpoint: Endpoint) -> None:
        with contextlib.suppress(ConnectionClosed):  # as above
            while endpoint.ping and connection.state is State.OPEN:
                await asyncio.sleep(endpoint.ping_every_s)
                await connection.send(endpoint.ping.decode())

    def _farewell(self, closed: ConnectionClosed) -> str:
        venue = self._venue.name.capitalize()
        ours = closed.sent if not closed.rcvd_then_sent else None
        if ours is not None and ours.code == 1009:
            return f"{venue} sent a frame larger than {limits.FRAME_BYTES:,} bytes (1009)"
        if ours is not None:
            return f"{venue} broke the websocket protocol ({ours.code} {clean(ours.reason)})"
        if closed.rcvd is None:
            return f"{venue} dropped the connection without a word (1006)"
        said = clean(closed.rcvd.reason) or _CLOSE_CODES.get(closed.rcvd.code, "no reason given")
        return f"{venue} closed the connection ({closed.rcvd.code} {said})"

    async def _say(self, state: Literal["up", "down"], reason: str = "") -> None:
        """Put a `Link` into the inbox; the same trouble again is not news."""
        if self._said != (state, reason):
            self._said = (state, reason)
            await self._inbox.put(
                Link(
                    ts_recv=self._clock.now_ns(),
                    source=self._venue.name,
                    state=state,
                    reason=reason,
                    stream=self.stream,
                )
            )

    async def _pause(self, seconds: float) -> None:
        """Sleep, unless we are stopping."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
