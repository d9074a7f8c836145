"""A window over time that knows the mean and spread of its samples.

Theory of operation. Samples enter at the end and leave at the front; two shifted sums follow. The
sums are computed afresh from the samples when they have lost precision: when the spread has fallen
far below the largest sum since the last time, because an outlier has left or the level has moved
away from the anchor. Either needs about a whole window of samples to come about again, so the cost
stays O(1) per sample, amortised. What is left of rounding grows with the square root of the number
of samples: about 1e-13 of the spread after a hundred thousand.
"""

from msgspec import Struct

from tapewatch.kernels.moments import SAMPLE_MAX, mean_std, shifted_sums

# 4 bits: with them gone the standard deviation is still good to 1e-13.
LOSS = 16.0
_DEAD = 256  # removed samples that may stay at the front, since deleting there moves all others


class Window(Struct):
    """Samples `values[head:]` taken at `times[head:]`, in order. `push` and `expire` change it."""

    times: list[int] = []
    values: list[float] = []
    head: int = 0
    anchor: float = 0.0
    sum_1: float = 0.0
    sum_2: float = 0.0
    peak: float = 0.0  # largest sum_2 since the sums were computed afresh


def count(window: Window) -> int:
    """Number of samples inside."""
    return len(window.values) - window.head


def push(window: Window, time: int, value: float) -> None:
    """Append one sample of at most `SAMPLE_MAX`; `time` must not decrease."""
    assert -SAMPLE_MAX <= value <= SAMPLE_MAX
    if not window.values:
        window.anchor = value
    window.times.append(time)
    window.values.append(value)
    deviation = value - window.anchor
    window.sum_1 += deviation
    window.sum_2 += deviation * deviation
    window.peak = max(window.peak, window.sum_2)


def expire(window: Window, before: int) -> None:
    """Remove the samples taken earlier than `before`."""
    times, values, head = window.times, window.values, window.head
    end = len(values)
    while head < end and times[head] < before:
        deviation = values[head] - window.anchor
        window.sum_1 -= deviation
        window.sum_2 -= deviation * deviation
        head += 1
    if head >= _DEAD:
        del times[:head], values[:head]
        head = 0
    window.head = head


def spread(window: Window, ddof: int) -> tuple[float, float, float]:
    """`(anchor, mean - anchor, standard deviation)` of more than `ddof` samples."""
    size = len(window.values) - window.head
    assert size > ddof
    squares = window.sum_2 - window.sum_1 * (window.sum_1 / size)
    if squares * LOSS < window.peak:
        window.anchor, window.sum_1, window.sum_2 = shifted_sums(window.values[window.head :])
        window.peak = window.sum_2
    offset, std = mean_std(size, window.sum_1, window.sum_2, ddof)
    return window.anchor, offset, std
