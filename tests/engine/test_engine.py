"""The engine with toy parts: routing, time, quarantine, shards, snapshots."""

from collections.abc import Iterable
from typing import ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.detect.staleness import Staleness
from tapewatch.engine.engine import Engine
from tapewatch.engine.snapshot import restore, snapshot
from tapewatch.gate.gate import Gate
from tapewatch.model import limits
from tapewatch.model.errors import DecodeError, TapeError
from tapewatch.model.events import Event, Status, Trade
from tapewatch.model.inputs import Command, Frame, Input, Link, Timer
from tapewatch.model.outputs import Alert, Fault, Observation, Output, Resolved
from tapewatch.model.time import NS_PER_S

T0 = 1_763_700_000 * NS_PER_S
BUG_NS = T0 + 7


class ToyMemory(msgspec.Struct):
    frames: int = 0
    links: int = 0


class ToyVenue(msgspec.Struct, frozen=True):
    """Frames are `SYMBOL price`; `?` is a frame that cannot be read, `gap` asks for a backfill."""

    name: ClassVar[str] = "toy"
    state_type: ClassVar[type] = ToyMemory

    def start(self) -> ToyMemory:
        return ToyMemory()

    def decode(self, state: ToyMemory, frame: Frame, /) -> Iterable[Event]:
        state.frames += 1
        if frame.data == b"?":
            raise DecodeError("what?")
        if frame.data == b"bug":
            raise KeyError("who?\n")
        symbol, _, price = frame.data.decode().partition(" ")
        if symbol == "*":
            yield Status("toy", "", frame.ts_recv, frame.ts_recv, "halted")
            return
        if price == "gap":
            yield Status(
                "toy", f"toy:{symbol}", frame.ts_recv, frame.ts_recv, "gap", ask="backfill"
            )
            return
        yield Trade(f"toy:{symbol}", frame.ts_recv, frame.ts_recv, float(price), 1.0, "buy")

    def on_link(self, state: ToyMemory, link: Link, /) -> Iterable[Event]:
        state.links += 1
        if link.reason == "bug":
            raise ZeroDivisionError
        return ()

    def on_timer(self, state: ToyMemory, now: int, /) -> Iterable[Event]:
        if now == BUG_NS:
            raise RecursionError
        return ()


class Last(msgspec.Struct):
    price: float = 0.0
    timers: int = 0
    halts: int = 0
    links: int = 0


class Jump(msgspec.Struct, frozen=True):
    """Score = absolute change of price."""

    name: ClassVar[str] = "jump"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Trade, Timer, Status, Link)
    state_type: ClassVar[type] = Last

    def key(self, event: Event, /) -> str | None:
        return event.instrument if isinstance(event, Trade) else None

    def start(self, key: str, /) -> Last:
        return Last()

    def update(self, state: Last, event: Event, /) -> Observation | None:
        if isinstance(event, Timer):
            state.timers += 1
            return None
        if isinstance(event, Status):
            state.halts += event.kind == "halted"
            return None
        if isinstance(event, Link):
            state.links += 1
            return None
        assert isinstance(event, Trade)
        if event.price == 13.0:
            raise ValueError("unlucky")
        score = abs(event.price - state.price) if state.price else 0.0
        state.price = event.price
        return Observation(self.name, event.instrument, "jump", event.ts_event, score, 5.0)


def engine(shard: tuple[int, int] = (0, 1)) -> Engine:
    return Engine([ToyVenue()], [Jump()], Gate(cooldown_s=0, quiet_s=5), shard)


def frame(text: str, at: float = 0.0, source: str = "toy") -> Frame:
    return Frame(T0 + int(at * NS_PER_S), source, text.encode())


def run(target: Engine, inputs: Iterable[Input]) -> list[Output]:
    return [out for item in inputs for out in target.step(item)]


def test_a_frame_becomes_an_event_an_observation_and_an_alert() -> None:
    target = engine()
    target.step(frame("A 1"))
    observation, alert = target.step(frame("A 9", 1.0), seq=42)
    assert isinstance(observation, Observation)
    assert isinstance(alert, Alert)
    assert alert.evidence["seq"] == 42
    assert [type(event) for event in target.events] == [Trade]
    assert target.counts == {"Trade": 2}


def test_a_frame_that_cannot_be_read_is_a_fault_and_counted() -> None:
    (fault,) = engine().step(frame("?"))
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.detail) == ("malformed", "what?")


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (Frame(T0, "toy", b"bug"), r"toy failed: KeyError: 'who?\n'"),
        (Link(T0, "toy", "up", "bug"), "toy failed: ZeroDivisionError: "),
        (Timer(BUG_NS), "toy failed: RecursionError: "),
    ],
)
def test_a_bug_of_a_venue_is_a_fault_and_the_engine_goes_on(item: Input, said: str) -> None:
    target = engine()
    fault = target.step(item)[-1]
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.source, fault.detail) == ("malformed", "toy", said)
    assert target.counts == {"Status": 1}
    assert len(run(target, [frame("A 1", 1), frame("A 9", 2)])) == 3


def test_a_frame_of_an_unknown_source_is_a_fault() -> None:
    (fault,) = engine().step(frame("A 1", source="elsewhere"))
    assert isinstance(fault, Fault)
    assert fault.kind == "unknown"


def test_what_a_venue_asks_for_leaves_as_a_fault() -> None:
    (fault,) = engine().step(frame("A gap"))
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.ask, fault.instrument) == ("gap", "backfill", "toy:A")


def test_engine_time_never_steps_back() -> None:
    target = engine()
    target.step(Timer(T0 + 10))
    target.step(Timer(T0))
    assert target.now == T0 + 10


HOUR = 3600


def silences(inputs: Iterable[Input]) -> list[float | None]:
    target = Engine([ToyVenue()], [Staleness()])
    outputs = run(target, inputs)
    return [o.score for o in outputs if isinstance(o, Observation) and o.cause == "silence"]


def test_a_dead_feed_is_found_although_the_clock_was_set_back() -> None:
    alive = [frame("A 1", at) for at in range(10)]
    dead = [Timer(T0 + (10 + at) * NS_PER_S) for at in range(200)]
    back = [Timer(timer.ts_recv - HOUR * NS_PER_S) for timer in dead]
    assert silences([*alive, *dead])
    assert len(silences([*alive, *back])) == len(silences([*alive, *dead]))


def test_a_long_silence_is_one_incident_and_the_next_one_is_another() -> None:
    target = Engine([ToyVenue()], [Staleness()], Gate(cooldown_s=10_000, quiet_s=300))
    inputs: list[Input] = [frame("A 1")]
    for at in range(2000):
        inputs.append(Timer(T0 + at * NS_PER_S))
        if 1000 <= at <= 1500 and at % 50 == 0:
            inputs.append(frame("A 1", at))
    told = [
        (type(out).__name__, (target.now - T0) // NS_PER_S, out.incident)
        for item in inputs
        for out in target.step(item)
        if isinstance(out, Alert | Resolved) and out.cause == "silence"
    ]
    assert [what[:2] for what in told] == [("Alert", 121), ("Resolved", 1301), ("Alert", 1621)]
    assert told[0][2] == told[1][2] != told[2][2]


def test_a_clock_that_is_set_back_is_told_once_and_time_goes_on() -> None:
    target = engine()
    outputs = run(target, [frame("A 1", HOUR), *(frame("A 1", at) for at in range(5))])
    faults = [out for out in outputs if isinstance(out, Fault)]
    assert [(f.kind, f.source, f.value) for f in faults] == [("clock", "toy", float(HOUR))]
    assert target.now == T0 + (HOUR + 4) * NS_PER_S
    (event,) = target.events
    assert isinstance(event, Trade)
    assert event.ts_recv == target.now
    again = engine()
    restore(again, snapshot(target))
    assert run(again, [frame("A 1", 5)]) == run(target, [frame("A 1", 5)])
    assert again.now == target.now == T0 + (HOUR + 5) * NS_PER_S
    run(target, [frame("A 1", HOUR + 6)])  # the clock is right again
    assert target.now == T0 + (HOUR + 6) * NS_PER_S


def test_inputs_a_little_out_of_order_stay_as_they_are() -> None:
    target = engine()
    assert not [o for o in run(target, [Timer(T0 + NS_PER_S), frame("A 1")]) if o.kind == "clock"]
    (event,) = target.events
    assert isinstance(event, Trade)
    assert event.ts_recv == T0


def test_a_timer_reaches_every_live_state_and_only_those() -> None:
    target = engine()
    run(target, [frame("A 1"), frame("B 1"), Timer(T0 + 1)])
    assert {k: s.timers for k, s in target.detectors["jump"].states.items()} == {
        "toy:A": 1,
        "toy:B": 1,
    }


def test_the_link_of_one_of_several_connections_is_the_venues_alone() -> None:
    target = engine()
    run(target, [frame("A 1")])
    (told,) = run(target, [Link(T0, "toy", "down", "503", stream="clob")])
    assert isinstance(told, Fault)
    assert (told.kind, told.stream) == ("link_down", "clob")
    assert target.detectors["jump"].states["toy:A"].links == 0
    assert not target.gate_state.stale
    run(target, [Link(T0, "toy", "down", "gone")])
    assert target.detectors["jump"].states["toy:A"].links == 1
    assert target.gate_state.stale


def test_a_status_of_the_whole_source_reaches_every_live_state_on_every_shard() -> None:
    shards = [engine((index, 2)) for index in range(2)]
    for shard in shards:
        run(shard, [*(frame(f"{symbol} 1") for symbol in "ABCDEF"), frame("*")])
        assert shard.detectors["jump"].states  # both have something to show
    halts = {k: s.halts for shard in shards for k, s in shard.detectors["jump"].states.items()}
    assert halts == {f"toy:{symbol}": 1 for symbol in "ABCDEF"}


def test_a_detector_that_raises_is_quarantined_for_that_key_only() -> None:
    target = engine()
    (fault,) = run(target, [frame("A 13")])
    assert isinstance(fault, Fault)
    assert fault.kind == "detector_error"
    assert "unlucky" in fault.detail
    assert run(target, [frame("A 1"), frame("A 99")]) == []
    assert any(isinstance(out, Alert) for out in run(target, [frame("B 1"), frame("B 99")]))


def test_reset_baseline_starts_the_key_afresh() -> None:
    target = engine()
    run(target, [frame("A 1"), Command(T0, "operator", "reset_baseline", "toy:A")])
    (observation,) = run(target, [frame("A 99")])
    assert isinstance(observation, Observation)
    assert observation.score == 0.0


def test_the_idlest_key_is_evicted_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEYS_PER_DETECTOR", 2)
    target = engine()
    inputs = [frame("A 1"), frame("B 1"), frame("A 2"), Timer(T0), frame("*"), frame("C 1")]
    target.gate_state.stale = {"toy:A": "jump", "toy:B": "jump"}
    outputs = run(target, inputs)
    assert [(o.kind, o.instrument) for o in outputs if isinstance(o, Fault)] == [
        ("halted", ""),
        ("keys_evicted", "toy:B"),
    ]
    assert target.gate_state.stale == {"toy:A": "jump", "toy:*!": "halted"}


def test_unrecorded_inputs_are_told() -> None:
    (fault,) = engine().step(Command(T0, "toy", "unrecorded", "17"))
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.detail) == ("unrecorded", "17 inputs were received but not recorded")


ITEMS = st.lists(
    st.one_of(
        st.builds(
            frame,
            st.sampled_from(
                ["A 1", "A 9", "A 30", "B 2", "B 50", "C 13", "C 4", "?", "A gap", "*"]
            ),
        ),
        st.just(Timer(T0 + NS_PER_S)),
        st.sampled_from([Link(T0, "toy", "up"), Link(T0, "toy", "down", "closed")]),
        st.sampled_from(
            [
                Command(T0, "operator", "kill", "on"),
                Command(T0, "operator", "kill", "off"),
                Command(T0, "operator", "reset_baseline", "toy:A"),
            ]
        ),
    ),
    max_size=30,
)


def spread(inputs: list[Input]) -> list[Input]:
    """The same inputs, one second apart."""
    return [
        msgspec.structs.replace(item, ts_recv=T0 + n * NS_PER_S) for n, item in enumerate(inputs)
    ]


def lines(outputs: Iterable[Output]) -> list[bytes]:
    return [msgspec.json.encode(out) for out in outputs]


@given(ITEMS, st.integers(0, 30))
def test_restoring_a_snapshot_anywhere_changes_nothing(inputs: list[Input], cut: int) -> None:
    tape = spread(inputs)
    straight = lines(run(engine(), tape))
    first = engine()
    head = lines(run(first, tape[:cut]))
    second = engine()
    restore(second, snapshot(first))
    assert head + lines(run(second, tape[cut:])) == straight


@given(ITEMS, st.integers(2, 4))
def test_shards_together_say_what_one_engine_says(inputs: list[Input], count: int) -> None:
    tape = spread(inputs)
    whole = sorted(lines(run(engine(), tape)))
    parts = [lines(run(engine((i, count)), tape)) for i in range(count)]
    assert sorted(line for part in parts for line in part) == whole


def test_a_foreign_snapshot_is_refused() -> None:
    other = Engine([ToyVenue()], [], Gate())
    with pytest.raises(TapeError, match="other sources or detectors"):
        restore(other, snapshot(engine()))
    with pytest.raises(TapeError, match="unreadable"):
        restore(engine(), b"\x00garbage")
