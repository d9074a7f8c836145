"""A book of rows whose tick and size step nobody has named: integer keys, sizes as they came.

Prices are kept in units of 1/`SCALE`, so that 0.1 + 0.2 and 0.3 are one level; a bid's key is
negated, so that one ascending order serves both sides.
"""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from msgspec import Struct, field

from tapewatch.model import limits

SCALE: Final = 100_000_000  # a satoshi; venues quote no finer for what people trade
PRICE_MAX: Final = 1e7  # below it a double still tells neighbouring units apart
SHOWN: Final = 20  # best levels of a side that an event carries


class RowSide(Struct):
    """One side, best level first. `sign` is 1 for asks, -1 for bids."""

    sign: int
    keys: list[int] = []
    sizes: list[float] = []

    def put(self, levels: Iterable[tuple[float, float]]) -> None:
        """Set levels in their order; size 0 deletes one, whether or not it is there."""
        keys, sizes = self.keys, self.sizes
        for price, size in levels:
            key = round(price * SCALE) * self.sign
            at = bisect_left(keys, key)
            if at < len(keys) and keys[at] == key:
                if size > 0.0:
                    sizes[at] = size
                else:
                    del keys[at], sizes[at]
            elif size > 0.0 and (price * SCALE >= 0.5):
                keys.insert(at, key)
                sizes.insert(at, size)
        if len(keys) > limits.BOOK_DEPTH:
            del keys[limits.BOOK_DEPTH :], sizes[limits.BOOK_DEPTH :]

    def best(self) -> tuple[tuple[float, float], ...]:
        """(price, size) of the best `SHOWN` levels. Dividing integers rounds once, so these are the
        floats that the text denotes."""
        sign = self.sign
        return tuple(
            (key * sign / SCALE, size)
            for key, size in zip(self.keys[:SHOWN], self.sizes[:SHOWN], strict=True)
        )


class RowBook(Struct):
    """Two sides."""

    bids: RowSide = field(default_factory=lambda: RowSide(-1))
    asks: RowSide = field(default_factory=lambda: RowSide(1))

    def clear(self) -> None:
        """Forget all levels."""
        for side in (self.bids, self.asks):
            side.keys.clear()
            side.sizes.clear()
