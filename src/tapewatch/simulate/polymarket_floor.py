"""All crowds of the simulated Polymarket: lists markets, and lets each crowd act in its time."""

from typing import Final

from tapewatch.simulate.market import seeded
from tapewatch.simulate.polymarket_agenda import Agenda
from tapewatch.simulate.polymarket_crowd import Crowd, Fair, PolymarketMarketConfig
from tapewatch.simulate.polymarket_exchange import PolymarketExchange
from tapewatch.simulate.polymarket_ledger import wallets
from tapewatch.simulate.polymarket_listing import Lister, Listing

SPREAD: Final = 0.8  # deviation of the first prices, in logits


class Floor:
    """`crowds` by condition."""

    def __init__(
        self,
        exchange: PolymarketExchange,
        agenda: Agenda,
        config: PolymarketMarketConfig,
        seed: int,
        base_ns: int,
    ) -> None:
        self.exchange, self.agenda = exchange, agenda
        self.crowds: dict[str, Crowd] = {}
        self._config, self._seed = config, seed
        self._lister = Lister(seed, base_ns)
        self._rng = seeded(seed, "floor")
        self._wallets = wallets(seed)
        self.slow = 1.0  # share of the configured rates that each market gets

    def fill(self, markets: int, contests: int, outcomes: int, short: int) -> None:
        """List `markets`, negative-risk events first, and begin to trade."""
        groups: list[list[Listing]] = []
        for _ in range(contests):
            if outcomes >= 2 and sum(map(len, groups)) + outcomes <= markets:
                groups.append(self._lister.contest(outcomes))
        while (count := sum(map(len, groups))) < markets:
            groups.append([self._lister.game(short=markets - count <= short)])
        self.slow = min(1.0, self._config.events_per_s / self._pace / max(1, markets))
        for group in groups:
            self.open(group)

    def game(self) -> Listing:
        """One more market, not listed yet."""
        return self._lister.game()

    def open(self, group: list[Listing], *, announce: bool = False, crowded: bool = True) -> None:
        """List one event's markets and let their crowds in, unless a recording plays there."""
        self.exchange.list_markets(group, announce=announce)
        fair = Fair([self._rng.gauss(0, SPREAD) for _ in group])
        for place, listing in enumerate(group):
            book = self.exchange.books[listing.condition]
            rng = seeded(self._seed, listing.condition)
            crowd = Crowd(self.exchange, book, (fair, place), self._config, rng)
            crowd.slow, crowd.wallets = self.slow, self._wallets
            self.crowds[listing.condition] = crowd
            if not crowded:
                crowd.held += 1
                continue
            crowd.open()
            self._go_on(crowd, rng.expovariate(self._pace * self.slow))

    @property
    def _pace(self) -> float:
        """Acts of one market in a second."""
        return self._config.changes_per_s + self._config.trades_per_s

    def _go_on(self, crowd: Crowd, at_s: float) -> None:
        def act(due_s: float) -> None:
            if crowd.book.listing.winner < 0:
                self._go_on(crowd, crowd.act(due_s))

        self.agenda.at(at_s, act)
