"""Samples inside the engine: who gets them, and that a snapshot holds the stretch under way."""

from typing import ClassVar

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.engine.engine import Engine
from tapewatch.engine.snapshot import restore, snapshot
from tapewatch.model.events import Event, Sample
from tapewatch.model.inputs import Frame, Input, Timer
from tapewatch.model.outputs import Observation, Output
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.ndjson import Ndjson

T0 = 1_763_700_000 * NS_PER_S
ID = "x:a"


class Nothing(msgspec.Struct):
    pass


class Listener(msgspec.Struct, frozen=True):
    """Says how much a sample holds."""

    name: ClassVar[str] = "listener"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Sample,)
    state_type: ClassVar[type] = Nothing

    def key(self, event: Event, /) -> str | None:
        return event.instrument if isinstance(event, Sample) else None

    def start(self, key: str, /) -> Nothing:
        return Nothing()

    def update(self, state: Nothing, event: Event, /) -> Observation | None:
        assert isinstance(event, Sample)
        return Observation("listener", ID, "volume", event.ts_event, event.volume, 1e9)


def engine() -> Engine:
    return Engine([Ndjson(ids=(ID,))], [Listener()])


def tape(seconds: int) -> list[Input]:
    """One trade of 1 a second, the timer before it."""
    row = {"trade": {"instrument": ID, "ts_event": T0, "price": 1.0, "size": 1.0}}
    data = msgspec.json.encode(row)
    inputs: list[Input] = []
    for second in range(seconds):
        now = T0 + second * NS_PER_S
        inputs += [Timer(now), Frame(now + 1, "ndjson", data)]
    return inputs


def heard(outputs: list[Output]) -> list[float]:
    return [out.score for out in outputs if isinstance(out, Observation)]


def run(target: Engine, inputs: list[Input]) -> list[float]:
    return heard([out for item in inputs for out in target.step(item)])


def test_a_detector_hears_each_stretch_once() -> None:
    assert run(engine(), tape(21)) == [5.0, 5.0, 5.0, 5.0]


@given(st.integers(0, 42))
def test_a_snapshot_holds_the_stretch_under_way(cut: int) -> None:
    first, second = engine(), engine()
    head = run(first, tape(21)[:cut])
    restore(second, snapshot(first))
    assert head + run(second, tape(21)[cut:]) == [5.0, 5.0, 5.0, 5.0]
