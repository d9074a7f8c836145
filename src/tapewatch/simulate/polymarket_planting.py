"""Planting anomalies in the simulated Polymarket, now or by script, and writing down the truth.

Markets are named by slug, condition id, token id or number from 1.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tapewatch.model.errors import ConfigError
from tapewatch.model.time import NS_PER_S
from tapewatch.simulate.polymarket_book import ONE, SHARE
from tapewatch.simulate.polymarket_crowd import EDGE, Crowd
from tapewatch.simulate.polymarket_floor import Floor
from tapewatch.simulate.polymarket_ledger import wallets
from tapewatch.simulate.polymarket_listing import Listing
from tapewatch.simulate.polymarket_scenario import PolymarketAnomaly
from tapewatch.simulate.truth import Record


class Planter:
    """`base_ns` is the wall time of second 0."""

    def __init__(self, floor: Floor, base_ns: int, seed: int) -> None:
        self._floor, self._base_ns, self._seed = floor, base_ns, seed
        self._exchange, self._agenda = floor.exchange, floor.agenda
        self._rings = 0

    def script(self, anomalies: Sequence[PolymarketAnomaly]) -> None:
        """Do these at their times. Raises `ConfigError` for an unknown market."""
        for anomaly in anomalies:
            if anomaly.kind != "new_market":
                self.crowd(anomaly.symbol)
            self._agenda.at(anomaly.at_s, self._doing(anomaly))

    def crowd(self, word: str = "") -> Crowd:
        """Who trades this market (empty: the first). Raises `ConfigError`."""
        listing = self._exchange.catalogue.find(word or "1")
        if listing is None:
            raise ConfigError(f"the script names {word[:80]}, which is not among the markets")
        return self._floor.crowds[listing.condition]

    def spike(self, word: str = "", sigmas: float = 5.0) -> Record:
        """The price jumps by `sigmas` deviations, at least a tick, and stays. Where there is no
        room that way, the other way."""
        crowd = self.crowd(word)
        sigma, before = crowd.sigma, crowd.book.mid or crowd.price
        step = max(abs(sigmas) * sigma, crowd.book.listing.tick) * (1 if sigmas > 0 else -1)
        if not EDGE <= before + step <= ONE - EDGE:
            step = -step
        crowd.jump(round(before + step))
        after = crowd.book.mid or crowd.price
        told = {
            "sigmas": (after - before) / sigma,
            "sigma": sigma / ONE,
            "from": before / ONE,
            "to": after / ONE,
        }
        return self._note(crowd, "price_spike", told)

    def volume_spike(self, word: str = "", factor: float = 30.0, for_s: float = 0.0) -> Record:
        """One trade of `factor` times the usual size; with `for_s` all trades for so long."""
        crowd = self.crowd(word)
        crowd.spike(factor)
        if for_s:
            crowd.size *= factor
            self._after(for_s, lambda: self._scale(crowd, 1 / factor))
        return self._note(crowd, "volume_spike", {"factor": factor}, for_s)

    def glitch(self, word: str = "", percent: float = 20.0, for_s: float = 0.4) -> Record:
        """Quotes go `percent` of a pUSD away and come back; nobody trades there."""
        crowd = self.crowd(word)
        self.shift(crowd, percent)
        self._after(for_s, crowd.release)
        return self._note(crowd, "glitch", {"percent": percent}, for_s)

    def shift(self, crowd: Crowd, percent: float) -> None:
        """Hold the book so far away; the other way where there is no room."""
        book, tick = crowd.book, crowd.book.listing.tick
        step = round(percent * ONE / 100) // tick * tick
        bid, ask = book.best
        if not (tick <= bid + step and ask + step <= ONE - tick):
            step = -step
        sides = [
            {p + step: size for p, size in side.items() if tick <= p + step <= ONE - tick}
            for side in (book.bids, book.asks)
        ]
        crowd.hold(*sides)

    def crossed(self, word: str = "", ticks: float = 2.0, for_s: float = 1.5) -> Record:
        """The best bid stands above the best ask (0 ticks: at it), then it heals."""
        crowd = self.crowd(word)
        self.cross(crowd, int(ticks))
        self._after(for_s, crowd.release)
        return self._note(crowd, "crossed", {"ticks": ticks}, for_s)

    def cross(self, crowd: Crowd, ticks: int) -> None:
        """Hold the book with such a bid."""
        book = crowd.book
        price = min(ONE - book.listing.tick, book.best[1] + ticks * book.listing.tick)
        crowd.hold({**book.bids, price: 100 * SHARE}, dict(book.asks))

    def pull(self, word: str = "", for_s: float = 5.0) -> Record:
        """Makers pull their orders near the touch and post again."""
        crowd = self.crowd(word)
        crowd.pull(for_s)
        return self._note(crowd, "pull", {}, for_s)

    def silence(self, word: str = "", for_s: float = 60.0) -> Record:
        """Nothing happens in this market."""
        crowd = self.crowd(word)
        crowd.hold(dict(crowd.book.bids), dict(crowd.book.asks))
        self._after(for_s, crowd.release)
        return self._note(crowd, "silence", {}, for_s)

    def wash(
        self,
        word: str = "",
        ring: str = "cycle",
        count: int = 3,
        trades: int = 30,
        shares: float = 120.0,
        for_s: float = 60.0,
    ) -> Record:
        """A ring of wallets trades with itself: alone (`self_cross`), in turn (`cycle`), or to and
        fro with equal sizes (`ping_pong`). Its wallets trade nowhere else."""
        crowd = self.crowd(word)
        self._rings += 1
        count = {"self_cross": 1, "ping_pong": 2}.get(ring, max(2, count))
        own = wallets(self._seed, count, f"ring {self._rings}")
        for number in range(trades):
            size = shares if ring == "ping_pong" else shares * (1 + number % 3 / 10)
            self._after(for_s * number / trades, self._washing(crowd, own, number, size))
        told = {"ring": ring, "wallets": own, "trades": trades, "shares": shares}
        return self._note(crowd, "wash", told, for_s)

    def propose(self, word: str = "", state: str = "proposed") -> Record:
        """A result is proposed, or disputed: what Gamma says of the resolution."""
        crowd = self.crowd(word)
        crowd.book.listing.uma = state
        return self._note(crowd, {"proposed": "propose", "disputed": "dispute"}[state], {})

    def pause(self, word: str = "", for_s: float = 60.0) -> Record:
        """No orders are accepted for a while; those that rest stay."""
        crowd = self.crowd(word)
        listing = crowd.book.listing
        listing.accepting = False
        crowd.hold(dict(crowd.book.bids), dict(crowd.book.asks))
        self._after(for_s, lambda: self._reopen(crowd))
        return self._note(crowd, "pause", {}, for_s)

    def resolve(self, word: str = "", winner: int = 0, *, announced: bool = True) -> Record:
        """Outcome `winner` comes true: the price goes there, then there is no book any more."""
        crowd = self.crowd(word)
        crowd.jump(ONE - EDGE if winner == 0 else EDGE)
        self._exchange.resolve(crowd.book.listing, winner, announce=announced)
        return self._note(crowd, "resolution", {"winner": winner, "announced": announced})

    def new_market(self, hidden: str | None = None) -> Listing:
        """One more game. `hidden`: Gamma's `clobTokenIds` until `hydrate`."""
        (listing,) = group = [self._floor.game()]
        listing.hidden_tokens = hidden
        self._floor.open(group, announce=hidden is None)
        self._note(self._floor.crowds[listing.condition], "new_market", {"hidden": hidden})
        return listing

    def hydrate(self, listing: Listing) -> None:
        """Its tokens are known, and it is announced."""
        listing.hidden_tokens = None
        self._exchange.announce(listing)

    def note(
        self, kind: str, instrument: str, told: dict[str, Any], for_s: float, code: str = ""
    ) -> Record:
        """Write down what acts from now on."""
        start = self._base_ns + round(self._agenda.now() * NS_PER_S)
        record = Record(start, start + round(for_s * NS_PER_S), kind, instrument, code, told)
        self._exchange.truth.note(record)
        return record

    def _note(self, crowd: Crowd, kind: str, told: dict[str, Any], for_s: float = 0.0) -> Record:
        return self.note(kind, crowd.book.listing.instrument, told, for_s)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        self._agenda.at(self._agenda.now() + seconds, lambda _: act())

    def _washing(
        self, crowd: Crowd, ring: Sequence[str], number: int, size: float
    ) -> Callable[[], None]:
        def act() -> None:
            if crowd.book.listing.has_book:
                crowd.wash(ring, number, size)

        return act

    def _scale(self, crowd: Crowd, factor: float) -> None:
        crowd.size *= factor

    def _reopen(self, crowd: Crowd) -> None:
        crowd.book.listing.accepting = not crowd.book.listing.closed
        crowd.release()

    def _doing(self, anomaly: PolymarketAnomaly) -> Callable[[float], None]:
        """The method for a scripted anomaly."""
        word, for_s, number = anomaly.symbol, anomaly.length_s, anomaly.number
        acts: dict[str, Callable[[], object]] = {
            "price_spike": lambda: self.spike(word, number("sigmas")),
            "volume_spike": lambda: self.volume_spike(word, number("factor"), for_s),
            "glitch": lambda: self.glitch(word, number("percent"), for_s),
            "crossed": lambda: self.crossed(word, number("ticks"), for_s),
            "pull": lambda: self.pull(word, for_s),
            "silence": lambda: self.silence(word, for_s),
            "wash": lambda: self.wash(
                word,
                anomaly.text("ring"),
                int(number("wallets")),
                int(number("trades")),
                number("shares"),
                for_s,
            ),
            "propose": lambda: self.propose(word),
            "dispute": lambda: self.propose(word, "disputed"),
            "pause": lambda: self.pause(word, for_s),
            "resolution": lambda: self.resolve(
                word, int(number("winner")), announced=anomaly.text("announced") == "True"
            ),
            "new_market": self.new_market,
        }

        def act(_: float) -> None:
            acts[anomaly.kind]()

        return act
