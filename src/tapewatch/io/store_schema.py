"""Tables of the store, and how an older file becomes a newer one.

`outputs` is what was said, once an id; `outbox` what of it is owed to whom. `tally` counts the rows
of the outbox, kept by triggers, so that nobody has to walk through a month of them to know.
`alerts` is a view, for people who look with `sqlite3`.
"""

import sqlite3
from typing import Final

VERSION: Final = 2

_TABLES: Final = """
CREATE TABLE outputs(
  seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
  what TEXT NOT NULL CHECK(what IN ('alert', 'report')),
  instrument TEXT NOT NULL, ts_ns INTEGER NOT NULL, sampled INTEGER NOT NULL,
  mode TEXT NOT NULL, body BLOB NOT NULL
);
CREATE TABLE outbox(
  seq INTEGER NOT NULL REFERENCES outputs(seq), sink TEXT NOT NULL, sampled INTEGER NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending'
    CHECK(state IN ('pending', 'delivered', 'dead', 'dropped')),
  attempts INTEGER NOT NULL DEFAULT 0, last_error TEXT NOT NULL DEFAULT '',
  PRIMARY KEY(seq, sink)
) WITHOUT ROWID;
CREATE INDEX outbox_pending ON outbox(sink, seq) WHERE state = 'pending';
CREATE INDEX outbox_sampled ON outbox(sink, seq) WHERE state = 'pending' AND sampled = 1;
CREATE TABLE tally(
  sink TEXT NOT NULL, state TEXT NOT NULL, sampled INTEGER NOT NULL, rows INTEGER NOT NULL,
  PRIMARY KEY(sink, state, sampled)
) WITHOUT ROWID;
CREATE VIEW alerts AS
  SELECT id, json_extract(CAST(body AS TEXT), '$.incident') AS incident, instrument,
    json_extract(CAST(body AS TEXT), '$.cause') AS cause,
    json_extract(CAST(body AS TEXT), '$.severity') AS severity,
    ts_ns AS ts_alert_ns, body
  FROM outputs WHERE what = 'alert'
"""
_MORE: Final = (
    " INSERT INTO tally VALUES(NEW.sink, NEW.state, NEW.sampled, 1)"
    " ON CONFLICT(sink, state, sampled) DO UPDATE SET rows = rows + 1;"
)
_LESS: Final = (
    " UPDATE tally SET rows = rows - 1"
    " WHERE sink = OLD.sink AND state = OLD.state AND sampled = OLD.sampled;"
)
_TRIGGERS: Final = (
    f"CREATE TRIGGER tally_insert AFTER INSERT ON outbox BEGIN{_MORE} END",
    f"CREATE TRIGGER tally_update AFTER UPDATE OF state ON outbox BEGIN{_LESS}{_MORE} END",
    f"CREATE TRIGGER tally_delete AFTER DELETE ON outbox BEGIN{_LESS} END",
)
_FROM_1: Final = """
DROP INDEX outbox_pending;
ALTER TABLE outbox RENAME TO outbox_1;
ALTER TABLE alerts RENAME TO alerts_1
"""
_INTO_2: Final = """
INSERT INTO outputs
  SELECT rowid, id, 'alert', instrument, ts_alert_ns, 0, '', body FROM alerts_1 ORDER BY rowid;
INSERT INTO outbox
  SELECT outputs.seq, sink, 0, state, attempts, last_error
  FROM outbox_1 JOIN outputs ON outputs.id = outbox_1.alert_id;
DROP TABLE outbox_1;
DROP TABLE alerts_1;
"""


def create(db: sqlite3.Connection) -> None:
    """A new store, within the transaction of the caller."""
    db.execute("CREATE TABLE meta(schema_version INTEGER NOT NULL)")
    db.execute("INSERT INTO meta VALUES(?)", (VERSION,))
    _tables(db)


def upgrade(db: sqlite3.Connection, version: int) -> None:
    """Bring a store of an older `version` to this one, within the transaction of the caller."""
    assert version == 1, f"schema {version} has never been written"
    _each(db, _FROM_1)
    _tables(db)
    _each(db, _INTO_2)
    db.execute("UPDATE meta SET schema_version = ?", (VERSION,))


def _tables(db: sqlite3.Connection) -> None:
    _each(db, _TABLES)
    for trigger in _TRIGGERS:
        db.execute(trigger)


def _each(db: sqlite3.Connection, script: str) -> None:
    for statement in script.split(";"):  # executescript() would commit
        db.execute(statement)
