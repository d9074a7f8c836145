"""Alerts and their outbox in SQLite: what must be delivered, and what was.

An alert and its outbox rows are written in one transaction before anything shows it; ids are pure
functions of the inputs, so that storing the same alert again (a replayed tape tail) changes
nothing. It is not the history of observations, and one process writes it (`SessionLock`).
"""

import contextlib
import pathlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from tapewatch.model import limits
from tapewatch.model.errors import StoreError
from tapewatch.model.outputs import Alert
from tapewatch.model.text import clean

SCHEMA_VERSION: Final = 1
BUSY_S: Final = 1.0  # wait for a tool that locks the file; the loop stands still meanwhile

State = Literal["pending", "delivered", "dead"]

_SCHEMA: Final = f"""
CREATE TABLE meta(schema_version INTEGER NOT NULL);
INSERT INTO meta VALUES({SCHEMA_VERSION});
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
_ADD_ALERT: Final = "INSERT OR IGNORE INTO alerts VALUES(?, ?, ?, ?, ?, ?, ?)"
_ADD_OUTBOX: Final = "INSERT INTO outbox(alert_id, sink) VALUES(?, ?)"
_PENDING: Final = (
    "SELECT body FROM alerts JOIN outbox ON alert_id = id"
    " WHERE sink = ? AND state = 'pending' ORDER BY alerts.rowid LIMIT ?"
)
_IS_PENDING: Final = (
    "SELECT count(*) FROM outbox WHERE alert_id = ? AND sink = ? AND state = 'pending'"
)
_SETTLE: Final = (
    "UPDATE outbox SET state = ?, attempts = attempts + 1, last_error = ?"
    " WHERE alert_id = ? AND sink = ? AND state = 'pending'"
)
_COUNTS: Final = "SELECT sink, state, count(*) FROM outbox GROUP BY sink, state"


class Store:
    """The store in the file `path`, created if missing. Every method raises `StoreError`."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        with self._explained():
            self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        try:
            with self._explained():
                self._open()
        except StoreError:
            self._db.close()
            raise

    def add(self, alerts: Sequence[Alert], sinks: Sequence[str]) -> tuple[str, ...]:
        """Store alerts and owe each new one to every sink; durable on return.

        Returns the ids that were new. An alert that is known is not owed again, also not to a sink
        that was added since.
        """
        new = []
        with self._transaction():
            for alert in alerts:
                row = (alert.id, alert.incident, alert.instrument, alert.cause, alert.severity)
                body = msgspec.json.encode(alert)
                if self._db.execute(_ADD_ALERT, (*row, alert.ts_alert_ns, body)).rowcount:
                    new.append(alert.id)
                    self._db.executemany(_ADD_OUTBOX, [(alert.id, sink) for sink in sinks])
        return tuple(new)

    def pending(self, sink: str, limit: int = limits.SINK_BATCH) -> list[Alert]:
        """The oldest alerts still owed to `sink`, in order."""
        with self._explained():
            rows = self._db.execute(_PENDING, (sink, limit)).fetchall()
            return [msgspec.json.decode(body, type=Alert) for (body,) in rows]

    def is_pending(self, alert_id: str, sink: str) -> bool:
        """True while this alert is owed to `sink`."""
        with self._explained():
            return bool(self._db.execute(_IS_PENDING, (alert_id, sink)).fetchone()[0])

    def mark_delivered(self, alert_id: str, sink: str) -> None:
        """The sink has it."""
        self._settle("delivered", "", alert_id, sink)

    def mark_failed(self, alert_id: str, sink: str, error: str, *, dead: bool) -> None:
        """One attempt failed; `dead` ends the attempts and leaves a visible dead letter."""
        self._settle("dead" if dead else "pending", clean(error), alert_id, sink)

    def counts(self) -> dict[tuple[str, State], int]:
        """Outbox rows by (sink, state); absent where there are none."""
        with self._explained():
            return {(sink, state): count for sink, state, count in self._db.execute(_COUNTS)}

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _open(self) -> None:
        check = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if check != "ok":
            raise sqlite3.DatabaseError(check)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # an alert is durable before it is shown
        with self._transaction():  # two first openers must not both create
            tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}
            if not tables:
                for statement in _SCHEMA.split(";"):  # a script would commit
                    self._db.execute(statement)
            elif "meta" not in tables:
                raise StoreError(f"{self._name()} is a database, but not an alert store")
            version = self._db.execute("SELECT schema_version FROM meta").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self._name()} was written by a newer tapewatch (schema {version}, this one "
                f"reads {SCHEMA_VERSION}). Upgrade tapewatch, or use --name for a new session."
            )

    def _settle(self, state: State, error: str, alert_id: str, sink: str) -> None:
        with self._explained():
            self._db.execute(_SETTLE, (state, error, alert_id, sink))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._explained(), self._db:  # commits, or rolls back whatever went wrong
            self._db.execute("BEGIN IMMEDIATE")
            yield

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StoreError(f"Cannot use {self._name()}: {clean(str(error))}.") from error
        except (sqlite3.DatabaseError, msgspec.DecodeError) as error:
            raise StoreError(
                f"{self._name()} is damaged ({clean(str(error))}). The tape is not affected: move "
                "the file away and start again."
            ) from error

    def _name(self) -> str:
        return clean(str(self._path))
