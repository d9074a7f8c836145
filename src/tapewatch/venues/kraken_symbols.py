"""Kraken's names for pairs: `BTC/USD` (ours and websocket v2), `XBT/USD` (v1), `XBTUSD` (REST).

Kraken calls two currencies differently from everybody else. REST results are keyed by yet another
name (`XXBTZUSD`), which nothing here needs: a result holds one pair.
"""

import difflib
import re
from typing import Final

import msgspec

from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.text import clean

_TO_OURS: Final = {"XBT": "BTC", "XDG": "DOGE"}
_TO_THEIRS: Final = {ours: theirs for theirs, ours in _TO_OURS.items()}
_PAIR: Final = re.compile(r"([A-Z0-9.]{1,20})/([A-Z0-9.]{1,20})", re.ASCII)
# For the hint when the slash is missing: quote currencies by Kraken's listings, longest first.
_QUOTES: Final = (
    "USDT",
    "USDC",
    "USD",
    "EUR",
    "GBP",
    "CAD",
    "AUD",
    "CHF",
    "JPY",
    "XBT",
    "BTC",
    "ETH",
)


class _Listing(msgspec.Struct):
    wsname: str = ""


class _AssetPairs(msgspec.Struct):
    result: dict[str, _Listing] = {}


def canonical_symbol(text: str) -> str:
    """`XBT/USD`, `btc/usd` -> `BTC/USD`. Raises `ConfigError`, with a hint where there is one."""
    match = _PAIR.fullmatch(text.strip().upper())
    if match is None:
        raise ConfigError(f'Kraken has no pair "{clean(text, 40)}".{_hint(text.strip().upper())}')
    return "/".join(_TO_OURS.get(code, code) for code in match.groups())


def v1_name(symbol: str) -> str:
    """`BTC/USD` -> `XBT/USD`."""
    return "/".join(_TO_THEIRS.get(code, code) for code in symbol.split("/"))


def rest_name(symbol: str) -> str:
    """`BTC/USD` -> `XBTUSD`, as REST requests take it."""
    return v1_name(symbol).replace("/", "")


def listed_symbols(body: bytes) -> tuple[str, ...]:
    """Canonical symbols in an `AssetPairs` answer. Raises `DecodeError`."""
    try:
        listings = msgspec.json.decode(body, type=_AssetPairs).result.values()
    except (ValueError, RecursionError) as error:
        raise DecodeError("Kraken's list of pairs cannot be read") from error
    names = [_PAIR.fullmatch(listing.wsname) for listing in listings]
    return tuple(canonical_symbol(match.group()) for match in names if match is not None)


def check_listed(symbol: str, listed: tuple[str, ...]) -> None:
    """Raises `ConfigError` naming the closest pair when Kraken does not list `symbol`."""
    if symbol in listed:
        return
    near = difflib.get_close_matches(symbol, listed, 1)
    hint = f" Did you mean kraken:{near[0]}?" if near else ""
    raise ConfigError(f'Kraken has no pair "{clean(symbol, 40)}".{hint}')


def _hint(text: str) -> str:
    letters = re.sub(r"[^A-Z0-9.]", "", text)
    for quote in _QUOTES:
        base = letters.removesuffix(quote)
        if base and base != letters and _PAIR.fullmatch(f"{base}/{quote}"):
            return f" Did you mean kraken:{canonical_symbol(f'{base}/{quote}')}?"
    return " Write BASE/QUOTE, such as kraken:BTC/USD."
