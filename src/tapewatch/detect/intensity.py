"""`intensity`: far more, or far fewer, orders than usual at this time of day.

It counts; it knows neither prices nor amounts. An empty stretch is no observation of its own (how
long it may last is for `staleness` and `gap`), but it belongs to what is usual.

Theory of operation. The count of a sample is compared with a negative binomial law whose mean is
that of the last hours times the hour's share of a day, and whose scatter is measured. That law is
still too thin for bunches within bunches, so its surprise is not believed: a `Tail` records how
often surprises of that size come, and that is p.
"""

from math import log, log10, sqrt
from typing import ClassVar, Final

from msgspec import Struct, field

from tapewatch.detect.base import LINE, TOLD
from tapewatch.kernels.counts import count_step, empty_steps, negbin_size, negbin_tails
from tapewatch.kernels.tails import LOWEST, Tail, learn, magnitude_at, p_value, ready
from tapewatch.model.events import Event, Sample
from tapewatch.model.outputs import Contribution, Observation
from tapewatch.model.time import NS_PER_S

HALF_LIFE_S: Final = 3600.0  # of mean and scatter
SHARE_S: Final = 86_400.0  # half-life of the share of stretches with trades
BINS: Final = 48  # half-hours of a day
_BIN_NS: Final = 1800 * NS_PER_S
_DAY_NS: Final = 86_400 * NS_PER_S
_PROFILED_NS: Final = 2 * _DAY_NS  # from then on the time of day counts
_DAY_WEIGHT: Final = 0.3  # of the newest day in the profile: about three days
_PRIOR: Final = 0.5  # days of an even profile, so that one odd half-hour is not taken at its word
_PLAIN: Final = 1.5  # standard deviations; nearer counts are no surprise and cost nothing
_CLIP: Final = 8.0  # standard deviations; the clip of the update
_LEAST: Final = 1e-6  # an expected count below it is none
P_LEAST: Final = 1e-300
_BURST: Final = 20.0  # orders above the expected: fewer move nobody's market
_TIMES: Final = 3.0  # expected counts
_LULL: Final = 20.0  # orders expected where few are news
_BUSY: Final = 5.0  # orders expected: below, a burst alone wakes nobody


class IntensityState(Struct, array_like=True):
    """Memory of one instrument. `mean` (orders a stretch, without the time of day), `square` and
    `scatter` are weighted means, `known` the weight behind the mean. `profile` has the orders a
    stretch of each half-hour; `filled` counts the orders of the current one."""

    interval_ns: int = 0
    since_ns: int = 0  # the first stretch
    last_ns: int = 0  # the newest
    mean: float = 0.0
    known: float = 0.0
    square: float = 0.0
    scatter: float = 0.0
    active: float = 0.0  # share of stretches with trades, and its weight
    active_known: float = 0.0
    place: int = -1  # half-hour since the epoch that is being filled
    filled: float = 0.0
    whole: bool = False  # it is filled from its beginning
    overall: float = 0.0  # mean of the profile
    profile: bytearray = field(default_factory=lambda: bytearray(4 * BINS))
    tail: Tail = field(default_factory=Tail)


class Intensity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Surprise of the count of orders: -ln of the smaller tail of its negative binomial law.

    mean = orders a stretch, half-life one hour, times the factor of the half-hour of the day once
    two days are known; variance = mean + mean^2 / size, the size by moments. The tail record makes
    p of the surprise; empty stretches count as unsurprising. A `burst` is material from 20 orders
    and three times the expected on, a `lull` where 20 are expected and less than a third come.
    Where fewer than five orders a stretch are usual, it is only a note: a thin market is bunches.

    Units: orders a stretch (5 s, or a bar that says how many trades it has); sigma by the law's own
    standard deviation. Bars that do not say are passed over.
    Reference: Johnson, Kemp and Kotz 2005, chapter 5 (the law and its moments); that arrivals
    excite each other: Hawkes 1971, "Spectra of some self-exciting and mutually exciting processes".
    False alarms: scheduled news, listings, the first day of a new regime of activity; many dust
    orders, which are orders. A market that always moves at odd hours of the week is seen as odd.
    """

    name: ClassVar[str] = "intensity"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Sample,)
    state_type: ClassVar[type] = IntensityState

    def key(self, event: Event, /) -> str | None:
        return event.instrument if isinstance(event, Sample) else None

    def start(self, key: str, /) -> IntensityState:  # noqa: ARG002  (its memory has no name)
        return IntensityState()

    def update(self, state: IntensityState, event: Event, /) -> Observation | None:
        assert isinstance(event, Sample)
        count = event.orders if event.orders >= 0 else event.trades
        if count < 0 or event.interval_ns <= 0:
            return None
        state.interval_ns = state.interval_ns or event.interval_ns
        passed = (event.ts_event - state.last_ns) / state.interval_ns if state.last_ns else 1.0
        if event.interval_ns != state.interval_ns or passed < 1.0:
            return None
        kept = 0.5 ** (state.interval_ns / (HALF_LIFE_S * NS_PER_S))
        self._fill(state, event.ts_event - state.interval_ns)
        factor = _factor(state, event.ts_event - state.interval_ns)
        if passed >= 2.0:
            _skip(state, factor, kept, passed - 1.0)
        state.since_ns = state.since_ns or event.ts_event
        state.last_ns = event.ts_event
        return self._judge(state, event, float(count), factor, kept)

    def _judge(
        self, state: IntensityState, event: Sample, count: float, factor: float, kept: float
    ) -> Observation | None:
        expected = max(factor * state.mean / state.known if state.known else count, _LEAST)
        size = negbin_size(state.scatter, state.square) if state.square else 1.0
        spread = sqrt(expected + expected * expected / size)
        surprise, seen = LOWEST, None
        if abs(count - expected) > _PLAIN * spread:
            surprise = -log(max(min(negbin_tails(count, expected, size)), P_LEAST))
            share = state.active / state.active_known if state.active_known else 1.0
            p, extrapolated = p_value(state.tail, surprise)
            score = -log10(max(p * share, P_LEAST))
            if score >= TOLD:
                seen = _observation(state, event, (count, expected, size), (score, extrapolated))
        if count > 0.0:
            learn(state.tail, surprise)
        _learn(state, min(count, expected + _CLIP * (spread + 1.0)), expected, factor, kept)
        state.active += (1.0 - 0.5 ** _days(state)) * (count > 0.0)
        return seen

    def _fill(self, state: IntensityState, at: int) -> None:
        """Close half-hours that are over; those without any trade had none."""
        place = at // _BIN_NS
        if place == state.place:
            return
        if state.place >= 0 and place > state.place:
            cells = memoryview(state.profile).cast("f")
            stretches = max(1.0, _BIN_NS / state.interval_ns)
            if state.whole:
                _blend(state, cells, state.place % BINS, state.filled / stretches)
            for empty in range(max(state.place + 1, place - BINS), place):
                _blend(state, cells, empty % BINS, 0.0)
            state.overall = sum(cells) / BINS
        state.whole = state.place >= 0
        state.place, state.filled = place, 0.0


def _blend(state: IntensityState, cells: "memoryview[float]", cell: int, mean: float) -> None:
    young = state.last_ns - state.since_ns < _DAY_NS
    cells[cell] = mean if young else (1.0 - _DAY_WEIGHT) * cells[cell] + _DAY_WEIGHT * mean


def _factor(state: IntensityState, at: int) -> float:
    """How much busier than the day's mean its half-hour usually is."""
    if state.overall <= 0.0 or at - state.since_ns < _PROFILED_NS:
        return 1.0
    usual: float = memoryview(state.profile).cast("f")[at // _BIN_NS % BINS]
    days = min((at - state.since_ns) / _DAY_NS, 1.0 / _DAY_WEIGHT)
    return (days * usual / state.overall + _PRIOR) / (days + _PRIOR)


def _days(state: IntensityState) -> float:
    return state.interval_ns / (SHARE_S * NS_PER_S)


def _skip(state: IntensityState, factor: float, kept: float, steps: float) -> None:
    """Stretches without an event."""
    left = kept**steps
    usual = factor * state.mean / state.known if state.known else 0.0
    _, state.square, state.scatter = empty_steps(usual, state.square, state.scatter, kept, steps)
    state.mean *= left
    state.known = left * state.known + 1.0 - left
    share = 0.5 ** (steps * _days(state))
    state.active *= share
    state.active_known = share * state.active_known + 1.0 - share


def _learn(
    state: IntensityState, count: float, expected: float, factor: float, kept: float
) -> None:
    """Take a stretch into the baseline; `factor` takes the time of day out of the mean."""
    _, state.square, state.scatter = count_step(
        0.0, state.square, state.scatter, count, expected, kept
    )
    state.mean = kept * state.mean + (1.0 - kept) * count / factor
    state.known = kept * state.known + 1.0 - kept
    state.filled += count
    share = 0.5 ** _days(state)
    state.active *= share
    state.active_known = share * state.active_known + 1.0 - share


def _observation(
    state: IntensityState,
    event: Sample,
    law: tuple[float, float, float],
    scored: tuple[float, bool],
) -> Observation:
    count, expected, size = law
    score, extrapolated = scored
    p = 10.0**-score
    up = count > expected
    spread = sqrt(expected + expected * expected / size)
    if up:
        material = count - expected >= _BURST and count >= _TIMES * expected
    else:
        material = expected >= _LULL and _TIMES * count <= expected
    edge = _edge(state, law, up=up) if score >= LINE else None
    what = "orders" if event.orders >= 0 else "trades"
    length = state.interval_ns / NS_PER_S
    return Observation(
        detector=Intensity.name,
        instrument=event.instrument,
        cause="intensity",
        kind="burst" if up else "lull",
        ts_event=event.ts_event,
        onset_ns=event.ts_event - state.interval_ns,
        score=score,
        line=LINE,
        ready=ready(state.tail),
        severity="warn" if expected >= _BUSY else "info",
        material=material,
        p=p,
        p_extrapolated=extrapolated,
        observed=count,
        expected=expected,
        expected_low=0.0 if up else edge,
        expected_high=edge if up else None,
        unit=f"{what} in {length:g} s",
        flip=edge,
        sigma=(count - expected) / spread,
        deviation=count - expected,
        deviation_unit=what,
        contributions=(
            Contribution("count", (count - expected) / spread, count, expected, what, p),
            Contribution("scatter", sqrt(expected / size + 1.0), size, None, "times Poisson's"),
        ),
        baseline_count=state.tail.seen,
        baseline_age_s=length,
        baseline_window_s=min((event.ts_event - state.since_ns) / NS_PER_S, 2.0 * HALF_LIFE_S),
        reason=f"{count:.0f} {what} in {length:g} s, usual are {expected:.2g}",
    )


def _edge(state: IntensityState, law: tuple[float, float, float], *, up: bool) -> float:
    """The count at which it would not have fired: too little of a surprise, or too little."""
    count, expected, size = law
    share = state.active / state.active_known if state.active_known else 1.0
    needed = magnitude_at(state.tail, min(1.0, 10.0**-LINE / max(share, P_LEAST)))
    plain = _PLAIN * sqrt(expected + expected * expected / size)
    near, far = expected + (plain if up else -plain), count
    for _ in range(24):
        middle = 0.5 * (near + far)
        tails = negbin_tails(middle, expected, size)
        if -log(max(tails[1 if up else 0], P_LEAST)) < needed:
            near = middle
        else:
            far = middle
    return max(far, expected + _BURST, _TIMES * expected) if up else min(far, expected / _TIMES)
