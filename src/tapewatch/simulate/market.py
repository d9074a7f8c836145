"""A seeded synthetic market: heavy-tailed prices, self-exciting trades, books, planted anomalies.

The same seed, pairs and scenario give the same market, event for event. It knows nothing of
sockets, clocks or wire formats: `next_at` says when something happens next (seconds from the start)
and `advance` makes it happen.
"""

import math
import random
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from msgspec import Struct

from tapewatch.model.instrument import Side
from tapewatch.model.time import NS_PER_S
from tapewatch.simulate.book import SyntheticBook
from tapewatch.simulate.pairs import Pair
from tapewatch.simulate.scenario import Anomaly, MarketConfig
from tapewatch.simulate.truth import Record, Truth

PAST_S: Final = 30.0  # how much market there is before the start, so that snapshots are full
VOL_MEMORY_S: Final = 300.0  # relaxation time of the volatility factor
SLACK: Final = 0.5  # the touch follows the price when it is so many sigma_1s away
FILLS_MAX: Final = 4  # price levels that one ordinary order may take


class Fill(Struct, frozen=True):
    """One execution, in integer units of its pair. `taker` is the aggressor's side."""

    price: int
    size: int
    taker: Side
    limit: bool = False  # the taker's order was a limit order


class Step(NamedTuple):
    """Something happened to `symbol` at `at_s`: executions, if any; the book may differ."""

    at_s: float
    symbol: str
    fills: tuple[Fill, ...] = ()


class Flow(Protocol):
    """Where trades and books come from: the synthetic market or a played file."""

    books: dict[str, SyntheticBook]

    def next_at(self) -> float:
        """When `advance` is due next, seconds from the start; infinite when nothing comes."""
        ...

    def advance(self, now_s: float) -> Step:
        """Make it happen. `now_s` is the present moment, for what is not scheduled."""
        ...


def seeded(seed: int, name: str) -> random.Random:
    """An independent stream of numbers for each purpose."""
    return random.Random(f"{seed}:{name}")  # noqa: S311  a market, not a secret


class Market:
    """All pairs of the synthetic market."""

    def __init__(
        self, pairs: Iterable[Pair], config: MarketConfig, seed: int, base_ns: int
    ) -> None:
        self._processes = {
            pair.symbol: _Process(pair, config, seeded(seed, pair.symbol), base_ns)
            for pair in pairs
        }
        self.books = {symbol: process.book for symbol, process in self._processes.items()}
        self._script: list[tuple[float, bool, Anomaly]] = []
        self._truth: Truth | None = None
        self._base_ns = base_ns

    def plant(self, anomalies: Iterable[Anomaly], truth: Truth) -> None:
        """Schedule anomalies; each is written to `truth` when it begins."""
        for anomaly in anomalies:
            self._script.append((anomaly.at_s, False, anomaly))
            if anomaly.for_s > 0:
                self._script.append((anomaly.at_s + anomaly.for_s, True, anomaly))
        self._script.sort(key=lambda entry: entry[:2])
        self._truth = truth

    def next_at(self) -> float:
        due = min(process.next_at() for process in self._processes.values())
        return min(due, self._script[0][0]) if self._script else due

    def advance(self, now_s: float) -> Step:
        del now_s  # everything here is scheduled
        process = min(self._processes.values(), key=_Process.next_at)
        if self._script and self._script[0][0] <= process.next_at():
            at_s, over, anomaly = self._script.pop(0)
            chosen = self._processes[anomaly.symbol or next(iter(self._processes))]
            if over:
                return chosen.end(anomaly, at_s)
            step, params = chosen.begin(anomaly, at_s)
            self._note(anomaly, chosen.pair, params)
            return step
        return process.advance()

    def _note(self, anomaly: Anomaly, pair: Pair, params: dict[str, float | str]) -> None:
        assert self._truth is not None
        start = self._base_ns + round(anomaly.at_s * NS_PER_S)
        end = start + round(anomaly.for_s * NS_PER_S)
        self._truth.note(Record(start, end, anomaly.kind, pair.instrument, params=params))


class _Process:
    """One pair: its hidden price, its volatility, its two clocks of arrivals, its book."""

    def __init__(self, pair: Pair, config: MarketConfig, rng: random.Random, base_ns: int) -> None:
        self.pair, self._config, self._rng, self._base_ns = pair, config, rng, base_ns
        self._unit = 10**pair.price_digits
        self._price = pair.price
        self._log_vol = 0.0
        self._drift = 0.0  # in sigmas per second
        self._rate = self._size = 1.0  # factors of a volume burst
        self._silent = False
        self._excited = 0.0  # self-excited part of the arrival rate at `_now`
        self._buying = True
        self._now = -PAST_S
        gap = pair.price * config.sigma_1s * self._unit / 8
        self.book = SyntheticBook(rng, gap, pair.size * 10**pair.size_digits)
        self._middle = self._price
        self._requote()
        self._next_book, self._next_trade = self._draw_book(), self._draw_trade()

    def next_at(self) -> float:
        return math.inf if self._silent else min(self._next_book, self._next_trade)

    def advance(self) -> Step:
        if self._next_book <= self._next_trade:
            self._pass_time(self._next_book)
            self._follow()
            self.book.stir(self._ns())
            self._next_book = self._draw_book()
            return Step(self._now, self.pair.symbol)
        self._pass_time(self._next_trade)
        self._excited += self._config.branching * self._config.decay_per_s
        self._follow()
        fills = self._order()
        self._next_trade = self._draw_trade()
        return Step(self._now, self.pair.symbol, fills)

    def begin(self, anomaly: Anomaly, at_s: float) -> tuple[Step, dict[str, float | str]]:
        """Start an anomaly; also what the truth should say about it."""
        self._pass_time(at_s)
        fills: tuple[Fill, ...] = ()
        told: dict[str, float | str] = dict(anomaly.params)
        if anomaly.kind == "price_jump":
            before, sigmas = self._price, anomaly.number("sigmas")
            fills = self._sweep(up=sigmas > 0)
            self._price *= math.exp(sigmas * self._sigma())
            self._requote()
            told |= {"sigmas": sigmas, "from": before, "to": self._price}
        elif anomaly.kind == "bad_print":
            percent = anomaly.number("percent")
            price = max(1, round(self._price * (1 + percent / 100) * self._unit))
            fills = (
                Fill(price, self._units(self.pair.size / 10), "buy" if percent > 0 else "sell"),
            )
            told |= {"percent": percent, "price": price / self._unit}
        elif anomaly.kind == "volume_burst":
            self._rate, self._size = anomaly.number("rate"), anomaly.number("size")
            self._next_trade = self._draw_trade()
            told |= {"rate": self._rate, "size": self._size}
        elif anomaly.kind == "silence":
            self._silent = True
        elif anomaly.kind == "book_pull":
            ticks = round(self._price * self._unit * anomaly.number("percent") / 100)
            self.book.pulled = (anomaly.params.get("side", "bid") == "bid", ticks)
            self._requote()
        else:
            self._drift = anomaly.number("sigmas_per_s")
        return Step(at_s, self.pair.symbol, fills), told

    def end(self, anomaly: Anomaly, at_s: float) -> Step:
        """Stop an anomaly that lasts."""
        self._pass_time(at_s)
        if anomaly.kind == "volume_burst":
            self._rate = self._size = 1.0
            self._next_trade = self._draw_trade()
        elif anomaly.kind == "silence":
            self._silent = False
            self._next_book, self._next_trade = self._draw_book(), self._draw_trade()
        elif anomaly.kind == "book_pull":
            self.book.pulled = None
            self._requote()
        elif anomaly.kind == "drift":
            self._drift = 0.0
        return Step(at_s, self.pair.symbol)

    def _pass_time(self, until: float) -> None:
        """Let the hidden price, the volatility and the excitation move on to `until`."""
        elapsed, config = max(until - self._now, 0.0), self._config
        self._now = until
        if elapsed == 0:
            return
        share = elapsed / VOL_MEMORY_S
        self._log_vol += -self._log_vol * share + config.vol_of_vol * math.sqrt(
            2 * share
        ) * self._rng.gauss(0, 1)
        # Student-t of unit variance: normal over the root of a chi-square share
        df = config.tail_df
        chi_square = 2 * self._rng.gammavariate(df / 2, 1)
        shock = self._rng.gauss(0, 1) * math.sqrt((df - 2) / chi_square)
        sigma = self._sigma()
        self._price *= math.exp(sigma * (math.sqrt(elapsed) * shock + self._drift * elapsed))
        self._excited *= math.exp(-config.decay_per_s * elapsed)

    def _sigma(self) -> float:
        """Standard deviation of the log price over one second, now."""
        return self._config.sigma_1s * math.exp(max(-3.0, min(3.0, self._log_vol)))

    def _follow(self) -> None:
        """The touch moves only when the price has left it clearly, as resting orders do."""
        if abs(self._price - self._middle) > SLACK * self._sigma() * self._price:
            self._requote()

    def _requote(self) -> None:
        self._middle = self._price
        bid = max(1, math.floor(self._price * self._unit))
        self.book.quote(bid, bid + 1, self._ns())

    def _order(self) -> tuple[Fill, ...]:
        """One taker: the side is sticky, the size lognormal."""
        if self._rng.random() < 0.35:
            self._buying = not self._buying
        size = self._rng.lognormvariate(math.log(self.pair.size / 20), 1.6) * self._size
        return self._fills(buy=self._buying, size=self._units(size), levels=FILLS_MAX)

    def _sweep(self, *, up: bool) -> tuple[Fill, ...]:
        """The aggressive order that makes the jump."""
        return self._fills(buy=up, size=self._units(self.pair.size * 12), levels=3 * FILLS_MAX)

    def _fills(self, *, buy: bool, size: int, levels: int) -> tuple[Fill, ...]:
        done = self.book.take(buy=buy, size=size, ns=self._ns(), levels=levels)
        limit = self._rng.random() < 0.4
        return tuple(Fill(price, units, "buy" if buy else "sell", limit) for price, units in done)

    def _draw_book(self) -> float:
        return self._now + self._rng.expovariate(self._config.books_per_s)

    def _draw_trade(self) -> float:
        """Ogata's thinning (1981): with this kernel the rate only falls until the next arrival."""
        config, at, excited = self._config, self._now, self._excited
        base = config.trades_per_s * (1 - config.branching) * self._rate
        while True:
            bound = base + excited
            wait = self._rng.expovariate(bound)
            at += wait
            excited *= math.exp(-config.decay_per_s * wait)
            if self._rng.random() * bound <= base + excited:
                return at

    def _units(self, size: float) -> int:
        return max(1, round(size * 10.0**self.pair.size_digits))

    def _ns(self) -> int:
        return self._base_ns + round(self._now * NS_PER_S)
