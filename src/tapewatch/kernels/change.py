"""Slow changes, and how careful to be before a record exists. Numbers in, numbers out."""

from math import sqrt
from typing import Final

CUSUM_CLIP: Final = 4.0  # scales; one wild innovation must not make a drift


def cusum(up: float, down: float, z: float, slack: float) -> tuple[float, float]:
    """`(up, down)` after a standardised innovation `z`: the sums of what exceeds `slack` in either
    direction, restarted at zero. `z` counts at most `CUSUM_CLIP`.

    Units: standard deviations. Cost: O(1).
    Reference: Page 1954, "Continuous inspection schemes", Biometrika 41.
    """
    if z > CUSUM_CLIP:
        z = CUSUM_CLIP
    elif z < -CUSUM_CLIP:
        z = -CUSUM_CLIP
    return max(0.0, up + z - slack), max(0.0, down - z - slack)


def student_4(z: float) -> float:
    """P(|T| >= z) of Student's t with 4 degrees of freedom, the usual tail of returns (Cont 2001),
    not scaled to unit variance: a careful p while there is no record of the market's own.

    With y = z / sqrt(4 + z^2) it is (1 - y)^2 (2 + y) / 2, here without cancellation.
    Units: z >= 0 in scales; the result is two-sided.
    """
    root = sqrt(4.0 + z * z)
    short = 4.0 / (root * (root + z))  # 1 - y
    return 0.5 * short * short * (3.0 - short)


def student_4_at(p: float) -> float:
    """The `z` at which `student_4` is `p` (0 < p <= 1), to 1e-9 of itself: bisection.

    Units: as `student_4`. Cost: some fifty evaluations; not for every event.
    """
    low, high = 0.0, 1.0
    while student_4(high) > p:
        low, high = high, 2.0 * high
    while high - low > 1e-9 * high:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if student_4(middle) > p else (low, middle)
    return high
