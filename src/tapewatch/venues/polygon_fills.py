"""Fills of Polymarket's exchange contracts on Polygon: what one log says. Pure; no JSON-RPC.

A `matchOrders` transaction writes one `OrderFilled` for each maker's order, whose `taker` is the
real taker, and one for the taker's order, whose `taker` is the exchange contract itself. The latter
repeats the sum of the former, so it is no fill of its own.

Three kinds of match look the same here. Complementary: one sells what the other buys. Mint: one
buys YES, the other buys NO, and the pair is made of 1 pUSD. Merge: both sell. What the maker did is
written in the log; in terms of YES the taker did the opposite of it in each of the three.
"""

import re
from typing import Final, Literal

from msgspec import Struct

from tapewatch.model.errors import DecodeError
from tapewatch.model.instrument import Side

Layout = Literal["v1", "v2"]

# keccak-256 of the events' signatures (protocols 2.10). Arguments of V1 after the order's hash,
# maker and taker: ids of both assets (0: collateral), both amounts, fee; of V2: side, token id,
# both amounts, fee, builder, metadata.
TOPIC_V1: Final = "0xd0a08e8c493f9c94f29311604c9de1b4e8c8d4c06bd0c789af57f2d65bfec0f6"
TOPIC_V2: Final = "0xd543adfd945773f1a62f74f0ee55a5e3b9b1a28262980ba90b1a89f2ea84d8ee"

UNITS: Final = 1_000_000  # of collateral and of shares: six decimals
GRID: Final = 10_000  # the finest tick so far is a ten-thousandth
SLACK: Final = 2  # units that the contract's integer division may lose on a price of the grid
OFF_GRID: Final = 1_000_000  # what a price off the grid is rounded to
SIZE_MAX: Final = 10**15 * UNITS  # a larger amount is none

_HEX: Final = re.compile(r"0x[0-9a-f]{1,64}", re.ASCII)
_DATA: Final = re.compile(r"0x(?:[0-9a-f]{64})*", re.ASCII)
_BYTES32: Final = re.compile(r"0x[0-9a-f]{64}", re.ASCII)
_ADDRESS: Final = re.compile(r"0x[0-9a-f]{40}", re.ASCII)
_PADDING: Final = "0x" + "0" * 24
_WORDS: Final[dict[Layout, int]] = {"v1": 5, "v2": 7}
_WORD: Final = 64  # hexadecimal digits


class Log(Struct, gc=False, rename="camel"):
    """A log as a node writes it; numbers are hexadecimal text."""

    address: str
    topics: list[str]
    data: str
    block_number: str
    block_hash: str
    transaction_hash: str
    log_index: str
    removed: bool | None = None
    block_timestamp: str | None = None


class Place(Struct, frozen=True, gc=False):
    """Where a log stands. `block_hash` tells two blocks of one number apart; `ts_s` 0: unknown."""

    block: int
    block_hash: str
    tx: str
    index: int
    ts_s: int


class Fill(Struct, frozen=True, gc=False):
    """One maker's order filled: `maker_buys` tokens for `cash`, both in units of 1e-6.

    `order` is its hash: at most one fill of it in a transaction is usual.
    """

    order: str
    maker: str
    taker: str
    token: str
    maker_buys: bool
    tokens: int
    cash: int
    fee: int


def number(text: str) -> int:
    """A hexadecimal quantity of 256 bits at most. Raises `DecodeError`."""
    found = text.lower()
    if _HEX.fullmatch(found) is None:
        raise DecodeError("not a number of 256 bits")
    return int(found, 16)


def address(text: str) -> str:
    """A contract or wallet in lower case. Raises `DecodeError`."""
    found = text.lower()
    if _ADDRESS.fullmatch(found) is None:
        raise DecodeError("not an address")
    return found


def bytes32(text: str) -> str:
    """A hash in lower case. Raises `DecodeError`."""
    found = text.lower()
    if _BYTES32.fullmatch(found) is None:
        raise DecodeError("not 32 bytes")
    return found


def place_of(log: Log) -> Place:
    """Raises `DecodeError`."""
    block, index = number(log.block_number), number(log.log_index)
    ts_s = number(log.block_timestamp) if log.block_timestamp else 0
    if max(block, index, ts_s) >= 1 << 62:
        raise DecodeError("a block, index or time beyond all bounds")
    return Place(block, bytes32(log.block_hash), bytes32(log.transaction_hash), index, ts_s)


def fill_of(log: Log, layout: Layout) -> Fill:
    """What an `OrderFilled` of this layout says. Raises `DecodeError`."""
    if len(log.topics) != 4:
        raise DecodeError(f"{len(log.topics)} topics; OrderFilled has 4")
    _, order, maker, taker = map(bytes32, log.topics)
    words = _words(log.data, _WORDS[layout])
    if layout == "v1":
        paid, taken, made, got, fee = words
        if (paid == 0) == (taken == 0):
            raise DecodeError("an order that is not of tokens for collateral")
        buys, token = paid == 0, taken or paid
    else:
        side, token, made, got, fee = words[:5]
        if side > 1:
            raise DecodeError(f"no side: {side if side < 1_000 else 'a large number'}")
        buys = side == 0
    tokens, cash = (got, made) if buys else (made, got)
    return Fill(order, _wallet(maker), _wallet(taker), str(token), buys, tokens, cash, fee)


def terms(fill: Fill, *, of_no: bool) -> tuple[float, float, Side]:
    """(price, shares, aggressor) in terms of YES. Raises `DecodeError` for a price that is not
    between 0 and 1, or no amount."""
    tokens, cash = fill.tokens, fill.cash
    if not 0 < tokens <= SIZE_MAX:
        raise DecodeError(f"no amount of shares: {_shown(tokens)}")
    if not 0 < cash < tokens:
        raise DecodeError(f"no price: {_shown(cash)} for {_shown(tokens)} shares")
    price = _price(tokens - cash if of_no else cash, tokens)
    if not 0.0 < price < 1.0:
        raise DecodeError(f"no price: {_shown(cash)} for {_shown(tokens)} shares")
    taker_buys = fill.maker_buys if of_no else not fill.maker_buys
    return price, tokens / UNITS, "buy" if taker_buys else "sell"


def _price(cash: int, tokens: int) -> float:
    """On the grid of prices if the order can have been: amounts are rounded, prices are not."""
    steps = (2 * cash * GRID + tokens) // (2 * tokens)
    if abs(steps * tokens - cash * GRID) <= SLACK * GRID:
        return steps / GRID
    return round(cash / tokens * OFF_GRID) / OFF_GRID


def _words(data: str, count: int) -> list[int]:
    text = data.lower()
    if len(text) != 2 + count * _WORD or _DATA.fullmatch(text) is None:
        raise DecodeError(f"{len(text):,} characters of data; {2 + count * _WORD} are due")
    return [int(text[at : at + _WORD], 16) for at in range(2, len(text), _WORD)]


def _wallet(topic: str) -> str:
    if not topic.startswith(_PADDING):
        raise DecodeError("a topic that is no address")
    return "0x" + topic[len(_PADDING) :]


def _shown(units: int) -> str:
    return f"{units / UNITS:,.6f}" if units <= SIZE_MAX else "more than there is"
