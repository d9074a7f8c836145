"""`book`: the state of an order book: how wide, how deep, how lopsided, by its own record.

It speaks in notes. A thin book is no anomaly to act on by itself, but everything that is read off
its prices while it lasts is worth less: the gate puts that into the verdict of other alerts.

Theory of operation. The book that stands at each stroke of 5 s is measured against the record of
those before, and joins it. Depth is also looked at after every message, because it goes in seconds.
"""

from math import exp, inf, log, log10
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct, field

from tapewatch.detect.base import LINE, TOLD
from tapewatch.kernels.tails import Tail, learn, magnitude_at, p_value, ready
from tapewatch.model.events import Book, Event
from tapewatch.model.inputs import Link, Timer
from tapewatch.model.outputs import Contribution, Observation
from tapewatch.model.time import NS_PER_S

STEP_NS: Final = 5 * NS_PER_S
IDLE_NS: Final = 60 * NS_PER_S  # a book that nobody touches is not measured again and again
NEAR: Final = 0.05  # of a price that is a probability: depth is counted so far from the best level
NEAR_SHARE: Final = 0.01  # of any other price, as a share of it
SAMPLES: Final = 360.0  # half-life of what is usual: half an hour
LEARNT: Final = 60  # samples before anything is called thin: five minutes
REPEAT_NS: Final = 30 * NS_PER_S  # a thin book is told again so often, while it lasts
APART_NS: Final = 60 * NS_PER_S  # between two notes of one kind
MOST: Final = 50.0  # natural logarithms: a side that is empty
NAMES: Final = ("spread", "depth", "imbalance", "micro_gap")
SCORE_MAX: Final = 300.0

Positive = Annotated[float, Meta(gt=0.0)]


class BookState(Struct):
    """Memory of one book. `usual`: logarithms of spread and depth; `tails` are by `NAMES`."""

    key: str
    source: str
    message_ns: int = 0
    sampled_ns: int = 0
    due_ns: int = 0
    bounded: bool = True
    bids: tuple[tuple[float, float], ...] = ()
    asks: tuple[tuple[float, float], ...] = ()
    samples: int = 0
    usual: tuple[float, float] = (0.0, 0.0)
    tails: tuple[Tail, Tail, Tail, Tail] = field(
        default_factory=lambda: (Tail(), Tail(), Tail(), Tail())
    )
    thin_ns: int = 0  # since when the book is thin, 0: it is not
    told_ns: int = 0  # of the thin book
    noted_ns: int = 0
    noted: str = ""


class Shape(Struct, frozen=True):
    """A book in four numbers: spread and depth in quote and base units, ln(bid depth / ask depth),
    and the distance of the size-weighted mid from the mid in half spreads."""

    spread: float
    depth: float
    imbalance: float
    micro_gap: float


class BookHealth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """P(spread, 1/depth, imbalance, gap of the micro-price at least so large) by the book's record,
    and thin when depth <= `thin` x usual depth.

    Depth is what both sides hold within 1 % of their best price (within 0.05 where prices are
    probabilities). Usual is the geometric mean with a half-life of half an hour.

    Units: score = decades, line 3.5; of a thin book (kind `thin`) thin x usual / depth, line 1.
    Severity is info: this is context. A thin book also has low confidence.
    Reference: detection by own record, `kernels/tails.py`; the micro-price: Stoikov 2018, "The
    micro-price: a high-frequency estimator of future prices".
    False alarms: the end of an event on which a market bets; known hours of thin books.
    """

    name: ClassVar[str] = "book"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Book, Timer, Link)
    state_type: ClassVar[type] = BookState

    thin: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.1

    def key(self, event: Event, /) -> str | None:
        if not isinstance(event, Book) or event.mirror_of:
            return None
        return event.instrument

    def start(self, key: str, /) -> BookState:
        return BookState(key, key.partition(":")[0])

    def update(self, state: BookState, event: Event, /) -> Observation | None:
        now = event.ts_recv
        if isinstance(event, Link):
            if event.source == state.source:
                state.bids = state.asks = ()
                state.thin_ns = state.due_ns = 0
            return None
        told = self._sample(state, now)
        if isinstance(event, Book):
            state.message_ns = now
            state.bids, state.asks = event.bids, event.asks
            if state.bounded and any(
                side[0][0] >= 1.0 for side in (event.bids, event.asks) if side
            ):
                state.bounded = False
            told = told or self._thin(state, now)
        idle = now >= state.message_ns + IDLE_NS
        state.due_ns = 0 if idle else now // STEP_NS * STEP_NS + STEP_NS
        return told

    def _thin(self, state: BookState, now: int) -> Observation | None:
        """Whether the book is thin now; told when it begins and while it lasts."""
        if state.samples < LEARNT:
            return None
        shape = measure(state.bids, state.asks, bounded=state.bounded)
        usual = exp(state.usual[1])
        limit = self.thin * usual
        if shape.depth > limit:
            state.thin_ns = 0
            return None
        state.thin_ns = state.thin_ns or now
        if 0 < state.told_ns <= now < state.told_ns + REPEAT_NS:
            return None
        state.told_ns = now
        share = 100.0 * shape.depth / usual
        return Observation(
            detector=self.name,
            instrument=state.key,
            cause="book",
            ts_event=now,
            score=min(SCORE_MAX, limit / max(shape.depth, 1e-300)),
            line=1.0,
            low_confidence=True,
            severity="info",
            onset_ns=state.thin_ns,
            observed=shape.depth,
            expected=usual,
            expected_low=limit,
            unit="base units",
            flip=limit,
            contributions=(
                Contribution(
                    "depth", log10(usual / max(shape.depth, 1e-9 * usual)), unit="decades"
                ),
            ),
            baseline_count=state.samples,
            baseline_window_s=SAMPLES * STEP_NS / NS_PER_S,
            kind="thin",
            deviation=shape.depth - usual,
            deviation_unit="base units",
            reason=f"the book is thin: {share:.0f} % of its usual depth is left",
        )

    def _sample(self, state: BookState, now: int) -> Observation | None:
        """Measure the book that stood at the last stroke, then learn it."""
        stroke = now // STEP_NS * STEP_NS
        stood = state.message_ns and stroke > state.message_ns
        if not stood or stroke <= state.sampled_ns or stroke >= state.message_ns + IDLE_NS:
            return None
        state.sampled_ns = stroke
        found = self._thin(state, now) if state.thin_ns else None
        shape = measure(state.bids, state.asks, bounded=state.bounded)
        if shape.spread <= 0.0 or shape.depth <= 0.0:
            return found
        values = _magnitudes(state, shape)
        told = None if found else self._rarest(state, shape, values, now)
        for tail, value in zip(state.tails, values, strict=True):
            learn(tail, value)
        _usual(state, shape)
        return found or told

    def _rarest(
        self, state: BookState, shape: Shape, values: tuple[float, ...], now: int
    ) -> Observation | None:
        if not ready(state.tails[0]):
            return None
        rarity = [p_value(tail, u) for tail, u in zip(state.tails, values, strict=True)]
        at = min(range(len(NAMES)), key=lambda index: rarity[index][0])
        p, extrapolated = rarity[at]
        score = min(SCORE_MAX, -log10(max(p, 1e-300)))
        name = NAMES[at]
        again = name == state.noted and state.noted_ns <= now < state.noted_ns + APART_NS
        if score < TOLD or again:
            return None
        state.noted, state.noted_ns = name, now
        limit = magnitude_at(state.tails[at], 10.0**-LINE)
        ranked = sorted(range(len(NAMES)), key=lambda index: rarity[index][0])[:3]
        observed = (shape.spread, shape.depth, shape.imbalance, shape.micro_gap)[at]
        expected = (exp(state.usual[0]), exp(state.usual[1]), 0.0, 0.0)[at]
        flip = (limit * expected, expected / limit, limit, limit)[at]
        return Observation(
            detector=self.name,
            instrument=state.key,
            cause="book",
            ts_event=now,
            score=score,
            line=LINE,
            severity="info",
            p=p,
            p_extrapolated=extrapolated,
            observed=observed,
            expected=expected,
            unit=("quote units", "base units", "nats", "half spreads")[at],
            flip=flip,
            contributions=tuple(
                Contribution(NAMES[index], values[index], unit="usual", p=rarity[index][0])
                for index in ranked
            ),
            baseline_count=state.samples,
            baseline_window_s=SAMPLES * STEP_NS / NS_PER_S,
            kind=name,
            deviation=observed - expected,
            deviation_unit=("quote units", "base units", "nats", "half spreads")[at],
            reason=(
                f"the {name.replace('_', ' ')} of the book is unusual: {observed:.4g},"
                f" usually {expected:.4g}"
            ),
        )


def measure(
    bids: tuple[tuple[float, float], ...], asks: tuple[tuple[float, float], ...], *, bounded: bool
) -> Shape:
    """A book in numbers; the spread is 0.0 where a side is missing or the book is crossed."""
    low, high = _depth(bids, bounded=bounded), _depth(asks, bounded=bounded)
    if not bids or not asks or bids[0][0] >= asks[0][0]:
        return Shape(0.0, min(low + high, 1e300), 0.0, 0.0)
    (bid, bid_size), (ask, ask_size) = bids[0], asks[0]
    lopsided = log(max(low, 1e-300)) - log(max(high, 1e-300))
    imbalance = min(MOST, max(-MOST, lopsided))
    sizes = min(bid_size, 1e300) + min(ask_size, 1e300)
    micro = (min(bid_size, 1e300) - min(ask_size, 1e300)) / sizes if sizes > 0.0 else 0.0
    return Shape(ask - bid, min(low + high, 1e300), imbalance, micro)


def _depth(side: tuple[tuple[float, float], ...], *, bounded: bool) -> float:
    """Base units within reach of the best level."""
    if not side:
        return 0.0
    best = side[0][0]
    reach = (NEAR if bounded else NEAR_SHARE * best) * (1.0 + 1e-9)
    total = sum([size for price, size in side if abs(price - best) <= reach])
    return min(total, 1e300)


def _magnitudes(state: BookState, shape: Shape) -> tuple[float, float, float, float]:
    """What is compared with the record: about 1 is usual, larger is worse."""
    spread, depth = state.usual if state.samples else (log(shape.spread), log(shape.depth))
    return (
        exp(min(MOST, log(shape.spread) - spread)),
        exp(min(MOST, depth - log(shape.depth))),
        abs(shape.imbalance),
        abs(shape.micro_gap),
    )


def _usual(state: BookState, shape: Shape) -> None:
    """Usual spread and depth after one more book; one moves them by a factor of ten at most."""
    new = (log(shape.spread), log(shape.depth))
    if not state.samples:
        state.usual = new
    kept = (
        0.5 ** (1.0 / SAMPLES) if state.samples > SAMPLES else state.samples / (state.samples + 1)
    )
    most = log(10.0) if state.samples > LEARNT else inf
    spread, depth = (
        old + (1.0 - kept) * min(most, max(-most, value - old))
        for old, value in zip(state.usual, new, strict=True)
    )
    state.usual = (spread, depth)
    state.samples += 1
