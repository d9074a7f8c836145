"""The shipped strategies give legal events and inputs, of every kind."""

from typing import get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tapewatch.model.events import Event
from tapewatch.model.inputs import Input
from tapewatch.testing.strategies import events, inputs


@given(st.one_of(events, inputs))
def test_they_survive_packing(thing: Event | Input) -> None:
    packed = msgspec.msgpack.encode(thing)
    assert msgspec.msgpack.decode(packed, type=type(thing)) == thing


def test_every_kind_comes_up() -> None:
    kinds: set[type] = set()

    @settings(max_examples=300, database=None, derandomize=True)
    @given(st.one_of(events, inputs))
    def collect(thing: Event | Input) -> None:
        kinds.add(type(thing))

    collect()
    assert kinds == {*get_args(Event), *get_args(Input)}
