"""The life of one Kraken book: snapshot, updates, checksum, resync. The same for v1 and v2.

The checksum is the only sign of a lost update. A book that fails it is void: it is asked for again
and shown only after a fresh snapshot. A pair whose checksum keeps failing right after snapshots is
one whose venue computes it differently (it has been seen); it goes on unchecked, and is said to.
"""

from typing import Final

from msgspec import Struct

from tapewatch.model.events import Book, Quote, StatusKind
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.books import ExactLevel, decimals
from tapewatch.venues.kraken_state import Market, Reading

RESYNCS: Final = 3  # failed attempts after which a book goes unchecked (protocols: LUNA pairs)
HEALTHY_NS: Final = 60 * NS_PER_S  # a book that verified for so long has no failures to its name


class BookRow(Struct, frozen=True):
    """Levels of one message; `checksum` is None where the message carries none."""

    bids: list[ExactLevel]
    asks: list[ExactLevel]
    checksum: int | None
    ts_event: int


def replace_book(reading: Reading, market: Market, row: BookRow, floors: tuple[int, int]) -> None:
    """A snapshot. `floors` are the known decimals of price and size: the text may have lost its
    zeros, and may know better when the venue has just changed its precision."""
    levels = row.bids + row.asks
    price_decimals = decimals(level.price for level in levels)
    size_decimals = decimals(level.qty for level in levels)
    if price_decimals is None or size_decimals is None:
        reading.say("invalid", market, "snapshot level", channel="book")
        return
    assert market.levels is not None
    market.levels.acked = market.levels.live = True
    market.levels.last_ns = reading.ts_recv
    book = market.book
    book.clear()
    book.price_scale = 10 ** max(price_decimals, floors[0])
    book.size_scale = 10 ** max(size_decimals, floors[1])
    market.valid = True
    _apply_exactly(reading, market, row)
    settle(reading, market, row.checksum, row.ts_event)
    if market.valid and market.failures:
        reading.say("resynced", market, channel="book")


def update_exactly(reading: Reading, market: Market, row: BookRow) -> None:
    """An update whose numbers need all their digits."""
    assert market.levels is not None
    if market.valid:
        market.levels.flows(reading.ts_recv)
        _apply_exactly(reading, market, row)
        settle(reading, market, row.checksum, row.ts_event)


def _apply_exactly(reading: Reading, market: Market, row: BookRow) -> None:
    book = market.book
    if not (book.apply_exact(book.asks, row.asks) and book.apply_exact(book.bids, row.bids)):
        # The rest of the message is lost with it; the checksum will tell whether that matters.
        reading.say("invalid", market, "book level", channel="book")


def settle(reading: Reading, market: Market, checksum: int | None, ts_event: int) -> None:
    """After the levels of one message: truncate, verify, show."""
    book, ts_recv = market.book, reading.ts_recv
    if len(book.bids.keys) > reading.depth or len(book.asks.keys) > reading.depth:
        book.truncate(reading.depth)
    if market.checked and checksum is not None and book.checksum() != checksum:
        _fail(reading, market, checksum)
        return
    if market.failures and market.checked and ts_recv - market.failed_ns > HEALTHY_NS:
        market.failures = 0
    top = book.top()
    if top != market.shown:
        market.shown = top
        prices, sizes = book.price_scale, book.size_scale
        bid, bid_size, ask, ask_size = top
        reading.events.append(
            Quote(
                market.instrument,
                ts_event,
                ts_recv,
                bid / prices,
                bid_size / sizes,
                ask / prices,
                ask_size / sizes,
            )
        )
    if reading.books:
        sides = book.side(book.bids), book.side(book.asks)
        reading.events.append(Book(market.instrument, ts_event, ts_recv, *sides))


def _fail(reading: Reading, market: Market, checksum: int) -> None:
    detail = f"venue {checksum}, ours {market.book.checksum()}"
    assert market.levels is not None
    market.void_book()
    market.levels.again(reading.ts_recv)
    market.failures += 1
    market.failed_ns = reading.ts_recv
    market.checked = market.failures <= RESYNCS
    kind: StatusKind = "checksum" if market.checked else "unchecked"
    reading.say(kind, market, detail, channel="book", ask="resubscribe")
