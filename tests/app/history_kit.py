"""A session that lived for two months, for the tests of its history."""

import pathlib
from typing import Final

from test_checkpoint import T0, Session, inputs

from tapewatch.io.history import DAY_NS
from tapewatch.io.store import Store
from tapewatch.model.inputs import Timer
from tapewatch.model.outputs import Alert

NOW: Final = T0 + 61 * DAY_NS


def deliver(store: Store) -> list[str]:
    """Everything that is owed; its ids."""
    owed = store.owed("terminal")
    store.settle("terminal", [row.seq for row in owed])
    return [row.output.id for row in owed if isinstance(row.output, Alert)]


def live(folder: pathlib.Path) -> None:
    """A session of four processes: 200 cycles with alerts in each of three, all delivered, and then
    a day 60 days later."""
    for part in range(3):
        session = Session(folder)
        session.take(inputs(200 * part, 200 * part + 200))
        deliver(session.store)
        session.checkpoint()
        session.end()
    session = Session(folder)
    session.take([Timer(T0 + 60 * DAY_NS)])
    deliver(session.store)
    session.checkpoint()
    session.end()
