"""The engine with toy parts: routing, time, quarantine, shards, snapshots."""

from collections.abc import Iterable
from typing import ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.engine.engine import Engine
from tapewatch.engine.snapshot import restore, snapshot
from tapewatch.gate.gate import Gate
from tapewatch.model import limits
from tapewatch.model.errors import DecodeError, TapeError
from tapewatch.model.events import Event, Status, Trade
from tapewatch.model.inputs import Command, Frame, Input, Link, Timer
from tapewatch.model.outputs import Alert, Fault, Observation, Output
from tapewatch.model.time import NS_PER_S

T0 = 1_763_700_000 * NS_PER_S


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
        return ()

    def on_timer(self, state: ToyMemory, now: int, /) -> Iterable[Event]:
        return ()


class Last(msgspec.Struct):
    price: float = 0.0
    timers: int = 0
    halts: int = 0


class Jump(msgspec.Struct, frozen=True):
    """Score = absolute change of price."""

    name: ClassVar[str] = "jump"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Trade, Timer, Status)
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


def test_a_timer_reaches_every_live_state_and_only_those() -> None:
    target = engine()
    run(target, [frame("A 1"), frame("B 1"), Timer(T0 + 1)])
    assert {k: s.timers for k, s in target.detectors["jump"].states.items()} == {
        "toy:A": 1,
        "toy:B": 1,
    }


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
    outputs = run(target, [frame("A 1"), frame("B 1"), frame("A 2"), frame("C 1")])
    assert [(o.kind, o.instrument) for o in outputs if isinstance(o, Fault)] == [
        ("keys_evicted", "toy:B")
    ]


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
