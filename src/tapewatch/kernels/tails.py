"""Calibrated tails: how often does a statistic get this large, by its own record?

Theory of operation. A `Tail` counts magnitudes in logarithmic bins and forgets with a half-life.
Inside the bulk, p is the counted share above. Beyond the point that 2 % exceed, a law is fitted to
the log excesses y: survival exp(-rate * (e^(bend y) - 1) / bend). It nests what statistics of
markets do: bend 0 is a power law (returns, Cont 2001), 1 an exponential, 2 a Gaussian tail. There
is no end point, unlike in a generalised Pareto law of negative index, so nothing is ever
"impossible". `bend` is the posterior mean over `BENDS` (equal prior weights, rate at its maximum
likelihood), and `PRIOR_COUNT` imagined excesses of a power law of index `PRIOR_INDEX` stand for
what is known before there are data.

Counts are integers in two-byte cells, halved when `2 * HALF_LIFE` magnitudes are in: exact, small,
and the same on every machine. The fit is renewed every `REFIT` magnitudes; between, `p` is
arithmetic on a few numbers.
"""

from math import ceil, exp, expm1, floor, log, log1p
from typing import Final

from msgspec import Struct, field

PER_DECADE: Final = 32  # bins a decade: neighbours differ by 7 %
LOWEST: Final = 1e-2  # smaller magnitudes share the lowest bin
BINS: Final = 161  # five decades, 1e-2 to 1e3, and one for what is beyond
HALF_LIFE: Final = 20_000  # magnitudes after which one counts half
SHARE: Final = 0.02  # of the mass that is fitted as the tail
PRIOR_INDEX: Final = 0.25  # tail index of 4 degrees of freedom, usual for returns (Cont 2001)
PRIOR_COUNT: Final = 20.0
BENDS: Final = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
READY: Final = 2_000  # magnitudes: the 2 % tail then rests on forty of them
REFIT: Final = 256
_PER_E: Final = PER_DECADE / log(10.0)
_BIN: Final = log(10.0) / PER_DECADE  # width of a bin in nats
_LOWEST: Final = log(LOWEST)


def _bent(excess: float, bend: float) -> float:
    """(e^(bend y) - 1) / bend, whose limit at bend 0 is y."""
    return expm1(min(bend * excess, 700.0)) / bend if bend > 0.0 else excess


# Bent excess of the middle of the k-th bin beyond the edge, for each of BENDS.
_TABLE: Final = tuple(tuple(_bent((k + 0.5) * _BIN, bend) for k in range(BINS)) for bend in BENDS)
# What a prior excess, exponential in nats with mean PRIOR_INDEX, adds to the sum for each of BENDS.
_PRIOR: Final = tuple(PRIOR_INDEX / (1.0 - PRIOR_INDEX * bend) for bend in BENDS)


class Tail(Struct, array_like=True):
    """Record of one statistic. `total` magnitudes are counted in `counts` (BINS cells of two
    bytes); `seen` is how many there ever were. A share `edge_p` exceeds `edge` (nats); beyond it
    `bend` and `rate` describe the tail."""

    counts: bytearray = field(default_factory=lambda: bytearray(2 * BINS))
    total: int = 0
    seen: int = 0
    fitted: int = 0  # `seen` at the last fit
    edge: float = 0.0
    edge_p: float = 1.0
    bend: float = 0.0
    rate: float = 1.0 / PRIOR_INDEX


def learn(tail: Tail, magnitude: float) -> None:
    """Count one magnitude (>= 0; about 1 should be usual)."""
    place = 0
    if magnitude > LOWEST:
        place = int((log(magnitude) - _LOWEST) * _PER_E)
        if place >= BINS:
            place = BINS - 1
    cells = memoryview(tail.counts).cast("H")
    cells[place] += 1
    tail.total += 1
    tail.seen = seen = tail.seen + 1
    if tail.total >= 2 * HALF_LIFE:
        _fade(tail, cells)
    if seen - tail.fitted >= REFIT or (seen < REFIT and seen & 15 == 0):
        _fit(tail, cells)


def learn_least(tail: Tail, times: int) -> None:
    """Count `times` magnitudes of at most `LOWEST` at once; beyond `HALF_LIFE` they crowd out all
    others anyway. The fit is renewed by the others only: these are not in the tail."""
    if times <= 0:
        return
    cells = memoryview(tail.counts).cast("H")
    added = min(times, HALF_LIFE)
    cells[0] += added
    tail.total += added
    tail.seen += times
    tail.fitted += times
    if tail.total >= 2 * HALF_LIFE:
        _fade(tail, cells)


def _fade(tail: Tail, cells: memoryview) -> None:
    tail.total = 0
    for at in range(BINS):
        cells[at] >>= 1
        tail.total += cells[at]


def ready(tail: Tail) -> bool:
    """Whether there is enough behind it to speak of one in a hundred and rarer."""
    return tail.seen >= READY


def p_value(tail: Tail, magnitude: float, *, held: bool = True) -> tuple[float, bool]:
    """`(p, extrapolated)`: the probability of a magnitude at least as large.

    Extrapolated: fewer than ten such magnitudes are expected in the record, so p rests on the
    fitted law. Before `READY` magnitudes p is never below 1 / (n + 1), unless it is not `held`.
    """
    total = tail.total
    x = log(magnitude) if magnitude > LOWEST else _LOWEST
    if x <= tail.edge or tail.edge_p >= 1.0:
        return _counted(tail, x), False
    least = 1.0 / (total + 1.0)
    p = tail.edge_p * exp(-min(tail.rate * _bent(x - tail.edge, tail.bend), 600.0))
    if held and tail.seen < READY and p < least:
        return least, True
    return p, p < 10.0 * least


def magnitude_at(tail: Tail, p: float) -> float:
    """The magnitude that a share `p` exceeds, for bounds and flip points; the inverse of `p_value`
    within the tail, and the tail's edge for larger `p`."""
    if p >= tail.edge_p:
        return exp(tail.edge)
    bent = log(tail.edge_p / p) / tail.rate
    excess = log1p(bent * tail.bend) / tail.bend if tail.bend > 0.0 else bent
    return exp(tail.edge + min(excess, 50.0))


def _counted(tail: Tail, x: float) -> float:
    """Share of the record above `x`, evenly spread inside its bin."""
    where = (x - _LOWEST) * _PER_E
    place = min(max(floor(where), 0), BINS - 1)
    cells = memoryview(tail.counts).cast("H")
    above = float(sum(cells[place + 1 :]))
    inside = 1.0 - min(max(where - place, 0.0), 1.0)
    return min(1.0, (above + inside * cells[place] + 0.5) / (tail.total + 1.0))


def _fit(tail: Tail, cells: memoryview) -> None:
    """Find the edge and the law beyond it."""
    wanted = max(1, ceil(SHARE * tail.total))
    mass, place = 0, BINS
    above, after = 0, BINS
    while place > 0 and mass < wanted:
        if mass > above:
            above, after = mass, place
        place -= 1
        mass += cells[place]
    if mass > 2 * wanted and above:  # one value holds much of the record: the tail begins beyond
        mass, place = above, after
    tail.fitted = tail.seen
    tail.edge = _LOWEST + place * _BIN  # the lower end of the bin in which the share is reached
    tail.edge_p = mass / (tail.total + 1.0)
    beyond = cells[place:].tolist()
    tail.bend = _mean_bend(beyond, float(mass))
    total = sum([n * _bent((k + 0.5) * _BIN, tail.bend) for k, n in enumerate(beyond) if n])
    prior = PRIOR_INDEX / (1.0 - PRIOR_INDEX * tail.bend)
    tail.rate = (mass + PRIOR_COUNT) / (total + PRIOR_COUNT * prior)


def _mean_bend(beyond: list[int], mass: float) -> float:
    """Posterior mean of the bend. Given the bend, bent excesses are exponential; their likelihood
    at the best rate is count (ln(count / sum) - 1) + bend * sum of excesses (the Jacobian)."""
    count = mass + PRIOR_COUNT
    excesses = sum([n * _TABLE[0][k] for k, n in enumerate(beyond) if n])
    excesses += PRIOR_COUNT * PRIOR_INDEX
    likelihoods = []
    for bend, table, prior in zip(BENDS, _TABLE, _PRIOR, strict=True):
        total = sum([n * table[k] for k, n in enumerate(beyond) if n]) + PRIOR_COUNT * prior
        likelihoods.append(count * log(count / total) + bend * excesses)
    best = max(likelihoods)
    weights = [exp(one - best) for one in likelihoods]
    return sum([w * bend for w, bend in zip(weights, BENDS, strict=True)]) / sum(weights)
