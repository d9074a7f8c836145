"""`price_jump`: the valid price moves further than it does, on the tick; what became of it follows.

The valid price is the settled mid where there are quotes, else the micro-mid of trades (see
`kernels/prices.py`). Where it is measured is `price_steps.py`; what it says is `price_words.py`.

Theory of operation. Time is cut into steps of a second; a second without events is no step. The
innovation of a step is the move of the log price from the end of the step before, in units of a
scale that knows nothing of this step, and its statistic is the largest |z| within the step. So
the bounds of one step are known when it begins: an event inside them costs a few comparisons and
is only folded in, one outside is judged at once. The statistic enters the tail record and the
scale when the step is over, both clipped.

After a jump the price is followed: if at least 80 % of the move is undone within 10 s or 5 events,
it was a bad print, and the baseline is put back to what it was; if not, it is a new level.
"""

from math import log10
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from tapewatch.detect.base import LINE, TOLD
from tapewatch.detect.price_scale import PROBABILITIES, tick_of
from tapewatch.detect.price_steps import (
    Jump,
    PriceState,
    broken,
    coordinate,
    fold,
    half_width,
    place,
    put_back,
    remember,
    settle,
    significance,
    turn,
)
from tapewatch.detect.price_words import broken_observation, followed_observation, jump_observation
from tapewatch.model.events import Event, Quote, Sample, Trade
from tapewatch.model.outputs import Observation
from tapewatch.model.time import NS_PER_S

UNDONE: Final = 0.8  # of the move: the spike is over (a choice; the rest is the bounce)
FOLLOW_NS: Final = 10 * NS_PER_S
FOLLOW_EVENTS: Final = 5
TOLD_P: Final = 10.0**-TOLD
WORSE: Final = 1.5  # times the largest |z| told in this step
MOST_EVENTS: Final = 1_000_000  # of a jump: counting stops here, long after it matters

_MINE: Final = (Trade, Quote, Sample)


class PriceJump(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """|log move of the valid price within one second| / scale, with a calibrated tail.

    Of probabilities (venues in `probabilities`) it is the move of the log-odds. The scale is the
    weighted sum of three variances (half-lives 20, 300, 3,600 s, see `kernels/scale.py`) and of
    the floor: half a tick or the usual half-spread (half-life 1 h), whichever is more. A move of
    quotes counts without what the widening of the spread alone explains, so that one side pulled
    out of the book is no jump.

    p is the share of seconds (with events) whose largest |z| is as large, by the market's own
    record of 2,000 and more. With less there is no record to speak of rare things: then p is that
    of Student's t with 4 degrees of freedom, extrapolated and of low confidence. From the sixth
    price on, one below 20 % or above 5 times the median of the last five (of probabilities: odds
    25 times as long or as short) breaks a rule (`bad_print`, no p), and is no price until the
    median has followed.

    Material: at least `min_bps` and `min_spreads` usual half-spreads, of probabilities at least
    `min_points`. Bars are not looked at: `bar_jump` is for them.

    Units: score -log10 p; observed, expected, band and flip in price; sigma in scales; deviation
    in bps, of probabilities in points (0.01).
    Reference: scale and record as in their kernels; innovations instead of levels because a level
    has no power against jumps (Lee, Mykland 2008, "Jumps in financial markets"); tails of returns,
    Cont 2001.
    False alarms: a sweep of a thin book that is refilled at once (typed `bad_print` within
    seconds); a market that wakes up after hours; scheduled news, which is a jump.
    """

    name: ClassVar[str] = "price_jump"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = _MINE
    state_type: ClassVar[type] = PriceState

    min_bps: Annotated[float, Meta(ge=0.0)] = 30.0
    min_spreads: Annotated[float, Meta(ge=0.0)] = 25.0
    min_points: Annotated[float, Meta(ge=0.0)] = 5.0
    probabilities: tuple[str, ...] = PROBABILITIES

    def key(self, event: Event, /) -> str | None:
        return event.instrument if isinstance(event, _MINE) else None

    def start(self, key: str, /) -> PriceState:
        return PriceState(key, probable=key.partition(":")[0] in self.probabilities)

    def update(self, state: PriceState, event: Event, /) -> Observation | None:
        if type(event) is Trade:
            price = event.price
            if not state.low < price < state.high or event.ts_recv >= state.until:
                return self._on_trade(state, event)
            if event.backfilled:
                return None
            # `micro` by hand: this is all that happens on most trades.
            side = event.aggressor
            if side == "buy":
                state.ask = price
                if state.bid > price:  # noqa: PLR1730 (twice as fast)
                    state.bid = price
            elif side == "sell":
                state.bid = price
                if state.ask < price:  # noqa: PLR1730
                    state.ask = price
            else:
                state.bid = state.ask = price
            return None
        if isinstance(event, Quote):
            return self._on_quote(state, event)
        if isinstance(event, Sample):
            return self._on_sample(state, event)
        return None

    def _on_trade(self, state: PriceState, trade: Trade) -> Observation | None:
        if trade.backfilled:
            return None
        now, price = trade.ts_recv, trade.price
        settled = self._on_settled(state, now)
        middle = broken(state, price)
        remember(state, price)
        if middle:
            return broken_observation(state, now, price, middle, self.name)
        bid, ask = fold(state, price, trade.aggressor)
        if state.jump is not None:
            followed = self._follow(state, state.jump, now, price)
            if followed is not None:
                return followed
        return self._judge(state, now, bid, ask, price) or settled

    def _on_quote(self, state: PriceState, quote: Quote) -> Observation | None:
        now, bid, ask = quote.ts_recv, quote.bid, quote.ask
        old_bid, old_ask = state.newest_bid, state.newest_ask
        if (
            state.low < bid <= ask < state.high
            and state.low < old_bid <= old_ask < state.high
            and now < state.until
        ):
            seen = None  # as with trades: neither can be news
            settle(state, now)
        else:
            seen = self._on_settled(state, now)
        if bid != old_bid or ask != old_ask or not state.newest_ns:
            state.newest_bid, state.newest_ask, state.newest_ns = bid, ask, now
        return seen

    def _on_sample(self, state: PriceState, sample: Sample) -> Observation | None:
        """A sample brings the tick, and wakes quotes that have settled in silence."""
        if not state.until:
            return None  # bars only
        state.tick = tick_of(sample, probable=state.probable)
        return self._on_settled(state, sample.ts_recv) if state.newest_ns else None

    def _on_settled(self, state: PriceState, now: int) -> Observation | None:
        """Bring the steps up to `now`, and judge the newest quote when it has stood long enough:
        within the step in which it came of age."""
        if now < state.until:
            return self._judge_quote(state, now) if settle(state, now) else None
        seen = self._judge_quote(state, now) if settle(state, state.until) else None
        turn(state, now)
        return self._judge_quote(state, now) if settle(state, now) else seen

    def _judge_quote(self, state: PriceState, now: int) -> Observation | None:
        bid, ask = state.settled_bid, state.settled_ask
        price = 0.5 * bid + 0.5 * ask
        remember(state, price)
        if state.jump is not None:
            followed = self._follow(state, state.jump, now, price)
            if followed is not None:
                return followed
        slack = max(0.0, half_width(state, bid, ask) - state.scales.spread)
        return self._judge(state, now, bid, ask, price, slack, state.newest_ns)

    def _judge(
        self,
        state: PriceState,
        now: int,
        bid: float,
        ask: float,
        seen: float,
        slack: float = 0.0,
        onset: int = 0,
    ) -> Observation | None:
        if state.scales.sigma == 0.0:
            return None
        x = place(state, bid, ask)
        move = x - state.x
        z = (abs(move) - slack) / state.scales.sigma
        state.peak = max(state.peak, z)
        if z < state.told_at or z <= WORSE * state.told:
            return None
        p, extrapolated = significance(state, z)
        if p > TOLD_P:
            return None
        state.told = z
        score = -log10(max(p, 1e-300))
        material = self._material(state, x, move)
        if score >= LINE and material:
            self._open(state, onset or now, seen, score, p)
        return jump_observation(
            state,
            self.name,
            now,
            onset,
            x,
            z,
            p,
            score,
            material=material,
            extrapolated=extrapolated,
        )

    def _material(self, state: PriceState, x: float, move: float) -> bool:
        after, before = state.price_of(x), state.price_of(state.x)
        if state.probable:
            return abs(after - before) >= 0.01 * self.min_points
        return abs(move) >= max(1e-4 * self.min_bps, self.min_spreads * state.scales.spread)

    def _open(self, state: PriceState, onset: int, seen: float, score: float, p: float) -> None:
        """Follow a jump from here; one that goes on keeps its beginning."""
        x = coordinate(state, seen)
        state.low, state.high = 1.0, 0.0  # from now on every event matters
        jump = state.jump
        if jump is not None and (x - state.x > 0.0) == (jump.peak > jump.start):
            jump.peak = max(jump.peak, x) if x > jump.start else min(jump.peak, x)
            if score > jump.score:
                jump.score, jump.p = score, p
            return
        state.jump = Jump(onset, state.x, x, score, p, replace(state.scales))

    def _follow(self, state: PriceState, jump: Jump, now: int, price: float) -> Observation | None:
        """Has the jump been undone, or has it held?"""
        if now <= jump.since_ns:
            return None  # the rest of the same sweep
        jump.events = min(jump.events + 1, MOST_EVENTS)
        x = coordinate(state, price)
        back = (jump.peak - x) / (jump.peak - jump.start)
        soon = now - jump.since_ns <= FOLLOW_NS or jump.events <= FOLLOW_EVENTS
        if back < UNDONE and soon:
            if back < 0.0:
                jump.peak = x
            return None
        state.jump = None
        undone = soon
        if undone:
            put_back(state, jump, price)
        return followed_observation(state, jump, self.name, now, price, undone=undone)
