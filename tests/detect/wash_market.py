"""A made-up market with accounts, and what may be planted into it."""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

from tapewatch.detect.wash import Wash
from tapewatch.detect.wash_memory import WashState
from tapewatch.model.events import Trade
from tapewatch.model.inputs import Timer
from tapewatch.model.instrument import Side
from tapewatch.model.outputs import Observation
from tapewatch.model.time import NS_PER_S

T0 = 1_700_000_000 * NS_PER_S
YES, NO = "polymarket:rain/Yes", "polymarket:rain/No"


def trade(
    second: float, account: str, side: Side, size: float, price: float = 0.5, **more: Any
) -> Trade:
    ts = T0 + round(second * NS_PER_S)
    return Trade(more.pop("instrument", YES), ts, ts, price, size, side, taker=account, **more)


def crowd(seed: int, trades: int = 2_000, accounts: int = 80, every_s: float = 60.0) -> list[Trade]:
    """Honest people: half of their amounts are round, the others their own."""
    random = Random(seed)
    found, second = [], 0.0
    for _ in range(trades):
        second += random.expovariate(1.0 / every_s)
        size = random.choice((10.0, 50.0, 100.0, 100.0, 200.0, 500.0))
        if random.random() < 0.5:
            size = round(random.lognormvariate(4.0, 1.5), 2) + 0.01
        account = f"person{int(random.random() ** 2 * accounts)}"
        price = round(0.5 + 0.02 * random.random(), 3)
        found.append(trade(second, account, random.choice(("buy", "sell")), size, price))
    return found


def circle(
    names: Sequence[str], rounds: int, seed: int = 1, start: float = 3_000.0, noise: float = 0.0
) -> list[Trade]:
    """Everybody sells to the next, moments apart, about the same amount in one round."""
    random = Random(seed)
    found, second = [], start
    for _ in range(rounds):
        second += random.uniform(600.0, 3_000.0)
        size = random.lognormvariate(4.0, 0.5)
        for index, seller in enumerate(names):
            for account, side in ((seller, "sell"), (names[(index + 1) % len(names)], "buy")):
                amount = round(size * (1.0 + random.uniform(-noise, noise)), 2)
                found.append(trade(second, account, side, amount))  # type: ignore[arg-type]
                second += random.uniform(0.5, 20.0)
    return found


def merged(*streams: Iterable[Trade]) -> list[Trade]:
    return sorted((one for stream in streams for one in stream), key=lambda one: one.ts_event)


def told(trades: Sequence[Trade], wash: Wash | None = None) -> tuple[list[Observation], WashState]:
    """What the detector says of one market, and its memory at the end."""
    wash = wash or Wash()
    state = wash.start("polymarket:rain")
    seen = [one for event in trades if (one := wash.update(state, event)) is not None]
    end = max(one.ts_recv for one in trades)
    for minute in range(1, 70):
        one = wash.update(state, Timer(end + minute * 61 * NS_PER_S))
        if one is not None:
            seen.append(one)
    return seen, state


def best(seen: Iterable[Observation]) -> dict[str, tuple[float, str]]:
    """Account -> its highest score and the kind of it."""
    found: dict[str, tuple[float, str]] = {}
    for one in seen:
        for account in one.accounts:
            found[account] = max(found.get(account, (0.0, "")), (one.score, one.kind))
    return found
