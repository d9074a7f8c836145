"""`divergence`: two prices of one thing part: of two venues, or of a feed and its source.

Which instruments are the same thing is said in `pairs`; without any the detector costs nothing. It
compares what both last said while both are fresh, so a venue that falls silent is not compared at
all (`gap` and `staleness` tell that).

Theory of operation. The usual basis, ln(p1 / p2), is learnt with its variance, both clipped and
with a half-life of an hour; what trading could not even out anyway is allowed for: half of each
spread, half a tick, and how far the older of the two prices may have moved since. The statistic's
own record says how rare it is. A difference counts as far as the last two samples of both legs
agree on it: being a few seconds ahead is none, nor is one odd price. A leg that has stood still for
days (`peg`) is measured against its level too: it is away as far as that and the other venue say.
"""

from math import exp, hypot, log, log10, sqrt
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct, field

from tapewatch.detect.base import LINE, TOLD
from tapewatch.detect.peg import Episode, Level, anchored, level_scale, level_step, news
from tapewatch.kernels.prices import half_spread, half_tick
from tapewatch.kernels.scale import CLIP, HALF, scale_step
from tapewatch.kernels.tails import Tail, learn, magnitude_at, p_value, ready
from tapewatch.model.errors import ConfigError
from tapewatch.model.events import Event, Sample
from tapewatch.model.instrument import split_id
from tapewatch.model.outputs import Contribution, Observation
from tapewatch.model.time import NS_PER_S

_HOUR_S: Final = 3_600.0  # half-life of the usual basis, its variance and the legs' volatility
_WARM: Final = 300  # comparisons from which the basis is known at all
_PEG: Final = 0.01  # ten wanders of a pegged price are less than this, as in `peg`
_LEAST: Final = 1e-4  # nats in a second: floor of the clip of a leg's volatility, as a tick is
_ROUNDING: Final = 1e-6  # nats; the least scale, where there are neither spreads nor ticks
_TOLD_P: Final = float(10.0**-TOLD)
_LINE_P: Final = float(10.0**-LINE)
_MOST: Final = 700.0  # nats; exp(700) is still a float

Positive = Annotated[float, Meta(gt=0.0)]
Share = Annotated[float, Meta(gt=0.0, lt=1.0)]


class Leg(Struct):
    """One of the two: last price, half-spread and half a tick (nats), variance of its returns per
    second, and its level over days."""

    price: float = 0.0
    half: float = 0.0
    tick: float = 0.0
    at_ns: int = 0
    variance: float = 0.0
    level: Level = field(default_factory=Level)


class DivergenceState(Struct):
    """Memory of one pair; the basis is ln(first / second), `before` how far it was away at the
    last comparison, `aways` at the last two samples of the first leg and of the second, `by_first`
    whether the first leg's sample showed it."""

    first: Leg = field(default_factory=Leg)
    second: Leg = field(default_factory=Leg)
    mean: float = 0.0
    variance: float = 0.0
    compared: int = 0
    before: float = 0.0
    aways: list[float] = field(default_factory=lambda: [0.0] * 4)
    by_first: bool = False
    since_ns: int = 0
    last_ns: int = 0
    tail: Tail = field(default_factory=Tail)
    episode: Episode = field(default_factory=Episode)


class _Compared(Struct, frozen=True, gc=False):
    """One comparison: the basis, what is usual, how far it is `away` from that, how far the last
    comparisons agree that it is, the scale of that, and the part of it that trading leaves open.
    All in nats."""

    basis: float
    mean: float
    away: float
    agreed: float
    scale: float
    open: float


class Divergence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """z = (b - mean b) / s, b = ln(p1 / p2), of the pairs in `pairs`, whenever one of them has a
    new sample and the other's is younger than `fresh_s`:
    s^2 = v_b + h1^2 + h2^2 + v_old * age, with h half a spread and half a tick, v_b the clipped
    variance of the basis and v_old that of the older leg per second.

    |b - mean b| is the smallest of those at the last two samples of both, 0 when signs differ.
    Told when it is `floor` = 10 bps or more and more than both half-spreads (else nobody
    could have used it), and its p, from the pair's own record, is beyond the line; before 2,000
    comparisons, when |z| >= `z`. Of a leg that is pegged (see `peg`) also when the smaller of two
    excursions, of its high or low from its level and from the other leg's price, is `z` of its
    daily scales and `peg_floor` = 0.5 % or more. An episode is told when it begins and each time it
    has doubled, until there has been an hour without.

    An instrument may be in one pair only: a price that belongs to several would tell the same
    event several times.

    Units: score = -log10 p, two-sided, or in proportion to z; observed, expected, flip and band are
    prices of the instrument named, which is the one whose sample showed it first; sigma = z,
    deviation in bps.
    Reference: the law of one price; Hasbrouck 1995, "One security, many markets" (prices of one
    asset share one trend, so their difference is stationary).
    False alarms: withdrawals closed at one venue (a true and lasting divergence, told once); a
    venue whose price is minutes old but stamped new; samples of very different length, which
    compare a close with a mid of seconds later.
    """

    name: ClassVar[str] = "divergence"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Sample,)
    state_type: ClassVar[type] = DivergenceState

    pairs: tuple[tuple[str, str], ...] = ()
    z: Positive = 10.0
    floor: Share = 1e-3
    peg_floor: Share = 5e-3
    fresh_s: Positive = 120.0

    def __post_init__(self) -> None:
        ids = [instrument for pair in self.pairs for instrument in pair]
        for instrument in ids:
            split_id(instrument)
        twice = next((one for one in ids if ids.count(one) > 1), None)
        if twice is not None:
            raise ConfigError(f"pairs has {twice} twice; an instrument may be in one pair only")

    def key(self, event: Event, /) -> str | None:
        if not self.pairs or not isinstance(event, Sample):
            return None
        name = event.instrument
        return next((f"{one}|{two}" for one, two in self.pairs if name in (one, two)), None)

    def start(self, key: str, /) -> DivergenceState:  # noqa: ARG002  the contract's
        return DivergenceState()

    def update(self, state: DivergenceState, event: Event, /) -> Observation | None:
        if not isinstance(event, Sample):
            return None
        is_first = any(event.instrument == one for one, _ in self.pairs)
        leg, other = (state.first, state.second) if is_first else (state.second, state.first)
        if event.ts_event <= leg.at_ns:
            return None  # late
        passed_s = (event.ts_event - leg.at_ns if leg.at_ns else event.interval_ns) / NS_PER_S
        _move(leg, event, passed_s)
        found = None
        age_s = abs(event.ts_event - other.at_ns) / NS_PER_S
        if other.price and age_s < self.fresh_s:
            found = self._compare(state, event, is_first=is_first, age_s=age_s)
        level_step(leg.level, event.price, event.tick, passed_s)
        return found

    def _compare(
        self, state: DivergenceState, sample: Sample, *, is_first: bool, age_s: float
    ) -> Observation | None:
        one, two = state.first, state.second
        older = two if one.at_ns > two.at_ns else one
        allowed = hypot(one.half + one.tick, two.half + two.tick, _ROUNDING)
        stale = older.variance * age_s
        basis = log(one.price) - log(two.price)
        mean = state.mean if state.compared else basis
        away = basis - mean
        if abs(state.before) < 0.5 * abs(away):  # news, and this leg's
            state.by_first = is_first
        spread = sqrt(state.variance + allowed * allowed + stale)
        own = 0 if is_first else 2
        state.aways[own : own + 2] = state.aways[own + 1], away
        agreed = _agreed(state.aways)
        seen = _Compared(basis, mean, away, agreed, spread, one.half + two.half)
        found = self._off_peg(state, sample, seen, is_first=is_first)
        if found is None and state.compared >= _WARM and agreed:
            found = self._off_basis(state, sample, seen)
        _learn(state, seen, sample.ts_event, sqrt(allowed * allowed + stale))
        return found

    def _off_basis(
        self, state: DivergenceState, sample: Sample, seen: _Compared
    ) -> Observation | None:
        size = abs(seen.agreed)
        p, extrapolated = None, False
        score, needed = LINE * size / (self.z * seen.scale), self.z * seen.scale
        if ready(state.tail):
            p, extrapolated = p_value(state.tail, size / seen.scale)
            if p > _TOLD_P:
                return None
            score = -log10(max(p, 1e-300))
            needed = magnitude_at(state.tail, _LINE_P) * seen.scale
        elif score < LINE:
            return None
        floor = max(log(1.0 + self.floor), seen.open)
        if size >= floor and score >= LINE and not news(state.episode, size, sample.ts_event):
            return None
        price = state.first.price if state.by_first else state.second.price
        away = seen.agreed if state.by_first else -seen.agreed
        expected = _shifted(price, -away)  # where the other leg says that it should be
        needed = max(needed, floor)
        low, high = _shifted(expected, -needed), _shifted(expected, needed)
        return self._say(
            state,
            sample.ts_event,
            seen,
            instrument=self._name(sample.instrument, first=state.by_first),
            score=min(score, 1e6),
            p=p,
            p_extrapolated=extrapolated,
            material=size >= floor,
            observed=price,
            expected=expected,
            expected_low=low,
            expected_high=high,
            flip=high if away > 0.0 else low,
            sigma=away / seen.scale,
            deviation=1e4 * (exp(min(away, _MOST)) - 1.0),
            reason=f"{price:.8g} is {_share(price, expected)} what its pair says",
        )

    def _off_peg(
        self, state: DivergenceState, sample: Sample, seen: _Compared, *, is_first: bool
    ) -> Observation | None:
        """The excursion that both the leg's own level and the other venue confirm."""
        leg, other = (state.first, state.second) if is_first else (state.second, state.first)
        level = leg.level
        if not level.samples:
            return None
        down, up = (
            (min(level.mean, other.price) - sample.low),
            (sample.high - max(level.mean, other.price)),
        )
        size = max(down, up)
        if size < self.peg_floor * level.mean:
            return None
        spread = level_scale(level, sample.tick)
        if size < self.z * spread or not anchored(level, sample.tick, self.z, _PEG):
            return None
        if not news(state.episode, size / level.mean, sample.ts_event):
            return None
        needed = max(self.z * spread, self.peg_floor * level.mean)
        at = sample.high if up > down else sample.low
        expected = at - size if up > down else at + size
        low, high = expected - needed, expected + needed
        return self._say(
            state,
            sample.ts_event,
            seen,
            instrument=sample.instrument,
            score=LINE * min(size / needed, 1e6),
            severity="high",
            observed=at,
            expected=expected,
            expected_low=low,
            expected_high=high,
            flip=high if up > down else low,
            sigma=min(size / spread, 1e9) * (1.0 if up > down else -1.0),
            deviation=1e4 * (at - expected) / expected,
            reason=f"{at:.8g} is {_share(at, expected)} both its level of days and its pair",
        )

    def _name(self, one: str, *, first: bool) -> str:
        """The first or second instrument of the pair that `one` is in."""
        pair = next(pair for pair in self.pairs if one in pair)
        return pair[0] if first else pair[1]

    def _say(
        self, state: DivergenceState, now: int, seen: _Compared, **more: object
    ) -> Observation:
        one, two = state.first.price, state.second.price
        return Observation(
            detector=self.name,
            cause="divergence",
            ts_event=now,
            onset_ns=state.episode.onset_ns or now,
            line=LINE,
            unit="price",
            deviation_unit="bps",
            baseline_count=state.compared,
            baseline_age_s=(now - state.last_ns) / NS_PER_S if state.last_ns else 0.0,
            baseline_window_s=min(_HOUR_S, (state.last_ns - state.since_ns) / NS_PER_S),
            contributions=(
                Contribution("basis", seen.away / seen.scale, seen.basis, seen.mean, "nats"),
                Contribution("first", 0.0, one, _shifted(two, seen.mean)),
                Contribution("second", 0.0, two, _shifted(one, -seen.mean)),
            ),
            **more,  # type: ignore[arg-type]
        )


def _move(leg: Leg, sample: Sample, passed_s: float) -> None:
    """Take a new price of one leg in."""
    if leg.price:
        innovation = (log(sample.price) - log(leg.price)) / sqrt(passed_s)
        kept = exp(HALF * passed_s / _HOUR_S)
        leg.variance = scale_step(leg.variance, innovation, _LEAST, kept)
    leg.price, leg.at_ns = sample.price, sample.ts_event
    leg.half = half_spread(sample.bid, sample.ask)
    leg.tick = half_tick(sample.tick, sample.price)


def _learn(state: DivergenceState, seen: _Compared, now: int, floor: float) -> None:
    """Take one comparison into the baseline, clipped."""
    state.compared += 1
    if state.compared == 1:
        state.since_ns, state.mean = now, seen.basis
    else:
        passed_s = (now - state.last_ns) / NS_PER_S
        kept = min(exp(HALF * max(passed_s, 0.0) / _HOUR_S), 1.0 - 1.0 / state.compared)
        most = CLIP * seen.scale
        state.variance = scale_step(state.variance, seen.away, floor, kept)
        state.mean += (1.0 - kept) * min(max(seen.away, -most), most)
        learn(state.tail, abs(seen.agreed) / seen.scale)
    state.before = seen.away
    state.last_ns = max(now, state.last_ns)


def _agreed(aways: list[float]) -> float:
    """The smallest of differences of one sign, else 0."""
    low, high = min(aways), max(aways)
    return low if low > 0.0 else min(high, 0.0)


def _shifted(price: float, nats: float) -> float:
    """The price at a distance, kept finite."""
    return exp(min(max(log(price) + nats, -_MOST), _MOST))


def _share(price: float, expected: float) -> str:
    size = abs(price / expected - 1.0)
    side = "above" if price > expected else "below"
    return f"{1e4 * size:.3g} bps {side}" if size < 0.01 else f"{100.0 * size:.3g} % {side}"
