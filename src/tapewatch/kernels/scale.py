"""A robust scale over three horizons, and innovations of prices. Numbers in, numbers out.

The scale of an innovation is a weighted sum of three exponentially weighted variances. An
observation is scored against the variances before it, and enters them clipped: one bad print can
move none of them by more than a fraction, so it cannot hide the next (masking).
"""

from math import log, sqrt
from typing import Final

# Weights of the short, middle and long horizon, fixed a priori: the short one answers to a change
# of volatility, the others keep it from collapsing in a quiet minute.
WEIGHTS: Final = (0.6, 0.3, 0.1)
CLIP: Final = 4.0  # scales; the clip of the update
HALF: Final = -0.6931471805599453  # ln 0.5


def log_odds(price: float, tick: float) -> float:
    """ln(p / (1 - p)) of a probability, kept half a tick away from 0 and 1.

    Units: price and tick in 1; the result in nats.
    """
    edge = 0.5 * tick if tick > 0.0 else 1e-9
    p = min(max(price, edge), 1.0 - edge)
    return log(p / (1.0 - p))


def scale(short: float, middle: float, long: float, floor: float) -> float:
    """Standard deviation of the next innovation; never below `floor`.

    Units: variances in the square of the innovation's unit, floor and result in its unit.
    """
    return sqrt(WEIGHTS[0] * short + WEIGHTS[1] * middle + WEIGHTS[2] * long + floor * floor)


def scale_step(
    variance: float, innovation: float, floor: float, kept: float, clip: float = CLIP
) -> float:
    """One variance after an innovation: v <- kept * v + (1 - kept) * min(r^2, clip^2 (v + f^2)).

    Units: variance in the square of the innovation's unit; `kept` = 0.5 ** (dt / half-life).
    Reference: the clipped recursion is Huber's psi on the scale (Huber 1981, "Robust Statistics",
    chapter 5) in exponentially weighted form.
    """
    square = innovation * innovation
    most = clip * clip * (variance + floor * floor)
    return kept * variance + (1.0 - kept) * min(square, most)
