"""The alert store: idempotent, ordered, honest about what is wrong with its file."""

import pathlib
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from alert_kit import make_alert, make_report

from tapewatch.io import store_schema
from tapewatch.io.store import SCHEMA_VERSION, Failure, Store
from tapewatch.model.errors import StoreError


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "alerts.sqlite"


def test_an_alert_is_owed_once_to_each_sink(path: pathlib.Path) -> None:
    store = Store(path)
    assert store.add([make_alert(1), make_alert(2)], ["webhook", "chat"]) == ("1", "2")
    assert store.add([make_alert(2), make_alert(3), make_alert(3)], ["webhook"]) == ("3",)
    assert store.pending("webhook") == [make_alert(1), make_alert(2), make_alert(3)]
    assert [alert.id for alert in store.pending("chat")] == ["1", "2"]
    assert store.pending("webhook", limit=1) == [make_alert(1)]
    assert store.counts() == {("chat", "pending"): 2, ("webhook", "pending"): 3}
    store.close()


def test_marks_survive_a_restart_and_are_final(path: pathlib.Path) -> None:
    store = Store(path)
    store.add([make_alert(number) for number in range(4)], ["webhook"])
    store.mark_delivered("0", "webhook")
    store.mark_failed("1", "webhook", "timeout", dead=False)
    store.mark_failed("2", "webhook", "401", dead=True)
    store.mark_failed("0", "webhook", "too late", dead=True)
    store.close()
    store = Store(path)
    assert [alert.id for alert in store.pending("webhook")] == ["1", "3"]
    assert [store.is_pending(str(number), "webhook") for number in range(5)] == [
        False,
        True,
        False,
        True,
        False,
    ]
    assert store.counts() == {
        ("webhook", "dead"): 1,
        ("webhook", "delivered"): 1,
        ("webhook", "pending"): 2,
    }
    store.close()
    with sqlite3.connect(path) as plain:
        rows = plain.execute("SELECT attempts, last_error FROM outbox ORDER BY seq").fetchall()
    plain.close()
    assert rows == [(1, ""), (1, "timeout"), (1, "401"), (0, "")]


def test_an_acknowledged_alert_survives_kill(path: pathlib.Path) -> None:
    script = (
        "import os, pathlib, signal, sys; from alert_kit import make_alert\n"
        "from tapewatch.io.store import Store\n"
        "store = Store(pathlib.Path(sys.argv[1]))\n"
        "store.add([make_alert(1)], ['webhook'])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    here = pathlib.Path(__file__).parent
    subprocess.run([sys.executable, "-c", script, str(path)], cwd=here, check=False)
    store = Store(path)
    assert [alert.id for alert in store.pending("webhook")] == ["1"]
    store.close()


def test_a_failed_transaction_leaves_nothing(path: pathlib.Path) -> None:
    store = Store(path)
    store._db.execute("CREATE TRIGGER t BEFORE INSERT ON outbox WHEN NEW.seq = 2"
                      " BEGIN SELECT RAISE(ABORT, 'no'); END")  # fmt: skip
    with pytest.raises(StoreError):
        store.add([make_alert(1), make_alert(2)], ["webhook"])
    assert store.counts() == {}
    assert store.add([make_alert(1)], ["webhook"]) == ("1",)
    store.close()


def test_a_newer_schema_is_refused(path: pathlib.Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as plain:
        plain.execute("UPDATE meta SET schema_version = ?", (SCHEMA_VERSION + 1,))
    plain.close()
    with pytest.raises(
        StoreError, match=r"written by a newer tapewatch \(schema 3, this one reads"
    ):
        Store(path)


def test_files_that_are_no_store(path: pathlib.Path) -> None:
    path.write_bytes(b"not a database at all, but long enough to look like one" * 20)
    with pytest.raises(StoreError, match=r"is damaged \(file is not a database\)"):
        Store(path)
    path.unlink()
    with sqlite3.connect(path) as plain:
        plain.execute("CREATE TABLE other(x)")
    plain.close()
    with pytest.raises(StoreError, match="is a database, but not an alert store"):
        Store(path)
    with pytest.raises(StoreError, match=r"Cannot use .*: unable to open database file"):
        Store(path / "below")


def test_a_damaged_page_is_noticed(path: pathlib.Path) -> None:
    store = Store(path)
    store.add([make_alert(number) for number in range(300)], ["webhook"])
    store.close()
    data = bytearray(path.read_bytes())
    half = len(data) // 2
    data[half : half + 8192] = b"\xa5" * 8192
    path.write_bytes(data)
    with pytest.raises(StoreError, match="is damaged"):
        Store(path)


def test_a_locked_file_is_an_error_not_a_hang(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tapewatch.io.store.BUSY_S", 0.01)
    store = Store(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="database is locked"):
        store.add([make_alert(1)], ["webhook"])
    other.execute("COMMIT")
    other.close()
    assert store.add([make_alert(1)], ["webhook"]) == ("1",)
    store.close()


def ids(store: Store, sink: str) -> list[str]:
    return [getattr(out, "report_id", "") or getattr(out, "id", "") for out in store.pending(sink)]


def test_reports_are_owed_to_those_who_take_them_in_the_order_they_came(
    path: pathlib.Path,
) -> None:
    store = Store(path)
    said = [make_report(1), make_alert(2), make_report(3, anomalous=True)]
    new = store.add(said, ["terminal", "bus"], ["bus"], mode="limited_live")
    assert len(new) == 3
    assert store.add(said, ["terminal", "bus"], ["bus"]) == ()
    assert store.pending("terminal") == [said[1]]
    owed = store.owed("bus")
    assert [row.output for row in owed] == said
    assert {row.mode for row in owed} == {"limited_live"}
    assert store.counts() == {("terminal", "pending"): 1, ("bus", "pending"): 3}
    store.close()


def test_a_batch_is_settled_at_once(path: pathlib.Path) -> None:
    store = Store(path)
    store.add([make_report(number) for number in range(4)], [], ["bus"])
    rows = store.owed("bus")
    failures = [Failure(rows[2].seq, "busy\x1b", dead=False), Failure(rows[3].seq, "no", dead=True)]
    store.settle("bus", [rows[0].seq, rows[1].seq], failures)
    assert store.counts() == {
        ("bus", "delivered"): 2, ("bus", "pending"): 1, ("bus", "dead"): 1,
    }  # fmt: skip
    assert [(row.seq, row.attempts) for row in store.owed("bus")] == [(rows[2].seq, 1)]
    with sqlite3.connect(path) as plain:
        said = plain.execute("SELECT last_error FROM outbox ORDER BY seq").fetchall()
    plain.close()
    assert [text for (text,) in said] == ["", "", "busy·", "no"]
    store.close()


def test_of_sampled_reports_the_oldest_are_dropped_and_nothing_else(path: pathlib.Path) -> None:
    store = Store(path, buffer=3)
    store.add([make_report(0, anomalous=True), make_report(1, borderline=True)], [], ["bus"])
    store.add([make_alert(1)], ["bus"], ["bus"])
    for number in range(10, 16):
        store.add([make_report(number)], [], ["bus", "other"])
    assert ids(store, "bus") == [
        "rep_ad_0xf1a2_0", "rep_ad_0xf1a2_1", "1",
        "rep_ad_0xf1a2_13", "rep_ad_0xf1a2_14", "rep_ad_0xf1a2_15",
    ]  # fmt: skip
    assert store.counts()["bus", "dropped"] == 3
    assert store.dropped == {"bus": 3, "other": 3}
    for number in range(20, 60):  # however many anomalies there are
        store.add([make_report(number, anomalous=True)], [], ["bus"])
    assert store.counts()["bus", "pending"] == 46
    assert store.counts()["bus", "dropped"] == 3
    store.close()


def test_what_was_dropped_on_its_way_has_arrived_all_the_same(path: pathlib.Path) -> None:
    store = Store(path, buffer=1)
    store.add([make_report(1)], [], ["bus"])
    on_its_way = store.owed("bus")
    store.add([make_report(2)], [], ["bus"])
    assert store.counts()["bus", "dropped"] == 1
    store.settle("bus", [on_its_way[0].seq])
    assert store.counts() == {("bus", "delivered"): 1, ("bus", "pending"): 1}
    store.close()


def test_counts_are_those_of_the_rows(path: pathlib.Path) -> None:
    store = Store(path, buffer=5)
    for number in range(40):
        store.add([make_report(number, anomalous=number % 7 == 0)], [], ["bus", "other"])
        if number % 3 == 0:
            store.settle("bus", [row.seq for row in store.owed("bus", 2)])
    with sqlite3.connect(path) as plain:
        plain.execute("DELETE FROM outbox WHERE seq < 5")
        rows = plain.execute("SELECT sink, state, count(*) FROM outbox GROUP BY sink, state")
        counted = {(sink, state): count for sink, state, count in rows}
    plain.close()
    assert store.counts() == counted
    store.close()


# The schema of tapewatch 0.1, as it was written.
SCHEMA_1 = """
CREATE TABLE meta(schema_version INTEGER NOT NULL);
INSERT INTO meta VALUES(1);
CREATE TABLE alerts(
  id TEXT PRIMARY KEY, incident TEXT NOT NULL, instrument TEXT NOT NULL, cause TEXT NOT NULL,
  severity TEXT NOT NULL, ts_alert_ns INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE TABLE outbox(
  alert_id TEXT NOT NULL REFERENCES alerts(id), sink TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending' CHECK(state IN ('pending', 'delivered', 'dead')),
  attempts INTEGER NOT NULL DEFAULT 0, last_error TEXT NOT NULL DEFAULT '',
  PRIMARY KEY(alert_id, sink)
);
CREATE INDEX outbox_pending ON outbox(sink) WHERE state = 'pending'
"""


def write_schema_1(path: pathlib.Path) -> None:
    with sqlite3.connect(path) as plain:
        plain.executescript(SCHEMA_1)
        for number in (3, 1, 2):
            alert = make_alert(number)
            row = (alert.id, alert.incident, alert.instrument, alert.cause, alert.severity)
            body = msgspec.json.encode(alert)
            plain.execute("INSERT INTO alerts VALUES(?,?,?,?,?,?,?)", (*row, number + 1, body))
        plain.execute("INSERT INTO outbox VALUES('3', 'webhook', 'delivered', 2, '')")
        plain.execute("INSERT INTO outbox VALUES('1', 'webhook', 'pending', 1, 'busy')")
        plain.execute("INSERT INTO outbox(alert_id, sink) VALUES('2', 'webhook')")
        plain.execute("INSERT INTO outbox VALUES('2', 'chat', 'dead', 10, '401')")
    plain.close()


def test_an_older_store_is_brought_up_to_date_in_place(path: pathlib.Path) -> None:
    write_schema_1(path)
    for _ in range(2):  # and is that of today from then on
        store = Store(path)
        assert store.pending("webhook") == [make_alert(1), make_alert(2)]
        assert [row.attempts for row in store.owed("webhook")] == [1, 0]
        assert store.counts() == {
            ("webhook", "delivered"): 1, ("webhook", "pending"): 2, ("chat", "dead"): 1,
        }  # fmt: skip
        assert store.add([make_alert(2), make_alert(3)], ["webhook"]) == ()
        store.close()
    with sqlite3.connect(path) as plain:
        assert plain.execute("SELECT id, incident, cause, severity FROM alerts").fetchall() == [
            ("3", "i3", "price_spike", "high"),
            ("1", "i1", "price_spike", "high"),
            ("2", "i2", "price_spike", "high"),
        ]
    plain.close()


def test_a_failed_upgrade_leaves_the_old_store(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_schema_1(path)
    broken = "INSERT INTO outputs SELECT missing FROM alerts_1"
    with monkeypatch.context() as patched:
        patched.setattr(store_schema, "_INTO_2", broken)
        with pytest.raises(StoreError, match="no such column"):
            Store(path)
    store = Store(path)
    assert len(store.pending("webhook")) == 2
    store.close()


def test_several_threads_may_use_it(path: pathlib.Path) -> None:
    store = Store(path)
    with ThreadPoolExecutor(4) as threads:
        adding = [
            threads.submit(store.add, [make_report(10 * part + n) for n in range(10)], [], ["bus"])
            for part in range(20)
        ]
        settled: set[int] = set()
        while len(settled) < 200:
            seqs = [row.seq for row in store.owed("bus")]
            store.settle("bus", seqs)
            settled.update(seqs)
        assert all(len(one.result()) == 10 for one in adding)
    assert store.counts() == {("bus", "delivered"): 200}
    store.close()
