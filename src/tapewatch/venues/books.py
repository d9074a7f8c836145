"""An order book on integer units, with a checksum over its best levels. No wire format.

Both sides are ladders: parallel lists, best level first. Prices are in units of 1/price_scale and
sizes in units of 1/size_scale; a bid's key is its negated price, so that one ascending order and
one code serve both sides. The digits of each level are kept as text because the checksum is over
them and most levels do not change between two messages.
"""

from bisect import bisect_left
from collections.abc import Iterable
from decimal import Decimal
from typing import Final
from zlib import crc32

from msgspec import Struct, field

# Below, the nearest double times a power of ten is off by less than half a unit, so that rounding
# gives the decimal text's own digits; beyond, callers use `apply_exact`.
EXACT: Final = 2.0**50
UNITS_MAX: Final = 10**18  # an int64 in a snapshot of the state
DECIMALS_MAX: Final = 18
CHECKED: Final = 10  # levels a side under the checksum (Kraken's book checksum guide)


class FloatLevel(Struct, frozen=True, gc=False):
    """A level as it is decoded when speed matters."""

    price: float
    qty: float


class ExactLevel(Struct, frozen=True):
    """A level with all digits of its text."""

    price: Decimal
    qty: Decimal


class Ladder(Struct):
    """One side. `sign` is 1 for asks, -1 for bids."""

    sign: int
    keys: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    digits: list[str] = field(default_factory=list)

    def clear(self) -> None:
        """Forget all levels."""
        self.keys.clear()
        self.sizes.clear()
        self.digits.clear()

    def truncate(self, depth: int) -> None:
        """Forget what is worse than the best `depth` levels: the venue does not delete them."""
        if len(self.keys) > depth:
            del self.keys[depth:], self.sizes[depth:], self.digits[depth:]

    def put(self, price: int, size: int) -> None:
        """Set one level; size 0 deletes it, whether or not it is there."""
        keys, key = self.keys, price * self.sign
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            if size:
                self.sizes[at] = size
                self.digits[at] = f"{price}{size}"
            else:
                del keys[at], self.sizes[at], self.digits[at]
        elif size:
            keys.insert(at, key)
            self.sizes.insert(at, size)
            self.digits.insert(at, f"{price}{size}")


class OrderBook(Struct):
    """Two ladders and their units; scale 0 means that the units are not known yet."""

    price_scale: int = 0
    size_scale: int = 0
    bids: Ladder = field(default_factory=lambda: Ladder(-1))
    asks: Ladder = field(default_factory=lambda: Ladder(1))

    def clear(self) -> None:
        """Forget all levels."""
        self.bids.clear()
        self.asks.clear()

    def truncate(self, depth: int) -> None:
        """Keep the best `depth` levels a side."""
        self.bids.truncate(depth)
        self.asks.truncate(depth)

    def checksum(self) -> int:
        """CRC-32 of the digits of the best ten asks, then bids (without leading zeros, which the
        text of an integer has not)."""
        return crc32("".join(self.asks.digits[:CHECKED] + self.bids.digits[:CHECKED]).encode())

    def top(self) -> tuple[int, int, int, int]:
        """Best bid, its size, best ask, its size, in units; zeros for an empty side."""
        bids, asks = self.bids, self.asks
        return (
            -bids.keys[0] if bids.keys else 0,
            bids.sizes[0] if bids.keys else 0,
            asks.keys[0] if asks.keys else 0,
            asks.sizes[0] if asks.keys else 0,
        )

    def side(self, ladder: Ladder) -> tuple[tuple[float, float], ...]:
        """(price, size) pairs of one ladder, best first. Dividing integers rounds once, so these
        are the floats that the venue's text denotes."""
        prices, sizes, sign = self.price_scale, self.size_scale, ladder.sign
        return tuple(
            (key * sign / prices, size / sizes)
            for key, size in zip(ladder.keys, ladder.sizes, strict=True)
        )

    def apply(self, ladder: Ladder, levels: Iterable[FloatLevel]) -> bool:
        """Set levels in their order. False when one needs `apply_exact`: too large for float
        arithmetic, or impossible. Levels before it are set; setting them again is harmless."""
        prices, sizes = self.price_scale, self.size_scale
        for level in levels:
            price, size = level.price * prices, level.qty * sizes
            if not (0.5 < price < EXACT and 0.0 <= size < EXACT):
                return False
            ladder.put(round(price), round(size))
        return True

    def apply_exact(self, ladder: Ladder, levels: Iterable[ExactLevel]) -> bool:
        """Set levels in their order; False when one is impossible (price not positive, NaN ...)."""
        for level in levels:
            price = units(level.price, self.price_scale)
            size = units(level.qty, self.size_scale)
            if not price or size is None:
                return False
            ladder.put(price, size)
        return True


def units(value: Decimal, scale: int) -> int | None:
    """`value` in units of 1/`scale`; None when negative, not finite or beyond `UNITS_MAX`."""
    if not value.is_finite() or value < 0 or value >= UNITS_MAX:
        return None
    whole = int((value * scale).to_integral_value())
    return whole if whole < UNITS_MAX else None


def decimals(values: Iterable[Decimal]) -> int | None:
    """How many decimals the longest text among `values` has; None when one is not a number that a
    book could hold."""
    most = 0
    for value in values:
        exponent = value.as_tuple().exponent
        if not isinstance(exponent, int) or not -DECIMALS_MAX <= exponent <= DECIMALS_MAX:
            return None
        most = max(most, -exponent)
    return most
