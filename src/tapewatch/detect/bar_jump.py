"""`bar_jump`: a bar whose high or low is far from where the market was, and which kind of far.

It watches candles; trades and quotes have `price_jump`. Whether an extreme was a print that should
not exist or a market that moved cannot be told from the price alone. Two things tell: a wrong print
is undone at once, and nobody paid for it. A move costs money, so its volume is unusual; a print in
ordinary volume that leaves no trace in the closes after it was no trade at a market price.

Theory of operation. The reference is the median of the last five closes, which one bar cannot
move. Each bar's extreme is measured against it in units of a robust scale, and then the bar's close
teaches the scale, clipped. What is called is remembered for five minutes: a jump that is undone
in ordinary volume becomes a `bad_print`, one that stays a `level_shift`.
"""

from math import exp, log, log10, sqrt
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct, field

from tapewatch.detect.base import LINE, TOLD
from tapewatch.kernels.moments import SAMPLE_MAX
from tapewatch.kernels.scale import CLIP, HALF, scale, scale_step
from tapewatch.kernels.tails import Tail, learn, magnitude_at, p_value, ready
from tapewatch.model.events import Bar, Event
from tapewatch.model.outputs import Contribution, Observation
from tapewatch.model.time import NS_PER_S

_PRINTS: Final = 5  # closes in the reference: two bad ones of them change nothing
_WARM: Final = 60  # bars from which the scale is believed at all
_KEPT: Final = tuple(exp(HALF / bars) for bars in (30.0, 300.0, 3600.0))  # half-lives in bars
_GROWN: Final = 6_000  # bars after which even the longest mean is no longer a plain one
_ELAPSED: Final = 30.0  # bars; after a longer pause uncertainty grows no further
_FLOOR: Final = 1e-3  # least scale of a bar, 10 bps: spreads and ticks of the smallest markets
_RANGE_RATE: Final = 0.005  # of the mean high-low range, 200 bars
_VOLUME_RATE: Final = 0.001  # of the mean volume, 1,000 bars: most of a day of minutes
_VOLUME_CLIP: Final = 10.0  # means: unusual anywhere; and one such bar must not hide the next
_USUAL: Final = 1e-3  # unit of the move in the strength, so that usual strengths are about 1
_WRONG: Final = log(5.0)  # a fifth or five times: no market of ours does that between two bars
_UNDONE: Final = 0.2  # of the excursion that may be left of a print that never was
_ALONE: Final = 2  # bars one wrong print can show in: the end of one, the start of another
_STAYS: Final = 0.5  # of the excursion that must be left of a new level
_WITHIN_NS: Final = 300 * NS_PER_S  # one episode; what is undone later was a market's decision
_TOLD_P: Final = float(10.0**-TOLD)
_LINE_P: Final = float(10.0**-LINE)
_MOST: Final = 700.0  # nats; exp(700) is still a float

Positive = Annotated[float, Meta(gt=0.0)]


class BarJumpState(Struct):
    """Memory of one instrument. Variances and the range are per bar, in nats; `busy_ns` is when a
    bar last had unusual volume; `calls` counts bars that were called, each within five minutes of
    the one before, the last at `called_ns`. `onset_ns` 0: nothing is going on; else a jump from
    `base` with `peak` (signed nats) as its largest excursion, `typed` once called a bad print."""

    closes: list[float] = field(default_factory=list)
    bars: int = 0
    last_ns: int = 0
    short: float = 0.0
    middle: float = 0.0
    long: float = 0.0
    range: float = 0.0
    volume: float = 0.0
    busy_ns: int = 0
    called_ns: int = 0
    calls: int = 0
    onset_ns: int = 0
    base: float = 0.0
    peak: float = 0.0
    typed: bool = False
    strengths: Tail = field(default_factory=Tail)
    volumes: Tail = field(default_factory=Tail)


class _Measured(Struct, frozen=True, gc=False):
    """One bar against its baseline: signed excursions of the extreme and of the close (nats) from
    `reference`, the scale, its floor and the bars elapsed in it, the strength, volume in means, and
    whether volume is unusual."""

    bar: Bar
    reference: float
    extreme: float
    close: float
    scale: float
    floor: float
    elapsed: float
    strength: float
    volume: float
    busy: bool


class BarJump(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """S = sqrt(|z| / z_floor * move / move_floor) of a bar's high or low, whichever is farther,
    against the median m of the last five closes: z = ln(extreme / m) / s.

    s^2 = elapsed * (0.6 v_30 + 0.3 v_300 + 0.1 v_3600) + (10 bps)^2 + (half the mean range)^2, with
    v_h the clipped variance of ln(close / m) of half-life h bars and elapsed <= 30 bars. A bar is
    called when S is `strength` = 1.2 or more with |z| >= 6 and a move of 3 % or more, and p, from
    the strengths of this market's own bars, says that it is rare.

    `price_jump`: called. `bad_print`: called, with the close less than 20 % of the excursion away
    (and the excursion 5 % or more), or undone so far within five minutes, and no bar of unusual
    volume (the upper 2 %, or ten means) within five minutes before or during it, and no third bar
    called within minutes; or beyond a fifth or five times
    the reference, whatever the volume, from the sixth bar on. `level_shift` (info): half of it is
    still there after five minutes.

    Units: score = -log10 p, two-sided; before 2,000 bars strength in proportion to the line,
    without p. Realised over nominal p was 0.8-1.0 at 1e-2 and 1e-3 and 1.9 at 1e-4 on 675,000
    minutes of two coins. observed, expected and flip are prices, sigma = z, deviation in bps, ages
    in s.
    Reference: Huber 1981, "Robust Statistics" (clipped scale); Brownlees and Gallo 2006, "Financial
    econometric analysis at ultra-high frequency" (outlying prints against a neighbourhood);
    Toth et al. 2011, "Anomalous price impact" (a move needs volume). The floors and the load they
    give are those of ten dated incidents on Bitfinex, 2013-2016.
    False alarms: the first bar after an outage or a hole in the data; thin markets in which one
    order walks the book; a wrong print within five minutes of real unusual volume is called a
    jump, a flash crash in ordinary volume a bad print.
    """

    name: ClassVar[str] = "bar_jump"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Bar,)
    state_type: ClassVar[type] = BarJumpState

    strength: Positive = 1.2
    z_floor: Positive = 10.0
    z_least: Positive = 6.0
    move_floor: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.03
    wick: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.05

    def key(self, event: Event, /) -> str | None:
        return event.instrument if isinstance(event, Bar) else None

    def start(self, key: str, /) -> BarJumpState:  # noqa: ARG002  the contract's
        return BarJumpState()

    def update(self, state: BarJumpState, event: Event, /) -> Observation | None:
        if not isinstance(event, Bar) or event.ts_event <= state.last_ns:
            return None  # a late bar is history
        found = None
        if len(state.closes) == _PRINTS:
            seen = _measure(state, event)
            if seen.busy:
                state.busy_ns = event.ts_event
            found = self._judge(state, seen)
            _learn(state, seen)
        _volume_step(state, event.volume)
        state.closes.append(event.close)
        del state.closes[:-_PRINTS]
        state.last_ns = event.ts_event
        return found

    def _judge(self, state: BarJumpState, seen: _Measured) -> Observation | None:
        bar, move = seen.bar, abs(seen.extreme)
        wrong = move >= _WRONG
        if wrong or (state.bars >= _WARM and move >= self._needed(seen.scale)):
            return self._called(state, seen, wrong=wrong)
        if state.onset_ns:
            left = log(bar.close) - log(state.base)
            over = bar.ts_event > state.onset_ns + _within_ns(bar)
            if over:
                return self._settled(state, seen, left)
            if abs(left) < _UNDONE * abs(state.peak) and not state.typed and _calm(state, bar):
                return self._retyped(state, seen)
        if state.bars >= _WARM and _tells(state.strengths, seen.strength):
            return self._say(state, seen, "price_jump", material=False)
        return None

    def _needed(self, spread: float) -> float:
        """The least excursion that is called, in nats. Strength is linear in it."""
        floors = self.z_floor * spread * self.move_floor
        return max(log(1.0 + self.move_floor), self.z_least * spread, self.strength * sqrt(floors))

    def _called(self, state: BarJumpState, seen: _Measured, *, wrong: bool) -> Observation | None:
        bar = seen.bar
        if not wrong and ready(state.strengths) and not _tells(state.strengths, seen.strength):
            return None  # large, but usual here
        state.calls = state.calls + 1 if bar.ts_event <= state.called_ns + _within_ns(bar) else 1
        state.called_ns = bar.ts_event
        if bar.ts_event > state.onset_ns + _within_ns(bar):
            state.onset_ns, state.base = bar.ts_event, seen.reference
            state.peak, state.typed = 0.0, False
        if abs(seen.extreme) > abs(state.peak):
            state.peak = seen.extreme
        wick = abs(seen.extreme) >= log(1.0 + self.wick) and abs(seen.close) < _UNDONE * abs(
            seen.extreme
        )
        if wrong or (wick and _calm(state, bar)):
            state.typed = True
            return self._say(state, seen, "bad_print", kind="impossible" if wrong else "wick")
        return self._say(state, seen, "price_jump")

    def _retyped(self, state: BarJumpState, seen: _Measured) -> Observation:
        """The jump called before was none: it is undone, and nobody paid for it."""
        onset, base, peak = state.onset_ns, state.base, state.peak
        state.typed = True
        there = _price(base, peak)
        return Observation(
            detector=self.name,
            instrument=seen.bar.instrument,
            cause="bad_print",
            kind="undone",
            ts_event=seen.bar.ts_event,
            onset_ns=onset,
            score=LINE,
            line=LINE,
            observed=there,
            expected=base,
            expected_low=_price(base, -self._needed(seen.scale)),
            expected_high=_price(base, self._needed(seen.scale)),
            sigma=peak / seen.scale,
            flip=_price(base, seen.close / _UNDONE),
            deviation=_bps(peak),
            unit="price",
            deviation_unit="bps",
            baseline_count=state.bars,
            contributions=_parts(state, seen),
            reason=f"{there:.8g} is undone: {seen.bar.close:.8g} again, in ordinary volume",
        )

    def _settled(self, state: BarJumpState, seen: _Measured, left: float) -> Observation | None:
        """Five minutes after a jump: is the price still there?"""
        onset, base, peak = state.onset_ns, state.base, state.peak
        state.onset_ns = 0
        if left * peak < _STAYS * peak * peak:
            return None
        return Observation(
            detector=self.name,
            instrument=seen.bar.instrument,
            cause="level_shift",
            ts_event=seen.bar.ts_event,
            onset_ns=onset,
            score=LINE,
            line=LINE,
            severity="info",
            observed=seen.bar.close,
            expected=base,
            expected_low=_price(base, -_STAYS * abs(peak)),
            expected_high=_price(base, _STAYS * abs(peak)),
            sigma=left / seen.scale,
            flip=_price(base, _STAYS * peak),
            deviation=_bps(left),
            unit="price",
            deviation_unit="bps",
            baseline_count=state.bars,
            contributions=_parts(state, seen),
            reason=f"the price stays at {seen.bar.close:.8g} after the jump from {base:.8g}",
        )

    def _say(
        self,
        state: BarJumpState,
        seen: _Measured,
        cause: str,
        *,
        kind: str = "",
        material: bool = True,
    ) -> Observation:
        bar, needed = seen.bar, self._needed(seen.scale)
        p, extrapolated = None, False
        score = LINE * min(max(1.0, abs(seen.extreme) / needed), 1e6)
        if kind != "impossible" and ready(state.strengths):
            p, extrapolated = p_value(state.strengths, seen.strength)
            score = -log10(max(p, 1e-300))
            unit = sqrt(_USUAL * seen.scale)
            needed = max(needed, magnitude_at(state.strengths, _LINE_P) * unit)
        up = seen.extreme > 0.0
        observed = bar.high if up else bar.low
        high, low = _price(seen.reference, needed), _price(seen.reference, -needed)
        return Observation(
            detector=self.name,
            instrument=bar.instrument,
            cause=cause,
            kind=kind,
            ts_event=bar.ts_event,
            onset_ns=bar.ts_event - bar.interval_ns,
            score=score,
            line=LINE,
            severity="warn" if cause == "bad_print" else "high",
            material=material,
            interval_s=bar.interval_ns / NS_PER_S,
            p=p,
            p_extrapolated=extrapolated,
            observed=observed,
            expected=seen.reference,
            expected_low=low,
            expected_high=high,
            flip=high if up else low,
            sigma=seen.extreme / seen.scale,
            deviation=_bps(seen.extreme),
            unit="price",
            deviation_unit="bps",
            baseline_count=state.bars,
            baseline_age_s=(bar.ts_event - state.last_ns) / NS_PER_S,
            baseline_window_s=min(state.bars, 3600) * (bar.interval_ns / NS_PER_S),
            contributions=_parts(state, seen),
            reason=_reason(seen, observed),
        )


def _measure(state: BarJumpState, bar: Bar) -> _Measured:
    reference = sorted(state.closes)[_PRINTS // 2]
    at = log(reference)
    up, down = log(bar.high) - at, log(bar.low) - at
    extreme = up if up > -down else down
    elapsed = min(max((bar.ts_event - state.last_ns) / bar.interval_ns, 1.0), _ELAPSED)
    floor = _floor(state)
    spread = scale(state.short * elapsed, state.middle * elapsed, state.long * elapsed, floor)
    volume = min(bar.volume / state.volume, SAMPLE_MAX) if state.volume > 0.0 else 1.0
    return _Measured(
        bar,
        reference,
        extreme,
        log(bar.close) - at,
        spread,
        floor,
        elapsed,
        abs(extreme) / sqrt(_USUAL * spread),
        volume,
        volume > 1.0 and (volume > _VOLUME_CLIP or log(volume) > state.volumes.edge),
    )


def _learn(state: BarJumpState, seen: _Measured) -> None:
    """Take the bar into the baseline, clipped."""
    bar, floor = seen.bar, seen.floor
    innovation = seen.close / sqrt(seen.elapsed)
    state.bars += 1
    new = 1.0 - 1.0 / state.bars  # a plain mean until there are enough bars to forget some
    short, middle, long = _KEPT if state.bars > _GROWN else [min(one, new) for one in _KEPT]
    state.short = scale_step(state.short, innovation, floor, short)
    state.middle = scale_step(state.middle, innovation, floor, middle)
    state.long = scale_step(state.long, innovation, floor, long)
    width = min(log(bar.high) - log(bar.low), CLIP * (state.range + _FLOOR))
    state.range += max(_RANGE_RATE, 1.0 - new) * (width - state.range)
    learn(state.strengths, seen.strength)
    learn(state.volumes, seen.volume)


def _floor(state: BarJumpState) -> float:
    """The least scale: smallest markets' steps, and how wide bars are anyway."""
    return sqrt(_FLOOR * _FLOOR + 0.25 * state.range * state.range)


def _volume_step(state: BarJumpState, volume: float) -> None:
    rate = max(_VOLUME_RATE, 1.0 / (state.bars + 1.0))
    most = _VOLUME_CLIP * state.volume if state.volume > 0.0 else SAMPLE_MAX
    state.volume += rate * (min(volume, most) - state.volume)


def _calm(state: BarJumpState, bar: Bar) -> bool:
    """Nothing but this: one or two bars, and no unusual volume since five minutes before them."""
    since = min(state.onset_ns or bar.ts_event, bar.ts_event) - _within_ns(bar)
    return state.busy_ns < since and state.calls <= _ALONE


def _within_ns(bar: Bar) -> int:
    """How far apart bars may be that belong to one event: five minutes, of long bars two."""
    return max(_WITHIN_NS, 2 * bar.interval_ns)


def _tells(tail: Tail, strength: float) -> bool:
    """Whether the record is long enough, and p small enough to speak of."""
    if not ready(tail) or strength <= 0.0 or log(strength) <= tail.edge:
        return False
    return p_value(tail, strength)[0] <= _TOLD_P


def _price(reference: float, excursion: float) -> float:
    """The price at a distance in nats, kept finite."""
    return exp(min(max(log(reference) + excursion, -_MOST), _MOST))


def _bps(excursion: float) -> float:
    return 1e4 * (exp(min(excursion, _MOST)) - 1.0)


def _parts(state: BarJumpState, seen: _Measured) -> tuple[Contribution, ...]:
    bar, spread, volume = seen.bar, seen.scale, min(seen.bar.volume, SAMPLE_MAX)
    extreme = bar.high if seen.extreme > 0.0 else bar.low
    p = p_value(state.volumes, seen.volume)[0] if ready(state.volumes) else None
    return (
        Contribution("price", seen.extreme / spread, extreme, seen.reference),
        Contribution("close", seen.close / spread, bar.close, seen.reference),
        Contribution("volume", seen.volume, volume, state.volume, "means", p),
    )


def _reason(seen: _Measured, observed: float) -> str:
    up = seen.extreme > 0.0
    share = exp(min(seen.extreme, _MOST))
    size = f"{share:.3g} times" if share >= 2.0 else f"{100.0 * abs(share - 1.0):.1f} %"
    side = "" if share >= 2.0 else " above" if up else " below"
    return (
        f"{'high' if up else 'low'} {observed:.8g} is {size}{side} the last closes"
        f" ({seen.reference:.8g}), close {seen.bar.close:.8g},"
        f" on {seen.volume:.2g} times the usual volume"
    )
