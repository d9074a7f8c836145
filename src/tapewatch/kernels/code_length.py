"""Adaptive code lengths: how many bits a symbol costs under the counts so far.

What has been seen often is cheap, what has never been seen costs more the longer it has not been.
"""

from math import log2
from typing import Final

# Half a count for what was never seen: the estimator of Krichevsky and Trofimov (1981).
_HALF: Final = 0.5
BITS_PER_DECADE: Final = log2(10.0)
SETTLED: Final = 500  # symbols before a new one can be odd: reference value of the shape detector
# Discoveries at a falling rate come at times that grow by a factor, not by steps; so long as the
# last one is not yet a quarter of the way back, the next is no surprise.
_PATIENCE: Final = 4


def code_length(count: int, total: int) -> float:
    """Bits of a symbol seen `count` times among `total` (0 <= count <= total)."""
    return log2((total + 1.0) / (count + _HALF))


def settled(total: int, newest_at: int) -> bool:
    """Whether the set of symbols is complete as far as anyone can tell: of `total` symbols, the
    last that was new came at `newest_at`."""
    return total - newest_at >= SETTLED and total >= _PATIENCE * newest_at
