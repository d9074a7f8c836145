"""What people call a Polymarket market: slug, event, ids, or an address of the site. Pure.

Ids look alike: a condition and a question have the same form, a token may be written as a number
or in hexadecimal, and a wallet is hexadecimal as well. `Word` says what a text may be, likeliest
first, so that an id in the wrong place is still found.
"""

import re
from typing import Final, Literal
from urllib.parse import urlsplit

from msgspec import Struct

from tapewatch.model.errors import ConfigError
from tapewatch.model.text import clean
from tapewatch.venues.polymarket_markets import CONDITION_ID

Key = Literal["condition_ids", "clob_token_ids", "question_ids", "slug", "id", "event"]

HOSTS: Final = ("polymarket.com", "www.polymarket.com")
_SLUG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,199}", re.ASCII)
_HEX: Final = re.compile(r"0[xX][0-9a-fA-F]*", re.ASCII)
_TOKEN_DIGITS: Final = 20  # a shorter number is one of Gamma's own ids
_UINT256: Final = 2**256
_WALLET: Final = 42  # characters


class Word(Struct, frozen=True):
    """What a text may mean: `keys` to ask Gamma for, with the value of each, likeliest first."""

    text: str
    keys: tuple[tuple[Key, str], ...]


def word_of(text: str) -> Word:
    """`will-it-rain`, `event/weather`, `0x...`, `7132...`, `https://polymarket.com/event/weather`.
    Raises `ConfigError` for what can be none of these."""
    said = text.strip()
    shown = clean(said, 80)
    if "://" in said or said.startswith(HOSTS):
        return Word(said, _address(said))
    if _HEX.fullmatch(said):
        return Word(said, _hexadecimal(said.lower()))
    if said.isascii() and said.isdigit():
        return Word(said, _decimal(said))
    keys = _path([part for part in said.split("/") if part])
    if not keys:
        raise ConfigError(
            f'"{shown}" names no market of Polymarket; write its slug, an id, or its address, such'
            " as polymarket:will-it-rain or https://polymarket.com/event/weather"
        )
    return Word(said, keys)


def _address(text: str) -> tuple[tuple[Key, str], ...]:
    """Of the site: `/event/<event>/<market>`, `/market/<market>`, with a language before it, or the
    page of a game, whose last part is the event."""
    shown = clean(text, 80)
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if host not in HOSTS:
        raise ConfigError(f'"{shown}" is no address of polymarket.com')
    path = [part for part in parts.path.split("/") if part]
    for at, name in enumerate(path):
        if name in {"event", "market"}:
            keys = _path(path[at:])
            if keys:
                return keys
    if len(path) > 1 and _SLUG.fullmatch(path[-1]):
        return (("event", path[-1]), ("slug", path[-1]))
    raise ConfigError(f'"{shown}" is an address of polymarket.com, but of no market or event')


def _path(parts: list[str]) -> tuple[tuple[Key, str], ...]:
    """A slug, which may be a market's or an event's, or one that says whose it is."""
    if not parts or not all(_SLUG.fullmatch(part) for part in parts):
        return ()
    match parts:
        case ["event", event]:
            return (("event", event), ("slug", event))
        case ["event", _, market] | ["market", market]:
            return (("slug", market),)
        case [slug]:
            return (("slug", slug), ("event", slug))
    return ()


def _hexadecimal(text: str) -> tuple[tuple[Key, str], ...]:
    if CONDITION_ID.fullmatch(text):
        token = str(int(text, 16))
        return (("condition_ids", text), ("clob_token_ids", token), ("question_ids", text))
    shown = clean(text, 80)
    if len(text) == _WALLET:
        raise ConfigError(f"{shown} is the address of a wallet, not of a market")
    raise ConfigError(
        f"{shown} is no condition id: that has 64 (or 62) hexadecimal digits after 0x, this has"
        f" {len(text) - 2}"
    )


def _decimal(text: str) -> tuple[tuple[Key, str], ...]:
    if len(text) < _TOKEN_DIGITS:
        return (("id", text),)
    number = int(text) if len(text) <= 78 else _UINT256
    if number >= _UINT256:
        raise ConfigError(f"{clean(text, 80)} is no token id: it has more than 256 bits")
    hexadecimal = f"0x{number:064x}"  # a condition written as a number
    return (("clob_token_ids", text), ("condition_ids", hexadecimal))
