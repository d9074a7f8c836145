"""A live order book and the windows on it that subscribers of one depth see.

`SyntheticBook` invents the resting orders; `DepthView` says what a message must contain so that a
client which applies it and truncates to its depth holds exactly the venue's best levels. Nothing
here knows the wire format.
"""

import math
import random
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

LEVELS: Final = 140  # a side is refilled to this depth, so that depth 100 is real
LEVELS_MAX: Final = 260  # beyond, the worst level is dropped: nobody sees so deep
ROUND_SHARE: Final = 0.4  # many people order round sizes: their texts end in zeros
ROUND_TO: Final = 10_000
NEAR: Final = 30  # random activity happens in the best levels

# size in integer units, ns at which it last changed
Level = tuple[int, int]
Side = dict[int, Level]


class Sides(Struct, frozen=True):
    """Both sides by price in ticks; not sorted."""

    bids: Side
    asks: Side


class Change(Struct, frozen=True):
    """One level of a message. `size` 0 deletes; `revealed` is a level that did not change but moved
    up into the subscriber's depth."""

    price: int
    size: int
    ns: int
    revealed: bool


class Changes(Struct, frozen=True):
    """What one message tells the subscribers of one depth."""

    bids: tuple[Change, ...]
    asks: tuple[Change, ...]

    def levels(self) -> set[tuple[str, int]]:
        """Which levels it touches."""
        return {("bid", c.price) for c in self.bids} | {("ask", c.price) for c in self.asks}


class DepthView:
    """The best `depth` levels as of the last message. `bids` and `asks` are best first."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.bids: Side = {}
        self.asks: Side = {}

    def update(self, sides: Sides, ns: int) -> Changes | None:
        """Move to the book's present state; None when nothing in the window changed.

        A level that merely falls out of the window is not deleted: clients truncate.
        """
        bids = {p: sides.bids[p] for p in sorted(sides.bids, reverse=True)[: self.depth]}
        asks = {p: sides.asks[p] for p in sorted(sides.asks)[: self.depth]}
        changes = Changes(
            bids=tuple(_difference(self.bids, bids, sides.bids, ns)),
            asks=tuple(_difference(self.asks, asks, sides.asks, ns)),
        )
        self.bids, self.asks = bids, asks
        return changes if changes.bids or changes.asks else None


def _difference(old: Side, new: Side, whole: Side, ns: int) -> Iterable[Change]:
    for price in old:
        if price not in new and price not in whole:
            yield Change(price, 0, ns, revealed=False)
    for price, level in new.items():
        if old.get(price) != level:
            yield Change(price, level[0], level[1], revealed=level[1] < ns and price not in old)


class SyntheticBook:
    """Resting orders around a touch that the caller moves.

    `gap` is the mean distance of neighbouring levels in ticks, `size` the median level in units.
    """

    def __init__(self, rng: random.Random, gap: float, size: float) -> None:
        self._rng, self._gap, self._log_size = rng, max(1.0, gap), math.log(size)
        self.sides = Sides({}, {})
        self.pulled: tuple[bool, int] | None = None  # (bids?, ticks from the touch) kept empty
        self._bid = self._ask = 0

    def quote(self, bid: int, ask: int, ns: int) -> None:
        """Make `bid` and `ask` (ticks) the touch: orders in the way are gone, holes are filled."""
        bids, asks = self.sides.bids, self.sides.asks
        for price in [price for price in bids if price > bid]:
            del bids[price]
        for price in [price for price in asks if price < ask]:
            del asks[price]
        self._extend(bids, bid, -1, ns)
        self._extend(asks, ask, 1, ns)
        self._bid, self._ask = bid, ask
        if self.pulled is not None:
            self._pull(bids=self.pulled[0], ticks=self.pulled[1])

    def stir(self, ns: int) -> None:
        """One moment of ordinary activity: one or two levels come, go or change."""
        self.quote(self._bid, self._ask, ns)
        for _ in range(1 + (self._rng.random() < 0.5)):
            buy = self._rng.random() < 0.5
            self._touch(self.sides.bids if buy else self.sides.asks, -1 if buy else 1, ns)

    def take(self, *, buy: bool, size: int, ns: int, levels: int) -> list[tuple[int, int]]:
        """Execute a market order against at most `levels` levels: (price, size) of each fill."""
        side = self.sides.asks if buy else self.sides.bids
        fills: list[tuple[int, int]] = []
        for price in (sorted(side) if buy else sorted(side, reverse=True))[:levels]:
            resting = side[price][0]
            done = min(resting, size)
            fills.append((price, done))
            if done == resting and len(side) > 1:
                del side[price]
            else:
                side[price] = (max(resting - done, 1), ns)
            size -= done
            if size <= 0:
                break
        return fills

    def _pull(self, *, bids: bool, ticks: int) -> None:
        """Take away the orders of one side within `ticks` of the touch (the last one stays)."""
        side = self.sides.bids if bids else self.sides.asks
        near = [p for p in side if (self._bid - p if bids else p - self._ask) < ticks]
        for price in sorted(near, reverse=bids)[: len(side) - 1]:
            del side[price]

    def _touch(self, side: Side, away: int, ns: int) -> None:
        prices = sorted(side, reverse=away < 0)[:NEAR]
        rank = min(int(self._rng.expovariate(0.25)), len(prices) - 1)
        dice = self._rng.random()
        if dice < 0.24 and rank > 0:  # the share of deletes in captured messages
            del side[prices[rank]]
        elif dice < 0.48:
            price = prices[rank] + away * (1 + int(self._rng.expovariate(1 / self._gap)))
            if price > 0:
                side[price] = (self._size(), ns)
        else:
            side[prices[rank]] = (self._size(), ns)

    def _extend(self, side: Side, touch: int, away: int, ns: int) -> None:
        """Fill the hole between the touch and the next level, then the depth behind the last."""
        best = (max if away < 0 else min)(side, default=touch)
        price, added = touch, 0
        while (best - price) * away > 0 and added < LEVELS:
            side[price] = (self._size(), ns)
            price += away * (1 + int(self._rng.expovariate(1 / self._gap)))
            added += 1
        side.setdefault(touch, (self._size(), ns))
        worst = (min if away < 0 else max)(side)
        while len(side) < LEVELS:
            worst += away * (1 + int(self._rng.expovariate(1 / self._gap)))
            if worst <= 0:
                break
            side[worst] = (self._size(), ns)
        if len(side) > LEVELS_MAX:
            for price in sorted(side, reverse=away < 0)[LEVELS:]:
                del side[price]

    def _size(self) -> int:
        size = max(1, int(self._rng.lognormvariate(self._log_size, 1.0)))
        if self._rng.random() < ROUND_SHARE and size > ROUND_TO:
            size -= size % ROUND_TO
        return size
