"""Which price is valid: the micro-mid of trades, the settled quote, and the floors of a scale.

The last price alone jumps between bid and ask although nothing has moved, and a quote can stand
for a millisecond only. What is made here moves when somebody pays more or takes less, or when a
quote has stood. Numbers in, numbers out; 0.0 is an unknown price everywhere.
"""

from math import log
from typing import Final

SETTLED_NS: Final = 250_000_000  # a quote counts once it has stood so long: faster ones flicker


def micro(bid: float, ask: float, price: float, side: str) -> tuple[float, float]:
    """`(bid, ask)` after a trade at `price` > 0, where `side` is the aggressor's.

    A purchase shows the ask, a sale the bid. A trade through the other side drags that side along,
    so bid <= ask holds always. Of an unknown side nothing is known but the price: both move. So
    they do on the first trade.
    Units: prices in quote units. Cost: O(1).
    """
    if side == "buy":
        return (bid if 0.0 < bid < price else price), price
    if side == "sell":
        return price, max(price, ask)
    return price, price


def half_spread(bid: float, ask: float) -> float:
    """Half of ln(ask / bid), the distance of either side from the mid; 0.0 where unknown.

    Units: prices in quote units, the result in nats.
    """
    return 0.5 * log(ask / bid) if 0.0 < bid < ask else 0.0


def half_tick(tick: float, price: float) -> float:
    """Half a price step as a fraction of `price` > 0: the least by which a mid can move.

    Units: tick and price in quote units, the result in nats.
    """
    return 0.5 * tick / price


def faded(mean: float, value: float, kept: float) -> float:
    """An exponentially weighted mean after `value`; `kept` = 0.5 ** (dt / half-life)."""
    return kept * mean + (1.0 - kept) * value
