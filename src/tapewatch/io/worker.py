"""One bounded queue and one task per sink: a sink that fails or hangs harms nobody else.

Alerts for a durable sink are owed to it in the outbox; the queue only keeps them in order with the
other outputs. Whatever finds no room there is fetched from the outbox later. Delivery is at least
once over crashes (a sink may have acted before the mark was written; the alert's id tells), and at
most once within one life of the worker.
"""

import asyncio
import collections
import contextlib
import random
from collections.abc import Awaitable, Sequence
from typing import Final, Literal, Protocol, TypeVar

from msgspec import Struct

from tapewatch.io.backoff import Backoff
from tapewatch.io.store import Store
from tapewatch.model import limits
from tapewatch.model.errors import DeliveryError, StoreError
from tapewatch.model.outputs import Alert, Output
from tapewatch.model.text import clean

Result = TypeVar("Result")
WhenFull = Literal["block", "drop_newest", "spill"]

DELIVER_S: Final = 10.0  # one delivery, whatever the sink does in it
CANCEL_S: Final = 1.0  # a sink that ignores its cancellation is left behind
RETRY_AFTER_MAX_S: Final = 600.0  # what a receiver may ask for
HELD_S: Final = 1.0  # between two looks at a receiver that takes nothing


class Sink(Protocol):
    """Where outputs go. The only asynchronous plug-in contract.

    `name` is unique; it is the key of the outbox. `accepts` are output types. `when_full`: `block`
    makes the caller wait (files, where nothing may be missing), `drop_newest` counts and drops,
    `spill` leaves alerts in the outbox and drops the rest; a durable sink always does so with
    alerts.
    """

    @property
    def name(self) -> str: ...
    @property
    def accepts(self) -> tuple[type[Output], ...]: ...
    @property
    def durable(self) -> bool: ...
    @property
    def when_full(self) -> WhenFull: ...

    async def deliver(self, batch: Sequence[Output], /) -> None:
        """Deliver all of it or raise `DeliveryError`. A durable sink gets each alert alone."""
        ...


class Counters(Struct):
    """What one worker did so far, in outputs; `retries` in attempts, `store_errors` in calls."""

    delivered: int = 0
    failed: int = 0  # given up: refused, or all attempts used
    dropped: int = 0  # no room, or left over at the end
    spilled: int = 0  # no room, but safe in the outbox
    duplicates: int = 0  # alerts that are no longer owed
    retries: int = 0
    store_errors: int = 0


class Worker:
    """Feeds one sink. `store` is needed by durable sinks; `last_error` is for the status line."""

    def __init__(self, sink: Sink, *, rng: random.Random, store: Store | None = None) -> None:
        assert store is not None or not sink.durable, "a durable sink needs the outbox"
        assert sink.durable or sink.when_full != "spill", "only durable sinks can spill"
        self.sink = sink
        self.counters = Counters()
        self.last_error = ""
        self._outbox = store if sink.durable else None
        self._rng = rng
        self._queue: collections.deque[Output] = collections.deque()
        # Alerts that are only in the outbox come after so many queued outputs; None: none are.
        self._ahead: int | None = None if self._outbox is None else 0
        self._unmarked: set[str] = set()  # delivered, but the store could not write it down
        self._wake, self._room = asyncio.Event(), asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def start(self) -> asyncio.Task[None]:
        """Begin to deliver, first what is still owed from an earlier life."""
        assert self._task is None, "a worker has one life"
        self._task = asyncio.create_task(self._run(), name=f"sink.{self.sink.name}")
        return self._task

    async def offer(self, outputs: Sequence[Output]) -> None:
        """Queue what the sink accepts; alerts after they were added to the store.

        Waits only if the sink says `block`, and then at most until deliveries were given up.
        """
        for output in outputs:
            if isinstance(output, self.sink.accepts):
                await self._admit(output)

    async def drain(self, timeout_s: float) -> bool:
        """Deliver what is queued, then end; False if time ran out. Undelivered alerts of a durable
        sink stay in the outbox, everything else that is left counts as dropped."""
        assert self._task is not None, "start() comes first"
        self._closing = True
        self._wake.set()
        self._room.set()
        done, _ = await asyncio.wait({self._task}, timeout=timeout_s)
        if done:
            self._task.result()
            return True
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=CANCEL_S)
        self._drop(self._queue)
        self._queue.clear()
        return False

    async def _admit(self, output: Output) -> None:
        if self._owes(output) and (self._ahead is not None or self._full()):
            self._spill()  # also while there is room again, or it would overtake earlier ones
            self.counters.spilled += 1
        else:
            while self._full() and self.sink.when_full == "block" and not self._closing:
                self._room.clear()
                await self._room.wait()
            if self._full():
                self.counters.dropped += 1
            else:
                self._queue.append(output)
        self._wake.set()

    def _full(self) -> bool:
        return len(self._queue) >= limits.SINK_QUEUE

    def _owes(self, output: Output) -> bool:
        return self._outbox is not None and isinstance(output, Alert)

    def _drop(self, outputs: Sequence[Output]) -> None:
        self.counters.dropped += sum(not self._owes(output) for output in outputs)

    async def _run(self) -> None:
        while batch := await self._next():
            self._room.set()
            if self._outbox is not None and isinstance(batch[0], Alert):
                await self._settle(self._outbox, batch[0])
            else:
                await self._deliver(batch)

    async def _next(self) -> list[Output]:
        """The next batch; empty at the end. A durable sink's alert is a batch of its own, so that
        its mark in the outbox is exact and a bad alert harms no other."""
        patience = Backoff(self._rng)
        self._catch_up()
        while not self._queue:
            if self._closing and self._ahead is None:
                return []
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                # Without a limit, unless the store has failed and must be asked again.
                async with asyncio.timeout(None if self._ahead is None else patience.next_s()):
                    await self._wake.wait()
            self._catch_up()
        most = min(limits.SINK_BATCH, self._ahead or limits.SINK_BATCH)
        batch = [self._queue.popleft()]
        while self._queue and len(batch) < most:
            if self._owes(batch[0]) or self._owes(self._queue[0]):
                break
            batch.append(self._queue.popleft())
        if self._ahead:
            self._ahead -= len(batch)
        return batch

    def _spill(self) -> None:
        """Note that the outbox holds alerts which belong behind what is queued now."""
        if self._ahead is None:
            self._ahead = len(self._queue)

    def _catch_up(self) -> None:
        """Fetch alerts that are only in the outbox, once it is their turn."""
        if self._outbox is None or self._ahead != 0:
            return
        try:
            for alert_id in sorted(self._unmarked):
                self._outbox.mark_delivered(alert_id, self.sink.name)
                self._unmarked.discard(alert_id)
            alerts = self._outbox.pending(self.sink.name)
        except StoreError as error:
            self._store_failed(error)
            return
        self._queue.extendleft(reversed(alerts))
        self._ahead = len(alerts) if len(alerts) == limits.SINK_BATCH else None

    async def _settle(self, outbox: Store, alert: Alert) -> None:
        """Deliver one owed alert and write down what became of it."""
        try:
            owed = alert.id not in self._unmarked and outbox.is_pending(alert.id, self.sink.name)
        except StoreError as error:
            self._store_failed(error)
            owed = True  # twice is better than never
        if not owed:
            self.counters.duplicates += 1
        elif await self._deliver([alert]):
            try:
                outbox.mark_delivered(alert.id, self.sink.name)
            except StoreError as error:
                self._store_failed(error)
                self._unmarked.add(alert.id)
                self._spill()

    async def _deliver(self, batch: Sequence[Output]) -> bool:
        """Try until it works or is hopeless; True if it was delivered. A receiver that takes
        nothing at the moment is not hopeless, however long that lasts."""
        backoff, attempt = Backoff(self._rng), 0
        try:
            while attempt < limits.SINK_ATTEMPTS:
                tried = await attempted(self.sink.deliver(batch))
                if not isinstance(tried, DeliveryError):
                    self.counters.delivered += len(batch)
                    return True
                self.last_error = clean(str(tried))
                if tried.held and self._owes(batch[0]):
                    await asyncio.sleep(HELD_S)
                    continue
                attempt += 1
                hopeless = attempt == limits.SINK_ATTEMPTS or not tried.retryable
                self._note_failure(batch[0], dead=hopeless)
                if hopeless:
                    break
                self.counters.retries += 1
                asked_s = min(tried.retry_after_s or 0.0, RETRY_AFTER_MAX_S)
                await asyncio.sleep(backoff.next_s(asked_s))
        except asyncio.CancelledError:
            self._drop(batch)
            raise
        self.counters.failed += len(batch)
        return False

    def _note_failure(self, output: Output, *, dead: bool) -> None:
        if self._outbox is not None and isinstance(output, Alert):
            try:
                self._outbox.mark_failed(output.id, self.sink.name, self.last_error, dead=dead)
            except StoreError as error:
                self._store_failed(error)

    def _store_failed(self, error: StoreError) -> None:
        self.counters.store_errors += 1
        self.last_error = clean(str(error))


async def attempted(delivery: Awaitable[Result]) -> Result | DeliveryError:
    """What a sink answers within `DELIVER_S`, or what it failed with."""
    try:
        async with asyncio.timeout(DELIVER_S):
            return await delivery
    except DeliveryError as error:
        return error
    except TimeoutError:
        return DeliveryError(f"no answer within {DELIVER_S:g} s", retryable=True)
    except Exception as error:  # sinks are code of others; a bug in one does not pass by itself
        return DeliveryError(f"{type(error).__name__}: {error}", retryable=False)
