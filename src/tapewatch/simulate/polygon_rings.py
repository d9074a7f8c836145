"""Rings of wallets that trade with themselves, planted into the simulated market.

Members of a cycle pass a position on, each to the next, until it is back where it began; two play
ping-pong; one crosses its own orders. `cross` says how: complementary (one sells what the other
buys), or by turns mint (both buy, one YES, one NO) and merge (both sell).
"""

from typing import Final, Literal

from msgspec import Struct

from tapewatch.model.errors import ConfigError
from tapewatch.simulate.polymarket import PolymarketServer
from tapewatch.simulate.polymarket_book import ONE, SHARE, MarketBook, Side
from tapewatch.simulate.polymarket_ledger import wallets
from tapewatch.simulate.truth import Record

KINDS: Final = ("self_cross", "ping_pong", "cycle")
CROSSES: Final = ("complementary", "mint")
MEMBERS_MAX: Final = 5
TRADES_MAX: Final = 10_000
EDGE: Final = 100  # prices of rings stay a cent inside


class Ring(Struct, frozen=True, forbid_unknown_fields=True, rename={"at_s": "at", "for_s": "for"}):
    """One ring: from `at_s`, `trades` in `for_s` seconds, each of about `shares`. `market` is a
    slug, a condition id, or a number from 1."""

    at_s: float
    kind: Literal["self_cross", "ping_pong", "cycle"] = "cycle"
    for_s: float = 600.0
    members: int = 3
    trades: int = 60
    shares: float = 250.0
    cross: Literal["complementary", "mint"] = "complementary"
    market: str = ""

    def __post_init__(self) -> None:
        if not (0 <= self.at_s < 1e9 and 0 < self.for_s < 1e9):
            raise ConfigError(f"{self.kind}: times are seconds from the start", "--ring")
        if not (2 <= self.members <= MEMBERS_MAX and 1 <= self.trades <= TRADES_MAX):
            raise ConfigError(
                f"{self.kind}: 2 to {MEMBERS_MAX} members, 1 to {TRADES_MAX:,} trades", "--ring"
            )
        if not 1 <= self.shares < 1e9:
            raise ConfigError(f"{self.kind}: shares must be 1 or more", "--ring")

    @property
    def count(self) -> int:
        """Members in effect."""
        return {"self_cross": 1, "ping_pong": 2}.get(self.kind, self.members)


def parse(text: str) -> Ring:
    """`KIND@AT[:FOR][,members=3][,trades=60][,shares=250][,cross=mint][,market=1]`. Raises
    `ConfigError`."""
    head, *pairs = text.split(",")
    kind, _, times = head.partition("@")
    at, _, length = times.partition(":")
    given = dict(pair.partition("=")[::2] for pair in pairs)
    wrong = ConfigError(
        f'"{text[:60]}" is no ring; write KIND@AT[:FOR][,members=3,cross=mint], where KIND is'
        f" {', '.join(KINDS)}",
        "--ring",
    )
    known = given.keys() <= {"members", "trades", "shares", "cross", "market"}
    if not known or kind not in KINDS or given.get("cross", CROSSES[0]) not in CROSSES:
        raise wrong
    try:
        return Ring(
            at_s=float(at),
            kind=kind,  # type: ignore[arg-type]
            for_s=float(length or 600.0),
            members=int(given.get("members", 3)),
            trades=int(given.get("trades", 60)),
            shares=float(given.get("shares", 250.0)),
            cross=given.get("cross", CROSSES[0]),  # type: ignore[arg-type]
            market=given.get("market", ""),
        )
    except ValueError as error:
        raise wrong from error


class Rings:
    """Plants rings. Their wallets trade nowhere else."""

    def __init__(self, server: PolymarketServer, seed: int, base_ns: int) -> None:
        self._server, self._seed, self._base_ns = server, seed, base_ns
        self._count = 0

    def plant(self, ring: Ring) -> Record:
        """Enter all of its trades, and write it down. Raises `ConfigError` for no such market."""
        exchange, agenda = self._server.exchange, self._server.agenda
        listing = exchange.catalogue.find(ring.market or "1")
        if listing is None:
            raise ConfigError(f"no market {ring.market[:80]}", "--ring")
        self._count += 1
        names = wallets(self._seed, ring.count, f"chain ring {self._count}")
        book = exchange.books[listing.condition]
        for number in range(ring.trades):
            at_s = ring.at_s + ring.for_s * number / ring.trades

            def act(_: float, number: int = number) -> None:
                self._trade(ring, book, names, number)

            agenda.at(at_s, act)
        start = self._base_ns + round(ring.at_s * 1e9)
        params = {"ring": ring.kind, "cross": ring.cross, "wallets": names, "trades": ring.trades}
        record = Record(
            start,
            start + round(ring.for_s * 1e9),
            "wash",
            f"polygon:{listing.condition}",
            params=params,
        )
        self._server.truth.note(record)
        return record

    def _trade(self, ring: Ring, book: MarketBook, names: list[str], number: int) -> None:
        """One trade. A round is as many trades as there are members, of one size."""
        if not book.listing.has_book:
            return
        turn, around = divmod(number, len(names))
        maker, taker = names[around], names[(around + 1) % len(names)]
        size = round(ring.shares * SHARE * (1.0 + 0.07 * (turn % 5)))
        price = max(EDGE, min(ONE - EDGE, round((book.mid or ONE / 2) / EDGE) * EDGE))
        mint = ring.cross == "mint"
        # The taker buys what the maker passes on. By turns where that is a new pair of tokens, and
        # where there is nobody else.
        back = turn % 2 and (mint or len(names) == 1)
        side: Side = "SELL" if back else "BUY"
        self._server.exchange.match(
            book, side, [(price, size)], [(taker, maker)], resting=False, mint=mint
        )
