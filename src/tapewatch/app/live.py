"""A live session: inbox -> tape -> engine -> evidence on disk -> sinks. One coroutine does it all.

Order of one batch: append every input to the tape, step the engine, then, if anything is to be
said, write it on the tape, make the tape durable, write the outbox rows, and only then wake the
sinks ("evidence before alarm"). Otherwise the tape is made durable every `COMMIT_S`. While the disk
or the store refuses, outputs wait here and are tried again; recording and detection go on.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from tapewatch.app.checkpoint import EVERY_S, SHARE, Keeper
from tapewatch.app.ledger import Ledger
from tapewatch.app.sources import Sources
from tapewatch.engine.engine import Engine
from tapewatch.io.clock import Clock
from tapewatch.io.inbox import Inbox
from tapewatch.io.outbox import OutboxSink, OutboxWorker
from tapewatch.io.store import Store
from tapewatch.io.tape_write import TapeWriter
from tapewatch.io.worker import Sink, Worker
from tapewatch.model import limits
from tapewatch.model.errors import RecordingError, StoreError, TapewatchError
from tapewatch.model.events import Event
from tapewatch.model.inputs import Command, Input, Link, Timer
from tapewatch.model.outputs import Alert, Fault, Output, Report

DRAIN_S: Final = 5.0  # sinks get so long at the end; what is owed stays in the outbox

_encode = msgspec.json.Encoder().encode


class Listener:
    """Sees what a session sees, at once: it must be quick."""

    def on_events(self, events: Sequence[Event]) -> None:
        """The events of one input, right after its step."""

    def on_outputs(self, outputs: Sequence[Output]) -> None:
        """What a batch of inputs gave rise to, before any of it is durable."""


class Live:
    """One session while it runs. `ledger` and `engine` may be read at any time.

    `keeper` keeps checkpoints of the engine's memory. Alerts are owed to every durable sink,
    reports to buses.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        tape: TapeWriter,
        store: Store,
        sinks: Sequence[Sink | OutboxSink],
        clock: Clock,
        ledger: Ledger,
        listener: Listener | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.engine, self.tape, self.store, self.ledger = engine, tape, store, ledger
        self.inbox = Inbox()
        self.workers = [_worker(sink, store) for sink in sinks]
        buses = [sink for sink in sinks if isinstance(sink, OutboxSink)]
        self._reports_to = [bus.name for bus in buses]
        self._alerts_to = [
            sink.name for sink in sinks if isinstance(sink, OutboxSink) or sink.durable
        ]
        self._mode = next((bus.mode for bus in buses), "")
        self._clock = clock
        self._listener = listener or Listener()
        self._keeper, self._keep_s = keeper, 0.0  # loop time of the next checkpoint
        self.trouble = ""  # why outputs are waiting, for people
        self.ended = False
        self._committed_s = 0.0  # loop time of the last commit
        self._retry_s = 0.0  # loop time before which a refusing disk is not asked again
        self._waiting: list[Output] = []  # not durable yet, in order
        self._hole = False  # frames are being left out of the recording
        self._disk = ThreadPoolExecutor(1, "tape")  # its own: sinks must not keep it waiting

    async def run(self, sources: Sources, stop: asyncio.Event) -> None:
        """Watch until `stop` is set; then take in what has arrived and finish every delivery.

        Raises the first thing that makes going on impossible: `Refused` from a venue, `TapeError`,
        `StoreError`.
        """
        loop, orderly = asyncio.get_running_loop(), False
        for worker in self.workers:
            worker.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(sources), name="pump")
                feed = group.create_task(sources.run(), name="sources")
                stopping = group.create_task(stop.wait(), name="stop")
                await asyncio.wait({feed, stopping}, return_when=asyncio.FIRST_COMPLETED)
                stopping.cancel()
                await sources.close()
                await feed
                self.ended = True
            orderly = True
        except BaseExceptionGroup as failures:
            raise first_failure(failures) from failures
        finally:
            try:
                await loop.run_in_executor(self._disk, self.tape.close)
                if orderly and not self._waiting:
                    await self._checkpoint(last=True)
            finally:
                self._disk.shutdown(wait=False)
                await asyncio.gather(*(worker.drain(DRAIN_S) for worker in self.workers))

    async def _pump(self, sources: Sources) -> None:
        while not self.ended or len(self.inbox):
            outputs = self.take(await self._batch())
            self._waiting += outputs
            if await self._durable_now():
                ready, self._waiting = self._waiting, []
                for worker in self.workers:
                    await worker.offer(ready)
                await self._checkpoint()
            for output in outputs:
                if isinstance(output, Fault) and output.ask is not None:
                    sources.serve(output)

    async def _checkpoint(self, *, last: bool = False) -> None:
        """Keep the engine's memory, now and then, when all it has said is durable."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if self._keeper is None or self._hole or (began < self._keep_s and not last):
            return
        if not self._keep_s and not last:  # nothing is worth it yet
            self._keep_s = began + EVERY_S
            return
        keep = self._keeper.take(self.engine, self.ledger)
        self._keep_s = began + max(EVERY_S, SHARE * (loop.time() - began))
        try:
            await loop.run_in_executor(self._disk, keep)
        except RecordingError as error:
            self.trouble = str(error)

    async def _batch(self) -> list[Input]:
        """Inputs that are there, or none when the tape must be committed first."""
        try:
            async with asyncio.timeout(limits.COMMIT_S):
                return await self.inbox.drain(limits.BATCH_INPUTS)
        except TimeoutError:
            return []

    def take(self, batch: Sequence[Input]) -> list[Output]:
        """Journal and step inputs; what the engine says is on the tape, though not yet durable."""
        outputs: list[Output] = []
        for item in batch:
            if isinstance(item, Link) and self._keeper is not None:
                self._keeper.see(item)
            self._step(item, self.tape.append(item), outputs)
            if self.tape.paused:
                self._pause(item, outputs)
        self._listener.on_outputs(outputs)
        for output in outputs:
            self.ledger.see(output)
            if isinstance(output, Alert | Report):
                self.tape.append_alert(_encode(output))
        return outputs

    def _pause(self, item: Input, outputs: list[Output]) -> None:
        """Frames are left out: say so on the tape, once, and look for space every second."""
        if not self._hole:
            self._hole = True
            begin = Command(item.ts_recv, "tape", "unrecorded", "begin")
            self._step(begin, self.tape.append(begin), outputs)
        if isinstance(item, Timer):
            resumed = self.tape.try_resume(item.ts_recv)
            if resumed is not None:
                self._hole = False
                self._step(resumed[1], resumed[0], outputs)

    @property
    def waiting(self) -> int:
        """Outputs that are not durable yet."""
        return len(self._waiting)

    def _step(self, item: Input, seq: int, outputs: list[Output]) -> None:
        outputs.extend(self.engine.step(item, seq))
        self._listener.on_events(self.engine.events)

    async def _durable_now(self) -> bool:
        """Commit the tape if something is to be said or it is time; what is said gets outbox rows.
        False while the disk or the store refuses. Raises what it says when too much is waiting."""
        loop = asyncio.get_running_loop()
        said = [output for output in self._waiting if isinstance(output, Alert | Report)]
        if loop.time() < self._retry_s:
            return False
        if not said and loop.time() - self._committed_s < limits.COMMIT_S:
            return True
        try:
            await loop.run_in_executor(self._disk, self._commit, self._clock.now_ns(), said)
            self._committed_s = loop.time()
        except (RecordingError, StoreError) as error:
            if len(self._waiting) > limits.OUTPUTS_WAITING:
                raise
            self.trouble = str(error)
            self._retry_s = loop.time() + limits.TIMER_S
            return False
        self.trouble = ""
        return True

    def _commit(self, now_ns: int, said: Sequence[Alert | Report]) -> None:
        """In the disk's own thread: the tape first, then what is owed because of it."""
        self.tape.commit(now_ns)
        if said:
            self.store.add(said, self._alerts_to, self._reports_to, self._mode)


def _worker(sink: Sink | OutboxSink, store: Store) -> Worker | OutboxWorker:
    rng = random.Random(0)  # noqa: S311  jitter
    if isinstance(sink, OutboxSink):
        return OutboxWorker(sink, rng=rng, store=store)
    return Worker(sink, rng=rng, store=store)


def first_failure(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that the user can act on: the first of ours, else simply the first."""
    leaves = list(_leaves(failures))
    return next((leaf for leaf in leaves if isinstance(leaf, TapewatchError)), leaves[0])


def _leaves(failure: BaseException) -> Iterator[BaseException]:
    if isinstance(failure, BaseExceptionGroup):
        for inner in failure.exceptions:
            yield from _leaves(inner)
    else:
        yield failure
