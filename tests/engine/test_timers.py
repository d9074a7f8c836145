"""Who is asked at a timer: states that are due, and nobody else."""

from typing import ClassVar

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.engine.engine import Engine
from tapewatch.engine.snapshot import restore, snapshot
from tapewatch.model.events import Event, Trade
from tapewatch.model.inputs import Frame, Input, Timer
from tapewatch.model.outputs import Observation, Output
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.ndjson import Ndjson

T0 = 1_763_700_000 * NS_PER_S
NAMES = ("a", "b", "c", "d")


class Alarm(msgspec.Struct):
    key: str
    due_ns: int = 0
    asked: int = 0


class Clock(msgspec.Struct, frozen=True):
    """Rings `price` seconds after the last trade, unless another comes before."""

    name: ClassVar[str] = "clock"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Trade, Timer)
    state_type: ClassVar[type] = Alarm

    def key(self, event: Event, /) -> str | None:
        return event.instrument if isinstance(event, Trade) else None

    def start(self, key: str, /) -> Alarm:
        return Alarm(key)

    def update(self, state: Alarm, event: Event, /) -> Observation | None:
        if isinstance(event, Trade):
            state.due_ns = event.ts_recv + int(event.price) * NS_PER_S
            return None
        assert isinstance(event, Timer)
        state.asked += 1
        state.due_ns = 0
        return Observation("clock", state.key, "clock", event.ts_recv, 1.0, 2.0)


def engine() -> Engine:
    return Engine([Ndjson(ids=tuple(f"x:{name}" for name in NAMES))], [Clock()])


def trade(second: int, name: str, wait: int) -> Frame:
    row = {"instrument": f"x:{name}", "ts_event": T0, "price": float(wait), "size": 1.0}
    return Frame(T0 + second * NS_PER_S, "ndjson", msgspec.json.encode({"trade": row}))


def timer(second: int) -> Timer:
    return Timer(T0 + second * NS_PER_S)


def rung(outputs: list[Output]) -> list[tuple[str, int]]:
    return [
        (out.instrument[2:], (out.ts_event - T0) // NS_PER_S)
        for out in outputs
        if isinstance(out, Observation)
    ]


def run(target: Engine, inputs: list[Input]) -> list[tuple[str, int]]:
    return rung([out for item in inputs for out in target.step(item)])


def test_a_state_is_asked_when_it_is_due_and_only_then() -> None:
    target = engine()
    inputs: list[Input] = [trade(0, "a", 3), trade(0, "b", 5), trade(2, "a", 4)]
    inputs += [timer(second) for second in range(3, 10)]
    assert run(target, inputs) == [("b", 5), ("a", 6)]
    assert {k: s.asked for k, s in target.detectors["clock"].states.items()} == {
        "x:a": 1,
        "x:b": 1,
    }


def test_an_earlier_time_replaces_a_later_one() -> None:
    target = engine()
    inputs: list[Input] = [trade(0, "a", 100), trade(1, "a", 2)]
    assert run(target, [*inputs, *[timer(second) for second in range(2, 120)]]) == [("a", 3)]


def test_what_is_forgotten_is_not_asked() -> None:
    target = engine()
    run(target, [trade(0, "a", 2)])
    target.detectors["clock"].forget("x:a")
    assert run(target, [timer(3)]) == []


STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(NAMES), st.integers(1, 8)), max_size=40
)


def tape(steps: list[tuple[int, str, int]]) -> list[Input]:
    inputs: list[Input] = []
    second = 0
    for wait, name, due in steps:
        inputs += [timer(s) for s in range(second + 1, second + wait + 1)]
        second += wait
        inputs.append(trade(second, name, due))
    return inputs + [timer(s) for s in range(second + 1, second + 12)]


@given(STEPS)
def test_everybody_rings_as_if_asked_every_second(steps: list[tuple[int, str, int]]) -> None:
    expected, due = [], dict.fromkeys(NAMES, 0)
    for item in tape(steps):
        second = (item.ts_recv - T0) // NS_PER_S
        if isinstance(item, Frame):
            row = msgspec.json.decode(item.data)["trade"]
            due[row["instrument"][2:]] = second + int(row["price"])
        else:
            for name in NAMES:
                if 0 < due[name] <= second:
                    expected.append((name, second))
                    due[name] = 0
    assert run(engine(), tape(steps)) == expected


@given(STEPS, st.integers(0, 60))
def test_a_snapshot_keeps_who_is_due(steps: list[tuple[int, str, int]], cut: int) -> None:
    inputs = tape(steps)
    first, second = engine(), engine()
    head = run(first, inputs[:cut])
    restore(second, snapshot(first))
    assert head + run(second, inputs[cut:]) == run(engine(), inputs)
