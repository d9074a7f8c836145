"""What `wash` remembers of one market: accounts, pairs of them, the last trades, usual amounts.

Everything is bounded; what is dropped is counted.
"""

from typing import Final

from msgspec import Struct, field

from tapewatch.kernels import amounts
from tapewatch.kernels.amounts import Amounts
from tapewatch.model.events import Trade

RECENT: Final = 256  # trades kept: partners' shares are counted over them
ACCOUNTS: Final = 1_024  # of one market; with pairs and amounts below 1 MB
PAIRS: Final = 2_048
STIRRED: Final = 64  # accounts looked at in one search; the rest when they trade again
NAME_CHARS: Final = 80  # of an account; an address has 42
_ABOVE: Final = 0.05  # share of trades at 1 or more from which prices are no probabilities


class Account(Struct):
    """`trades`: all; among the last `RECENT`: `recent` as taker, `made` as maker.

    `met`: those that answered, were answered, or have a named other party, with `partners` (in
    order of appearance). Quick round trips: `flat` without a gain (`losses` of them at a loss),
    `gains` with one, `instant` within a second, `turned` their amount in quote units, `turn_gain`
    the decades by which the flat ones are rare. `told`: the score it was last named with.
    """

    name: str
    last_ns: int = 0
    trades: int = 0
    recent: int = 0
    made: int = 0
    met: int = 0
    partners: list[int] = field(default_factory=list)
    flat: int = 0
    losses: int = 0
    gains: int = 0
    instant: int = 0
    turned: float = 0.0
    turn_gain: float = 0.0
    first_turn_ns: int = 0
    told: float = 0.0


class Pair(Struct):
    """Two accounts that answered each other. `up` and `down`: decades, as the first and as the
    second sees it. `net`: base units that went to the first, `gross`: both ways; `volume`: the
    same in quote units."""

    hits: int = 0
    up: float = 0.0
    down: float = 0.0
    net: float = 0.0
    gross: float = 0.0
    volume: float = 0.0
    first_ns: int = 0
    last_ns: int = 0


class Recent(Struct):
    """A trade that may yet be answered. `bought`: +1, or -1 for sold, 0 unknown."""

    ts: int
    account: int
    bought: int
    outcome: int
    amount: float
    notional: float
    price: float
    maker: int = -1
    answered: bool = False  # or an answer: a trade is one of a couple at most
    turned: bool = False  # it is part of a round trip already


class Ring(Struct, frozen=True):
    """Accounts that trade among themselves. `score`: decades. `hits` of `trials` trades of the
    members were made among them, `expected` by chance; `volume` of them in quote units; `net`:
    share of it that did not come back. `trading`: quick round trips that gain, no ring."""

    members: tuple[int, ...]
    score: float
    hits: int
    trials: int
    expected: float
    volume: float
    net: float
    first_ns: int
    last_ns: int
    trading: bool = False


class WashState(Struct):
    """Memory of one market. `serials`: account -> its number, in the order of appearance."""

    key: str
    serials: dict[str, int] = field(default_factory=dict)
    accounts: dict[int, Account] = field(default_factory=dict)
    pairs: dict[int, Pair] = field(default_factory=dict)  # first << 32 | second, first < second
    recent: list[Recent] = field(default_factory=list)
    place: int = 0  # of the next trade in `recent`
    fresh: int = 0  # newest of them, whose amounts are not yet among the usual ones
    outcomes: list[str] = field(default_factory=list)
    above: int = 0  # trades at a price of 1 or more
    sizes: Amounts = field(default_factory=Amounts)
    notionals: Amounts = field(default_factory=Amounts)
    next_serial: int = 0
    trades: int = 0
    volume: float = 0.0  # quote units
    turns: list[int] = field(default_factory=lambda: [0, 0, 0])  # flat round trips, by their sort
    since_ns: int = 0
    now: int = 0
    judged_ns: int = 0  # when rings were last looked for
    stirred: list[int] = field(default_factory=list)  # accounts with something new since
    waiting: list[Ring] = field(default_factory=list)  # found and not yet told
    evicted: int = 0


def recent(state: WashState, trade: Trade) -> Recent:
    """The trade in our terms."""
    if len(state.accounts) > ACCOUNTS - 2:  # both parties may be new
        _forget_accounts(state)
    name = trade.instrument.rpartition("/")[2]
    if name not in state.outcomes and len(state.outcomes) <= 2:
        state.outcomes.append(name)
    outcome = state.outcomes.index(name) if name in state.outcomes else len(state.outcomes)
    state.above += trade.price >= 1.0  # a few of the tiniest are, for their amounts are rounded
    bought = {"buy": 1, "sell": -1}.get(trade.aggressor, 0)
    size = amounts.canonical(trade.size)
    notional = amounts.canonical(min(trade.size, 1e15) * min(trade.price, 1e15))
    taker = _serial(state, trade.taker, trade.ts_event)
    maker = _serial(state, trade.maker, trade.ts_event) if trade.maker else -1
    return Recent(trade.ts_event, taker, bought, outcome, size, notional, trade.price, maker)


def complements(state: WashState) -> bool:
    """Are the outcomes the two of one bet, so that buying one is selling the other?"""
    return len(state.outcomes) <= 2 and state.above <= _ABOVE * state.trades


def side(state: WashState, one: Recent) -> int:
    """+1: up on the first outcome, -1: down."""
    return -one.bought if one.outcome == 1 and complements(state) else one.bought


def _serial(state: WashState, name: str, ts: int) -> int:
    name = name[:NAME_CHARS]
    serial = state.serials.get(name)
    if serial is None:
        serial = state.serials[name] = state.next_serial
        state.accounts[serial] = Account(name)
        state.next_serial += 1
    state.accounts[serial].last_ns = max(state.accounts[serial].last_ns, ts)
    return serial


def _forget_accounts(state: WashState) -> None:
    """A quarter of them: those without an answered trade first, then the longest unseen."""
    linked = {serial for key in state.pairs for serial in (key >> 32, key & 0xFFFFFFFF)}
    order = sorted(
        state.accounts,
        key=lambda serial: (
            serial in linked or state.accounts[serial].flat > 1,
            state.accounts[serial].last_ns,
            serial,
        ),
    )
    gone = set(order[: ACCOUNTS // 4])
    state.evicted += len(gone)
    state.serials = {name: one for name, one in state.serials.items() if one not in gone}
    state.accounts = {one: account for one, account in state.accounts.items() if one not in gone}
    ordered = state.recent[state.place :] + state.recent[: state.place]
    state.fresh = sum(one.account not in gone for one in ordered[len(ordered) - state.fresh :])
    state.recent, state.place = [one for one in ordered if one.account not in gone], 0
    for one in state.recent:
        one.maker = -1 if one.maker in gone else one.maker
    state.waiting, state.stirred = [], []
    for account in state.accounts.values():
        account.partners = [one for one in account.partners if one not in gone]
    state.pairs = {
        key: pair
        for key, pair in state.pairs.items()
        if key >> 32 not in gone and key & 0xFFFFFFFF not in gone
    }


def settle(state: WashState, before_ns: int) -> None:
    """Amounts that can no longer be answered are what is usual here. Not earlier: those of a ring
    at work would make each other usual."""
    while state.fresh:
        one = state.recent[(state.place - state.fresh) % len(state.recent)]
        if one.ts >= before_ns and state.fresh < RECENT:
            return
        state.fresh -= 1
        amounts.learn(state.sizes, one.account, one.amount)
        amounts.learn(state.notionals, one.account, one.notional)


def remember(state: WashState, now: Recent) -> None:
    """Keep the trade, so that it may be answered."""
    state.fresh += 1
    if len(state.recent) < RECENT:
        state.recent.append(now)
    else:
        old = state.recent[state.place]
        state.accounts[old.account].recent -= 1
        if old.maker >= 0:
            state.accounts[old.maker].made -= 1
        state.recent[state.place] = now
        state.place = (state.place + 1) % RECENT
    state.accounts[now.account].recent += 1
    if now.maker >= 0:
        state.accounts[now.maker].made += 1


def link(state: WashState, now: Recent, other: int, told: float, told_other: float) -> None:
    """`told`: decades as the taker of `now` sees the other, `told_other`: the reverse."""
    first, second = min(now.account, other), max(now.account, other)
    key = first << 32 | second
    pair = state.pairs.get(key)
    if pair is None:
        if len(state.pairs) >= PAIRS:
            _forget_pairs(state)
        pair = state.pairs[key] = Pair(first_ns=now.ts)
        state.accounts[first].partners.append(second)
        state.accounts[second].partners.append(first)
    own = now.account == first
    state.accounts[first].met += 1
    state.accounts[second].met += 1
    pair.hits += 1
    pair.up += told if own else told_other
    pair.down += told_other if own else told
    # With complements, side +1 of either outcome moves the same position.
    pair.net += now.amount * side(state, now) * (1 if own else -1)
    pair.gross += now.amount
    pair.volume = min(pair.volume + now.notional, 1e300)
    pair.last_ns = now.ts
    stir(state, first)
    stir(state, second)


def stir(state: WashState, serial: int) -> None:
    """Something is new about this account."""
    if serial not in state.stirred and len(state.stirred) < STIRRED:
        state.stirred.append(serial)


def _forget_pairs(state: WashState) -> None:
    """A quarter of them: those that say least, then the oldest."""
    order = sorted(
        state.pairs, key=lambda key: (state.pairs[key].hits, state.pairs[key].last_ns, key)
    )
    for key in order[: PAIRS // 4]:
        del state.pairs[key]
        first, second = key >> 32, key & 0xFFFFFFFF
        state.accounts[first].partners.remove(second)
        state.accounts[second].partners.remove(first)
    state.evicted += PAIRS // 4
