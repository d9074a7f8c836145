"""The order book of one simulated market, and how each of its two tokens shows it.

Prices are whole ten-thousandths of a pUSD, sizes whole hundredths of a share. The market has one
book, that of outcome 0; outcome 1 shows it mirrored: price 1 - p, the other side, the same size.
The text of a token's book and its hash are made when they are asked for and kept until the book
changes, so that asking for many unchanged books costs nothing.
"""

import hashlib
from typing import Final, Literal, NamedTuple

from tapewatch.simulate.polymarket_listing import Listing

ONE: Final = 10_000  # 1 pUSD in price units
SHARE: Final = 100  # one share in size units

Side = Literal["BUY", "SELL"]
Generation = Literal["2024", "2025", "2026", "none"]
FLIP: Final[dict[Side, Side]] = {"BUY": "SELL", "SELL": "BUY"}

# Prices as the venue writes them: no zeros at the end.
PRICES: Final = ("0", *(f"{p / ONE:.4f}".rstrip("0") for p in range(1, ONE)), "1")


def size_text(size: int) -> str:
    """`110000`, `7.52`, `12.9`."""
    whole, rest = divmod(size, SHARE)
    return f"{whole}.{rest:02d}".rstrip("0") if rest else str(whole)


class Change(NamedTuple):
    """New size of one level of the market's book (that of outcome 0); 0 removes it."""

    side: Side
    price: int
    size: int


class MarketBook:
    """Levels by price: `bids` and `asks` are those of outcome 0."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.last = ""  # price text of the last trade, of outcome 0
        self.generation: Generation = "2025"  # of the hash
        self.yes = Face(self, flipped=False)
        self.no = Face(self, flipped=True)

    def face(self, token: str) -> "Face":
        """The book as this token shows it."""
        return self.no if token == self.listing.no else self.yes

    @property
    def best(self) -> tuple[int, int]:
        """Best bid, or 0, and best ask, or `ONE`."""
        return max(self.bids, default=0), min(self.asks, default=ONE)

    @property
    def mid(self) -> int | None:
        """Half way between the best; None where a side is empty."""
        if not (self.bids and self.asks):
            return None
        bid, ask = self.best
        return (bid + ask) // 2

    def put(self, change: Change) -> None:
        """Apply it; `stamp` afterwards, once for all changes of a message."""
        side = self.bids if change.side == "BUY" else self.asks
        if change.size > 0:
            side[change.price] = change.size
        else:
            side.pop(change.price, None)

    def stamp(self, ts_ms: int) -> None:
        """The book has changed at this time of the venue."""
        self.yes.stamp(ts_ms)
        self.no.stamp(ts_ms)

    def changes_to(self, bids: dict[int, int], asks: dict[int, int]) -> list[Change]:
        """What must be put to get these sides."""
        found: list[Change] = []
        sides: tuple[tuple[Side, dict[int, int], dict[int, int]], ...] = (
            ("BUY", self.bids, bids),
            ("SELL", self.asks, asks),
        )
        for side, old, new in sides:
            found += [Change(side, price, 0) for price in old if price not in new]
            found += [
                Change(side, price, size) for price, size in new.items() if old.get(price) != size
            ]
        return found


class Face:
    """One token's view. `ts_ms` is the venue's time of the last change."""

    def __init__(self, book: MarketBook, *, flipped: bool) -> None:
        self._book, self.flipped = book, flipped
        self.token = book.listing.no if flipped else book.listing.yes
        self.ts_ms = 0
        self._levels = ""
        self._hash = ""
        self._json = b""

    def stamp(self, ts_ms: int) -> None:
        """Forget what was made of the book as it was."""
        self.ts_ms = ts_ms
        self._levels = self._hash = ""
        self._json = b""

    @property
    def best(self) -> tuple[int, int]:
        """Best bid, or 0, and best ask, or `ONE`."""
        bid, ask = self._book.best
        return (ONE - ask, ONE - bid) if self.flipped else (bid, ask)

    @property
    def last(self) -> str:
        """Price text of the last trade, as this token sees it."""
        last = self._book.last
        return PRICES[ONE - PRICES.index(last)] if self.flipped and last else last

    def entry(self, change: Change) -> Change:
        """A change of the market's book as this token shows it."""
        if not self.flipped:
            return change
        return Change(FLIP[change.side], ONE - change.price, change.size)

    @property
    def levels(self) -> str:
        """`"bids":[...],"asks":[...]`: bids ascending, asks descending, the best last."""
        if not self._levels:
            bids, asks = self._book.bids, self._book.asks
            if self.flipped:
                bids, asks = asks, bids
            rows = (_row(ONE - p, bids[p]) if self.flipped else _row(p, bids[p])
                    for p in sorted(bids, reverse=self.flipped))  # fmt: skip
            low = ",".join(rows)
            rows = (_row(ONE - p, asks[p]) if self.flipped else _row(p, asks[p])
                    for p in sorted(asks, reverse=not self.flipped))  # fmt: skip
            self._levels = f'"bids":[{low}],"asks":[{",".join(rows)}]'
        return self._levels

    @property
    def facts(self) -> str:
        """What follows the levels in the hashed text of the newest generation, without the last
        trade."""
        listing = self._book.listing
        neg = "true" if listing.event.neg_risk else "false"
        return (
            f'"min_order_size":"{listing.min_size}","tick_size":"{PRICES[listing.tick]}",'
            f'"neg_risk":{neg}'
        )

    @property
    def hash(self) -> str:
        """SHA-1 of the compact book with an empty hash; what is hashed depends on the generation
        (`none`: something that fits no recipe)."""
        if not self._hash:
            self._hash = self._digest(self.levels)
        return self._hash

    def _digest(self, levels: str) -> str:
        facts = {
            "2024": "",
            "2025": "," + self.facts,
            "2026": f',{self.facts},"last_trade_price":"{self.last}"',
            "none": ',"salt":"x"',
        }[self._book.generation]
        text = f"{{{self.head('')},{levels}{facts}}}"
        return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def head(self, digest: str) -> str:
        """`"market":...,"asset_id":...,"timestamp":...,"hash":...`."""
        market = self._book.listing.condition
        return (
            f'"market":"{market}","asset_id":"{self.token}","timestamp":"{self.ts_ms}",'
            f'"hash":"{digest}"'
        )

    @property
    def json(self) -> bytes:
        """The REST answer."""
        if not self._json:
            self._json = self._written(self.hash, self.levels)
        return self._json

    def other(self, levels: str) -> bytes:
        """The REST answer with levels that are not the book's, but a hash that fits them."""
        return self._written(self._digest(levels), levels)

    def _written(self, digest: str, levels: str) -> bytes:
        last = f'"last_trade_price":"{self.last}"'
        return f"{{{self.head(digest)},{levels},{self.facts},{last}}}".encode()

    def message(self) -> bytes:
        """The socket's `book`."""
        return b'{"event_type":"book",' + self.json[1:]


def _row(price: int, size: int) -> str:
    return f'{{"price":"{PRICES[price]}","size":"{size_text(size)}"}}'
