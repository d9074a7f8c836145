"""A session that lives for more than a year: what it knows then, and that it can go on."""

import asyncio
import pathlib
from contextlib import closing

import msgspec
import pytest
from history_kit import NOW, deliver, live
from msgspec.structs import replace
from test_checkpoint import CYCLE, MARKET, T0, Session, config_of, inputs

from tapewatch.app import history as module
from tapewatch.app.build import engine_of
from tapewatch.app.checkpoint import NAME, Checkpoint
from tapewatch.app.history import HistorySettings, Pruned, account, covered, keep, keep_up, let_go
from tapewatch.app.replay import check, steps
from tapewatch.app.session import STORE, TAPE, verified
from tapewatch.io.history import DAY_NS, History
from tapewatch.io.tape_prune import alone
from tapewatch.io.tape_read import TapeReader
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError, StoreError
from tapewatch.model.inputs import Frame, Input, Timer
from tapewatch.model.outputs import Alert
from tapewatch.model.time import NS_PER_S
from tapewatch.testing import virtual_time
from tapewatch.venues.ndjson import Row, TradeRow

SETTINGS = HistorySettings()
DAY0 = T0 // DAY_NS


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RESERVE_BYTES", 1)


def trade(n: int, price: float) -> list[Input]:
    """One cycle."""
    row = Row(trade=TradeRow(MARKET, T0 + n * CYCLE + 1, price, 10.0))
    frame = Frame(T0 + n * CYCLE + 1, "ndjson", msgspec.json.encode(row), "rest:import")
    return [frame, Timer(T0 + (n + 1) * CYCLE)]


class Clock:
    """A clock that is set."""

    def __init__(self, ns: int) -> None:
        self.ns = ns

    def now_ns(self) -> int:
        return self.ns


@pytest.fixture
def lived(tmp_path: pathlib.Path) -> pathlib.Path:
    live(tmp_path)
    return tmp_path


def test_a_year_and_more(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alert each day for 400 days, and a segment of tape; pruned every day."""
    monkeypatch.setattr(limits, "SEGMENT_BYTES", 1_000)
    session = Session(tmp_path)
    session.take(inputs(0, 100))
    model = session.store.pending("terminal")[0]
    assert isinstance(model, Alert)
    for day in range(400):
        at = T0 + day * DAY_NS + DAY_NS // 2
        alert = replace(model, id=f"alert-{day}", ts_alert_ns=at)
        for second in range(5):
            timer = Timer(at + second * NS_PER_S)
            session.engine.step(timer, session.tape.append(timer))
        session.tape.append_alert(msgspec.json.encode(alert))
        session.tape.commit(at)
        session.store.add([alert], ["terminal", "bus"] if day == 200 else ["terminal"])
        deliver(session.store)  # to the terminal; the bus is away
        session.checkpoint()
        found = let_go(tmp_path, SETTINGS, at + 60 * NS_PER_S)
        assert found.why == ""
    with closing(History(tmp_path / STORE, "ro")) as history:
        kept, days = history.kept_since(), history.rollups()
    assert kept == T0 + 200 * DAY_NS + DAY_NS // 2, "it is owed, so it stays"
    assert [row.day - DAY0 for row in days] == list(range(34, 400))
    assert {row.alerts for row in days} == {1}
    checked = verified(tmp_path)
    assert checked.problems == ()
    assert checked.pruned_ns > 0
    since = next(TapeReader(tmp_path / TAPE).inputs())[1].ts_recv
    assert since == T0 + 370 * DAY_NS + DAY_NS // 2, "the last thirty days, and no more"
    session.end()
    again = Session(tmp_path)
    assert again.late == 0
    assert again.store.pending("terminal") == []
    assert [owed.output for owed in again.store.owed("bus")] == [
        replace(model, id="alert-200", ts_alert_ns=T0 + 200 * DAY_NS + DAY_NS // 2)
    ]
    again.end()


def test_a_resume_after_pruning_tells_nothing_again(lived: pathlib.Path) -> None:
    found = let_go(lived, SETTINGS, NOW)
    assert found.outputs > 3
    assert found.segments == 3
    assert verified(lived).problems == ()
    again = Session(lived)
    assert again.begun.first > 0, "from the checkpoint"
    assert (again.late, deliver(again.store)) == (0, [])
    told = again.take(inputs(61 * 2880, 61 * 2880 + 400))
    assert deliver(again.store) == [alert.id for alert in told]
    again.end()
    assert verified(lived).problems == ()


@pytest.mark.parametrize("damage", ["gone", "damaged", "of other settings"])
def test_without_a_checkpoint_a_pruned_tape_tells_nothing_late(
    tmp_path: pathlib.Path, damage: str
) -> None:
    """To an engine without the memory of a wild market, which was pruned, a calm one's jump looks
    like an anomaly; live it was none."""
    for wild, cycles in ((0.2, range(200)), (0.01, range(200, 260)), (0.05, range(260, 261))):
        session = Session(tmp_path)
        for n in cycles:
            session.take(trade(n, 0.5 + wild * (-1) ** n))
        deliver(session.store)
        session.checkpoint()
        session.end()
    at = T0 + 200 * CYCLE + 30 * DAY_NS + 1
    assert let_go(tmp_path, SETTINGS, at).segments == 1
    saved = msgspec.msgpack.decode((tmp_path / NAME).read_bytes(), type=Checkpoint)
    (tmp_path / NAME).unlink()
    if damage == "damaged":
        (tmp_path / NAME).write_bytes(b"no")
    elif damage == "of other settings":
        (tmp_path / NAME).write_bytes(msgspec.msgpack.encode(replace(saved, settings="other")))
    cold = [
        output
        for _, _, outputs in steps(TapeReader(tmp_path / TAPE), engine_of(config_of()))
        for output in outputs
        if isinstance(output, Alert)
    ]
    assert cold
    again = Session(tmp_path)
    assert again.begun.first == 0, "from the beginning of what there is"
    assert (again.late, deliver(again.store)) == (0, [])
    again.end()


def test_what_is_on_the_tape_and_gone_from_the_store_is_not_owed_again(
    lived: pathlib.Path,
) -> None:
    """Without a checkpoint the tape must stay; the outputs go all the same."""
    (lived / NAME).unlink()
    found = let_go(lived, SETTINGS, NOW)
    assert (found.segments, "checkpoint" in found.why) == (0, True)
    assert found.outputs > 3
    again = Session(lived)
    assert (again.late, deliver(again.store)) == (0, [])
    again.end()


def test_a_dry_run_changes_nothing(lived: pathlib.Path) -> None:
    files = {file: file.read_bytes() for file in lived.rglob("*.tape")}
    dry = let_go(lived, SETTINGS, NOW, dry_run=True)
    assert {file: file.read_bytes() for file in lived.rglob("*.tape")} == files
    assert not (lived / TAPE / "pruned.json").exists()
    with closing(History(lived / STORE, "ro")) as history:
        assert history.kept_since() < T0 + DAY_NS
    done = let_go(lived, SETTINGS, NOW)
    for name in ("outputs", "segments", "freed", "rollups", "owed"):
        assert getattr(dry, name) == getattr(done, name)
    assert let_go(lived, SETTINGS, NOW).outputs == 0


def test_a_pruned_tape_is_not_compared_with_what_was_said(lived: pathlib.Path) -> None:
    notes: list[str] = []
    assert check(lived / TAPE, engine_of(config_of()), notes.append) > 3
    let_go(lived, SETTINGS, T0 + 300 * 30 * NS_PER_S + 30 * DAY_NS)
    assert check(lived / TAPE, engine_of(config_of()), notes.append) == 0
    assert len(notes) == 1
    assert "nothing can be compared" in notes[0]


def test_a_session_that_runs_is_pruned(lived: pathlib.Path) -> None:
    session = Session(lived)
    session.take([Timer(NOW)])
    assert let_go(lived, SETTINGS, NOW).segments == 3
    told = session.take(inputs(61 * 2880, 61 * 2880 + 400))
    assert told
    assert deliver(session.store) == [alert.id for alert in told]
    session.end()
    assert verified(lived).problems == ()


def test_the_checkpoint_tells_what_a_resume_does_not_need(lived: pathlib.Path) -> None:
    last = [record.n for record in TapeReader(lived / TAPE).records()][-1]
    assert last - 2 <= covered(lived) <= last
    data = (lived / NAME).read_bytes()
    saved = msgspec.msgpack.decode(data, type=Checkpoint)
    for bent in (data[:-9], msgspec.msgpack.encode(replace(saved, memory=b"x")), b""):
        (lived / NAME).write_bytes(bent)
        assert covered(lived) == 0
    (lived / NAME).write_bytes(msgspec.msgpack.encode(replace(saved, version=saved.version + 1)))
    assert covered(lived) == 0


def test_two_at_once_are_refused(lived: pathlib.Path) -> None:
    with alone(lived / TAPE), pytest.raises(ConfigError, match="another process"):
        let_go(lived, SETTINGS, NOW)


def test_ended_early_it_goes_on_the_next_time(lived: pathlib.Path) -> None:
    assert let_go(lived, SETTINGS, NOW, stop=lambda: True) == Pruned(before_ns=NOW - 30 * DAY_NS)
    assert let_go(lived, SETTINGS, NOW).segments == 3


def test_a_day_is_kept_no_longer_than_its_figures() -> None:
    with pytest.raises(ConfigError, match=r"history\.rollup_days"):
        HistorySettings(keep_days=40, rollup_days=30)


def test_in_a_service_it_is_done_beside_the_loop(lived: pathlib.Path) -> None:
    clock = Clock(NOW)

    async def run() -> tuple[Pruned, int]:
        turns, done = 0, asyncio.ensure_future(keep(SETTINGS, lived, clock))
        while not done.done():
            turns += 1
            await asyncio.sleep(0)
        return await done, turns

    found, turns = asyncio.run(run())
    assert found.segments == 3
    assert turns > 10


def test_a_cancelled_one_ends(lived: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread is told to leave, and the loop can be closed."""
    left: list[bool] = []

    def endless(*_: object, stop: module.Stop, **__: object) -> Pruned:
        while not stop():
            pass
        left.append(True)
        return Pruned(before_ns=0)

    monkeypatch.setattr(module, "let_go", endless)

    async def run() -> None:
        task = asyncio.ensure_future(keep(SETTINGS, lived, Clock(NOW)))
        await asyncio.sleep(0)
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError)

    asyncio.run(run())  # which waits for its threads
    assert left == [True]


def test_a_service_goes_on_and_says_what_it_did(
    lived: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In virtual time, so the thread is left out: its failure, then what went."""
    said: list[str] = []
    times: list[float] = []
    clock = virtual_time.loop_clock

    async def keeping(*args: object) -> Pruned:
        times.append(asyncio.get_running_loop().time() - began)
        if len(times) == 1:
            raise StoreError("the disk is on fire")
        return let_go(lived, SETTINGS, NOW)

    monkeypatch.setattr(module, "keep", keeping)
    began = 0.0

    async def run() -> None:
        nonlocal began
        began = asyncio.get_running_loop().time()
        task = asyncio.ensure_future(keep_up(SETTINGS, lived, clock(), said.append))
        await asyncio.sleep(3 * 86_400 + 60)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    virtual_time.run(run())
    assert times == [600.0, 600.0 + 86_400, 600.0 + 2 * 86_400]
    assert said[0] == "What is old could not be let go: the disk is on fire"
    assert "3 segments of tape" in said[1]


def test_what_went_in_words() -> None:
    found = Pruned(
        before_ns=T0,
        outputs=1_200,
        dead=3,
        owed=2,
        rollups=7,
        segments=2,
        freed=3 << 20,
        first=41,
        since_ns=T0,
        why="it is needed",
    )
    assert account(found) == [
        "1,200 alerts and reports from before 2025-01-01T00:00:00Z went",
        "3 of them had never been delivered to somebody",
        "2 older ones stay, as they must be delivered yet",
        "7 daily figures went",
        "2 segments of tape (3.0 MB) went",
        "the next one stays: it is needed",
        "the tape begins with record 41 of 2025-01-01T00:00:00Z now",
    ]
    assert "would go" in account(found, dry_run=True)[0]
