"""Going on with a session whose process ended, in whatever way: start-up is recovery.

The tape is the truth. Replaying it gives the engine its memory back, and tells which alerts were
earned by recorded inputs but had not reached the tape or the outbox when the process died. Those
are recorded and owed now, late but once.
"""

from pathlib import Path

import msgspec

from tapewatch.app.build import simulated
from tapewatch.app.config import Config
from tapewatch.app.ledger import Ledger
from tapewatch.app.replay import configured, recorded, steps
from tapewatch.engine.engine import Engine
from tapewatch.io.store import Store
from tapewatch.io.tape_read import TapeReader
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model.errors import ConfigError
from tapewatch.model.inputs import Command, Link
from tapewatch.model.outputs import Alert, Report


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
    folder: Path, engine: Engine, tape: TapeWriter, store: Store, sinks: list[str], ledger: Ledger
) -> int:
    """Replay the tape in `folder` into `engine` and `ledger`, which then speak of the whole
    session; returns how many alerts were late."""
    emitted = list(recorded(folder))
    store.add([output for output in emitted if isinstance(output, Alert)], sinks)
    known = {_name(output) for output in emitted}
    late, up, whole = 0, dict.fromkeys(engine.venues, False), True
    for _, item, outputs in steps(TapeReader(folder), engine):
        if isinstance(item, Link):
            up[item.source] = item.state == "up"
        elif isinstance(item, Command) and item.op == "unrecorded":
            whole = False  # from here on the tape does not give what was seen live
        ledger.started_ns = min(ledger.started_ns, item.ts_recv)
        for output in outputs:
            ledger.see(output)
            if isinstance(output, Alert | Report) and _name(output) not in known and whole:
                tape.append_alert(msgspec.json.encode(output))
                tape.commit(engine.now)
                if isinstance(output, Alert):
                    store.add([output], sinks)
                    late += 1
    for source in (source for source, connected in up.items() if connected):
        # The process died with the connection up: what came after its last record is a gap.
        link = Link(engine.now, source, "down", "the process ended")
        for output in engine.step(link, tape.append(link)):
            ledger.see(output)
    tape.commit(engine.now)
    return late


def _name(output: Alert | Report) -> str:
    return output.id if isinstance(output, Alert) else output.report_id
