"""The wall clock: the one place that reads it.

Everywhere else time is data. Deadlines and pauses do not use this clock but the asyncio loop's
monotonic `time()`, which no operator and no time server can step.
"""

import time
from typing import Protocol

from tapewatch.model.time import NS_PER_S


class Clock(Protocol):
    """Wall time as data."""

    def now_ns(self) -> int:
        """Ns since the Unix epoch, UTC; may step back when the machine's clock is corrected."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        return time.time_ns()  # noqa: TID251  this is the one place


def local_minute(ns: int) -> str:
    """Ns -> `08:12` on the clock of the user's wall."""
    return time.strftime("%H:%M", time.localtime(ns // NS_PER_S))
