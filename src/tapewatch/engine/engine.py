"""The engine: one pure function, `step(input) -> outputs`.

Theory of operation. Everything that may influence an output arrives as an `Input`, in tape order.
A frame is decoded by its source's venue into events; timers and link changes let the venue report
passed deadlines; each event goes to the detectors that want it, to the state of its key; what they
observe goes through the gate. The engine has no clock, no I/O, no logging and no randomness: the
same inputs give the same outputs, live, replayed, in any batches, on shards, or restored from a
snapshot.

Time is that of the inputs and never goes back. When the wall clock is set back, `offset` is added
to what follows, for venues and detectors too, so that deadlines go on; it ends when the wall clock
has caught up.

Trades, quotes and bars also make samples (`sampling.py`), which go to the detectors that want them:
a sample before the event that shows that its stretch is over, or at the timer.

Sharding. `shard=(i, n)` keeps the instruments whose group hashes to `i`; source-wide events belong
to the shard of `venue:*`. Timers, links and commands go to every shard. The budget of all
instruments together, storms, and detectors of several groups know one shard only.

Alerts of an engine made with `simulated` say so: its data do not come from a live market.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from zlib import crc32

from msgspec import MsgspecError
from msgspec.json import Decoder
from msgspec.structs import replace

from tapewatch.detect.base import Detector
from tapewatch.engine import sampling
from tapewatch.engine.detecting import Keyed
from tapewatch.gate.alerts import Candidate
from tapewatch.gate.gate import (
    Gate,
    GateState,
    judge,
    on_forget,
    on_kill,
    on_link,
    on_status,
    on_timer,
)
from tapewatch.model import limits
from tapewatch.model.errors import DecodeError
from tapewatch.model.events import Bar, Book, Event, Quote, Sample, Status, Trade
from tapewatch.model.inputs import Baseline, Command, Frame, Input, Link, Timer
from tapewatch.model.instrument import group_of
from tapewatch.model.outputs import Fault, Observation, Output
from tapewatch.model.reasons import Reason
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S, TS_MAX_NS, TS_MIN_NS
from tapewatch.venues.base import Venue

SET_BACK_NS: Final = NS_PER_S  # a smaller step back is the disorder of inputs on their way here
# Detectors that want an event, each with the key of its state and what is needed to call it.
Route = tuple[
    tuple[Keyed, str, dict[str, Any], dict[str, int], Callable[..., Any], dict[str, int] | None],
    ...,
]
_SWITCH: Final = "killswitch"  # the source of what is said about it
_baseline: Final = Decoder(Baseline).decode
_MARKET: Final = (Trade, Quote, Book, Bar)
_COUNTED: Final = (*_MARKET, Status)


class Engine:
    """Composition of venues, detectors and gate. `events` holds what the last step decoded,
    `heard` when each source was last heard (ns)."""

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
        self.detectors = {d.name: Keyed(d, self._forgotten) for d in detectors}
        self.gate = gate or Gate()
        self.gate_state = GateState()
        self.now = 0
        self.offset = 0
        self.heard: dict[str, int] = {}
        self.seq = 0
        self.events: Sequence[Event] = ()
        self._tally: dict[type[Event], int] = dict.fromkeys(_COUNTED, 0)
        self._shard, self._sharded = shard, shard[1] > 1
        self._simulated = simulated
        self.sampler = sampling.Sampler()
        self._wants: dict[type[Event], tuple[Keyed, ...]] = {}
        self._frames = bool(self._wanting(Frame))
        self._folds = sampling.FOLDS if self._wanting(Sample) else {}
        self._routes: dict[type[Event], dict[str, Route]] = {}

    def step(self, item: Input, seq: int | None = None) -> list[Output]:
        """Outputs of one input. `seq` is its tape position, 0 if it was not recorded; by default
        inputs are counted."""
        self.seq = self.seq + 1 if seq is None else seq
        outputs: list[Output] = []
        if self.now - item.ts_recv > SET_BACK_NS:
            item = self._after_step_back(item, outputs)
        else:
            self.offset = 0
        self.now = max(self.now, item.ts_recv)
        kind = type(item)
        if kind is Frame:
            self.events = self._decode(item, outputs)  # type: ignore[arg-type]
        elif kind is Timer:
            self.events = self._deadlines(item)  # type: ignore[arg-type]
            outputs.extend(on_timer(self.gate, self.gate_state, self.now))
        elif kind is Link:
            self.events = self._connection(item, outputs)  # type: ignore[arg-type]
        else:
            self.events = self._command(item, outputs)  # type: ignore[arg-type]
        for event in self.events:
            self._observe(event, outputs)
        return outputs

    def _decode(self, frame: Frame, outputs: list[Output]) -> Sequence[Event]:
        source = frame.source
        self.heard[source] = frame.ts_recv
        if self._frames and (not self._sharded or self._owns_key(f"{source}:*")):
            self._route(frame, source, outputs)
        venue = self.venues.get(source)
        if venue is None:
            return [self._status(source, "unknown", f"no source named {source}")]
        try:
            events = venue.decode(self.venue_states[source], frame)
            return events if type(events) is tuple else list(events)
        except Exception as error:
            return [self._failed(source, error)]

    def _deadlines(self, timer: Timer) -> list[Event]:
        events: list[Event] = []
        for name, venue in self.venues.items():
            events.extend(self._ask(name, venue.on_timer, self.now))
        events.append(timer)
        return events

    def _connection(self, link: Link, outputs: list[Output]) -> list[Event]:
        on_link(self.gate_state, link)
        if self._owns_key(f"{link.source}:*"):
            kind = f"link_{link.state}"
            since = self.heard.get(link.source, 0) if link.state == "down" else 0
            outputs.append(
                Fault(
                    kind,
                    link.source,
                    "",
                    link.ts_recv,
                    link.reason,
                    since_ns=since,
                    stream=link.stream,
                )
            )
        venue = self.venues.get(link.source)
        events = [] if venue is None else self._ask(link.source, venue.on_link, link)
        # Of a source with several connections the venue says itself what is stale.
        return [*events, link] if link.stream == "ws" else events

    def _ask(
        self, source: str, method: Callable[[Any, Any], Iterable[Event]], about: Any
    ) -> list[Event]:
        """What a venue makes of a link or the time."""
        try:
            return list(method(self.venue_states[source], about))
        except Exception as error:
            return [self._failed(source, error)]

    def _failed(self, source: str, error: Exception) -> Status:
        """A frame that cannot be read, or a plug-in's bug: that must not end the session, and with
        it every attempt to resume it. The frame is on the tape, so it can be reproduced."""
        if isinstance(error, AssertionError):
            raise error
        detail = str(error)
        if not isinstance(error, DecodeError):
            detail = clean(f"{source} failed: {type(error).__name__}: {error}")
        return self._status(source, "malformed", detail)

    def _after_step_back(self, item: Input, outputs: list[Output]) -> Input:
        """`item` in engine time. A step back is told once, as a fault of every source."""
        behind = self.now - item.ts_recv
        step = behind - self.offset
        if step > SET_BACK_NS:
            self.offset = behind
            step_s = step / NS_PER_S
            for source in self.venues:
                status = self._status(source, "clock", "our clock was set back", step_s)
                self._observe(status, outputs)
        return replace(item, ts_recv=item.ts_recv + self.offset)

    def _forgotten(self, detector: str, key: str) -> None:
        on_forget(self.gate_state, detector, key)

    def _command(self, command: Command, outputs: list[Output]) -> list[Event]:
        match command.op:
            case "kill":
                word, _, why = command.argument.partition(": ")
                outputs.extend(self._switched(command.actor, word, why))
                outputs.extend(on_kill(self.gate_state, word, self.now))
            case "baseline":
                outputs.extend(self._adopt(command))
            case "reset_baseline":
                sampling.forget(self.sampler, command.argument)
                for keyed in self.detectors.values():
                    keyed.forget(command.argument)
            case "unrecorded":
                detail = f"{command.argument} inputs were received but not recorded"
                if command.argument == "begin":
                    detail = "frames are not recorded from here on"
                return [self._status(command.actor, "unrecorded", detail)]
        return []

    def _switched(self, actor: str, word: str, why: str) -> Iterable[Fault]:
        """The kill switch is on, off or unreadable: told in any case, once, with who and why."""
        if word != self.gate_state.kill and self._owns_key(f"{_SWITCH}:*"):
            kind = f"killswitch_{word if word in ('on', 'off') else 'unreadable'}"
            said = f"{actor}: {why}" if why else actor
            if word != "off":
                said = f"{said} ({Reason.KILL_SWITCH_ACTIVE})"
            yield Fault(kind, _SWITCH, "", self.now, said)

    def _adopt(self, command: Command) -> Iterable[Fault]:
        """Begin with a baseline from elsewhere, or say why not."""
        instrument = ""
        try:
            found = _baseline(command.argument)
            instrument = found.instrument
            if self._sharded and not self._owns_key(instrument):
                return
            self._keyed(found.detector).adopt(instrument, found.packed, self.now, self.seq)
        except (MsgspecError, RecursionError, DecodeError) as error:
            detail = clean(str(error))
            yield Fault("baseline_refused", command.actor, clean(instrument), self.now, detail)

    def _keyed(self, name: str) -> Keyed:
        if name not in self.detectors:
            raise DecodeError("its detector does not run")
        return self.detectors[name]

    def _observe(self, event: Event, outputs: list[Output]) -> None:
        kind = type(event)
        fold = self._folds.get(kind)
        if fold is None and kind not in _MARKET:
            self._observe_other(event, outputs)
            return
        about: str = event.instrument  # type: ignore[union-attr]
        if self._sharded and not self._owns_key(about):
            return
        self._tally[kind] += 1
        if fold is not None:
            sample = fold(self.sampler, event)
            if sample is not None:
                self._route(sample, about, outputs)
        self._route(event, about, outputs)

    def _observe_other(self, event: Event, outputs: list[Output]) -> None:
        """What is not of the market: the time, a connection, the state of a feed."""
        if isinstance(event, Status):
            self._inform(event, outputs)
            about = event.instrument or f"{event.source}:*"
            if not self._sharded or self._owns_key(about):
                self._tally[Status] += 1
                outputs.append(self._status_fault(event))
                self._route(event, about, outputs)
            return
        if isinstance(event, Timer):
            for sample in sampling.on_timer(self.sampler, self.now):
                self._route(sample, sample.instrument, outputs)
        for keyed in self._wanting(type(event)):
            self._measure_all(keyed, event, outputs)

    def _route(self, event: Event, about: str, outputs: list[Output]) -> None:
        """Pass an event to the states of the detectors that want it. Which those are depends on its
        type and on what it is about, and is looked up once."""
        routes = self._routes.get(type(event))
        if routes is None:
            routes = self._routes[type(event)] = {}
        route = routes.get(about)
        if route is None:
            route = self._find_route(routes, event, about)
        seq = self.seq
        # `Keyed.measure` for states that exist, without its call and look-ups: the hot loop.
        for keyed, key, states, last_used, update, queued in route:
            state = states.get(key)
            if state is None:
                seen = keyed.measure(key, event, seq, outputs)
            else:
                last_used[key] = seq
                try:
                    seen = update(state, event)
                except Exception as error:
                    outputs.append(keyed.quarantine(key, event, error))
                    continue
                if queued is not None and 0 < state.due_ns < queued.get(key, TS_MAX_NS):
                    keyed.schedule(key, state)
            if seen is not None:
                self._judge(keyed, seen, outputs)

    def _find_route(self, routes: dict[str, Route], event: Event, about: str) -> Route:
        if len(routes) >= limits.KEYS_PER_DETECTOR:
            routes.clear()
        keys = [(keyed, keyed.detector.key(event)) for keyed in self._wanting(type(event))]
        route = routes[about] = tuple(
            [
                (keyed, key, keyed.states, keyed.last_used, keyed.update, keyed.queued)
                for keyed, key in keys
                if key is not None
            ]
        )
        return route

    def _wanting(self, kind: type[Event]) -> tuple[Keyed, ...]:
        wanting = self._wants.get(kind)
        if wanting is None:
            wanting = tuple(k for k in self.detectors.values() if kind in k.detector.wants)
            self._wants[kind] = wanting
        return wanting

    def _inform(self, status: Status, outputs: list[Output]) -> None:
        """What every shard must know: whether a source is to be trusted, whether it trades."""
        on_status(self.gate_state, status, self.now)
        if not status.instrument:
            for keyed in self._wanting(Status):
                if keyed.detector.key(status) is None:
                    self._measure_all(keyed, status, outputs)

    def _measure_all(self, keyed: Keyed, event: Event, outputs: list[Output]) -> None:
        timer = type(event) is Timer
        for key in keyed.asked(self.now) if timer else tuple(keyed.states):
            seen = keyed.measure(key, event, self.seq, outputs)
            if seen is not None:
                self._judge(keyed, seen, outputs)

    def _judge(self, keyed: Keyed, seen: Observation, outputs: list[Output]) -> None:
        outputs.append(seen)
        item = Candidate(seen, keyed.detector.version, self.seq, self.now, self._simulated)
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
            status.stream,
        )

    def _status(self, source: str, kind: Any, detail: str, value: float = 0.0) -> Status:
        ts_event = max(self.now, TS_MIN_NS)
        return Status(source, "", ts_event, self.now, kind, detail, value=value)

    def _owns_key(self, key: str) -> bool:
        index, count = self._shard
        return crc32(group_of(key).encode()) % count == index

    @property
    def counts(self) -> dict[str, int]:
        """Market events and statuses observed so far, by type name."""
        return {kind.__name__: count for kind, count in self._tally.items() if count}

    @counts.setter
    def counts(self, counts: dict[str, int]) -> None:
        self._tally = {kind: counts.get(kind.__name__, 0) for kind in _COUNTED}
