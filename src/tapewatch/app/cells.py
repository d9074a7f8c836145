"""Cells of tables: which column is meant, times in any unit, numbers. Nothing is guessed at."""

import re
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from tapewatch.app import table_files
from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_MS, NS_PER_S, TS_MAX_NS, TS_MIN_NS, parse_rfc3339

_UNITS: Final = (NS_PER_S, NS_PER_MS, 1_000, 1)  # of a bare number, in ns


def found_columns(
    known: Mapping[str, Sequence[str]],
    optional: Collection[str],
    said: Mapping[str, str],
    file: str,
    row: table_files.Row,
) -> dict[str, str]:
    """Ours -> the file's, by the first row. `known`: our name -> the names it has elsewhere,
    likeliest first; `said`: what the user named. Raises `ConfigError` naming what is missing."""
    for name, column in said.items():
        if name not in known:
            raise ConfigError(f'"{clean(name, 40)}" is not one of {", ".join(known)}', "--columns")
        if column not in row:
            raise ConfigError(
                f'{file} has no column "{clean(column, 40)}"; it has {_listed(row)}',
                "--columns",
            )
    found = dict(said)
    lower = {str(column).lower(): str(column) for column in row}
    for name, others in known.items():
        match = next((lower[other] for other in others if other in lower), None)
        if name not in found and match is not None:
            found[name] = match
        elif name not in found and name not in optional:
            raise ConfigError(
                f"{file} has no column that looks like {name}; it has {_listed(row)}. "
                f"Say which: --columns {name}=..."
            )
    return found


def _listed(row: table_files.Row) -> str:
    return clean(", ".join(map(str, row)))


def time_ns(value: Any) -> int:
    """A time in whatever unit -> ns: bare numbers are recognised by their size, since plausible
    seconds, ms, µs and ns do not overlap; texts may be RFC 3339. Raises `DecodeError`."""
    text = str(value).strip()
    if isinstance(value, str) and ("-" in text[1:] or ":" in text):
        zoned = text if text[-1:] in "Zz" or re.search(r"[+-]\d\d:?\d\d$", text) else f"{text}Z"
        return parse_rfc3339(zoned if len(text) > 10 else f"{text}T00:00:00Z")
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise DecodeError(f"not a time: {clean(text, 40)}") from error
    if amount.is_finite():
        for unit in _UNITS:
            if TS_MIN_NS <= amount * unit <= TS_MAX_NS:
                return int(amount * unit)
    raise DecodeError(f"not a time between 2009 and 2100: {clean(text, 40)}")


def amount(value: Any) -> float:
    """A float; nothing else. Raises `DecodeError`."""
    try:
        return float(value.replace("_", "?") if isinstance(value, str) else value)  # Python's own
    except (TypeError, ValueError) as error:
        raise DecodeError(f"not a number: {clean(str(value), 40)}") from error
