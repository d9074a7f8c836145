"""Where a trade belongs in its pair's sequence: passed on, dropped, or the end of a gap.

Kraken numbers the trades of a pair consecutively, so a jump is a gap, and an old number is a
duplicate unless it is missing. Websocket v1 has no numbers: there a trade is known by its content
and its position among equal ones in its frame.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, Literal

from tapewatch.model.events import Trade
from tapewatch.model.instrument import Side
from tapewatch.model.limits import TRADE_ID_RING
from tapewatch.venues.kraken_state import Market, Reading
from tapewatch.venues.sequence import Hole

TRADE_ID_MAX: Final = 2**62  # an int64 in a snapshot of the state, with room to add
FINITE: Final = float("inf")

# live: a websocket update; snapshot: the history after subscribing; rest: fetched
Origin = Literal["live", "snapshot", "rest"]


def place(reading: Reading, market: Market, trade: Trade, number: int, origin: Origin) -> None:
    """Pass on a numbered trade, or say why not."""
    sequence = market.sequence
    match sequence.place(number, trade.ts_event):
        case "again":
            if origin == "live":
                reading.say("duplicate", market, f"trade {number}", channel="trade")
            return
        case "late":
            _fill(reading, market, trade, number, origin)
            return
        case "jump":
            _gap(reading, market, number)
        case "restart":
            # What is missing of the old numbering can no longer be told from the new one.
            lose(reading, market, sequence.holes)
            sequence.holes = []
            detail = f"trade ids continue at {number} after {sequence.last_id}"
            reading.say("gap", market, detail, channel="trade")
        case "next":
            pass
    sequence.advance(number, trade.ts_event)
    reading.events.append(trade)


def _fill(reading: Reading, market: Market, trade: Trade, number: int, origin: Origin) -> None:
    sequence = market.sequence
    reading.events.append(trade)
    if origin == "live":
        reading.say("reordered", market, f"trade {number}", channel="trade")
    closed = sequence.fill(number)
    if closed is not None:
        first, last = closed.gap_first, closed.gap_last
        reading.say("gap_filled", market, channel="trade", first_id=first, last_id=last)
    lose(reading, market, sequence.overflow())


def _gap(reading: Reading, market: Market, number: int) -> None:
    sequence = market.sequence
    # One request may fill several holes: while one is under way, the timer asks for the others.
    ask_now = not sequence.holes
    hole = sequence.open(number)
    if ask_now:
        hole.asked_ns = reading.ts_recv
    reading.say(
        "gap",
        market,
        channel="trade",
        ask="backfill" if ask_now else None,
        first_id=hole.first,
        last_id=hole.last,
        since_ns=hole.since_ns,
    )
    lose(reading, market, sequence.overflow())


def lose(reading: Reading, market: Market, holes: Iterable[Hole]) -> None:
    """Say that these trades will never come."""
    for hole in holes:
        reading.say("gap_lost", market, channel="trade", first_id=hole.first, last_id=hole.last)


def first_seen(market: Market, key: str) -> bool:
    """Remember the key of a trade without a number; False when it was remembered already."""
    seen = market.seen
    if key in seen:
        return False
    if len(seen) >= TRADE_ID_RING:
        del seen[next(iter(seen))]
    seen[key] = None
    return True


def aggressor(letter: object) -> Side | None:
    """Websocket v1 and REST write the taker's side as `b` or `s`."""
    match letter:
        case "b":
            return "buy"
        case "s":
            return "sell"
        case _:
            return None


def positive(value: Decimal) -> float | None:
    """A price or size as float, None when it cannot be one."""
    number = float(value) if value.is_finite() else 0.0
    return number if 0.0 < number < FINITE else None
