"""Kraken websocket v1: lists of data and objects with an `event`. All numbers are text.

A data frame is `[channel id, payload, (second payload,) channel name, pair]`.
"""

import re
from decimal import Decimal
from typing import Any, Final

from tapewatch.model.errors import DecodeError
from tapewatch.model.events import Trade
from tapewatch.model.text import clean
from tapewatch.venues.books import ExactLevel
from tapewatch.venues.kraken_books import BookRow, replace_book, update_exactly
from tapewatch.venues.kraken_replies import accepted, refused
from tapewatch.venues.kraken_state import (
    Market,
    Reading,
    Subscription,
    clock_ahead_ns,
    epoch_ns,
    halt,
    spoken,
)
from tapewatch.venues.kraken_trades import aggressor, first_seen, positive

_CHECKSUM: Final = re.compile(r"\d{1,10}", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,18}(?:\.\d{1,18})?", re.ASCII)


def decode_list(reading: Reading, message: list[Any]) -> None:
    """Decode a data frame. Raises `DecodeError`."""
    if len(message) < 4 or not isinstance(message[-2], str):
        raise DecodeError("a Kraken v1 frame is not [id, data, channel, pair]")
    # v1 sends heartbeats only while there is nothing else to send
    reading.state.beat_ns = reading.ts_recv
    channel, market = message[-2].partition("-")[0], reading.state.market(message[-1])
    subscription = None if market is None else market.subscription(channel)
    if market is None or subscription is None:
        reading.say("unknown", None, f"{message[-2]} of {spoken(message[-1])}")
    elif channel == "trade":
        if not isinstance(message[1], list):
            raise DecodeError("Kraken v1 trades are not a list")
        _trades(reading, market, subscription, message[1])
    else:
        _book(reading, market, message[1:-2])


def decode_event(reading: Reading, message: dict[str, Any]) -> None:
    """Decode an object."""
    reading.state.beat_ns = reading.ts_recv
    match message.get("event"):
        case "heartbeat" | "pong":
            pass
        case "systemStatus":
            halt(reading, message.get("status"))
        case "subscriptionStatus":
            _answer(reading, message)
        case "error":
            reading.say("rejected", None, spoken(message.get("errorMessage")))
        case other:
            reading.say("unknown", None, f"event {spoken(other)}")


def _answer(reading: Reading, message: dict[str, Any]) -> None:
    about = message.get("subscription")
    channel = spoken(about.get("name")) if isinstance(about, dict) else ""
    market = reading.state.market(message.get("pair"))
    match message.get("status"):
        case "subscribed":
            accepted(reading, market, channel)
        case "error":
            error = message.get("errorMessage")
            if error != "Subscription Not Found":  # ending what was not there is no failure
                refused(reading, [market], channel, error)
        case "unsubscribed":
            pass
        case other:
            reading.say("unknown", market, f"subscription {spoken(other)}")


def _trades(reading: Reading, market: Market, feed: Subscription, rows: list[Any]) -> None:
    # Trades from before we asked are history, which some versions of v1 send first.
    first = not feed.live
    before_ns = feed.asked_ns - clock_ahead_ns(reading.state) if first else 0
    feed.flows(reading.ts_recv)
    equal: dict[str, int] = {}
    for index, row in enumerate(rows):
        trade = _trade(market, row, index, reading.ts_recv, before_ns)
        if trade is None:
            reading.say("invalid", market, f"trade {spoken(row)}", channel="trade")
            continue
        content = f"{trade.ts_event} {trade.price!r} {trade.size!r} {trade.aggressor}"
        equal[content] = equal.get(content, 0) + 1
        if first_seen(market, f"{content} {equal[content]}"):
            market.sequence.last_ns = max(market.sequence.last_ns, trade.ts_event)
            reading.events.append(trade)
        elif not first:
            reading.say("duplicate", market, f"trade {spoken(row)}", channel="trade")


def _trade(market: Market, row: Any, index: int, ts_recv: int, before_ns: int) -> Trade | None:
    if not isinstance(row, list) or len(row) < 4:
        return None
    price, size, seconds = (number(text) for text in row[:3])
    side = aggressor(row[3])
    if price is None or size is None or seconds is None or side is None:
        return None
    ts_event, paid, amount = epoch_ns(seconds), positive(price), positive(size)
    if not ts_event or paid is None or amount is None:
        return None
    old = ts_event < before_ns
    return Trade(
        market.instrument, ts_event, ts_recv, paid, amount, side, "", index, backfilled=old
    )


def number(text: Any) -> Decimal | None:
    """The exact number that a text denotes."""
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        return None
    return Decimal(text)


def _book(reading: Reading, market: Market, payloads: list[Any]) -> None:
    levels: dict[str, list[ExactLevel]] = {}
    checksum: int | None = None
    newest = 0
    for payload in payloads:
        if not isinstance(payload, dict):
            raise DecodeError("a Kraken v1 book is not an object")
        for key, value in payload.items():
            if key == "c":
                checksum = _checksum(value)
            elif key in ("a", "b", "as", "bs") and isinstance(value, list):
                levels[key], ts_ns = _levels(reading, market, value)
                newest = max(newest, ts_ns)
            else:
                raise DecodeError(f"unknown part of a Kraken v1 book: {clean(key, 20)}")
    ts_event = newest or reading.ts_recv
    if "as" in levels or "bs" in levels:
        row = BookRow(levels.get("bs", []), levels.get("as", []), checksum, ts_event)
        replace_book(reading, market, row, (0, 0))
    else:
        row = BookRow(levels.get("b", []), levels.get("a", []), checksum, ts_event)
        update_exactly(reading, market, row)


def _checksum(text: Any) -> int:
    """The number in `text`; what is none agrees with no book."""
    return int(text) if isinstance(text, str) and _CHECKSUM.fullmatch(text) else -1


def _levels(reading: Reading, market: Market, rows: list[Any]) -> tuple[list[ExactLevel], int]:
    """Levels, and the latest of their times (ns, 0 where there is none)."""
    found, newest = [], 0
    for row in rows:
        parts = [number(text) for text in row[:3]] if isinstance(row, list) else []
        if len(parts) < 3 or parts[0] is None or parts[1] is None:
            reading.say("invalid", market, f"level {spoken(row)}", channel="book")
            continue
        found.append(ExactLevel(parts[0], parts[1]))
        if parts[2] is not None:
            newest = max(newest, epoch_ns(parts[2]))
    return found, newest
