"""Playing recorded trades: the file reader and the `Flow` that re-stamps them to now.

Prices, sizes, sides and order are exactly those of the file; only the times change, by one shift
and one factor. The book around them is invented.
"""

import csv
import math
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, json
from msgspec.structs import asdict, replace

from tapewatch.io.tape_read import TapeReader
from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.inputs import Frame
from tapewatch.model.time import NS_PER_S, parse_rfc3339
from tapewatch.simulate.book import SyntheticBook
from tapewatch.simulate.market import Fill, Step, seeded
from tapewatch.simulate.pairs import Pair

PLAYED_MAX: Final = 2_000_000  # trades held in memory
DIGITS_MAX: Final = 12  # decimals of a price or size; more is not a market's text
BOOKS_PER_S: Final = 15.0  # book messages between trades, as in the synthetic market
GAP_SHARE: Final = 1e-5  # mean distance of book levels, share of the price

_TIMES: Final = ("ts_ns", "ts_us", "ts_ms", "ts_s", "ts", "time", "timestamp", "date")
_SIZES: Final = ("qty", "size", "amount", "volume", "quantity")
_SIDES: Final = ("side", "taker_side", "aggressor")
_UNIT_NS: Final = {"ts_ns": 1, "ts_us": 1_000, "ts_ms": 1_000_000, "ts_s": NS_PER_S}


class Played(Struct, frozen=True):
    """One trade of the file."""

    ns: int
    price: Decimal
    size: Decimal
    taker: Literal["buy", "sell"]


class _TradeRow(Struct):
    symbol: str
    side: str
    price: Decimal
    qty: Decimal
    trade_id: int
    timestamp: str


class _TradeFrame(Struct):
    """The `trade` channel of websocket v2; numbers keep their exact text."""

    channel: Literal["trade"]
    data: list[_TradeRow]


def read_trades(path: pathlib.Path, symbol: str) -> list[Played]:
    """The trades of a csv or parquet file, in its order, or those of `symbol` on a tape.

    Raises `ConfigError`, or `TapeError` for a damaged tape.
    """
    try:
        trades = list(_trades(path, symbol))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read it: {error}", path.name) from error
    if not trades:
        raise ConfigError("no trades in it", path.name)
    return trades


def _trades(path: pathlib.Path, symbol: str) -> Iterator[Played]:
    last: Played | None = None
    taped = path.is_dir() or path.suffix == ".tape"
    for number, row in enumerate(_taped(path, symbol) if taped else _rows(path), start=1):
        if number > PLAYED_MAX:
            raise ConfigError(f"more than {PLAYED_MAX:,} trades; play a shorter file", path.name)
        try:
            last = _played(row, last)
        except (KeyError, ValueError, InvalidOperation, DecodeError) as error:
            raise ConfigError(f"row {number}: not a trade ({error})", path.name) from error
        yield last


def _rows(path: pathlib.Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix == ".parquet":
        try:
            from pyarrow import parquet  # type: ignore[import-untyped]  # noqa: PLC0415  an extra
        except ImportError as error:
            raise ConfigError(
                "parquet files need the extra: pip install 'tapewatch[parquet]'", path.name
            ) from error
        yield from parquet.read_table(path).to_pylist()
        return
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _taped(path: pathlib.Path, symbol: str) -> Iterator[Mapping[str, Any]]:
    """Rows of Kraken v2 trade frames, each trade once: snapshots after a reconnect repeat some."""
    seen: set[int] = set()
    decoder = json.Decoder(_TradeFrame)
    for _, item in TapeReader(path).inputs():
        if not isinstance(item, Frame) or b'"trade"' not in item.data:
            continue
        try:
            frame = decoder.decode(item.data)
        except msgspec.DecodeError:  # an acknowledgement, or a bad frame kept as evidence
            continue
        for row in frame.data:
            if row.symbol == symbol and row.trade_id not in seen:
                seen.add(row.trade_id)
                yield asdict(row)


def _played(row: Mapping[str, Any], last: Played | None) -> Played:
    price, size = _number(row["price"]), _number(row[_column(row, _SIZES)])
    named = [name for name in _SIDES if row.get(name)]
    if named:
        taker = {"b": "buy", "s": "sell"}[str(row[named[0]]).lower()[:1]]
    else:  # without a side: the tick rule
        taker = "sell" if last is not None and price < last.price else "buy"
    return Played(_time(row), price, size, "buy" if taker == "buy" else "sell")


def _column(row: Mapping[str, Any], names: Iterable[str]) -> str:
    found = [name for name in names if name in row]
    if not found:
        raise ValueError(f"no column named {' or '.join(names)}")
    return found[0]


def _number(value: Any) -> Decimal:
    number = Decimal(str(value))
    if not number.is_finite() or number <= 0 or _digits(number) > DIGITS_MAX:
        raise ValueError(f"{str(value)[:40]} is not a price or size")
    return number


def _digits(number: Decimal) -> int:
    return max(0, -int(number.normalize().as_tuple().exponent))


def _time(row: Mapping[str, Any]) -> int:
    """A time in ns: the unit is in the column's name, else told by the size of the number."""
    name = _column(row, _TIMES)
    text = str(row[name])
    if "-" in text[1:] or ":" in text:
        return parse_rfc3339(text if text[-1:] in "Zz" or "+" in text else text + "Z")
    number = Decimal(text)
    if name in _UNIT_NS:
        return int(number * _UNIT_NS[name])
    # today is about 1.8e9 s, 1.8e12 ms, 1.8e15 us, 1.8e18 ns
    power = next((power for power in (9, 6, 3) if number < Decimal(10) ** (20 - power)), 0)
    return int(number.scaleb(power))


class Player:
    """A `Flow` that plays trades of one pair from the moment `begin` is called.

    `speed` divides the gaps (infinite: as fast as clients read). Until then, and between trades,
    the book is alive around the next or last price.
    """

    def __init__(
        self, pair: Pair, trades: list[Played], speed: float, seed: int, base_ns: int
    ) -> None:  # fmt: skip
        price = max(_digits(trade.price) for trade in trades)
        size = max(_digits(trade.size) for trade in trades)
        self.pair = replace(
            pair,
            price_digits=max(pair.price_digits, price),
            size_digits=max(pair.size_digits, size),
        )
        self._trades, self._speed, self._base_ns = trades, speed, base_ns
        self._rng = seeded(seed, "player")
        self._index, self._began_s = 0, math.inf
        self._last_s, self._next_book = 0.0, 0.0
        first = self._fill(trades[0])
        book = SyntheticBook(self._rng, first.price * GAP_SHARE, first.size * 10.0)
        self.books = {self.pair.symbol: book}
        self._quote(first)

    @property
    def over(self) -> bool:
        """True after the last trade."""
        return self._index == len(self._trades)

    @property
    def unpaced(self) -> bool:
        """True when trades go out as fast as clients read."""
        return math.isinf(self._speed)

    def begin(self, now_s: float) -> None:
        """The first trade is due now. Later calls change nothing."""
        self._began_s = min(self._began_s, now_s)

    def next_at(self) -> float:
        return math.inf if self.over else min(self._next_book, self._due())

    def advance(self, now_s: float) -> Step:
        symbol, due = self.pair.symbol, self._due()
        if self._next_book < due:
            self._last_s = max(self._last_s, self._next_book)
            self._next_book += self._rng.expovariate(BOOKS_PER_S)
            self.books[symbol].stir(self._ns())
            return Step(self._last_s, symbol)
        self._last_s = max(self._last_s, now_s if self.unpaced else due)
        fill = self._fill(self._trades[self._index])
        self._index += 1
        self._quote(fill)
        return Step(self._last_s, symbol, (fill,))

    def _due(self) -> float:
        if math.isinf(self._began_s) or self.over:
            return math.inf
        gap_s = (self._trades[self._index].ns - self._trades[0].ns) / NS_PER_S
        return self._began_s + gap_s / self._speed

    def _fill(self, trade: Played) -> Fill:
        return Fill(
            price=int(trade.price.scaleb(self.pair.price_digits)),
            size=int(trade.size.scaleb(self.pair.size_digits)),
            taker=trade.taker,
        )

    def _quote(self, fill: Fill) -> None:
        """The trade's price is the touch of the side that was hit."""
        bid = max(1, fill.price - (fill.taker == "buy"))
        self.books[self.pair.symbol].quote(bid, bid + 1, self._ns())

    def _ns(self) -> int:
        return self._base_ns + round(self._last_s * NS_PER_S)
