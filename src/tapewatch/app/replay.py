"""Replaying a tape through a fresh engine: the same outputs, and proof that they are the same.

The digest is SHA-256 over every output as JSON, in order: equal digests mean equal bytes. What the
session emitted is on its tape too; a replay with the recorded configuration must say exactly that
again, and names the first place where it does not.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct, field

from tapewatch.engine.engine import Engine
from tapewatch.engine.snapshot import restore
from tapewatch.io.tape_read import TapeReader
from tapewatch.model.errors import ReplayMismatch
from tapewatch.model.inputs import Input
from tapewatch.model.outputs import Alert, Observation, Output, Report

_encode = msgspec.json.Encoder().encode


class Replayed(Struct):
    """What a replay saw. `events` by type, `outputs` by kind."""

    digest: str = ""
    inputs: int = 0
    events: dict[str, int] = field(default_factory=dict)
    observations: int = 0
    alerts: int = 0
    reports: int = 0


class Digest:
    """SHA-256 over outputs in order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def see(self, output: Output) -> None:
        """Take one output in."""
        self._hash.update(_encode(output) + b"\n")

    def hex(self) -> str:
        """The digest so far."""
        return self._hash.hexdigest()


def steps(reader: TapeReader, engine: Engine) -> Iterator[tuple[int, Input, list[Output]]]:
    """Sequence number, input and outputs of every step; begins from a clip's snapshot."""
    if reader.snapshot is not None:
        restore(engine, reader.snapshot.data)
    for seq, item in reader.inputs():
        yield seq, item, engine.step(item, seq)


def replay(
    reader: TapeReader, engine: Engine, on_output: Callable[[Output], None] | None = None
) -> Replayed:
    """Run a tape to its end, passing every output to `on_output`."""
    seen, digest = Replayed(), Digest()
    for _, _, outputs in steps(reader, engine):
        seen.inputs += 1
        for output in outputs:
            digest.see(output)
            seen.observations += isinstance(output, Observation)
            seen.alerts += isinstance(output, Alert)
            seen.reports += isinstance(output, Report)
            if on_output is not None:
                on_output(output)
    seen.digest, seen.events = digest.hex(), dict(sorted(engine.counts.items()))
    return seen


def said(reader: TapeReader, engine: Engine) -> Iterator[tuple[int, bytes]]:
    """Input's sequence number and JSON line of every alert and report a replay gives."""
    for seq, _, outputs in steps(reader, engine):
        for output in outputs:
            if isinstance(output, Alert | Report):
                yield seq, _encode(output)


def check(path: Path, engine: Engine) -> int:
    """Compare a replay of `path` with the alerts and reports recorded on it; returns their number.

    Raises `ReplayMismatch` at the first difference. What the last inputs gave rise to may be
    missing from the tape of a session that was killed; anything else may not.
    """
    recorded = TapeReader(path).alerts()
    count = 0
    for seq, line in said(TapeReader(path), engine):
        at, found = next(recorded, (0, b""))
        if not found:
            break
        if found != line:
            raise ReplayMismatch(
                f"the replay differs from the record at input {seq:,} (record {at:,}): "
                f"recorded {found[:300].decode()}, replayed {line[:300].decode()}"
            )
        count += 1
    extra = next(recorded, None)
    if extra is not None:
        raise ReplayMismatch(
            f"record {extra[0]:,} holds an alert that the replay does not give: "
            f"{extra[1][:300].decode()}"
        )
    return count
