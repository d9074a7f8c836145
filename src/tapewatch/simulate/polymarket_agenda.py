"""What happens when in a simulated venue: one schedule for market, faults and deliveries.

One schedule for all keeps a run reproducible: at equal times, what was entered first comes first.
"""

import asyncio
import heapq
import math
from collections.abc import Callable
from typing import Final

FAIR_STEPS: Final = 20  # acts without giving way to the sockets, when late
IDLE_S: Final = 1.0  # how long to sleep when nothing is entered

Act = Callable[[float], None]  # called with the second at which it was due


class Agenda:
    """Seconds count from `start`."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Act]] = []
        self._count = 0
        self._start_s = 0.0
        self._woken = asyncio.Event()

    def start(self, loop_s: float) -> None:
        """`loop_s` of the event loop is second 0."""
        self._start_s = loop_s

    def now(self) -> float:
        """Seconds since the start."""
        return asyncio.get_running_loop().time() - self._start_s

    def at(self, at_s: float, act: Act) -> None:
        """Do this then. A time that has passed means next."""
        if math.isfinite(at_s):
            self._count += 1
            heapq.heappush(self._heap, (at_s, self._count, act))
            self._woken.set()

    async def run(self) -> None:
        """Until cancelled, or until an act fails."""
        steps, cancelled = 0, False
        while not cancelled:
            due = self._heap[0][0] if self._heap else self.now() + IDLE_S
            if due > self.now():
                await self._wait(due)
                continue
            at_s, _, act = heapq.heappop(self._heap)
            act(at_s)
            steps += 1
            if steps % FAIR_STEPS == 0:
                await asyncio.sleep(0)

    async def _wait(self, until_s: float) -> None:
        """Sleep, but not past something that is entered meanwhile."""
        self._woken.clear()
        try:
            async with asyncio.timeout_at(self._start_s + until_s):
                await self._woken.wait()
        except TimeoutError:
            return
