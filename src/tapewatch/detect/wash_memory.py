"""What `wash` remembers of one market, and how a trade is matched with the one it answers.

A trade is an *answer* when somebody traded the other way shortly before, in an amount that few
others would have chosen. Where the venue names both sides, the maker is whom it answers. The graph
that arises (accounts, and pairs of them) is bounded; what is dropped is counted.
"""

from collections.abc import Iterator
from math import log, log10
from typing import Final

from msgspec import Struct, field

from tapewatch.kernels import amounts
from tapewatch.kernels.amounts import Amounts
from tapewatch.kernels.pairing import CHANCE, decades
from tapewatch.model.events import Trade
from tapewatch.model.time import NS_PER_S

RECENT: Final = 256  # trades kept: partners' shares are counted over them
LOOKED: Final = 64  # opposite ones among them that a trade is compared with
ACCOUNTS: Final = 1_024  # of one market; with pairs and amounts below 1 MB
PAIRS: Final = 2_048
STIRRED: Final = 64  # accounts looked at in one search; the rest when they trade again
NAME_CHARS: Final = 80  # of an account; an address has 42
NEAR: Final = 0.05  # |ln| of two amounts beyond which they are not the same amount with noise
QUICK_NS: Final = 300 * NS_PER_S  # an account that trades back within it made a round trip
# A round trip that gains more is trading: takers' fees are 0-2 % a side, so that of a wash trade
# gains nothing.
GAIN: Final = 0.005
TURNS_USUAL: Final = 0.005  # share of trades that are flat round trips, before any was seen
TURNS_LEAST: Final = (0.0025, 0.02)  # ... and at least: second thoughts have a cost, so are common
TURNS_EACH: Final = 3  # of one account that count for what is usual
_POOL: Final = 0.4  # a maker of more of the recent trades is a pool or the market's maker: no party
_BEYOND: Final = 20.0  # recent trades' worth of belief in accounts that were not seen lately


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
    """A trade that may yet be answered. `side` +1: up on the first outcome, -1: down."""

    ts: int
    account: int
    side: int
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
    probabilities: bool = True  # all prices were below 1: two outcomes may be complements
    sizes: Amounts = field(default_factory=Amounts)
    notionals: Amounts = field(default_factory=Amounts)
    next_serial: int = 0
    trades: int = 0
    volume: float = 0.0  # quote units
    turns: list[int] = field(default_factory=lambda: [0, 0])  # flat round trips: even, at a loss
    since_ns: int = 0
    now: int = 0
    judged_ns: int = 0  # when rings were last looked for
    stirred: list[int] = field(default_factory=list)  # accounts with something new since
    waiting: list[Ring] = field(default_factory=list)  # found and not yet told
    evicted: int = 0


def learn(state: WashState, trade: Trade, window_ns: int) -> None:
    """Match one trade, then remember it."""
    state.now = max(state.now, trade.ts_event)
    state.since_ns = state.since_ns or trade.ts_event
    if len(state.accounts) > ACCOUNTS - 2:  # both parties may be new
        _forget_accounts(state)
    now = _recent(state, trade)
    _settle(state, now.ts - window_ns)
    state.accounts[now.account].trades += 1
    state.trades += 1
    state.volume = min(state.volume + now.notional, 1e300)
    if now.maker == now.account:
        _turn(state, now, now, 0.0)
    elif now.maker >= 0 and _made(state, now.maker) <= _POOL:
        _meet(state, now)
    elif now.side:
        _turn_back(state, now)
        _infer(state, now, window_ns)
    _remember(state, now)


def _recent(state: WashState, trade: Trade) -> Recent:
    """The trade in our terms. Buying one of two complementary outcomes is selling the other."""
    name = trade.instrument.rpartition("/")[2]
    if name not in state.outcomes and len(state.outcomes) <= 2:
        state.outcomes.append(name)
    outcome = state.outcomes.index(name) if name in state.outcomes else len(state.outcomes)
    state.probabilities = state.probabilities and trade.price < 1.0
    side = {"buy": 1, "sell": -1}.get(trade.aggressor, 0)
    size = amounts.canonical(trade.size)
    notional = amounts.canonical(min(trade.size, 1e15) * min(trade.price, 1e15))
    if _complements(state) and outcome == 1:
        side = -side
    taker = _serial(state, trade.taker, trade.ts_event)
    maker = _serial(state, trade.maker, trade.ts_event) if trade.maker else -1
    return Recent(trade.ts_event, taker, side, outcome, size, notional, trade.price, maker)


def _complements(state: WashState) -> bool:
    return state.probabilities and len(state.outcomes) <= 2


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


def _took(state: WashState, serial: int) -> float:
    """How likely the taker of a recent trade is this account, if it is anybody."""
    return (state.accounts[serial].recent + 1.0) / (len(state.recent) + _BEYOND)


def _made(state: WashState, serial: int) -> float:
    """The same of a maker."""
    return (state.accounts[serial].made + 1.0) / (len(state.recent) + _BEYOND)


def _settle(state: WashState, before_ns: int) -> None:
    """Amounts that can no longer be answered are what is usual here. Not earlier: those of a ring
    at work would make each other usual."""
    while state.fresh:
        one = state.recent[(state.place - state.fresh) % len(state.recent)]
        if one.ts >= before_ns and state.fresh < RECENT:
            return
        state.fresh -= 1
        amounts.learn(state.sizes, one.account, one.amount)
        amounts.learn(state.notionals, one.account, one.notional)


def _remember(state: WashState, now: Recent) -> None:
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


def _newest_first(state: WashState, since_ns: int) -> Iterator[Recent]:
    size = len(state.recent)
    for step in range(1, size + 1):
        one = state.recent[(state.place - step) % size]
        if one.ts < since_ns:
            return
        yield one


def _opposite(state: WashState, one: Recent, other: Recent) -> bool:
    """One took what the other gave: the same outcome, or complements (both bought or both sold)."""
    same = one.outcome == other.outcome
    return one.side * other.side < 0 and (same or _complements(state))


def _turn_back(state: WashState, now: Recent) -> None:
    """Is it the way back of a round trip?"""
    for one in _newest_first(state, now.ts - QUICK_NS):
        if (
            one.account == now.account
            and not one.turned
            and one.outcome == now.outcome
            and one.side * now.side < 0
            and abs(log(now.amount / one.amount)) <= NEAR
        ):
            bought, sold = (now, one) if now.side * _up(state, now) > 0 else (one, now)
            _turn(state, now, one, log(sold.price / bought.price))
            return


def _up(state: WashState, one: Recent) -> int:
    """+1 where `side` +1 means that this outcome was bought."""
    return -1 if one.outcome == 1 and _complements(state) else 1


def _turn(state: WashState, now: Recent, one: Recent, gain: float) -> None:
    account = state.accounts[now.account]
    now.turned = one.turned = True
    if gain > GAIN:
        account.gains += 1
    else:
        sort = int(gain < -GAIN)  # at a loss: the cost of two trades, common where fees are high
        usual = (state.turns[sort] + 1.0) / (state.trades + 1.0 / TURNS_USUAL)
        account.turn_gain -= log10(min(1.0, 2.0 * max(usual, TURNS_LEAST[sort])))  # either sort
        account.flat += 1
        account.losses += sort
        state.turns[sort] += account.flat <= TURNS_EACH
    account.instant += now.ts - one.ts <= NS_PER_S
    account.turned = min(account.turned + now.notional, 1e300)
    account.first_turn_ns = account.first_turn_ns or one.ts
    _stir(state, now.account)


def _infer(state: WashState, now: Recent, window_ns: int) -> None:
    """Find the trade that `now` answers: the recent one that is nearest in amount and in order."""
    best, least, compared = None, 1.0, 0
    for one in _newest_first(state, now.ts - window_ns):
        if one.answered or one.account == now.account or not _opposite(state, one, now):
            continue
        compared += 1
        # By chance, so many of the trades passed on the way would be as near in amount.
        expected = compared * _coincidence(state, now, one)
        if expected < least:
            best, least = one, expected
        if compared >= LOOKED:
            break
    if best is None:
        return
    # The least of many: expected counts in order of age add up to a harmonic sum.
    p = 2.0 * least * (1.0 + log(compared))  # either of two amounts
    if p > CHANCE:
        return
    best.answered = now.answered = True
    told = decades(p)
    _link(state, now, best.account, told - log10(_took(state, best.account)),
          told - log10(_took(state, now.account)))  # fmt: skip


def _coincidence(state: WashState, now: Recent, one: Recent) -> float:
    """Probability that an amount (base or quote units) is as near as these two by chance."""
    distance = abs(log(now.amount / one.amount))
    if distance > NEAR:
        chance = 1.0
    else:
        chance = _rarity(state.sizes, now.account, one.account, now.amount, distance)
    if now.notional == one.notional and now.outcome == one.outcome:
        rarity = _rarity(state.notionals, now.account, one.account, now.notional, 0.0)
        chance = min(chance, rarity)
    return chance


def _rarity(known: Amounts, one: int, other: int, amount: float, distance: float) -> float:
    users = amounts.has_used(known, one, amount) + amounts.has_used(known, other, amount)
    return amounts.chance(known, amount, distance, users)


def _meet(state: WashState, now: Recent) -> None:
    """The venue names both parties: no amount is needed, only how often others meet them."""
    state.accounts[now.maker].trades += 1
    _link(state, now, now.maker, -log10(_made(state, now.maker)), -log10(_took(state, now.account)))


def _link(state: WashState, now: Recent, other: int, told: float, told_other: float) -> None:
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
    pair.net += now.amount * now.side * (1 if own else -1)
    pair.gross += now.amount
    pair.volume = min(pair.volume + now.notional, 1e300)
    pair.last_ns = now.ts
    _stir(state, first)
    _stir(state, second)


def _stir(state: WashState, serial: int) -> None:
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
