"""Rings: small sets of accounts whose trades answer each other far more often than chance.

From the strongest pair a ring grows by the account that adds the most evidence, as long as every
member's own trades point inwards: one that trades with everybody has no evidence of its own.
Pure functions of `WashState`; nothing is remembered here.
"""

from math import log10
from typing import Final

from msgspec import Struct

from tapewatch.detect.wash_memory import Account, Pair, WashState
from tapewatch.kernels.pairing import choices, closeness

MEMBERS: Final = 8  # of a ring; a larger one is told in parts
_EDGES: Final = 128  # strongest pairs that a search starts from
# Decades that each member's own trades must give: less is one party of many that met the ring.
_OWN: Final = 0.3
_TURN_FLOOR: Final = 0.01  # share of trades that are flat round trips of honest accounts, at least
_TURN_PRIOR: Final = 50.0  # trades' worth of belief in that share
# What an inventory that was only passed on is worth, where a ring's members end up flat.
_ONE_WAY: Final = 0.5


class Ring(Struct, frozen=True):
    """`score`: decades. `hits` of `trials` trades of the members were made among them, `expected`
    by chance; `volume` of them in quote units; `net`: share of it that did not come back."""

    members: tuple[int, ...]
    score: float
    hits: int
    trials: int
    expected: float
    volume: float
    net: float
    first_ns: int
    last_ns: int


def rings(state: WashState) -> list[Ring]:
    """All of them, strongest first; an account belongs to one at most."""
    links: dict[int, dict[int, Pair]] = {}
    for key, pair in state.pairs.items():
        first, second = key >> 32, key & 0xFFFFFFFF
        links.setdefault(first, {})[second] = pair
        links.setdefault(second, {})[first] = pair
    keys = sorted(state.pairs, key=lambda key: (-_strength(state.pairs[key]), key))[:_EDGES]
    found: list[Ring] = []
    for key in keys:
        ring = _grown(state, links, (key >> 32, key & 0xFFFFFFFF))
        if ring is not None:
            found.append(ring)
    found.extend(ring for serial in state.accounts if (ring := alone(state, serial)) is not None)
    found.sort(key=lambda ring: (-ring.score, ring.members))
    taken: set[int] = set()
    kept: list[Ring] = []
    for ring in found:
        if taken.isdisjoint(ring.members):
            taken.update(ring.members)
            kept.append(ring)
    return kept


def _strength(pair: Pair) -> float:
    return pair.up + pair.down


def _grown(
    state: WashState, links: dict[int, dict[int, Pair]], pair: tuple[int, int]
) -> Ring | None:
    best = measure(state, links, pair)
    while len(best.members) < MEMBERS:
        around = sorted({one for member in best.members for one in links[member]})
        tried = [
            measure(state, links, (*best.members, one)) for one in around if one not in best.members
        ]
        if not tried:
            break
        top = max(tried, key=lambda ring: ring.score)
        if top.score <= best.score:
            break
        best = top
    return best if best.score > 0.0 else None


def measure(state: WashState, links: dict[int, dict[int, Pair]], members: tuple[int, ...]) -> Ring:
    """Evidence that these trade among themselves on purpose. The score is 0 when one of them does
    not."""
    inside = set(members)
    total, expected, hits, trials = 0.0, 0.0, 0, 0
    volume = moved = net = 0.0
    first_ns, last_ns = state.now, 0
    closed = True
    for member in members:
        own, gain, flow = 0, 0.0, 0.0
        for other, pair in links[member].items():
            if other in inside:
                up = member < other
                own += pair.hits
                gain += pair.up if up else pair.down
                flow += pair.net if up else -pair.net
                moved += pair.gross
                volume += 0.5 * pair.volume
                expected += 0.5 * state.accounts[member].trades * 10.0 ** -_mean(pair, up=up)
                first_ns, last_ns = min(first_ns, pair.first_ns), max(last_ns, pair.last_ns)
        count = max(state.accounts[member].trades, own)
        evidence = closeness(own, gain, count, len(members) - 1)
        closed = closed and evidence >= _OWN
        total += evidence
        hits, trials, net = hits + own, trials + count, net + abs(flow)
    one_way = min(1.0, net / moved) if moved > 0.0 else 0.0
    # Each couple was counted from both of its sides.
    score = 0.5 * total * (1.0 - _ONE_WAY * one_way) - choices(len(state.accounts), len(members))
    score = score if closed else 0.0
    order = tuple(sorted(members))
    return Ring(order, score, hits // 2, trials, expected, volume, one_way, first_ns, last_ns)


def _mean(pair: Pair, *, up: bool) -> float:
    return (pair.up if up else pair.down) / pair.hits


def alone(state: WashState, serial: int) -> Ring | None:
    """One account that trades with itself: buys and sells back at once, and gains nothing."""
    account = state.accounts[serial]
    if not account.flat or is_trading(account):
        return None
    trials = max(account.trades - account.flat, account.flat)
    rate = usual_turns(state, account)
    evidence = closeness(account.flat, -account.flat * log10(rate), trials, 1)
    score = evidence - choices(len(state.accounts), 1)
    if score <= 0.0:
        return None
    return Ring(
        (serial,), score, account.flat, account.trades, rate * trials, account.turned, 0.0,
        account.first_turn_ns, account.last_ns,
    )  # fmt: skip


def usual_turns(state: WashState, account: Account) -> float:
    """Share of flat round trips in the trades of all others."""
    turns, trades = state.turns - account.flat, state.trades - account.trades
    return max(_TURN_FLOOR, (turns + 1.0) / (max(trades, 0) + _TURN_PRIOR))


def is_trading(account: Account) -> bool:
    """Most round trips gain: arbitrage, which turns over at once for a reason."""
    return account.gains >= 2 * account.flat
