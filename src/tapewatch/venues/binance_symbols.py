"""Binance's markets and their names: `BTCUSDT` is spot, `usdm/BTCUSDT` and `coinm/BTCUSD_PERP` are
futures. Spot and USD-M futures share names, so the market is part of ours."""

import re
from typing import Final, Literal

from msgspec import Struct

from tapewatch.model.errors import ConfigError
from tapewatch.model.text import clean

MarketName = Literal["spot", "usdm", "coinm"]
_SYMBOL: Final = re.compile(
    r"(?:(spot|usdm|coinm)/)?([A-Z0-9]{2,24}(?:_[A-Z0-9]{1,12})?)", re.ASCII
)


class Site(Struct, frozen=True):
    """Addresses of one market. `public` has quotes and books, `trades` has trades; they are the
    same but for USD-M futures (Binance's routed endpoints). `streams`: most that one connection
    may have (its documents; of two editions the lower figure)."""

    public: str
    trades: str
    rest: str
    path: str
    streams: int
    aggregated: bool  # the plain trade stream also has prints that are no market trades


SITES: Final[dict[MarketName, Site]] = {
    "spot": Site(
        "wss://data-stream.binance.vision/stream", "wss://data-stream.binance.vision/stream",
        "https://data-api.binance.vision", "/api/v3", 1024, aggregated=False,
    ),
    "usdm": Site(
        "wss://fstream.binance.com/public/stream", "wss://fstream.binance.com/market/stream",
        "https://fapi.binance.com", "/fapi/v1", 200, aggregated=True,
    ),
    "coinm": Site(
        "wss://dstream.binance.com/stream", "wss://dstream.binance.com/stream",
        "https://dapi.binance.com", "/dapi/v1", 200, aggregated=True,
    ),
}  # fmt: skip


def canonical_symbol(text: str) -> str:
    """`btc/usdt` -> `BTCUSDT`, `usdm/btcusdt` -> `usdm/BTCUSDT`. Raises `ConfigError`."""
    market, separator, name = text.strip().partition("/")
    if not separator or market.lower() not in SITES:
        market, name = "spot", text.strip()
    plain = name.upper().replace("/", "").replace("-", "")
    match = _SYMBOL.fullmatch(plain)
    if match is None:
        raise ConfigError(
            f'Binance has no symbol "{clean(text, 40)}". Write binance:BTCUSDT, or'
            " binance:usdm/BTCUSDT and binance:coinm/BTCUSD_PERP for futures"
        )
    market = market.lower()
    return plain if market == "spot" else f"{market}/{plain}"


def split_symbol(symbol: str) -> tuple[MarketName, str]:
    """A canonical symbol -> its market and Binance's name."""
    market, separator, name = symbol.partition("/")
    if not separator:
        return "spot", symbol
    assert market in SITES
    return market, name
