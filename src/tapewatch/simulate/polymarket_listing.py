"""What the simulated Polymarket lists: events, markets and their ids, made up from a seed.

No prices and no wire format. A market is one condition with two tokens; its listing says what the
catalogue knows of it now, and changes when it closes or resolves.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from tapewatch.model.time import NS_PER_S, format_rfc3339
from tapewatch.simulate.market import seeded

DAY_NS: Final = 86_400 * NS_PER_S
GAME_NS: Final = 3 * 3_600 * NS_PER_S  # from the start of a game to the end of its market
FIRST_MARKET: Final = 500_001  # any number; ids of Gamma are decimal text
FIRST_EVENT: Final = 90_001
TICK: Final = 100  # one cent in units of a ten-thousandth

_TOWNS: Final = (
    "Aberlin", "Brackwater", "Caldermoor", "Dunwick", "Eastmere", "Farrowdale", "Glenholt",
    "Harrowgate", "Inverloch", "Juniper Bay", "Kestrel Point", "Larkspur", "Millhaven",
    "Northolme", "Oakridge", "Pinecrest", "Quarry Hill", "Ravenford", "Silverton", "Thornbury",
)  # fmt: skip
_BEASTS: Final = ("Badgers", "Cranes", "Foxes", "Herons", "Otters", "Owls", "Stags", "Wolves")


class EventListing(Struct):
    """A group of markets. `neg_risk`: exactly one of them comes true."""

    id: str
    slug: str
    title: str
    neg_risk: bool = False
    group_id: str = ""  # the `negRiskMarketID` of all its markets
    markets: list["Listing"] = []


class Listing(Struct):
    """One market. `tick` in ten-thousandths of a pUSD. `hidden_tokens` is what Gamma writes as
    `clobTokenIds` while the market is not hydrated, `uma` the state of the resolution, `winner` the
    index of the outcome that came true (-1: none)."""

    number: int
    id: str
    condition: str
    question_id: str
    yes: str
    no: str
    outcomes: tuple[str, str]
    slug: str
    question: str
    event: EventListing
    created_ns: int
    end_ns: int
    tick: int = TICK
    min_size: int = 5
    active: bool = True
    closed: bool = False
    archived: bool = False
    accepting: bool = True
    closed_ns: int = 0
    uma: str = ""
    winner: int = -1
    seconds_delay: int = 0
    hidden_tokens: str | None = None
    label: str = ""  # `groupItemTitle` in a negative-risk event

    @property
    def instrument(self) -> str:
        """`polymarket:0x...`."""
        return f"polymarket:{self.condition}"

    @property
    def has_book(self) -> bool:
        """False while it is not hydrated, and after it has resolved."""
        return self.hidden_tokens is None and self.winner < 0


def identity(seed: int, what: str, length: int = 64) -> str:
    """`length` hexadecimal digits that belong to a name."""
    return hashlib.sha256(f"{seed}:{what}".encode()).hexdigest()[:length]


def token(seed: int, what: str) -> str:
    """A decimal uint256."""
    return str(int(identity(seed, what), 16))


class Lister:
    """Makes events and markets one after the other; the same seed makes the same."""

    def __init__(self, seed: int, now_ns: int) -> None:
        self._seed, self._now_ns = seed, now_ns
        self._rng = seeded(seed, "listings")
        self._markets = self._events = 0

    def game(self, *, short: bool = False, slug: str = "") -> Listing:
        """A game of two teams: one event with one market. `short` ids have 31 bytes."""
        home, away = self._rng.sample(_TOWNS, 2)
        beasts = self._rng.sample(_BEASTS, 2)
        teams = (f"{home} {beasts[0]}", f"{away} {beasts[1]}")
        day = format_rfc3339(self._now_ns, 0)[:10]
        made = f"sim-{home[:3]}-{away[:3]}-{self._markets + 1}-{day}".lower()
        event = self._event(slug or made, f"{teams[0]} vs. {teams[1]}")
        return self._market(event, teams, event.slug, f"Will the {teams[0]} win?", short=short)

    def contest(self, outcomes: int) -> list[Listing]:
        """A negative-risk event: one market for each of `outcomes`."""
        title = f"Who wins the {self._rng.choice(_TOWNS)} Cup {self._events + 1}?"
        slug = title[:-1].lower().replace(" ", "-")
        event = self._event(slug, title, neg_risk=True)
        for place in range(outcomes):
            name = f"{_TOWNS[place % len(_TOWNS)]} {_BEASTS[place % len(_BEASTS)]} {place + 1}"
            own = f"will-{name.lower().replace(' ', '-')}-win-{slug[len('who-wins-') :]}"
            question = f"Will the {name} win the cup?"
            self._market(event, ("Yes", "No"), own, question).label = name
        return event.markets

    def _event(self, slug: str, title: str, *, neg_risk: bool = False) -> EventListing:
        self._events += 1
        group = "0x" + identity(self._seed, f"group {self._events}") if neg_risk else ""
        return EventListing(
            id=str(FIRST_EVENT + self._events - 1),
            slug=slug,
            title=title,
            neg_risk=neg_risk,
            group_id=group,
            markets=[],
        )

    def _market(
        self,
        event: EventListing,
        outcomes: tuple[str, str],
        slug: str,
        question: str,
        *,
        short: bool = False,
    ) -> Listing:
        number = self._markets
        self._markets += 1
        listing = Listing(
            number=number,
            id=str(FIRST_MARKET + number),
            condition="0x" + identity(self._seed, f"condition {number}", 62 if short else 64),
            question_id="0x" + identity(self._seed, f"question {number}"),
            yes=token(self._seed, f"yes {number}"),
            no=token(self._seed, f"no {number}"),
            outcomes=outcomes,
            slug=slug,
            question=question,
            event=event,
            created_ns=self._now_ns - DAY_NS,
            end_ns=self._now_ns + DAY_NS + GAME_NS,
        )
        event.markets.append(listing)
        return listing


class Catalogue:
    """All listings, by every name that a client may use. Order of listing is kept."""

    def __init__(self) -> None:
        self.markets: list[Listing] = []
        self.events: list[EventListing] = []
        self.by_condition: dict[str, Listing] = {}
        self.by_token: dict[str, Listing] = {}

    def add(self, listings: Sequence[Listing]) -> None:
        """List them; an event that is new is listed with its first market."""
        for listing in listings:
            self.markets.append(listing)
            self.by_condition[listing.condition] = listing
            self.by_token[listing.yes] = self.by_token[listing.no] = listing
            if all(event is not listing.event for event in self.events[-2:]):
                self.events.append(listing.event)

    def find(self, word: str) -> Listing | None:
        """By condition, token, slug, or number from 1."""
        found = self.by_condition.get(word) or self.by_token.get(word)
        if found is None and word.isdecimal() and 0 < len(word) < 7:
            return self.markets[int(word) - 1] if 0 < int(word) <= len(self.markets) else None
        return found or next((one for one in self.markets if one.slug == word), None)
