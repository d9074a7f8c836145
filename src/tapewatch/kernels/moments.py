"""Mean and standard deviation from shifted sums, and the z-score. Numbers in, numbers out.

Sums of squares about zero are useless here: on a constant price of 0.62 they give a variance of
rounding noise, and with it a z of 1e15. Deviations are therefore taken from an `anchor`, one of the
samples themselves, so that equal samples give exactly zero (Chan, Golub, LeVeque: "Algorithms for
computing the sample variance", 1983, section 3: shifted data).
"""

from collections.abc import Sequence
from math import copysign, fsum, sqrt
from typing import Final

SAMPLE_MAX: Final = 1e150  # the caller cuts larger magnitudes: their squares would not be finite
Z_MAX: Final = 1e9  # more standard deviations than any digits of the input can carry
ROUNDING: Final = 1e-12  # a spread below this fraction of the level is rounding, not movement


def shifted_sums(samples: Sequence[float]) -> tuple[float, float, float]:
    """`(anchor, sum of (x - anchor), sum of (x - anchor)^2)` of at least one sample.

    The anchor is the sample nearest to the mean, thus within one standard deviation of it: what
    `mean_std` subtracts is then never larger than what remains.
    Units: those of the samples, and their square. Cost: O(n).
    """
    mean = fsum(samples) / len(samples)
    anchor = min(samples, key=lambda x: abs(x - mean))
    deviations = [x - anchor for x in samples]
    return anchor, fsum(deviations), fsum([d * d for d in deviations])


def mean_std(count: int, sum_1: float, sum_2: float, ddof: int) -> tuple[float, float]:
    """`(mean - anchor, standard deviation)`; `ddof` 0 is the population's, 1 the sample's.

    Requires count > ddof. Units: those of the samples. Cost: O(1).
    """
    offset = sum_1 / count
    return offset, sqrt(max(0.0, (sum_2 - sum_1 * offset) / (count - ddof)))


def z_score(deviation: float, std: float, level: float) -> float | None:
    """`deviation / std`, or None where no finite answer is honest.

    A spread that is only rounding (against `level`, the magnitude of the mean) counts as zero: then
    a value on the mean has z = 0 and any other has none. |z| is cut at `Z_MAX`.
    Units: deviation, std and level alike; the result in standard deviations.
    """
    noise = ROUNDING * abs(level)
    if std <= noise:
        return 0.0 if abs(deviation) <= noise else None
    z = deviation / std
    return z if -Z_MAX <= z <= Z_MAX else copysign(Z_MAX, z)
