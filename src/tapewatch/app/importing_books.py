"""Files of order book changes, one row a level, become rows of the `ndjson` venue: one a message.

A message is a run of rows with the same time, asset, kind and hash. Looked at row by row, a book
would pass through states that never were.
"""

import itertools
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from tapewatch.app import table_files
from tapewatch.app.cells import amount, found_columns, time_ns
from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.inputs import Frame
from tapewatch.model.instrument import split_id
from tapewatch.model.text import clean
from tapewatch.venues.ndjson import BookRow, Row, impossible

# Our name of a column -> the names it is known by elsewhere, likeliest first.
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "time": ("time", "ts_ms", "ts", "timestamp", "ts_event"),
    "price": ("price",),
    "size": ("size", "qty", "quantity", "amount"),
    "side": ("side",),
    "asset": ("asset_id", "token_id", "asset", "symbol"),
    "market": ("market_slug", "slug", "market"),
    "kind": ("event_type", "kind", "type"),
    "hash": ("hash", "update_id"),
}
_OPTIONAL: Final = frozenset({"asset", "market", "kind", "hash"})
_BIDS: Final = {"bid": True, "bids": True, "buy": True, "b": True}
_SIDES: Final = _BIDS | {"ask": False, "asks": False, "sell": False, "s": False, "a": False}
_SNAPSHOT: Final = {"book": True, "snapshot": True}
_KINDS: Final = _SNAPSHOT | {"price_change": False, "delta": False, "update": False, "": False}
ASSETS: Final = 64  # of one file: more is not a file of one market
_BINARY: Final = 2  # outcomes of a bet whose books repeat each other


class Books(Struct, frozen=True, kw_only=True):
    """A file, the instruments in it (in text order of the file's own ids), and what the user calls
    its columns."""

    file: pathlib.Path
    ids: tuple[str, ...]
    columns: Mapping[str, str] = {}


class _Level(Struct, frozen=True, gc=False):
    """One row: `key` is what the rows of one message share."""

    key: tuple[int, str, str, str]
    bid: bool
    price: float
    size: float


def ids(
    file: pathlib.Path, instruments: tuple[str, ...], columns: Mapping[str, str]
) -> tuple[str, ...]:
    """Instruments of the file's assets, in text order of the assets: the given ones where their
    number is right, else `<instrument>/<asset>`. Raises `ConfigError`."""
    assets = _assets(file, columns)[0]
    if len(instruments) == len(assets):
        return instruments
    if len(instruments) > 1:
        listed = clean(", ".join(assets), 400)
        raise ConfigError(
            f"{file.name} has {len(assets)} assets: {listed}; "
            "give one instrument for all of them, or one for each in this order",
            "--instrument",
        )
    found = tuple(f"{instruments[0]}/{asset}" for asset in assets)
    for instrument in found:
        split_id(instrument)
    return found


def messages(books: Books, complain: table_files.Complain) -> Iterator[tuple[int, Frame]]:
    """Receive time (never going back) and frame of each message."""
    assets, binary = _assets(books.file, books.columns)
    instruments = dict(zip(assets, books.ids, strict=True))
    newest = 0
    for (ts, asset, kind, _), run in itertools.groupby(
        _levels(books, complain), key=lambda level: level.key
    ):
        levels = list(run)
        instrument = instruments[asset]
        row = BookRow(
            instrument=instrument,
            ts_event=ts,
            bids=tuple((level.price, level.size) for level in levels if level.bid),
            asks=tuple((level.price, level.size) for level in levels if not level.bid),
            snapshot=_KINDS[kind],
            mirror_of=books.ids[0] if binary and instrument != books.ids[0] else "",
        )
        newest = max(newest, ts)  # what is late is received late
        yield ts, Frame(newest, "ndjson", msgspec.json.encode(Row(book=row)))


def _assets(file: pathlib.Path, columns: Mapping[str, str]) -> tuple[list[str], bool]:
    """The assets, in text order, and whether they are the two outcomes of one bet: exactly two
    under the name of one market."""
    names: dict[str, str] = {}
    assets: dict[str, str] = {}
    for _, cells in table_files.rows(file, lambda *_: None):  # told in the real pass
        names = names or _named(file, columns, cells)
        try:
            asset = _level(cells, names).key[1]
        except DecodeError:
            continue
        if asset not in assets:
            if len(assets) >= ASSETS:
                raise ConfigError(f"{file.name} has more than {ASSETS} assets")
            assets[asset] = _text(cells, names, "market")
    markets = set(assets.values())
    binary = "market" in names and len(assets) == _BINARY and len(markets) == 1
    return sorted(assets) or [""], binary


def _levels(books: Books, complain: table_files.Complain) -> Iterator[_Level]:
    names: dict[str, str] = {}
    for line, cells in table_files.rows(books.file, complain):
        names = names or _named(books.file, books.columns, cells)
        try:
            yield _level(cells, names)
        except DecodeError as error:
            complain(line, str(error))


def _level(cells: table_files.Row, names: dict[str, str]) -> _Level:
    """Raises `DecodeError`."""
    side = _text(cells, names, "side").lower()
    kind = _text(cells, names, "kind").lower()
    if side not in _SIDES:
        raise DecodeError(f"no side of a book: {clean(side, 40)}")
    if kind not in _KINDS:
        raise DecodeError(f"no change of a book: {clean(kind, 40)}")
    ts = time_ns(_cell(cells, names, "time"))
    price, size = amount(_cell(cells, names, "price")), amount(_cell(cells, names, "size"))
    wrong = impossible(BookRow(instrument="", ts_event=ts, bids=((price, size),)))
    if wrong:
        raise DecodeError(wrong)
    key = (ts, _text(cells, names, "asset"), kind, _text(cells, names, "hash"))
    return _Level(key, _SIDES[side], price, size)


def _named(
    file: pathlib.Path, columns: Mapping[str, str], cells: table_files.Row
) -> dict[str, str]:
    return found_columns(COLUMNS, _OPTIONAL, columns, file.name, cells)


def _cell(cells: table_files.Row, names: dict[str, str], name: str) -> Any:
    """Raises `DecodeError` where a row lacks the column."""
    value = cells.get(names[name])
    if value is None:
        raise DecodeError(f"no {name}")
    return value


def _text(cells: table_files.Row, names: dict[str, str], name: str) -> str:
    return str(cells.get(names.get(name, ""), "")).strip()
