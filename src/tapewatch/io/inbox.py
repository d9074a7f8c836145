"""The one queue between the edge and the engine, and the timer that feeds it.

Order of arrival is the order of the tape. When it is full, sources wait (and so does the venue,
through TCP): nothing is dropped here, waits are counted.
"""

import asyncio
import math

from tapewatch.io.clock import Clock
from tapewatch.model import limits
from tapewatch.model.inputs import Input, Timer


class Inbox:
    """Inputs on their way to the engine; `waits` counts puts that found it full."""

    def __init__(self, capacity: int = limits.INBOX_INPUTS) -> None:
        self._queue: asyncio.Queue[Input] = asyncio.Queue(maxsize=capacity)
        self.waits = 0

    def __len__(self) -> int:
        return self._queue.qsize()

    def full(self) -> bool:
        """True when the next `put` will wait."""
        return self._queue.full()

    async def put(self, item: Input) -> None:
        """Add one input, waiting for room."""
        if self._queue.full():
            self.waits += 1
        await self._queue.put(item)

    async def drain(self, limit: int = limits.BATCH_INPUTS) -> list[Input]:
        """Between 1 and `limit` inputs in order; waits for the first, not for more."""
        batch = [await self._queue.get()]
        while len(batch) < limit and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return batch


async def tick(inbox: Inbox, clock: Clock) -> None:
    """Put one `Timer` a `TIMER_S` into the inbox until cancelled.

    Times are read, never counted: after a pause (a suspended laptop, a full inbox) the missed
    timers are left out rather than replayed.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    while not loop.is_closed():
        elapsed = loop.time() - start
        due = (math.floor(elapsed / limits.TIMER_S + 1e-9) + 1) * limits.TIMER_S
        await asyncio.sleep(due - elapsed)
        await inbox.put(Timer(ts_recv=clock.now_ns()))
