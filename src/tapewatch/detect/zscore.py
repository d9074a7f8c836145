"""`zscore`: bot 4.15's rolling z-scores of price and volume, as its specification has them.

It is not a calibrated detector: it says how far a value is from the mean of the last hour, in
standard deviations, and nothing about how often that happens by chance. Where the specification
contradicts itself, `ZScore` names the choice.

Theory of operation. Quotes and trades only set the current price and add to the volume of their
second. A timer that reaches the next cycle of the grid (multiples of `cycle_s` since the epoch)
samples both, scores them against the samples before, and then lets them join the baseline. A cycle
without a current price, or of a market that does not trade, is left out; where trades may be
missing in the volume window, only the price is judged. The baseline of a market that is over is
dropped.
"""

from math import copysign, inf, nextafter
from typing import Annotated, ClassVar, Final, Literal

from msgspec import Meta, Struct

from tapewatch.detect.zscore_state import (
    Checkpoint,
    ZScoreState,
    checkpoint,
    packed,
    unpacked,
)
from tapewatch.kernels.moments import SAMPLE_MAX, Z_MAX, z_score
from tapewatch.kernels.windows import Window, count, expire, push, spread
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError
from tapewatch.model.events import Event, Quote, Status, Trade
from tapewatch.model.inputs import Link, Timer
from tapewatch.model.outputs import Contribution, Observation
from tapewatch.model.reasons import Reason
from tapewatch.model.time import NS_PER_MS, NS_PER_S

# The locked minimums of the bot's default configuration.
LOCKED: Final[dict[str, float]] = {"z_score_threshold": 1.0, "baseline_window_s": 300}
# Below these its parameter table says WARN.
NOISY: Final[dict[str, tuple[float, str]]] = {
    "z_score_threshold": (2.0, "ordinary noise reaches it"),
    "baseline_window_s": (3600.0, "the baseline may be noisy"),
}

_MARKET: Final = (Trade, Quote)
_OVER: Final = 1.0  # the value of a `halted` status that is for good

Positive = Annotated[float, Meta(gt=0.0)]


class Scored(Struct, frozen=True, gc=False):
    """One quantity of one cycle: `z` of `observed` against `mean` and `std`."""

    name: Literal["price", "volume"]
    z: float
    observed: float
    mean: float
    std: float


class ZScore(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """z = (x - mean) / std over the last `baseline_window_s`, of the mid price and of the notional
    volume of the last `volume_window_s`, once every `cycle_s`.

    Units: score = the larger |z| in standard deviations; contributions carry the signed z, with
    price in quote units and volume in quote units per window. `p` is always None: returns have
    heavier tails than a Gaussian (Cont 2001, "Empirical properties of asset returns"), so a
    Gaussian p would be dishonest. `baseline_age_s` = seconds since the baseline's newest sample.

    Choices where the specification is silent or contradicts itself:
    `inclusive`: its table says >= 3.0 (our default), its pseudocode > 3.0. `include_self`: a sample
    is scored before it joins its baseline, else "5 sigma" could not come out as 5.0. `ddof`: 0, the
    population's standard deviation. `std_floor`: half a tick (`tick`, or learnt as the smallest
    price step seen), for a flat market has std = 0. With no floor either, a value on the mean has
    z = 0 and another has none: insufficient baseline. `min_samples`: the baseline is populated when
    it has that many samples, because the bot's reason code speaks of data points; the window is how
    long they are kept, not how long to wait. The window warns below 3600 s (its table), not 7200.

    Reference: Polytraders bot 4.15 AnomalyDetector, specification 2.0.0, "parameters" and
    "reference_implementation".
    False alarms: heavy tails, trends and volatility clusters fire often; the bid-ask bounce of a
    thin book; any first trade after a quiet hour (volume). One outlier widens the spread for a
    whole window and so hides the next (masking), and a drift slower than the window is never seen.
    Volume windows of successive cycles overlap.
    """

    name: ClassVar[str] = "zscore"
    version: ClassVar[int] = 2
    wants: ClassVar[tuple[type[Event], ...]] = (Trade, Quote, Timer, Link, Status)
    state_type: ClassVar[type] = ZScoreState

    z_score_threshold: Annotated[float, Meta(le=Z_MAX)] = 3.0
    low_confidence_z: Positive = 2.0
    page_z: Positive = 5.0
    baseline_window_s: float = 3600.0
    volume_window_s: Annotated[int, Meta(ge=1)] = 300
    min_samples: Annotated[int, Meta(ge=2)] = 30
    cycle_s: Annotated[float, Meta(ge=limits.TIMER_S)] = 1.0
    inclusive: bool = True
    include_self: bool = False
    ddof: Literal[0, 1] = 0
    std_floor: Literal["half_tick", "none"] = "half_tick"
    tick: Annotated[float, Meta(ge=0.0)] = 0.0  # 0: learnt
    approvals: tuple[str, ...] = ()  # written by us, from the record of approvals

    def __post_init__(self) -> None:
        for name, least in LOCKED.items():
            value: float = getattr(self, name)
            if value >= least or (value > 0.0 and self._approval(name)):
                continue
            raise ConfigError(  # NaN included
                f"{name} = {value:g} is below the locked minimum {least}"
                f" ({Reason.PARAMETER_CHANGE_REQUIRES_APPROVAL})"
            )
        samples = max(self.baseline_window_s / self.cycle_s, self.volume_window_s)
        if samples > limits.WINDOW_SAMPLES:
            raise ConfigError(
                f"a window of {samples:,.0f} samples is too long; at most"
                f" {limits.WINDOW_SAMPLES:,} are kept"
            )

    def _approval(self, name: str) -> str:
        """The id of the approval of just this value, empty if there is none."""
        start = f"{approval_of(name, getattr(self, name))}#"
        found = (entry.removeprefix(start) for entry in self.approvals if entry.startswith(start))
        return next(found, "")

    def warnings(self) -> tuple[str, ...]:
        """What is allowed but unwise in this configuration, one sentence each."""
        found = []
        for name, (least, why) in NOISY.items():
            value: float = getattr(self, name)
            if value < least:
                by = f" (approval {self._approval(name)})" if value < LOCKED[name] else ""
                found.append(f"{name} = {value:g} is below {least:g}{by}: {why}")
        return tuple(found)

    def key(self, event: Event, /) -> str | None:
        if isinstance(event, Status):
            mirror = event.instrument.endswith("/NO")  # its book is no source of ours
            return None if mirror else event.instrument or None
        return event.instrument if isinstance(event, _MARKET) else None

    def start(self, key: str, /) -> ZScoreState:
        return ZScoreState(key, key.partition(":")[0], [0.0] * self.volume_window_s)

    def update(self, state: ZScoreState, event: Event, /) -> Observation | None:
        if isinstance(event, Quote):
            _on_quote(state, event)
        elif isinstance(event, Trade):
            _on_trade(state, event)
        elif isinstance(event, Timer):
            return self._on_timer(state, event.ts_recv)
        elif isinstance(event, Status):
            if event.source == state.source:
                _on_status(state, event)
        elif (
            isinstance(event, Link)
            and event.source == state.source
            and event.state == "down"
            and event.stream == "ws"  # of others the venue says what they mean
        ):
            # No price is current until the source speaks again: cycles are skipped, the baseline
            # keeps what it has and ages.
            state.price, state.quoted = 0.0, False
        return None

    def _on_timer(self, state: ZScoreState, now: int) -> Observation | None:
        """Judge the cycle that has begun, if it is a new one. Cycles missed are not made up for."""
        cycle_ns = int(self.cycle_s * NS_PER_S)
        at = now - now % cycle_ns
        if at <= state.cycle_ns:
            return None
        state.cycle_ns = at
        if state.price == 0.0 or state.stale or state.halted:
            return None
        _advance(state, now // NS_PER_S)
        price = min(state.price, SAMPLE_MAX)
        volume = min(sum(state.seconds), SAMPLE_MAX)
        before = at - int(self.baseline_window_s * NS_PER_S)
        expire(state.prices, before)
        expire(state.volumes, before)
        whole = not state.holed and now // NS_PER_S >= state.whole_s
        if self.include_self:
            _push(state, price, volume if whole else None)
        seen = self._judge(state, price, volume if whole else None)
        if not self.include_self:
            _push(state, price, volume if whole else None)
        return seen

    def checkpoint(self, state: ZScoreState, /) -> Checkpoint | None:
        """The baseline of a state for keeping elsewhere; None before it has samples. Changes
        nothing."""
        return checkpoint(state, self.ddof)

    def packed(self, state: ZScoreState, /) -> bytes:
        """The memory of a state that has a checkpoint, for `restore`. Changes nothing."""
        return packed(state, int(self.cycle_s * NS_PER_S), self.min_samples)

    def restore(self, key: str, data: bytes, now: int, /) -> ZScoreState:
        """The state of `key` at `now` (ns), from what `packed` gave. Raises
        `DecodeError`."""
        return unpacked(key, data, self.volume_window_s, now)

    def _judge(self, state: ZScoreState, price: float, volume: float | None) -> Observation:
        samples = count(state.prices)
        if samples < self.min_samples:
            return self._unready(state, f"the baseline has {samples} of {self.min_samples} samples")
        floor = 0.5 * (self.tick or state.tick) if self.std_floor == "half_tick" else 0.0
        scored = [
            one
            for one in (
                self._score("price", state.prices, price, floor),
                self._score("volume", state.volumes, volume, 0.0),
            )
            if one is not None
        ]
        if not scored:
            return self._unready(state, "the baseline does not vary, and its spread has no floor")
        return self._scored(state, scored)

    def _score(
        self,
        name: Literal["price", "volume"],
        window: Window,
        observed: float | None,
        floor: float,
    ) -> Scored | None:
        if observed is None or count(window) < self.min_samples:
            return None
        anchor, offset, std = spread(window, self.ddof)
        std = max(std, floor)
        # (x - anchor) - offset, not x - mean: the mean itself is rounded to the price's last digit.
        z = z_score((observed - anchor) - offset, std, anchor + offset)
        return None if z is None else Scored(name, z, observed, anchor + offset, std)

    def _unready(self, state: ZScoreState, why: str) -> Observation:
        return Observation(
            detector=self.name,
            instrument=state.key,
            cause="price_spike",
            ts_event=state.cycle_ns,
            score=0.0,
            line=self._line(),
            ready=False,
            baseline_count=count(state.prices),
            baseline_age_s=_age_s(state),
            reason=why,
            report=True,
            cycle_ms=state.cycle_ns // NS_PER_MS,
            interval_s=self.cycle_s,
        )

    def _scored(self, state: ZScoreState, scored: list[Scored]) -> Observation:
        first, last = scored[0], scored[-1]  # one or two of them; price wins a tie
        top = last if abs(last.z) > abs(first.z) else first
        score, line = abs(top.z), self._line()
        width = self.z_score_threshold * top.std
        return Observation(
            detector=self.name,
            instrument=state.key,
            cause="price_spike" if top.name == "price" else "volume_spike",
            ts_event=state.cycle_ns,
            score=score,
            line=line,
            low_confidence=self.low_confidence_z <= score < line,
            severity="page" if score > self.page_z else "warn",
            observed=top.observed,
            expected=top.mean,
            expected_low=top.mean - width,
            expected_high=top.mean + width,
            # With include_self a value moves its own baseline: there is no such point.
            flip=None if self.include_self else top.mean + copysign(width, top.z),
            contributions=tuple(
                [Contribution(one.name, one.z, one.observed, one.mean) for one in scored]
            ),
            baseline_count=count(state.prices),
            baseline_age_s=_age_s(state),
            reason=self._reason(top, count(state.prices)) if score >= self.low_confidence_z else "",
            report=True,
            cycle_ms=state.cycle_ns // NS_PER_MS,
            interval_s=self.cycle_s,
        )

    def _line(self) -> float:
        """The threshold as the gate compares it, with >=."""
        return self.z_score_threshold if self.inclusive else nextafter(self.z_score_threshold, inf)

    def _reason(self, top: Scored, samples: int) -> str:
        what = "price" if top.name == "price" else f"volume of {self.volume_window_s} s"
        return (
            f"{what} {top.observed:.8g} is {abs(top.z):.1f} standard deviations"
            f" {'above' if top.z > 0.0 else 'below'} its mean {top.mean:.8g}"
            f" of {samples:,} samples"
        )


def approval_of(name: str, value: float) -> str:
    """How the approval of one value of a locked setting begins; `#` and its id follow."""
    return f"{name}={float(value)!r}"


def _age_s(state: ZScoreState) -> float:
    """Seconds since the newest sample of the baseline, 0 without one."""
    times = state.prices.times
    return (state.cycle_ns - times[-1]) / NS_PER_S if times else 0.0


def _push(state: ZScoreState, price: float, volume: float | None) -> None:
    push(state.prices, state.cycle_ns, price)
    if volume is not None:
        push(state.volumes, state.cycle_ns, volume)


def _on_quote(state: ZScoreState, quote: Quote) -> None:
    bid, ask = quote.bid, quote.ask
    if bid <= 0.0 or ask <= 0.0:  # a side is missing: there is no mid
        state.price, state.quoted = 0.0, True
    elif bid <= ask:  # a crossed book is the feed's fault, and has no price either: keep the last
        if bid != state.bid:
            if state.bid:
                _learn_tick(state, bid - state.bid)
            state.bid = bid
        _learn_tick(state, ask - bid)
        state.price, state.quoted = 0.5 * bid + 0.5 * ask, True


def _on_trade(state: ZScoreState, trade: Trade) -> None:
    # The venue's time, so that a backlog is not taken for a burst; never later than our receipt.
    second = min(trade.ts_event, trade.ts_recv) // NS_PER_S
    seconds, price = state.seconds, trade.price
    if second > state.second:
        _advance(state, second)
    if second > state.second - len(seconds):  # else it is outside the window already
        seconds[second % len(seconds)] += price * trade.size
    if price != state.price and not state.quoted and not trade.backfilled:
        if state.price:
            _learn_tick(state, price - state.price)
        state.price = price


def _on_status(state: ZScoreState, status: Status) -> None:
    """What the venue says of the data. It is said of one market or of all: each is taken back by
    itself, so each has a bit."""
    scope = 1 if status.instrument else 2
    match status.kind:
        case "stale":
            state.stale |= scope
        case "current":
            state.stale &= ~scope
        case "halted":
            state.halted |= scope
            if status.value == _OVER:
                state.price, state.prices, state.volumes = 0.0, Window(), Window()
        case "online":
            state.halted &= ~scope
        case "incomplete":
            state.holed |= scope
        case "complete":
            state.holed &= ~scope
            state.whole_s = status.ts_recv // NS_PER_S + len(state.seconds)


def _advance(state: ZScoreState, second: int) -> None:
    """Make `second` the newest of the volume window, with nothing in the seconds between."""
    size = len(state.seconds)
    for between in range(max(state.second, second - size) + 1, second + 1):
        state.seconds[between % size] = 0.0
    state.second = max(state.second, second)


def _learn_tick(state: ZScoreState, step: float) -> None:
    size = abs(step)
    if 0.0 < size < state.tick or state.tick == 0.0:
        state.tick = size
