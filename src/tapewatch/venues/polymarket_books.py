"""The book of one Polymarket token: levels, best prices, and the venue's hash. No wire format.

A side is a ladder of parallel lists in the order in which the venue writes levels: the best comes
last. Prices are integers in units of 1/`SCALE` (a key is negated for asks, so that one ascending
order serves both), sizes are floats, and the JSON text of each level is kept, because the hash is
over the text and most levels do not change between two messages.

The hash is the SHA-1 of the book as compact JSON with an empty `hash`. What is hashed has changed
three times (`RECIPES`), hence it is advice: the caller finds out which recipe fits, if any does.
"""

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha1
from itertools import islice
from operator import lt
from typing import Final

from msgspec import Struct, field

from tapewatch.model import limits

SCALE: Final = 100_000_000  # as `row_books`; the finest step so far is a ten-thousandth
SIZE_MAX: Final = 1e15  # shares; a larger number is no size
TEXT_MAX: Final = 80  # of a level; its price and size have at most twenty digits each
SHOWN: Final = 20  # best levels of a side that an event carries, as in `row_books`
Number = str | int | float  # the venue writes text, some recorders write numbers

# Keys after the levels, by generation: up to 2024-11, 2024-12 to 2025-10, since.
RECIPES: Final = (
    (),
    ("min_order_size", "tick_size", "neg_risk"),
    ("min_order_size", "tick_size", "neg_risk", "last_trade_price"),
)


@lru_cache(maxsize=limits.PRICE_TEXTS)
def _priced(price: Number) -> tuple[int, float]:
    """In units, 0 for what is no price, and on their grid. The same few thousand texts come again
    and again. Raises `ValueError`, `OverflowError`."""
    value = float(price)
    units = round(value * SCALE) if 0.0 < value < 1.0 else 0
    return units, units / SCALE


class Ladder(Struct):
    """One side, best level last. `sign` is 1 for bids, -1 for asks."""

    sign: int
    keys: list[int] = []
    levels: list[tuple[float, float]] = []
    texts: list[str] = []

    def clear(self) -> None:
        """Forget all levels."""
        self.keys.clear()
        self.levels.clear()
        self.texts.clear()

    def load(self, prices: Sequence[Number], sizes: Sequence[Number], *, texts: bool) -> int:
        """All levels anew; returns how many were none. Quick where they come in the usual order and
        nothing is wrong with them. Without `texts` the side can neither be hashed nor changed."""
        self.clear()
        try:
            known, amounts = list(map(_priced, prices)), list(map(float, sizes))
        except (ValueError, OverflowError):
            known, amounts = [], []
        sign = self.sign
        keys = [units * sign for units, _ in known]
        written = [
            f'{{"price":"{price}","size":"{size}"}}'
            for price, size in zip(prices, sizes, strict=True)
        ] if texts else [""] * len(keys)  # fmt: skip
        plain = (
            len(keys) == len(prices)
            and 0 not in keys
            and all(map(lt, keys, islice(keys, 1, None)))
            and min(amounts, default=1.0) > 0.0
            and sum(amounts) < SIZE_MAX  # so is each of them, and none is no number
            and max(map(len, written), default=0) <= TEXT_MAX
        )
        if not plain:
            put = self.put
            return sum([not put(*one) for one in zip(prices, sizes, strict=True)])
        self.keys, self.texts = keys, written
        self.levels = [(price, amount) for (_, price), amount in zip(known, amounts, strict=True)]
        return 0

    def put(self, price: Number, size: Number) -> bool:
        """Set one level; size 0 deletes it, whether or not it is there. False, with nothing done,
        for what is no level: a price that is not between 0 and 1, a size that is none."""
        try:
            value, amount = float(price), float(size)
        except (ValueError, OverflowError):
            return False
        if not (0.0 < value < 1.0 and 0.0 <= amount < SIZE_MAX):
            return False
        text = f'{{"price":"{price}","size":"{size}"}}'
        if len(text) > TEXT_MAX:
            return False
        units = round(value * SCALE)
        key, keys = units * self.sign, self.keys
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            if amount:
                self.levels[at] = (units / SCALE, amount)
                self.texts[at] = text
            else:
                del keys[at], self.levels[at], self.texts[at]
        elif amount and 0 < units < SCALE:
            keys.insert(at, key)
            self.levels.insert(at, (units / SCALE, amount))
            self.texts.insert(at, text)
        return True

    def cut(self) -> bool:
        """Forget the worst levels beyond `BOOK_DEPTH`; whether there were any."""
        excess = len(self.keys) - limits.BOOK_DEPTH
        if excess <= 0:
            return False
        del self.keys[:excess], self.levels[:excess], self.texts[:excess]
        return True

    def best(self) -> int:
        """The best price in units, 0 without one."""
        return self.keys[-1] * self.sign if self.keys else 0

    def top(self) -> tuple[float, float]:
        """The best (price, size), zeros without one."""
        return self.levels[-1] if self.levels else (0.0, 0.0)

    def shown(self) -> tuple[tuple[float, float], ...]:
        """The best `SHOWN` levels, best first."""
        return tuple(self.levels[: -SHOWN - 1 : -1])


class Facts(Struct):
    """What the hash covers beside the levels, as the venue writes it. `last` is the last price
    traded, empty before the first trade."""

    min_order_size: str = "5"  # of nearly all markets; heard with the first REST book
    tick_size: str = "0.01"
    neg_risk: bool = False
    last: str = ""

    def text(self, recipe: int) -> str:
        """The keys of a recipe and their values, as JSON with a comma before each."""
        if not recipe:
            return ""
        text = (
            f',"min_order_size":"{self.min_order_size}","tick_size":"{self.tick_size}"'
            f',"neg_risk":{"true" if self.neg_risk else "false"}'
        )
        return text + f',"last_trade_price":"{self.last}"' if recipe == len(RECIPES) - 1 else text


class TokenBook(Struct):
    """Two ladders. `whole`: nothing was cut off, so the hash can be known."""

    bids: Ladder = field(default_factory=lambda: Ladder(1))
    asks: Ladder = field(default_factory=lambda: Ladder(-1))
    whole: bool = True

    def clear(self) -> None:
        """Forget all levels."""
        self.bids.clear()
        self.asks.clear()
        self.whole = True

    def cut(self) -> None:
        """Keep to the bound."""
        if self.bids.cut() | self.asks.cut():
            self.whole = False

    def best(self) -> tuple[int, int]:
        """Best bid and ask in units; 0 where a side is empty."""
        return self.bids.best(), self.asks.best()

    def digest(self, market: str, asset: str, timestamp: str, facts: Facts, recipe: int) -> str:
        """The hash by one recipe, 40 hexadecimal digits."""
        text = (
            f'{{"market":"{market}","asset_id":"{asset}","timestamp":"{timestamp}","hash":""'
            f',"bids":[{",".join(self.bids.texts)}],"asks":[{",".join(self.asks.texts)}]'
            f"{facts.text(recipe)}}}"
        )
        return sha1(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def units(price: Number) -> int:
    """A best price as the venue writes it, in units; 0 for none: "", "0" and, of an ask, "1". -1
    for what is no price."""
    if price == "":
        return 0
    try:
        value = float(price)
    except (ValueError, OverflowError):
        return -1
    if not 0.0 <= value <= 1.0:
        return -1
    found = round(value * SCALE)
    return found if found < SCALE else 0
