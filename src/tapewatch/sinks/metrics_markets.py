"""The markets of bot 4.15's detector as metrics see them: latest z-scores, recent peaks, ages.

A scrape every 15 s sees a gauge four times a minute, and a spike of one cycle not at all. So each
market also keeps its z-score farthest from 0, in the current stretch of `peak_s` and in the one
before: whatever scrapes at least once in `peak_s` has seen it. No series are made here.
"""

import heapq
from collections.abc import Iterator
from math import isfinite, nan
from typing import Final

from msgspec import Struct

from tapewatch.model import limits
from tapewatch.model.time import NS_PER_S

FORGET_NS: Final = 24 * 3600 * NS_PER_S  # as long as bot 4.15 keeps a baseline without activity


class Peaks(Struct, gc=False):
    """Scores of price and volume farthest from 0 in stretch number `stretch`, and in the one
    before it. `rank` is the larger of each pair without its sign."""

    stretch: int = 0
    price: float = 0.0
    volume: float = 0.0
    rank: float = 0.0
    price_before: float = 0.0
    volume_before: float = 0.0
    rank_before: float = 0.0

    def note(self, stretch: int, price: float, volume: float) -> None:
        """One pair of scores; NaN is none."""
        if stretch != self.stretch:
            self.price_before, self.volume_before = self.seen(stretch)
            self.rank_before = max(abs(self.price_before), abs(self.volume_before))
            self.stretch, self.price, self.volume, self.rank = stretch, 0.0, 0.0, 0.0
        self.price, self.volume = farther(self.price, price), farther(self.volume, volume)
        self.rank = max(abs(self.price), abs(self.volume))

    def seen(self, stretch: int) -> tuple[float, float]:
        """Price and volume in `stretch` and the one before it."""
        if self.stretch == stretch:
            price = farther(self.price, self.price_before)
            return price, farther(self.volume, self.volume_before)
        return (self.price, self.volume) if self.stretch == stretch - 1 else (0.0, 0.0)


class Market(Struct, gc=False):
    """One market: the cycle (ns) that was judged last, how long its scores are fresh, and they
    themselves, in standard deviations; NaN where there is none."""

    peaks: Peaks
    at: int = 0
    lasts_ns: int = 0
    price: float = nan
    volume: float = nan


class Shown(Struct, frozen=True):
    """One market that is shown. `peaks` are of price and volume."""

    key: str
    market: Market
    peaks: tuple[float, float]
    fresh: bool


class Summary(Struct, frozen=True):
    """All markets at one moment: those that peaked most, the oldest, and figures over all.

    `ranked` markets could be shown; `oldest` are pairs of key and age in s, oldest first, of
    markets that are not fresh.
    """

    top: tuple[Shown, ...]
    ranked: int
    oldest: tuple[tuple[str, float], ...]
    fresh: int
    price_largest: float
    volume_largest: float
    age_max_s: float


class Markets:
    """At most `limits.KEYS_PER_DETECTOR` markets; the one judged longest ago makes room."""

    def __init__(self, *, peak_s: float, fresh_s: float) -> None:
        self._peak_ns, self._fresh_ns = int(peak_s * NS_PER_S), int(fresh_s * NS_PER_S)
        self._all: dict[str, Market] = {}  # judged longest ago first
        self._largest = Peaks()  # of all markets

    def __len__(self) -> int:
        return len(self._all)

    def note(
        self, key: str, at: int, interval_s: float, price: float | None, volume: float | None
    ) -> None:
        """One cycle was judged at `at` (ns); cycles come every `interval_s`."""
        market = self._all.pop(key, None)
        if market is None:
            market = Market(Peaks())
            if len(self._all) >= limits.KEYS_PER_DETECTOR:
                del self._all[next(iter(self._all))]
        self._all[key] = market
        market.at = at
        market.lasts_ns = max(self._fresh_ns, int(2 * interval_s * NS_PER_S))
        market.price = nan if price is None else price
        market.volume = nan if volume is None else volume
        stretch = at // self._peak_ns
        market.peaks.note(stretch, market.price, market.volume)
        self._largest.note(stretch, market.price, market.volume)

    def summary(self, now: int, count: int) -> Summary:
        """What holds at `now` (ns), with `count` markets shown. Those that were not judged for a
        day are forgotten."""
        for key in self._over(now):
            del self._all[key]
        stretch, fresh = now // self._peak_ns, 0
        ranked: list[tuple[float, str]] = []
        for key, market in self._all.items():  # of 100,000, while the loop waits: no calls here
            peaks = market.peaks
            rank = peaks.rank
            if peaks.stretch == stretch:
                rank = max(peaks.rank_before, rank)
            elif peaks.stretch != stretch - 1:
                rank = 0.0
            is_fresh = now - market.at <= market.lasts_ns
            if is_fresh or rank > 0.0:
                fresh += is_fresh
                ranked.append((rank, key))
        price_largest, volume_largest = self._largest.seen(stretch)
        top = tuple([self._shown(key, now) for _, key in heapq.nlargest(count, ranked)])
        ages = [(key, age_s(market, now)) for key, market in self._oldest(now, count)]
        oldest = next(iter(self._all.values()), None)
        age_max_s = 0.0 if oldest is None else age_s(oldest, now)
        return Summary(
            top,
            len(ranked),
            tuple(ages),
            fresh,
            abs(price_largest),
            abs(volume_largest),
            age_max_s,
        )

    def _over(self, now: int) -> list[str]:
        over = []
        for key, market in self._all.items():
            if now - market.at <= FORGET_NS:
                break
            over.append(key)
        return over

    def _oldest(self, now: int, count: int) -> Iterator[tuple[str, Market]]:
        for key, market in self._all.items():
            if count <= 0 or now - market.at <= market.lasts_ns:
                return
            count -= 1
            yield key, market

    def _shown(self, key: str, now: int) -> Shown:
        market = self._all[key]
        fresh = now - market.at <= market.lasts_ns
        return Shown(key, market, market.peaks.seen(now // self._peak_ns), fresh)


def age_s(market: Market, now: int) -> float:
    """Seconds since the baseline's newest sample: every cycle that is judged adds one."""
    return max(0, now - market.at) / NS_PER_S


def farther(one: float, other: float) -> float:
    """The one farther from 0, with its sign; what is not finite is nothing."""
    return other if isfinite(other) and abs(other) > abs(one) else one
