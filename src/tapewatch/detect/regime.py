"""`regime`: the market moves much more, or much less, than it did in the last hour.

Context rather than alarm: it says why other detectors speak more or less than usual. It cannot
tell a nervous market from a broken feed.

Theory of operation. The scale of samples (see `price_scale.py`) has a short and a long horizon;
the statistic is the log of their ratio, with the floor of the price in both, so that a lattice
that stands still for a minute is no regime. Successive samples share most of it: a p is the share
of time, and one excursion is told once, and again only when it has become much more.
"""

from math import exp, log, log10, sqrt
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct, field

from tapewatch.detect.base import LINE, TOLD
from tapewatch.detect.price_scale import PROBABILITIES, SAMPLE_HALF_LIVES, Scales, Track, innovation
from tapewatch.kernels.tails import Tail, learn, magnitude_at, p_value, ready
from tapewatch.model.events import Event, Sample
from tapewatch.model.outputs import Contribution, Observation
from tapewatch.model.time import NS_PER_S

# The log ratio's own spread for independent Gaussian moves: a mean of squares over n moves has a
# relative spread of sqrt(2 / n), its root half of that, and n = 2.885 half-lives of 6 samples.
USUAL: Final = 0.17
WARM: Final = 240  # samples: until then the long horizon is a mean of too few
WORSE: Final = 1.25  # times what was told of the same excursion
# Successive samples share what they measure, so a record of n holds about n / 10 that do not: p is
# never said to be below a hundredth of one of those.
SHARED: Final = 0.1
OVER: Final = 0.5  # of the magnitude that is worth telling: below it the excursion has ended
_TOLD_P: Final = 10.0**-TOLD


class RegimeState(Struct, array_like=True):
    """Memory of one instrument."""

    key: str
    probable: bool = False
    track: Track = field(default_factory=Track)
    told: float = 0.0  # the magnitude that was told of this excursion
    up: bool = False  # its direction
    since_ns: int = 0  # since when the ratio has been unusual; 0: it is not
    began_ns: int = 0
    tail: Tail = field(default_factory=Tail)


class Regime(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """|ln(short scale / long scale)|, horizons 30 s and 3,600 s of five-second samples, two-sided.

    p is the share of the market's own samples with a ratio as far from 1, either way. Material:
    the scale is `min_ratio` times what it was, or that part of it. It is an info: a regime is
    context, and nobody is woken for it.

    Units: score -log10 p; observed, expected, band and flip are scales in bps of a sample's usual
    move, of probabilities in points (0.01) of log-odds; sigma in spreads of the log ratio;
    deviation is the ratio.
    Reference: ratio of exponentially weighted variances, as in RiskMetrics (J. P. Morgan 1996,
    technical document, chapter 5); its p is the market's own.
    False alarms: one large jump counts, though clipped; markets that open and close.
    """

    name: ClassVar[str] = "regime"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Sample,)
    state_type: ClassVar[type] = RegimeState

    min_ratio: Annotated[float, Meta(ge=1.0)] = 2.0
    probabilities: tuple[str, ...] = PROBABILITIES

    def key(self, event: Event, /) -> str | None:
        return event.instrument if isinstance(event, Sample) else None

    def start(self, key: str, /) -> RegimeState:
        return RegimeState(key, probable=key.partition(":")[0] in self.probabilities)

    def update(self, state: RegimeState, event: Event, /) -> Observation | None:
        if not isinstance(event, Sample):
            return None
        if event.interval_ns != state.track.interval_ns:
            state.began_ns = event.ts_event
        innovation(state.track, event, probable=state.probable)
        scales = state.track.scales
        if scales.steps < WARM:
            return None
        short, long = _horizons(scales)
        if long <= 0.0 or short <= 0.0:
            return None
        u = abs(log(short / long)) / USUAL
        up = short > long
        seen = self._judge(state, event, u, short, long) if _is_news(state, u, up=up) else None
        learn(state.tail, u)
        return seen

    def _judge(
        self, state: RegimeState, sample: Sample, u: float, short: float, long: float
    ) -> Observation | None:
        p, extrapolated = p_value(state.tail, u)
        p = max(p, SHARED / (state.tail.total + 1.0))
        if p > _TOLD_P:
            return None
        up = short > long
        if not state.since_ns:
            state.since_ns = sample.ts_event
        state.told, state.up = u, up
        ratio = short / long
        reach = exp(USUAL * magnitude_at(state.tail, 10.0**-LINE))
        unit = "points" if state.probable else "bps"
        size = 1e2 if state.probable else 1e4
        way = f"{ratio:.2g} times" if up else f"only {ratio:.2g} of"
        return Observation(
            detector=self.name,
            instrument=state.key,
            cause="regime",
            ts_event=sample.ts_event,
            score=-log10(max(p, 1e-300)),
            line=LINE,
            ready=ready(state.tail),
            severity="info",
            onset_ns=state.since_ns,
            p=p,
            p_extrapolated=extrapolated,
            observed=size * short,
            expected=size * long,
            expected_low=size * long / reach,
            expected_high=size * long * reach,
            unit=unit,
            flip=size * (long * reach if up else long / reach),
            contributions=_parts(state.track.scales, size, unit),
            baseline_count=state.tail.total,
            baseline_window_s=_window_s(state, sample),
            reason=(
                f"the price moves {way} what it did in the last hour: {size * short:.3g} {unit}"
                f" a sample, after {size * long:.3g}"
            ),
            kind="wilder" if up else "calmer",
            material=max(ratio, 1.0 / ratio) >= self.min_ratio,
            sigma=u if up else -u,
            deviation=ratio,
            deviation_unit="ratio",
        )


def _horizons(scales: Scales) -> tuple[float, float]:
    """Scale of the short and of the long horizon, each with the floor."""
    floor = scales.floor * scales.floor
    return sqrt(scales.short + floor), sqrt(scales.long + floor)


def _is_news(state: RegimeState, u: float, *, up: bool) -> bool:
    """Whether this ratio may be told: a new excursion, or one that has become much more."""
    if state.told and (up != state.up or u < OVER * state.told):
        state.told, state.since_ns = 0.0, 0
    return u > WORSE * state.told


def _window_s(state: RegimeState, sample: Sample) -> float:
    """How far back the long horizon reaches, in effect."""
    seen_s = (sample.ts_event - state.began_ns) / NS_PER_S
    return min(SAMPLE_HALF_LIVES[2] * sample.interval_ns / NS_PER_S, seen_s)


def _parts(scales: Scales, size: float, unit: str) -> tuple[Contribution, ...]:
    """The three horizons' scales, against the long one."""
    floor = scales.floor * scales.floor
    long = sqrt(scales.long + floor)
    return tuple(
        Contribution(name, log(value / long) / USUAL, size * value, size * long, unit)
        for name, value in (
            ("scale_30s", sqrt(scales.short + floor)),
            ("scale_300s", sqrt(scales.middle + floor)),
        )
        if value > 0.0
    )
