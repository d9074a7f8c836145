"""`drift`: a price that goes one way in steps too small for `price_jump`.

Theory of operation. Standardised moves of samples (see `price_scale.py`), clipped at four scales,
feed cumulative sums in both directions: two pairs on samples, and one on blocks of sixty samples
with a scale of their own. The last is for a market whose price jitters around a level: there the
moves of samples say nothing about where it goes. A sum that has left zero is an excursion; it
remembers where it began. When it passes its limit it is judged, and after an alarm it starts
again. Silence lets the sums sink, as so many moves of zero would.
"""

from math import exp, log10, sqrt
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct, field

from tapewatch.detect.base import LINE, TOLD
from tapewatch.detect.price_scale import (
    PROBABILITIES,
    SAMPLE_HALF_LIVES,
    Track,
    coordinate,
    innovation,
    price_at,
    tick_of,
)
from tapewatch.kernels.change import cusum
from tapewatch.kernels.scale import scale_step
from tapewatch.kernels.tails import Tail, learn, p_value, ready
from tapewatch.model.events import Event, Sample
from tapewatch.model.outputs import Contribution, Observation
from tapewatch.model.time import NS_PER_S

# (slack, limit) in scales a step: two pairs on samples, fixed before anything was measured, and a
# faster one on blocks. exp(-2 slack limit) is e^-10, e^-8, e^-8.
PAIRS: Final = ((0.25, 20.0), (0.1, 40.0), (0.5, 8.0))
NAMES: Final = ("fast", "slow", "blocks")
BLOCK: Final = 60  # samples
BLOCK_WARM: Final = 6  # blocks before the third pair runs
BLOCK_HALF_LIFE: Final = 36.0  # blocks: three hours of five-second samples
_BLOCK_KEPT: Final = 0.5 ** (1.0 / BLOCK_HALF_LIFE)
LONG_NS: Final = 60 * NS_PER_S  # of samples: sums of bars reach over hours, which is a trend
NOISE: Final = 1.0  # 2 slack sum: smaller excursions are none
MOST: Final = 40.0  # 2 slack sum, at which a sum stops to grow
WORSE: Final = 1.1  # times what was told of the same excursion
BLOCKS: Final = 2  # the pair on blocks
_LEAST: Final = 1e-12  # of a scale that is divided by
_COUNTED: Final = 100_000  # blocks; the mean has forgotten its beginning
_TOLD_P: Final = 10.0**-TOLD


class DriftState(Struct, array_like=True):
    """Memory of one instrument. Of each of the six sums (up and down of `PAIRS`): its value, the
    coordinate and the time at which its excursion began, its peak, and what was told of it."""

    key: str
    probable: bool = False
    track: Track = field(default_factory=Track)
    sums: list[float] = field(default_factory=lambda: [0.0] * 6)
    from_x: list[float] = field(default_factory=lambda: [0.0] * 6)
    since_ns: list[int] = field(default_factory=lambda: [0] * 6)
    told: list[float] = field(default_factory=lambda: [0.0] * 6)
    block: int = -1  # number of the current block
    block_x: float = 0.0  # at its beginning
    block_variance: float = 0.0
    blocks: int = 0
    began_ns: int = 0
    tail: Tail = field(default_factory=Tail)


class Drift(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cumulative sums of standardised moves: max(0, S + z - k) >= h, in both directions.

    For independent Gaussian moves an excursion reaches h with a probability of about
    exp(-2 k h), so 2 k S is comparable between pairs; its peaks go into one tail record. p is the
    share of excursions above noise (2 k S >= 1) that get as far, by the record, and at least the
    Gaussian one. While the record is short p is the
    Gaussian one, of low confidence.

    An info on bars: their sums reach over hours, and what lasts so long is a trend.
    Material: the whole drift is at least `min_bps` and `min_spreads` usual half-spreads, of
    probabilities `min_points`.

    Units: score -log10 p; observed, expected, band and flip in price; sigma is the sum's height in
    scales; deviation in bps, of probabilities in points (0.01).
    Reference: Page 1954, "Continuous inspection schemes"; the exponent is Lundberg's (Siegmund
    1985, "Sequential Analysis", chapter II).
    False alarms: trends, which are no fault of anything; the hours after a market wakes up.
    """

    name: ClassVar[str] = "drift"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Sample,)
    state_type: ClassVar[type] = DriftState

    min_bps: Annotated[float, Meta(ge=0.0)] = 200.0
    min_spreads: Annotated[float, Meta(ge=0.0)] = 75.0
    min_points: Annotated[float, Meta(ge=0.0)] = 10.0
    probabilities: tuple[str, ...] = PROBABILITIES

    def key(self, event: Event, /) -> str | None:
        return event.instrument if isinstance(event, Sample) else None

    def start(self, key: str, /) -> DriftState:
        return DriftState(key, probable=key.partition(":")[0] in self.probabilities)

    def update(self, state: DriftState, event: Event, /) -> Observation | None:
        if not isinstance(event, Sample):
            return None
        before = state.track.x
        if event.interval_ns != state.track.interval_ns:
            _restart(state, event)
        z, _, empty = innovation(state.track, event, probable=state.probable)
        if state.track.scales.sigma == 0.0:
            _blocks(state, event)
            return None
        top, height = -1, 0.0
        for pair in (0, 1):
            place, u = _advance(state, pair, z, empty, before, event)
            if u > height:
                top, height = place, u
        step = _blocks(state, event)
        if step is not None:
            z, skipped, from_x = step
            place, u = _advance(state, BLOCKS, z, skipped, from_x, event)
            if u > height:
                top, height = place, u
        return self._judge(state, top, height, event) if top >= 0 else None

    def _judge(self, state: DriftState, top: int, u: float, sample: Sample) -> Observation | None:
        """The most advanced of the sums that are past their limit."""
        p, extrapolated = _significance(state, u)
        if p > _TOLD_P:
            return None
        state.told[top] = u
        score = -log10(max(p, 1e-300))
        seen = self._observation(state, top, p, score, sample, extrapolated=extrapolated)
        if score >= LINE and seen.material:
            learn(state.tail, u)
            state.sums[top] = state.told[top] = 0.0
        return seen

    def _observation(
        self,
        state: DriftState,
        top: int,
        p: float,
        score: float,
        sample: Sample,
        *,
        extrapolated: bool,
    ) -> Observation:
        scales, probable = state.track.scales, state.probable
        limit = PAIRS[top // 2][1]
        start, up = state.from_x[top], top % 2 == 0
        before, after = price_at(start, probable=probable), sample.price
        reach = limit * scales.sigma
        # It would not have fired, had the sum stayed at its limit.
        unit = scales.sigma if top // 2 < BLOCKS else _block_sigma(state)
        excess = (state.sums[top] - limit) * (unit if up else -unit)
        move = state.track.x - start
        return Observation(
            detector=self.name,
            instrument=state.key,
            cause="drift",
            ts_event=sample.ts_event,
            score=score,
            line=LINE,
            low_confidence=not ready(state.tail),
            severity="warn" if sample.interval_ns < LONG_NS else "info",
            onset_ns=state.since_ns[top],
            p=p,
            p_extrapolated=extrapolated,
            observed=after,
            expected=before,
            expected_low=price_at(start - reach, probable=probable),
            expected_high=price_at(start + reach, probable=probable),
            unit="price",
            flip=price_at(state.track.x - excess, probable=probable),
            contributions=_parts(state),
            baseline_count=state.tail.total,
            baseline_window_s=_window_s(state, sample),
            reason=_sentence(state, top, before, sample),
            kind="up" if up else "down",
            material=self._material(state, move, after - before),
            sigma=state.sums[top] if up else -state.sums[top],
            deviation=_deviation(state, before, after),
            deviation_unit="points" if probable else "bps",
        )

    def _material(self, state: DriftState, move: float, difference: float) -> bool:
        if state.probable:
            return abs(difference) >= 0.01 * self.min_points
        floor = max(1e-4 * self.min_bps, self.min_spreads * state.track.scales.spread)
        return abs(move) >= floor


def _restart(state: DriftState, sample: Sample) -> None:
    """The first sample, or samples of another length: what was summed up is of another kind."""
    state.sums, state.told = [0.0] * 6, [0.0] * 6
    state.block, state.blocks, state.block_variance = -1, 0, 0.0
    state.began_ns = sample.ts_event


def _advance(
    state: DriftState, pair: int, z: float, empty: int, before: float, sample: Sample
) -> tuple[int, float]:
    """Move both sums of a pair. Returns the one that is past its limit and has something new to
    say, with its 2 slack sum; (-1, 0) if there is none."""
    slack, limit = PAIRS[pair]
    sums = state.sums
    at = 2 * pair
    sunk = slack * empty
    old = max(0.0, sums[at] - sunk), max(0.0, sums[at + 1] - sunk)
    new = cusum(old[0], old[1], z, slack)
    found, height = -1, 0.0
    for side in (0, 1):
        place, peak = at + side, sums[at + side]
        if peak > 0.0 and new[side] == 0.0:
            learn(state.tail, max(2.0 * slack * peak, state.told[place]))
            state.told[place] = 0.0
        elif old[side] == 0.0 and new[side] > 0.0:
            state.from_x[place] = before
            state.since_ns[place] = sample.ts_event - sample.interval_ns
        sums[place] = value = min(new[side], MOST / (2.0 * slack))
        u = 2.0 * slack * value
        if value >= limit and u > height and u > WORSE * state.told[place]:
            found, height = place, u
    return found, height


def _significance(state: DriftState, u: float) -> tuple[float, bool]:
    gauss = exp(NOISE - u)
    if not ready(state.tail):
        return gauss, True
    p, extrapolated = p_value(state.tail, u)
    noise, _ = p_value(state.tail, NOISE)
    p = min(1.0, p / max(noise, 1e-9))
    return (gauss, True) if gauss > p else (p, extrapolated)


def _block_sigma(state: DriftState) -> float:
    floor = max(state.track.scales.spread, state.track.scales.floor)
    return max(sqrt(state.block_variance + floor * floor), _LEAST)


def _blocks(state: DriftState, sample: Sample) -> tuple[float, int, float] | None:
    """When a block has ended: its standardised move, the empty blocks before it, and where it
    began."""
    tick = tick_of(sample, probable=state.probable)
    block = sample.ts_event // (BLOCK * sample.interval_ns)
    if block == state.block:
        return None
    x = coordinate(sample.price, tick, probable=state.probable)
    first, skipped = state.block < 0, max(0, block - state.block - 1)
    before, state.block, state.block_x = state.block_x, block, x
    if first:
        return None
    move = x - before
    state.blocks = min(state.blocks + 1, _COUNTED)
    kept = min(1.0 - 1.0 / state.blocks, _BLOCK_KEPT)
    floor = max(state.track.scales.spread, state.track.scales.floor)
    sigma = _block_sigma(state)
    if state.blocks > BLOCK_WARM:
        state.block_variance = scale_step(state.block_variance, move, floor, kept)
        return move / sigma / sqrt(1.0 + min(skipped, BLOCK)), skipped, before
    state.block_variance = kept * state.block_variance + (1.0 - kept) * move * move
    return None


def _window_s(state: DriftState, sample: Sample) -> float:
    """How far back the longest of the scales reaches, in effect."""
    seen_s = (sample.ts_event - state.began_ns) / NS_PER_S
    return min(SAMPLE_HALF_LIVES[2] * sample.interval_ns / NS_PER_S, seen_s)


def _deviation(state: DriftState, before: float, after: float) -> float:
    """Signed move in bps, of probabilities in points."""
    if state.probable:
        return 100.0 * (after - before)
    return 1e4 * (min(after / before, 1e9) - 1.0) if before > 0.0 else 0.0


def _sentence(state: DriftState, top: int, before: float, sample: Sample) -> str:
    size = abs(_deviation(state, before, sample.price))
    text = f"{size:.1f} points" if state.probable else f"{size / 100.0:.3g} %"
    lasted_min = (sample.ts_event - state.since_ns[top]) / NS_PER_S / 60.0
    way = "up" if top % 2 == 0 else "down"
    return (
        f"price drifts {way}: {text} in {lasted_min:.0f} min, from {before:.6g} to"
        f" {sample.price:.6g}, in small steps that rarely add up like this"
    )


def _parts(state: DriftState) -> tuple[Contribution, ...]:
    """The sums of the three pairs, the one nearest to its limit first."""
    parts = []
    for pair, (_, limit) in enumerate(PAIRS):
        up, down = state.sums[2 * pair], state.sums[2 * pair + 1]
        value = up if up >= down else -down
        parts.append(Contribution(f"cusum_{NAMES[pair]}", value / limit, value, 0.0, "scales"))
    return tuple(sorted(parts, key=lambda part: -abs(part.score)))
