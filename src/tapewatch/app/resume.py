"""Going on with a session whose process ended, in whatever way: start-up is recovery.

The tape is the truth. Replaying it, from the last checkpoint on, gives the engine its memory back,
and tells which alerts were earned by recorded inputs but had not reached the tape or the outbox
when the process died. Those are recorded and owed now, late but once.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, field

from tapewatch.app.build import simulated
from tapewatch.app.checkpoint import Links, load
from tapewatch.app.config import Config
from tapewatch.app.ledger import Ledger
from tapewatch.app.replay import configured
from tapewatch.engine.engine import Engine
from tapewatch.io.store import Store
from tapewatch.io.tape_read import TapeReader
from tapewatch.io.tape_records import AlertRecord, input_of
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model.errors import ConfigError
from tapewatch.model.inputs import Command, Link
from tapewatch.model.outputs import Alert, Report


class Begun(Struct):
    """Where to go on: from record `first` of the tape, with the account and the connections of what
    came before it."""

    ledger: Ledger
    first: int = 0
    links: Links = field(default_factory=dict)


def begin(folder: Path, config: Config, engine: Engine, last: int, ledger: Ledger) -> Begun:
    """From the session's checkpoint, if one fits; else from the beginning of the tape."""
    saved = load(folder, config, engine, last)
    if saved is None:
        return Begun(ledger)
    return Begun(saved.ledger, saved.seq + 1, saved.links)


def refuse_other_settings(folder: Path, config: Config) -> None:
    """Raise `ConfigError` if the tape in `folder` was recorded with settings that matter here:
    other detectors, another gate, other markets. Where the venue is, and how long the session
    lasts, may differ."""
    if _decisive(configured(folder)) != _decisive(config):
        raise ConfigError(
            "this session was recorded with other settings; its baselines would not fit. "
            "Use --name for a new session"
        )


def _decisive(config: Config) -> tuple[object, ...]:
    markets = [(venue.name, venue.instruments()) for venue in config.venues]
    return config.detectors, config.gate, markets, simulated(config)


def resume(
    folder: Path,
    engine: Engine,
    tape: TapeWriter,
    store: Store,
    sinks: Sequence[str],
    begun: "Begun",
    reports_to: Sequence[str] = (),
    mode: str = "",
) -> int:
    """Replay what the tape in `folder` has after the checkpoint, or all of it, into the engine and
    the ledger, which then speak of the whole session; returns how many alerts were late. `sinks`
    are owed the alerts, `reports_to` the reports, with `mode`."""
    reader, ledger, links = TapeReader(folder), begun.ledger, begun.links
    emitted = [
        msgspec.json.decode(record.a, type=Alert | Report)
        for record in reader.records(begun.first)
        if isinstance(record, AlertRecord)
    ]
    store.add(emitted, sinks, reports_to, mode)
    known = {_name(output) for output in emitted}
    # Without the memory of what was pruned, the engine judges otherwise than it did live.
    late, whole = 0, bool(begun.first) or reader.header.first == 1
    for record in reader.records(begun.first):
        if isinstance(record, AlertRecord):
            continue
        item = input_of(record)
        if isinstance(item, Link):
            links[f"{item.source}/{item.stream}"] = item
        elif isinstance(item, Command) and item.op == "unrecorded":
            whole = False  # from here on the tape does not give what was seen live
        ledger.started_ns = min(ledger.started_ns, item.ts_recv)
        for output in engine.step(item, record.n):
            ledger.see(output)
            if isinstance(output, Alert | Report) and _name(output) not in known and whole:
                tape.append_alert(msgspec.json.encode(output))
                tape.commit(engine.now)
                store.add([output], sinks, reports_to, mode)
                late += isinstance(output, Alert)
    for was in [link for link in links.values() if link.state == "up"]:
        # The process died with the connection up: what came after its last record is a gap.
        link = Link(engine.now, was.source, "down", "the process ended", was.stream)
        links[f"{was.source}/{was.stream}"] = link
        for output in engine.step(link, tape.append(link)):
            ledger.see(output)
    tape.commit(engine.now)
    return late


def _name(output: Alert | Report) -> str:
    return output.id if isinstance(output, Alert) else output.report_id
