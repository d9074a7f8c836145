"""The gate from the bus: reports and alerts are read as they come, and judged here, by one advisor.

    from tapewatch.gate import NatsGate

    with NatsGate("nats://127.0.0.1:4222") as gate:  # in a coroutine: async with
        if gate.check("will-it-rain-tomorrow").action == "block": ...

`check` looks at memory only and never waits. When nothing comes any more it answers with the safe
side after `stale_s`, whatever the reason; `trouble` says it. What is published on trial
(`<topic>.shadow`) binds nobody: the answer is `allow`, with what it would have been beside it.

Theory of operation. `listen` of the subclass reads one connection until it fails, and is called
again after a pause. It passes each message with the time it came in; those from before it was
connected (a bus that keeps messages is asked for the last `stale_s`) with the time they came in at
the bus. So a strategy that was just started knows what everybody else knows.
"""

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Mapping
from typing import Final, Self

from msgspec import Struct

from tapewatch.gate.advice import Advice, AdviceSettings
from tapewatch.gate.advisor import Advisor
from tapewatch.io.backoff import Backoff
from tapewatch.io.clock import Clock, SystemClock
from tapewatch.model.errors import DecodeError, Retryable
from tapewatch.model.outputs import Alert, Report
from tapewatch.sdk.background import Background
from tapewatch.sdk.envelope import read
from tapewatch.sdk.shadow_log import ShadowLog

REPORTS: Final = "polytraders.reports.observation"  # bot 4.15's topic
ALERTS: Final = "tapewatch.alerts"
SHADOW: Final = ".shadow"  # ends the names of topics that bind nobody
CONNECT_S: Final = 2.0  # a strategy waits so long for the bus when it starts, and no longer
CANCEL_S: Final = 0.5  # a cancellation that had no effect by then is repeated
PAUSE_MAX_S: Final = 5.0  # between two attempts; the backoff of venues is far too patient

Told = Callable[[Report | Alert], None]


class Topics(Struct, frozen=True):
    """Names of the topics that are read; each with its shadow."""

    reports: str = REPORTS
    alerts: str = ALERTS

    @property
    def every(self) -> tuple[str, ...]:
        """All four."""
        live = (self.reports, self.alerts)
        return (*live, *(f"{topic}{SHADOW}" for topic in live))


class Counters(Struct):
    """What came over the bus: messages, of which `malformed` could not be read; connections that
    were lost."""

    messages: int = 0
    malformed: int = 0
    lost: int = 0


class BusGate:
    """What `RedisGate` and `NatsGate` share. `on_told` is called with each report or alert after it
    was folded, on the loop that listens; what it raises ends the gate, and `check` raises it."""

    def __init__(
        self,
        topics: Topics | None = None,
        *,
        settings: AdviceSettings | None = None,
        on_told: Told | None = None,
        shadow_log: ShadowLog | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.topics = topics or Topics()
        self.advisor = Advisor(settings, mode="general_live")
        self.counters = Counters()
        self.trouble = ""
        self._told, self._log = on_told, shadow_log
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._background: Background | None = None
        self._task: asyncio.Task[None] | None = None
        self._broken: Exception | None = None

    async def listen(self, ready: asyncio.Event) -> None:
        """Read one connection until it fails: `take` each message, and set `ready` when what the
        bus had kept is read. Raises `Retryable`."""
        raise NotImplementedError

    def check(self, market: str) -> Advice:
        """May I enter `market`? Raises what ended the gate, if anything did."""
        self._raise()
        with self._lock:
            advice = self.advisor.check(market, self._clock.now_ns())
            if self._log is not None:
                self._log.write(advice)
        return advice

    async def ask(self, market: str) -> Advice:
        """The same as `check`, so that gates can be exchanged for one another."""
        return self.check(market)

    def take(
        self, topic: str, data: bytes, headers: Mapping[str, str] | None = None, at_ns: int = 0
    ) -> None:
        """One message; `at_ns` is when it came in, 0 for now."""
        self.counters.messages += 1
        try:
            told = read(data, headers)
        except DecodeError as error:
            self.counters.malformed += 1
            self.trouble = str(error)
            return
        if told is None:
            return
        now_ns = self._clock.now_ns()
        with self._lock:
            at = min(at_ns or now_ns, now_ns)
            self.advisor.fold([told], at, shadow=topic.endswith(SHADOW))
        if self._told is not None:
            try:
                self._told(told)
            except Exception as error:
                self._broken = error  # clients of buses log what a callback raises, and go on
                raise

    async def __aenter__(self) -> Self:
        assert self._task is None, "a gate has one life"
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._run(ready), name="tapewatch.gate")
        with contextlib.suppress(TimeoutError):  # the safe side is the answer until it comes
            async with asyncio.timeout(CONNECT_S):
                await ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        while not self._task.done():  # clients have been seen to swallow a cancellation
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CANCEL_S)
        if self._log is not None:
            self._log.close()
        self._raise()

    def __enter__(self) -> Self:
        self._background = Background("tapewatch.gate")
        self._background.call(self.__aenter__(), 2 * CONNECT_S)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._background is not None
        try:
            self._background.call(self.__aexit__(), 2 * CONNECT_S)
        finally:
            self._background.close()

    def _raise(self) -> None:
        """Raise what ended the gate, if anything did."""
        if self._broken is not None:
            raise self._broken
        task = self._task
        if task is not None and task.done() and not task.cancelled():
            task.result()

    async def _run(self, ready: asyncio.Event) -> None:
        backoff = Backoff(random.Random(0))  # noqa: S311  jitter
        loop = asyncio.get_running_loop()
        while self._broken is None:  # or until it is cancelled
            began = loop.time()
            try:
                await self.listen(ready)
            except Retryable as error:
                self.trouble = str(error)
                ready.set()  # there is nothing to wait for
            self.counters.lost += 1
            backoff.worked(loop.time() - began)
            await asyncio.sleep(min(backoff.next_s(), PAUSE_MAX_S))
