"""The kill switch on a bus: a NATS subject, or a channel of Redis. The last message holds.

A bus tells changes, not states. Until its first message the switch is off. Of a NATS subject that a
JetStream keeps, the last message is fetched after each connection; of others, what was said while
we were not connected is not known to us, and the message before it holds on. While the bus does not
answer, the switch cannot be read.
"""

import asyncio
import importlib
import random
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from tapewatch.io.backoff import Backoff
from tapewatch.io.control import Order, parse
from tapewatch.io.control_sources import NONSENSE, Reading
from tapewatch.io.reach import host_of
from tapewatch.io.redis_state_client import why
from tapewatch.model.errors import ConfigError, Retryable
from tapewatch.model.text import clean

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

SCHEMES: Final = ("nats", "tls", "redis", "rediss", "unix")
WAIT_S: Final = 0.5  # a turn of the reading loop
STEADY_S: Final = 60.0  # so long it must hold for its failures to be forgotten


Told = Callable[[bytes], None]  # takes what a message says


class Line(Protocol):
    """One connection to a bus."""

    async def open(self, told: Told) -> None:
        """Connect, and pass every message on. Raises `Retryable`."""
        ...

    async def answer(self) -> None:
        """Return once the other side has answered. Raises `Retryable` when it is gone."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


class BusReader:
    """A subject of a bus. It connects when it is read for the first time, and again when it must.
    Raises `ConfigError` without the library for it."""

    def __init__(self, url: str, subject: str, timeout_s: float) -> None:
        self.name = "bus"
        self._url, self._subject, self._timeout_s = url, subject, timeout_s
        self._line: Line | None = None
        self._said: Reading = Order(active=False)
        self._backoff = Backoff(random.Random(subject))  # noqa: S311  jitter is no secret
        self._again_s = 0.0
        self._since_s = 0.0
        self._trouble = ""
        self._closing: set[asyncio.Task[None]] = set()
        require(url)

    async def read(self) -> Reading:
        loop = asyncio.get_running_loop()
        if self._line is None and loop.time() < self._again_s:
            return self._trouble
        self._trouble = f"{host_of(self._url)} does not answer within {self._timeout_s:g} s"
        try:
            if self._line is None:
                await self._connect()
            assert self._line is not None
            await self._line.answer()
        except Retryable as error:
            self._trouble = str(error)
            self._lost()
            return self._trouble
        except asyncio.CancelledError:  # the caller's deadline
            self._lost()
            raise
        self._trouble = ""
        self._backoff.worked(min(loop.time() - self._since_s, STEADY_S))
        return self._said

    async def close(self) -> None:
        self._let_go()
        await asyncio.gather(*self._closing)

    async def _connect(self) -> None:
        self._line = line_of(self._url, self._subject, self._timeout_s)
        await self._line.open(self._told)
        self._since_s = asyncio.get_running_loop().time()

    def _lost(self) -> None:
        self._let_go()
        # Never longer than a few polls: the switch is on as long as it cannot be read.
        wait_s = min(self._backoff.next_s(), 5 * self._timeout_s)
        self._again_s = asyncio.get_running_loop().time() + wait_s

    def _let_go(self) -> None:
        """Disconnect, without waiting for a server that may hang."""
        line, self._line = self._line, None
        if line is not None:
            closing = asyncio.create_task(self._end(line), name="killswitch.bus.close")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _end(self, line: Line) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                await line.close()

    def _told(self, data: bytes) -> None:
        self._said = parse(data) or f"a message of {clean(self._subject, 60)} {NONSENSE}"


def is_nats(url: str) -> bool:
    """Whether this is the address of a NATS; else it is that of a Redis."""
    return urlsplit(url).scheme in ("nats", "tls")


def require(url: str) -> None:
    """Raise `ConfigError` if the library for this address is missing."""
    name, extra = ("nats", "nats") if is_nats(url) else ("redis.asyncio", "redis")
    try:
        importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"the kill switch on a bus needs: pip install 'tapewatch[{extra}]'"
        ) from error


def line_of(url: str, subject: str, timeout_s: float) -> Line:
    """A connection for this address, not opened yet."""
    kind = NatsLine if is_nats(url) else RedisLine
    return kind(url, subject, timeout_s)


class NatsLine:
    """One connection to NATS."""

    def __init__(self, url: str, subject: str, timeout_s: float) -> None:
        self._url, self._subject, self._timeout_s = url, subject, timeout_s
        self._client: Client | None = None

    async def open(self, told: Told) -> None:
        import nats  # noqa: PLC0415  an extra
        from nats.errors import Error  # noqa: PLC0415

        async def heard(message: "Msg") -> None:
            told(message.data)

        async def quiet(_: Exception) -> None:
            """`answer` finds out by itself."""

        try:
            self._client = await nats.connect(
                self._url,
                allow_reconnect=False,
                connect_timeout=self._timeout_s,
                error_cb=quiet,
            )
            await self._client.subscribe(self._subject, cb=heard)
            await self._client.flush(self._timeout_s)  # type: ignore[arg-type]
            kept = await self._kept(self._client)
        except (Error, OSError, TimeoutError) as error:
            raise self._gone(error) from error
        if kept is not None:
            told(kept)

    async def _kept(self, client: "Client") -> bytes | None:
        """The last message of the subject, if a JetStream keeps it."""
        from nats.js.errors import NotFoundError, ServiceUnavailableError  # noqa: PLC0415

        stream = client.jetstream(timeout=self._timeout_s)
        try:
            name = await stream.find_stream_name_by_subject(self._subject)
            return (await stream.get_last_msg(name, self._subject)).data
        except (NotFoundError, ServiceUnavailableError):
            return None

    async def answer(self) -> None:
        from nats.errors import Error  # noqa: PLC0415  an extra

        assert self._client is not None
        try:
            await self._client.flush(self._timeout_s)  # type: ignore[arg-type]
        except (Error, OSError, TimeoutError) as error:
            raise self._gone(error) from error
        if not self._client.is_connected:
            raise self._gone(ConnectionError())

    async def close(self) -> None:
        if self._client is not None and not self._client.is_closed:
            await self._client.close()

    def _gone(self, error: Exception) -> Retryable:
        return Retryable(f"NATS {host_of(self._url)} does not answer ({type(error).__name__})")


class RedisLine:
    """One subscription to a channel of Redis."""

    def __init__(self, url: str, channel: str, timeout_s: float) -> None:
        self._url, self._channel, self._timeout_s = url, channel, timeout_s
        self._client: Any = None
        self._pubsub: Any = None
        self._reading: asyncio.Task[None] | None = None
        self._pong = asyncio.Event()
        self._failure: Exception | None = None

    async def open(self, told: Told) -> None:
        from redis.asyncio import Redis  # noqa: PLC0415  an extra
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.exceptions import RedisError  # noqa: PLC0415

        self._client = Redis.from_url(
            self._url,
            socket_timeout=None,
            socket_connect_timeout=self._timeout_s,
            retry=Retry(NoBackoff(), 0),  # connecting again is `BusReader`'s
        )
        self._pubsub = self._client.pubsub()
        try:
            await self._pubsub.subscribe(self._channel)
        except (RedisError, OSError) as error:
            raise self._gone(error) from error
        self._reading = asyncio.create_task(self._read(told), name="killswitch.bus")

    async def _read(self, told: Told) -> None:
        from redis.exceptions import RedisError  # noqa: PLC0415  an extra

        loop = asyncio.get_running_loop()
        try:
            while not loop.is_closed():
                message = await self._pubsub.get_message(timeout=WAIT_S)
                if message is None:
                    continue
                if message["type"] == "message":
                    told(message["data"])
                elif message["type"] == "pong":
                    self._pong.set()
        except (RedisError, OSError) as error:
            self._failure = error
            self._pong.set()

    async def answer(self) -> None:
        from redis.exceptions import RedisError  # noqa: PLC0415  an extra

        self._pong.clear()
        try:
            if self._failure is None:
                await self._pubsub.ping()
                await self._pong.wait()
        except (RedisError, OSError) as error:
            raise self._gone(error) from error
        if self._failure is not None:
            raise self._gone(self._failure)

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._pubsub is not None:
            await self._pubsub.aclose()
            await self._client.aclose()

    def _gone(self, error: Exception) -> Retryable:
        return Retryable(f"Redis {host_of(self._url)} {why(error, self._timeout_s)}")


def checked_bus(url: str) -> str:
    """`url` if it can be one of a bus. Raises `ConfigError` that does not quote it."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not (parts.hostname or parts.path.strip("/")):
        raise ConfigError("write nats://host:4222 or redis://host:6379/0")
    return url
