"""Taking a session's content out: as one tape file, or as rows for other programs.

Trades and events are decoded from the recorded frames again, by the same decoder.
"""

import contextlib
import csv
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, TextIO

import msgspec
from msgspec import structs

from tapewatch.app.build import engine_of
from tapewatch.app.config import restore
from tapewatch.app.replay import recorded
from tapewatch.engine.engine import Engine
from tapewatch.engine.snapshot import snapshot
from tapewatch.io.tape_file import cut
from tapewatch.io.tape_read import EVER_NS, TapeReader
from tapewatch.io.tape_records import Snapshot
from tapewatch.model.errors import ConfigError, TapeError
from tapewatch.model.events import Event, Trade
from tapewatch.model.inputs import Link, Timer
from tapewatch.model.outputs import Alert
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S
from tapewatch.sinks.wording import json_text

What = Literal["tape", "trades", "events", "alerts"]
Format = Literal["ndjson", "csv"]

TRADE_COLUMNS: Final = Trade.__struct_fields__


AROUND_NS: Final = 60 * NS_PER_S  # a clip shows so much before and after its alert


def export_tape(
    tape: pathlib.Path, path: pathlib.Path, since_ns: int = 0, until_ns: int = EVER_NS
) -> str:
    """A stretch of a tape as one file; its chain hash. Raises `TapeError`.

    A clip that begins later than its tape holds the engine's memory at that moment, so that it
    gives the same alerts by itself.
    """
    reader = TapeReader(tape)
    engine = engine_of(restore(reader.header.config))
    for seq, item in reader.inputs():
        if item.ts_recv >= since_ns:
            memory = Snapshot(seq, snapshot(engine)) if engine.seq else None
            return cut(tape, path, until_ns=until_ns, snapshot=memory)
        engine.step(item, seq)
    raise TapeError("no input lies between these times", str(tape))


def around(tape: pathlib.Path, alert_id: str) -> tuple[int, int]:
    """When the clip of an alert begins and ends (ns); an id's first characters suffice."""
    found = {
        alert.id: (alert.onset_ns - AROUND_NS, alert.ts_alert_ns + AROUND_NS)
        for alert in recorded(tape)
        if isinstance(alert, Alert) and alert.id.startswith(alert_id)
    }
    if len(found) != 1:
        what = "no alert" if not found else f"{len(found)} alerts"
        raise ConfigError(f'{what} of this session with an id that begins "{clean(alert_id, 40)}"')
    return next(iter(found.values()))


def export_rows(tape: pathlib.Path, what: What, form: Format, out: TextIO) -> int:
    """Write rows to `out`; how many. Raises `TapeError`, and `ConfigError` for a form that has no
    columns."""
    if form == "csv":
        if what != "trades":
            raise ConfigError(f"{what} differ in their fields; export them as ndjson", "--format")
        return _csv(trades(tape), out)
    rows: Iterable[bytes]
    if what == "alerts":
        rows = (line for _, line in TapeReader(tape).alerts())
    else:
        found = trades(tape) if what == "trades" else events(tape)
        opening = f'{{"schema":"tapewatch.{what[:-1]}/1","v":1,'.encode()
        rows = (opening + msgspec.json.encode(event)[1:] for event in found)
    count = 0
    for row in rows:
        out.write(f"{json_text(row)}\n")
        count += 1
    return count


def events(tape: pathlib.Path) -> Iterator[Event]:
    """What the recorded frames mean, in order, without timers and links."""
    reader = TapeReader(tape)
    engine = Engine(restore(reader.header.config).venues, ())
    for seq, item in reader.inputs():
        engine.step(item, seq)
        yield from (event for event in engine.events if not isinstance(event, Timer | Link))


def trades(tape: pathlib.Path) -> Iterator[Trade]:
    """The trades among them."""
    return (event for event in events(tape) if isinstance(event, Trade))


def _csv(rows: Iterable[Trade], out: TextIO) -> int:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(TRADE_COLUMNS)
    count = 0
    for trade in rows:
        writer.writerow([_cell(value) for value in structs.astuple(trade)])
        count += 1
    return count


def _cell(value: Any) -> Any:
    """Spreadsheets take a text that begins like this for a formula, and venues write the ids."""
    risky = isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}
    return f"'{value}" if risky else value


@contextlib.contextmanager
def opened(path: pathlib.Path | None, stdout: TextIO) -> Iterator[TextIO]:
    """The file to write to, or standard output. Raises `ConfigError`."""
    if path is None:
        yield stdout
        return
    try:
        with path.open("w", encoding="utf-8", newline="") as out:
            yield out
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
