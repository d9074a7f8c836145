"""HTTP GET of public venue data: paced, bounded, without redirects.

Errors that a venue wraps in a 200 (Kraken's `{"error": [...]}`) are bodies like any other: the
venue's decoder reads them. Anything else that is not data is a `Retryable`.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from tapewatch.io.backoff import Allowance
from tapewatch.io.reach import answered, host_of, proxy_for, unreachable
from tapewatch.model import limits
from tapewatch.model.errors import Retryable

if TYPE_CHECKING:
    import aiohttp

TIMEOUT_S: Final = 8.0  # the whole request; a probe that takes longer is an answer in itself
PER_S: Final = 1.0  # one request a second and host: Kraken's sustained public rate
CHUNK_BYTES: Final = 1 << 16


class Http:
    """One client session, opened at the first request. `requests` counts those sent."""

    def __init__(self) -> None:
        self.requests = 0
        self._session: aiohttp.ClientSession | None = None
        self._pace: dict[str, Allowance] = {}
        self._closed_until: dict[str, float] = {}  # loop time, per host that said Retry-After

    async def get(self, url: str, *, name: str = "") -> bytes:
        """Body of `url`; `name` is how the venue is called in error texts.

        Waits for its turn. Raises `Retryable`, without a request while the host has asked us to
        stay away.
        """
        host = host_of(url)
        loop = asyncio.get_running_loop()
        away_s = self._closed_until.get(host, 0.0) - loop.time()
        if away_s > 0:
            raise Retryable(f"{host} asked us to wait; {away_s:.0f} s are left.", away_s)
        if host not in self._pace:
            self._forget()
            self._pace[host] = Allowance(1, PER_S)
        await asyncio.sleep(self._pace[host].reserve_s(loop.time()))
        try:
            return await self._fetch(url, name or host)
        except Retryable as error:
            if error.retry_after_s is not None:
                self._closed_until[host] = loop.time() + error.retry_after_s
            raise

    async def close(self) -> None:
        """Close the session's connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _forget(self) -> None:
        """Make room for one more host by dropping the oldest."""
        while len(self._pace) >= limits.HTTP_HOSTS:
            host = next(iter(self._pace))
            del self._pace[host]
            self._closed_until.pop(host, None)

    async def _fetch(self, url: str, name: str) -> bytes:
        import aiohttp  # noqa: PLC0415  half of the start-up time; most commands never fetch

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=True)
        self.requests += 1
        try:
            async with self._session.get(
                url, allow_redirects=False, proxy=proxy_for(url)
            ) as response:
                if response.status != 200:
                    retry_after = response.headers.get("Retry-After")
                    raise answered(name, response.status, retry_after)
                if response.content_type == "text/html":
                    raise Retryable(f"{name.capitalize()} answers with a web page, not with data.")
                return await _body(response, name)
        except aiohttp.ClientConnectorCertificateError as error:
            raise unreachable(url, error.certificate_error, TIMEOUT_S) from error
        except aiohttp.ClientConnectorError as error:
            raise unreachable(url, error.os_error, TIMEOUT_S) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unreachable(url, error, TIMEOUT_S) from error


async def _body(response: "aiohttp.ClientResponse", name: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        body += chunk  # decompressed: the limit holds against bombs
        if len(body) > limits.FRAME_BYTES:
            raise Retryable(
                f"{name.capitalize()} sent more than {limits.FRAME_BYTES:,} bytes in one answer."
            )
    return bytes(body)
