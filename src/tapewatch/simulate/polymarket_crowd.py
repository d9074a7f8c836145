"""Who makes the simulated market: makers and takers of one market, as at a game of sports.

The fair price wanders in logits and jumps at plays. While a play is under way makers pull their
orders near the touch and post again seconds later around the new price, as in recorded books
(most within 2-12 s, some after a minute or two). In an event of which one outcome comes true, the
fair prices sum to 1.
"""

import math
import random
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from tapewatch.simulate.polymarket_book import ONE, SHARE, Change, MarketBook, Side
from tapewatch.simulate.polymarket_exchange import PolymarketExchange

LEVELS: Final = (5, 14)  # a side, while no play is under way
NEAR: Final = 500  # five cents: so far from the touch makers pull
FAR_BID, FAR_ASK = 0.3, 0.7  # where the last orders rest: share of the way to 0 or to 1
FINE: Final = 10  # tick where the price is nearly certain
CERTAIN: Final = (400, 9_600)  # beyond, the tick is fine (protocols 2.4)
RETURN: Final = 100  # so far inside the tick becomes coarse again
EDGE: Final = 200  # the fair price stays so far from 0 and 1
LATE_SHARE: Final = 0.1  # of pulls that last a minute or two
MEMORY_S: Final = 1800.0  # of the deviation that `sigma` is
FLOOR: Final = 25.0  # of that deviation: a quarter of a cent


class PolymarketMarketConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The crowd of each market. `sigma`: deviation of the fair price in one second, in logits;
    `play_sigma`: at a play. `events_per_s` bounds all markets together: each gets less of both
    rates where there are many. `no_share`: of takers who trade outcome 1."""

    changes_per_s: float = 1.5
    trades_per_s: float = 0.15
    events_per_s: float = 300.0
    plays_every_s: float = 240.0
    sigma: float = 0.004
    play_sigma: float = 0.25
    size: float = 60.0
    no_share: float = 0.35

    def __post_init__(self) -> None:
        if not (0 < self.changes_per_s <= 1_000 and 0 <= self.trades_per_s <= 1_000):
            raise ValueError("changes_per_s must be in (0, 1000], trades_per_s in [0, 1000]")
        if not (0 < self.events_per_s <= 100_000 and self.plays_every_s > 0 and self.size > 0):
            raise ValueError("events_per_s, plays_every_s and size must be positive")
        if not (0 <= self.sigma < 1 and 0 <= self.play_sigma < 5 and 0 <= self.no_share <= 1):
            raise ValueError("sigma must be in [0, 1), play_sigma in [0, 5), no_share in [0, 1]")


class Fair:
    """Fair prices of one event: a number for each market, in logits."""

    def __init__(self, values: Sequence[float]) -> None:
        self.values = list(values)

    def price(self, place: int) -> int:
        """Units of a ten-thousandth."""
        own = self.values[place]
        if len(self.values) == 1:
            share = 1 / (1 + math.exp(-own))
        else:
            share = math.exp(own) / sum(map(math.exp, self.values))
        return max(EDGE, min(ONE - EDGE, round(share * ONE)))

    def move(self, place: int, to: int) -> None:
        """Make the price of one market `to`; the others share what is left as before."""
        share = max(EDGE, min(ONE - EDGE, to)) / ONE
        rest = sum(math.exp(one) for at, one in enumerate(self.values) if at != place) or 1.0
        self.values[place] = math.log(share / (1 - share) * rest)


class Crowd:
    """One market. `act` makes the next thing happen and says when the one after it comes."""

    def __init__(
        self,
        exchange: PolymarketExchange,
        book: MarketBook,
        fair: tuple[Fair, int],
        config: PolymarketMarketConfig,
        rng: random.Random,
    ) -> None:
        self.book, self.config = book, config
        self._exchange, self._rng = exchange, rng
        self._fair, self._place = fair
        self._now = 0.0
        self.rate = self.size = 1.0  # factors of a volume spike
        self.slow = 1.0  # share of the configured rates, where markets are many
        self.held = 0  # how many planted things keep the crowd away
        self.pinned = False  # the tick stays as it is
        self._repost_s = math.inf
        self._play_s = rng.expovariate(1 / config.plays_every_s)
        self._mean, self._square, self._weight = 0.0, 0.0, 0.0
        self.wallets: Sequence[str] = ("0x" + "0" * 40,)

    def open(self) -> None:
        """The first book, silently: nobody listens yet."""
        bids, asks = self._sides()
        for change in self.book.changes_to(bids, asks):
            self.book.put(change)
        self.book.stamp(self._exchange.now_ms())

    def act(self, at_s: float) -> float:
        """Something happens; returns when to call again."""
        self._pass_time(at_s)
        config, rng = self.config, self._rng
        trades = config.trades_per_s * self.rate
        if self.held or not self.book.listing.has_book:
            pass
        elif at_s >= self._repost_s:
            self._repost_s = math.inf
            self._post()
        elif math.isfinite(self._repost_s):
            pass  # the play is under way: few dare
        elif at_s >= self._play_s:
            self._play()
        elif rng.random() * (config.changes_per_s + trades) < trades:
            self._trade()
        else:
            self._stir()
        rate = (config.changes_per_s + trades) * self.slow
        return min(at_s + rng.expovariate(rate), max(self._repost_s, at_s + 0.001))

    @property
    def sigma(self) -> float:
        """Deviation of the mid in the last half hour, in price units."""
        if not self._weight:
            return FLOOR
        mean = self._mean / self._weight
        return max(FLOOR, math.sqrt(max(0.0, self._square / self._weight - mean * mean)))

    @property
    def price(self) -> int:
        """The fair price."""
        return self._fair.price(self._place)

    def jump(self, to: int) -> None:
        """The fair price is another: a sweep to it, and a new book around it."""
        up = to > self.price
        self._fair.move(self._place, to)
        levels = self.book.asks if up else self.book.bids
        way = sorted(levels, reverse=not up)
        fills = [(p, levels[p]) for p in way if (p <= self.price if up else p >= self.price)][:8]
        if fills:
            self._match("BUY" if up else "SELL", fills)
        self._repost_s = math.inf
        self._post()

    def spike(self, factor: float) -> None:
        """One trade of `factor` times the usual size; makers give it all they have."""
        size = round(self.config.size * factor * SHARE)
        side: Side = "BUY" if self._rng.random() < 0.5 else "SELL"
        levels = self.book.asks if side == "BUY" else self.book.bids
        best = self.book.best[1 if side == "BUY" else 0]
        if best in levels:
            levels[best] = max(levels[best], size + SHARE)
            self._match(side, [(best, size)])

    def wash(self, ring: Sequence[str], number: int, size: float) -> None:
        """One trade inside a ring of wallets, at the mid, not in the book."""
        mid = self.book.mid or self.price
        tick = self.book.listing.tick
        price = max(tick, min(ONE - tick, mid // tick * tick))
        pair = (ring[number % len(ring)], ring[(number + 1) % len(ring)])
        side: Side = "BUY" if number % 2 == 0 else "SELL"
        self._exchange.match(self.book, side, [(price, round(size * SHARE))], [pair], resting=False)

    def hold(self, bids: dict[int, int], asks: dict[int, int]) -> None:
        """Show this book and stay away from it until `release`."""
        self.held += 1
        self._exchange.change(self.book, self.book.changes_to(bids, asks))

    def release(self) -> None:
        """Go on, with a new book, unless something else holds it."""
        self.held = max(0, self.held - 1)
        if not self.held:
            self._repost_s = math.inf
            self._post()

    def leave(self) -> None:
        """All orders are gone, and nobody is told (fault F32); `come_back` ends it."""
        self.held += 1
        self.book.bids.clear()
        self.book.asks.clear()
        self.book.stamp(self._exchange.now_ms())

    def come_back(self) -> None:
        """New orders; the complete books go to all who listen."""
        self.held = max(0, self.held - 1)
        if not self.held and self.book.listing.has_book:
            self._repost_s = math.inf
            self.open()
            self._exchange.show(self.book)

    def pull(self, seconds: float) -> None:
        """A play: makers pull their orders now and post again after `seconds`."""
        self._play()
        self._repost_s = self._now + seconds

    def _post(self) -> None:
        """A whole new book around the fair price."""
        if not self.book.listing.has_book:
            return
        self._check_tick()
        bids, asks = self._sides()
        self._exchange.change(self.book, self.book.changes_to(bids, asks))

    def _sides(self) -> tuple[dict[int, int], dict[int, int]]:
        tick, fair, rng = self.book.listing.tick, self.price, self._rng
        bid = max(tick, (fair - tick // 2) // tick * tick)
        ask = min(ONE - tick, bid + tick * (1 + (rng.random() < 0.3)))
        bid = min(bid, ask - tick)
        bids = {bid - n * tick: self._size() for n in range(rng.randint(*LEVELS))}
        asks = {ask + n * tick: self._size() for n in range(rng.randint(*LEVELS))}
        bids[round(bid * FAR_BID) // tick * tick] = self._size()
        asks[round(ask + (ONE - ask) * FAR_ASK) // tick * tick] = self._size()
        return (
            {p: size for p, size in bids.items() if p >= tick},
            {p: size for p, size in asks.items() if p <= ONE - tick},
        )

    def _stir(self) -> None:
        """A level comes, goes or changes; makers follow the fair price when it has moved."""
        tick, (bid, ask) = self.book.listing.tick, self.book.best
        if not (bid + tick // 2 - tick <= self.price <= ask + tick) or not self.book.mid:
            self._post()
            return
        rng = self._rng
        side: Side = "BUY" if rng.random() < 0.5 else "SELL"
        levels = self.book.bids if side == "BUY" else self.book.asks
        best = bid if side == "BUY" else ask
        price = best - rng.randrange(LEVELS[1]) * tick * (1 if side == "BUY" else -1)
        if not tick <= price <= ONE - tick:
            return
        gone = rng.random() < 0.3 and price in levels and len(levels) > LEVELS[0]
        self._exchange.change(self.book, [Change(side, price, 0 if gone else self._size())])

    def _play(self) -> None:
        """Makers pull what is near the touch, one side a moment before the other."""
        rng = self._rng
        bid, ask = self.book.best
        near = [Change("BUY", p, 0) for p in self.book.bids if p > bid - NEAR]
        far = [Change("SELL", p, 0) for p in self.book.asks if p < ask + NEAR]
        sides = [near[: len(self.book.bids) - 1], far[: len(self.book.asks) - 1]]
        rng.shuffle(sides)
        for changes in sides:
            self._exchange.change(self.book, changes)
        late = rng.random() < LATE_SHARE
        self._repost_s = self._now + (rng.uniform(45, 150) if late else rng.uniform(2, 12))
        self._play_s = self._repost_s + rng.expovariate(1 / self.config.plays_every_s)
        self._fair.values[self._place] += rng.gauss(0, self.config.play_sigma)

    def _trade(self) -> None:
        """One taker against at most three levels."""
        rng = self._rng
        side: Side = "BUY" if rng.random() < 0.5 else "SELL"
        levels = self.book.asks if side == "BUY" else self.book.bids
        left = round(rng.lognormvariate(math.log(self.config.size * self.size), 1.2) * SHARE)
        fills: list[tuple[int, int]] = []
        for price in sorted(levels, reverse=side == "SELL")[:3]:
            done = min(levels[price], max(left, 1))
            fills.append((price, done))
            left -= done
            if left <= 0:
                break
        if fills and len(fills) < len(levels):
            self._match(side, fills)

    def _match(self, side: Side, fills: list[tuple[int, int]]) -> None:
        rng = self._rng
        taker = self._wallet()
        pairs = [(taker, self._maker(taker)) for _ in fills]
        on_no = rng.random() < self.config.no_share
        self._exchange.match(self.book, side, fills, pairs, on_no=on_no, mint=rng.random() < 0.3)

    def _wallet(self) -> str:
        """Few wallets trade often."""
        place = int(self._rng.paretovariate(0.8)) - 1
        return self.wallets[place % len(self.wallets)]

    def _maker(self, taker: str) -> str:
        own = [one for one in (self._wallet(), self._wallet(), self._wallet()) if one != taker]
        return own[0] if own else self.wallets[-1]

    def _size(self) -> int:
        size = self._rng.lognormvariate(math.log(400.0), 1.0)
        whole = self._rng.random() < 0.6  # most people order round sizes
        return max(5, round(size)) * SHARE if whole else max(5 * SHARE, round(size * SHARE))

    def _pass_time(self, at_s: float) -> None:
        elapsed = max(0.0, at_s - self._now)
        self._now = at_s
        mid = self.book.mid
        if mid is not None and elapsed:
            keep = math.exp(-elapsed / MEMORY_S)
            self._weight = self._weight * keep + elapsed
            self._mean = self._mean * keep + mid * elapsed
            self._square = self._square * keep + mid * mid * elapsed
        if not self.held:
            shock = self._rng.gauss(0, 1) * self.config.sigma * math.sqrt(elapsed)
            self._fair.values[self._place] += shock

    def _check_tick(self) -> None:
        """The tick is fine near 0 and 1."""
        listing, price = self.book.listing, self.price
        low, high = CERTAIN
        if self.pinned:
            return
        if listing.tick > FINE and not low <= price <= high:
            self._exchange.retick(self.book, FINE)
            self._exchange.show(self.book)
        elif listing.tick == FINE and low + RETURN <= price <= high - RETURN:
            self._exchange.retick(self.book, 100)
            self._exchange.show(self.book)
