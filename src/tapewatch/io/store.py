"""What was said and its outbox in SQLite: what must be delivered, and what was.

An alert or a report and its outbox rows are written in one transaction before anything shows it;
ids are pure functions of the inputs, so that storing the same one again (a replayed tape tail)
changes nothing. One process writes the file (`SessionLock`), from any of its threads.

Alerts, anomalous and borderline reports wait for ever. Of sampled normal reports at most `buffer`
wait for each sink; then the oldest are dropped, and counted, as bot 4.15 wants it
(`drop-after-buffer`).
"""

import contextlib
import pathlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec
from msgspec import Struct

from tapewatch.io import store_schema
from tapewatch.model import limits
from tapewatch.model.errors import StoreError
from tapewatch.model.outputs import Alert, Report
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_MS

SCHEMA_VERSION: Final = store_schema.VERSION
BUSY_S: Final = 1.0  # wait for a tool that locks the file; the loop stands still meanwhile

State = Literal["pending", "delivered", "dead", "dropped"]

_ADD: Final = (
    "INSERT OR IGNORE INTO outputs(id, what, instrument, ts_ns, sampled, mode, body)"
    " VALUES(?, ?, ?, ?, ?, ?, ?)"
)
_ADD_OUTBOX: Final = "INSERT INTO outbox(seq, sink, sampled) VALUES(?, ?, ?)"
_PENDING: Final = (
    "SELECT seq, body, mode, attempts FROM outbox JOIN outputs USING(seq)"
    " WHERE sink = ? AND state = 'pending' ORDER BY seq LIMIT ?"
)
_IS_PENDING: Final = (
    "SELECT count(*) FROM outbox"
    " WHERE seq = (SELECT seq FROM outputs WHERE id = ?) AND sink = ? AND state = 'pending'"
)
_SETTLE: Final = (
    "UPDATE outbox SET state = ?, attempts = attempts + 1, last_error = ?"
    " WHERE seq = (SELECT seq FROM outputs WHERE id = ?) AND sink = ? AND state = 'pending'"
)
# What was dropped while it was on its way has arrived all the same.
_ARRIVED: Final = (
    "UPDATE outbox SET state = 'delivered', attempts = attempts + 1, last_error = ''"
    " WHERE seq = ? AND sink = ? AND state IN ('pending', 'dropped')"
)
_FAILED: Final = (
    "UPDATE outbox SET state = ?, attempts = attempts + 1, last_error = ?"
    " WHERE seq = ? AND sink = ? AND state = 'pending'"
)
_SAMPLED: Final = (
    "SELECT coalesce(sum(rows), 0) FROM tally WHERE sink = ? AND state = 'pending' AND sampled = 1"
)
_DROP: Final = (
    "UPDATE outbox SET state = 'dropped' WHERE sink = ? AND seq IN (SELECT seq FROM outbox"
    " WHERE sink = ? AND state = 'pending' AND sampled = 1 ORDER BY seq LIMIT ?)"
)
_COUNTS: Final = "SELECT sink, state, sum(rows) FROM tally WHERE rows > 0 GROUP BY sink, state"

_decode = msgspec.json.Decoder(Alert | Report).decode
_encode = msgspec.json.Encoder().encode


class Owed(Struct, frozen=True):
    """One row of the outbox that waits. `mode` is what the caller of `add` said of it."""

    seq: int
    output: Alert | Report
    body: bytes
    mode: str
    attempts: int


class Failure(Struct, frozen=True):
    """One delivery that failed; `dead` ends the attempts and leaves a visible dead letter."""

    seq: int
    error: str
    dead: bool


class Store:
    """The store in the file `path`, created if missing, brought up to date if older. `buffer` is
    how many sampled reports may wait for one sink. Every method raises `StoreError`."""

    def __init__(self, path: pathlib.Path, *, buffer: int = limits.OUTBOX_SAMPLED) -> None:
        self._path, self._buffer = path, buffer
        self.dropped: dict[str, int] = {}  # sampled reports in this life, by sink
        self._lock = threading.RLock()
        with self._explained():
            self._db = sqlite3.connect(
                path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
        try:
            with self._explained():
                self._open()
        except StoreError:
            self._db.close()
            raise

    def add(
        self,
        outputs: Sequence[Alert | Report],
        sinks: Sequence[str],
        reports_to: Sequence[str] = (),
        mode: str = "",
    ) -> tuple[str, ...]:
        """Store outputs and owe each new alert to all `sinks`, each new report to all
        `reports_to`; durable on return.

        Returns the ids that were new. One that is known is not owed again, also not to a sink that
        was added since.
        """
        new = []
        with self._transaction():
            for output in outputs:
                row = _row(output)
                body = _encode(output)
                added = self._db.execute(_ADD, (*row, mode, body))
                if added.rowcount:
                    new.append(row[0])
                    owed_to = sinks if isinstance(output, Alert) else reports_to
                    rows = [(added.lastrowid, sink, row[-1]) for sink in owed_to]
                    self._db.executemany(_ADD_OUTBOX, rows)
            dropped = {sink: self._shed(sink) for sink in reports_to} if new else {}
        for sink, count in dropped.items():
            self.dropped[sink] = self.dropped.get(sink, 0) + count
        return tuple(new)

    def pending(self, sink: str, limit: int = limits.SINK_BATCH) -> list[Alert | Report]:
        """The oldest outputs still owed to `sink`, in order."""
        return [owed.output for owed in self.owed(sink, limit)]

    def owed(self, sink: str, limit: int = limits.SINK_BATCH) -> list[Owed]:
        """The same with their rows."""
        with self._explained():
            rows = self._db.execute(_PENDING, (sink, limit)).fetchall()
            return [
                Owed(seq, _decode(body), body, mode, attempts) for seq, body, mode, attempts in rows
            ]

    def is_pending(self, output_id: str, sink: str) -> bool:
        """True while this output is owed to `sink`."""
        with self._explained():
            return bool(self._db.execute(_IS_PENDING, (output_id, sink)).fetchone()[0])

    def mark_delivered(self, output_id: str, sink: str) -> None:
        """The sink has it."""
        self._settle("delivered", "", output_id, sink)

    def mark_failed(self, output_id: str, sink: str, error: str, *, dead: bool) -> None:
        """One attempt failed; `dead` ends the attempts and leaves a visible dead letter."""
        self._settle("dead" if dead else "pending", clean(error), output_id, sink)

    def settle(self, sink: str, arrived: Sequence[int], failures: Sequence[Failure] = ()) -> None:
        """What became of a batch of `owed` rows (their `seq`), in one transaction."""
        failed = [
            ("dead" if failure.dead else "pending", clean(failure.error), failure.seq, sink)
            for failure in failures
        ]
        with self._transaction():
            self._db.executemany(_ARRIVED, [(seq, sink) for seq in arrived])
            self._db.executemany(_FAILED, failed)

    def counts(self) -> dict[tuple[str, State], int]:
        """Outbox rows by (sink, state); absent where there are none."""
        with self._explained():
            return {(sink, state): count for sink, state, count in self._db.execute(_COUNTS)}

    def close(self) -> None:
        """Close the file."""
        with self._lock:
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
                store_schema.create(self._db)
            elif "meta" not in tables:
                raise StoreError(f"{self._name()} is a database, but not an alert store")
            version = self._db.execute("SELECT schema_version FROM meta").fetchone()[0]
            if version < SCHEMA_VERSION:
                store_schema.upgrade(self._db, version)
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self._name()} was written by a newer tapewatch (schema {version}, this one "
                f"reads {SCHEMA_VERSION}). Upgrade tapewatch, or use --name for a new session."
            )

    def _shed(self, sink: str) -> int:
        """Drop the oldest sampled reports that `sink` has no room for; how many."""
        waiting: int = self._db.execute(_SAMPLED, (sink,)).fetchone()[0]
        if waiting <= self._buffer:
            return 0
        return self._db.execute(_DROP, (sink, sink, waiting - self._buffer)).rowcount

    def _settle(self, state: State, error: str, output_id: str, sink: str) -> None:
        with self._explained():
            self._db.execute(_SETTLE, (state, error, output_id, sink))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._explained(), self._db:  # commits, or rolls back whatever went wrong
            self._db.execute("BEGIN IMMEDIATE")
            yield

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """One thread at a time, and errors in words."""
        try:
            with self._lock:
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


def _row(output: Alert | Report) -> tuple[str, str, str, int, bool]:
    """`(id, what, instrument, ts_ns, sampled)`; sampled ones may be dropped."""
    if isinstance(output, Alert):
        return output.id, "alert", output.instrument, output.ts_alert_ns, False
    at = output.emitted_at_ms * NS_PER_MS
    normal = not (output.anomaly_detected or output.low_confidence)
    return output.report_id, "report", output.instrument, at, normal
