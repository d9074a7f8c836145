"""What the exchange contracts write when a match is settled. No blocks: see `polygon_chain`.

A match is one transaction: a fill for each maker, then one for the taker, whose other party is the
contract itself, then `OrdersMatched`.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from tapewatch.simulate.polymarket_book import ONE
from tapewatch.simulate.polymarket_frames import Match, maker_side
from tapewatch.simulate.polymarket_listing import identity

Layout = Literal["v1", "v2"]

# Addresses and keccak-256 topics as deployed on Polygon (protocols 2.10), by layout; contracts of
# plain and of negative-risk markets.
CONTRACTS: Final[dict[Layout, tuple[str, str]]] = {
    "v1": (
        "0x4bfb41d5b3570defd03c39a9a4d8de6bd8b8982e",
        "0xc5d563a36ae78145c45a50134d48a1215220f80a",
    ),
    "v2": (
        "0xe111180000d2663c0091e4f400237545b87b996b",
        "0xe2222d279d744050d28e00520010520000310f59",
    ),
}
FILLED: Final[dict[Layout, str]] = {
    "v1": "0xd0a08e8c493f9c94f29311604c9de1b4e8c8d4c06bd0c789af57f2d65bfec0f6",
    "v2": "0xd543adfd945773f1a62f74f0ee55a5e3b9b1a28262980ba90b1a89f2ea84d8ee",
}
MATCHED: Final[dict[Layout, str]] = {
    "v1": "0x63bf4d16b7fa898ef4c4b2b6d90fd201e9c56313b65638af6088d149d2ce956c",
    "v2": "0x174b3811690657c217184f89418266767c87e4805d09680c39fc9c031c0cab7c",
}
_ADDRESS: Final = re.compile(r"0x[0-9a-f]{40}", re.ASCII)
HUNDREDTH: Final = 10_000  # of a share, in units of 1e-6: what sizes are counted in


class RawLog(Struct, frozen=True):
    """A log without its place."""

    address: str
    topics: tuple[str, ...]
    data: str


class Tx(Struct, frozen=True):
    """A transaction and what it writes."""

    hash: str
    logs: tuple[RawLog, ...]


class _Order(Struct, frozen=True):
    """One side of a match: `tokens` for `cash`, both in units of 1e-6."""

    hash: str
    wallet: str
    token: str
    buys: bool
    tokens: int
    cash: int


def settled(matches: Sequence[Match], layout: Layout, fee_rate: float = 0.0) -> Tx:
    """The transaction of one taker's matches, which share its hash."""
    first = matches[0]
    contract = CONTRACTS[layout][first.listing.event.neg_risk]
    makers = [_maker(match, place) for place, match in enumerate(matches)]
    taker = _taker(matches)
    logs = [_filled(contract, layout, one, taker.wallet, 0) for one in makers]
    logs.append(_filled(contract, layout, taker, contract, round(taker.cash * fee_rate)))
    logs.append(_matched(contract, layout, taker))
    return Tx(first.tx, tuple(logs))


def _maker(match: Match, place: int) -> _Order:
    on_no = match.on_no != match.mint
    price = ONE - match.price if match.mint else match.price
    return _Order(
        "0x" + identity(0, f"{match.tx} {place}"),
        match.wallets[1],
        match.listing.no if on_no else match.listing.yes,
        maker_side(match) == "BUY",
        match.size * HUNDREDTH,
        match.size * HUNDREDTH * price // ONE,
    )


def _taker(matches: Sequence[Match]) -> _Order:
    first = matches[0]
    return _Order(
        "0x" + identity(0, f"{first.tx} taker"),
        first.wallets[0],
        first.listing.no if first.on_no else first.listing.yes,
        first.side == "BUY",
        sum(match.size * HUNDREDTH for match in matches),
        sum(match.size * HUNDREDTH * match.price // ONE for match in matches),
    )


def _filled(contract: str, layout: Layout, order: _Order, taker: str, fee: int) -> RawLog:
    made, got = (order.cash, order.tokens) if order.buys else (order.tokens, order.cash)
    token = int(order.token)
    if layout == "v1":
        words = [*((0, token) if order.buys else (token, 0)), made, got, fee]
    else:
        words = [0 if order.buys else 1, token, made, got, fee, 0, 0]
    topics = (FILLED[layout], order.hash, _padded(order.wallet), _padded(taker))
    return RawLog(contract, topics, _data(words))


def _matched(contract: str, layout: Layout, order: _Order) -> RawLog:
    made, got = (order.cash, order.tokens) if order.buys else (order.tokens, order.cash)
    token = int(order.token)
    words = [0 if order.buys else 1, token] if layout == "v2" else [token, 0]
    topics = (MATCHED[layout], order.hash, _padded(order.wallet))
    return RawLog(contract, topics, _data([*words, made, got]))


def _padded(account: str) -> str:
    """An address as a topic; recordings name some accounts otherwise, so one is made up."""
    known = _ADDRESS.fullmatch(account.lower())
    digits = account[2:].lower() if known else identity(0, f"account {account}", 40)
    return "0x" + digits.rjust(64, "0")


def _data(words: Sequence[int]) -> str:
    return "0x" + "".join(f"{word:064x}" for word in words)
