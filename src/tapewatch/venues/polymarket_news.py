"""News of markets: which there are, what they are called, and whether they trade.

A price that goes to 0 or 1 because the bet is decided is no anomaly, so a market that is closed,
decided or disputed is `halted`, and the gate says nothing about it.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from tapewatch.model.events import Event, StatusKind
from tapewatch.model.limits import POLYMARKET_MARKETS
from tapewatch.model.text import clean
from tapewatch.venues.polymarket_books import SCALE, units
from tapewatch.venues.polymarket_markets import CONDITION_ID, TOKEN_ID, Market
from tapewatch.venues.polymarket_state import (
    Bet,
    PolymarketState,
    Reading,
    status,
    stream_of,
)
from tapewatch.venues.polymarket_status import is_final
from tapewatch.venues.polymarket_wire import Message


def introduce(state: PolymarketState, now: int) -> list[Event]:
    """Names of markets that nobody has heard of yet; those of the settings come first."""
    if state.named == len(state.bets):
        return []
    new = state.bets[state.named :]
    state.named = len(state.bets)
    return [status("listed", now, bet.instrument, bet.market.name) for bet in new]


def listed(reading: Reading, market: Market) -> None:
    """A market that is to be watched from now on."""
    state = reading.state
    if len(state.bets) >= POLYMARKET_MARKETS:
        detail = f"{market.slug}: {POLYMARKET_MARKETS:,} markets are watched already"
        reading.say("rejected", "", detail)
        return
    bet = state.add(market)
    if bet is None:
        return
    for token in state.tokens[2 * bet.at :]:
        token.void(reading.ts_recv)
    bet.booked_ns = reading.ts_recv
    state.named = len(state.bets)
    reading.say("listed", bet.instrument, market.name, ask="resubscribe", stream=stream_of(bet))


def heard(reading: Reading, market: Market, why_not: str) -> None:
    """What the catalogue says of a market: one that is watched, or one that is to be from now on.
    `why_not` is why it does not trade, empty when it does.

    A market that does not trade and is not watched is no news.
    """
    at = reading.state.conditions.get(market.condition)
    if at is None and not why_not:
        listed(reading, market)
        return
    if at is None:
        return
    bet = reading.state.bets[at]
    known = bet.market
    if (market.yes, market.no) != (known.yes, known.no):
        reading.say("invalid", bet.instrument, "its tokens are said to be others")
        return
    bet.market = market
    if market.tick != known.tick:
        bet.tick = round(market.tick * SCALE)
    halt(reading, bet, why_not)


def halt(reading: Reading, bet: Bet, why: str) -> None:
    """Why a market does not trade, empty when it does; said when it changes."""
    why = clean(why)
    if why != bet.halt:
        bet.halt = why
        kind: StatusKind = "halted" if why else "online"
        reading.say(kind, bet.instrument, why or "it trades", value=float(is_final(why)))


def resolved(reading: Reading, message: Message) -> None:
    """The bet is decided."""
    at = reading.state.conditions.get(message.market.lower())
    if at is not None:
        halt(reading, reading.state.bets[at], f"resolved: {message.winning_outcome or 'unknown'}")


def new_market(reading: Reading, message: Message) -> None:
    """A market was opened; it is ours if it belongs to an event that is watched as a whole."""
    event = message.event_message
    slug = event.get("slug") if isinstance(event, dict) else None
    if not isinstance(slug, str) or slug not in reading.state.events:
        return
    condition = (message.condition_id or message.market).lower()
    tokens = _texts(message.clob_token_ids) or _texts(message.assets_ids)
    outcomes = _texts(message.outcomes)
    sound = CONDITION_ID.fullmatch(condition) and len(tokens) == len(outcomes) == 2
    if not sound or not all(TOKEN_ID.fullmatch(token) for token in tokens):
        reading.say("invalid", "", f"new market of {slug}")
        return
    tick = message.order_price_min_tick_size
    size = units(tick) if isinstance(tick, str | int | float) else 0
    market = Market(
        condition=condition,
        yes=tokens[0],
        no=tokens[1],
        outcomes=(clean(outcomes[0]), clean(outcomes[1])),
        slug=clean(message.slug or ""),
        question=clean(message.question or ""),
        event=slug,
        tick=size / SCALE if size > 0 else 0.01,
    )
    listed(reading, market)


def _texts(value: Any) -> Sequence[str]:
    """A list of texts, or such a list written as JSON in a text."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (ValueError, RecursionError):
            return ()
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    return ()
