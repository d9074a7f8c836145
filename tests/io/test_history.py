"""A store's history: each output counts once, what is owed stays, what has gone stays gone."""

import pathlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from alert_kit import CONDITION, make_alert, make_report
from msgspec.structs import replace

from tapewatch.io import history as module
from tapewatch.io.history import DAY_NS, Forgotten, History, Rollup
from tapewatch.io.store import Store
from tapewatch.model.errors import StoreError
from tapewatch.model.outputs import Alert, Report, Severity
from tapewatch.model.time import NS_PER_MS

DAY = 20_000  # 2024-10-04
MARKET = f"polymarket:{CONDITION}"
SINKS = ("terminal",)
BUS = ("nats",)


def alert(number: int, day: int, severity: Severity = "high") -> Alert:
    return replace(make_alert(number), severity=severity, ts_alert_ns=day * DAY_NS + number)


def report(
    number: int, day: int, *, anomalous: bool = False, z: float | None = 0.5, market: str = ""
) -> Report:
    at_ms = day * DAY_NS // NS_PER_MS + number
    made = replace(make_report(number, anomalous=anomalous), emitted_at_ms=at_ms)
    return replace(made, z_price=z, z_vol=None if z is None else -2 * z, market=market)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "alerts.sqlite"


@pytest.fixture
def store(path: pathlib.Path) -> Iterator[Store]:
    with closing(Store(path)) as store:
        yield store


@pytest.fixture
def history(path: pathlib.Path, store: Store) -> Iterator[History]:
    with closing(History(path)) as history:
        yield history


def deliver(store: Store, sink: str) -> None:
    while owed := store.owed(sink):
        store.settle(sink, [row.seq for row in owed])


def count(path: pathlib.Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_a_day_of_a_market_is_a_row(store: Store, history: History) -> None:
    said = [
        report(1, DAY, market="nfl-game · Yes"),
        report(2, DAY, anomalous=True, z=-3.5),
        replace(report(3, DAY, z=None), low_confidence=True),
        report(4, DAY + 1),
        replace(alert(5, DAY, "warn"), instrument=MARKET),
        replace(alert(6, DAY, "page"), instrument=MARKET),
        alert(7, DAY),
    ]
    store.add(said, SINKS, BUS)
    expected = [
        Rollup(DAY, "kraken:BTC/USD", high=1),
        Rollup(DAY, MARKET, "nfl-game · Yes", 3, 1, 1, 3.5, 7.0, warn=1, page=1),
        Rollup(DAY + 1, MARKET, "", 1, 0, 0, 0.5, 1.0),
    ]
    assert history.rollups() == expected, "what is not rolled up yet is seen as well"
    assert history.roll_up() == 7
    assert history.rollups() == expected
    assert history.rollups(DAY + 1) == expected[2:]


def test_doing_it_again_changes_nothing(
    path: pathlib.Path, store: Store, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE", 3)
    store.add([report(n, DAY, z=float(n)) for n in range(8)], SINKS, BUS)
    assert history.roll_up() == 8
    before = history.rollups()
    assert history.roll_up() == 0
    with closing(History(path)) as other:
        assert other.roll_up() == 0
    store.add([report(n, DAY, z=float(n)) for n in range(10)], SINKS, BUS)
    assert history.roll_up() == 2
    assert before == [Rollup(DAY, MARKET, "", 8, 0, 0, 7.0, 14.0)]
    assert history.rollups() == [Rollup(DAY, MARKET, "", 10, 0, 0, 9.0, 18.0)]


def test_a_name_is_kept_and_a_newer_one_replaces_it(store: Store, history: History) -> None:
    for number, market in enumerate(("old", "", "new", "")):
        store.add([report(number, DAY, market=market)], SINKS)
        history.roll_up()
    assert [row.market for row in history.rollups()] == ["new"]


def test_of_two_at_once_one_counts(path: pathlib.Path, store: Store, history: History) -> None:
    """The other process moves the mark between our reading and our writing."""
    store.add([report(1, DAY)], SINKS)
    last, added, rows = history._slice(0)
    with closing(History(path)) as other:
        assert other.roll_up() == 1
    assert added == 1
    assert history._keep(0, last, rows) is False
    assert [row.reports for row in history.rollups()] == [1]


def test_what_is_old_and_owed_to_nobody_goes(
    path: pathlib.Path, store: Store, history: History
) -> None:
    store.add([alert(n, DAY) for n in range(5)], SINKS)
    deliver(store, "terminal")
    store.add([report(n, DAY) for n in range(10, 15)], SINKS, BUS)  # the bus is away
    store.add([alert(20, DAY + 9)], SINKS)
    store.add([alert(21, DAY + 40)], SINKS)
    assert history.forget((DAY + 30) * DAY_NS) == Forgotten(), "not rolled up, so it stays"
    history.roll_up()
    dry = history.forget((DAY + 30) * DAY_NS, dry_run=True)
    assert count(path, "outputs") == 12
    assert history.forget((DAY + 30) * DAY_NS) == dry == Forgotten(outputs=5, owed=6)
    assert count(path, "outputs") == count(path, "outbox") == 7
    assert [output.report_id for output in store.pending("nats") if isinstance(output, Report)]
    deliver(store, "nats")
    deliver(store, "terminal")
    assert history.forget((DAY + 30) * DAY_NS).outputs == 6
    assert count(path, "outputs") == 1
    assert store.counts() == {("terminal", "delivered"): 1}
    assert sum(row.reports for row in history.rollups()) == 5, "the figures stay"
    assert sum(row.alerts for row in history.rollups()) == 7


def test_the_line_is_sharp(path: pathlib.Path, store: Store, history: History) -> None:
    store.add([alert(5, DAY), alert(6, DAY), alert(7, DAY), alert(8, DAY)], ())
    history.roll_up()
    history.forget(DAY * DAY_NS + 7)
    assert count(path, "outputs") == 2


def test_a_dead_letter_goes_and_is_counted(store: Store, history: History) -> None:
    store.add([alert(1, DAY), alert(2, DAY)], ("terminal", "bus"))
    deliver(store, "terminal")
    store.mark_failed("1", "bus", "no", dead=True)
    history.roll_up()
    assert history.forget((DAY + 1) * DAY_NS) == Forgotten(outputs=1, owed=0, dead=1)


def test_the_newest_stays_so_that_no_number_names_two(
    path: pathlib.Path, store: Store, history: History
) -> None:
    store.add([alert(n, DAY) for n in range(3)], ())
    history.roll_up()
    assert history.forget((DAY + 99) * DAY_NS).outputs == 2
    store.add([alert(9, DAY + 100)], SINKS)
    assert [row.seq for row in store.owed("terminal")] == [4]
    assert history.roll_up() == 1
    assert count(path, "outputs") == 2


def test_late_ones_behind_young_ones_go_when_their_turn_comes(
    path: pathlib.Path, store: Store, history: History
) -> None:
    store.add([alert(1, DAY), alert(2, DAY + 50), alert(3, DAY), alert(4, DAY + 51)], ())
    history.roll_up()
    assert history.forget((DAY + 30) * DAY_NS).outputs == 2
    assert count(path, "outputs") == 2


def test_what_has_gone_is_not_owed_again(
    path: pathlib.Path, store: Store, history: History
) -> None:
    """A tape that still has it is replayed by a resume."""
    old = [*(alert(n, DAY) for n in range(3)), report(4, DAY)]
    store.add([*old, alert(9, DAY + 60)], SINKS, BUS)
    deliver(store, "terminal")
    deliver(store, "nats")
    history.roll_up()
    history.forget((DAY + 30) * DAY_NS)
    assert store.add([*old, alert(10, DAY + 60)], SINKS, BUS) == ("10",)
    assert len(store.pending("terminal")) == 1
    assert store.pending("nats") == []
    with closing(Store(path)) as another:  # a process that knows nothing of it
        assert another.add(old, SINKS, BUS) == ()
    assert history.roll_up() == 1
    assert history.release((DAY + 1) * DAY_NS) == 4
    assert store.add(old[:1], SINKS) == ("0",), "the tape has lost it, so nobody can bring it"


def test_old_figures_go(history: History, store: Store) -> None:
    store.add([alert(day, DAY + day) for day in range(10)], ())
    history.roll_up()
    assert history.forget_rollups(DAY + 4, dry_run=True) == 4
    assert history.forget_rollups(DAY + 4) == 4
    assert [row.day for row in history.rollups()] == list(range(DAY + 4, DAY + 10))


def test_stopping_early_keeps_what_was_done(
    store: Store, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE", 2)
    store.add([alert(n, DAY) for n in range(10)], ())
    turns = iter([False, False, True, False, True])
    assert history.roll_up(lambda: next(turns)) == 4
    assert history.forget((DAY + 9) * DAY_NS, lambda: next(turns)).outputs == 2
    assert history.roll_up() == 6
    assert sum(row.alerts for row in history.rollups()) == 10


def test_looking_changes_nothing(path: pathlib.Path, store: Store) -> None:
    store.add([alert(1, DAY)], SINKS)
    store.add([alert(2, DAY)], SINKS)
    with closing(History(path, "ro")) as history:
        assert len(history.rollups()) == 1
        assert history.kept_since() == DAY * DAY_NS + 1
        assert history.owed() == 2
        assert history.forget((DAY + 9) * DAY_NS, dry_run=True) == Forgotten(owed=1)
        assert history.forget_rollups(DAY + 9) == 0
        with pytest.raises(StoreError, match="Cannot use"):
            history.roll_up()
    with closing(sqlite3.connect(path)) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    assert not names & {"rollups", "rolled", "forgotten"}


def test_an_empty_store_has_no_history(history: History) -> None:
    assert history.roll_up() == 0
    assert history.forget(DAY * DAY_NS) == Forgotten()
    assert history.rollups() == []
    assert history.kept_since() == 0


def test_beside_a_session_that_writes(path: pathlib.Path, store: Store, history: History) -> None:
    """Between our transactions the session has its turn, from another connection."""
    store.add([alert(n, DAY) for n in range(3)], ())
    turns: list[int] = []

    def stop() -> bool:
        turns.append(len(store.add([alert(100 + len(turns), DAY + 99)], SINKS)))
        return False

    history.roll_up(stop)
    history.forget((DAY + 9) * DAY_NS, stop)
    assert turns
    assert all(turns)
    assert count(path, "outputs") == len(turns)


def test_no_store_and_no_store_of_ours(tmp_path: pathlib.Path, path: pathlib.Path) -> None:
    with pytest.raises(StoreError, match="stored nothing"):
        History(path)
    assert not path.exists()
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE x(y)")
    with pytest.raises(StoreError, match="not an alert store"):
        History(other)
    path.write_bytes(b"no database at all, but long enough to be one" * 100)
    with pytest.raises(StoreError, match="damaged"):
        History(path)


def test_another_version_is_left_alone(path: pathlib.Path, store: Store) -> None:
    store.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE meta SET schema_version = 99")
    with pytest.raises(StoreError, match="another tapewatch"):
        History(path)


def test_a_bent_body_is_told(path: pathlib.Path, store: Store, history: History) -> None:
    store.add([alert(1, DAY)], ())
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE outputs SET body = x'7b7d'")
    with pytest.raises(StoreError, match="damaged"):
        history.roll_up()
