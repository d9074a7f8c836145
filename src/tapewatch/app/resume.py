"""Going on with a session whose process ended, in whatever way: start-up is recovery.

The tape is the truth. Replaying it gives the engine its memory back, and tells which alerts were
earned by recorded inputs but had not reached the tape or the outbox when the process died. Those
are recorded and owed now, late but once.
"""

from pathlib import Path

import msgspec

from tapewatch.app.ledger import Ledger
from tapewatch.app.replay import steps
from tapewatch.engine.engine import Engine
from tapewatch.io.store import Store
from tapewatch.io.tape_read import TapeReader
from tapewatch.io.tape_records import config_hash
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model.errors import ConfigError
from tapewatch.model.outputs import Alert, Report


def refuse_other_config(folder: Path, config: dict[str, object]) -> None:
    """Raise `ConfigError` if the tape in `folder` was recorded with another configuration."""
    if TapeReader(folder).header.config_hash != config_hash(config):
        raise ConfigError(
            "this session was recorded with another configuration; its baselines would not fit. "
            "Use --name for a new session"
        )


def resume(
    folder: Path, engine: Engine, tape: TapeWriter, store: Store, sinks: list[str], ledger: Ledger
) -> int:
    """Replay the tape in `folder` into `engine` and `ledger`; returns how many alerts were late."""
    reader = TapeReader(folder)
    recorded = {msgspec.json.decode(line, type=_Id).name for _, line in reader.alerts()}
    late = 0
    for _, _, outputs in steps(reader, engine):
        for output in outputs:
            ledger.see(output)
            if isinstance(output, Alert | Report):
                name = output.id if isinstance(output, Alert) else output.report_id
                if name not in recorded:
                    tape.append_alert(msgspec.json.encode(output))
                    late += isinstance(output, Alert)
        alerts = [output for output in outputs if isinstance(output, Alert)]
        if alerts:
            tape.commit(engine.now)
            store.add(alerts, sinks)
    tape.commit(engine.now)
    return late


class _Id(msgspec.Struct):
    """Only the id of an alert or report line."""

    id: str = ""
    report_id: str = ""

    @property
    def name(self) -> str:
        return self.id or self.report_id
