"""What feeds a live session: sockets, the HTTP answers the engine asks for, timer, kill switch.

It carries out what a `Fault` asks and decides nothing itself; answers come back through the inbox,
hence through the tape, so that a replay sees them too.
"""

import asyncio
import random
from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from tapewatch.io.backoff import Allowance
from tapewatch.io.clock import Clock
from tapewatch.io.control import KillSwitchFile
from tapewatch.io.http import Http
from tapewatch.io.inbox import Inbox, tick
from tapewatch.io.websocket import Socket
from tapewatch.model import limits
from tapewatch.model.errors import Retryable
from tapewatch.model.inputs import Frame
from tapewatch.model.outputs import Fault
from tapewatch.venues.base import Fetch, Venue

FETCH_WAIT_S: Final = 60.0  # an older request is dropped: the decoder has asked again since


class Counters(Struct):
    """What was asked of the venues beside listening."""

    fetched: int = 0
    fetch_failures: int = 0
    fetches_dropped: int = 0
    last_failure: str = ""


class Sources:
    """All inputs of one session. `sockets` by source name."""

    def __init__(
        self,
        venues: Iterable[Venue[Any]],
        inbox: Inbox,
        clock: Clock,
        kill_switch: KillSwitchFile | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.counters = Counters()
        self.inbox = inbox
        self._venues = {venue.name: venue for venue in venues}
        self._clock = clock
        self._kill_switch = kill_switch
        self._rng = random.Random(seed)  # noqa: S311  jitter is no secret
        self._http = Http()
        # One line for each source, so that a venue that keeps us waiting holds up no other.
        self._fetches: dict[str, asyncio.Queue[tuple[float, Fetch]]] = {
            name: asyncio.Queue(limits.FETCHES) for name in self._venues
        }
        self._wanted: set[str] = set()
        self.sockets = {name: self._socket(venue) for name, venue in self._venues.items()}

    def _socket(self, venue: Venue[Any]) -> Socket:
        endpoint = venue.endpoint()
        allowance = Allowance(endpoint.attempts, endpoint.attempts_window_s)
        return Socket(venue, self.inbox, self._clock, allowance=allowance, rng=self._rng)

    async def run(self) -> None:
        """Feed the inbox until `close`. Raises `Refused` when a venue can never work."""
        try:
            await self._feed()
        finally:
            await self._http.close()

    async def _feed(self) -> None:
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(tick(self.inbox, self._clock), name="timer"),
                *(
                    group.create_task(self._fetch(name), name=f"fetch.{name}")
                    for name in self._venues
                ),
            ]
            if self._kill_switch is not None:
                helpers.append(group.create_task(self._watch(self._kill_switch), name="killswitch"))
            async with asyncio.TaskGroup() as listening:
                for name, socket in self.sockets.items():
                    listening.create_task(socket.run(), name=f"socket.{name}")
            for helper in helpers:
                helper.cancel()

    async def close(self) -> None:
        """End `run`; frames that are on their way are still taken in."""
        await asyncio.gather(*(socket.close() for socket in self.sockets.values()))

    def serve(self, fault: Fault) -> None:
        """Carry out what a fault asks for."""
        venue, socket = self._venues.get(fault.source), self.sockets.get(fault.source)
        if venue is None or socket is None:
            return
        if fault.ask == "resubscribe":
            socket.send(venue.resubscribe(fault))
        elif fault.ask == "reconnect":
            socket.reconnect(fault.detail)
        elif fault.ask in ("backfill", "probe"):
            self._want(venue.name, venue.fetch(fault))

    def _want(self, source: str, fetch: Fetch | None) -> None:
        if fetch is None or fetch.url in self._wanted:
            return
        waiting = self._fetches[source]
        if waiting.full():
            self.counters.fetches_dropped += 1
            return
        self._wanted.add(fetch.url)
        waiting.put_nowait((asyncio.get_running_loop().time(), fetch))

    async def _fetch(self, source: str) -> None:
        loop = asyncio.get_running_loop()
        while not loop.is_closed():
            asked_s, fetch = await self._fetches[source].get()
            self._wanted.discard(fetch.url)
            if loop.time() - asked_s > FETCH_WAIT_S:
                self.counters.fetches_dropped += 1
                continue
            data = await self._get(fetch.url, source)
            if data is not None:
                self.counters.fetched += 1
                now = self._clock.now_ns()
                await self.inbox.put(Frame(now, source, data, fetch.stream))

    async def _get(self, url: str, source: str) -> bytes | None:
        """The body, or None: the decoder asks again by the timer when it still matters."""
        try:
            return await self._http.get(url, name=source)
        except Retryable as error:
            self.counters.fetch_failures += 1
            self.counters.last_failure = str(error)
            return None

    async def _watch(self, switch: KillSwitchFile) -> None:
        loop = asyncio.get_running_loop()
        while not loop.is_closed():
            command = switch.poll(self._clock.now_ns())
            if command is not None:
                await self.inbox.put(command)
            await asyncio.sleep(limits.TIMER_S)
