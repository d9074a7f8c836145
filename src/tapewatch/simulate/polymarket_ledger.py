"""Every trade with its wallets, as the Data API knows them: newest first, a while after the match.

A match makes two rows: the taker's and the maker's. Rows become visible when they are settled.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from tapewatch.simulate.polymarket_book import ONE, Side
from tapewatch.simulate.polymarket_frames import Match, maker_side
from tapewatch.simulate.polymarket_listing import Listing, identity

PER_MARKET: Final = 12_000  # rows kept of one market; the venue's pages end earlier
OVERALL: Final = 60_000
WALLETS: Final = 400


class Row(Struct, frozen=True):
    """One side of a match. `order` numbers rows in the order of their making."""

    listing: Listing
    outcome: int
    side: Side
    price: float
    size: float
    ns: int
    tx: str
    wallet: str
    taker: bool
    order: int
    visible_ns: int

    @property
    def token(self) -> str:
        """Of the outcome that was traded."""
        return self.listing.no if self.outcome else self.listing.yes


class Ledger:
    """Rows by market and all together, oldest first."""

    def __init__(self) -> None:
        self._all: deque[Row] = deque(maxlen=OVERALL)
        self._own: dict[str, deque[Row]] = {}
        self._count = 0
        self.volume: dict[str, float] = {}  # pUSD by condition

    def add(self, match: Match, settled_ns: int) -> None:
        """Both rows of a match; `settled_ns`: when they appear."""
        taker, maker = match.wallets
        size = match.size / 100
        outcome = int(match.on_no)
        self._row(match, outcome, match.side, match.price, size, (taker, True, settled_ns))
        other = 1 - outcome if match.mint else outcome
        price = ONE - match.price if match.mint else match.price
        self._row(match, other, maker_side(match), price, size, (maker, False, settled_ns))
        condition = match.listing.condition
        spent = match.price * size / ONE
        self.volume[condition] = self.volume.get(condition, 0.0) + spent

    def rows(self, conditions: Iterable[str] = ()) -> Iterator[Row]:
        """Newest first, of these conditions, or of all."""
        named = tuple(conditions)
        if not named:
            return reversed(self._all)
        if len(named) == 1:
            return reversed(self._own.get(named[0], deque()))
        found = [row for one in named for row in self._own.get(one, ())]
        return iter(sorted(found, key=lambda row: row.order, reverse=True))

    def _row(
        self,
        match: Match,
        outcome: int,
        side: Side,
        price: int,
        size: float,
        who: tuple[str, bool, int],
    ) -> None:
        self._count += 1
        row = Row(
            listing=match.listing,
            outcome=outcome,
            side=side,
            price=price / ONE,
            size=size,
            ns=match.ns,
            tx=match.tx,
            wallet=who[0],
            taker=who[1],
            order=self._count,
            visible_ns=who[2],
        )
        self._all.append(row)
        own = self._own.setdefault(match.listing.condition, deque(maxlen=PER_MARKET))
        own.append(row)


def wallets(seed: int, count: int = WALLETS, what: str = "wallet") -> list[str]:
    """Addresses that belong to a name."""
    return ["0x" + identity(seed, f"{what} {number}", 40) for number in range(count)]
