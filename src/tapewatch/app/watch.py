"""One watching session from start to summary: the composition of everything for live use.

It owns the session's folder while it runs, narrates the start, reports at intervals, and gives the
account at the end. What happens to an input is `app.live`'s business.
"""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from msgspec import Struct

from tapewatch import __version__
from tapewatch.app.build import engine_of
from tapewatch.app.checkpoint import Keeper
from tapewatch.app.config import Config, effective
from tapewatch.app.ledger import Ledger
from tapewatch.app.live import Listener, Live, first_failure
from tapewatch.app.resume import Begun, begin, refuse_other_settings, resume
from tapewatch.app.service import Service
from tapewatch.app.session import STORE, TAPE, forget_summary, write_summary
from tapewatch.app.session_log import LogSink, session_log
from tapewatch.app.sources import Sources
from tapewatch.app.watch_words import lost, sizes, watched
from tapewatch.engine.engine import Engine
from tapewatch.io.clock import Clock
from tapewatch.io.control import read
from tapewatch.io.control_switches import KillSwitches
from tapewatch.io.lock import SessionLock
from tapewatch.io.outbox import OutboxSink
from tapewatch.io.store import Store
from tapewatch.io.tape_check import Verification, verify
from tapewatch.io.tape_frames import segment_files
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model import limits
from tapewatch.model.errors import Refused, TapewatchError
from tapewatch.model.events import Event, Quote, Status, Trade
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_MS, NS_PER_S
from tapewatch.sinks.account import (
    FileSize,
    StatusView,
    Step,
    SummaryView,
    startup,
    status_block,
    status_line,
    summary,
)
from tapewatch.sinks.session_files import SessionFiles
from tapewatch.sinks.terminal import Screen, Terminal
from tapewatch.sinks.wording import counted


class Streams(Struct, frozen=True):
    """Where words go: alerts to `out`, everything else through `say` (people) and `err`."""

    out: TextIO
    err: TextIO
    say: Callable[[str], None]
    verbose: bool = False


class Parts(Struct, frozen=True):
    """What one process of a session works with."""

    live: Live
    files: SessionFiles
    sources: Sources
    service: Service


class _Ears(Listener):
    """Passes what happens to the session and to what stands beside it."""

    def __init__(self, watch: "Watch", files: SessionFiles, service: Service) -> None:
        self._watch, self._files, self._service = watch, files, service
        self.on_outputs = service.on_outputs  # type: ignore[method-assign]

    def on_events(self, events: Sequence[Event]) -> None:
        self._watch.on_events(events, self._files)
        self._service.on_events(events)


class Watch:
    """A session in the folder `folder`, which exists. Use as `await Watch(...).run(stop)`.

    `serve`: it runs as a service, with an HTTP interface, and tells what happens line by line
    instead of on cards.

    Raises `SessionBusy` if another process has the folder, `ConfigError` if the folder holds a
    session with other settings or cannot be written.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        clock: Clock,
        screen: Screen,
        streams: Streams,
        *,
        serve: bool = False,
    ) -> None:
        self._serve = serve
        self.config, self.folder, self.clock, self.streams = config, folder, clock, streams
        self.banner = screen.banner
        self._screen = screen
        self._heard_ns = 0  # receipt of the latest market event
        self._lag_ns: int | None = None  # of the latest trade
        self._rejected: dict[str, str] = {}  # why, by instrument
        self._hopeless = asyncio.Event()
        self._ended = "stopped by you"
        self._resumed = ""  # how, if this process goes on with an earlier one's session
        self._failure: TapewatchError | None = None
        self.instruments = tuple(i for venue in config.venues for i in venue.instruments())
        self.ledger = Ledger(instruments=self.instruments, started_ns=clock.now_ns())

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set or the configured time is over, then print the summary.

        Raises why it could not go on, after everything was closed in order.
        """
        with SessionLock(self.folder, self.clock.now_ns()):
            parts = self._prepare()
            ended = "by a mistake of ours"
            try:
                await self._watch(parts, stop)
                ended = self._ended
            except TapewatchError as error:
                ended = str(error)
                raise
            finally:
                await self._finish(parts, ended)
        if self._failure is not None:
            raise self._failure

    def _prepare(self) -> Parts:
        """Open everything; go on where an earlier process stopped, if there was one."""
        tape_folder = self.folder / TAPE
        again = tape_folder.is_dir() and bool(segment_files(tape_folder))
        if again:
            refuse_other_settings(tape_folder, self.config)
        with ExitStack() as opened:
            tape = TapeWriter(tape_folder, config=effective(self.config), version=__version__)
            opened.callback(tape.close)
            forget_summary(self.folder)
            store = Store(self.folder / STORE, buffer=self.config.sink.bus.buffer)
            opened.callback(store.close)
            engine = engine_of(self.config)
            say = self.streams.say
            service = Service(
                self.config, engine, self.folder, self.clock, http=self._serve, tell=say
            )
            begun, late = Begun(self.ledger), 0
            if again:
                begun = begin(self.folder, self.config, engine, tape.recovered.last, self.ledger)
                self.ledger = begun.ledger
                late = self._recover(begun, engine, tape, store, service)
            files = SessionFiles(self.folder, self.config.sink.files, alerts=self.ledger.alerts)
            opened.pop_all()
        self._log = session_log(lambda line: self._write(line, files), self.clock)
        self._log.info("session.started", name=self.folder.name, version=__version__)
        if again:
            self._log.info("session.resumed", after=tape.recovered.last, late_alerts=late)
            self._resumed = f"after record {tape.recovered.last:,}, {late:,} late alerts"
        live = Live(
            engine,
            tape=tape,
            store=store,
            sinks=[files, *self._people(files, late), LogSink(self._log), *service.sinks],
            clock=self.clock,
            ledger=self.ledger,
            listener=_Ears(self, files, service),
            keeper=Keeper(self.folder, self.config, begun.links),
        )
        # The switch begins where an earlier process of the session left the gate.
        switch = KillSwitches(
            self.config.kill_switch, self.clock, live.inbox.put, engine.gate_state.kill
        )
        states = engine.venue_states
        sources = Sources(
            self.config.venues, live.inbox, self.clock, switch, state=states.__getitem__
        )
        self._fresh = not again
        return Parts(live, files, sources, service)

    def _recover(
        self, begun: Begun, engine: Engine, tape: TapeWriter, store: Store, service: Service
    ) -> int:
        """Replay what the tape has beyond the checkpoint; returns how many alerts were late."""
        people = [] if self._serve else [Terminal.name]
        buses = [sink.name for sink in service.sinks if isinstance(sink, OutboxSink)]
        alerts_to, mode = [SessionFiles.name, *people, *buses], self.config.service.mode
        return resume(self.folder / TAPE, engine, tape, store, alerts_to, begun, buses, mode)

    def _people(self, files: SessionFiles, late: int) -> list[Terminal]:
        """The terminal, where somebody may sit."""
        if self._serve:
            return []
        out, err, shown = self.streams.out, self.streams.err, self.ledger.alerts - late
        return [Terminal(out, err, self._screen, prices=files.prices, shown=shown)]

    async def _finish(self, parts: Parts, ended: str) -> None:
        """Close the rest and give the account. A disk that refuses even this is told, and does not
        hide why the session ended."""
        live, files = parts.live, parts.files
        try:
            live.store.close()
            checked = await asyncio.to_thread(verify, self.folder / TAPE)
            view = self._summary(parts, ended, checked)
            self._log.info("session.ended", how=ended, alerts=view.alerts, trades=view.trades)
            files.close()
            if self.ledger.connects:  # else the reason says it all
                for line in summary(view):
                    self.streams.say(line)
            write_summary(self.folder, view)
        except (TapewatchError, OSError) as error:
            self.streams.say(f"The account of the session is incomplete: {clean(str(error))}")

    def _write(self, line: str, files: SessionFiles) -> None:
        files.note(line)
        if self.streams.verbose:
            self.streams.say(line)

    def on_events(self, events: Sequence[Event], files: SessionFiles) -> None:
        for event in events:
            if isinstance(event, Trade):
                files.trade(event)
                if not event.backfilled:
                    self._lag_ns = event.ts_recv - event.ts_event
                self._heard_ns = event.ts_recv
            elif isinstance(event, Quote):
                self._heard_ns = event.ts_recv
            elif isinstance(event, Status) and event.kind == "rejected" and event.value:
                self._rejected[event.instrument] = event.detail
                if not self._heard_ns and set(self._rejected) >= set(self.instruments):
                    self._hopeless.set()

    async def _watch(self, parts: Parts, stop: asyncio.Event) -> None:
        try:
            await self._together(parts, stop)
        except BaseExceptionGroup as failures:
            raise first_failure(failures) from failures

    async def _together(self, parts: Parts, stop: asyncio.Event) -> None:
        await parts.service.prepare(parts.live, fresh=self._fresh)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(parts.live.run(parts.sources, stop), name="live")
            beside = [
                group.create_task(self._start(parts, stop), name="start"),
                group.create_task(self._trouble(parts.live), name="trouble"),
                group.create_task(self._guard(stop), name="guard"),
                group.create_task(self._report(parts), name="status"),
                group.create_task(parts.service.run(parts.live, parts.sources), name="service"),
            ]
            if self.config.session.lasts_s is not None:
                ending = self._end(stop, self.config.session.lasts_s)
                beside.append(group.create_task(ending, name="duration"))
            await running
            for task in beside:
                task.cancel()

    def _give_up(self, why: TapewatchError, stop: asyncio.Event) -> None:
        """End in good order, with everything delivered; `run` raises `why` afterwards."""
        self._failure, self._ended = why, str(why)
        stop.set()

    async def _start(self, parts: Parts, stop: asyncio.Event) -> None:
        """Wait for the first connection of every source, then say how things stand; end the
        session if a source cannot be reached at all."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        running = counted(len(self.config.detectors), "detector")
        steps = [Step("ok", "config", f"{running}; tapewatch config show tells which")]
        for venue in self.config.venues:
            trouble = await parts.sources.tried(venue.name)
            if stop.is_set():
                return
            if trouble is not None:
                self._give_up(trouble, stop)
                return
            took_ms = (loop.time() - began) * 1000
            names = watched(venue)
            steps.append(Step("ok", "source", f"{names} connected in {took_ms:.0f} ms"))
            self._log.info("source.connected", source=venue.name, ms=round(took_ms))
        if self._resumed:
            steps.append(Step("ok", "resumed", self._resumed))
        steps += self._steps(parts.live)
        for line in startup(__version__, self.folder.name, steps, banner=self.banner):
            self.streams.say(line)

    def _steps(self, live: Live) -> list[Step]:
        path = self.config.kill_switch.path
        order = read(path)
        kill = "cannot be read: treated as on" if order is None else "on" if order.active else "off"
        gate = self.config.gate
        all_of, one = gate.budget.alarms_per_day, gate.budget.group_alarms_per_day
        budget = f"at most {all_of:g} alarms a day, {one:g} of one market ({gate.profile})"
        return [
            Step("ok", "budget", budget),
            Step("wait", "warm-up", "a detector is silent until its baseline is ready"),
            Step("ok", "alerts", ", ".join(worker.sink.name for worker in live.workers)),
            Step("ok", "recording", f"{self.folder / TAPE}"),
            Step("off", "video", "screen recording is not part of this version"),
            Step("ok" if kill == "off" else "bad", "kill switch", f"{kill} ({path})"),
        ]

    async def _guard(self, stop: asyncio.Event) -> None:
        """End the session when the venue refuses every instrument for good, from the start."""
        await self._hopeless.wait()
        self._give_up(Refused("; ".join(dict.fromkeys(self._rejected.values()))), stop)

    async def _trouble(self, live: Live) -> None:
        """Say when the disk or the store refuses, and when things go on."""
        told = ""
        while not live.ended:
            await asyncio.sleep(limits.TIMER_S)
            trouble = live.tape.trouble or live.trouble
            if trouble != told:
                told = trouble
                self.streams.say(f"{trouble}." if trouble else "Recording goes on.")
                self._log.warning("disk.refuses" if trouble else "disk.accepts", why=trouble)

    async def _end(self, stop: asyncio.Event, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._ended = "as planned"
        stop.set()

    async def _report(self, parts: Parts) -> None:
        every_s = self.config.session.status_every_s
        while every_s > 0:
            await asyncio.sleep(every_s)
            view = self._status(parts)
            self.streams.say(status_line(view))
            parts.files.status(status_block(view))

    def _status(self, parts: Parts) -> StatusView:
        now, live = self.clock.now_ns(), parts.live
        last = self.ledger.last_alert
        return StatusView(
            now_ns=now,
            elapsed_s=self.ledger.elapsed_s(now),
            trades=live.engine.counts.get("Trade", 0),
            alerts=self.ledger.alerts,
            alarms=self.ledger.alarms,
            alarms_per_day=self.config.gate.budget.alarms_per_day,
            coverage=self.ledger.coverage(now),
            age_s=(now - self._heard_ns) / NS_PER_S if self._heard_ns else None,
            lag_ms=None if self._lag_ns is None else self._lag_ns / NS_PER_MS,
            suppressed=sum(self.ledger.suppressed.values()),
            disk_free=shutil.disk_usage(self.folder).free,
            last_alert_ns=last.ts_alert_ns if last else None,
            last_alert_id=last.id if last else "",
            files=sizes(parts.files),
            kill_switch=live.engine.gate_state.kill,
        )

    def _summary(self, parts: Parts, ended: str, checked: Verification) -> SummaryView:
        now, live = self.clock.now_ns(), parts.live
        biggest = self.ledger.biggest
        tape_size = sum(file.stat().st_size for file in segment_files(self.folder / TAPE))
        tape = FileSize("tape", str(self.folder / TAPE), tape_size)
        return SummaryView(
            session=self.folder.name,
            elapsed_s=self.ledger.elapsed_s(now),
            ended=ended,
            trades=live.engine.counts.get("Trade", 0),
            coverage=self.ledger.coverage(now),
            gaps=self.ledger.gaps,
            lost_s=self.ledger.lost_s(now),
            reconnects=self.ledger.reconnects,
            alerts=self.ledger.alerts,
            alarms=self.ledger.alarms,
            alarms_per_day=self.config.gate.budget.alarms_per_day,
            suppressed=self.ledger.suppressed,
            biggest=f"{biggest.market or biggest.instrument} {biggest.reason}" if biggest else "",
            files=(tape, *sizes(parts.files)),
            folder=str(self.folder),
            head=checked.head,
            problems=len(checked.problems),
            trouble=lost(parts.live.workers, parts.files, parts.sources.counters),
            banner=self.banner,
        )
