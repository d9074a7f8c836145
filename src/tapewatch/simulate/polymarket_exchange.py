"""What the simulated Polymarket knows and says: books, trades, states of markets.

Synchronous and without sockets: whoever moves the market calls `change` and `match`, and messages
for subscribers go to `tell`. Nothing is written for tokens that nobody listens to.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from tapewatch.simulate import polymarket_frames as frames
from tapewatch.simulate.faults import ActiveFaults
from tapewatch.simulate.polymarket_book import (
    FLIP,
    ONE,
    PRICES,
    Change,
    Face,
    Generation,
    MarketBook,
    Side,
)
from tapewatch.simulate.polymarket_frames import Form, Match
from tapewatch.simulate.polymarket_ledger import Ledger
from tapewatch.simulate.polymarket_listing import Catalogue, Listing, identity
from tapewatch.simulate.truth import Truth

SETTLE_NS: Final = 2_000_000_000  # from match to the Data API: one block of Polygon
NS_PER_MS: Final = 1_000_000


class Audience(Protocol):
    """Who listens. `topic` is the `event_type`."""

    def wanted(self, listing: Listing) -> bool:
        """True when somebody subscribes to a token of it."""
        ...

    def tell(self, listing: Listing, token: str, topic: str, data: bytes) -> None:
        """To the subscribers of the token; an empty one: of either token, once."""
        ...

    def announce(self, listing: Listing, topic: str, data: bytes) -> None:
        """To all who asked for custom features."""
        ...


class PolymarketExchange:
    """All markets of the venue. `now_ns` is its clock, `seed` makes transaction hashes."""

    def __init__(
        self, active: ActiveFaults, truth: Truth, now_ns: Callable[[], int], seed: int
    ) -> None:
        self.catalogue = Catalogue()
        self.books: dict[str, MarketBook] = {}  # by condition
        self.ledger = Ledger()
        self.active, self.truth = active, truth
        self.now_ns = now_ns
        self.audience: Audience | None = None
        self.form: Form = "new"
        self.waiting: dict[str, Callable[[], None]] = {}  # what begins when it is wanted first
        self._seed, self._matches = seed, 0

    def list_markets(self, listings: Sequence[Listing], *, announce: bool = False) -> None:
        """They exist from now on, with empty books."""
        self.catalogue.add(listings)
        for listing in listings:
            book = self.books[listing.condition] = MarketBook(listing)
            book.stamp(self.now_ms())
            if announce:
                self.announce(listing)

    def announce(self, listing: Listing) -> None:
        """Tell all who want to know that there is a new market."""
        if self.audience is not None:
            data = frames.new_market(listing, self.now_ms())
            self.audience.announce(listing, "new_market", data)

    def now_ms(self) -> int:
        """The venue's clock in ms."""
        return self.now_ns() // NS_PER_MS

    def want(self, listing: Listing) -> None:
        """Somebody asks for its data: a recording that waits for that begins."""
        begin = self.waiting.pop(listing.condition, None) if self.waiting else None
        if begin is not None:
            begin()

    def book(self, token: str) -> Face | None:
        """What a token shows; None where there is no order book."""
        listing = self.catalogue.by_token.get(token)
        if listing is None or not listing.has_book:
            return None
        return self.books[listing.condition].face(token)

    def change(self, book: MarketBook, changes: Sequence[Change]) -> None:
        """Levels change, in one message."""
        if not changes:
            return
        before = book.best
        for one in changes:
            book.put(one)
        book.stamp(self.now_ms())
        if self._wanted(book.listing):
            for face, data in frames.price_change(book, changes, self.form):
                self._tell(book.listing, face.token if face else "", "price_change", data)
        self._best(book, before)

    def match(
        self,
        book: MarketBook,
        side: Side,
        fills: Sequence[tuple[int, int]],
        wallets: Sequence[tuple[str, str]],
        *,
        on_no: bool = False,
        resting: bool = True,
        mint: bool = False,
    ) -> list[Match]:
        """A taker takes `fills` (price, size) in terms of outcome 0, each with its taker and maker.

        `on_no`: the taker trades the other outcome, in which the price is 1 - p and the side the
        opposite. Without `resting` the orders were never in the book (wash trades).
        """
        self._matches += 1
        ns, tx = self.now_ns(), "0x" + identity(self._seed, f"match {self._matches}")
        found = [
            Match(
                listing=book.listing,
                on_no=on_no,
                side=FLIP[side] if on_no else side,
                price=ONE - price if on_no else price,
                size=size,
                ns=ns,
                tx=tx,
                wallets=pair,
                mint=mint,
            )
            for (price, size), pair in zip(fills, wallets, strict=True)
        ]
        book.last = PRICES[fills[-1][0]]
        if resting:
            self.change(book, self._eaten(book, side, fills))
        book.stamp(self.now_ms())
        late = self.active.find("F38", book.listing.condition)
        delay_ns = int(float(late.params["seconds"]) * 1e9) if late else SETTLE_NS
        for one in found:
            self.ledger.add(one, ns + delay_ns)
        if self._wanted(book.listing):
            self.show(book)
            for one in found:
                token = book.no.token if on_no else book.yes.token
                self._tell(book.listing, token, "last_trade_price", frames.last_trade(one))
        return found

    def show(self, book: MarketBook) -> None:
        """Send complete books of both tokens."""
        if self._wanted(book.listing) and book.listing.has_book:
            for face in (book.yes, book.no):
                self._tell(book.listing, face.token, "book", face.message())

    def retick(self, book: MarketBook, tick: int) -> None:
        """Another tick size; levels off the new grid go. No book is sent: see `show`."""
        listing, old = book.listing, book.listing.tick
        if tick == old:
            return
        listing.tick = tick
        for side in (book.bids, book.asks):
            for price in [price for price in side if price % tick]:
                del side[price]
        book.stamp(self.now_ms())
        for token in (listing.yes, listing.no):
            data = frames.tick_size_change(listing, token, old, self.now_ms())
            self._tell(listing, token, "tick_size_change", data)

    def resolve(self, listing: Listing, winner: int, *, announce: bool = True) -> None:
        """The winner is known: no book any more. Without `announce` no socket is told."""
        listing.winner, listing.closed, listing.active = winner, True, True
        listing.accepting, listing.uma = False, "resolved"
        listing.closed_ns = self.now_ns()
        book = self.books[listing.condition]
        book.bids.clear()
        book.asks.clear()
        book.stamp(self.now_ms())
        if announce:
            data = frames.market_resolved(listing, self.now_ms())
            self._tell(listing, "", "market_resolved", data)

    def rehash(self, generation: Generation) -> None:
        """From now on hashes follow another recipe."""
        for book in self.books.values():
            book.generation = generation
            book.yes.stamp(book.yes.ts_ms)
            book.no.stamp(book.no.ts_ms)

    def _best(self, book: MarketBook, before: tuple[int, int]) -> None:
        if book.best != before and self._wanted(book.listing):
            for face in (book.yes, book.no):
                data = frames.best_bid_ask(book, face)
                self._tell(book.listing, face.token, "best_bid_ask", data)

    def _eaten(
        self, book: MarketBook, side: Side, fills: Sequence[tuple[int, int]]
    ) -> list[Change]:
        """What a taker leaves of the levels."""
        levels = book.asks if side == "BUY" else book.bids
        resting: Side = FLIP[side]
        return [
            Change(resting, price, max(0, levels[price] - size))
            for price, size in fills
            if price in levels
        ]

    def _wanted(self, listing: Listing) -> bool:
        return self.audience is not None and self.audience.wanted(listing)

    def _tell(self, listing: Listing, token: str, topic: str, data: bytes) -> None:
        if self.audience is not None:
            self.audience.tell(listing, token, topic, data)
