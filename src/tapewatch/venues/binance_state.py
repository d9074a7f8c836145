"""What the Binance venue remembers, and where a trade belongs in its symbol's sequence.

Binance numbers the trades of a symbol consecutively, plain and aggregated ones apart, so a jump is
a gap and an old number a duplicate unless it is missing. Quotes carry the book's update number.
"""

from collections.abc import Iterable
from typing import Final, TypedDict, Unpack

from msgspec import Struct, field

from tapewatch.model.events import Ask, Event, Status, StatusKind, Trade
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_MS, TS_MAX_NS, TS_MIN_NS
from tapewatch.venues.sequence import Hole, Sequence

ID_MAX: Final = 2**62  # an int64 in a snapshot of the state, with room to add
FINITE: Final = float("inf")
# A book's update number that falls by more has begun anew; by less, the quote is an old one.
RENUMBERED_UPDATES: Final = 1_000_000


class Market(Struct):
    """One symbol. `numbering`: which of Binance's two the sequence is in, empty until a trade."""

    name: str
    instrument: str
    sequence: Sequence = field(default_factory=Sequence)
    numbering: str = ""
    update: int = 0  # of the last quote
    data_ns: int = 0  # receipt of the last trade or quote, 0: none since the link came up


class BinanceState(Struct):
    """The memory of one source. `unanswered` are requests by id, with the time of each (ns)."""

    markets: dict[str, Market]
    unanswered: dict[int, int] = {}
    link_ns: int = 0  # since when the link is up, 0: it is down
    tries: int = 0  # to subscribe, since data last flowed


class StatusFields(TypedDict, total=False):
    """The fields of a `Status` that only some kinds have."""

    channel: str
    ask: Ask | None
    first_id: int
    last_id: int
    since_ns: int


def status(
    kind: StatusKind,
    ts_recv: int,
    market: Market | None,
    detail: str = "",
    **fields: Unpack[StatusFields],
) -> Status:
    """A `Status` of this source, its text made safe."""
    instrument = "" if market is None else market.instrument
    return Status("binance", instrument, ts_recv, ts_recv, kind, clean(detail), **fields)


def venue_ns(milliseconds: int) -> int:
    """Binance's time -> ns, 0 when out of range."""
    ns = milliseconds * NS_PER_MS
    return ns if TS_MIN_NS <= ns <= TS_MAX_NS else 0


def place(events: list[Event], market: Market, trade: Trade, number: int, *, fetched: bool) -> None:
    """Pass on a numbered trade, or say why not."""
    sequence, now = market.sequence, trade.ts_recv
    match sequence.place(number, trade.ts_event):
        case "again":
            if not fetched:
                events.append(status("duplicate", now, market, f"trade {number}", channel="trade"))
            return
        case "late":
            _fill(events, market, trade, number, fetched=fetched)
            return
        case "jump":
            _gap(events, market, number, now)
        case "restart":
            lose(events, market, sequence.holes, now)
            sequence.holes = []
            detail = f"trade ids continue at {number} after {sequence.last_id}"
            events.append(status("gap", now, market, detail, channel="trade"))
        case "next":
            pass
    sequence.advance(number, trade.ts_event)
    events.append(trade)


def _fill(events: list[Event], market: Market, trade: Trade, number: int, *, fetched: bool) -> None:
    events.append(trade)
    now = trade.ts_recv
    if not fetched:
        events.append(status("reordered", now, market, f"trade {number}", channel="trade"))
    closed = market.sequence.fill(number)
    if closed is not None:
        first, last = closed.gap_first, closed.gap_last
        events.append(
            status("gap_filled", now, market, channel="trade", first_id=first, last_id=last)
        )
    lose(events, market, market.sequence.overflow(), now)


def _gap(events: list[Event], market: Market, number: int, now: int) -> None:
    sequence = market.sequence
    ask_now = not sequence.holes  # else the timer asks when the request under way is answered
    hole = sequence.open(number)
    if ask_now:
        hole.asked_ns = now
    events.append(
        status(
            "gap",
            now,
            market,
            channel="trade",
            ask="backfill" if ask_now else None,
            first_id=hole.first,
            last_id=hole.last,
            since_ns=hole.since_ns,
        )
    )
    lose(events, market, sequence.overflow(), now)


def lose(events: list[Event], market: Market, holes: Iterable[Hole], now: int) -> None:
    """Say that these trades will never come."""
    events.extend(
        status("gap_lost", now, market, channel="trade", first_id=hole.first, last_id=hole.last)
        for hole in holes
    )
