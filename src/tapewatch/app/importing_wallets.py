"""Files of trades with accounts become rows of the `ndjson` venue: one a trade.

A file may hold many markets and outcomes; each is an instrument of its own, named below the one
that the user gives: `polymarket:midterms/nevada_senate/Yes`.
"""

import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from tapewatch.app import table_files
from tapewatch.app.cells import amount, found_columns, time_ns
from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.inputs import Frame
from tapewatch.model.instrument import Side, split_id
from tapewatch.model.text import clean
from tapewatch.venues.ndjson import Row, TradeRow, impossible

# Our name of a column -> the names it is known by elsewhere, likeliest first. `value` is in quote
# units: price x size.
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "time": ("time", "timestamp", "ts_ms", "ts", "ts_event", "date"),
    "account": ("account", "taker", "wallet", "proxywallet", "trader", "address"),
    "maker": ("maker", "counterparty"),
    "side": ("side", "type", "aggressor", "taker_side"),
    "size": ("size", "shares", "qty", "quantity"),
    "price": ("price",),
    "value": ("amount", "value", "usd", "notional"),
    "market": ("market", "market_slug", "slug"),
    "outcome": ("outcome",),
}
_OPTIONAL: Final = frozenset({"maker", "price", "value", "market", "outcome"})
_SIDES: Final[dict[str, Side]] = {
    "buy": "buy", "b": "buy", "bid": "buy", "sell": "sell", "s": "sell", "ask": "sell",
}  # fmt: skip
_NAME: Final = re.compile(r"[^A-Za-z0-9._\-]+")  # what an instrument's name cannot have
_ROUNDED: Final = 0.01  # relative difference from which a value was rounded more than a price
ROWS: Final = 10_000_000  # of one file, which are held in memory: 3 GB
INSTRUMENTS: Final = 2_000  # of one file


class Wallets(Struct, frozen=True, kw_only=True):
    """A file, what its instruments are named below, and what the user calls its columns."""

    file: pathlib.Path
    base: str
    columns: Mapping[str, str] = {}


def ids(table: Wallets) -> tuple[str, ...]:
    """Instruments of the file in order of appearance. Raises `ConfigError`."""
    found: dict[str, None] = {}
    names: dict[str, str] = {}
    for _, cells in table_files.rows(table.file, lambda *_: None):  # told in the real pass
        names = names or _named(table, cells)
        found.setdefault(_instrument(table, cells, names))
        if len(found) > INSTRUMENTS:
            raise ConfigError(f"{table.file.name} has more than {INSTRUMENTS:,} instruments")
    for instrument in found:
        split_id(instrument)
    return tuple(found)


def trades(table: Wallets, complain: table_files.Complain) -> Iterator[tuple[int, Frame]]:
    """Time and frame of each trade, by time: such tables are often written market by market."""
    for row in sorted(_rows(table, complain), key=lambda row: row.ts_event):
        yield row.ts_event, Frame(row.ts_event, "ndjson", msgspec.json.encode(Row(trade=row)))


def _rows(table: Wallets, complain: table_files.Complain) -> Iterator[TradeRow]:
    """Those that make sense. Raises `ConfigError` when there are too many to sort."""
    names: dict[str, str] = {}
    for number, cells in table_files.rows(table.file, complain):
        if number > ROWS:
            raise ConfigError(f"{table.file.name} has more than {ROWS:,} rows; split it by time")
        names = names or _named(table, cells)
        try:
            row = _row(table, cells, names)
        except DecodeError as error:
            complain(number, str(error))
            continue
        wrong = impossible(row)
        if wrong:
            complain(number, wrong)
        else:
            yield row


def _row(table: Wallets, cells: table_files.Row, names: dict[str, str]) -> TradeRow:
    """Raises `DecodeError`."""
    side = _text(cells, names, "side").lower()
    account = _text(cells, names, "account")
    if side not in _SIDES:
        raise DecodeError(f"no side of a trade: {clean(side, 40)}")
    if not account:
        raise DecodeError("no account")
    size = amount(_text(cells, names, "size"))
    return TradeRow(
        instrument=_instrument(table, cells, names),
        ts_event=time_ns(_text(cells, names, "time")),
        price=_price(cells, names, size),
        size=size,
        aggressor=_SIDES[side],
        taker=account,
        maker=_text(cells, names, "maker"),
    )


def _price(cells: table_files.Row, names: dict[str, str], size: float) -> float:
    """Value / size where that is a finer number than the price: of all but tiny trades."""
    value, price = _text(cells, names, "value"), _text(cells, names, "price")
    if not value or size <= 0.0:
        return amount(price)
    exact, given = amount(value) / size, amount(price) if price else 0.0
    return given if given > 0.0 and abs(exact - given) > _ROUNDED * given else exact


def _instrument(table: Wallets, cells: table_files.Row, names: dict[str, str]) -> str:
    parts = (_NAME.sub("-", _text(cells, names, part)) for part in ("market", "outcome"))
    return "/".join([table.base, *(part for part in parts if part)])


def _named(table: Wallets, cells: table_files.Row) -> dict[str, str]:
    names = found_columns(COLUMNS, _OPTIONAL, table.columns, table.file.name, cells)
    if "price" not in names and "value" not in names:
        raise ConfigError(f"{table.file.name} has no price and no value", "--columns")
    return names


def _text(cells: table_files.Row, names: dict[str, str], name: str) -> str:
    value = cells.get(names.get(name, ""))
    return "" if value is None else str(value).strip()
