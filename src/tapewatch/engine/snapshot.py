"""The engine's memory as bytes, and back. Versioned msgpack; no pickles, ever.

A snapshot belongs to one configuration: restoring it into an engine with other venues or detectors
is refused rather than guessed at.
"""

from typing import Any

import msgspec
from msgspec import Struct

from tapewatch.engine.engine import Engine
from tapewatch.engine.sampling import Sampler
from tapewatch.gate.gate import GateState
from tapewatch.model.errors import TapeError

VERSION = 2


class _Snapshot(Struct):
    version: int
    now: int
    seq: int
    counts: dict[str, int]
    gate: GateState
    venues: dict[str, msgspec.Raw]
    detectors: dict[str, dict[str, msgspec.Raw]]
    last_used: dict[str, dict[str, int]]
    broken: dict[str, dict[str, str]]
    offset: int
    heard: dict[str, int]
    sampler: Sampler


def snapshot(engine: Engine) -> bytes:
    """Everything `restore` needs to go on as if nothing had happened."""
    return msgspec.msgpack.encode(
        _Snapshot(
            VERSION,
            engine.now,
            engine.seq,
            engine.counts,
            engine.gate_state,
            {name: _raw(state) for name, state in engine.venue_states.items()},
            {
                name: {key: _raw(state) for key, state in keyed.states.items()}
                for name, keyed in engine.detectors.items()
            },
            {name: keyed.last_used for name, keyed in engine.detectors.items()},
            {name: keyed.broken for name, keyed in engine.detectors.items()},
            engine.offset,
            engine.heard,
            engine.sampler,
        )
    )


def restore(engine: Engine, data: bytes) -> None:
    """Give `engine` (fresh, same configuration) the memory in `data`. Raises `TapeError`."""
    try:
        saved = msgspec.msgpack.decode(data, type=_Snapshot)
        if saved.version != VERSION:
            raise TapeError(f"snapshot version {saved.version}, this program reads {VERSION}")
        if set(saved.venues) != set(engine.venues) or set(saved.detectors) != set(engine.detectors):
            raise TapeError("the snapshot was made with other sources or detectors")
        for name, venue in engine.venues.items():
            engine.venue_states[name] = _state(saved.venues[name], venue.state_type)
        for name, keyed in engine.detectors.items():
            of_type = keyed.detector.state_type
            states = {k: _state(raw, of_type) for k, raw in saved.detectors[name].items()}
            keyed.restore(states, saved.last_used[name])
            keyed.broken = saved.broken[name]
    except (msgspec.MsgspecError, KeyError) as error:
        raise TapeError(f"unreadable snapshot: {error}") from error
    engine.now, engine.seq, engine.counts = saved.now, saved.seq, saved.counts
    engine.offset, engine.heard = saved.offset, saved.heard
    engine.gate_state, engine.sampler = saved.gate, saved.sampler


def _raw(state: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(state))


def _state(raw: msgspec.Raw, of_type: type) -> Any:
    return msgspec.msgpack.decode(raw, type=of_type)
