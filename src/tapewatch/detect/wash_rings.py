"""Rings: small sets of accounts whose trades answer each other far more often than chance.

From the strongest pair a ring grows by the account that adds the most evidence, as long as every
member's own trades point inwards: one that trades with everybody has no evidence of its own.
Pure functions of `WashState`; nothing is remembered here.
"""

from typing import Final

from tapewatch.detect.base import LINE, TOLD
from tapewatch.detect.wash_memory import Account, Pair, Ring, WashState
from tapewatch.kernels.pairing import choices, closeness

MEMBERS: Final = 8  # of a ring; a larger one is told in parts
_WORTH: Final = 2.0  # decades that a further member adds at least: it is named with all of them
_EVEN: Final = 0.5  # of the mean of the members: what each of them takes part in at least
_STARTS: Final = 3  # strongest pairs of an account that a search starts from
# Decades that each member's own trades must give: less is one party of many that met the ring.
_OWN: Final = 0.3
_INWARD: Final = 0.5  # share of each member's matched trades that stay inside
_DETOUR: Final = 12.0  # decades that may be lost on the way round a circle: six members' worth
# What an inventory that was only passed on is worth, where a ring's members end up flat.
_ONE_WAY: Final = 0.5


def rings(state: WashState) -> list[Ring]:
    """Those of the accounts that have something new, strongest first; an account belongs to one."""
    found: list[Ring] = []
    near: dict[int, list[int]] = {}
    tried: set[tuple[int, ...]] = set()
    for serial in state.stirred:
        for one in _close(state, serial, near)[:_STARTS]:
            start = (min(serial, one), max(serial, one))
            if start not in tried:
                tried.add(start)
                ring = _grown(state, start, near)
                if ring is not None:
                    found.append(ring)
        ring = alone(state, serial)
        if ring is not None:
            found.append(ring)
    found.sort(key=lambda ring: (-ring.score, ring.members))
    taken: set[int] = set()
    kept: list[Ring] = []
    for ring in found:
        if taken.isdisjoint(ring.members):
            taken.update(ring.members)
            kept.append(ring)
    return kept


def _close(state: WashState, serial: int, near: dict[int, list[int]]) -> list[int]:
    """Partners that an account could share a ring with, strongest first: the two meet more often
    than chance as both of them see it, and neither has too many partners for any ring (a maker)."""
    known = near.get(serial)
    if known is None:
        known = near[serial] = [
            one
            for one in state.accounts[serial].partners
            if _is_often(state, serial, one) and _is_often(state, one, serial)
        ]
        if not _is_core(state, serial):
            known.clear()
        known.sort(key=lambda one: -_strength(_pair(state, serial, one)))
    return known


def _is_often(state: WashState, one: int, other: int) -> bool:
    pair = _pair(state, one, other)
    gain = pair.up if one < other else pair.down
    if gain <= 0.0:
        return False
    return closeness(pair.hits, gain, max(state.accounts[one].trades, pair.hits), 1) > 0.0


def _is_core(state: WashState, serial: int) -> bool:
    """Can it be in a ring at all? Not if even its best partners are few of those it meets."""
    account = state.accounts[serial]
    hits = sorted((_pair(state, serial, one).hits for one in account.partners), reverse=True)
    return sum(hits[: MEMBERS - 1]) >= _INWARD * account.met


def _pair(state: WashState, one: int, other: int) -> Pair:
    return state.pairs[min(one, other) << 32 | max(one, other)]


def _strength(pair: Pair) -> float:
    return pair.up + pair.down


def _grown(state: WashState, start: tuple[int, int], near: dict[int, list[int]]) -> Ring | None:
    """The best ring that holds these two, member by member, by evidence; a circle is closed only
    by its last member."""
    evidence, best = measure(state, start)
    now = best
    while len(now.members) < MEMBERS:
        around = {one for member in now.members for one in _close(state, member, near)[:MEMBERS]}
        tried = [
            measure(state, (*now.members, one)) for one in sorted(around.difference(now.members))
        ]
        if not tried:
            break
        step, now = max(tried, key=lambda pair: pair[0])
        if step < evidence - _DETOUR:
            break
        evidence = max(evidence, step)
        if now.score > best.score + _WORTH * (len(now.members) - len(best.members)):
            best = now
    return best if best.score > 0.0 else None


def measure(state: WashState, members: tuple[int, ...]) -> tuple[float, Ring]:
    """Evidence that these trade among themselves, and what it is worth: 0 when one of them mostly
    trades with others, or when three or more have one in common and nothing else (a maker)."""
    total, expected, hits, trials = 0.0, 0.0, 0, 0
    volume = moved = net = 0.0
    first_ns, last_ns = state.now, 0
    closed, fewest = True, state.trades
    for member in members:
        account = state.accounts[member]
        own, partners, gain, flow = 0, 0, 0.0, 0.0
        for other in members:
            up = member < other
            pair = state.pairs.get(member << 32 | other if up else other << 32 | member)
            if pair is None:
                continue
            own += pair.hits
            partners += 1
            gain += pair.up if up else pair.down
            flow += pair.net if up else -pair.net
            moved += pair.gross
            volume += 0.5 * pair.volume
            expected += 0.5 * account.trades * 10.0 ** -_mean(pair, up=up)
            first_ns, last_ns = min(first_ns, pair.first_ns), max(last_ns, pair.last_ns)
        count = max(account.trades, own)
        evidence = closeness(own, gain, count, max(partners, 1))
        evidence -= choices(len(members) - 1, partners)
        # A market maker meets each of its takers again and again, but mostly other ones.
        inward = own >= _INWARD * account.met and partners >= min(2, len(members) - 1)
        closed = closed and inward and evidence >= _OWN
        total += evidence
        hits, trials, net = hits + own, trials + count, net + abs(flow)
        fewest = min(fewest, own)
    closed = closed and fewest * len(members) >= _EVEN * hits
    one_way = min(1.0, net / moved) if moved > 0.0 else 0.0
    # Each couple was counted from both of its sides.
    worth = 0.5 * total * (1.0 - _ONE_WAY * one_way) - choices(len(state.accounts), len(members))
    order = tuple(sorted(members))
    return worth, Ring(
        order, worth if closed else 0.0, hits // 2, trials, expected, volume, one_way, first_ns,
        last_ns,
    )  # fmt: skip


def _mean(pair: Pair, *, up: bool) -> float:
    return (pair.up if up else pair.down) / pair.hits


def alone(state: WashState, serial: int) -> Ring | None:
    """One account that trades with itself: buys and sells back at once, and gains nothing."""
    account = state.accounts[serial]
    if not account.flat or is_trading(account):
        return None
    trials = max(account.trades - account.flat, account.flat)
    evidence = closeness(account.flat, account.turn_gain, trials, 1)
    score = evidence - choices(len(state.accounts), 1)
    if score <= 0.0:
        return None
    if 2 * account.losses > account.flat:
        # It pays each time what somebody who owns both sides does not: odd, but less sure.
        score = min(score, LINE)
    expected = trials * 10.0 ** (-account.turn_gain / account.flat)
    return Ring(
        (serial,), score, account.flat, account.trades, expected, account.turned, 0.0,
        account.first_turn_ns, account.last_ns,
    )  # fmt: skip


def is_trading(account: Account) -> bool:
    """Most round trips gain: arbitrage, which turns over at once for a reason."""
    return account.gains >= 2 * account.flat


def trading(serial: int, account: Account) -> Ring:
    """Arbitrage as an observation: just told, so that it ranks below any ring."""
    turns = account.flat + account.gains
    return Ring(
        (serial,), TOLD, turns, account.trades, 0.0, account.turned, 0.0, account.first_turn_ns,
        account.last_ns, trading=True,
    )  # fmt: skip
