"""Instrument ids: `venue:symbol`, one string in logs, metrics, keys and file contents."""

import re
from typing import Literal

from tapewatch.model.errors import ConfigError

Side = Literal["buy", "sell", "unknown"]

_ID = re.compile(r"([a-z][a-z0-9_]{0,31}):([A-Za-z0-9/._\-]{1,128})", re.ASCII)


def split_id(instrument: str) -> tuple[str, str]:
    """`kraken:BTC/USD` -> (`kraken`, `BTC/USD`). Raises `ConfigError`."""
    match = _ID.fullmatch(instrument)
    if match is None:
        raise ConfigError(
            f'"{instrument[:60]}" is not a market id; write venue:symbol, such as kraken:BTC/USD'
        )
    return match.group(1), match.group(2)


def group_of(instrument: str) -> str:
    """What an instrument shares with its next of kin: `kraken:BTC` of `kraken:BTC/USD`, or the
    market of an outcome. An id without a slash is its own group."""
    return instrument.rpartition("/")[0] or instrument
