"""`sum_arb`: outcomes of which exactly one pays 1 are offered for less than 1 together, or bid for
more.

Which instruments make such a set (YES and NO of a market, the candidates of an election) is said in
`sets`; without any the detector costs nothing. It looks at best quotes that are all fresh, because
a stale leg is what most of these are made of. Events of Polymarket that are watched as a whole and
of which one market pays are added by themselves.

Theory of operation. Prices are counted in whole ticks, asks rounded up and bids rounded down, so
that sums are exact and never better than what the venue shows.
"""

from math import ceil, floor
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct, field

from tapewatch.detect.base import LINE
from tapewatch.detect.peg import Episode, news
from tapewatch.model.errors import ConfigError
from tapewatch.model.events import Event, Quote, Status
from tapewatch.model.inputs import Link
from tapewatch.model.instrument import split_id
from tapewatch.model.outputs import Contribution, Observation
from tapewatch.model.time import NS_PER_S

_ROUNDING: Final = 1e-6  # ticks; 0.3 is not exactly thirty hundredths as a float
_NAMED: Final = 3  # legs that are named in an explanation
_VOID: Final = frozenset(
    {"stale", "halted", "mute"}
)  # statuses after which a quote is worth nothing

Share = Annotated[float, Meta(ge=0.0, lt=1.0)]


class SumArbState(Struct):
    """Memory of one set, leg by leg in its order: ticks (0: that side is missing) and when (ns; 0:
    there is no quote)."""

    key: str
    bids: list[int]
    asks: list[int]
    at_ns: list[int]
    quotes: int = 0
    episode: Episode = field(default_factory=Episode)


class SumArb(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """sum of asks < 1 - `fee`: buying one of each costs less than the 1 that one of them will pay;
    sum of bids > 1 + `fee`: selling one of each brings more. Every leg's quote must be younger than
    `fresh_s`. Told when it begins and when it has doubled, from a gain of `floor` on.

    `fee` is what all legs cost together, `floor` the least gain that is told, both per 1 paid out.
    `open_sets` are those of which none may pay, because an outcome may be missing from the list:
    what they are offered for proves nothing, so only bids are judged. An instrument may be in one
    set only. A leg whose data are not current, or whose market is halted, has no quote until the
    next.

    Units: observed, expected and flip are sums of prices, the deviation is the gain in ticks; score
    in proportion to the gain. No p: arithmetic is not a matter of chance.
    Reference: de Finetti 1937, "La prevision" (prices of exclusive outcomes that do not sum to one
    let somebody win for sure).
    False alarms: a set that is not complete or not exclusive; legs whose quotes are withdrawn more
    slowly than others are renewed; gains on sizes too small to trade.
    """

    name: ClassVar[str] = "sum_arb"
    version: ClassVar[int] = 2
    wants: ClassVar[tuple[type[Event], ...]] = (Quote, Status, Link)
    state_type: ClassVar[type] = SumArbState

    sets: tuple[tuple[str, ...], ...] = ()
    open_sets: tuple[tuple[str, ...], ...] = ()
    tick: Annotated[float, Meta(gt=0.0, le=0.1)] = 1e-4
    fee: Share = 0.0
    floor: Share = 0.005
    fresh_s: Annotated[float, Meta(gt=0.0)] = 2.0

    def __post_init__(self) -> None:
        ids = [instrument for group in self._groups() for instrument in group]
        for instrument in ids:
            split_id(instrument)
        twice = next((one for one in ids if ids.count(one) > 1), None)
        if twice is not None:
            raise ConfigError(f"sets has {twice} twice; an instrument may be in one set only")
        if any(len(group) < 2 for group in self._groups()):
            raise ConfigError("sets has one of a single instrument; at least two make a sum")

    def _groups(self) -> tuple[tuple[str, ...], ...]:
        return (*self.sets, *self.open_sets)

    def key(self, event: Event, /) -> str | None:
        if not (self.sets or self.open_sets) or not isinstance(event, Quote | Status):
            return None
        group = self._group(event.instrument)
        return "|".join(group) if group else None

    def start(self, key: str, /) -> SumArbState:
        legs = key.count("|") + 1
        return SumArbState(key, [0] * legs, [0] * legs, [0] * legs)

    def update(self, state: SumArbState, event: Event, /) -> Observation | None:
        if isinstance(event, Quote):
            return self._on_quote(state, event)
        if isinstance(event, Status) and event.kind in _VOID:
            _void(state, event.source, event.instrument)
        elif isinstance(event, Link) and event.state == "down" and event.stream == "ws":
            _void(state, event.source, "")
        return None

    def _group(self, instrument: str) -> tuple[str, ...]:
        return next((group for group in self._groups() if instrument in group), ())

    def _on_quote(self, state: SumArbState, event: Quote) -> Observation | None:
        group = self._group(event.instrument)
        leg = group.index(event.instrument)
        if event.ts_recv < state.at_ns[leg]:
            return None
        state.bids[leg] = _ticks(event.bid, self.tick, up=False)
        state.asks[leg] = _ticks(event.ask, self.tick, up=True)
        state.at_ns[leg] = event.ts_recv
        state.quotes += 1
        if event.ts_recv - min(state.at_ns) >= self.fresh_s * NS_PER_S:
            return None
        whole, fee = round(1.0 / self.tick), _ticks(self.fee, self.tick, up=True)
        complete = group in self.sets
        if complete and all(state.asks) and sum(state.asks) < whole - fee:
            return self._say(state, event, group, state.asks, whole - fee)
        bids = all(state.bids) if complete else True  # of an open set nobody must sell all of it
        if bids and sum(state.bids) > whole + fee:
            return self._say(state, event, group, state.bids, whole + fee)
        return None

    def _say(
        self, state: SumArbState, quote: Quote, group: tuple[str, ...], legs: list[int], bound: int
    ) -> Observation | None:
        total = sum(legs)
        gain = abs(total - bound)
        least = max(1, _ticks(self.floor, self.tick, up=True))
        material = gain >= least
        if material and not news(state.episode, float(gain), quote.ts_recv):
            return None
        buys = total < bound
        what = (
            f"asks sum to {total * self.tick:.6g}"
            if buys
            else f"bids sum to {total * self.tick:.6g}"
        )
        edge = bound - least if buys else bound + least
        return Observation(
            detector=self.name,
            instrument=quote.instrument,
            cause="sum_arb",
            kind="buy" if buys else "sell",
            ts_event=quote.ts_event,
            onset_ns=state.episode.onset_ns or quote.ts_event,
            score=LINE * max(1.0, gain / least),
            line=LINE,
            material=material,
            observed=total * self.tick,
            expected=1.0,
            expected_low=1.0 - self.fee,
            expected_high=1.0 + self.fee,
            flip=edge * self.tick,
            deviation=float(total - bound),
            unit="price",
            deviation_unit="ticks",
            baseline_count=state.quotes,
            baseline_age_s=(quote.ts_recv - min(state.at_ns)) / NS_PER_S,
            contributions=tuple(
                Contribution(name, 0.0, ticks * self.tick)
                for name, ticks in list(zip(group, legs, strict=True))[:_NAMED]
            ),
            reason=f"{what}: {len(group)} outcomes of which one pays 1, {gain} ticks beyond fees",
        )


def _void(state: SumArbState, source: str, instrument: str) -> None:
    """No quote counts any more: of one leg, or of all of a source."""
    for leg, name in enumerate(state.key.split("|")):
        if name == instrument or (not instrument and name.startswith(f"{source}:")):
            state.bids[leg] = state.asks[leg] = state.at_ns[leg] = 0


def _ticks(price: float, tick: float, *, up: bool) -> int:
    """Whole ticks, never to our advantage; at most 1 in all, which is what an outcome can pay."""
    exact = min(price, 1.0) / tick
    return ceil(exact - _ROUNDING) if up else floor(exact + _ROUNDING)
