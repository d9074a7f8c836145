"""`pump`: a burst of orders that carries the price away, up or down.

It is not a forecast and knows nothing of groups or announcements: it sees many takers at once, all
of them paying for the move. Neither many orders nor a move is enough; both must be there.

Theory of operation. Samples (5 s) keep the mids of the last minute, the orders of the last two
samples and what is usual here. A trade is passed over as long as its price lies in a band where no
move worth mentioning can come of it; the band is renewed with every sample. From the first trade
beyond it on, orders are counted and each trade is measured until the sample is over, so a burst is
seen with the order that makes it one. (Orders passed over are known when their sample comes.)
"""

from math import exp, expm1, inf, log, log10, sqrt
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct, field

from tapewatch.detect.base import LINE
from tapewatch.kernels.prices import micro
from tapewatch.kernels.tails import PRIOR_INDEX, READY, Tail, learn, p_value, ready
from tapewatch.model import limits
from tapewatch.model.events import Event, Sample, Trade
from tapewatch.model.outputs import Contribution, Observation
from tapewatch.model.time import NS_PER_MS, NS_PER_S

SLICE_S: Final = limits.SAMPLE_S
SLICE_NS: Final = int(SLICE_S * NS_PER_S)
MOVE_SLICES: Final = 12  # the move is that of 60 s
_MIDS: Final = 16  # kept, so that the one of 60 s ago is among them
_MOVE_LEAST: Final = 0.01  # a smaller move is none, however many orders there are
_UP: Final = exp(_MOVE_LEAST)
_DOWN: Final = exp(-_MOVE_LEAST)
_ORDERS_LEAST: Final = 4.0  # fewer are no crowd, however far the price goes
_USUAL_S: Final = 3600.0  # half-life of what is usual here
_SHARE_S: Final = 86_400.0  # half-life of the share of time with trades
RAREST: Final = 1e-12  # once in 160,000 years of slices: no record can speak of rarer ones
_QUIET_NS: Final = 300 * NS_PER_S  # an episode ends when it was over for so long
_USUAL_KEPT: Final = 0.5 ** (SLICE_S / _USUAL_S)
_SHARE_KEPT: Final = 0.5 ** (SLICE_S / _SHARE_S)

Positive = Annotated[float, Meta(gt=0.0)]


class PumpState(Struct, array_like=True):
    """Memory of one instrument. A slice is one sample's time; its number is that of its end.

    `order` names the newest order: its ms, negative unless it buys. Trades at prices between `low`
    and `high` are passed over.
    """

    order: int = 0
    count: int = 0  # orders of the current slice, since trades are no longer passed over
    low: float = 0.0
    high: float = inf
    newest: int = 0  # the newest slice that is over, 0: none yet
    first: int = 0
    one: int = 0  # orders of the newest slice, and of the one before it
    two: int = 0
    bid: float = 0.0
    ask: float = 0.0
    mids: bytearray = field(default_factory=lambda: bytearray(8 * _MIDS))  # by slice % _MIDS
    orders: float = 0.0  # usual orders in ten seconds, and their usual square
    square: float = 0.0
    move: float = 0.0  # usual absolute move of 60 s
    known: float = 0.0  # weight behind the two
    active: float = 0.0  # share of slices with trades, and its weight
    active_known: float = 0.0
    strongest: float = 0.0  # strength measured in the current slice
    tail: Tail = field(default_factory=Tail)  # of the strength of slices with trades
    told: float = 0.0  # strength last told in this episode, 0: there is none
    told_ns: int = 0  # when it was last strong
    onset_ns: int = 0


class Burst(Struct, frozen=True, gc=False):
    """One measurement: log move of 60 s, orders in ten seconds, what they are measured by."""

    strength: float
    move: float
    orders: float
    move_floor: float
    orders_floor: float


class Pump(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """S = sqrt(|move| / move floor * orders / orders floor): material from `strength` on.

    The move is that of the micro-mid in 60 s, the orders are those of the last ten seconds, the
    oldest part-slice in proportion; an order is what one taker did in one millisecond on one side.
    Up is a `pump`, down a `dump`, by the same rule. The floors are `move_pct` and `orders`, or
    `moves` times the mean absolute move and `crowd` times the mean orders of the last hours, where
    those are more: in a liquid market twenty orders are nothing, in a wild one 3 % is nothing.
    Orders never need to be more than `crowd` standard deviations above their mean: steady dust
    raises the mean, and must not hide what comes on top of it.

    p is the share of all five-second slices, those without trades included, that were as strong;
    score = -log10 p. It is told when S passes `strength`, again when it has grown by `step`, and
    at the end of each slice while it lasts.

    Units: observed, expected, band and flip: move in %; S in floors (geometric mean of the two
    ratios); sigma in usual moves of 60 s.
    Reference: takers' orders in the same millisecond, volume and price as the marks of a pump: La
    Morgia, Mei, Sassi and Stefa 2020, "Pump and Dumps in the Bitcoin Era"; here orders and move
    are multiplied, because either alone fires in every market many times a day.
    False alarms: news, a listing, a liquidation cascade: a burst of orders that carries the price
    is what it says, whoever is behind it. It is blind to a pump by few large orders (`price_jump`
    is for that), and in the first hours of a market.
    """

    name: ClassVar[str] = "pump"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Trade, Sample)
    state_type: ClassVar[type] = PumpState

    strength: Positive = 2.0
    step: Positive = 0.5
    move_pct: Positive = 3.0
    orders: Positive = 20.0
    moves: Positive = 8.0
    crowd: Positive = 8.0

    def key(self, event: Event, /) -> str | None:
        return event.instrument if isinstance(event, Trade | Sample) else None

    def start(self, key: str, /) -> PumpState:  # noqa: ARG002  (its memory has no name)
        return PumpState()

    def update(self, state: PumpState, event: Event, /) -> Observation | None:
        if type(event) is Trade:
            if state.low < event.price < state.high or event.backfilled:
                return None
            return self._on_trade(state, event)
        assert isinstance(event, Sample)
        return self._on_sample(state, event) if event.interval_ns == SLICE_NS else None

    def _on_trade(self, state: PumpState, trade: Trade) -> Observation | None:
        """A price from which a move can come: measure with each trade until the slice is over."""
        state.low = inf  # no price is passed over any more
        order = trade.ts_event // NS_PER_MS
        if trade.aggressor != "buy":
            order = -order
        if order != state.order:
            state.order = order
            state.count += 1
        state.bid, state.ask = micro(state.bid, state.ask, trade.price, trade.aggressor)
        current, into = divmod(trade.ts_recv, SLICE_NS)
        since = current - state.newest  # slices that are over, of which there was no sample
        if since < 0:
            return None
        last, oldest = ((state.one, state.two), (0, state.one), (0, 0))[min(since, 2)]
        orders = state.count + last + oldest * (1.0 - into / SLICE_NS)
        if orders < _ORDERS_LEAST:
            return None
        before = _mid_at(state, current - MOVE_SLICES)
        mid = sqrt(state.bid) * sqrt(state.ask)
        burst = self._measure(state, log(mid) - log(before), orders)
        state.strongest = max(state.strongest, burst.strength)
        if burst.strength < self.strength:
            return None
        fresh = _fresh(state, trade.ts_recv)
        if not fresh and burst.strength < state.told + self.step:
            return None
        if fresh:
            state.onset_ns = trade.ts_event
        state.told = burst.strength
        return self._observation(state, trade, burst)

    def _on_sample(self, state: PumpState, sample: Sample) -> Observation | None:
        slice_ = sample.ts_event // SLICE_NS
        passed = slice_ - state.newest
        if passed <= 0 or sample.orders < 0:
            return None
        _advance(state, slice_, passed, sample)
        orders = float(state.one + state.two)
        before = _mid_at(state, slice_ - MOVE_SLICES)
        burst = self._measure(state, log(sample.price) - log(before), orders)
        strength = burst.strength if orders >= _ORDERS_LEAST else 0.0
        seen = None
        if strength >= self.strength:
            if _fresh(state, sample.ts_recv):
                state.onset_ns = sample.ts_event
            state.told = max(state.told, strength)
            seen = self._observation(state, sample, burst)
        _learn(state, burst, max(strength, state.strongest), passed, sample.orders)
        state.strongest = 0.0
        _set_band(state)
        return seen

    def _measure(self, state: PumpState, move: float, orders: float) -> Burst:
        known = state.known or 1.0
        move_floor = max(0.01 * self.move_pct, self.moves * state.move / known)
        usual = state.orders / known
        scatter = sqrt(max(state.square / known - usual * usual, 0.0))
        crowd = min(self.crowd * usual, usual + self.crowd * scatter)
        orders_floor = max(self.orders, crowd)
        size = abs(move)
        strength = sqrt(size / move_floor * orders / orders_floor) if size >= _MOVE_LEAST else 0.0
        return Burst(strength, move, orders, move_floor, orders_floor)

    def _chance(self, state: PumpState, strength: float) -> tuple[float, bool]:
        """p per slice of time, and whether it is extrapolated.

        A young record only says "never yet"; beyond its line strength is then taken to be as rare
        as a tail of the usual index has it, so that a burst that grows is seen to grow.
        """
        p, extrapolated = p_value(state.tail, strength)
        share = state.active / state.active_known if state.active_known else 1.0
        if extrapolated and not ready(state.tail) and strength > self.strength:
            p *= (self.strength / strength) ** (1.0 / PRIOR_INDEX)
        return max(p * share, RAREST), extrapolated

    def _observation(self, state: PumpState, event: Trade | Sample, burst: Burst) -> Observation:
        p, extrapolated = self._chance(state, burst.strength)
        slices = state.newest - state.first
        up, known = burst.move > 0.0, state.known or 1.0
        # The move at which S would have been `strength`, with as many orders.
        enough = self.strength**2 * burst.move_floor * burst.orders_floor / burst.orders
        enough = max(enough, _MOVE_LEAST)
        percent = _pct(burst.move)
        return Observation(
            detector=self.name,
            instrument=event.instrument,
            cause="pump",
            ts_event=event.ts_event,
            score=-log10(p),
            line=LINE,
            ready=slices >= READY,
            severity="page" if burst.strength >= 2.0 * self.strength else "high",
            onset_ns=state.onset_ns,
            p=p,
            p_extrapolated=extrapolated,
            observed=percent,
            expected=0.0,
            expected_low=_pct(-enough),
            expected_high=_pct(enough),
            unit="%",
            flip=_pct(enough if up else -enough),
            contributions=self._parts(state, burst),
            baseline_count=state.tail.seen,
            baseline_age_s=max(0.0, (event.ts_recv - state.newest * SLICE_NS) / NS_PER_S),
            baseline_window_s=slices * SLICE_S,
            reason=(
                f"{burst.orders:.0f} orders in 10 s (usual {state.orders / known:.2g}) and the"
                f" price {'up' if up else 'down'} {abs(percent):.3g} % in 60 s"
            ),
            kind="pump" if up else "dump",
            material=burst.strength >= self.strength,
            sigma=burst.move / max(state.move / known, 1e-4),
            deviation=burst.strength,
            deviation_unit="floors",
        )

    def _parts(self, state: PumpState, burst: Burst) -> tuple[Contribution, ...]:
        """What the strength is made of, each in floors."""
        known, floors = state.known or 1.0, "floors"
        move = abs(burst.move) / burst.move_floor
        crowd = burst.orders / burst.orders_floor
        usual = _pct(state.move / known)
        return (
            Contribution("strength", burst.strength, burst.strength, self.strength, floors),
            Contribution("move of 60 s in %", move, _pct(burst.move), usual, floors),
            Contribution("orders in 10 s", crowd, burst.orders, state.orders / known, floors),
        )


def _pct(move: float) -> float:
    """A log move in per cent; cut where no market has been."""
    return 100.0 * expm1(min(move, 100.0))


def _fresh(state: PumpState, now: int) -> bool:
    """Whether a strong moment begins a new episode; notes that there was one."""
    fresh = state.told == 0.0 or now - state.told_ns > _QUIET_NS
    if fresh:
        state.told = 0.0
    state.told_ns = now
    return fresh


def _mid_at(state: PumpState, slice_: int) -> float:
    """The mid at the end of a slice; the oldest or newest kept where it is not among them."""
    slice_ = min(max(slice_, state.newest - _MIDS + 1), state.newest)
    mid: float = memoryview(state.mids).cast("d")[slice_ % _MIDS]
    return mid


def _advance(state: PumpState, slice_: int, passed: int, sample: Sample) -> None:
    """Make `slice_` the newest one. In slices without a sample the price stood still."""
    mids = memoryview(state.mids).cast("d")
    if state.newest:
        before = mids[state.newest % _MIDS]
        for between in range(max(state.newest + 1, slice_ - _MIDS), slice_):
            mids[between % _MIDS] = before
    else:
        state.first = slice_
        for place in range(_MIDS):  # before the first there was nothing else
            mids[place] = sample.price
    mids[slice_ % _MIDS] = sample.price
    state.two = state.one if passed == 1 else 0
    state.one, state.count, state.newest = sample.orders, 0, slice_
    state.bid, state.ask = sample.bid or sample.price, sample.ask or sample.price


def _learn(state: PumpState, burst: Burst, strength: float, passed: int, orders: int) -> None:
    """What is usual: means over time, in which empty slices count as such. What is more than twice
    its floor counts as that, so that a burst does not pass for usual while it lasts."""
    left = _USUAL_KEPT**passed
    new = 1.0 - _USUAL_KEPT
    state.known = left * state.known + 1.0 - left
    # An order belongs to two ten seconds: those that end with its slice and with the next one.
    crowd = min(2.0 * orders, 2.0 * burst.orders_floor)
    state.orders = left * state.orders + new * crowd
    state.square = left * state.square + new * crowd * crowd
    state.move = left * state.move + new * min(abs(burst.move), 2.0 * burst.move_floor)
    left = _SHARE_KEPT**passed
    state.active_known = left * state.active_known + 1.0 - left
    state.active *= left
    if orders > 0:
        state.active += 1.0 - _SHARE_KEPT
        learn(state.tail, strength)


def _set_band(state: PumpState) -> None:
    """Trades within can make no move of `_MOVE_LEAST` from any mid of the last minute."""
    mids = memoryview(state.mids).cast("d").tolist()
    state.low = max(mids) * _DOWN
    state.high = min(mids) * _UP
