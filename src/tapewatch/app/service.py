"""What stands beside a session that runs as a service: gate, health, metrics, buses, Redis, HTTP.

Buses and Redis are there for any session whose settings name them; the HTTP interface, and with it
metrics, for `tapewatch serve`. All of them see what the session says; none can change it but by a
`Command` that goes through the inbox, hence onto the tape.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from tapewatch import __version__
from tapewatch.app.config import Config
from tapewatch.app.health import Facts
from tapewatch.app.health import Vitals as HealthVitals
from tapewatch.app.history import keep_up
from tapewatch.app.live import Listener, Live
from tapewatch.app.sources import Sources
from tapewatch.detect.zscore import ZScore
from tapewatch.engine.engine import Engine
from tapewatch.gate.advisor import Advisor
from tapewatch.io.clock import Clock
from tapewatch.io.outbox import OutboxSink
from tapewatch.io.redis_state import RedisState
from tapewatch.io.worker import Sink
from tapewatch.model.errors import StoreError
from tapewatch.model.events import Book, Event, Quote, Trade
from tapewatch.model.inputs import Command
from tapewatch.model.outputs import Output
from tapewatch.model.time import NS_PER_S
from tapewatch.sinks.bus import BusSink, bus_sinks

SHADOW_LOG: Final = "shadow.ndjson"
OUTBOX_S: Final = 5.0  # between two looks at how much the outbox owes, for the metrics
_DATA: Final = (Trade, Quote, Book)


class Service(Listener):
    """Made before the session's parts. `url` is where the HTTP interface listens, empty without
    one; `tell` gets words for people."""

    def __init__(
        self,
        config: Config,
        engine: Engine,
        folder: Path,
        clock: Clock,
        *,
        http: bool,
        tell: Callable[[str], None],
    ) -> None:
        self.config, self.engine, self.folder, self.clock = config, engine, folder, clock
        self.url, self._tell = "", tell
        self.advisor = Advisor(
            config.advice,
            mode=config.service.mode,
            limited_markets=config.sink.bus.limited_markets,
        )
        self.mirror: RedisState | None = None
        self._http = http and config.http.enabled
        self._detector = next((d for d in config.detectors if isinstance(d, ZScore)), None)
        self._vitals = HealthVitals(
            started_ns=clock.now_ns(),
            poll_interval_s=self._detector.cycle_s if self._detector is not None else 1.0,
            sources=[venue.name for venue in config.venues],
        )
        self._buses = self._made_buses()
        self._metrics: Any = None
        self.sinks: list[Sink | OutboxSink] = list(self._buses)  # further places for outputs
        if self._http:
            from tapewatch.sinks.metrics import Metrics  # noqa: PLC0415  90 ms that few need

            names = [detector.name for detector in config.detectors]
            self._metrics = Metrics(config.metrics, clock, detectors=names)
            self.sinks.append(self._metrics)
        self._outbox: Mapping[Any, int] = {}
        log = config.service.shadow_log
        self._log_path = Path(log).expanduser() if log else folder / SHADOW_LOG

    def on_events(self, events: Sequence[Event]) -> None:
        """Data came: the gate must know how old they are, if there is one to be asked."""
        for event in events if self._http else ():
            if isinstance(event, _DATA):
                self.advisor.heard(event.instrument, event.ts_recv)

    def on_outputs(self, outputs: Sequence[Output]) -> None:
        """Advice does not wait for the disk."""
        if not self._http:  # nobody can ask
            return
        now = self.clock.now_ns()
        self.advisor.fold(outputs, now)
        self.advisor.on_kill(self.engine.gate_state.kill)
        self._vitals.see(outputs, now)

    async def prepare(self, live: Live, *, fresh: bool) -> None:
        """To be done before any source speaks. `fresh`: there was no tape to go on with, so
        baselines that another process left in Redis are taken over."""
        if not self.config.redis.url or self._detector is None:
            return
        states = self.engine.detectors[ZScore.name].states
        mirror = RedisState(self.config.redis, self._detector, states, live.inbox, self.clock)
        if fresh:
            watched = {i for venue in self.config.venues for i in venue.instruments()}
            await mirror.restore(watched.__contains__)
        self.mirror = mirror

    async def run(self, live: Live, sources: Sources) -> None:
        """Serve until cancelled. Raises `ConfigError` for an address that is taken or settings that
        would leave it open."""
        async with AsyncExitStack() as stack:
            if self.mirror is not None:
                stack.push_async_callback(self.mirror.close)
            if self._http:
                await self._start_http(live, sources, stack)
            async with asyncio.TaskGroup() as group:
                if self.mirror is not None:
                    group.create_task(self.mirror.run(), name="redis")
                group.create_task(self._look(live), name="outbox")
                if self._http:
                    keeping = keep_up(self.config.history, self.folder, self.clock, self._tell)
                    group.create_task(keeping, name="history")

    async def _start_http(self, live: Live, sources: Sources, stack: AsyncExitStack) -> None:
        from tapewatch.app import http_api  # noqa: PLC0415  a third of a second that few need
        from tapewatch.sdk.shadow_log import ShadowLog  # noqa: PLC0415
        from tapewatch.sinks.metrics_vitals import take  # noqa: PLC0415

        log = ShadowLog(self._log_path)
        stack.callback(log.close)
        self._metrics.vitals = partial(self._taken, take, live, sources)
        service = http_api.Service(
            advisor=self.advisor,
            facts=self._facts,
            commands=partial(_put, live),
            kill_switch=self.config.kill_switch.path,
            metrics=self._metrics.render,
            shadow_log=log,
        )
        api = http_api.Api(self.config.http, service, folder=self.folder, clock=self.clock)
        await stack.enter_async_context(api)
        self.url = api.url

    def _made_buses(self) -> tuple[BusSink, ...]:
        settings, claims = self.config.sink.bus, None
        if self.config.redis.url:
            from tapewatch.sinks.bus_claims import RedisClaims  # noqa: PLC0415  an extra

            replica = f"{settings.instance}-{os.getpid()}-{self.clock.now_ns()}"
            claims = partial(RedisClaims, self.config.redis.url, replica, settings.claim_ttl_s)
        return bus_sinks(
            settings, mode=self.config.service.mode, paused=self._paused, claims=claims
        )

    def _paused(self) -> bool:
        return self.engine.gate_state.kill != "off"

    def _facts(self) -> Facts:
        facts = self._vitals.facts
        facts.kill = self.engine.gate_state.kill
        if self.mirror is not None:
            facts.redis = "down" if self.mirror.reachable is False else "up"
        return facts

    def _taken(self, take: Callable[..., Any], live: Live, sources: Sources) -> Any:
        """A moment of the process, for the metrics."""
        buses = {bus.name for bus in self._buses}
        components = {
            f"bus.{worker.sink.name}": not worker.last_error
            for worker in live.workers
            if worker.sink.name in buses
        }
        if self.mirror is not None:
            components["redis"] = self.mirror.reachable is not False
        now = self.clock.now_ns()
        heard = max(self.engine.heard.values(), default=0)
        return take(
            self.engine,
            inbox=live.inbox,
            tape=live.tape,
            workers=live.workers,
            sockets=[socket.counters for socket in sources.sockets()],
            polls=sources.counters,
            waiting=live.waiting,
            lag_s=(now - heard) / NS_PER_S if heard else None,
            coverage=live.ledger.coverage(now),
            version=__version__,
            mode=self.config.service.mode,
            components=components,
            outbox=self._outbox,
        )

    async def _look(self, live: Live) -> None:
        """What the outbox owes: SQL, so not at every scrape and not on the loop."""
        while self._http:
            try:
                self._outbox = await asyncio.to_thread(live.store.counts)
            except StoreError as error:
                live.trouble = str(error)
            await asyncio.sleep(OUTBOX_S)


async def _put(live: Live, command: Command) -> None:
    await live.inbox.put(command)
