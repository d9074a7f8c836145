"""What is asked of a venue again and again, and what its decoder asks for once: HTTP, in budgets.

Answers go into the inbox as frames, hence onto the tape. A service that fails is told by a `Link`
of its name, once, and once more when it answers again: what that means is the venue's to say.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from tapewatch.io.clock import Clock
from tapewatch.io.http import Http
from tapewatch.io.inbox import Inbox
from tapewatch.model import limits
from tapewatch.model.errors import Retryable
from tapewatch.model.inputs import Frame, Link
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.base import Fetch, Poll, Venue

LOOK_S: Final = 0.25  # how often polls that are due are looked for
FETCH_WAIT_S: Final = 60.0  # an older request is dropped: the decoder has asked again since
GIVE_UP: Final = 2  # intervals after which the answer of a poll is no longer waited for


class Counters(Struct):
    """What was asked of the venues beside listening. `skipped`: polls whose turn came while the
    same request was still out."""

    fetched: int = 0
    fetch_failures: int = 0
    fetches_dropped: int = 0
    skipped: int = 0
    last_failure: str = ""


class Poller:
    """All HTTP of one venue while `run` runs. `state` gives the decoder's memory."""

    def __init__(
        self,
        venue: Venue[Any],
        inbox: Inbox,
        clock: Clock,
        *,
        state: Callable[[], Any],
        counters: Counters,
    ) -> None:
        self._venue, self._inbox, self._clock = venue, inbox, clock
        self._state, self._counters = state, counters
        self._http = Http()
        self._budgets = {budget.surface: budget for budget in venue.budgets()}
        self._up: dict[str, bool] = {}  # services that were told about
        self._turns: dict[str, int] = {}  # of polls, by name: the last interval that was served
        self._out: set[tuple[str, bytes]] = set()  # polls whose answer is waited for
        self._asked: asyncio.Queue[tuple[float, Fetch]] = asyncio.Queue(limits.FETCHES)
        self._wanted: set[tuple[str, bytes]] = set()
        self._first = asyncio.Event()
        self.failure: Retryable | None = None

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._serve(), name=f"{self._venue.name}.fetches")
                loop = asyncio.get_running_loop()
                while not loop.is_closed():
                    for poll in self._due():
                        for fetch in poll.requests:
                            self._launch(group, poll, fetch)
                    await asyncio.sleep(LOOK_S)
        finally:
            await self._http.close()

    async def tried(self) -> Retryable | None:
        """Wait for the outcome of the first poll: None, or the trouble."""
        await self._first.wait()
        return self.failure

    def want(self, fetch: Fetch | None) -> None:
        """Queue a request that the decoder asked for; the same one again is not."""
        if fetch is None or (fetch.url, fetch.body) in self._wanted:
            return
        if self._asked.full():
            self._counters.fetches_dropped += 1
            return
        self._wanted.add((fetch.url, fetch.body))
        self._asked.put_nowait((asyncio.get_running_loop().time(), fetch))

    def _due(self) -> list[Poll]:
        now, due = self._clock.now_ns(), []
        for poll in self._venue.polls(self._state()):
            turn = (now + int(poll.lead_s * NS_PER_S)) // int(poll.every_s * NS_PER_S)
            if turn != self._turns.get(poll.name):  # the clock may be set back
                self._turns[poll.name] = turn
                due.append(poll)
        return due

    def _launch(self, group: asyncio.TaskGroup, poll: Poll, fetch: Fetch) -> None:
        key = (fetch.url, fetch.body)
        if key in self._out:
            self._counters.skipped += 1
            return
        self._out.add(key)
        group.create_task(self._poll(poll, fetch, key), name=f"{self._venue.name}.{poll.name}")

    async def _poll(self, poll: Poll, fetch: Fetch, key: tuple[str, bytes]) -> None:
        try:
            async with asyncio.timeout(GIVE_UP * poll.every_s):
                await self._ask(fetch)
        except TimeoutError:
            await self._failed(fetch, Retryable("no answer within two intervals"))
        finally:
            self._out.discard(key)

    async def _serve(self) -> None:
        """What was asked for once, one at a time and service by service in order."""
        loop = asyncio.get_running_loop()
        while not loop.is_closed():
            asked_s, fetch = await self._asked.get()
            self._wanted.discard((fetch.url, fetch.body))
            if loop.time() - asked_s > FETCH_WAIT_S:
                self._counters.fetches_dropped += 1
                continue
            await self._ask(fetch)

    async def _ask(self, fetch: Fetch) -> None:
        """One request; its failure is told, and the decoder asks again when it still matters."""
        try:
            data = await self._http.send(fetch, self._budgets[fetch.surface], name=self._venue.name)
        except Retryable as error:
            await self._failed(fetch, error)
            return
        self._counters.fetched += 1
        await self._say(fetch.surface, up=True, reason="")
        await self._inbox.put(Frame(self._clock.now_ns(), self._venue.name, data, fetch.stream))
        self.failure = None
        self._first.set()

    async def _failed(self, fetch: Fetch, error: Retryable) -> None:
        self._counters.fetch_failures += 1
        self._counters.last_failure = str(error)
        self.failure = error
        await self._say(fetch.surface, up=False, reason=str(error))
        self._first.set()

    async def _say(self, surface: str, *, up: bool, reason: str) -> None:
        if self._budgets[surface].told and self._up.get(surface) is not up:
            self._up[surface] = up
            now, name = self._clock.now_ns(), self._venue.name
            await self._inbox.put(Link(now, name, "up" if up else "down", reason, surface))
