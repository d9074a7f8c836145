"""What `price_jump` says: observations with their explanation."""

from math import copysign, sqrt

from tapewatch.detect.base import LINE
from tapewatch.detect.price_steps import FAR, HALF_LIVES_S, PRINTS, Jump, PriceState, coordinate
from tapewatch.kernels.change import student_4_at
from tapewatch.kernels.tails import magnitude_at, ready
from tapewatch.model.outputs import Contribution, Observation
from tapewatch.model.time import NS_PER_S

_LINE_P = 10.0**-LINE


def jump_observation(  # noqa: PLR0913 (one judgement in all its parts)
    state: PriceState,
    detector: str,
    now: int,
    onset: int,
    x: float,
    z: float,
    p: float,
    score: float,
    *,
    material: bool,
    extrapolated: bool,
) -> Observation:
    """A move of the valid price that is rare."""
    confident = ready(state.tail)
    usual = magnitude_at(state.tail, _LINE_P) if confident else student_4_at(_LINE_P)
    reach = usual * state.scales.sigma
    after, before = state.price_of(x), state.price_of(state.x)
    low, high = state.price_of(state.x - reach), state.price_of(state.x + reach)
    up = x > state.x
    return Observation(
        detector=detector,
        instrument=state.key,
        cause="price_jump",
        ts_event=now,
        score=score,
        line=LINE,
        severity="high",
        low_confidence=not confident,
        onset_ns=onset,
        p=p,
        p_extrapolated=extrapolated,
        observed=after,
        expected=before,
        expected_low=low,
        expected_high=high,
        unit="price",
        flip=high if up else low,
        contributions=_horizons(state, x - state.x, before, after),
        baseline_count=state.tail.total,
        baseline_age_s=max(0.0, (now - state.until) / NS_PER_S + 1.0),
        baseline_window_s=min(HALF_LIVES_S[2], (now - state.began_ns) / NS_PER_S),
        reason=_sentence(state, before, after, z),
        material=material,
        interval_s=1.0,
        sigma=copysign(z, x - state.x),
        deviation=_deviation(state, before, after),
        deviation_unit="points" if state.probable else "bps",
    )


def followed_observation(
    state: PriceState, jump: Jump, detector: str, now: int, price: float, *, undone: bool
) -> Observation:
    """What became of a jump: undone, or here to stay. No second alarm, so never above info."""
    before, peak = state.price_of(jump.start), state.price_of(jump.peak)
    after_s = (now - jump.since_ns) / NS_PER_S
    back = (jump.peak - coordinate(state, price)) / (jump.peak - jump.start)
    if undone:
        text = f"the move from {before:.6g} to {peak:.6g} was undone within {after_s:.1f} s"
        text += f" (now {price:.6g}): most likely a bad print"
    else:
        text = f"the move from {before:.6g} to {peak:.6g} has held for {after_s:.0f} s"
        text += f" (now {price:.6g}): a new level"
    return Observation(
        detector=detector,
        instrument=state.key,
        cause="bad_print" if undone else "level_shift",
        ts_event=now,
        score=jump.score,
        line=LINE,
        severity="info",
        onset_ns=jump.since_ns,
        p=jump.p,
        p_extrapolated=True,
        observed=peak if undone else price,
        expected=before,
        unit="price",
        flip=state.price_of(jump.start + 0.2 * (jump.peak - jump.start)),
        contributions=(Contribution("undone", back, back, 0.8, "share of the move"),),
        baseline_count=state.tail.total,
        baseline_window_s=min(HALF_LIVES_S[2], (now - state.began_ns) / NS_PER_S),
        reason=text,
        kind="undone" if undone else "held",
        deviation=_deviation(state, before, peak if undone else price),
        deviation_unit="points" if state.probable else "bps",
    )


def broken_observation(
    state: PriceState, now: int, price: float, middle: float, detector: str
) -> Observation:
    """A print that no market makes. A rule: it has no p."""
    ratio = price / middle if price > middle else middle / price
    far = f"{ratio:.3g} times" if price > middle else f"a {ratio:.3g}th of"
    return Observation(
        detector=detector,
        instrument=state.key,
        cause="bad_print",
        ts_event=now,
        score=min(ratio, 1e9) / FAR,
        line=1.0,
        severity="high",
        observed=price,
        expected=middle,
        expected_low=middle / FAR,
        expected_high=min(middle * FAR, 1.7e308),
        unit="price",
        flip=min(middle * FAR, 1.7e308) if price > middle else middle / FAR,
        contributions=(Contribution("ratio", min(ratio, 1e9), price, middle, "ratio"),),
        baseline_count=PRINTS,
        reason=f"price {price:.6g} is {far} the median {middle:.6g} of the last five prices",
        kind="integrity",
        deviation=min(ratio, 1e9),
        deviation_unit="ratio",
    )


def _horizons(
    state: PriceState, move: float, before: float, after: float
) -> tuple[Contribution, ...]:
    """The same move on each of the three horizons, the loudest first."""
    scales = state.scales
    floor = scales.floor * scales.floor
    parts = [
        Contribution(
            f"move_{half:.0f}s", move / max(sqrt(variance + floor), 1e-12), after, before, "price"
        )
        for half, variance in zip(
            HALF_LIVES_S, (scales.short, scales.middle, scales.long), strict=True
        )
    ]
    return tuple(sorted(parts, key=lambda part: -abs(part.score)))


def _deviation(state: PriceState, before: float, after: float) -> float:
    """Signed move in bps, of probabilities in points."""
    if state.probable:
        return 100.0 * (after - before)
    ratio = after / before if before > 0.0 else 1.0
    return 1e4 * (min(ratio, 1e9) - 1.0)


def _sentence(state: PriceState, before: float, after: float, z: float) -> str:
    if state.probable:
        size = f"{100.0 * abs(after - before):.1f} points"
    else:
        size = f"{100.0 * abs(min(after / before, 1e9) - 1.0):.3g} %" if before else "far"
    way = "up" if after > before else "down"
    return f"price went {way} {size} to {after:.6g} within a second, {z:.1f} times its usual move"
