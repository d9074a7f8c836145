"""A running HTTP interface for tests, with an advisor that knows one market, and raw requests."""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp

from tapewatch.app.health import Facts
from tapewatch.app.http_api import Api, Service
from tapewatch.app.http_api_guard import HEADERS
from tapewatch.app.http_settings import HttpSettings
from tapewatch.gate.advice import AdviceSettings, Mode
from tapewatch.gate.advisor import Advisor
from tapewatch.io.clock import SystemClock
from tapewatch.model.inputs import Command
from tapewatch.model.outputs import Fault
from tapewatch.sdk.shadow_log import ShadowLog

CONDITION = "0x" + "ab12" * 16
MARKET = f"polymarket:{CONDITION}"
SLUG = "will-it-rain"
GUARD_S = 30.0


class World:
    """An interface and what is behind it. `commands` are those it passed on."""

    def __init__(self, folder: pathlib.Path, mode: Mode = "general_live") -> None:
        self.folder, self.clock = folder, SystemClock()
        self.advisor = Advisor(AdviceSettings(), mode=mode)
        self.commands: list[Command] = []
        self.entered, self.stuck = asyncio.Event(), False
        now = self.clock.now_ns()
        self.advisor.heard(MARKET, now)
        self.advisor.fold([Fault("listed", "polymarket", MARKET, now, f"{SLUG} · Yes")], now)
        self.facts = Facts(started_ns=now, poll_interval_s=60.0, detections={MARKET: now})
        self.kill_switch = folder / "killswitch"
        self.log = ShadowLog(folder / "shadow.ndjson")
        self.api: Api | None = None

    @property
    def token(self) -> str:
        return (self.folder / "http.token").read_text().strip()

    @property
    def running(self) -> Api:
        assert self.api is not None
        return self.api

    async def command(self, command: Command) -> None:
        self.commands.append(command)
        self.entered.set()
        if self.stuck:
            await asyncio.Event().wait()

    @contextlib.asynccontextmanager
    async def serving(self, **settings: Any) -> AsyncIterator[str]:
        """Its address."""
        service = Service(
            advisor=self.advisor,
            facts=lambda: self.facts,
            commands=self.command,
            kill_switch=self.kill_switch,
            metrics=lambda: (b"up 1\n", "text/plain; version=0.0.4"),
            shadow_log=self.log,
        )
        chosen = HttpSettings(**({"port": 0} | settings))
        async with Api(chosen, service, folder=self.folder, clock=self.clock) as self.api:
            yield self.api.url


async def raw(url: str, request: bytes) -> bytes:
    """Everything the server answers until it closes."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    async with asyncio.timeout(GUARD_S):
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()


async def status(url: str, method: str, path: str, headers: list[tuple[str, str]]) -> int:
    """Status of one request with exactly these headers."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    body = b"{}" if method not in ("GET", "HEAD") else b""
    lines += ["Connection: close", f"Content-Length: {len(body)}", "", ""]
    answer = await raw(url, "\r\n".join(lines).encode("latin-1") + body)
    return int(answer.split(b" ", 2)[1])


Job = Callable[[World, aiohttp.ClientSession, str], Awaitable[None]]


def with_api(folder: pathlib.Path, job: Job, **settings: Any) -> World:
    """Run `job` with a client beside a running interface."""
    world = World(folder)

    async def scenario() -> None:
        async with (
            asyncio.timeout(GUARD_S),
            world.serving(**settings) as url,
            aiohttp.ClientSession() as client,
        ):
            await job(world, client, url)

    asyncio.run(scenario())
    world.log.close()
    return world


async def said(client: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    async with client.get(url) as response:
        for name, value in HEADERS.items():
            assert response.headers[name] == value
        assert not any(name.lower().startswith("access-control") for name in response.headers)
        return response.status, await response.json(content_type=None)


async def post(client: aiohttp.ClientSession, url: str, token: str, body: bytes) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with client.post(url, data=body, headers=headers) as response:
        return response.status, await response.json(content_type=None)
