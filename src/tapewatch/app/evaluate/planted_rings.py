"""Rings planted into real trades, with known members: truth for `wash`, where the data have none.

Everything is a pure function of the rows and a seed. Rows are those of single accounts, as in the
data: a couple is one account's purchase and another's sale of about the same amount, moments apart.
Prices are those of the last real trade, so a ring gains nothing.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import exp, log
from random import Random
from typing import Final, NamedTuple

from tapewatch.model.time import NS_PER_S

# Kind -> members. Noisy ping-pong differs in amounts by up to 2 % and answers after minutes.
KINDS: Final[dict[str, int]] = {
    "self-cross": 1, "ping-pong": 2, "noisy ping-pong": 2, "cycle of 2": 2, "cycle of 3": 3,
    "cycle of 5": 5, "cycle of 6": 6,
}  # fmt: skip
SHARES: Final = (0.005, 0.20)  # of the host market's volume
ROUNDS: Final = (3, 60)
SPAN_S: Final = (3_600.0, 14 * 86_400.0)
HOST_TRADES: Final = 200  # a market with fewer hosts no ring
TAKERS: Final = 200  # of the planted market maker, an innocent
BACK_AND_FORTH: Final = 150  # round trips of the planted arbitrageur, another


class WalletTrade(NamedTuple):
    """One row; `ts` in ns, `buy` the side of `account`."""

    ts: int
    market: str
    outcome: str
    account: str
    buy: bool
    size: float
    price: float


class Planted(NamedTuple):
    """One ring and its rows; kind "innocent ..." for what must not be named."""

    kind: str
    accounts: tuple[str, ...]
    rows: list[WalletTrade]


class Host(NamedTuple):
    """One market: its real trades in order of time, and their volume in quote units."""

    rows: list[WalletTrade]
    times: list[int]
    volume: float


def plant(rows: Sequence[WalletTrade], seed: int, each: int = 2) -> list[Planted]:
    """`each` rings of every kind, a market maker and an arbitrageur, in random markets."""
    random = Random(seed)  # noqa: S311  (a seeded experiment, nothing secret)
    hosts = _hosts(rows)
    planted = []
    for kind, members in KINDS.items():
        for index in range(each):
            names = tuple(_name(random, kind, index, member) for member in range(members))
            planted.append(Planted(kind, names, _ring(random, random.choice(hosts), kind, names)))
    planted.append(_maker(random, max(hosts, key=lambda host: len(host.rows))))
    planted.append(_arbitrageur(random, random.choice(hosts)))
    return planted


def merged(rows: Sequence[WalletTrade], planted: Sequence[Planted]) -> list[WalletTrade]:
    """All rows by time; those of one second in the order in which they were made."""
    everything = list(rows)
    for one in planted:
        everything.extend(one.rows)
    return sorted(everything, key=lambda row: row.ts)


def _hosts(rows: Sequence[WalletTrade]) -> list[Host]:
    markets: dict[str, list[WalletTrade]] = defaultdict(list)
    for row in rows:
        markets[row.market].append(row)
    return [
        Host(own, [row.ts for row in own], sum(row.size * row.price for row in own))
        for own in markets.values()
        if len(own) >= HOST_TRADES
    ]


def _name(random: Random, *parts: object) -> str:
    """An address that looks like any other."""
    del parts
    return f"0x{random.getrandbits(160):040x}"


def _between(random: Random, ends: tuple[float, float]) -> float:
    """Log-uniform."""
    return exp(random.uniform(log(ends[0]), log(ends[1])))


def _ring(random: Random, host: Host, kind: str, names: tuple[str, ...]) -> list[WalletTrade]:
    """Rounds of couples until the ring has its share of the volume."""
    target = _between(random, SHARES) * host.volume
    rounds = round(_between(random, ROUNDS))
    legs = max(len(names), 1)
    start = random.choice(host.times[: len(host.times) * 9 // 10])
    span = min(_between(random, SPAN_S), (host.times[-1] - start) / NS_PER_S + 1.0)
    mean = target / (rounds * legs * 2)
    noise, slow = (0.02, 240.0) if kind == "noisy ping-pong" else (0.0, 20.0)
    rows: list[WalletTrade] = []
    for begin in sorted(random.uniform(0.0, span) for _ in range(rounds)):
        at = start + round(begin) * NS_PER_S
        last = host.rows[bisect_right(host.times, at) - 1]
        size = mean * exp(random.gauss(0.0, 0.5)) / last.price
        size = float(round(size, -1)) if size > 100.0 and random.random() < 0.2 else size
        for seller, buyer in _couples(names, kind, random):
            rows.extend(_couple(random, last, at, (seller, buyer), (size, noise)))
            at += random.randint(1, max(2, round(slow))) * NS_PER_S
    return rows


def _couples(names: tuple[str, ...], kind: str, random: Random) -> Iterator[tuple[str, str]]:
    """Who sells to whom in one round. Ping-pong changes direction at random."""
    if "ping-pong" in kind:
        yield names if random.random() < 0.5 else names[::-1]  # type: ignore[misc]
        return
    for index, name in enumerate(names):
        yield name, names[(index + 1) % len(names)]


def _couple(
    random: Random,
    last: WalletTrade,
    at: int,
    accounts: tuple[str, str],
    amount: tuple[float, float],
) -> Iterator[WalletTrade]:
    """A sale and a purchase, either first; amounts differ by the noise, given as a fraction."""
    size, noise = amount
    wait = random.randint(0, 120 if noise else 5) * NS_PER_S
    first_buys = random.random() < 0.5
    for buy in (first_buys, not first_buys):
        shares = max(round(size * (1.0 + random.uniform(-noise, noise)), 2), 0.01)
        account = accounts[1] if buy else accounts[0]
        yield WalletTrade(at, last.market, last.outcome, account, buy, shares, last.price)
        at += wait


def _maker(random: Random, host: Host) -> Planted:
    """Innocent: takes the other side of 200 accounts, a few times each, in their amounts."""
    maker = _name(random)
    takers = [_name(random) for _ in range(TAKERS)]
    rows: list[WalletTrade] = []
    for taker in takers:
        for _ in range(random.randint(1, 4)):
            last = random.choice(host.rows)
            buy = random.random() < 0.5
            size = round(random.lognormvariate(4.0, 1.5), 2) + 0.01
            at = last.ts + random.randint(0, 3600) * NS_PER_S
            rows.append(last._replace(ts=at, account=taker, buy=buy, size=size))
            after = at + random.randint(0, 3) * NS_PER_S
            rows.append(last._replace(ts=after, account=maker, buy=not buy, size=size))
    return Planted("innocent maker", (maker, *takers), rows)


def _arbitrageur(random: Random, host: Host) -> Planted:
    """Innocent: buys and sells back within a second, for a gain."""
    account = _name(random)
    rows: list[WalletTrade] = []
    for _ in range(BACK_AND_FORTH):
        last = random.choice(host.rows)
        size = round(random.lognormvariate(4.0, 1.0), 2) + 0.01
        bought = last._replace(account=account, buy=True, size=size)
        rows.append(bought)
        rows.append(
            bought._replace(buy=False, price=last.price * (1.0 + random.uniform(0.003, 0.2)))
        )
    return Planted("innocent arbitrageur", (account,), rows)
