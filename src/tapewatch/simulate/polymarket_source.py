"""Playing recordings through the simulated Polymarket: order books, and trades with wallets.

Prices, sizes and order are those of the file; only times change, by one shift and one factor. A
recording begins when its market is asked for first. Of a market's two tokens the first in text
order is outcome 0, and its rows are played; the other outcome is its mirror.
"""

import csv
import gzip
import math
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Final

from msgspec import Struct

from tapewatch.model.errors import ConfigError
from tapewatch.model.time import NS_PER_S, parse_rfc3339
from tapewatch.simulate.polymarket_book import ONE, SHARE, Change, MarketBook, Side
from tapewatch.simulate.polymarket_floor import Floor
from tapewatch.simulate.polymarket_frames import Match
from tapewatch.simulate.polymarket_listing import Listing, identity

ROWS_MAX: Final = 2_000_000  # of one file, held in memory
MARKETS_MAX: Final = 500  # of one file
AHEAD: Final = 500  # frames that may wait for clients while a file is played at full speed
WAIT_S: Final = 0.001  # then look again
POOL: Final = "0x" + "a" * 40  # counterparty where a file names one wallet only
_SIDES: Final[dict[str, Side]] = {"bid": "BUY", "buy": "BUY", "ask": "SELL", "sell": "SELL"}


class Message(Struct, frozen=True):
    """One message of a recorded book; `whole` replaces what was there."""

    ns: int
    whole: bool
    changes: tuple[Change, ...]


class Deal(Struct, frozen=True):
    """One recorded trade of a wallet."""

    ns: int
    outcome: int
    side: Side
    price: int
    size: int
    wallet: str


class Recording(Struct, frozen=True):
    """One market of a file. Without `yes` and `no` its tokens are made up."""

    slug: str
    outcomes: tuple[str, str]
    yes: str
    no: str
    items: tuple[Message | Deal, ...]


def read_books(path: pathlib.Path) -> list[Recording]:
    """The books of a csv or csv.gz file, one row a level. Rows that are none are left out, as
    recorders tear lines. Raises `ConfigError`."""
    by_slug: dict[str, dict[str, list[Message]]] = {}
    try:
        for key, rows in groupby(_rows(path), key=_message_key):
            slug, asset, kind, _, stamp = key
            found = _changes(rows)
            if found and stamp.isdecimal():
                tokens = by_slug.setdefault(slug, {})
                ns = int(stamp[:16]) * (NS_PER_S // 1000)
                tokens.setdefault(asset, []).append(Message(ns, kind == "book", found))
    except (OSError, EOFError, csv.Error, UnicodeDecodeError, KeyError) as error:
        raise ConfigError(f"cannot read books from it: {error}", path.name) from error
    recordings = [
        Recording(slug, ("Yes", "No"), *_pair(tokens), tuple(tokens[min(tokens)]))
        for slug, tokens in by_slug.items()
    ]
    return _checked(recordings, path)


def read_wallets(path: pathlib.Path) -> list[Recording]:
    """The trades of a parquet file with the columns market, Timestamp, Account, Type, Outcome,
    Shares, Price. Raises `ConfigError`."""
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-untyped]  # noqa: PLC0415  an extra
    except ImportError as error:
        raise ConfigError(
            "parquet files need the extra: pip install 'tapewatch[parquet]'", path.name
        ) from error
    outcomes: dict[str, dict[str, int]] = {}
    deals: dict[str, list[Deal]] = {}
    try:
        for row in parquet.read_table(path).to_pylist()[:ROWS_MAX]:
            slug = str(row["market"]).replace("_", "-")
            places = outcomes.setdefault(slug, {})
            place = places.setdefault(str(row["Outcome"]), len(places))
            deal = _deal(row, place)
            if deal is not None:
                deals.setdefault(slug, []).append(deal)
    except (OSError, ArrowException, KeyError) as error:
        raise ConfigError(f"cannot read trades from it: {error}", path.name) from error
    recordings = [
        Recording(slug, _two(outcomes[slug]), "", "", tuple(found)) for slug, found in deals.items()
    ]
    return _checked(recordings, path)


def _checked(recordings: list[Recording], path: pathlib.Path) -> list[Recording]:
    if not recordings:
        raise ConfigError("nothing to play in it", path.name)
    if len(recordings) > MARKETS_MAX:
        raise ConfigError(f"more than {MARKETS_MAX} markets", path.name)
    return recordings


def _rows(path: pathlib.Path) -> Iterator[dict[str, str]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if number >= ROWS_MAX:
                raise ConfigError(f"more than {ROWS_MAX:,} rows", path.name)
            if None not in row.values():  # a torn line lacks columns
                yield row


def _message_key(row: Mapping[str, str]) -> tuple[str, str, str, str, str]:
    return (
        row["market_slug"],
        row["asset_id"],
        row["event_type"],
        row["hash"],
        row["timestamp"],
    )


def _changes(rows: Iterable[Mapping[str, str]]) -> tuple[Change, ...]:
    found: list[Change] = []
    for row in rows:
        try:
            price, size = float(row["price"]), float(row["size"])
        except ValueError:
            continue
        side = _SIDES.get(row["side"].lower())
        if side and 0 < price < 1 and 0 <= size < math.inf:
            found.append(Change(side, round(price * ONE), round(size * SHARE)))
    return tuple(found)


def _pair(tokens: Iterable[str]) -> tuple[str, str]:
    """Outcome 0 is the first in text order; a file may hold one token only."""
    first, *others = sorted(tokens)
    return first, others[0] if others else ""


def _two(outcomes: Mapping[str, int]) -> tuple[str, str]:
    first, *others = outcomes
    return first, others[0] if others else f"not {first}"


def _deal(row: Mapping[str, Any], place: int) -> Deal | None:
    """None for a row without price or shares, or of a third outcome."""
    price, shares = row["Price"], row["Shares"]
    if not (isinstance(price, float) and isinstance(shares, float)) or place > 1:
        return None
    if not (0 < price < 1 and 0 < shares < math.inf):
        return None
    return Deal(
        ns=parse_rfc3339(row["Timestamp"].isoformat() + "Z"),
        outcome=place,
        side="BUY" if row["Type"] == "Buy" else "SELL",
        price=max(1, min(ONE - 1, round(price * ONE))),
        size=max(1, round(shares * SHARE)),
        wallet=str(row["Account"]).lower(),
    )


class Players:
    """Plays recordings at `speed` (infinite: as fast as clients read). `waiting` says how many
    frames wait for the slowest client."""

    def __init__(self, floor: Floor, speed: float, seed: int, waiting: Callable[[], int]) -> None:
        self._floor, self._speed, self._seed, self._waiting = floor, speed, seed, waiting
        self._exchange, self._agenda = floor.exchange, floor.agenda
        self._deals = 0
        self.left = 0  # recordings that are not over

    def add(self, recordings: Iterable[Recording]) -> None:
        """List their markets; each shows its first book until somebody asks for it."""
        for recording in recordings:
            listing = self._floor.game()
            listing.slug = listing.question = recording.slug
            listing.event.slug = listing.event.title = recording.slug
            listing.outcomes = recording.outcomes
            listing.yes = recording.yes or listing.yes
            listing.no = recording.no or listing.no
            self._floor.open([listing], crowded=False)
            self.left += 1
            first = recording.items[0]
            if isinstance(first, Message):
                for change in first.changes:
                    self._exchange.books[listing.condition].put(change)
                self._exchange.books[listing.condition].stamp(self._exchange.now_ms())
            begin = self._beginning(listing, recording.items)
            self._exchange.waiting[listing.condition] = begin

    def _beginning(self, listing: Listing, items: tuple[Message | Deal, ...]) -> Callable[[], None]:
        def begin() -> None:
            self._next(listing, items, (0, self._agenda.now()))

        return begin

    def _next(
        self, listing: Listing, items: tuple[Message | Deal, ...], place: tuple[int, float]
    ) -> None:
        """Enter item `place[0]` of a recording that began at second `place[1]`."""
        index, began_s = place
        if index == len(items):
            self.left -= 1
            return
        at_s = began_s + (items[index].ns - items[0].ns) / NS_PER_S / self._speed

        def act(due_s: float) -> None:
            if math.isinf(self._speed) and self._waiting() > AHEAD:
                self._agenda.at(self._agenda.now() + WAIT_S, act)
                return
            self._play(listing, items[index])
            self._next(listing, items, (index + 1, began_s))
            del due_s

        self._agenda.at(at_s, act)

    def _play(self, listing: Listing, item: Message | Deal) -> None:
        if isinstance(item, Deal):
            self._deal(listing, item)
            return
        book: MarketBook = self._exchange.books[listing.condition]
        if not item.whole:
            self._exchange.change(book, item.changes)
            return
        book.bids.clear()
        book.asks.clear()
        for change in item.changes:
            book.put(change)
        book.stamp(self._exchange.now_ms())
        self._exchange.show(book)

    def _deal(self, listing: Listing, deal: Deal) -> None:
        self._deals += 1
        ns = self._exchange.now_ns()
        match = Match(
            listing=listing,
            on_no=deal.outcome == 1,
            side=deal.side,
            price=deal.price,
            size=deal.size,
            ns=ns,
            tx="0x" + identity(self._seed, f"deal {self._deals}"),
            wallets=(deal.wallet, POOL),
        )
        self._exchange.ledger.add(match, ns)
