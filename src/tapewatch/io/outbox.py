"""One task per bus: what the outbox owes it, in batches, for as long as it takes.

Unlike `io.worker` it has no queue: new outputs only wake it, and everything comes from the outbox.
So a bus that is dead for a day costs disk, not memory, and nobody waits for it. What the other side
refuses for its own sake becomes a dead letter; whatever else goes wrong is tried again, without an
end, and said in `last_error`. Delivery is at least once; the id of each output tells.
"""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

from tapewatch.io.backoff import Backoff
from tapewatch.io.store import Failure, Owed, Store
from tapewatch.io.worker import CANCEL_S, Counters, attempted
from tapewatch.model import limits
from tapewatch.model.errors import DeliveryError, StoreError
from tapewatch.model.outputs import Output
from tapewatch.model.text import clean

HELD_S: Final = 0.2  # between two looks at what is held back
PAUSE_MAX_S: Final = 5.0  # between two attempts; a bus is our own, and does not ban

Outcome = DeliveryError | None  # None: it has arrived, or somebody else has seen to it


@runtime_checkable
class OutboxSink(Protocol):
    """Where batches go. `name` is unique and the key of the outbox, `accepts` are output types,
    `mode` is noted with what is said now, and comes back with it (`Owed.mode`)."""

    @property
    def name(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def accepts(self) -> tuple[type[Output], ...]: ...

    async def publish(self, batch: Sequence[Owed], /) -> Sequence[Outcome]:
        """What became of each of the batch. An error that is not `retryable` ends its attempts,
        `held` is no attempt at all. Raises `DeliveryError` when nothing can be said of any."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class OutboxWorker:
    """Feeds one bus from `store`. `last_error` is for the status line, empty when all is well."""

    def __init__(self, sink: OutboxSink, *, rng: random.Random, store: Store) -> None:
        self.sink = sink
        self.counters = Counters()
        self.last_error = ""
        self._store = store
        self._backoff = Backoff(rng)
        self._rng = rng
        self._wake = asyncio.Event()
        self._closing = False
        self._stuck = False  # the last round left something undelivered
        self._arrived: list[int] = []  # but the store could not write it down
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return 0  # nothing waits in memory

    def start(self) -> asyncio.Task[None]:
        """Begin to deliver, first what is still owed from an earlier life."""
        assert self._task is None, "a worker has one life"
        self._task = asyncio.create_task(self._run(), name=f"bus.{self.sink.name}")
        return self._task

    async def offer(self, outputs: Sequence[Output]) -> None:
        """There is something new in the outbox, if the sink accepts any of these."""
        if any(isinstance(output, self.sink.accepts) for output in outputs):
            self._wake.set()

    async def drain(self, timeout_s: float) -> bool:
        """Deliver what is owed, then end; False if time ran out or the bus takes nothing. What is
        left stays in the outbox."""
        assert self._task is not None, "start() comes first"
        self._closing = True
        self._wake.set()
        done, _ = await asyncio.wait({self._task}, timeout=timeout_s)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CANCEL_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_S):
                await self.sink.close()
        return bool(done) and not self._stuck

    async def _run(self) -> None:
        while not (self._closing and self._stuck):
            self._wake.clear()
            try:
                batch = self._next()
            except StoreError as error:
                self._store_failed(error)
                await self._pause(self._backoff.next_s())
                continue
            if batch:
                await self._round(batch)
                continue
            self.last_error, self._stuck = "", False
            if self._closing:
                return
            await self._wake.wait()

    def _next(self) -> list[Owed]:
        """What is owed now. Raises `StoreError`."""
        self._note_arrived()
        self.counters.dropped = self._store.dropped.get(self.sink.name, 0)
        return self._store.owed(self.sink.name, limits.BUS_BATCH)

    async def _round(self, batch: Sequence[Owed]) -> None:
        """Try to deliver a batch, and write down what became of it."""
        tried = await attempted(self.sink.publish(batch))
        outcomes: Sequence[Outcome]
        if not isinstance(tried, DeliveryError):
            assert len(tried) == len(batch), "one outcome each"
            outcomes = tried
        elif tried.retryable:
            outcomes = [tried] * len(batch)
        else:  # of all at once: a setting is wrong or a mistake is ours, it is not the messages
            outcomes = [DeliveryError(str(tried), retryable=True)] * len(batch)
        self._settle(batch, outcomes)
        troubles = [outcome for outcome in outcomes if outcome is not None and outcome.retryable]
        self.last_error = clean(str(troubles[-1])) if troubles else ""
        self._stuck = bool(troubles)
        if not troubles:
            self._backoff = Backoff(self._rng)
            return
        asked_s = max(trouble.retry_after_s or 0.0 for trouble in troubles)
        if all(trouble.held for trouble in troubles):
            await self._pause(max(asked_s, HELD_S))
        else:
            self.counters.retries += 1
            await self._pause(min(self._backoff.next_s(asked_s), PAUSE_MAX_S))

    def _settle(self, batch: Sequence[Owed], outcomes: Sequence[Outcome]) -> None:
        failures = []
        for owed, outcome in zip(batch, outcomes, strict=True):
            if outcome is None:
                self._arrived.append(owed.seq)
                self.counters.delivered += 1
            elif not outcome.held:
                failures.append(Failure(owed.seq, str(outcome), dead=not outcome.retryable))
                self.counters.failed += not outcome.retryable
        try:
            self._note_arrived(failures)
        except StoreError as error:
            self._store_failed(error)

    def _note_arrived(self, failures: Sequence[Failure] = ()) -> None:
        if self._arrived or failures:
            self._store.settle(self.sink.name, self._arrived, failures)
            self._arrived = []

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until the end."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not self._closing and loop.time() < until:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._wake.wait()

    def _store_failed(self, error: StoreError) -> None:
        self.counters.store_errors += 1
        self._stuck = True
        self.last_error = clean(str(error))
