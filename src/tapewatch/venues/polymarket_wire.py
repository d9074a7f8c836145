"""What Polymarket's socket and its order books look like on the wire.

One struct for all kinds of message: kinds differ by `event_type`, which some captures lack, and new
keys appear without notice. Numbers are text, now and then numbers.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from tapewatch.model.errors import DecodeError
from tapewatch.model.time import TS_MAX_NS, TS_MIN_NS
from tapewatch.venues.polymarket_books import Number

# Frames that are no JSON.
PONG: Final = b"PONG"
NO_NEW_ASSETS: Final = b"NO NEW ASSETS"

# The first value that is too large for a time in s, ms and us; the year is 5138 in each.
_UNITS: Final = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3))


class Level(Struct, gc=False):
    """One price level; `size` is all of it."""

    price: Number
    size: Number


class Change(Struct, gc=False):
    """New size of one level. Before September 2025 the asset and the hash were the message's."""

    price: Number
    size: Number
    side: str
    asset_id: str = ""
    hash: str | None = None
    best_bid: Number | None = None
    best_ask: Number | None = None


class Message(Struct, gc=False):
    """Any message of the market channel, or one order book of REST."""

    event_type: str = ""
    market: str = ""
    asset_id: str = ""
    timestamp: Number = ""
    hash: str | None = None
    bids: list[Level] | None = None
    asks: list[Level] | None = None
    price_changes: list[Change] | None = None
    changes: list[Change] | None = None
    price: Number | None = None
    size: Number | None = None
    side: str | None = None
    transaction_hash: str | None = None
    best_bid: Number | None = None
    best_ask: Number | None = None
    tick_size: Number | None = None
    min_order_size: Number | None = None
    neg_risk: bool | None = None
    last_trade_price: Number | None = None
    old_tick_size: Number | None = None
    new_tick_size: Number | None = None
    winning_outcome: str | None = None
    condition_id: str | None = None
    slug: str | None = None
    question: str | None = None
    outcomes: Any = None
    clob_token_ids: Any = None
    assets_ids: Any = None
    event_message: Any = None
    order_price_min_tick_size: Any = None

    def kind(self) -> str:
        """Its `event_type`, or what it must be."""
        if self.event_type:
            return self.event_type
        if self.bids is not None and self.asks is not None:
            return "book"
        return "price_change" if self.price_changes is not None or self.changes is not None else ""


Read = TypeVar("Read")
_decode = msgspec.json.Decoder(Message | list[Message]).decode
_decode_any = msgspec.json.Decoder().decode


def messages(data: bytes) -> Iterator[Message | str]:
    """Messages of a frame: an object or a list of them. One that cannot be understood comes as text
    that says why. Raises `DecodeError` for what is no JSON."""
    try:
        found = _decode(data)
    except msgspec.ValidationError:
        yield from _one_by_one(data)
    except (ValueError, RecursionError) as error:
        raise _none(data, error) from error
    else:
        if isinstance(found, Message):
            yield found
        else:
            yield from found


def _one_by_one(data: bytes) -> Iterator[Message | str]:
    """The frame has a part of another shape; the others are still good."""
    for item in items(data):
        try:
            yield msgspec.convert(item, Message)
        except msgspec.ValidationError as error:
            yield str(error)


def items(data: bytes) -> list[Any]:
    """The items of a list, or the one thing that a frame holds. Raises `DecodeError`."""
    found = load(data)
    return found if isinstance(found, list) else [found]


def load(data: bytes) -> Any:
    """JSON. Raises `DecodeError`."""
    try:
        return _decode_any(data)
    except (ValueError, RecursionError) as error:
        raise _none(data, error) from error


def _none(data: bytes, error: Exception) -> DecodeError:
    what = "HTML" if data.lstrip()[:1] == b"<" else "no JSON"
    return DecodeError(f"a Polymarket frame is {what}: {type(error).__name__}")


def time_ns(value: Number) -> int:
    """A time as some service of Polymarket writes it -> ns; 0 for none or an impossible one. The
    socket writes ms as text, the Data API s as numbers, and recorders what they like."""
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return 0
    for bound, factor in _UNITS:
        if number < bound:
            number *= factor
            break
    return number if TS_MIN_NS <= number <= TS_MAX_NS else 0
