"""A detector of any series of numbers, for the benchmark only: markets have better ones.

It shows what the calibrated tails do on series that are no markets. There is no price here, no
spread, no trade: values may be zero or negative, and no floor in native units says what matters.

Theory of operation. A value minus what it was expected to be, for six expectations: the last value
and exponentially weighted means of 4 to 1024 points, each four times as slow as the one before. A
residual is divided by its own long-run scale and gets the p of its side's tail, doubled for the two
sides. The score is the logarithm of the mean of 1 / p. It is emitted only when it is above
everything in the last `hold` points, so that one event is one detection.
"""

from collections import deque
from math import log10
from typing import Final, NamedTuple

from tapewatch.kernels.scale import scale_step
from tapewatch.kernels.tails import Tail, learn, p_value

HALF_LIVES: Final = (0, 4, 16, 64, 256, 1024)  # points; 0: the last value
SCALE_HALF_LIFE: Final = 3600  # points; of the residual's scale
_LEAST_P: Final = 1e-100  # 1 / p stays finite


class Residual:
    """One expectation and the record of what it missed by."""

    def __init__(self, half_life: int, first: float) -> None:
        self.mean = first
        self.variance = 0.0
        self.up, self.down = Tail(), Tail()
        self._kept = 0.5 ** (1.0 / half_life) if half_life else 0.0

    def score(self, value: float, seen: int, floor: float) -> float:
        """p of the value under what is known; then learn it. `seen`: values before, at least 1."""
        miss = value - self.mean
        # The first values count evenly: nothing is known that they could be weighed against.
        even = 1.0 - 1.0 / (seen + 1.0)
        kept = min(self._kept, even)
        self.mean = kept * self.mean + (1.0 - kept) * value
        if seen == 1:
            self.variance = miss * miss
        size = abs(miss) / (self.variance + floor * floor) ** 0.5
        self.variance = scale_step(
            self.variance, miss, floor, min(0.5 ** (1.0 / SCALE_HALF_LIFE), even)
        )
        side, other = (self.up, self.down) if miss > 0.0 else (self.down, self.up)
        p = min(1.0, 2.0 * p_value(side, size, held=False)[0]) if seen > 1 else 1.0
        learn(side, size)
        learn(other, 0.0)
        return p


class Scored(NamedTuple):
    """One value: what the detector emits (decades, 0: nothing), and what it expected."""

    score: float
    value: float
    expected: float


class Series:
    """The detector. `hold`: points for which a higher score keeps lower ones quiet."""

    def __init__(self, hold: int) -> None:
        self._hold = max(1, hold)
        self._residuals: list[Residual] = []
        self._peaks: deque[tuple[int, float]] = deque()  # falling scores of the last `hold` points
        self._seen = 0
        self._last = 0.0
        self._step = 0.0  # smallest change so far; half of it is what rounding can do

    def update(self, value: float) -> Scored:
        """Score one value against those before it, then learn it."""
        if not self._seen:
            self._residuals = [Residual(half_life, value) for half_life in HALF_LIVES]
            self._seen, self._last = 1, value
            return Scored(0.0, value, value)
        change = abs(value - self._last)
        if change > 1e-9 * abs(value) and (change < self._step or not self._step):
            self._step = change
        floor = 0.5 * self._step or 1e-9
        expected = [one.mean for one in self._residuals]
        ps = [one.score(value, self._seen, floor) for one in self._residuals]
        fused = log10(sum([1.0 / max(p, _LEAST_P) for p in ps]) / len(ps))
        self._last = value
        self._seen += 1
        return Scored(self._emitted(fused), value, expected[ps.index(min(ps))])

    def _emitted(self, score: float) -> float:
        """The score if it is above all of the last `hold` points, else 0."""
        peaks = self._peaks
        while peaks and peaks[0][0] < self._seen - self._hold:
            peaks.popleft()
        above = not peaks or score > peaks[0][1]
        while peaks and peaks[-1][1] <= score:
            peaks.pop()
        peaks.append((self._seen, score))
        return score if above else 0.0
