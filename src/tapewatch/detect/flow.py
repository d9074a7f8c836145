"""`flow`: takers who all want the same side, more than usual.

It measures who crosses the spread, from the venue's own aggressor flag; trades without one are
passed over. It says nothing about the price: in a deep book one-sided flow moves it little, and
that is when it is worth knowing.

Theory of operation. Bought and sold amounts fade over about sixty seconds, and once more over
about fifty orders: a rush, and a campaign. Each imbalance is compared with its usual value by a
beta-binomial law, whose excess over coin tosses is measured, because buyers come in rows. The
larger of the two deviations goes to a `Tail` (as e^|z|, whose tail is like that of returns), and
its record makes p of it.
"""

from math import copysign, exp, log, log10, sqrt
from typing import ClassVar, Final, NamedTuple

from msgspec import Struct, field

from tapewatch.detect.base import LINE, TOLD
from tapewatch.kernels.tails import Tail, learn, magnitude_at, p_value, ready
from tapewatch.model.events import Event, Sample
from tapewatch.model.outputs import Contribution, Observation
from tapewatch.model.time import NS_PER_S

WINDOW_S: Final = 60.0  # e-folding time of the rush
ORDERS: Final = 50.0  # e-folding number of the campaign
MEMORY: Final = 2000.0  # measurements: what one weighs falls by e in so many
_ENOUGH: Final = 10.0  # orders from which an imbalance means anything
_ALIKE_LEAST: Final = 1e-4  # least correlation of orders; below, thousands of orders decide
_ALIKE_MOST: Final = 0.9
_BUSY: Final = 5.0  # orders a sample: below, flow alone wakes nobody
_ONE_SIDED: Final = 0.6  # from four fifths on one side: 80 to 20 is the least that is material
_CROWD: Final = 30.0  # orders
_MOST: Final = 50.0  # standard deviations; no record goes so far
_TOLD_P: Final = float(10.0**-TOLD)
P_LEAST: Final = 1e-300


class Window(Struct):
    """Fading amounts and orders; the usual imbalance, and the correlation of two orders."""

    bought: float = 0.0
    sold: float = 0.0
    orders: float = 0.0
    usual: float = 0.0
    alike: float = 0.1
    taught: int = 0


class FlowState(Struct, array_like=True):
    """Memory of one instrument."""

    last_ns: int = 0
    since_ns: int = 0
    orders: float = 0.0  # a sample, weighted mean
    samples: int = 0
    rush: Window = field(default_factory=Window)
    campaign: Window = field(default_factory=Window)
    tail: Tail = field(default_factory=Tail)


class Imbalance(NamedTuple):
    """One window: imbalance -1..1, orders behind it, its standard deviation and deviation."""

    name: str
    value: float
    usual: float
    orders: float
    scatter: float
    z: float


class Flow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """z = (I - usual) / sqrt((1 - usual^2) (1 / n + alike (1 - 1 / n))), I = (B - S) / (B + S).

    B and S are amounts bought and sold by takers, n the orders in the window. `alike` is the
    correlation of two orders' sides, estimated by moments, amounts' spread included. `buying` and
    `selling` are material from an imbalance of 0.6 of thirty orders on; where fewer than five
    orders a sample are usual, it is only a note. This is bot 4.15's trade imbalance.

    Units: imbalance without unit, -1 all sold to 1 all bought; n in orders. Bars name no
    aggressor and are passed over.
    Reference: the beta-binomial law and its correlation: Johnson, Kemp and Kotz 2005, "Univariate
    Discrete Distributions", 6.2; that signs of orders are correlated for long: Lillo and Farmer
    2004, "The long memory of the efficient market".
    False alarms: one participant who works a large order in small pieces, by the hour; the hours
    after news. Flow that was always one-sided is usual, and not seen.
    """

    name: ClassVar[str] = "flow"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Sample,)
    state_type: ClassVar[type] = FlowState

    def key(self, event: Event, /) -> str | None:
        return event.instrument if isinstance(event, Sample) else None

    def start(self, key: str, /) -> FlowState:  # noqa: ARG002  (its memory has no name)
        return FlowState()

    def update(self, state: FlowState, event: Event, /) -> Observation | None:
        assert isinstance(event, Sample)
        if event.orders <= 0 or not event.bought + event.sold > 0.0:
            return None
        passed_s = max(event.ts_event - state.last_ns, 0) / NS_PER_S if state.last_ns else 0.0
        state.since_ns = state.since_ns or event.ts_event
        state.last_ns = max(state.last_ns, event.ts_event)
        state.samples += 1
        weight = 1.0 / min(float(state.samples), MEMORY)
        state.orders += weight * (event.orders - state.orders)
        _add(state.rush, event, exp(-passed_s / WINDOW_S))
        _add(state.campaign, event, exp(-event.orders / ORDERS))
        measured = (_measure(state.rush, "60 s"), _measure(state.campaign, "50 orders"))
        found = [one for one in measured if one is not None]
        _teach(state.rush)
        _teach(state.campaign)
        if not found:
            return None
        found.sort(key=lambda one: -abs(one.z))
        z = min(abs(found[0].z), _MOST)
        seen = None
        if not (z <= state.tail.edge and state.tail.edge_p >= _TOLD_P):  # else p is above
            p, _ = p_value(state.tail, exp(z))
            score = -log10(max(p, P_LEAST))
            seen = _observation(state, event, found, score) if score >= TOLD else None
        learn(state.tail, exp(z))
        return seen


def _add(window: Window, sample: Sample, kept: float) -> None:
    window.bought = kept * window.bought + min(sample.bought, 1e150)
    window.sold = kept * window.sold + min(sample.sold, 1e150)
    window.orders = kept * window.orders + sample.orders


def _value(window: Window) -> float:
    both = window.bought + window.sold
    return (window.bought - window.sold) / both if both > 0.0 else 0.0


def _measure(window: Window, name: str) -> Imbalance | None:
    """None where there are too few orders to speak of a side."""
    n = window.orders
    if n < _ENOUGH or not window.taught:
        return None
    share = 1.0 - window.usual * window.usual
    scatter = sqrt(max(share, 0.05) * (1.0 / n + window.alike * (1.0 - 1.0 / n)))
    value = _value(window)
    return Imbalance(name, value, window.usual, n, scatter, (value - window.usual) / scatter)


def _teach(window: Window) -> None:
    """Usual value and correlation, by moments: E (I - usual)^2 = (1 - usual^2) (1/n + ...)."""
    n = window.orders
    if n < _ENOUGH:
        return
    window.taught += 1
    weight = 1.0 / min(window.taught + 20.0, MEMORY)  # twenty imagined measurements at the start
    value = _value(window)
    excess = (value - window.usual) ** 2 / max(1.0 - window.usual * window.usual, 0.05)
    alike = (excess - 1.0 / n) / (1.0 - 1.0 / n)
    window.alike += weight * (alike - window.alike)
    window.alike = min(max(window.alike, _ALIKE_LEAST), _ALIKE_MOST)
    window.usual += weight * (value - window.usual)


def _observation(
    state: FlowState, event: Sample, found: list[Imbalance], score: float
) -> Observation:
    """`found`: one or two windows, the stronger first."""
    top = found[0]
    p, extrapolated = p_value(state.tail, exp(min(abs(top.z), _MOST)))
    width = log(magnitude_at(state.tail, 10.0**-LINE)) * top.scatter
    deviation = top.value - top.usual
    side = "buying" if deviation > 0.0 else "selling"
    share = 50.0 * (1.0 + abs(top.value))
    return Observation(
        detector=Flow.name,
        instrument=event.instrument,
        cause="flow",
        kind=side,
        ts_event=event.ts_event,
        onset_ns=event.ts_event - int(WINDOW_S * NS_PER_S) if top.name == "60 s" else 0,
        score=score,
        line=LINE,
        ready=ready(state.tail),
        severity="warn" if state.orders >= _BUSY else "info",
        material=abs(top.value) >= _ONE_SIDED and top.orders >= _CROWD,
        p=max(p, P_LEAST),
        p_extrapolated=extrapolated,
        observed=top.value,
        expected=top.usual,
        expected_low=max(top.usual - width, -1.0),
        expected_high=min(top.usual + width, 1.0),
        unit="imbalance",
        flip=min(max(top.usual + copysign(width, deviation), -1.0), 1.0),
        sigma=top.z,
        deviation=deviation * top.orders,
        deviation_unit="orders",
        contributions=tuple(
            [
                Contribution(f"imbalance of {one.name}", one.z, one.value, one.usual, "sigma")
                for one in found
            ]
        ),
        baseline_count=state.tail.seen,
        baseline_age_s=event.interval_ns / NS_PER_S,  # windows end with the sample
        # The weighted samples' share of all the time there was.
        baseline_window_s=max(event.ts_event - state.since_ns, 0)
        / NS_PER_S
        * min(1.0, MEMORY / state.samples),
        reason=(
            f"{share:.0f} % of the volume of about {top.orders:.0f} orders was {side},"
            f" usual is {50.0 * (1.0 + copysign(top.usual, deviation * top.usual)):.0f} %"
        ),
    )
