"""A made-up prediction market for the soak: prices, trades, what the venue's services answer.

One step is a cycle of polls. The price is a random walk of the log-odds that is pulled back to
where it began, with innovations of Student's t law (4 degrees of freedom) and a daily course of
volatility; trades come as a Poisson stream of log-normal sizes. Nothing here knows a detector: what
a spike of so many standard deviations is, is worked out from the last hour of what was served.
"""

from collections import deque
from math import ceil, exp, log, pi, sin, sqrt
from random import Random
from statistics import fmean, pstdev
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Struct

from tapewatch.model.time import NS_PER_MS, NS_PER_S, format_rfc3339
from tapewatch.venues.base import Fetch
from tapewatch.venues.polymarket_markets import Market

TICK: Final = 0.001
CYCLES: Final = 120  # an hour of them is a baseline
WINDOW: Final = 10  # cycles of the volume's window, 300 s
KEPT_S: Final = 180  # trades that the service still tells: a few polls of them
KEPT: Final = 20  # ... and so many in any case: the service forgets none
_LEVELS: Final = 10
_DAY_S: Final = 86_400


class Trade(Struct):
    """One trade as the trades' service has it."""

    at_s: int
    price: float
    size: float
    side: str
    number: int


class SoakMarket:
    """One market. `step` moves it by a cycle; `spike_price` and `spike_volume` disturb the cycle
    under way."""

    def __init__(self, number: int, seed: int, cycle_s: int) -> None:
        self._chance = Random(f"{seed}/{number}")  # noqa: S311  a market, no secret
        digits = f"{number + 1:064x}"
        self.market = Market(
            condition=f"0x{digits}",
            yes=str(10**70 + 2 * number),
            no=str(10**70 + 2 * number + 1),
            slug=f"soak-{number}",
            tick=TICK,
        )
        self._home = self._chance.uniform(-0.8, 0.8)  # log-odds
        self._odds = self._home
        self._calm = self._chance.uniform(0.004, 0.012)  # innovation of a cycle, in log-odds
        self._busy = self._chance.uniform(0.3, 1.5)  # trades in a cycle
        self._cycle_s = cycle_s
        self._numbers = 0
        self.mid = 0.5
        self.mids: deque[float] = deque(maxlen=CYCLES)
        self._flows: deque[float] = deque([0.0] * WINDOW, maxlen=WINDOW)
        self.volumes: deque[float] = deque(maxlen=CYCLES)
        self.trades: deque[Trade] = deque()

    def step(self, now_ns: int) -> None:
        """The next cycle, that ends at `now_ns`."""
        chance = self._chance
        day = 1.0 + 0.5 * sin(2.0 * pi * (now_ns // NS_PER_S % _DAY_S) / _DAY_S)
        heavy = chance.gauss(0.0, 1.0) / sqrt(chance.gammavariate(2.0, 0.5))  # t with 4
        self._odds += 0.01 * (self._home - self._odds) + self._calm * day * heavy / sqrt(2.0)
        self.mid = _on_grid(1.0 / (1.0 + exp(-self._odds)))
        end_s = now_ns // NS_PER_S
        while len(self.trades) > KEPT and self.trades[0].at_s < end_s - KEPT_S:
            self.trades.popleft()
        flow = 0.0
        for _ in range(_poisson(chance, self._busy * day)):
            size = round(exp(chance.gauss(3.0, 1.2)), 2)
            flow += self._trade(end_s - chance.randrange(3, self._cycle_s), size)
        self._flows.append(flow)

    def settle(self) -> None:
        """The cycle is over; what it showed joins the hour before the next."""
        self.mids.append(self.mid)
        self.volumes.append(sum(self._flows))

    def spike_price(self, sigmas: float) -> float:
        """Put the price so many standard deviations of the last hour off; returns how many it is,
        at least that many, after rounding to the grid."""
        mean, std = fmean(self.mids), max(pstdev(self.mids), 0.5 * TICK)
        wanted = mean + sigmas * std
        if not 0.02 < wanted < 0.98:
            wanted = mean - sigmas * std
        away = ceil(abs(wanted - mean) / TICK - 1e-9) + 1
        self.mid = _on_grid(mean + (away if wanted > mean else -away) * TICK)
        return abs(self.mid - mean) / std

    def spike_volume(self, sigmas: float, now_ns: int) -> float:
        """One trade that brings the window's volume so many standard deviations above the last
        hour's; returns how many it is."""
        mean, std = fmean(self.volumes), max(pstdev(self.volumes), 1.0)
        lacking = mean + sigmas * std - sum(self._flows)
        self._flows[-1] += self._trade(now_ns // NS_PER_S - 3, max(1.0, lacking) / self.mid + 10.0)
        return (sum(self._flows) - mean) / std

    def _trade(self, at_s: int, size: float) -> float:
        self._numbers += 1
        side = "BUY" if self._chance.random() < 0.5 else "SELL"
        price = round(self.mid + (TICK if side == "BUY" else -TICK), 3)
        self.trades.append(Trade(at_s, price, round(size, 2), side, self._numbers))
        return price * round(size, 2)

    def book(self, token: str, now_ns: int) -> dict[str, Any]:
        """The book of one of its tokens, as the order books' service has it."""
        middle = self.mid if token == self.market.yes else 1.0 - self.mid
        low, high = _below(middle), _above(middle)
        sizes = [str(100 + 10 * level) for level in range(_LEVELS)]
        bids = [(low - level * TICK, sizes[level]) for level in reversed(range(_LEVELS))]
        asks = [(high + level * TICK, sizes[level]) for level in reversed(range(_LEVELS))]
        return {
            "market": self.market.condition,
            "asset_id": token,
            "timestamp": str(now_ns // NS_PER_MS),
            "hash": "",
            "bids": [{"price": f"{p:.3f}", "size": s} for p, s in bids if p > 0.0],
            "asks": [{"price": f"{p:.3f}", "size": s} for p, s in asks if p < 1.0],
            "min_order_size": "5",
            "tick_size": str(TICK),
            "neg_risk": False,
        }

    def row(self, trade: Trade) -> dict[str, Any]:
        """A trade as version 2 of the trades' service has it."""
        return {
            "proxy_wallet": f"0x{trade.number % 97:040x}",
            "token_id": self.market.yes,
            "condition_id": self.market.condition,
            "side": trade.side,
            "size": trade.size,
            "price": trade.price,
            "timestamp": trade.at_s,
            "transaction_hash": f"{self.market.condition[:34]}{trade.number:032x}",
            "outcome_index": 0,
        }

    def listing(self, now_ns: int) -> dict[str, Any]:
        """The market as the catalogue has it: open, and for a year yet."""
        market = self.market
        return {
            "id": market.slug,
            "conditionId": market.condition,
            "slug": market.slug,
            "question": f"{market.slug}?",
            "clobTokenIds": msgspec.json.encode([market.yes, market.no]).decode(),
            "outcomes": '["Yes", "No"]',
            "outcomePrices": '["0.5", "0.5"]',
            "active": True,
            "closed": False,
            "acceptingOrders": True,
            "enableOrderBook": True,
            "orderPriceMinTickSize": TICK,
            "endDate": format_rfc3339(now_ns + 365 * _DAY_S * NS_PER_S, 0),
        }


def answer(markets: dict[str, SoakMarket], fetch: Fetch, now_ns: int) -> bytes:
    """What the venue's services answer to a request; `markets` by token and by condition id."""
    address = urlsplit(fetch.url)
    query = parse_qs(address.query)
    if address.path == "/books":
        tokens = [asked["token_id"] for asked in msgspec.json.decode(fetch.body)]
        return msgspec.json.encode([markets[token].book(token, now_ns) for token in tokens])
    if address.path == "/v2/trades":
        one = markets[query["condition_id"][0]]
        newest = sorted(one.trades, key=lambda trade: (-trade.at_s, -trade.number))
        rows = [one.row(trade) for trade in newest if trade.at_s * NS_PER_S <= now_ns]
        page = {"has_more": False, "next_cursor": None}
        return msgspec.json.encode({"data": rows[:1000], "pagination": page})
    asked = [name for name in query.get("condition_ids", ()) if name in markets]
    listed = [markets[name].listing(now_ns) for name in asked]
    return msgspec.json.encode({"markets": listed, "next_cursor": None})


def _on_grid(price: float) -> float:
    """A mid price: on the grid, or half a step off it."""
    return min(0.985, max(0.015, round(price / TICK) * TICK))


def _below(middle: float) -> float:
    return round(middle - TICK, 3)


def _above(middle: float) -> float:
    return round(middle + TICK, 3)


def _poisson(chance: Random, mean: float) -> int:
    """Knuth's product of uniforms; the mean is small."""
    limit, product, count = -mean, 0.0, -1
    while product > limit:
        product += log(1.0 - chance.random())
        count += 1
    return count
