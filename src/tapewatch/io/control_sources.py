"""Places where a kill switch may be: the file, a URL, a key in Redis. Each is read when asked.

A reader never raises for what the world does: it gives what the switch says, or why it cannot be
read, within the deadline that its caller sets. What blocks does so in a thread of its own, one for
each place; while that still hangs from the last time, the place cannot be read.
"""

import asyncio
import pathlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from tapewatch.io.control import Order, parse, read
from tapewatch.io.http import Http
from tapewatch.io.reach import host_of
from tapewatch.io.redis_state_client import connect, place_of, why
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError, Retryable
from tapewatch.model.text import clean
from tapewatch.venues.base import Budget, Fetch

if TYPE_CHECKING:
    from redis import Redis

HTTP_SCHEMES: Final = ("http", "https")
NONSENSE: Final = "says neither on nor off"

Reading = Order | str  # what the switch says, or why it cannot be read


class Reader(Protocol):
    """One place. `name` is for people: who says so when the switch names nobody."""

    name: str

    async def read(self) -> Reading:
        """What it says now. The caller gives up after its deadline."""
        ...

    async def close(self) -> None:
        """Let go of connections and threads."""
        ...


class FileReader:
    """The file; none means off."""

    def __init__(self, path: pathlib.Path) -> None:
        self.name = "file"
        self._path = path
        self._thread = Blocking("killswitch.file")

    async def read(self) -> Reading:
        found = await self._thread.run(self._read)
        return found or "still hangs"

    def _read(self) -> Reading:
        return read(self._path) or f"{clean(str(self._path))} cannot be read or understood"

    async def close(self) -> None:
        self._thread.close()


class UrlReader:
    """An HTTP service: a 200 with what the file may hold. Anything else cannot be read."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self.name = "url"
        self._url = url
        self._http = Http()
        self._budget = Budget("killswitch", 2, timeout_s, timeout_s=timeout_s, told=False)

    async def read(self) -> Reading:
        try:
            data = await self._http.send(Fetch(self._url, ""), self._budget, name="kill switch")
        except Retryable as error:
            return str(error)
        return parse(data) or f"{host_of(self._url)} {NONSENSE}"

    async def close(self) -> None:
        await self._http.close()


class RedisReader:
    """A key in Redis. None means off, unless the switch was on: a database that was emptied must
    not release it; `off` does. `thrown`: whether it was on when we began."""

    def __init__(self, url: str, key: str, timeout_s: float, *, thrown: bool) -> None:
        self.name = "redis"
        self._client: Redis = connect(url, timeout_s)
        self._key, self._timeout_s, self._thrown = key, timeout_s, thrown
        self._place = f"Redis {place_of(url)}"
        self._thread = Blocking("killswitch.redis")

    async def read(self) -> Reading:
        found = await self._thread.run(self._read)
        return found or f"{self._place} still does not answer"

    def _read(self) -> Reading:
        from redis.exceptions import RedisError  # noqa: PLC0415  an extra

        try:
            size: Any = self._client.strlen(self._key)
            data: Any = self._client.get(self._key) if 0 < size <= limits.CONTROL_BYTES else b""
        except (RedisError, OSError) as error:
            self._client.connection_pool.disconnect()
            return f"{self._place} {why(error, self._timeout_s)}"
        if size == 0 or data is None:
            gone = f"the key {clean(self._key, 40)} has gone while it was on; set it to off"
            return gone if self._thrown else Order(active=False)
        order = parse(data)
        if order is None:
            return f"{self._place} {NONSENSE}"
        self._thrown = order.active
        return order

    async def close(self) -> None:
        self._thread.close()
        self._client.close()


class Blocking:
    """A thread that does one thing at a time, and is not asked for more while it hangs."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, name)
        self._job: asyncio.Future[Reading] | None = None

    async def run(self, work: Callable[[], Reading]) -> Reading | None:
        """What `work` gives; None while an earlier one is not done."""
        if self._job is not None and not self._job.done():
            return None
        loop = asyncio.get_running_loop()
        self._job = loop.run_in_executor(self._pool, work)
        # Shielded: who gives up must not make the thread look free.
        return await asyncio.shield(self._job)

    def close(self) -> None:
        """Take no more work."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def checked_url(url: str) -> str:
    """`url` if it can be one of an HTTP service. Raises `ConfigError` that does not quote it."""
    parts = urlsplit(url)
    if parts.scheme not in HTTP_SCHEMES or not parts.hostname:
        raise ConfigError("write http://host/path or https://")
    return url
