"""Counts that are more scattered than Poisson's: their tails, mean and dispersion. Numbers only.

Orders come in bunches, so the count of a stretch of time varies far more than its mean: a Poisson
law calls every busy minute impossible. A negative binomial law (a Poisson law whose rate is itself
gamma distributed) has one more number, `size`: variance = mean + mean^2 / size. It holds small and
large means alike, and tends to Poisson's law as the size grows.
"""

from math import exp, lgamma, log, log1p
from typing import Final

SIZE_LEAST: Final = 0.05  # variance of 20 squared means: more is no count but two markets
SIZE_MOST: Final = 1e6  # from here on it is Poisson's law to six digits
_STEPS: Final = 300  # of the continued fraction; about 5 + sqrt(the larger parameter) are needed
_DONE: Final = 1e-12
_SMALL: Final = 1e-300
_FEW: Final = 8.0  # counts below it are summed: ten times faster than the fraction
_DIGITS: Final = 1e-5  # an upper tail above it has lost no more than five of fifteen digits


def negbin_tails(count: float, mean: float, size: float) -> tuple[float, float]:
    """`(P(X <= count), P(X >= count))` of a negative binomial count X.

    Units: none; count >= 0, mean > 0, size within `SIZE_LEAST`..`SIZE_MOST`. Both are exact to
    about ten digits, also when they are tiny, and never negative.
    Reference: Johnson, Kemp and Kotz 2005, "Univariate Discrete Distributions", 5.6: the tails are
    incomplete beta functions.
    """
    share = size / (size + mean)
    rest = mean / (size + mean)
    if count < _FEW and count == int(count):
        term = exp(size * log(share))
        below, k = 0.0, 0.0
        while k < count:
            below += term
            term *= (size + k) / (k + 1.0) * rest
            k += 1.0
        if below < 1.0 - _DIGITS:
            return min(below + term, 1.0), 1.0 - below
    lower = beta_share(size, count + 1.0, share, rest)
    upper = 1.0 if count <= 0.0 else beta_share(count, size, rest, share)
    return lower, upper


def negbin_size(scatter: float, square: float) -> float:
    """The size for which a mean square `square` of expectations goes with an excess `scatter`.

    `scatter` is the mean of (count - expected)^2 - expected, what the variance exceeds Poisson's
    by; by the law above it is square / size. Not positive: no more scatter than Poisson's.
    """
    if scatter * SIZE_MOST <= square:
        return SIZE_MOST
    return max(square / scatter, SIZE_LEAST)


def count_step(
    mean: float, square: float, scatter: float, count: float, expected: float, kept: float
) -> tuple[float, float, float]:
    """`(mean, square, scatter)` after a stretch with `count`, of which `expected` were expected.

    All three are exponentially weighted means with weight 1 - kept on the newest stretch;
    `kept` = 0.5 ** (length / half-life).
    """
    new = 1.0 - kept
    excess = count - expected
    return (
        kept * mean + new * count,
        kept * square + new * expected * expected,
        kept * scatter + new * (excess * excess - expected),
    )


def empty_steps(
    mean: float, square: float, scatter: float, kept: float, steps: float
) -> tuple[float, float, float]:
    """What `steps` times `count_step` of a count of 0, each expected by the mean before it, give.

    In closed form: the mean before the j-th step is mean * kept^(j - 1), so squares and excesses
    are geometric series. Cost: O(1), however long nothing happened.
    """
    left = exp(steps * log(kept)) if kept > 0.0 else 0.0
    squares = mean * mean * left * (1.0 - left) / kept if kept > 0.0 else 0.0
    means = mean * (1.0 - kept) * steps * left / kept if kept > 0.0 else 0.0
    return mean * left, square * left + squares, scatter * left + squares - means


def beta_share(a: float, b: float, x: float, rest: float) -> float:
    """Regularised incomplete beta function I_x(a, b), where `rest` = 1 - x is given as well so that
    no digits are lost when x is nearly 1. Requires a, b > 0.

    Reference: Abramowitz and Stegun 1964, "Handbook of Mathematical Functions", 26.5.8, a continued
    fraction, evaluated by the modified Lentz method.
    """
    if x <= 0.0 or rest <= 0.0:
        return 0.0 if x <= 0.0 else 1.0
    swapped = x > (a + 1.0) / (a + b + 2.0)  # there the fraction of the other side converges
    if swapped:
        a, b, x, rest = b, a, rest, x
    powers = a * (log(x) if x < 0.5 else log1p(-rest))
    powers += b * (log(rest) if x > 0.5 else log1p(-x))
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + powers)
    share = min(front * _fraction(a, b, x) / a, 1.0)
    return 1.0 - share if swapped else share


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of 26.5.8, from its second term on."""
    above = 1.0
    below = 1.0 - (a + b) * x / (a + 1.0)
    below = 1.0 / (below if abs(below) > _SMALL else _SMALL)
    value = below
    for step in range(1, _STEPS):
        twice = a + 2.0 * step
        for factor in (
            step * (b - step) * x / ((twice - 1.0) * twice),
            -(a + step) * (a + b + step) * x / (twice * (twice + 1.0)),
        ):
            below = 1.0 + factor * below
            below = 1.0 / (below if abs(below) > _SMALL else _SMALL)
            above = 1.0 + factor / above
            above = above if abs(above) > _SMALL else _SMALL
            change = above * below
            value *= change
        if abs(change - 1.0) < _DONE:
            break
    return value
