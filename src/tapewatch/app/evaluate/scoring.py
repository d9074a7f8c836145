"""Scores of alerts against truth, each with its uncertainty. Knows nothing of detectors or files.

A figure without an interval is an anecdote: ten of ten onsets found is a recall of 0.69 or better,
no alert in two days is a rate of up to 1.8 a day. So counts become `Proportion`s and `Rate`s here.
Intervals are two-sided 95 % unless asked otherwise. Times are ns.
"""

from collections.abc import Callable, Iterable, Sequence
from math import exp, inf, lgamma, log, sqrt
from random import Random
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from tapewatch.kernels.counts import beta_share
from tapewatch.model.time import NS_PER_S

T = TypeVar("T")

EPISODE_S: Final = 300.0  # alerts of one instrument and cause closer than this are one episode
LEVEL: Final = 0.95
CHANCE_INSTANTS: Final = 40  # random instants a file, to say what recall luck alone would have
ROUNDS: Final = 1_000  # of a bootstrap
_STEPS: Final = 500  # of a continued fraction or series; fifty are usual
_SMALL: Final = 1e-300
_DONE: Final = 1e-14


class Interval(NamedTuple):
    """Lower and upper end."""

    low: float
    high: float


class Proportion(Struct, frozen=True):
    """`hits` of `n`; `share` is None where n is 0."""

    hits: int
    n: int
    share: float | None
    low: float
    high: float


class Rate(Struct, frozen=True):
    """`count` events in `exposure` (days, hours: the caller's unit), `rate` per unit of it."""

    count: int
    exposure: float
    rate: float | None
    low: float
    high: float


def plain(score: dict[str, Any]) -> dict[str, Any]:
    """A score as JSON has it: structs become objects, what is infinite becomes null."""
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(score))
    return decoded


# Intervals


def binomial_interval(hits: int, n: int, level: float = LEVEL) -> Interval:
    """Exact interval of a proportion.

    Reference: Clopper and Pearson 1934, "The use of confidence or fiducial limits".
    """
    _check(hits, n)
    tail = 0.5 * (1.0 - level)

    def end(a: int, b: int, wanted: float) -> float:
        return _solve(lambda p: beta_share(a, b, p, 1.0 - p), wanted, 1.0)

    low = 0.0 if hits == 0 else end(hits, n - hits + 1, tail)
    high = 1.0 if hits == n else end(hits + 1, n - hits, 1.0 - tail)
    return Interval(low, high)


def wilson_interval(hits: int, n: int, level: float = LEVEL) -> Interval:
    """Score interval of a proportion: narrower than the exact one, right on average.

    Reference: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    _check(hits, n)
    if n == 0:
        return Interval(0.0, 1.0)
    # The quantile of the normal law, from that of chi-squared with one degree of freedom.
    z = sqrt(2.0 * _solve(lambda x: gamma_share(0.5, x), level, 100.0))
    share, square = hits / n, z * z
    middle = (share + square / (2 * n)) / (1.0 + square / n)
    half = z * sqrt(share * (1.0 - share) / n + square / (4.0 * n * n)) / (1.0 + square / n)
    return Interval(
        0.0 if hits == 0 else middle - half,
        1.0 if hits == n else middle + half,
    )


def poisson_interval(count: int, level: float = LEVEL) -> Interval:
    """Exact interval of the expected number of events, when `count` happened.

    Reference: Garwood 1936, "Fiducial limits for the Poisson distribution".
    """
    if count < 0:
        raise ValueError(f"a count is not negative: {count}")
    tail, most = 0.5 * (1.0 - level), count + 20.0 * sqrt(count + 1.0) + 20.0
    low = 0.0 if count == 0 else _solve(lambda x: gamma_share(count, x), tail, most)
    return Interval(low, _solve(lambda x: gamma_share(count + 1, x), 1.0 - tail, most))


def proportion(
    hits: int, n: int, interval: Callable[[int, int], Interval] = binomial_interval
) -> Proportion:
    """`hits` of `n` with its interval, exact unless another is asked for."""
    low, high = interval(hits, n)
    return Proportion(hits, n, hits / n if n else None, low, high)


def rate(count: int, exposure: float) -> Rate:
    """`count` events in `exposure`, with the exact Poisson interval per unit of exposure."""
    low, high = poisson_interval(count)
    if exposure <= 0.0:
        return Rate(count, exposure, None, 0.0, inf)
    return Rate(count, exposure, count / exposure, low / exposure, high / exposure)


# Events


def episodes(times: Iterable[int], quiet_s: float = EPISODE_S) -> list[int]:
    """Starts of episodes: each lasts until there was nothing for more than `quiet_s`.

    Units: ns, in any order. The caller splits by instrument and cause where that is the rule.
    """
    starts: list[int] = []
    before: int | None = None
    for at in sorted(times):
        if before is None or at - before > quiet_s * NS_PER_S:
            starts.append(at)
        before = at
    return starts


def delay_s(times: Iterable[int], onset: int, before_s: float, after_s: float) -> float:
    """Seconds from `onset` to the first alert in [onset - before_s, onset + after_s]; inf if there
    is none, negative if it came early."""
    early, late = onset - round(before_s * NS_PER_S), onset + round(after_s * NS_PER_S)
    first = min((at for at in times if early <= at <= late), default=None)
    return inf if first is None else (first - onset) / NS_PER_S


def recall(delays: Sequence[float], budget_s: float) -> Proportion:
    """Share of events found within `budget_s` seconds; an event never found has delay inf."""
    return proportion(sum(delay <= budget_s for delay in delays), len(delays))


def recalls(delays: Sequence[float], budgets_s: Iterable[float]) -> dict[str, Proportion]:
    """`recall` at several budgets, by name: `within_10_s` and so on."""
    return {f"within_{budget:g}_s": recall(delays, budget) for budget in budgets_s}


def chance(
    times: Sequence[int], instants: Iterable[int], before_s: float, after_s: float
) -> Proportion:
    """How often an arbitrary instant would have been "found": print it beside every recall."""
    found = [delay_s(times, at, before_s, after_s) < inf for at in instants]
    return proportion(sum(found), len(found))


def chance_instants(
    start: int, end: int, avoid: Interval | None, seed: str, n: int = CHANCE_INSTANTS
) -> list[int]:
    """`n` instants in [start, end), none in the `avoid` zone (ns), the same for the same seed.

    Raises ValueError where the zone leaves nothing.
    """
    low, high = (int(avoid.low), int(avoid.high)) if avoid else (start, start)
    low, high = min(max(low, start), end), min(max(high, start), end)
    room = (low - start) + (end - high)
    if room <= 0:
        raise ValueError("no time is left outside the zone to avoid")
    random = Random(seed)  # noqa: S311  seeded, nothing secret
    drawn = [start + random.randrange(room) for _ in range(n)]
    return [at if at < low else at + (high - low) for at in drawn]


# Ranking and probabilities


def auc(positive: Sequence[float], negative: Sequence[float]) -> float | None:
    """Probability that a positive scores above a negative, ties half; None without either.

    Reference: Mann and Whitney 1947; computed from mid-ranks.
    """
    if not positive or not negative:
        return None
    both = sorted([(one, 1) for one in positive] + [(one, 0) for one in negative])
    ranks, at = 0.0, 0
    while at < len(both):
        after = at
        while after < len(both) and both[after][0] == both[at][0]:
            after += 1
        ranks += 0.5 * (at + 1 + after) * sum(label for _, label in both[at:after])
        at = after
    n = len(positive)
    return (ranks - 0.5 * n * (n + 1)) / (n * len(negative))


def brier(forecasts: Sequence[float], came: Sequence[bool]) -> float | None:
    """Mean squared error of probabilities; None without any. Reference: Brier 1950."""
    if not forecasts:
        return None
    pairs = zip(forecasts, came, strict=True)
    return sum([(p - float(true)) ** 2 for p, true in pairs]) / len(forecasts)


def average_precision(scores: Sequence[float], wanted: Sequence[bool], found: int = 0) -> float:
    """Area under precision over recall, as a step function; equal scores count together.

    `found` is the number of all wanted things where some have no score at all (0: all have one).
    """
    total = max(found, sum(wanted))
    ranked = sorted(zip(scores, wanted, strict=True), key=lambda pair: -pair[0])
    area, hits, at = 0.0, 0, 0
    while at < len(ranked):
        after, more = at, 0
        while after < len(ranked) and ranked[after][0] == ranked[at][0]:
            more += ranked[after][1]
            after += 1
        hits, at = hits + more, after
        area += more * hits / after
    return area / total if total else 0.0


def bootstrap(
    events: Sequence[T],
    statistic: Callable[[Sequence[T]], float | None],
    seed: str,
    rounds: int = ROUNDS,
) -> Interval | None:
    """Percentile interval of a statistic over events drawn with replacement.

    Give whole events (a market-day, an onset), not points of one, for points of one event are not
    independent. Draws without a statistic (None) are left out; None when nothing remains.
    Reference: Efron 1979, "Bootstrap methods: another look at the jackknife".
    """
    random = Random(seed)  # noqa: S311  seeded, nothing secret
    n = len(events)
    drawn = [
        statistic([events[random.randrange(n)] for _ in range(n)])
        for _ in range(rounds if n else 0)
    ]
    values = sorted([one for one in drawn if one is not None])
    if not values:
        return None
    tail = 0.5 * (1.0 - LEVEL)
    return Interval(_quantile(values, tail), _quantile(values, 1.0 - tail))


# Special functions: plain Python, so that evaluation needs no numerical library


def gamma_share(shape: float, x: float) -> float:
    """Regularised lower incomplete gamma function P(shape, x).

    Reference: Abramowitz and Stegun 1964, 6.5.29 (series) and 6.5.31 (continued fraction).
    """
    if x <= 0.0:
        return 0.0
    front = exp(shape * log(x) - x - lgamma(shape))
    if x < shape + 1.0:
        term = total = 1.0 / shape
        for step in range(1, _STEPS + int(10.0 * sqrt(shape))):
            term *= x / (shape + step)
            total += term
            if term < total * _DONE:
                break
        return front * total
    b = x + 1.0 - shape
    fraction = _lentz(
        b,
        (
            (-step * (step - shape), b + 2.0 * step)
            for step in range(1, _STEPS + int(10.0 * sqrt(x)))
        ),
    )
    return 1.0 - front / fraction


def _lentz(first: float, terms: Iterable[tuple[float, float]]) -> float:
    """first + a1/(b1 + a2/(b2 + ...)), by Lentz's method as modified by Thompson and Barnett."""
    value = first or _SMALL
    above, below = value, 0.0
    for a, b in terms:
        below = 1.0 / ((b + a * below) or _SMALL)
        above = (b + a / above) or _SMALL
        change = above * below
        value *= change
        if abs(change - 1.0) < _DONE:
            break
    return value


def _solve(share: Callable[[float], float], wanted: float, most: float) -> float:
    """Where a rising function on [0, most] takes a value, by bisection to the last digit."""
    low, high = 0.0, most
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if share(middle) < wanted:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def _quantile(values: Sequence[float], q: float) -> float:
    """Linear interpolation between order statistics (Hyndman and Fan 1996, type 7)."""
    where = q * (len(values) - 1)
    at = int(where)
    after = min(at + 1, len(values) - 1)
    return values[at] + (where - at) * (values[after] - values[at])


def _check(hits: int, n: int) -> None:
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} hits of {n} is not a proportion")
