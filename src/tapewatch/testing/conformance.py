"""The conformance suite: is this plug-in what the engine takes it for?

`check_detector` and `check_venue` raise `AssertionError` with a sentence that says what is wrong.
They test the contract, not the quality: a detector that passes may still be useless.

    from tapewatch.testing.conformance import check_detector
    check_detector(MyDetector())
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, Final

import msgspec

from tapewatch.detect.base import Detector
from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.events import Bar, Book, Event, Quote, Sample, Status, Trade
from tapewatch.model.inputs import Frame, Link, Timer
from tapewatch.model.instrument import split_id
from tapewatch.model.outputs import SEVERITIES, Fault, Observation
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S
from tapewatch.testing.streams import extremes, first_seconds, garbage, lively, unbroken
from tapewatch.venues.base import Venue

EVENTS: Final = 36_000  # 100 minutes at six events a second
ROUND_TRIPS: Final = 2_000  # events with the state packed and unpacked after each
SIZE_CHECKS: Final = 40  # measurements of the state's size along the stream
STATE_BYTES: Final = 4 << 20  # of one state; 10,000 of them must not be more than a machine has
SECTIONS: Final = ("Units", "Reference", "False alarms")
_KEY, _OTHER = "kraken:BTC/USD", "kraken:ETH/USD"
_FOR_ALL = (Timer, Link)

Seen = list[tuple[int, Observation]]


def check_detector(detector: Detector[Any], events: Iterable[Event] | None = None) -> None:
    """Run the whole contract of `detect/base.py`.

    `events`: a stream that makes this detector speak, of at least 20,000 events if the size of its
    state is to be judged; without it a generic one of two instruments is used. A detector with a
    window longer than the stream should be given with a short one.
    """
    stream = list(lively((_KEY, _OTHER), EVENTS) if events is None else events)
    _check_shape(detector)
    _check_config(detector)
    _check_keys(detector, stream)
    before = _pack(stream)
    seen = _run(detector, stream)
    _require(detector, _pack(stream) == before, "changes the events it is given")
    _check_values(detector, seen)
    again = _run(detector, stream)
    _require(detector, _pack(seen) == _pack(again), "gives other results on a second run")
    always = _run(detector, stream, asked=True)
    _require(detector, _pack(seen) == _pack(always), "has more to say at timers before `due_ns`")
    _check_independence(detector, stream, seen)
    _check_round_trip(detector, stream, seen)
    _check_size(detector, stream)
    _check_first_seconds(detector)
    _check_extremes(detector)


def _require(plugin: Any, holds: bool, complaint: str) -> None:  # noqa: FBT001 (reads as a sentence)
    if not holds:
        raise AssertionError(f"{type(plugin).__name__} {complaint}")


def _pack(thing: Any) -> bytes:
    return msgspec.msgpack.encode(thing)


def _check_shape(detector: Detector[Any]) -> None:
    kind = type(detector)
    for attribute in ("name", "version", "wants", "state_type", "key", "start", "update"):
        _require(detector, hasattr(kind, attribute), f"has no `{attribute}`")
    _require(detector, bool(detector.name) and detector.name.isidentifier(), "has no usable name")
    version: object = detector.version
    _require(detector, isinstance(version, int) and version >= 1, "needs a version of 1 or more")
    known = msgspec.inspect.type_info(Event)
    assert isinstance(known, msgspec.inspect.UnionType)
    legal = {part.cls for part in known.types if isinstance(part, msgspec.inspect.StructType)}
    wants = detector.wants
    _require(detector, bool(wants) and set(wants) <= legal, "wants something that is no event")
    _require(
        detector, issubclass(detector.state_type, msgspec.Struct), "has a state that is no Struct"
    )
    _require(
        detector,
        isinstance(detector.start(_KEY), detector.state_type),
        "starts with a state that is no `state_type`",
    )
    text = kind.__doc__ or ""
    for section in SECTIONS:
        _require(detector, f"{section}:" in text, f'has no "{section}:" in its docstring')


def _check_config(detector: Detector[Any]) -> None:
    frozen = isinstance(detector, msgspec.Struct) and detector.__struct_config__.frozen
    _require(detector, frozen, "is not a frozen Struct")
    strict = isinstance(detector, msgspec.Struct) and (
        detector.__struct_config__.forbid_unknown_fields
    )
    _require(detector, strict, "accepts unknown fields in its configuration")


def _check_keys(detector: Detector[Any], stream: Sequence[Event]) -> None:
    """Keys are texts or None; what goes to every state belongs to none."""
    mine = 0
    for event in stream:
        if type(event) in detector.wants:
            key: object = detector.key(event)
            if isinstance(event, _FOR_ALL):
                _require(detector, key is None, f"claims a key for a {type(event).__name__}")
            else:
                _require(detector, key is None or isinstance(key, str), "has a key that is no text")
                mine += key is not None
    _require(detector, mine > 0, "takes none of the events; pass some that it takes")


def _route(
    detector: Detector[Any], states: dict[str, Any], event: Event, *, asked: bool = False
) -> Iterable[tuple[str, Any]]:
    """The states an event goes to, as in the engine; with `asked`, timers go to all."""
    if type(event) not in detector.wants:
        return ()
    if isinstance(event, _FOR_ALL):
        return [item for item in states.items() if asked or _is_due(item[1], event)]
    key = detector.key(event)
    if key is None:
        return ()
    if key not in states:
        states[key] = detector.start(key)
    return [(key, states[key])]


def _is_due(state: Any, event: Event) -> bool:
    """Whether the engine passes a timer or link to this state."""
    if isinstance(event, Timer) and hasattr(state, "due_ns"):
        return bool(0 < state.due_ns <= event.ts_recv)
    return True


def _run(
    detector: Detector[Any],
    stream: Iterable[Event],
    *,
    round_trip: bool = False,
    asked: bool = False,
) -> Seen:
    """Observations with the index of their event; optionally with the state packed in between, or
    asked at every timer."""
    states: dict[str, Any] = {}
    seen: Seen = []
    for index, event in enumerate(stream):
        for key, state in _route(detector, states, event, asked=asked):
            try:
                found = detector.update(state, event)
            except Exception as error:
                kind = type(event).__name__
                complaint = f"raises {type(error).__name__} ({error}) on event {index}, a {kind}"
                raise AssertionError(f"{type(detector).__name__} {complaint}") from error
            if found is not None:
                seen.append((index, found))
            if round_trip:
                states[key] = _unpacked(detector, state)
    return seen


def _unpacked(plugin: Detector[Any] | Venue[Any], state: Any) -> Any:
    packed = _pack(state)
    try:
        copy: Any = msgspec.msgpack.decode(packed, type=plugin.state_type)
    except msgspec.ValidationError as error:
        complaint = f"has a state that does not survive packing: {error}"
        raise AssertionError(f"{type(plugin).__name__} {complaint}") from error
    _require(plugin, _pack(copy) == packed, "has a state that changes when it is packed")
    return copy


def _check_values(detector: Detector[Any], seen: Seen) -> None:
    for index, found in seen:
        where = f" (event {index})"
        _require(detector, found.detector == detector.name, "signs with another name" + where)
        _require(detector, bool(found.instrument and found.cause), "does not say what" + where)
        _require(detector, found.severity in SEVERITIES, "has an unknown severity" + where)
        numbers = [found.score, found.line, found.baseline_age_s, found.observed, found.expected]
        numbers += [found.expected_low, found.expected_high, found.flip]
        for part in found.contributions:
            numbers += [part.score, part.observed, part.expected, part.p]
        finite = all(number is None or isfinite(number) for number in numbers)
        _require(detector, finite, "gives a number that is not finite" + where)
        legal = found.p is None or 0.0 <= found.p <= 1.0
        _require(detector, legal, "gives a p outside of 0..1" + where)
        safe = clean(found.reason, len(found.reason)) == found.reason
        _require(detector, safe, "gives a reason that is not safe to print" + where)


def _check_independence(detector: Detector[Any], stream: Sequence[Event], seen: Seen) -> None:
    """Each key alone must give what it gave among the others."""
    events: dict[str, list[int]] = defaultdict(list)
    for index, event in enumerate(stream):
        if type(event) in detector.wants and not isinstance(event, _FOR_ALL):
            key = detector.key(event)
            if key is not None:
                events[key].append(index)
    shared = {index for index, event in enumerate(stream) if isinstance(event, _FOR_ALL)}
    alone: list[tuple[int, bytes]] = []
    for own in events.values():
        indices = sorted(shared.union(own))
        found = _run(detector, [stream[index] for index in indices])
        alone += [(indices[index], _pack(one)) for index, one in found]
    together = [(index, _pack(one)) for index, one in seen]
    _require(
        detector, sorted(alone) == sorted(together), "mixes its keys: one changes another's results"
    )


def _check_round_trip(detector: Detector[Any], stream: Sequence[Event], seen: Seen) -> None:
    packed = _run(detector, stream[:ROUND_TRIPS], round_trip=True)
    plain = [(index, found) for index, found in seen if index < ROUND_TRIPS]
    _require(
        detector, _pack(packed) == _pack(plain), "gives other results when its state was packed"
    )


def _check_size(detector: Detector[Any], stream: Sequence[Event]) -> None:
    """The last quarter of the stream must not add to the state: it would go on for ever."""
    if len(stream) < SIZE_CHECKS:
        return
    states: dict[str, Any] = {}
    largest = {False: 0, True: 0}
    for index, event in enumerate(unbroken(stream)):
        for _, state in _route(detector, states, event):
            detector.update(state, event)
        if index % (len(stream) // SIZE_CHECKS) == 0:
            size = max((len(_pack(state)) for state in states.values()), default=0)
            last_quarter = index >= len(stream) * 3 // 4
            largest[last_quarter] = max(largest[last_quarter], size)
    before, after = largest[False], largest[True]
    _require(detector, after <= STATE_BYTES, f"has a state of {after:,} bytes")
    _require(
        detector,
        after <= before * 1.1 + 256,  # numbers in it may have more digits than before
        f"has a state that keeps growing: {before:,} bytes, then {after:,}",
    )


def _check_first_seconds(detector: Detector[Any]) -> None:
    for _, found in _run(detector, first_seconds(_KEY)):
        _require(
            detector,
            not (found.ready and found.score >= found.line),
            f'alarms ("{found.cause}") before it can know what is normal',
        )


def _check_extremes(detector: Detector[Any]) -> None:
    """From fresh memory, and after a normal start, so that ready paths meet them too."""
    _check_values(detector, _run(detector, extremes(_KEY)))
    normal = lively((_KEY,), 2_000)
    stream = [*normal, *extremes(_KEY, normal[-1].ts_recv + 1)]
    _check_values(detector, _run(detector, stream))


def check_venue(venue: Venue[Any], frames: Sequence[Frame]) -> None:
    """Run the contract of `venues/base.py` on `frames`: good ones, in order, as captured after a
    connection came up; with them everything must be decodable.
    """
    _check_venue_shape(venue)
    _require(venue, bool(frames), "was given no frames to be checked with")
    before = _pack(frames)
    events = _decoded(venue, frames)
    _require(venue, _pack(frames) == before, "changes the frames it is given")
    _require(venue, bool(_market(events)), "finds no market event in good frames")
    _check_events(venue, events)
    _require(venue, _decoded(venue, frames) == events, "decodes the same frames to other events")
    packed = _decoded(venue, frames, round_trip=True)
    _require(venue, packed == events, "decodes to other events when its state was packed")
    doubled = _decoded(venue, [frame for frame in frames for _ in range(2)])
    _require(
        venue,
        _market(doubled) == _market(events),
        "gives other trades or quotes when every frame is delivered twice",
    )
    _check_garbage(venue, frames)


def _check_venue_shape(venue: Venue[Any]) -> None:
    kind = type(venue)
    for attribute in (
        "name", "state_type", "instruments", "endpoint", "budgets", "streams", "subscribe",
        "resubscribe", "fetch", "polls", "start", "decode", "on_link", "on_timer",
    ):  # fmt: skip
        _require(venue, hasattr(kind, attribute), f"has no `{attribute}`")
    frozen = isinstance(venue, msgspec.Struct) and venue.__struct_config__.frozen
    _require(venue, frozen, "is not a frozen Struct")
    fresh = isinstance(venue.start(), venue.state_type)
    _require(venue, fresh, "starts with a state that is no `state_type`")


def _check_asking(venue: Venue[Any], state: Any) -> None:
    """What the edge asks of a venue between two steps: it must not change the memory, and name no
    service that has no budget."""
    before = _pack(state)
    surfaces = {budget.surface for budget in venue.budgets()}
    fault = Fault("probe", venue.name, "", 0)
    for stream in venue.streams(state):
        venue.subscribe(state, stream)
        venue.resubscribe(state, msgspec.structs.replace(fault, stream=stream))
    venue.fetch(state, fault)
    for fetch in (fetch for poll in venue.polls(state) for fetch in poll.requests):
        _require(venue, fetch.surface in surfaces, f"has no budget for {fetch.surface!r}")
        _require(venue, fetch.stream.startswith("rest:"), f"has a fetch of {fetch.stream!r}")
    _require(venue, _pack(state) == before, "changes its memory when it is only asked")


def _market(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, Trade | Quote)]


def _decoded(
    venue: Venue[Any], frames: Sequence[Frame], *, round_trip: bool = False
) -> list[Event]:
    """Events of one connection: link up, frames with timers between, link down."""
    state = venue.start()
    now = frames[0].ts_recv
    streams = venue.streams(state)
    events: list[Event] = []
    for stream in streams or ("ws",):
        events += venue.on_link(state, Link(now, venue.name, "up", stream=stream))
    for frame in frames:
        if frame.ts_recv - now >= NS_PER_S:
            now = frame.ts_recv
            events += venue.on_timer(state, now)
        try:
            events += venue.decode(state, frame)
        except Exception as error:
            complaint = f"cannot read a good frame ({error!r}): {frame.data[:200]!r}"
            raise AssertionError(f"{type(venue).__name__} {complaint}") from error
        if round_trip:
            state = _unpacked(venue, state)
    _check_asking(venue, state)
    for stream in streams or ("ws",):
        link = Link(frames[-1].ts_recv, venue.name, "down", stream=stream)
        events += venue.on_link(state, link)
    return events


def _check_events(venue: Venue[Any], events: Iterable[Event]) -> None:
    for event in events:
        if isinstance(event, Timer | Link | Frame | Sample):
            _require(venue, holds=False, complaint=f"makes a {type(event).__name__} of its own")
        elif event.instrument:
            _require(venue, _ours(venue, event.instrument), f"speaks of {event.instrument!r}")
        else:
            _require(venue, isinstance(event, Status), "gives a market event without instrument")
        shown = repr(event)[:300]
        _require(venue, all(map(isfinite, _numbers(event))), f"gives a number beyond: {shown}")
        if isinstance(event, Trade):
            _require(venue, event.price > 0.0 <= event.size, f"gives a bad trade: {shown}")


def _ours(venue: Venue[Any], instrument: str) -> bool:
    try:
        return split_id(instrument)[0] == venue.name
    except ConfigError:
        return False


def _numbers(event: Event) -> list[float]:
    match event:
        case Trade():
            return [event.price, event.size]
        case Quote():
            return [event.bid, event.bid_size, event.ask, event.ask_size]
        case Book():
            return [number for level in event.bids + event.asks for number in level]
        case Bar():
            return [event.open, event.high, event.low, event.close, event.volume]
        case Status():
            return [event.value]
        case _:
            return []


def _check_garbage(venue: Venue[Any], frames: Sequence[Frame]) -> None:
    """Damaged frames between good ones: events or a `DecodeError`, and memory that still packs."""
    state = venue.start()
    for frame in garbage(frames):
        try:
            events = list(venue.decode(state, frame))
        except DecodeError:
            continue
        except Exception as error:
            complaint = f"raises {error!r} on {frame.data[:200]!r}"
            raise AssertionError(f"{type(venue).__name__} {complaint}") from error
        _check_events(venue, events)
    _unpacked(venue, state)
