"""What feeds a live session: sockets, HTTP answers, the timer, the kill switch.

It carries out what a `Fault` asks and decides nothing itself; answers come back through the inbox,
hence through the tape, so that a replay sees them too.
"""

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from tapewatch.io.backoff import Allowance
from tapewatch.io.clock import Clock
from tapewatch.io.control_switches import KillSwitches
from tapewatch.io.inbox import Inbox, tick
from tapewatch.io.poller import Counters, Poller
from tapewatch.io.websocket import Socket
from tapewatch.model import limits
from tapewatch.model.errors import SourceError
from tapewatch.model.outputs import Fault
from tapewatch.venues.base import Venue


class Source:
    """One venue's sockets, by stream, and its HTTP. `state` gives its decoder's memory."""

    def __init__(
        self,
        venue: Venue[Any],
        inbox: Inbox,
        clock: Clock,
        *,
        state: Callable[[], Any],
        counters: Counters,
        rng: random.Random,
    ) -> None:
        self.venue = venue
        self.sockets: dict[str, Socket] = {}
        self.poller = Poller(venue, inbox, clock, state=state, counters=counters)
        self._inbox, self._clock, self._state, self._rng = inbox, clock, state, rng
        self._allowance: Allowance | None = None
        self._closing = asyncio.Event()
        self._open()

    async def run(self) -> None:
        """Keep open what the venue wants open, until `close`; more as it learns of more."""
        async with asyncio.TaskGroup() as group:
            polling = group.create_task(self.poller.run(), name=f"{self.venue.name}.poller")
            async with asyncio.TaskGroup() as listening:
                started: set[str] = set()
                while not self._closing.is_set():
                    for stream, socket in self.sockets.items():
                        if stream not in started:
                            started.add(stream)
                            name = f"{self.venue.name}.{stream}"
                            listening.create_task(socket.run(), name=name)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(limits.TIMER_S):
                            await self._closing.wait()
                    self._open()
            polling.cancel()

    async def close(self) -> None:
        """End `run`; frames that are on their way are still taken in."""
        self._closing.set()
        await asyncio.gather(*(socket.close() for socket in self.sockets.values()))

    async def tried(self) -> SourceError | None:
        """Wait for the outcome of the first attempts: None once connected, else the trouble."""
        troubles = [await socket.tried() for socket in tuple(self.sockets.values())]
        if not troubles:
            return await self.poller.tried()
        return next((trouble for trouble in troubles if trouble is not None), None)

    def serve(self, fault: Fault) -> None:
        """Carry out what a fault asks for."""
        socket = self.sockets.get(fault.stream)
        if fault.ask == "resubscribe" and socket is not None:
            socket.send(self.venue.resubscribe(self._state(), fault))
        elif fault.ask == "reconnect" and socket is not None:
            socket.reconnect(fault.detail)
        elif fault.ask in ("backfill", "probe"):
            self.poller.want(self.venue.fetch(self._state(), fault))

    def _open(self) -> None:
        for stream in self.venue.streams(self._state()):
            if stream not in self.sockets:
                self.sockets[stream] = self._socket(stream)

    def _socket(self, stream: str) -> Socket:
        if self._allowance is None:
            endpoint = self.venue.endpoint()
            self._allowance = Allowance(endpoint.attempts, endpoint.attempts_window_s)
        return Socket(
            self.venue,
            self._inbox,
            self._clock,
            allowance=self._allowance,
            rng=self._rng,
            state=self._state,
            stream=stream,
        )


class Sources:
    """All inputs of one session. `state` gives the memory of a venue's decoder, by name."""

    def __init__(
        self,
        venues: Iterable[Venue[Any]],
        inbox: Inbox,
        clock: Clock,
        kill_switch: KillSwitches | None = None,
        *,
        state: Callable[[str], Any],
        seed: int = 0,
    ) -> None:
        self.counters = Counters()
        self.inbox = inbox
        self._clock = clock
        self._kill_switch = kill_switch
        rng = random.Random(seed)  # noqa: S311  jitter is no secret
        self._sources = {
            venue.name: Source(
                venue,
                inbox,
                clock,
                state=partial(state, venue.name),
                counters=self.counters,
                rng=rng,
            )
            for venue in venues
        }

    async def run(self) -> None:
        """Feed the inbox until `close`. Raises `Refused` when a venue can never work."""
        if self._kill_switch is not None:  # nothing leaves before it has been looked at
            await self._kill_switch.poll()
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(tick(self.inbox, self._clock), name="timer")]
            if self._kill_switch is not None:
                helpers.append(group.create_task(self._kill_switch.run(), name="killswitch"))
            async with asyncio.TaskGroup() as listening:
                for name, source in self._sources.items():
                    listening.create_task(source.run(), name=f"source.{name}")
            for helper in helpers:
                helper.cancel()

    async def close(self) -> None:
        """End `run`; frames that are on their way are still taken in."""
        await asyncio.gather(*(source.close() for source in self._sources.values()))

    async def tried(self, name: str) -> SourceError | None:
        """Wait for the outcome of a venue's first attempts: None once connected, else the
        trouble."""
        return await self._sources[name].tried()

    def sockets(self) -> list[Socket]:
        """Those of all venues, in order."""
        return [s for source in self._sources.values() for s in source.sockets.values()]

    def serve(self, fault: Fault) -> None:
        """Carry out what a fault asks for."""
        source = self._sources.get(fault.source)
        if source is not None:
            source.serve(fault)
