"""The gate over HTTP: one question to `tapewatch serve`, one answer, within a short time.

    from tapewatch.gate import HttpGate

    gate = HttpGate("http://127.0.0.1:8415")
    advice = gate.check("will-it-rain-tomorrow")  # in a coroutine: await gate.ask(...)
    if advice.action == "block":
        ...  # no new entries until advice.expires_at_ns

No answer in time, or one that cannot be read, is the safe side: a strategy is never left waiting
and never told more than is known. Only of a service that was in shadow mode the absence is told as
`allow`: what is on trial must not stop anybody by dying. Times are on the clock of the caller.
"""

import asyncio
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote, urlsplit

import msgspec
from msgspec.structs import replace

from tapewatch.gate.advice import Action, Advice, Mode
from tapewatch.io.clock import Clock, SystemClock
from tapewatch.io.reach import host_of, is_loopback, unreachable
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError, DecodeError, SourceError
from tapewatch.model.reasons import Reason
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S
from tapewatch.sdk.background import Background
from tapewatch.sdk.shadow_log import ShadowLog

if TYPE_CHECKING:
    import aiohttp

URL: Final = "http://127.0.0.1:8415"
TIMEOUT_S: Final = 0.25  # a strategy that quotes every second can spare so much
GONE_S: Final = 1.0  # how long the safe side may be held before asking again
HANG_S: Final = 0.25  # ... on top of the timeout, for a thread that gets no turn

_decode = msgspec.json.Decoder(Advice).decode


class HttpGate:
    """Asks the service at `url`. `token` is needed where the service is not on this machine.

    `trouble` says what went wrong last, `failed` counts. Raises `ConfigError` for an address that
    cannot be one, or that would carry the token in the open.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        token: str = "",
        timeout_s: float = TIMEOUT_S,
        safe_side: Action = "block",
        shadow_log: ShadowLog | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.url = _checked(url, token)
        self.safe_side: Action = safe_side
        self.failed, self.trouble = 0, ""
        self._mode: Mode = "general_live"  # of the last answer
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout_s = timeout_s
        self._clock = clock or SystemClock()
        self._log = shadow_log
        self._background: Background | None = None
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}

    def check(self, market: str) -> Advice:
        """May I enter `market`? For callers without an event loop; never raises for the network."""
        if self._background is None:
            self._background = Background("tapewatch.gate")
        try:
            return self._background.call(self.ask(market), self._timeout_s + HANG_S)
        except TimeoutError:
            return self._kept(self._gone(market, "no answer in time"))

    async def ask(self, market: str) -> Advice:
        """The same in a coroutine."""
        sent_ns = self._clock.now_ns()
        try:
            advice = _decode(await self._get(f"/v1/gate/{quote(market, safe='')}"))
        except (SourceError, msgspec.DecodeError, DecodeError) as error:
            return self._kept(self._gone(market, str(error)))
        self._mode, self.trouble = advice.mode, ""
        lasts_ns = max(1, advice.expires_at_ns - advice.at_ns)
        here = replace(advice, at_ns=sent_ns, expires_at_ns=sent_ns + lasts_ns)
        return self._kept(here)

    async def aclose(self) -> None:
        """Close what `ask` opened on this loop."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()

    def close(self) -> None:
        """Close what `check` opened."""
        if self._background is not None:
            self._background.call(self.aclose(), 1.0)
            self._background.close()
            self._background = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _get(self, path: str) -> bytes:
        import aiohttp  # noqa: PLC0415  half of the start-up time

        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None:
            self._sessions = {
                key: one for key, one in self._sessions.items() if not key.is_closed()
            }
            session = self._sessions[loop] = aiohttp.ClientSession(headers=self._headers)
        try:
            async with asyncio.timeout(self._timeout_s):
                url = f"{self.url}{path}"
                async with session.get(url, allow_redirects=False) as response:
                    if response.status != 200:
                        raise DecodeError(f"{host_of(self.url)} answers {response.status}")
                    return await _body(response)
        except aiohttp.ClientConnectorError as error:
            raise unreachable(self.url, error.os_error, self._timeout_s) from error
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise unreachable(self.url, error, self._timeout_s) from error

    def _gone(self, market: str, why: str) -> Advice:
        self.failed += 1
        self.trouble = clean(why)
        now_ns = self._clock.now_ns()
        trial = self._mode == "shadow_only" and self.safe_side != "allow"
        return Advice(
            market=clean(market),
            action="allow" if trial else self.safe_side,
            shadow=self.safe_side if trial else None,
            reason=str(Reason.SERVICE_SILENT),
            detail=self.trouble,
            at_ns=now_ns,
            expires_at_ns=now_ns + int(GONE_S * NS_PER_S),
            mode=self._mode,
        )

    def _kept(self, advice: Advice) -> Advice:
        if self._log is not None:
            self._log.write(advice)
        return advice


async def _body(response: "aiohttp.ClientResponse") -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limits.ADVICE_BYTES:
            raise DecodeError(f"the answer is longer than {limits.ADVICE_BYTES:,} bytes")
    return bytes(body)


def _checked(url: str, token: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise ConfigError(f'"{clean(url, 60)}" is no address; write http://127.0.0.1:8415')
    if token and parts.scheme == "http" and not is_loopback(url):
        raise ConfigError(f"a token for {host_of(url)} could be read on its way; write https://")
    return url.rstrip("/")
