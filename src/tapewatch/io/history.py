"""What a store remembers of long ago: a row for each day and instrument in place of the outputs.

It works on the file of `store.Store`, beside a process that writes it: every transaction is short,
and waits for the other. Each output is added to its day once, in the order of `seq`, in the
transaction that moves the mark up to which that was done; so that doing it again changes nothing,
and outputs may go while their day's figures stay.

An output that has gone may still be on the tape, where a resume finds it and would owe it again.
Therefore the ids of those that have gone are kept (`forgotten`) for as long as the tape reaches
back, and a trigger keeps them from being stored anew. The newest output always stays, so that a
`seq` never names two.
"""

import contextlib
import pathlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

import msgspec
from msgspec import Struct

from tapewatch.io.store_schema import VERSION
from tapewatch.model.errors import StoreError
from tapewatch.model.outputs import SEVERITIES, Severity
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S

DAY_NS: Final = 86_400 * NS_PER_S
SLICE: Final = 500  # outputs of one transaction: milliseconds, so that the session hardly waits
BUSY_S: Final = 10.0  # a session writes for milliseconds; its own patience is a second

Stop = Callable[[], bool]

_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS rollups(
      day INTEGER NOT NULL, instrument TEXT NOT NULL, market TEXT NOT NULL,
      reports INTEGER NOT NULL, anomalous INTEGER NOT NULL, low_confidence INTEGER NOT NULL,
      z_price REAL, z_vol REAL,
      info INTEGER NOT NULL, warn INTEGER NOT NULL, high INTEGER NOT NULL, page INTEGER NOT NULL,
      PRIMARY KEY(day, instrument)
    ) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS rolled(seq INTEGER NOT NULL)",
    "INSERT INTO rolled SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM rolled)",
    """CREATE TABLE IF NOT EXISTS forgotten(
      id TEXT PRIMARY KEY, ts_ns INTEGER NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TRIGGER IF NOT EXISTS outputs_forgotten BEFORE INSERT ON outputs
      WHEN EXISTS (SELECT 1 FROM forgotten WHERE id = NEW.id) BEGIN SELECT RAISE(IGNORE); END""",
)
_NAMES: Final = frozenset({"rollups", "rolled", "forgotten", "outputs_forgotten"})
_NEXT: Final = "SELECT seq, instrument, ts_ns, body FROM outputs WHERE seq > ? ORDER BY seq LIMIT ?"
_MORE: Final = """INSERT INTO rollups VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT(day, instrument) DO UPDATE SET
    market = iif(excluded.market = '', market, excluded.market),
    reports = reports + excluded.reports, anomalous = anomalous + excluded.anomalous,
    low_confidence = low_confidence + excluded.low_confidence,
    z_price = nullif(max(ifnull(z_price, -1), ifnull(excluded.z_price, -1)), -1),
    z_vol = nullif(max(ifnull(z_vol, -1), ifnull(excluded.z_vol, -1)), -1),
    info = info + excluded.info, warn = warn + excluded.warn, high = high + excluded.high,
    page = page + excluded.page"""
# The newest stays. `owed`: 2 waits for somebody, 1 somebody never got it, 0 all have it.
_OLDEST: Final = """SELECT seq, id, ts_ns, ifnull((SELECT max(CASE state WHEN 'pending' THEN 2
    WHEN 'dead' THEN 1 ELSE 0 END) FROM outbox WHERE outbox.seq = outputs.seq), 0) AS owed
  FROM outputs WHERE seq > ? AND seq <= ? AND seq < (SELECT max(seq) FROM outputs)
  ORDER BY seq LIMIT ?"""
_IS_OWED: Final = "SELECT 1 FROM outbox WHERE seq = ? AND state = 'pending'"


class _Alert(Struct, frozen=True, gc=False, tag="alert"):
    """What a roll-up wants of an alert."""

    severity: Severity
    market: str = ""


class _Report(Struct, frozen=True, gc=False, tag="report"):
    """The same of a report."""

    anomaly_detected: bool
    low_confidence: bool
    z_price: float | None
    z_vol: float | None
    market: str = ""


_decode = msgspec.json.Decoder(_Alert | _Report).decode


class Rollup(Struct):
    """A day (since 1970-01-01, UTC) of one instrument. `market` is its name for people. `z_price`
    and `z_vol` are the largest absolute values, None where no report had one; the last four count
    alerts by severity."""

    day: int
    instrument: str
    market: str = ""
    reports: int = 0
    anomalous: int = 0
    low_confidence: int = 0
    z_price: float | None = None
    z_vol: float | None = None
    info: int = 0
    warn: int = 0
    high: int = 0
    page: int = 0

    @property
    def alerts(self) -> int:
        """Of any severity."""
        return self.info + self.warn + self.high + self.page

    def add(self, other: "Rollup") -> None:
        """Take another's figures in."""
        self.market = other.market or self.market
        self.reports += other.reports
        self.anomalous += other.anomalous
        self.low_confidence += other.low_confidence
        self.z_price = _larger(self.z_price, other.z_price)
        self.z_vol = _larger(self.z_vol, other.z_vol)
        for severity in SEVERITIES:
            setattr(self, severity, getattr(self, severity) + getattr(other, severity))


class Forgotten(Struct):
    """What was let go of the outputs, or would be. `owed`: old, but somebody waits for them;
    `dead`: of those that went, how many somebody never got."""

    outputs: int = 0
    owed: int = 0
    dead: int = 0


class History:
    """The history in the store file `path`, which exists. `mode` `ro` changes nothing. Use with
    `contextlib.closing`. Every method raises `StoreError`; `stop` is asked between transactions."""

    def __init__(self, path: pathlib.Path, mode: Literal["ro", "rw"] = "rw") -> None:
        self._path = path
        with self._explained():
            if not path.is_file():
                raise StoreError(f"{self._name()} is not there: this session has stored nothing")
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=BUSY_S,
                isolation_level=None,
            )
        try:
            with self._explained():
                self._open(mode)
        except StoreError:
            self._db.close()
            raise

    def roll_up(self, stop: Stop = lambda: False) -> int:
        """Add what was stored since the last time to its days; how many outputs."""
        count, more = 0, True
        while more and not stop():
            with self._explained():
                mark = self._rolled()
                last, added, rows = self._slice(mark)
                more = added == SLICE
                if added and self._keep(mark, last, rows):
                    count += added
        return count

    def forget(
        self, before_ns: int, stop: Stop = lambda: False, *, dry_run: bool = False
    ) -> Forgotten:
        """Let go of the outputs said before `before_ns` that are in their day's figures and owed to
        nobody."""
        found = Forgotten()
        after, old, rolled = 0, True, self._rolled()
        if dry_run:
            rolled = 1 << 62  # all of them would be in their day's figures
        while old and not stop():
            with self._explained():
                rows = self._db.execute(_OLDEST, (after, rolled, SLICE)).fetchall()
                aged = [row for row in rows if row[2] < before_ns]
                # Outputs come in the order of time, but for those that were stored late.
                old, after = bool(aged), rows[-1][0] if rows else after
                going = [row for row in aged if row[3] < 2]
                if not dry_run:
                    going = self._delete(going)
                found.outputs += len(going)
                found.owed += len(aged) - len(going)
                found.dead += sum(row[3] for row in going)
        return found

    def forget_rollups(self, before_day: int, *, dry_run: bool = False) -> int:
        """Let go of the figures of days before `before_day`; how many rows."""
        with self._explained():
            if not self._ready():
                return 0
            if dry_run:
                counting = "SELECT count(*) FROM rollups WHERE day < ?"
                return int(self._db.execute(counting, (before_day,)).fetchone()[0])
            return self._db.execute("DELETE FROM rollups WHERE day < ?", (before_day,)).rowcount

    def release(self, before_ns: int) -> int:
        """The tape has nothing from before `before_ns` any more, so that the ids of what was said
        then need not be kept; how many."""
        with self._explained():
            gone = self._db.execute("DELETE FROM forgotten WHERE ts_ns < ?", (before_ns,))
            return gone.rowcount

    def rollups(self, since_day: int = 0) -> list[Rollup]:
        """Figures by day and instrument, also of what has not been rolled up yet."""
        found: dict[tuple[int, str], Rollup] = {}
        with self._explained():
            if self._ready():
                for row in self._db.execute("SELECT * FROM rollups WHERE day >= ?", (since_day,)):
                    found[row[:2]] = Rollup(*row)
            mark, added = self._rolled(), SLICE
            while added == SLICE:
                mark, added, rows = self._slice(mark)
                for key, more in rows.items():
                    if key[0] >= since_day:
                        _into(found, key, more)
        return [found[key] for key in sorted(found)]

    def kept_since(self) -> int:
        """When the oldest output was said that is kept in full (ns); 0: there is none."""
        with self._explained():
            row = self._db.execute("SELECT ts_ns FROM outputs ORDER BY seq LIMIT 1").fetchone()
            return row[0] if row else 0

    def owed(self) -> int:
        """Deliveries that wait."""
        asking = "SELECT ifnull(sum(rows), 0) FROM tally WHERE state = 'pending'"
        with self._explained():
            return int(self._db.execute(asking).fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _open(self, mode: str) -> None:
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}
        if "meta" not in tables:
            raise StoreError(f"{self._name()} is not an alert store")
        version = self._db.execute("SELECT schema_version FROM meta").fetchone()[0]
        if version != VERSION:
            raise StoreError(
                f"{self._name()} was written by another tapewatch (schema {version}, this one has "
                f"{VERSION}). Go on with the session once, or upgrade."
            )
        self._db.execute("PRAGMA synchronous = NORMAL")  # what a power cut undoes is done again
        if mode == "rw" and not tables >= _NAMES:
            with self._transaction():
                for statement in _TABLES:
                    self._db.execute(statement)

    def _ready(self) -> bool:
        asking = "SELECT count(*) FROM sqlite_master WHERE name IN ('rollups', 'rolled')"
        return bool(self._db.execute(asking).fetchone()[0] == 2)

    def _rolled(self) -> int:
        """Up to which output all are in their day's figures."""
        with self._explained():
            if not self._ready():
                return 0
            return int(self._db.execute("SELECT seq FROM rolled").fetchone()[0])

    def _slice(self, mark: int) -> tuple[int, int, dict[tuple[int, str], Rollup]]:
        """The last of the next outputs after `mark`, how many they are, and their figures."""
        rows = self._db.execute(_NEXT, (mark, SLICE)).fetchall()
        found: dict[tuple[int, str], Rollup] = {}
        for _, instrument, ts_ns, body in rows:
            key = (ts_ns // DAY_NS, instrument)
            _into(found, key, _rollup(key, body))
        return rows[-1][0] if rows else mark, len(rows), found

    def _keep(self, mark: int, last: int, rows: dict[tuple[int, str], Rollup]) -> bool:
        """Add figures, and move the mark; False if somebody else has moved it since."""
        with self._transaction():
            moved = self._db.execute("UPDATE rolled SET seq = ? WHERE seq = ?", (last, mark))
            if moved.rowcount:
                values = [msgspec.structs.astuple(row) for row in rows.values()]
                self._db.executemany(_MORE, values)
        return bool(moved.rowcount)

    def _delete(self, rows: Iterable[tuple[int, str, int, int]]) -> list[tuple[int, str, int, int]]:
        """Those of the rows that went."""
        with self._transaction():
            going = [row for row in rows if not self._db.execute(_IS_OWED, row[:1]).fetchone()]
            seqs = [row[:1] for row in going]
            self._db.executemany(
                "INSERT OR IGNORE INTO forgotten VALUES(?, ?)", [row[1:3] for row in going]
            )
            self._db.executemany("DELETE FROM outbox WHERE seq = ?", seqs)
            self._db.executemany("DELETE FROM outputs WHERE seq = ?", seqs)
        return going

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._db:  # commits, or rolls back whatever went wrong
            self._db.execute("BEGIN IMMEDIATE")
            yield

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors in words."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StoreError(f"Cannot use {self._name()}: {clean(str(error))}.") from error
        except (sqlite3.DatabaseError, msgspec.DecodeError) as error:
            raise StoreError(f"{self._name()} is damaged ({clean(str(error))}).") from error

    def _name(self) -> str:
        return clean(str(self._path))


def _rollup(key: tuple[int, str], body: bytes) -> Rollup:
    """The figures of one output."""
    said = _decode(body)
    found = Rollup(*key, said.market)
    if isinstance(said, _Alert):
        setattr(found, said.severity, 1)
        return found
    found.reports, found.anomalous = 1, int(said.anomaly_detected)
    found.low_confidence = int(said.low_confidence)
    found.z_price = None if said.z_price is None else abs(said.z_price)
    found.z_vol = None if said.z_vol is None else abs(said.z_vol)
    return found


def _into(found: dict[tuple[int, str], Rollup], key: tuple[int, str], more: Rollup) -> None:
    was = found.get(key)
    if was is None:
        found[key] = more
    else:
        was.add(more)


def _larger(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else max(one, other)
