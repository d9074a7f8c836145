"""`wash`: accounts that trade among themselves. Evidence of a pattern, never an accusation.

Theory of operation. `wash_matching` matches each trade with the one it answers, `wash_rings` looks
every minute for sets of accounts that answer each other more often than chance, and this module
says so: one observation a ring, again when it grows heavier.
"""

from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct

from tapewatch.detect.base import LINE, TOLD
from tapewatch.detect.wash_matching import learn
from tapewatch.detect.wash_memory import Account, Ring, WashState
from tapewatch.detect.wash_rings import is_trading, rings, trading
from tapewatch.kernels.amounts import first_digits
from tapewatch.model.events import Event, Trade
from tapewatch.model.inputs import Timer
from tapewatch.model.outputs import Contribution, Observation
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S

ARBITRAGE: Final = "same-second round trips"  # the kind that accuses nobody
_BATCH_NS: Final = 60 * NS_PER_S  # rings are looked for so often
_HEAVIER: Final = 1.2  # a ring is told again when its score rose by so much, and by half a decade
_STEP: Final = 0.5
_TURNS: Final = 5  # round trips within one second that are told at all
_WAITING: Final = 64  # rings that wait to be told, one a time
_SHOWN: Final = 3  # accounts in the sentence; all are in `accounts`


class Wash(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pairs, cycles and self-crosses: small closed sets of accounts whose trades answer each other.

    A trade is matched with the latest opposite trade of another account in `window_s` whose amount
    (base or quote units) few others would have chosen: p = the number of trades passed on the way
    x the frequency of an amount as near. The frequencies are the market's own, each account's once.
    A match is worth log10 of an e-value of p, plus log10 of how seldom that partner is met in the
    last 256 trades; trades with outsiders count against it. Where the venue names the maker, the
    match is the trade itself, unless the maker is a pool. Members' evidence is averaged over both
    sides and added, less log10 of the number of sets one could have looked at; half of it is lost
    where what was traded did not come back. Round trips of one account within minutes that gain
    nothing are compared with those of all others; those that gain are arbitrage ("same-second round
    trips", info, always below any ring).

    Units: score = decades: a ring as closed as this has a chance of about 10**-score, whenever one
    looks; told from 2 (info), a warning from 3.5. `p` is None: it is a bound under a model of
    amounts, not a calibrated tail, so it must not compete for the alarm budget. observed = trades
    among the members, expected = by chance; volumes in quote units.
    Key: the market, that is the instrument without its outcome, since a self-cross can hide in
    complementary outcomes.
    Reference: Sirolly et al. (2025), "Network-Based Detection of Wash Trading" (closed clusters);
    Victor and Weintraud (2021), "Detecting and Quantifying Wash Trading on Decentralized
    Cryptocurrency Exchanges" (position-neutral sets); Vovk and Wang (2021), "E-values".
    False alarms: wallets of one person who moves a position between them; somebody who copies
    another's exits; two accounts that alone are active in a market. The e-value takes amounts to be
    exchangeable among accounts; people who agree on an amount (a giveaway) are not.
    """

    name: ClassVar[str] = "wash"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Trade, Timer)
    state_type: ClassVar[type] = WashState

    window_s: Annotated[float, Meta(gt=0.0, le=86_400.0)] = 1_800.0
    min_hits: Annotated[int, Meta(ge=1)] = 2
    min_share: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.001  # of the market's volume

    def key(self, event: Event, /) -> str | None:
        if not isinstance(event, Trade) or not event.taker:
            return None
        market, _, outcome = event.instrument.rpartition("/")
        return market or outcome

    def start(self, key: str, /) -> WashState:
        return WashState(key)

    def update(self, state: WashState, event: Event, /) -> Observation | None:
        if isinstance(event, Trade):
            learn(state, event, int(self.window_s * NS_PER_S))
            now = event.ts_event
        elif isinstance(event, Timer):
            now = event.ts_recv
        else:
            return None
        if state.stirred and abs(now - state.judged_ns) >= _BATCH_NS:
            self._judge(state)
            state.judged_ns = now
            state.stirred.clear()
        return self._observation(state, state.waiting.pop(0)) if state.waiting else None

    def _judge(self, state: WashState) -> None:
        """Put what is news into the queue: rings, then arbitrage."""
        found = [ring for ring in rings(state) if ring.score >= TOLD]
        taken = {member for ring in found for member in ring.members}
        found += [
            trading(serial, state.accounts[serial])
            for serial in state.stirred
            if serial not in taken
            and state.accounts[serial].instant >= _TURNS
            and is_trading(state.accounts[serial])
        ]
        for ring in found:
            told = min(state.accounts[member].told for member in ring.members)
            if told and ring.score <= max(told * _HEAVIER, told + _STEP):
                continue
            if len(state.waiting) < _WAITING:
                for member in ring.members:
                    state.accounts[member].told = ring.score
                state.waiting.append(ring)

    def _observation(self, state: WashState, ring: Ring) -> Observation:
        accounts = [state.accounts[member] for member in ring.members]
        share = min(1.0, ring.volume / state.volume) if state.volume > 0.0 else 0.0
        return Observation(
            detector=self.name,
            instrument=state.key,
            cause="wash",
            kind=_kind(ring),
            ts_event=ring.last_ns,
            onset_ns=ring.first_ns,
            score=ring.score,
            line=TOLD,
            severity="info" if ring.trading or ring.score < LINE else "warn",
            observed=ring.hits,
            expected=ring.expected,
            unit="trades",
            flip=None if ring.trading else ring.hits * min(1.0, TOLD / ring.score),
            contributions=self._parts(state, ring, share),
            baseline_count=state.trades,
            baseline_age_s=0.0,
            baseline_window_s=max(0, state.now - state.since_ns) / NS_PER_S,
            material=ring.hits >= self.min_hits and share >= self.min_share,
            deviation=ring.volume,
            deviation_unit="quote units",
            accounts=tuple([account.name for account in accounts]),
            reason=_reason(ring, accounts, share),
        )

    def _parts(self, state: WashState, ring: Ring, share: float) -> tuple[Contribution, ...]:
        inside = (1 if len(ring.members) == 1 else 2) * ring.hits / max(ring.trials, 1)
        parts = [
            Contribution("among themselves", inside, ring.hits, ring.expected, "share"),
            Contribution("of the market's volume", share, ring.volume, state.volume, "share"),
            Contribution("came back", 1.0 - ring.net, unit="share"),
        ]
        digits = first_digits(state.sizes)
        if digits is not None and digits >= LINE:  # of the market: it accuses nobody
            parts[2] = Contribution("first digits of the market", digits, unit="decades")
        return tuple(parts)


def _kind(ring: Ring) -> str:
    if ring.trading:
        return ARBITRAGE
    size = len(ring.members)
    return {1: "self-cross", 2: "pair"}.get(size, f"ring of {size}")


def _reason(ring: Ring, accounts: list[Account], share: float) -> str:
    names = ", ".join([clean(account.name, 12) for account in accounts[:_SHOWN]])
    names += f" and {len(accounts) - _SHOWN} more" if len(accounts) > _SHOWN else ""
    if ring.trading:
        return (
            f"{names} bought and sold back within minutes {ring.hits:,} times and mostly gained:"
            " arbitrage rather than wash trading"
        )
    if len(accounts) == 1:
        return (
            f"{names} bought and sold back within minutes {ring.hits:,} times without a gain,"
            f" {ring.expected:.1f} expected by chance: a wash-like pattern"
        )
    return (
        f"{names} answered each other's trades {ring.hits:,} times ({ring.expected:.1g} expected by"
        f" chance, {share:.1%} of the volume): a wash-like pattern"
    )
