"""HTTP requests for public venue data: paced, bounded, without redirects.

Errors that a venue wraps in a 200 (Kraken's `{"error": [...]}`) are bodies like any other: the
venue's decoder reads them. Anything else that is not data is a `Retryable`.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from tapewatch.io.backoff import Allowance
from tapewatch.io.reach import answered, host_of, proxy_for, unreachable
from tapewatch.model import limits
from tapewatch.model.errors import Retryable
from tapewatch.venues.base import Budget, Fetch

if TYPE_CHECKING:
    import aiohttp

TIMEOUT_S: Final = 8.0  # the whole request; a probe that takes longer is an answer in itself
PER_S: Final = 1.0  # one request a second and host: Kraken's sustained public rate
CHUNK_BYTES: Final = 1 << 16
_PLAIN: Final = Budget("rest", 1, PER_S, timeout_s=TIMEOUT_S, told=False)


class _Desk(Struct):
    """What one service of one host may still be asked: `closed_until` (loop time) by its own
    `Retry-After`."""

    pace: Allowance
    room: asyncio.Semaphore
    closed_until: float = 0.0


class Http:
    """One client session, opened at the first request. `requests` counts those sent."""

    def __init__(self) -> None:
        self.requests = 0
        self._session: aiohttp.ClientSession | None = None
        self._desks: dict[tuple[str, str], _Desk] = {}

    async def get(self, url: str, *, name: str = "") -> bytes:
        """Body of `url`, at most one a second and host. As `send`."""
        return await self.send(Fetch(url, ""), _PLAIN, name=name)

    async def send(self, fetch: Fetch, budget: Budget, *, name: str = "") -> bytes:
        """Body of the answer to `fetch`; `name` is how the venue is called in error texts.

        Waits for its turn in `budget`. Raises `Retryable`, without a request while the service has
        asked us to stay away.
        """
        host = host_of(fetch.url)
        loop = asyncio.get_running_loop()
        desk = self._desk(host, budget)
        async with desk.room:
            away_s = desk.closed_until - loop.time()
            if away_s > 0:
                raise Retryable(f"{host} asked us to wait; {away_s:.0f} s are left.", away_s)
            await asyncio.sleep(desk.pace.reserve_s(loop.time()))
            try:
                return await self._fetch(fetch, budget.timeout_s, name or host)
            except Retryable as error:
                if error.retry_after_s is not None:
                    desk.closed_until = loop.time() + error.retry_after_s
                raise

    async def close(self) -> None:
        """Close the session's connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _desk(self, host: str, budget: Budget) -> _Desk:
        desk = self._desks.get((host, budget.surface))
        if desk is None:
            while len(self._desks) >= limits.HTTP_HOSTS:  # make room by dropping the oldest
                del self._desks[next(iter(self._desks))]
            pace = Allowance(budget.requests, budget.per_s)
            desk = _Desk(pace, asyncio.Semaphore(budget.in_flight))
            self._desks[host, budget.surface] = desk
        return desk

    async def _fetch(self, fetch: Fetch, timeout_s: float, name: str) -> bytes:
        import aiohttp  # noqa: PLC0415  half of the start-up time; most commands never fetch

        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=True)
        self.requests += 1
        url = fetch.url
        options: dict[str, Any] = {"allow_redirects": False, "proxy": proxy_for(url)}
        options["timeout"] = aiohttp.ClientTimeout(total=timeout_s)
        if fetch.body:
            options |= {"data": fetch.body, "headers": {"Content-Type": "application/json"}}
        try:
            method = "POST" if fetch.body else "GET"
            async with self._session.request(method, url, **options) as response:
                if response.status != 200:
                    retry_after = response.headers.get("Retry-After")
                    raise answered(name, response.status, retry_after)
                if response.content_type == "text/html":
                    raise Retryable(f"{name.capitalize()} answers with a web page, not with data.")
                return await _body(response, name)
        except aiohttp.ClientConnectorCertificateError as error:
            raise unreachable(url, error.certificate_error, timeout_s) from error
        except aiohttp.ClientConnectorError as error:
            raise unreachable(url, error.os_error, timeout_s) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unreachable(url, error, timeout_s) from error


async def _body(response: "aiohttp.ClientResponse", name: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        body += chunk  # decompressed: the limit holds against bombs
        if len(body) > limits.FRAME_BYTES:
            raise Retryable(
                f"{name.capitalize()} sent more than {limits.FRAME_BYTES:,} bytes in one answer."
            )
    return bytes(body)
