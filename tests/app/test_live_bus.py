"""Reports of a whole session on their way to a bus, which may be dead: nobody waits for it."""

import asyncio
import pathlib
from collections.abc import Sequence

import msgspec
import pytest
from live_session import Session

from tapewatch.app.ledger import Ledger
from tapewatch.app.resume import Begun, resume
from tapewatch.io.outbox import Outcome
from tapewatch.io.store import Owed, Store
from tapewatch.io.tape_read import TapeReader
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model.errors import DeliveryError
from tapewatch.model.outputs import Alert, Output, Report
from tapewatch.simulate.kraken import KrakenConfig
from tapewatch.simulate.scenario import DEMO, DEMO_S

MARKET = KrakenConfig(symbols=("BTC/USD",), scenario=DEMO)


class Bus:
    """Takes nothing in the seconds of `down`, counted from its first call."""

    name = "bus"
    mode = "limited_live"
    accepts: tuple[type[Output], ...] = (Alert, Report)

    def __init__(self, down: range) -> None:
        self.down = down
        self.got: list[Output] = []
        self.modes: set[str] = set()
        self.refused = 0
        self._began_s = 0.0

    async def publish(self, batch: Sequence[Owed], /) -> Sequence[Outcome]:
        now_s = asyncio.get_running_loop().time()
        self._began_s = self._began_s or now_s
        if int(now_s - self._began_s) in self.down:
            self.refused += 1
            raise DeliveryError("down", retryable=True)
        self.got += [owed.output for owed in batch]
        self.modes |= {owed.mode for owed in batch}
        return [None] * len(batch)

    async def close(self) -> None:
        """Nothing to close."""


def session(folder: pathlib.Path, down: range) -> tuple[Session, Bus]:
    folder.mkdir(exist_ok=True)
    run, bus = Session(folder, DEMO_S, MARKET), Bus(down)
    run.sink = bus  # type: ignore[assignment]
    return run.run(), bus


def taped(run: Session) -> list[Alert | Report]:
    lines = [line for _, line in TapeReader(run.tape).alerts()]
    return [msgspec.json.decode(line, type=Alert | Report) for line in lines]


@pytest.mark.parametrize("down", [range(0), range(15, 40)])
def test_a_bus_gets_everything_once_and_in_order(tmp_path: pathlib.Path, down: range) -> None:
    run, bus = session(tmp_path, down)
    said = taped(run)
    assert any(isinstance(output, Report) for output in said)
    assert any(isinstance(output, Alert) for output in said)
    assert bus.got == said
    assert bus.modes == {"limited_live"}
    assert bool(bus.refused) == bool(down)
    assert run.store.counts() == {("bus", "delivered"): len(said)}


def test_a_dead_bus_changes_nothing_about_what_is_detected(tmp_path: pathlib.Path) -> None:
    well, _ = session(tmp_path / "well", range(0))
    dead, bus = session(tmp_path / "dead", range(10**6))
    assert bus.got == []
    assert taped(dead) == taped(well)
    assert dead.store.counts() == {("bus", "pending"): len(taped(dead))}


def test_what_the_tape_has_and_the_outbox_has_not_is_owed_after_a_crash(
    tmp_path: pathlib.Path,
) -> None:
    """The process died between the two: all of it is owed now, once."""
    run, _ = session(tmp_path, range(10**6))
    run.store.close()
    (tmp_path / "alerts.sqlite").unlink()
    tape = TapeWriter(run.tape, config={}, version="test")
    store = Store(tmp_path / "alerts.sqlite")
    begun = Begun(Ledger(instruments=("kraken:BTC/USD",)))
    late = resume(
        run.tape, run.engine(), tape, store, ["bus"], begun, reports_to=["bus"], mode="shadow_only"
    )
    tape.close()
    assert late == 0
    assert store.pending("bus", 10_000) == taped(run)
    assert {owed.mode for owed in store.owed("bus")} == {"shadow_only"}
    store.close()
