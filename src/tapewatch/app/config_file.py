"""One TOML file of settings, with the line of every key. What the keys mean is not known here."""

import pathlib
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from tapewatch.app.environment import Setting
from tapewatch.model.errors import ConfigError
from tapewatch.model.text import clean


def read_file(path: pathlib.Path) -> list[Setting]:
    """The settings of one TOML file; each knows its line. Raises `ConfigError`."""
    shown = clean(str(path))
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", shown) from error
    except UnicodeDecodeError as error:
        raise ConfigError("is not UTF-8 text", shown) from error
    except tomllib.TOMLDecodeError as error:
        at = re.search(r" \(at line (\d+), column \d+\)", str(error))
        where = f"{shown}:{at.group(1)}" if at else shown
        raise ConfigError(clean(str(error)), where) from error
    lines = _lines(text)

    def origin(key: tuple[str, ...]) -> str:
        near = (key[:size] for size in range(len(key), 0, -1))
        line = next((lines[part] for part in near if part in lines), None)
        return f"{shown}:{line}" if line else shown

    return flatten(table, (), origin)


def flatten(
    table: Mapping[str, Any], path: tuple[str, ...], origin: Callable[[tuple[str, ...]], str]
) -> list[Setting]:
    """The leaves of a table. An empty table is a leaf: it names a plug-in."""
    found = []
    for key, value in table.items():
        here = (*path, key)
        if isinstance(value, Mapping) and value:
            found += flatten(value, here, origin)
        else:
            found.append(Setting(here, value, origin(here)))
    return found


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """Line numbers of keys and tables. tomllib does not tell them; a line inside a multi-line
    text that looks like a key may be taken for one, which only makes an error point there."""
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[{1,2}([^\[\]]+)\]", line)
        key = re.match(r"""\s*([\w."'-]+)\s*=""", line)
        if header:
            table = _key(header.group(1))
            found.setdefault(table, number)
        elif key:
            found.setdefault((*table, *_key(key.group(1))), number)
    return found


def _key(text: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in text.split("."))
