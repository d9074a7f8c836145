"""The pairs that the simulated venue lists, with every name Kraken has for them.

Prices and sizes are integers everywhere in `simulate`: price in units of 10^-price_digits (one
tick), size in units of 10^-size_digits. That makes the wire text exact by construction.
"""

import re
from typing import Final

from msgspec import Struct

from tapewatch.model.errors import ConfigError

# Kraken's own currency codes where they differ from everybody's.
_ALIAS: Final = {"BTC": "XBT", "DOGE": "XDG"}
# Currencies whose REST name carries Kraken's old class prefix (X for coins, Z for money).
_COINS: Final = frozenset({"XBT", "ETH", "LTC", "XRP", "XLM", "XMR", "ZEC", "ETC"})
_MONEY: Final = frozenset({"USD", "EUR", "GBP", "CAD", "JPY", "AUD"})

V1_DIGITS: Final = 5  # websocket v1 and REST print at least so many decimals of a price

_SYMBOL: Final = re.compile(r"[A-Z0-9]{2,10}/[A-Z0-9]{2,10}", re.ASCII)


class Pair(Struct, frozen=True):
    """One listed pair. `price` is where the synthetic market starts, `size` the median resting
    order in base units."""

    symbol: str
    price: float
    price_digits: int
    size: float
    size_digits: int = 8

    @property
    def v1_name(self) -> str:
        """`XBT/USD`: the name in websocket v1."""
        return "/".join(_ALIAS.get(code, code) for code in self.symbol.split("/"))

    @property
    def altname(self) -> str:
        """`XBTUSD`: the short REST name."""
        return self.v1_name.replace("/", "")

    @property
    def rest_name(self) -> str:
        """`XXBTZUSD`: the key of REST results."""
        base, quote = self.v1_name.split("/")
        if base in _COINS and quote in _COINS | _MONEY:
            return f"X{base}{'X' if quote in _COINS else 'Z'}{quote}"
        return self.altname

    @property
    def names(self) -> frozenset[str]:
        """Every spelling that REST accepts."""
        return frozenset(
            {
                self.symbol,
                self.symbol.replace("/", ""),
                self.v1_name,
                self.altname,
                self.rest_name,
            }
        )

    @property
    def instrument(self) -> str:
        """`kraken:BTC/USD`."""
        return f"kraken:{self.symbol}"


# Price, digits and size are of the order seen on Kraken in 2025; only the digits matter to clients.
_LISTED: Final = {
    pair.symbol: pair
    for pair in (
        Pair("BTC/USD", 87_412.3, 1, 0.2),
        Pair("ETH/USD", 3_012.45, 2, 4.0),
        Pair("DOGE/USD", 0.1712345, 7, 20_000.0),
        Pair("SOL/USD", 142.31, 2, 40.0),
        Pair("XRP/USD", 2.21345, 5, 3_000.0),
        Pair("ADA/USD", 0.512345, 6, 8_000.0),
        Pair("LTC/USD", 92.11, 2, 40.0),
        Pair("BTC/EUR", 75_204.1, 1, 0.1),
    )
}


def pair_of(symbol: str) -> Pair:
    """The pair named `BTC/USD` or `XBT/USD`; one we have no figures for starts at 100.00.

    Raises `ConfigError` for what cannot be a pair.
    """
    if not _SYMBOL.fullmatch(symbol):
        raise ConfigError(f'"{symbol[:40]}" is not a pair; write BASE/QUOTE, such as BTC/USD')
    back = {alias: code for code, alias in _ALIAS.items()}
    name = "/".join(back.get(code, code) for code in symbol.split("/"))
    return _LISTED.get(name) or Pair(name, 100.0, 2, 10.0)
