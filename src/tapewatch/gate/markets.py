"""Which market is meant: ids, names and aliases of what the advisor has heard of. Bounded.

The two outcomes of a bet and its trades on the chain are one market, and its key is the condition
id. Everything else is its own market, and its key is the instrument.
"""

import re
from typing import Final

from msgspec import Struct, field

from tapewatch.gate.advice import Judgement
from tapewatch.model import limits
from tapewatch.model.text import clean

NAME_JOIN: Final = " · "  # between a market's slug and the outcome whose price is shown
ALIASES: Final = 4  # names per market, those that several markets claimed included
# Sources that see what happened elsewhere: their anomalies count, but what they have heard does not
# make the prices of the place where one trades current.
WITNESSES: Final = frozenset({"polygon"})

_CONDITION: Final = re.compile(r"0x(?:[0-9A-Fa-f]{64}|[0-9A-Fa-f]{62})(?![0-9A-Fa-f])", re.ASCII)


class Market(Struct):
    """What is known of one market, or of a source as a whole (`polymarket:*`).

    `flags` say why its data are not current, by kind: since when (ns), and a sentence. `shadow`:
    what was last said of it was said on trial.
    """

    key: str
    source: str = ""
    name: str = ""
    heard_ns: int = 0
    block: Judgement | None = None
    widen: Judgement | None = None
    flags: dict[str, tuple[int, str]] = field(default_factory=dict)
    unready: str = ""  # the report that said so
    shadow: bool = False
    instruments: list[str] = field(default_factory=list)


def market_key(instrument: str) -> str:
    """`polymarket:0x../NO` -> `0x..`; `kraken:BTC/USD` -> itself."""
    found = _CONDITION.match(instrument.partition(":")[2])
    return found.group().lower() if found else instrument


def is_source(key: str) -> bool:
    """Whether a key is that of a source as a whole."""
    return key.endswith(":*")


def sees(market: Market, instrument: str) -> bool:
    """Whether data of an instrument make the market's current."""
    return bool(market.source) and instrument.startswith(market.source)


class Markets:
    """The markets by key, and what else they are called. `evicted` counts those forgotten."""

    def __init__(self, most: int = limits.GATE_MARKETS) -> None:
        self.evicted = 0
        self._most = most
        self._markets: dict[str, Market] = {}
        self._keys: dict[str, str] = {}  # of instruments
        self._aliases: dict[str, str] = {}  # "": several markets claim it

    def __len__(self) -> int:
        return len(self._markets)

    def tradable(self) -> list[Market]:
        """Every market whose own venue was heard of, the longest known first."""
        return [one for one in self._markets.values() if one.source and not is_source(one.key)]

    def of(self, instrument: str) -> Market:
        """The market of an instrument, made if it is new; the longest known goes for it."""
        key = self._keys.get(instrument)
        market = None if key is None else self._markets.get(key)
        return self._enter(instrument) if market is None else market

    def seen(self, key: str) -> Market | None:
        """The market with that key, if anything was heard of it."""
        return self._markets.get(key)

    def name(self, market: Market, name: str) -> None:
        """People call it so: `slug · Outcome`, and the slug alone."""
        if not name or market.name == name:
            return
        self._unname(market)
        market.name = clean(name)
        for alias in _aliases(name):
            if alias in self._aliases:
                self._aliases[alias] = ""  # of two markets with one name none can be meant
            elif len(self._aliases) < ALIASES * self._most:
                self._aliases[alias] = market.key

    def find(self, asked: str) -> Market | None:
        """What a strategy means by an instrument id, a condition id, a slug or a name."""
        text = asked.strip()
        condition = _CONDITION.fullmatch(text.rpartition(":")[2].partition("/")[0])
        key = condition.group().lower() if condition else text
        found = self._markets.get(key) or self._markets.get(self._aliases.get(text.lower(), ""))
        return found if found is not None and found.source and not is_source(key) else None

    def _enter(self, instrument: str) -> Market:
        key = market_key(instrument)
        market = self._markets.get(key)
        if market is None:
            if len(self._markets) >= self._most:
                self._forget(next(m for m in self._markets.values() if not is_source(m.key)))
            market = self._markets[key] = Market(key)
        source = instrument.partition(":")[0]
        if source not in WITNESSES:
            market.source = source
        if len(market.instruments) < limits.GATE_INSTRUMENTS:
            market.instruments.append(instrument)
            self._keys[instrument] = key
        return market

    def _forget(self, market: Market) -> None:
        self.evicted += 1
        self._unname(market)
        for instrument in market.instruments:
            self._keys.pop(instrument, None)
        del self._markets[market.key]

    def _unname(self, market: Market) -> None:
        for alias in _aliases(market.name):
            if self._aliases.get(alias) == market.key:
                del self._aliases[alias]


def _aliases(name: str) -> tuple[str, ...]:
    whole = clean(name).lower()
    slug = whole.partition(NAME_JOIN)[0]
    return (whole, slug) if slug != whole else (whole,) if whole else ()
