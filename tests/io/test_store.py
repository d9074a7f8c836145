"""The alert store: idempotent, ordered, honest about what is wrong with its file."""

import pathlib
import sqlite3
import subprocess
import sys

import pytest
from alert_kit import make_alert

from tapewatch.io.store import SCHEMA_VERSION, Store
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
        rows = plain.execute("SELECT attempts, last_error FROM outbox ORDER BY alert_id").fetchall()
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
    store._db.execute("CREATE TRIGGER t BEFORE INSERT ON outbox WHEN NEW.alert_id = '2'"
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
        StoreError, match=r"written by a newer tapewatch \(schema 2, this one reads"
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
