"""Replaying a tape through a fresh engine: the same outputs, and proof that they are the same.

The digest is SHA-256 over every output as JSON, in order: equal digests mean equal bytes. What the
session emitted is on its tape too; a replay with the recorded settings must say exactly that again,
and names the first place where it does not.
"""

import asyncio
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TextIO

import msgspec
from msgspec import Struct, field

from tapewatch.app.build import engine_of
from tapewatch.app.config import Config, restore
from tapewatch.app.environment import Setting
from tapewatch.engine import snapshot
from tapewatch.engine.engine import Engine
from tapewatch.io.tape_check import verify
from tapewatch.io.tape_read import TapeReader
from tapewatch.model import limits
from tapewatch.model.errors import ReplayMismatch
from tapewatch.model.inputs import Command, Input
from tapewatch.model.outputs import Alert, Observation, Output, Report
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S
from tapewatch.sinks.wording import json_text

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
        snapshot.restore(engine, reader.snapshot.data)
    for seq, item in reader.inputs():
        yield seq, item, engine.step(item, seq)


async def replay(
    reader: TapeReader,
    engine: Engine,
    on_output: Callable[[Output], None] | None = None,
    pace: float = math.inf,
) -> Replayed:
    """Run a tape to its end, passing every output to `on_output`; `pace` is recorded seconds per
    second, infinite for as fast as possible."""
    seen, digest = Replayed(), Digest()
    loop = asyncio.get_running_loop()
    began_s, began_ns = loop.time(), 0
    for _, _, outputs in steps(reader, engine):
        if pace < math.inf:
            began_ns = began_ns or engine.now
            due_s = began_s + (engine.now - began_ns) / NS_PER_S / pace
            await asyncio.sleep(max(0.0, due_s - loop.time()))
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


def configured(path: Path, changes: Sequence[Setting] = ()) -> Config:
    """The settings a tape was recorded with, with `changes`. Raises `ConfigError`."""
    return restore(TapeReader(path).header.config, changes)


def alert_lines(out: TextIO | None) -> Callable[[Output], None] | None:
    """Writes alerts as NDJSON to `out`, if there is one."""
    if out is None:
        return None

    def write(output: Output) -> None:
        if isinstance(output, Alert):
            out.write(json_text(_encode(output)) + "\n")

    return write


def difference(
    path: Path, recorded: Config, changed: Config
) -> Iterator[tuple[Literal["-", "+", "="], Alert]]:
    """Alerts that vanish (`-`), appear (`+`) or stay (`=`) under other settings, by onset. Alerts
    are the same if instrument, cause, kind and onset are."""
    before, after = (
        {(a.instrument, a.cause, a.kind, a.onset_ns): a for a in alerts(path, config)}
        for config in (recorded, changed)
    )
    for key in sorted({*before, *after}, key=lambda key: (key[3], key)):
        if key not in after:
            yield "-", before[key]
        else:
            yield ("=" if key in before else "+"), after[key]


def alerts(path: Path, config: Config) -> Iterator[Alert]:
    """The alerts that a configuration gives on a tape."""
    for _, _, outputs in steps(TapeReader(path), engine_of(config)):
        yield from (output for output in outputs if isinstance(output, Alert))


def recorded(path: Path) -> Iterator[Alert | Report]:
    """The alerts and reports on a tape, as they were emitted."""
    for _, line in TapeReader(path).alerts():
        yield msgspec.json.decode(line, type=Alert | Report)


def check(path: Path, engine: Engine, note: Callable[[str], None] | None = None) -> int:
    """Compare a replay of `path` with the alerts and reports recorded on it; returns their number,
    0 if none were recorded. What else the user should know goes to `note`.

    Raises `ReplayMismatch` at the first difference. What the last inputs gave rise to may be
    missing from the tape of a session that was killed and from a clip; anything else may not. A
    pruned tape begins without the memory that the session had there, so nothing can be compared.
    """
    note = note or (lambda _: None)
    reader = TapeReader(path)
    if reader.header.first > 1 and reader.snapshot is None:
        note(
            f"the tape begins with record {reader.header.first:,}; the engine's memory of what came"
            " before is gone, so that nothing can be compared"
        )
        return 0
    on_tape = reader.alerts()
    count = 0
    inputs = steps(TapeReader(path), engine)
    for seq, item, outputs in inputs:
        if isinstance(item, Command) and item.op == "unrecorded":
            note(f"from record {seq:,} on nothing can be compared: inputs were not recorded")
            return count
        for line in map(_encode, filter(_is_told, outputs)):
            at, found = next(on_tape, (0, b""))
            if not found:
                if count and not _may_lack(path, inputs):
                    raise ReplayMismatch(f"the record lacks what input {seq:,} gives rise to")
                return count
            if found != line:
                raise ReplayMismatch(
                    f"the replay differs from record {at:,} (input {seq:,}):"
                    f" {_differing(found, line)}"
                )
            count += 1
    extra = next(on_tape, None)
    if extra is not None:
        raise ReplayMismatch(f"the replay does not give what record {extra[0]:,} holds")
    return count


def _is_told(output: Output) -> bool:
    return isinstance(output, Alert | Report)


def _may_lack(path: Path, rest: Iterator[object]) -> bool:
    """Whether the record may end before what the replay gives, with the inputs `rest` to come."""
    if not verify(path).closed:
        return True  # it is running, or was killed
    # A clip may end within a batch, whose alerts were recorded after all of its inputs.
    return path.is_file() and sum(1 for _ in rest) < limits.BATCH_INPUTS


def _differing(recorded_line: bytes, replayed_line: bytes) -> str:
    """The first fields in which two lines differ."""
    was, now = (msgspec.json.decode(line, type=dict) for line in (recorded_line, replayed_line))
    told = [
        f"{key} was {clean(str(was.get(key)), 80)}, is {clean(str(now.get(key)), 80)}"
        for key in sorted({*was, *now})
        if was.get(key) != now.get(key)
    ]
    return "; ".join(told[:3])
