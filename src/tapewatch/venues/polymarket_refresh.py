"""What the catalogue says of the markets that are watched, asked again and again.

A resolution is often not told over the socket, so this is how it becomes known; so do a new step of
prices, another end, and new markets of an event that is watched as a whole.
"""

from functools import lru_cache
from typing import Final

from tapewatch.venues import polymarket_news as news
from tapewatch.venues.base import Fetch, Poll
from tapewatch.venues.polymarket_gamma import (
    EVENTS,
    MARKETS,
    Page,
    ask_events,
    ask_markets,
    read_markets,
)
from tapewatch.venues.polymarket_state import PolymarketState, Reading

PATHS: Final = (MARKETS, EVENTS)  # answers at these paths are for `hear`
_PER_S: Final = 2.0  # requests: an answer has 250 kB, and all of it goes on the tape


def polls(state: PolymarketState, gamma_url: str, refresh_s: float) -> tuple[Poll, ...]:
    """The requests for markets, and for events that are watched as a whole, each every `refresh_s`,
    or more slowly if they are many."""
    conditions = [bet.market.condition for bet in state.bets if not bet.halt.startswith("resolved")]
    found = (
        ("catalogue", _markets(gamma_url, tuple(conditions))),
        ("events", _events(gamma_url, state.events)),
    )
    return tuple(
        Poll(name, max(refresh_s, len(requests) / _PER_S), requests) for name, requests in found
    )


# Asked for several times a second, and the same until a market is decided.
@lru_cache(maxsize=2)
def _markets(gamma_url: str, conditions: tuple[str, ...]) -> tuple[Fetch, ...]:
    return ask_markets(gamma_url, conditions)


@lru_cache(maxsize=2)
def _events(gamma_url: str, slugs: tuple[str, ...]) -> tuple[Fetch, ...]:
    return ask_events(gamma_url, slugs)


def hear(reading: Reading, data: bytes) -> None:
    """Take in one answer. Raises `DecodeError`.

    A market that nobody asked for is not watched: filters have been ignored before.
    """
    page: Page = read_markets(data, reading.ts_recv)
    state = reading.state
    for problem in page.problems:
        reading.say("invalid", "", problem, channel="gamma")
    for found in page.found:
        if found.condition not in state.conditions and found.event not in state.events:
            detail = f"{found.slug or found.condition}: nobody asked for this market"
            reading.say("unknown", "", detail, channel="gamma")
        elif found.market is not None:
            news.heard(reading, found.market, found.why)
