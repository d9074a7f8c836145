"""The engine: one pure function, `step(input) -> outputs`.

Theory of operation. Everything that may influence an output arrives as an `Input`, in tape order.
A frame is decoded by its source's venue into events; timers and link changes let the venue report
passed deadlines; each event goes to the detectors that want it, to the state of its key; what they
observe goes through the gate. The engine has no clock (time is `max(previous, input.ts_recv)`, so
a wall clock that steps back cannot move it), no I/O, no logging and no randomness: the same inputs
give the same outputs, live, replayed, in any batches, on shards, or restored from a snapshot.

Sharding. `shard=(i, n)` keeps the instruments whose id hashes to `i`; source-wide events belong to
the shard of `venue:*`. Timers, links and commands go to every shard.

Alerts of an engine made with `simulated` say so: its data do not come from a live market.
"""

from collections.abc import Iterable
from typing import Any, Final
from zlib import crc32

from tapewatch.detect.base import Detector
from tapewatch.engine.detecting import Keyed
from tapewatch.gate.gate import (
    Candidate,
    Gate,
    GateState,
    judge,
    on_kill,
    on_link,
    on_status,
    on_timer,
)
from tapewatch.model.errors import DecodeError
from tapewatch.model.events import Bar, Book, Event, MarketEvent, Quote, Status, Trade
from tapewatch.model.inputs import Command, Frame, Input, Link, Timer
from tapewatch.model.outputs import Fault, Output
from tapewatch.model.time import TS_MIN_NS
from tapewatch.venues.base import Venue

_COUNTED: Final = (Trade, Quote, Book, Bar, Status)


class Engine:
    """Composition of venues, detectors and gate. `events` holds what the last step decoded."""

    def __init__(
        self,
        venues: Iterable[Venue[Any]],
        detectors: Iterable[Detector[Any]],
        gate: Gate | None = None,
        shard: tuple[int, int] = (0, 1),
        *,
        simulated: bool = False,
    ) -> None:
        self.venues = {venue.name: venue for venue in venues}
        self.venue_states = {name: venue.start() for name, venue in self.venues.items()}
        self.detectors = {detector.name: Keyed(detector) for detector in detectors}
        self.gate = gate or Gate()
        self.gate_state = GateState()
        self.now = 0
        self.seq = 0
        self.events: list[Event] = []
        self._tally: dict[type[Event], int] = {}
        self._shard, self._sharded = shard, shard[1] > 1
        self._simulated = simulated
        self._wanting: dict[type[Event], tuple[Keyed, ...]] = {}

    def step(self, item: Input, seq: int = 0) -> list[Output]:
        """Outputs of one input. `seq` is its tape position; by default inputs are counted."""
        self.seq = seq or self.seq + 1
        self.now = max(self.now, item.ts_recv)
        outputs: list[Output] = []
        if isinstance(item, Frame):
            self.events = self._decode(item)
        elif isinstance(item, Timer):
            self.events = self._deadlines(item)
            outputs.extend(on_timer(self.gate, self.gate_state, self.now))
        elif isinstance(item, Link):
            self.events = self._connection(item, outputs)
        else:
            self.events = self._command(item, outputs)
        for event in self.events:
            self._observe(event, outputs)
        return outputs

    def _decode(self, frame: Frame) -> list[Event]:
        venue = self.venues.get(frame.source)
        if venue is None:
            return [self._status(frame.source, "unknown", f"no source named {frame.source}")]
        try:
            return list(venue.decode(self.venue_states[frame.source], frame))
        except DecodeError as error:
            return [self._status(frame.source, "malformed", str(error))]

    def _deadlines(self, timer: Timer) -> list[Event]:
        events: list[Event] = []
        for name, venue in self.venues.items():
            events.extend(venue.on_timer(self.venue_states[name], self.now))
        events.append(timer)
        return events

    def _connection(self, link: Link, outputs: list[Output]) -> list[Event]:
        on_link(self.gate_state, link)
        if self._owns_key(f"{link.source}:*"):
            kind = f"link_{link.state}"
            outputs.append(Fault(kind, link.source, "", link.ts_recv, link.reason))
        venue = self.venues.get(link.source)
        events = [] if venue is None else list(venue.on_link(self.venue_states[link.source], link))
        return [*events, link]

    def _command(self, command: Command, outputs: list[Output]) -> list[Event]:
        match command.op:
            case "kill":
                outputs.extend(on_kill(self.gate_state, command.argument, self.now))
            case "reset_baseline":
                for keyed in self.detectors.values():
                    keyed.forget(command.argument)
            case "unrecorded":
                detail = f"{command.argument} inputs were received but not recorded"
                return [self._status(command.actor, "unrecorded", detail)]
        return []

    def _observe(self, event: Event, outputs: list[Output]) -> None:
        kind = type(event)
        wanting = self._wanting.get(kind)
        if wanting is None:
            wanting = tuple(k for k in self.detectors.values() if kind in k.detector.wants)
            self._wanting[kind] = wanting
        if kind is Timer or kind is Link:
            for keyed in wanting:
                self._measure_all(keyed, event, outputs)
            return
        if isinstance(event, Status):
            self._inform(event, wanting, outputs)
        if self._sharded and not self._owns(event):  # type: ignore[arg-type]
            return
        self._tally[kind] = self._tally.get(kind, 0) + 1
        if isinstance(event, Status):
            outputs.append(self._status_fault(event))
        for keyed in wanting:
            mine = keyed.detector.key(event)
            if mine is not None:
                self._measure(keyed, mine, event, outputs)

    def _inform(self, status: Status, wanting: tuple[Keyed, ...], outputs: list[Output]) -> None:
        """What every shard must know: whether a source is to be trusted, whether it trades."""
        on_status(self.gate_state, status, self.now)
        if not status.instrument:
            for keyed in wanting:
                if keyed.detector.key(status) is None:
                    self._measure_all(keyed, status, outputs)

    def _measure_all(self, keyed: Keyed, event: Event, outputs: list[Output]) -> None:
        for key in tuple(keyed.states):
            self._measure(keyed, key, event, outputs)

    def _measure(self, keyed: Keyed, key: str, event: Event, outputs: list[Output]) -> None:
        seen = keyed.measure(key, event, self.seq, outputs)
        if seen is not None:
            outputs.append(seen)
            version = keyed.detector.version
            item = Candidate(seen, version, self.seq, self.now, self._simulated)
            outputs.extend(judge(self.gate, self.gate_state, item))

    def _status_fault(self, status: Status) -> Fault:
        return Fault(
            status.kind,
            status.source,
            status.instrument,
            self.now,
            status.detail,
            status.channel,
            status.first_id,
            status.last_id,
            status.since_ns,
            status.value,
            status.ask,
        )

    def _status(self, source: str, kind: Any, detail: str) -> Status:
        return Status(source, "", max(self.now, TS_MIN_NS), self.now, kind, detail)

    def _owns(self, event: MarketEvent | Status) -> bool:
        whole = isinstance(event, Status) and not event.instrument
        return self._owns_key(f"{event.source}:*" if whole else event.instrument)  # type: ignore[union-attr]

    def _owns_key(self, key: str) -> bool:
        index, count = self._shard
        return crc32(key.encode()) % count == index

    @property
    def counts(self) -> dict[str, int]:
        """Market events and statuses observed so far, by type name."""
        return {kind.__name__: count for kind, count in self._tally.items()}

    @counts.setter
    def counts(self, counts: dict[str, int]) -> None:
        self._tally = {kind: counts[kind.__name__] for kind in _COUNTED if kind.__name__ in counts}
