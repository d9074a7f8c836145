"""`peg`: a price that has stood still for days leaves its level.

It is for stablecoins, wrapped coins and the like, and finds out by itself what is one: where the
mean of hours hardly ever leaves that of days, something holds the price. Elsewhere the detector is
silent and costs a few operations every sample.

Theory of operation. The level is a mean with a half-life of a day and the scale comes from squares
of the distances from it, both clipped, so that hours away from the level neither move it nor make
themselves normal. Excursions are those of the highs and lows. An episode is told when it begins and
each time it has doubled; it is over after an hour without an excursion.
"""

from math import exp, sqrt
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct, field

from tapewatch.detect.base import LINE
from tapewatch.kernels.moments import SAMPLE_MAX
from tapewatch.kernels.scale import CLIP, HALF
from tapewatch.model.events import Event, Sample
from tapewatch.model.outputs import Contribution, Observation
from tapewatch.model.time import NS_PER_S

DAY_S: Final = 86_400.0  # half-life of the level, four times that of the recent mean; least age
QUIET_NS: Final = 3_600 * NS_PER_S  # without an excursion: the episode is over
_SAMPLES: Final = 90  # of a day and more: quarters of an hour, nearly all with a trade
_DOUBLED: Final = 2.0

Share = Annotated[float, Meta(gt=0.0, lt=1.0)]


class Level(Struct, gc=False):
    """Where a price stands, in quote units: its `mean` and `variance` over days; `recent`, its mean
    over hours, in which bounces between bid and ask cancel, and the variance of that around the
    level, its `wander`. Of `samples` over `age_s`."""

    mean: float = 0.0
    variance: float = 0.0
    recent: float = 0.0
    wander: float = 0.0
    age_s: float = 0.0
    samples: int = 0


class Episode(Struct, gc=False):
    """Time away from the level: since when, last seen so, and the excursion told last (0: none)."""

    onset_ns: int = 0
    off_ns: int = 0
    told: float = 0.0


class PegState(Struct):
    """Memory of one instrument."""

    last_ns: int = 0
    level: Level = field(default_factory=Level)
    episode: Episode = field(default_factory=Episode)


def level_scale(level: Level, tick: float) -> float:
    """Standard deviation of the price around its level, in quote units; a tick at least.

    The tick is as in `Sample`; where there is none, rounding is the floor.
    """
    floor = max(tick, 1e-9 * level.mean)
    return sqrt(level.variance + floor * floor)


def level_step(level: Level, price: float, tick: float, dt_s: float) -> None:
    """Take in a price that stood for `dt_s` seconds: the distance from the level, clipped at four
    scales, weighs 1 - 0.5^(dt / 1 day), or as in a plain mean before there has been a day.

    Reference: Huber 1981, "Robust Statistics", in exponentially weighted form.
    """
    price = min(price, SAMPLE_MAX)
    if not level.samples:
        level.mean = level.recent = price
    most = CLIP * level_scale(level, tick)
    distance = min(max(price - level.mean, -most), most)
    level.age_s += dt_s
    kept = exp(HALF * dt_s / DAY_S)
    rate = max(1.0 - kept, dt_s / level.age_s)
    squared = kept * kept
    level.recent += (1.0 - squared * squared) * (level.mean + distance - level.recent)
    most = CLIP * sqrt(level.wander + tick * tick)
    off = min(max(level.recent - level.mean, -most), most)
    level.mean += rate * distance
    level.variance += rate * (distance * distance - level.variance)
    level.wander += rate * (off * off - level.wander)
    level.samples += 1


def anchored(level: Level, tick: float, z: float, floor: float) -> bool:
    """Whether the level stays where it is: `z` times its own wander, a tick at least, is less than
    half of `floor`, a fraction. A price that floats wanders in hours about as far as in days."""
    known = level.age_s >= DAY_S and level.samples >= _SAMPLES
    return known and z * sqrt(level.wander + tick * tick) <= 0.5 * floor * level.mean


def news(episode: Episode, size: float, now: int) -> bool:
    """Take note of an excursion of `size`; True when it is to be told."""
    if now - episode.off_ns > QUIET_NS:
        episode.onset_ns, episode.told = now, 0.0
    episode.off_ns = now
    if size < _DOUBLED * episode.told:
        return False
    episode.told = size
    return True


class Peg(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """away when a high or low is `z` = 10 scales and `floor` = 1 % or more from the level, provided
    that the price is anchored: ten times the wander of its level is less than half of that, and a
    day of it is known.

    The scale is that of the price over days, one tick at least; the wander is that of its mean over
    six hours, in which the bounce of a pool with high fees cancels. A pegged coin's wander was at
    most 4 basis points in four months with two de-pegs in them; a random walk of 0.9 % a day is
    never below 6, Bitcoin's was 14 on its calmest days and 150 on usual ones. So no list of names
    is needed.

    The cause is `divergence`: the price has left what holds it, and the market for the thing that
    it is pegged to has not moved.

    Units: score in proportion to the excursion, the line at what is needed; observed, expected and
    flip are prices, sigma = z, deviation in bps. No p: a rule, because an anchored price hardly
    ever moves, and there is no tail to learn from.
    Reference: two measured de-pegs of a dollar token in 128 days of minutes, 2025-2026, one of them
    35 % deep: found in their first minute by z >= 10 and 1 %, and nothing else was.
    False alarms: single wrong prints on a pegged coin (`bad_print` says so, where there are bars);
    a peg that is moved on purpose, once, until the level has followed. Missed: a slide over many
    hours, which widens the scale as it goes, soon after the first day.
    """

    name: ClassVar[str] = "peg"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Sample,)
    state_type: ClassVar[type] = PegState

    z: Annotated[float, Meta(gt=0.0)] = 10.0
    floor: Share = 0.01

    def key(self, event: Event, /) -> str | None:
        return event.instrument if isinstance(event, Sample) else None

    def start(self, key: str, /) -> PegState:  # noqa: ARG002  the contract's
        return PegState()

    def update(self, state: PegState, event: Event, /) -> Observation | None:
        if not isinstance(event, Sample) or event.ts_event <= state.last_ns:
            return None
        level = state.level
        found = None
        up, down = event.high - level.mean, level.mean - event.low
        size = max(up, down)
        if level.samples and size >= self.floor * level.mean:
            spread = level_scale(level, event.tick)
            if size >= self.z * spread and anchored(level, event.tick, self.z, self.floor):
                found = self._away(state, event, spread)
        passed = event.ts_event - state.last_ns if state.last_ns else event.interval_ns
        state.last_ns = event.ts_event
        level_step(level, event.price, event.tick, passed / NS_PER_S)
        return found

    def _away(self, state: PegState, sample: Sample, spread: float) -> Observation | None:
        level, episode = state.level, state.episode
        up = sample.high - level.mean > level.mean - sample.low
        at = sample.high if up else sample.low
        away = (at - level.mean) / level.mean
        if not news(episode, abs(away), sample.ts_event):
            return None
        needed = max(self.floor * level.mean, self.z * spread)
        low, high = level.mean - needed, level.mean + needed
        share = f"{100.0 * abs(away):.2g} % {'above' if up else 'below'}"
        return Observation(
            detector=self.name,
            instrument=sample.instrument,
            cause="divergence",
            ts_event=sample.ts_event,
            onset_ns=episode.onset_ns,
            score=LINE * min(abs(at - level.mean) / needed, 1e6),
            line=LINE,
            severity="high",
            observed=at,
            expected=level.mean,
            expected_low=low,
            expected_high=high,
            flip=high if up else low,
            sigma=min(abs(at - level.mean) / spread, 1e9) * (1.0 if up else -1.0),
            deviation=1e4 * away,
            unit="price",
            deviation_unit="bps",
            baseline_count=level.samples,
            baseline_age_s=(sample.ts_event - state.last_ns) / NS_PER_S,
            baseline_window_s=min(level.age_s, DAY_S),
            contributions=(
                Contribution("extreme", (at - level.mean) / spread, at, level.mean),
                Contribution(
                    "price", (sample.price - level.mean) / spread, sample.price, level.mean
                ),
            ),
            reason=f"{at:.8g} is {share} the level of days, {level.mean:.6g}",
        )
