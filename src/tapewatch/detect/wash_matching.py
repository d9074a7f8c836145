"""Which trade does a trade answer? By accounts' own round trips, by named parties, by amounts.

A trade is an *answer* when somebody traded the other way shortly before, in an amount that few
others would have chosen. Where the venue names both sides, the maker is whom it answers.
"""

from collections.abc import Iterator
from math import log, log10
from typing import Final

from tapewatch.detect.wash_memory import (
    Recent,
    WashState,
    complements,
    link,
    recent,
    remember,
    settle,
    side,
    stir,
)
from tapewatch.kernels import amounts
from tapewatch.kernels.amounts import Amounts
from tapewatch.kernels.pairing import CHANCE, decades
from tapewatch.model.events import Trade
from tapewatch.model.time import NS_PER_S

LOOKED: Final = 64  # opposite trades that one is compared with
NEAR: Final = 0.05  # |ln| of two amounts beyond which they are not the same amount with noise
TURN_NEAR: Final = 0.1  # the same of an account's own
QUICK_NS: Final = 10 * NS_PER_S
# A round trip that gains more is trading: takers' fees are 0-2 % a side, so that of a wash trade
# gains nothing. One that loses more paid such fees.
GAIN: Final = 0.005
EVEN_QUICK, EVEN, LOSS = 0, 1, 2  # sorts of flat round trips
_SORTS: Final = 3
# Shares of trades that are such round trips, before any was seen and at least. Second thoughts have
# a cost, so those at a loss are common.
TURNS_LEAST: Final = (0.001, 0.005, 0.02)
TURNS_EACH: Final = 3  # of one account that count for what is usual
_PRIOR: Final = 200.0  # trades' worth of belief in these shares
_POOL: Final = 0.4  # a maker of more of the recent trades is a pool or the market's maker: no party
_BEYOND: Final = 20.0  # recent trades' worth of belief in accounts that were not seen lately


def learn(state: WashState, trade: Trade, window_ns: int) -> None:
    """Match one trade, then remember it."""
    state.now = max(state.now, trade.ts_event)
    state.since_ns = state.since_ns or trade.ts_event
    now = recent(state, trade)
    settle(state, now.ts - window_ns)
    state.accounts[now.account].trades += 1
    state.trades += 1
    state.volume = min(state.volume + now.notional, 1e300)
    if now.maker == now.account:
        _turn(state, now, now, 0.0, 0.0)
    elif now.maker >= 0 and _made(state, now.maker) <= _POOL:
        _meet(state, now)
    elif now.bought:
        _turn_back(state, now, window_ns)
        _infer(state, now, window_ns)
    remember(state, now)


def _took(state: WashState, serial: int) -> float:
    """How likely the taker of a recent trade is this account, if it is anybody."""
    return (state.accounts[serial].recent + 1.0) / (len(state.recent) + _BEYOND)


def _made(state: WashState, serial: int) -> float:
    """The same of a maker."""
    return (state.accounts[serial].made + 1.0) / (len(state.recent) + _BEYOND)


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
    return side(state, one) * side(state, other) < 0 and (same or complements(state))


def _turn_back(state: WashState, now: Recent, window_ns: int) -> None:
    """Is it the way back of a round trip?"""
    compared = 0
    for one in _newest_first(state, now.ts - window_ns):
        if one.account == now.account and not one.turned and _opposite(state, one, now):
            compared += 1
            distance = abs(log(now.amount / one.amount))
            if distance <= TURN_NEAR:
                # Who trades all day has an opposite trade of about this amount anyway.
                chance = compared * amounts.chance(state.sizes, now.amount, distance, 1)
                _turn(state, now, one, _gain(now, one), chance)
                return


def _gain(now: Recent, one: Recent) -> float:
    """Of a round trip, as a fraction. Complements are worth 1 together."""
    if now.outcome == one.outcome:
        return log(now.price / one.price) * one.bought
    return -now.bought * log(now.price + one.price)


def _turn(state: WashState, now: Recent, one: Recent, gain: float, chance: float) -> None:
    account = state.accounts[now.account]
    now.turned = one.turned = True
    if gain > GAIN:
        account.gains += 1
    else:
        quick = now.ts - one.ts <= QUICK_NS
        sort = LOSS if gain < -GAIN else EVEN_QUICK if quick else EVEN
        least = TURNS_LEAST[sort]
        usual = max(least, (state.turns[sort] + _PRIOR * least) / (state.trades + _PRIOR))
        # It might have been of any sort.
        account.turn_gain -= log10(min(1.0, _SORTS * (usual + chance)))
        account.flat += 1
        account.losses += sort == LOSS
        state.turns[sort] += account.flat <= TURNS_EACH
    account.instant += now.ts - one.ts <= NS_PER_S
    account.turned = min(account.turned + now.notional, 1e300)
    account.first_turn_ns = account.first_turn_ns or one.ts
    stir(state, now.account)


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
    link(state, now, best.account, told - log10(_took(state, best.account)),
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
    link(state, now, now.maker, -log10(_made(state, now.maker)), -log10(_took(state, now.account)))
