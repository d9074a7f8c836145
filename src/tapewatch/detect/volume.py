"""`volume`: an order, or all that was traded in a few seconds, far larger than usual.

It looks at amounts given the number of orders; how many orders there are is for `intensity`. So a
hundred ordinary orders are no volume, and one hundredfold order is.

Theory of operation. The logarithm of an amount, given the logarithm of the number of orders, is
predicted by a line fitted to the last day with exponential weights. The residual in units of its
own scatter goes to a `Tail`, one for each thing it can mean, and its record makes p of it.
"""

from math import exp, log, log10, sqrt
from typing import ClassVar, Final, Literal, NamedTuple

from msgspec import Struct, field

from tapewatch.detect.base import LINE, TOLD
from tapewatch.kernels.moments import SAMPLE_MAX
from tapewatch.kernels.tails import LOWEST, Tail, learn, magnitude_at, p_value, ready
from tapewatch.model.events import Event, Sample
from tapewatch.model.outputs import Contribution, Observation
from tapewatch.model.time import NS_PER_S

MEMORY: Final = 2000.0  # samples with trades: what one weighs falls by e in so many
_WARM: Final = 100  # samples from which the line is believed
_SCATTER: Final = 0.05  # least scatter, nats: amounts that are all alike still differ by rounding
_CLIP: Final = 5.0  # scatters; the clip of the update
_ALIKE: Final = 1e-3  # variance of ln(orders) below which there is no line through it
_BUSY: Final = 5.0  # orders a sample: below, an amount alone wakes nobody
_TIMES: Final = 10.0  # expected amounts from which it is material
_PART: Final = 0.05  # of what is traded in an hour, that it must be at least as well
_HOUR_NS: Final = 3600 * NS_PER_S
_MOST: Final = 50.0  # scatters; no record goes so far
_TOLD_P: Final = float(10.0**-TOLD)
P_LEAST: Final = 1e-300

Kind = Literal["large order", "large volume", "small volume"]


class Line(Struct):
    """Weighted means of a logarithm y and its products, around a line in x (`VolumeState`)."""

    y: float = 0.0
    xy: float = 0.0
    square: float = 0.0  # of the residuals, clipped


class VolumeState(Struct, array_like=True):
    """Memory of one instrument. x is ln(orders); `samples` counts those with trades."""

    samples: int = 0
    since_ns: int = 0  # the first of them
    last_ns: int = 0
    x: float = 0.0
    xx: float = 0.0
    orders: float = 0.0  # a sample, weighted mean
    hour: float = 0.0  # traded in an hour: weighted sum of the last hour, in effect
    order: Line = field(default_factory=Line)
    total: Line = field(default_factory=Line)
    order_tail: Tail = field(default_factory=Tail)
    large_tail: Tail = field(default_factory=Tail)
    small_tail: Tail = field(default_factory=Tail)


class Residual(NamedTuple):
    """An amount against its line: both in quote units, and the residual in scatters."""

    amount: float
    expected: float
    scatter: float
    z: float


class Volume(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Surprise of amounts: z = (ln amount - line(ln orders)) / scatter, each side its own tail.

    `large order`: the largest order of a sample; `large volume` and `small volume`: all of it.
    Material when it is ten times the expected and a twentieth of what is traded in an hour. Small
    amounts are never material, and where fewer than five orders a sample are usual, or the number
    of orders is unknown, nothing is more than a note.

    Units: amounts in quote units; sigma in scatters of the logarithm. Bars have no orders and no
    largest one: their volume alone is judged.
    Reference: trade sizes are about lognormal with heavier tails (Gopikrishnan, Plerou, Gabaix and
    Stanley 2000, "Statistical properties of share volume traded in financial markets"), hence
    logarithms, and a measured tail instead of a law.
    False alarms: block trades and auctions, which are large orders; the first large participant of
    a quiet night. Many equal orders in a row make its scatter small and the next one surprising,
    which the record of the tail takes back within hours.
    """

    name: ClassVar[str] = "volume"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Sample,)
    state_type: ClassVar[type] = VolumeState

    def key(self, event: Event, /) -> str | None:
        return event.instrument if isinstance(event, Sample) else None

    def start(self, key: str, /) -> VolumeState:  # noqa: ARG002  (its memory has no name)
        return VolumeState()

    def update(self, state: VolumeState, event: Event, /) -> Observation | None:
        assert isinstance(event, Sample)
        if event.volume <= 0.0 or event.orders == 0:
            return None
        state.since_ns = state.since_ns or event.ts_event
        x = log(event.orders) if event.orders > 0 else 0.0
        total = _residual(state, state.total, event.volume, x)
        order = _residual(state, state.order, event.largest, x) if event.largest > 0.0 else None
        found: list[Observation | None] = []
        if state.samples >= _WARM:
            found.append(self._judge(state, event, "large volume", total))
            found.append(self._judge(state, event, "small volume", total))
            if order is not None:
                found.append(self._judge(state, event, "large order", order))
        _learn(state, event, x, total, order)
        told = [one for one in found if one is not None]
        return max(told, key=lambda one: one.score) if told else None

    def _judge(
        self, state: VolumeState, event: Sample, kind: Kind, seen: Residual
    ) -> Observation | None:
        tail = _tail(state, kind)
        z = -seen.z if kind == "small volume" else seen.z
        magnitude, found = _magnitude(z), None
        if z > 0.0 and not (z <= tail.edge and tail.edge_p >= _TOLD_P):  # else p is above
            p, extrapolated = p_value(tail, magnitude)
            score = -log10(max(p, P_LEAST))
            if score >= TOLD:
                found = _observation(state, event, kind, seen, (score, extrapolated))
        learn(tail, magnitude if magnitude > 1.0 else LOWEST)
        return found


def _magnitude(z: float) -> float:
    """What the tail record counts: e^z, an amount in units of the expected one if the scatter is 1.
    The tail of amounts, not of their logarithms, is like that of returns."""
    return exp(min(max(z, -_MOST), _MOST))


def _tail(state: VolumeState, kind: Kind) -> Tail:
    if kind == "large order":
        return state.order_tail
    return state.large_tail if kind == "large volume" else state.small_tail


def _residual(state: VolumeState, line: Line, amount: float, x: float) -> Residual:
    variance = state.xx - state.x * state.x
    slope = (line.xy - state.x * line.y) / variance if variance > _ALIKE else 0.0
    level = log(min(amount, SAMPLE_MAX))
    expected = line.y + slope * (x - state.x) if state.samples else level
    scatter = max(sqrt(line.square), _SCATTER)
    deviation = level - expected
    return Residual(amount, exp(min(max(expected, -700.0), 700.0)), scatter, deviation / scatter)


def _learn(
    state: VolumeState, event: Sample, x: float, total: Residual, order: Residual | None
) -> None:
    """Take a sample into the lines, clipped, and into what an hour holds."""
    state.samples += 1
    new = 1.0 / min(float(state.samples), MEMORY)
    state.x += new * (x - state.x)
    state.xx += new * (x * x - state.xx)
    state.orders += new * (max(event.orders, 0) - state.orders)
    _fit(state.total, x, total, new)
    if order is not None:
        _fit(state.order, x, order, new)
    passed = max(event.ts_event - state.last_ns, 0) if state.last_ns else _HOUR_NS
    state.hour = state.hour * exp(-passed / _HOUR_NS) + min(event.volume, SAMPLE_MAX)
    state.last_ns = max(state.last_ns, event.ts_event)


def _fit(line: Line, x: float, seen: Residual, new: float) -> None:
    # Until the line is warm its scatter is unknown, and there is nothing to clip by.
    z = min(max(seen.z, -_CLIP), _CLIP) if new < 1.0 / _WARM else seen.z
    residual = z * seen.scatter
    y = log(seen.expected) + residual
    line.y += new * (y - line.y)
    line.xy += new * (x * y - line.xy)
    line.square += new * (residual * residual - line.square)


def _observation(
    state: VolumeState, event: Sample, kind: Kind, seen: Residual, scored: tuple[float, bool]
) -> Observation:
    score, extrapolated = scored
    tail = _tail(state, kind)
    up = kind != "small volume"
    times = seen.amount / seen.expected
    part = min(seen.amount, SAMPLE_MAX) / state.hour if state.hour > 0.0 else 0.0
    what = "an order" if kind == "large order" else "volume"
    length = event.interval_ns / NS_PER_S
    edge = log(magnitude_at(tail, 10.0**-LINE)) * seen.scatter * (1.0 if up else -1.0)
    flip = seen.expected * exp(min(max(edge, -600.0), 600.0))
    return Observation(
        detector=Volume.name,
        instrument=event.instrument,
        cause="volume",
        kind=kind,
        ts_event=event.ts_event,
        onset_ns=event.ts_event - event.interval_ns,
        score=score,
        line=LINE,
        ready=ready(tail),
        severity="warn" if state.orders >= _BUSY and up else "info",
        material=up and times >= _TIMES and part >= _PART,
        p=max(10.0**-score, P_LEAST),
        p_extrapolated=extrapolated,
        observed=seen.amount,
        expected=seen.expected,
        expected_low=0.0 if up else flip,
        expected_high=flip if up else None,
        unit="quote",
        flip=flip,
        sigma=seen.z,
        deviation=seen.amount - seen.expected,
        deviation_unit="quote",
        contributions=(
            Contribution(kind, seen.z, seen.amount, seen.expected, "quote", 10.0**-score),
            Contribution("orders", 0.0, float(event.orders), state.orders, "orders"),
            Contribution("part of an hour", part, part, None, "hours"),
        ),
        baseline_count=tail.seen,
        baseline_age_s=max(0.0, (event.ts_event - state.last_ns) / NS_PER_S),
        # The weighted samples' share of all the time there was.
        baseline_window_s=max(event.ts_event - state.since_ns, 0)
        / NS_PER_S
        * min(1.0, MEMORY / max(state.samples, 1)),
        reason=f"{what} of {seen.amount:.4g} in {length:g} s, {times:.3g} times the expected",
    )
