"""How surprising it is that two parties keep meeting: evidence that may be looked at any time.

Pure numbers. Everything is in decades (log10), so that evidence adds.
"""

from math import lgamma, log, log10
from typing import Final

# A meeting counts when a chance one as good has at most this probability; the same for all.
CHANCE: Final = 0.05
P_LEAST: Final = 1e-9  # no single coincidence is believed to be rarer
# Shares of a member's trades that are made with the others, if they are a ring: all kinds.
_RATES: Final = (0.03, 0.2, 0.5, 0.9)
_LN10: Final = log(10.0)


def _below(p: float) -> float:
    """Integral of the mixture of all `k p**(k-1)`, 0 < k < 1, from 0 to p."""
    return (p - 1.0) / log(p)


_MASS: Final = _below(CHANCE)


def decades(p: float) -> float:
    """Evidence of one coincidence of probability `p` <= CHANCE, as log10 of an e-value.

    The mixture of the calibrators `k p**(k-1)` over 0 < k < 1, restricted to p <= CHANCE and
    normalised there: its mean over p uniform on (0, 1) is 1, so that by chance it gains nothing.
    Reference: Vovk and Wang (2021), "E-values: calibration, combination and applications".
    """
    p = max(p, P_LEAST)
    ln = log(p)
    return log10((1.0 - p + p * ln) / (p * ln * ln) / _MASS)


def closeness(hits: int, gain: float, trials: int, partners: int) -> float:
    """Evidence (log10) that `hits` of a member's `trials` trades were made with `partners` others.

    `gain` is the sum over the hits of `decades(p) - log10(share)`, where `share` is how often the
    partner is met by anybody. A product of bets at fixed rates, averaged over the rates, so by
    chance it exceeds x decades with a probability of at most 10**-x, whenever it is looked at
    (Ville's inequality). Trades with outsiders count against it: that is what "closed" means.
    """
    assert 0 <= hits <= trials
    assert partners >= 1
    spread, others = log10(partners), trials - hits
    bets = [hits * (log10(rate) - spread) + gain + others * log10(1.0 - rate) for rate in _RATES]
    best = max(bets)
    return best + log10(sum(10.0 ** max(bet - best, -300.0) for bet in bets) / len(bets))


def choices(accounts: int, members: int) -> float:
    """log10 of the number of ways to choose `members` of `accounts`: what a search costs."""
    if members >= accounts:
        return 0.0
    ways = lgamma(accounts + 1) - lgamma(members + 1) - lgamma(accounts - members + 1)
    return ways / _LN10
