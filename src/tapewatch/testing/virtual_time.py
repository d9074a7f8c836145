"""An asyncio loop for tests whose clock jumps: an hour of waiting costs milliseconds.

Sockets are real; only time is not. When nothing is ready, the clock goes straight to the next
timer, after a short real grace in which bytes on their way over loopback may still arrive. Time
stands still while a thread job is pending (its result must not be overtaken by a timeout), and runs
at real speed while a child process lives. It is not a network simulator: order of I/O is the
kernel's.
"""

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

from tapewatch.model.time import NS_PER_S

T = TypeVar("T")

START_NS: Final = 1_735_787_045 * NS_PER_S  # 2025-01-02T03:04:05Z: any fixed, readable instant
GRACE_S: Final = 0.001  # the shortest wait that epoll can express
IDLE_GUARD_S: Final = 10.0  # real seconds without anything to wait for: a deadlock
BUSY_GUARD_S: Final = 60.0  # real seconds that a thread job may take
OWN_FDS: Final = 1  # the loop's self-pipe, which only our own threads write to


class Deadlock(RuntimeError):
    """Nothing is scheduled, nothing is ready, and nothing came: the test would wait for ever."""


def run(coro: Coroutine[Any, Any, T], *, start_ns: int = START_NS) -> T:
    """Run `coro` to its end in virtual time, beginning at `start_ns` (wall ns, UTC)."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(start_ns)) as runner:
        return runner.run(coro)


def loop_clock() -> "VirtualClock":
    """The wall clock of the running virtual loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop), "loop_clock() works inside virtual_time.run() only"
    return VirtualClock(loop)


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` begins at 0 and moves only when the loop has nothing else to do."""

    def __init__(self, start_ns: int = START_NS) -> None:
        self.start_ns = start_ns
        self._now_s = 0.0
        self._jobs = 0
        self._children: list[asyncio.SubprocessTransport] = []
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move the clock; called by the selector in place of a real wait."""
        self._now_s += seconds

    def busy(self) -> bool:
        """True while a thread works for us."""
        return self._jobs > 0

    def parenting(self) -> bool:
        """True while a child process lives."""
        self._children = [child for child in self._children if child.get_returncode() is None]
        return bool(self._children)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        job = super().run_in_executor(executor, func, *args)
        self._jobs += 1
        job.add_done_callback(self._job_done)
        return job

    def _job_done(self, _: asyncio.Future[Any]) -> None:
        self._jobs -= 1

    async def shutdown_default_executor(self, *args: Any) -> None:
        self._jobs += 1  # joining the threads has a timeout of its own since Python 3.12
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._jobs -= 1

    async def subprocess_exec(self, *args: Any, **kwargs: Any) -> Any:
        transport, protocol = await super().subprocess_exec(*args, **kwargs)
        self._children.append(transport)
        return transport, protocol

    async def subprocess_shell(self, *args: Any, **kwargs: Any) -> Any:
        transport, protocol = await super().subprocess_shell(*args, **kwargs)
        self._children.append(transport)
        return transport, protocol


class VirtualClock:
    """The `tapewatch.io.clock.Clock` of a virtual loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now_ns(self) -> int:
        return self._loop.start_ns + round(self._loop.time() * NS_PER_S)


_Ready = list[tuple[selectors.SelectorKey, int]]


class _JumpingSelector(selectors.BaseSelector):
    """A real selector that advances the loop's clock where it would have waited."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> _Ready:
        ready = self._real.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._loop.busy():
            return self._wait(BUSY_GUARD_S, "a thread job is still running")
        if timeout is None:
            return self._wait(IDLE_GUARD_S, "nothing is scheduled and nothing is ready")
        if self._loop.parenting():
            began = time.monotonic()
            ready = self._real.select(timeout)
            self._loop.advance(min(timeout, time.monotonic() - began) if ready else timeout)
            return ready
        if len(self._real.get_map()) > OWN_FDS:
            ready = self._real.select(GRACE_S)
        if not ready:
            self._loop.advance(timeout)
        return ready

    def _wait(self, guard_s: float, why: str) -> _Ready:
        ready = self._real.select(guard_s)
        if not ready and not self._loop.parenting():
            raise Deadlock(f"{why} after {guard_s:.0f} real seconds")
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.get_key(fileobj)

    def close(self) -> None:
        self._real.close()
