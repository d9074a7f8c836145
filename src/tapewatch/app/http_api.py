"""The HTTP interface of a service: the gate, health, metrics, and two things one may change.

| route | |
|---|---|
| `GET /healthz` | the process lives and its event loop turns |
| `GET /readyz` | sources are connected, and a baseline has begun (503: not yet) |
| `GET /internal/health/anomalydetector` | green, yellow (200) or red (503), with reasons |
| `GET /metrics` | for Prometheus |
| `GET /v1/gate/{market}` | may a strategy enter? |
| `GET /v1/gate` | every market that is not simply allowed |
| `GET /v1/status` | mode, markets, answers given, requests refused |
| `GET`, `POST /v1/killswitch` | `{"active": true, "reason": "..."}` |
| `POST /v1/baseline/reset` | `{"market": "..."}` |

Who may ask what is `http_api_guard.py`'s. Nothing here can trade.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from tapewatch import __version__
from tapewatch.app.health import LOOP_S, Facts, health, ready
from tapewatch.app.http_api_guard import (
    IDLE_S,
    Guard,
    check,
    json_response,
    token_of,
)
from tapewatch.app.http_settings import HttpSettings
from tapewatch.gate.advisor import Advisor
from tapewatch.io import control
from tapewatch.io.clock import Clock
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError
from tapewatch.model.inputs import Command
from tapewatch.model.text import clean
from tapewatch.sdk.shadow_log import ShadowLog

B = TypeVar("B", bound=Struct)

STANDING: Final = 1_000  # markets in one answer; more are counted
BEAT_S: Final = 1.0  # how often the event loop is timed
CLOSE_S: Final = 2.0  # requests under way get so long at the end

Metrics = Callable[[], tuple[bytes, str]]
Text = Annotated[str, Meta(max_length=limits.TEXT_CHARS)]


class Service(Struct, kw_only=True):
    """What the interface speaks for. `facts` gives what health is judged by, `metrics` the page for
    Prometheus and its content type, `commands` takes an operator's order into the inbox."""

    advisor: Advisor
    facts: Callable[[], Facts]
    commands: Callable[[Command], Awaitable[object]]
    kill_switch: Path
    metrics: Metrics | None = None
    shadow_log: ShadowLog | None = None


class _Switch(Struct, forbid_unknown_fields=True):
    active: bool
    reason: Text = ""
    actor: Text = "http"


class _Reset(Struct, forbid_unknown_fields=True):
    market: Text


class Api:
    """Use as `async with Api(...)`; `url` is where it listens then.

    `folder` is where a token is made if the user has none. Raises `ConfigError` for settings that
    would leave it open, and for an address that is taken.
    """

    def __init__(
        self,
        settings: HttpSettings,
        service: Service,
        *,
        folder: Path,
        clock: Clock,
    ) -> None:
        check(settings)
        self.settings, self.url = settings, ""
        self.guard = Guard(settings, token_of(settings, folder))
        self.lag_s = 0.0
        self._service, self._clock = service, clock
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._beat: asyncio.Task[None] | None = None

    def routes(self) -> list[web.RouteDef]:
        """Every route there is."""
        return [
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/internal/health/anomalydetector", self._health),
            web.get("/metrics", self._page),
            web.get("/v1/gate", self._standing),
            web.get("/v1/gate/{market:.{1,200}}", self._check),
            web.get("/v1/status", self._status),
            web.get("/v1/killswitch", self._switch_state),
            web.post("/v1/killswitch", self._switch),
            web.post("/v1/baseline/reset", self._reset),
        ]

    async def __aenter__(self) -> Self:
        app = web.Application(
            middlewares=[self.guard.stand], client_max_size=limits.HTTP_BODY_BYTES
        )
        app.add_routes(self.routes())
        runner = self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=IDLE_S,
            max_line_size=limits.HTTP_HEADER_BYTES,
            max_field_size=limits.HTTP_HEADER_BYTES,
            shutdown_timeout=CLOSE_S,
        )
        await runner.setup()
        loop = asyncio.get_running_loop()
        host, port = self.settings.host.strip("[]"), self.settings.port
        try:
            self._server = await loop.create_server(self._protocol, host, port)
        except OSError as error:
            await runner.cleanup()
            raise ConfigError(
                f"cannot listen on {clean(host)}:{port}: {error.strerror}", "http.port"
            ) from error
        bound, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"http://[{bound}]:{port}" if ":" in bound else f"http://{bound}:{port}"
        self._beat = asyncio.create_task(self._time_the_loop(), name="http.beat")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._beat is not None
        assert self._server is not None
        assert self._runner is not None
        self._beat.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._beat
        self._server.close()
        await self._runner.cleanup()

    def _protocol(self) -> asyncio.Protocol:
        """What a new connection talks to: nobody, when there are too many."""
        assert self._runner is not None
        server = self._runner.server
        assert server is not None
        if len(server.connections) >= limits.HTTP_CONNECTIONS:
            return _Busy()
        return server()

    async def _time_the_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while not loop.is_closed():  # until it is cancelled
            due = loop.time() + BEAT_S
            await asyncio.sleep(BEAT_S)
            self.lag_s = max(0.0, loop.time() - due)

    async def _healthz(self, _: web.Request) -> web.Response:
        alive = self.lag_s < LOOP_S
        body = {"alive": alive, "loop_lag_s": round(self.lag_s, 3), "version": __version__}
        return json_response(body, status=200 if alive else 503)

    async def _readyz(self, _: web.Request) -> web.Response:
        found = ready(self._service.facts())
        return json_response(found, status=200 if found.ready else 503)

    async def _health(self, _: web.Request) -> web.Response:
        found = health(self._service.facts(), self._clock.now_ns())
        return json_response(found, status=503 if found.status == "red" else 200)

    async def _page(self, _: web.Request) -> web.Response:
        if self._service.metrics is None:
            raise web.HTTPNotFound(text="metrics are off")
        body, content_type = self._service.metrics()
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _check(self, request: web.Request) -> web.Response:
        advice = self._service.advisor.check(request.match_info["market"], self._clock.now_ns())
        if self._service.shadow_log is not None:
            self._service.shadow_log.write(advice)
        return json_response(advice)

    async def _standing(self, _: web.Request) -> web.Response:
        found = self._service.advisor.standing(self._clock.now_ns())
        body = {
            "schema": "tapewatch.standing/1",
            "v": 1,
            "markets": found[:STANDING],
            "more": max(0, len(found) - STANDING),
        }
        return json_response(body)

    async def _status(self, _: web.Request) -> web.Response:
        refused = {str(status): count for status, count in sorted(self.guard.refused.items())}
        body: dict[str, Any] = {
            "schema": "tapewatch.service/1",
            "v": 1,
            "version": __version__,
            "mode": self._service.advisor.mode,
            "now_ns": self._clock.now_ns(),
            "markets": len(self._service.advisor.markets),
            "answers": self._service.advisor.counters.answers,
            "refused": refused,
            "loop_lag_s": round(self.lag_s, 3),
        }
        return json_response(body)

    async def _switch_state(self, _: web.Request) -> web.Response:
        """`state` is what the file says, `effective` what holds: it may be on somewhere else."""
        order = await asyncio.to_thread(control.read, self._service.kill_switch)
        effective = {"effective": self._service.facts().kill}
        if order is None:
            return json_response({"state": "unknown", **effective})
        state = "on" if order.active else "off"
        said = {"actor": order.actor, "reason": order.reason, "at_ns": order.at_ns}
        return json_response({"state": state, **effective, **said})

    async def _switch(self, request: web.Request) -> web.Response:
        wanted = await _body(request, _Switch)
        now_ns = self._clock.now_ns()

        def write() -> None:
            state: Literal["on", "off"] = "on" if wanted.active else "off"
            control.write(
                self._service.kill_switch,
                state,
                actor=wanted.actor,
                reason=wanted.reason,
                now_ns=now_ns,
            )

        try:
            await asyncio.to_thread(write)
        except ConfigError as error:
            raise web.HTTPInternalServerError(text=str(error)) from error
        return await self._switch_state(request)

    async def _reset(self, request: web.Request) -> web.Response:
        wanted = await _body(request, _Reset)
        market = self._service.advisor.markets.find(wanted.market)
        if market is None:
            raise web.HTTPNotFound(text="nothing was heard of that market")
        now_ns, instruments = self._clock.now_ns(), list(market.instruments)
        for instrument in instruments:
            await self._service.commands(Command(now_ns, "http", "reset_baseline", instrument))
        return json_response({"market": market.key, "instruments": instruments})


class _Busy(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def _body(request: web.Request, kind: type[B]) -> B:
    """The body as `kind`. Answers 400 for anything else, 413 for too much."""
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise web.HTTPBadRequest(text=clean(str(error))) from error
