"""One watching session from start to summary: the composition of everything for live use.

It owns the session's folder while it runs, narrates the start, reports at intervals, and gives the
account at the end. What happens to an input is `app.live`'s business.
"""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TextIO

from msgspec import Struct

from tapewatch import __version__
from tapewatch.app.build import engine_of
from tapewatch.app.config import Config, effective
from tapewatch.app.ledger import Ledger
from tapewatch.app.live import Live, first_failure
from tapewatch.app.resume import refuse_other_settings, resume
from tapewatch.app.session import TAPE, write_summary
from tapewatch.app.session_log import LogSink, session_log
from tapewatch.app.sources import Sources
from tapewatch.io.clock import Clock
from tapewatch.io.control import KillSwitchFile, read
from tapewatch.io.lock import SessionLock
from tapewatch.io.store import Store
from tapewatch.io.tape_check import verify
from tapewatch.io.tape_frames import segment_files
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model import limits
from tapewatch.model.errors import Refused, TapewatchError
from tapewatch.model.events import Event, Quote, Status, Trade
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

STORE: Final = "alerts.sqlite"


class Streams(Struct, frozen=True):
    """Where words go: alerts to `out`, everything else through `say` (people) and `err`."""

    out: TextIO
    err: TextIO
    say: Callable[[str], None]
    verbose: bool = False


class Watch:
    """A session in the folder `folder`, which exists. Use as `await Watch(...).run(stop)`.

    Raises `SessionBusy` if another process has the folder, `ConfigError` if the folder holds a
    session with other settings or cannot be written.
    """

    def __init__(
        self, config: Config, folder: Path, clock: Clock, screen: Screen, streams: Streams
    ) -> None:
        self.config, self.folder, self.clock, self.streams = config, folder, clock, streams
        self.banner = screen.banner
        self._screen = screen
        self._heard_ns = 0  # receipt of the latest market event
        self._lag_ns: int | None = None  # of the latest trade
        self._rejected: dict[str, str] = {}  # why, by instrument
        self._hopeless = asyncio.Event()
        self._over = False  # the configured time has passed
        self.instruments = tuple(i for venue in config.venues for i in venue.instruments())
        self.ledger = Ledger(instruments=self.instruments, started_ns=clock.now_ns())

    async def run(self, stop: asyncio.Event, ended: str = "stopped by you") -> None:
        """Watch until `stop` is set or the configured time is over, then print the summary."""
        with SessionLock(self.folder, self.clock.now_ns()):
            live, files = self._prepare()
            try:
                await self._watch(live, files, stop)
                if self._over:
                    ended = "as planned"
            except TapewatchError as error:
                ended = str(error)
                raise
            finally:
                live.store.close()
                view = self._summary(live, files, ended)
                self._log.info("session.ended", how=ended, alerts=view.alerts, trades=view.trades)
                files.close()
                write_summary(self.folder, view)
            for line in summary(view):
                self.streams.say(line)

    def _prepare(self) -> tuple[Live, SessionFiles]:
        """Open everything; go on where an earlier process stopped, if there was one."""
        plain = effective(self.config)
        tape_folder = self.folder / TAPE
        again = tape_folder.is_dir() and bool(segment_files(tape_folder))
        if again:
            refuse_other_settings(tape_folder, self.config)
        tape = TapeWriter(tape_folder, config=plain, version=__version__)
        store = Store(self.folder / STORE)
        engine = engine_of(self.config)
        sinks = [SessionFiles.name, Terminal.name]
        late = resume(tape_folder, engine, tape, store, sinks, self.ledger) if again else 0
        files = SessionFiles(self.folder, self.config.sink.files, alerts=self.ledger.alerts)
        terminal = Terminal(
            self.streams.out,
            self.streams.err,
            self._screen,
            prices=files.prices,
            shown=self.ledger.alerts - late,
        )
        self._log = session_log(lambda line: self._write(line, files), self.clock)
        self._log.info("session.started", name=self.folder.name, version=__version__)
        if again:
            self._log.info("session.resumed", after=tape.recovered.last, late_alerts=late)
        live = Live(
            engine,
            tape=tape,
            store=store,
            sinks=[files, terminal, LogSink(self._log)],
            clock=self.clock,
            ledger=self.ledger,
            on_events=lambda events: self._on_events(events, files),
        )
        return live, files

    def _write(self, line: str, files: SessionFiles) -> None:
        files.note(line)
        if self.streams.verbose:
            self.streams.say(line)

    def _on_events(self, events: Sequence[Event], files: SessionFiles) -> None:
        for event in events:
            if isinstance(event, Trade):
                files.trade(event)
                if not event.backfilled:
                    self._lag_ns = event.ts_recv - event.ts_event
                self._heard_ns = event.ts_recv
            elif isinstance(event, Quote):
                self._heard_ns = event.ts_recv
            elif isinstance(event, Status) and event.kind == "rejected" and event.instrument:
                self._rejected[event.instrument] = event.detail
                if set(self._rejected) >= set(self.instruments):
                    self._hopeless.set()

    async def _watch(self, live: Live, files: SessionFiles, stop: asyncio.Event) -> None:
        switch = KillSwitchFile(self.config.kill_switch.path)
        switch.state = live.engine.gate_state.kill  # as an earlier process of the session left it
        sources = Sources(self.config.venues, live.inbox, self.clock, switch)
        try:
            await self._together(live, files, sources, switch, stop)
        except BaseExceptionGroup as failures:
            raise first_failure(failures) from failures

    async def _together(
        self,
        live: Live,
        files: SessionFiles,
        sources: Sources,
        switch: KillSwitchFile,
        stop: asyncio.Event,
    ) -> None:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(live.run(sources, stop), name="live")
            beside = [
                group.create_task(self._start(live, sources, stop), name="start"),
                group.create_task(self._tape_trouble(live), name="tape"),
                group.create_task(self._guard(), name="guard"),
                group.create_task(self._report(live, files, switch), name="status"),
            ]
            if self.config.session.lasts_s is not None:
                beside.append(
                    group.create_task(self._end(stop, self.config.session.lasts_s), name="duration")
                )
            await running
            for task in beside:
                task.cancel()

    async def _start(self, live: Live, sources: Sources, stop: asyncio.Event) -> None:
        """Wait for the first connection of every source, then say how things stand. Raises what
        keeps a source from being reached at all."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        steps = [Step("ok", "config", f"{', '.join(d.name for d in self.config.detectors)}")]
        for venue in self.config.venues:
            trouble = await sources.sockets[venue.name].tried()
            if stop.is_set():
                return
            if trouble is not None:
                raise trouble
            took_ms = (loop.time() - began) * 1000
            watched = ", ".join(venue.instruments())
            steps.append(Step("ok", "source", f"{watched} connected in {took_ms:.0f} ms"))
            self._log.info("source.connected", source=venue.name, ms=round(took_ms))
        steps += self._steps(live)
        for line in startup(__version__, self.folder.name, steps, banner=self.banner):
            self.streams.say(line)

    def _steps(self, live: Live) -> list[Step]:
        path = self.config.kill_switch.path
        order = read(path)
        kill = "cannot be read: treated as on" if order is None else "on" if order.active else "off"
        return [
            Step("wait", "warm-up", "a detector is silent until its baseline is ready"),
            Step("ok", "alerts", ", ".join(worker.sink.name for worker in live.workers)),
            Step("ok", "recording", f"{self.folder / TAPE}"),
            Step("off", "video", "screen recording is not part of this version"),
            Step("ok" if kill == "off" else "bad", "kill switch", f"{kill} ({path})"),
        ]

    async def _guard(self) -> None:
        """End the session when the venue refuses every instrument: it would wait for ever."""
        await self._hopeless.wait()
        raise Refused("; ".join(dict.fromkeys(self._rejected.values())))

    async def _tape_trouble(self, live: Live) -> None:
        """Say when the disk refuses the tape, and when it takes it again."""
        told = ""
        while not live.ended:
            await asyncio.sleep(limits.TIMER_S)
            trouble = live.tape.trouble
            if trouble != told:
                told = trouble
                text = f"{trouble}." if trouble else "Recording goes on."
                self.streams.say(text)
                self._log.warning("tape.paused" if trouble else "tape.resumed", why=trouble)

    async def _end(self, stop: asyncio.Event, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._over = True
        stop.set()

    async def _report(self, live: Live, files: SessionFiles, switch: KillSwitchFile) -> None:
        every_s = self.config.session.status_every_s
        while every_s > 0:
            await asyncio.sleep(every_s)
            view = self._status(live, files, switch)
            self.streams.say(status_line(view))
            files.status(status_block(view))

    def _status(self, live: Live, files: SessionFiles, switch: KillSwitchFile) -> StatusView:
        now = self.clock.now_ns()
        last = self.ledger.last_alert
        return StatusView(
            now_ns=now,
            elapsed_s=self.ledger.elapsed_s(now),
            trades=live.engine.counts.get("Trade", 0),
            alerts=self.ledger.alerts,
            coverage=self.ledger.coverage(now),
            age_s=(now - self._heard_ns) / NS_PER_S if self._heard_ns else None,
            lag_ms=None if self._lag_ns is None else self._lag_ns / NS_PER_MS,
            suppressed=sum(self.ledger.suppressed.values()),
            disk_free=shutil.disk_usage(self.folder).free,
            last_alert_ns=last.ts_alert_ns if last else None,
            last_alert_id=last.id if last else "",
            files=_sizes(files),
            kill_switch=switch.state,
        )

    def _summary(self, live: Live, files: SessionFiles, ended: str) -> SummaryView:
        now = self.clock.now_ns()
        biggest = self.ledger.biggest
        checked = verify(self.folder / TAPE)
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
            suppressed=self.ledger.suppressed,
            biggest=f"{biggest.instrument} {biggest.reason}" if biggest else "",
            files=(tape, *_sizes(files)),
            folder=str(self.folder),
            head=checked.head,
            problems=len(checked.problems),
            banner=self.banner,
        )


def _sizes(files: SessionFiles) -> tuple[FileSize, ...]:
    found = []
    for name, label in (("raw", "Raw Log"), ("anomalies", "Anomaly Log")):
        path = files.path(name)
        if path.exists():
            found.append(FileSize(label, str(path), path.stat().st_size))
    return tuple(found)
