"""How far a price usually moves: the scale that `price_jump`, `drift` and `regime` have in common.

Prices live as coordinates: the log of a price, of a probability its log-odds. Time is counted in
steps of equal length; steps without events are left out, but they widen the step after them.
"""

from math import exp, log, sqrt
from typing import Final

from msgspec import Struct, field

from tapewatch.kernels.prices import faded, half_spread, half_tick
from tapewatch.kernels.scale import log_odds, scale, scale_step
from tapewatch.model.events import Sample

# Venues whose prices are probabilities.
PROBABILITIES: Final = ("polymarket", "kalshi")
WARM: Final = 60  # steps before anything is judged: the scale begins as their mean square
LONGEST: Final = 600  # steps of silence; a longer one counts as this
STRETCH: Final = 0.5  # variance grows with the silence before a step to this power: between a
# market in which nothing happens (0) and a diffusion that nobody sees (1)
LEAST_TICK: Final = 1e-9  # of a probability; what is finer is rounding
TICK_OF_ONE: Final = 0.01  # the coarsest tick of prediction markets
TICK_OF_PRICE: Final = 0.01  # assumed of a price that has never moved; most are finer
WIDEST: Final = 700.0  # of a coordinate, so that its price is finite
_FLOOR_MAX: Final = 1.0  # nats; a floor that says nothing any more
_MEAN_STEPS: Final = 100_000  # counting stops: the means have forgotten their beginning

# Of five-second samples: half-lives of 30, 300 and 3,600 s; of bars as many times their length.
SAMPLE_HALF_LIVES: Final = (6.0, 60.0, 720.0)
KEPT: Final = (
    0.5 ** (1.0 / SAMPLE_HALF_LIVES[0]),
    0.5 ** (1.0 / SAMPLE_HALF_LIVES[1]),
    0.5 ** (1.0 / SAMPLE_HALF_LIVES[2]),
)


class Scales(Struct, array_like=True):
    """Three variances a step, the usual half-spread, and what they make of the step to come."""

    short: float = 0.0
    middle: float = 0.0
    long: float = 0.0
    spread: float = 0.0
    floor: float = 0.0
    gap: float = 1.0  # factor of the variance, for the silence before the step
    sigma: float = 0.0  # of the step's move; 0: not warm
    steps: int = 0


def tick_of(sample: Sample, *, probable: bool) -> float:
    """The tick to reckon with, 0.0: unknown. That of a probability is cut to what there is: the
    only step seen so far may be a jump."""
    if not probable or sample.tick <= 0.0:
        return sample.tick
    return min(max(sample.tick, LEAST_TICK), TICK_OF_ONE)


def coordinate(price: float, tick: float, *, probable: bool) -> float:
    """Log of a price, log-odds of a probability."""
    return log_odds(price, tick) if probable else log(price)


def price_at(x: float, *, probable: bool) -> float:
    """The price at a coordinate."""
    x = min(max(x, -WIDEST), WIDEST)
    return 1.0 / (1.0 + exp(-x)) if probable else exp(x)


def half_width(bid: float, ask: float, tick: float, *, probable: bool) -> float:
    """Half the spread in coordinates; 0 where it is unknown or negative."""
    if not probable:
        return half_spread(bid, ask)
    return 0.5 * (log_odds(ask, tick) - log_odds(bid, tick)) if 0.0 < bid < ask else 0.0


def look_ahead(scales: Scales, price: float, tick: float, empty: int, *, probable: bool) -> None:
    """Set the scale of the step that begins at `price` (> 0) after `empty` silent steps."""
    if scales.steps < WARM:
        return
    scales.gap = gap = (1.0 + min(empty, LONGEST)) ** STRETCH if empty > 0 else 1.0
    if probable:  # d ln(p / (1 - p)) = dp / (p (1 - p))
        half = half_tick(tick or TICK_OF_ONE, price) / max(1.0 - price, TICK_OF_ONE)
    elif tick:
        half = half_tick(tick, price)
    else:
        half = 0.0 if scales.long or scales.spread else 0.5 * TICK_OF_PRICE
    scales.floor = min(max(half, scales.spread), _FLOOR_MAX)
    scales.sigma = scale(gap * scales.short, gap * scales.middle, gap * scales.long, scales.floor)


def look_back(scales: Scales, move: float, kept: tuple[float, float, float]) -> float:
    """Take in the move of the step that is over, clipped once there is a scale to clip by.

    Returns the most that any mean with this many steps behind it may keep, 1 - 1 / steps: means
    are plain ones until a half-life has passed.
    """
    scales.steps = steps = min(scales.steps + 1, _MEAN_STEPS)
    most = 1.0 - 1.0 / steps
    move /= sqrt(scales.gap)
    short, middle, long = min(most, kept[0]), min(most, kept[1]), min(most, kept[2])
    if scales.sigma > 0.0:
        scales.short = scale_step(scales.short, move, scales.floor, short)
        scales.middle = scale_step(scales.middle, move, scales.floor, middle)
        scales.long = scale_step(scales.long, move, scales.floor, long)
    else:
        square = move * move
        scales.short = faded(scales.short, square, short)
        scales.middle = faded(scales.middle, square, middle)
        scales.long = faded(scales.long, square, long)
    return most


class Track(Struct, array_like=True):
    """A price in samples: where it was, and its scales."""

    x: float = 0.0
    price: float = 0.0
    interval_ns: int = 0
    scales: Scales = field(default_factory=Scales)


def innovation(track: Track, sample: Sample, *, probable: bool) -> tuple[float, float, int]:
    """`(z, move, empty)`: the move since the sample before, over its scale and in coordinates, and
    how many samples fell out between; 0 while there is no scale. Then it is learnt."""
    scales = track.scales
    tick = tick_of(sample, probable=probable)
    x = coordinate(sample.price, tick, probable=probable)
    if not scales.steps or sample.interval_ns != track.interval_ns:
        track.x, track.price, track.interval_ns = x, sample.price, sample.interval_ns
        track.scales = scales = Scales()
        look_back(scales, 0.0, KEPT)
        return 0.0, 0.0, 0
    empty = max(0, sample.idle_ns) // sample.interval_ns
    look_ahead(scales, track.price, tick, empty, probable=probable)
    move = x - track.x
    z = move / scales.sigma if scales.sigma > 0.0 else 0.0
    most = look_back(scales, move, KEPT)
    width = half_width(sample.bid, sample.ask, tick, probable=probable)
    scales.spread = faded(scales.spread, width, min(most, KEPT[2]))
    track.x, track.price = x, sample.price
    return z, move, empty
