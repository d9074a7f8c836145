"""Checkpoints: going on from one is going on from the tape; none is believed blindly."""

import pathlib

import msgspec
import pytest

from tapewatch import __version__
from tapewatch.app.build import engine_of
from tapewatch.app.checkpoint import NAME, Checkpoint, Keeper, load
from tapewatch.app.config import Config, assemble, effective
from tapewatch.app.environment import Setting
from tapewatch.app.ledger import Ledger
from tapewatch.app.resume import begin, resume
from tapewatch.engine.snapshot import snapshot
from tapewatch.io.store import Store
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model.inputs import Frame, Input, Link, Timer
from tapewatch.model.outputs import Alert, Report
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.ndjson import Row, TradeRow

MARKET = "polymarket:0xaa"
T0 = 1_735_689_600 * NS_PER_S
CYCLE = 30 * NS_PER_S


def config_of(threshold: float = 3.0) -> Config:
    said = [
        Setting(("source", "ndjson", "ids"), (MARKET,), "test"),
        Setting(("detector", "zscore", "cycle_s"), 30.0, "test"),
        Setting(("detector", "zscore", "z_score_threshold"), threshold, "test"),
    ]
    return assemble(said)[0]


def inputs(first: int, last: int) -> list[Input]:
    """Cycles with two prices by turns, and a third in every fiftieth."""
    found: list[Input] = []
    for n in range(first, last):
        price = 0.6 if n % 50 == 49 else 0.49 + 0.02 * (n % 2)
        row = Row(trade=TradeRow(MARKET, T0 + n * CYCLE + 1, price, 10.0))
        data = msgspec.json.encode(row)
        found.append(Frame(T0 + n * CYCLE + 1, "ndjson", data, "rest:import"))
        found.append(Timer(T0 + (n + 1) * CYCLE))
    return found


class Session:
    """A process of a session, without its edge."""

    def __init__(self, folder: pathlib.Path, config: Config | None = None) -> None:
        self.folder, self.config = folder, config or config_of()
        self.engine = engine_of(self.config)
        self.tape = TapeWriter(folder / "tape", config=effective(self.config), version=__version__)
        self.store = Store(folder / "alerts.sqlite")
        self.begun = begin(
            folder,
            self.config,
            self.engine,
            self.tape.recovered.last,
            Ledger(instruments=(MARKET,), started_ns=T0),
        )
        self.late = resume(
            folder / "tape", self.engine, self.tape, self.store, ["terminal"], self.begun
        )
        self.keeper = Keeper(folder, self.config, self.begun.links)

    def take(self, items: list[Input]) -> list[Alert]:
        told: list[Alert] = []
        for item in items:
            if isinstance(item, Link):
                self.keeper.see(item)
            for output in self.engine.step(item, self.tape.append(item)):
                self.begun.ledger.see(output)
                if isinstance(output, Alert | Report):
                    self.tape.append_alert(msgspec.json.encode(output))
                if isinstance(output, Alert):
                    told.append(output)
        self.tape.commit(self.engine.now)
        self.store.add(told, ["terminal"])
        return told

    def checkpoint(self) -> None:
        self.keeper.take(self.engine, self.begun.ledger)()

    def end(self) -> None:
        self.tape.close()
        self.store.close()


def lived(folder: pathlib.Path, *, kept: bool) -> Session:
    """A process that took 300 cycles, with a checkpoint after 200 or not, and was gone on with."""
    first = Session(folder)
    first.take([Link(T0, "ndjson", "up"), *inputs(0, 200)])
    if kept:
        first.checkpoint()
    first.take(inputs(200, 300))
    first.end()
    return Session(folder)


def test_going_on_from_a_checkpoint_is_going_on_from_the_tape(tmp_path: pathlib.Path) -> None:
    sessions = [lived(tmp_path / str(kept), kept=kept) for kept in (False, True)]
    assert [session.begun.first > 0 for session in sessions] == [False, True]
    assert [session.late for session in sessions] == [0, 0]
    plain, kept = sessions
    assert snapshot(plain.engine) == snapshot(kept.engine)
    assert plain.begun.ledger == kept.begun.ledger
    more = [session.take(inputs(300, 400)) for session in sessions]
    assert more[0]
    assert more[0] == more[1]
    for session in sessions:
        session.end()


def test_what_was_earned_after_the_checkpoint_and_not_stored_is_owed_late(
    tmp_path: pathlib.Path,
) -> None:
    first = Session(tmp_path)
    first.take(inputs(0, 149))
    first.checkpoint()
    for item in inputs(149, 150):  # on the tape, and nobody was told
        first.tape.append(item)
    first.end()
    again = Session(tmp_path)
    assert again.late == 1
    assert len(again.store.pending("terminal")) == 3
    again.end()


@pytest.mark.parametrize("damage", ["cut", "bent", "other settings", "ahead of the tape", "old"])
def test_a_checkpoint_that_does_not_fit_is_not_used(tmp_path: pathlib.Path, damage: str) -> None:
    lived(tmp_path, kept=True).end()
    file, config, last = tmp_path / NAME, config_of(), 10**6
    data = file.read_bytes()
    if damage == "cut":
        file.write_bytes(data[:-100])
    elif damage == "bent":
        saved = msgspec.msgpack.decode(data, type=Checkpoint)
        number = saved.memory.index(b"\xcb\x3f")  # a float below 1: still one afterwards
        saved.memory = saved.memory[: number + 8] + b"\x01" + saved.memory[number + 9 :]
        file.write_bytes(msgspec.msgpack.encode(saved))
    elif damage == "other settings":
        config = config_of(threshold=4.0)
    elif damage == "ahead of the tape":
        last = 5
    else:
        saved = msgspec.msgpack.decode(data, type=Checkpoint)
        saved.version += 1
        file.write_bytes(msgspec.msgpack.encode(saved))
    engine = engine_of(config)
    assert load(tmp_path, config, engine, last) is None
    assert engine.seq == 0, "and the engine is as it was"


def test_a_connection_that_was_up_goes_down_with_the_process(tmp_path: pathlib.Path) -> None:
    first = Session(tmp_path)
    links = [Link(T0, "ndjson", "up", stream=f"ws:{n}") for n in range(3)]
    first.take([*links, Link(T0 + 1, "ndjson", "down", stream="ws:1"), *inputs(0, 3)])
    first.checkpoint()
    first.end()
    again = Session(tmp_path)
    down = {link.stream: link.reason for link in again.begun.links.values()}
    assert down == {"ws:0": "the process ended", "ws:1": "", "ws:2": "the process ended"}
    again.end()
