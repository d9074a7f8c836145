"""Settings as TOML text: the file that `config init` writes, and what `config show` prints."""

import inspect
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import NODEFAULT, Struct, structs

from tapewatch.app import registry
from tapewatch.app.config import DEFAULT_DETECTORS, SECTIONS
from tapewatch.model.text import masked

_HEAD: Final = """\
## Settings of tapewatch. What stands behind one # is the default; ## explains.
## Check with: tapewatch config check
## Names that end in _s are seconds; "90s", "15m" and "4h" are understood as well.

[source.kraken]
symbols = ["BTC/USD"]
"""


def template() -> str:
    """A file with every setting and what it means."""
    parts = [_HEAD]
    parts += [_commented(name, kind) for name, kind in SECTIONS.items()]
    parts += [
        _commented(f"detector.{name}", registry.load("detector", name))
        for name in DEFAULT_DETECTORS
    ]
    return "\n".join(parts)


def toml(plain: Mapping[str, Any], origins: Mapping[str, str] | None = None) -> str:
    """`plain` as TOML; with `origins`, each line says where its value comes from."""
    return "\n".join(_tables(plain, "", origins))


def shown(value: Any) -> Any:
    """JSON data as they may be shown: secrets in addresses are hidden."""
    if isinstance(value, Mapping):
        return {name: shown(below) for name, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    return masked(value) if isinstance(value, str) else value


def _commented(path: str, kind: type[Struct]) -> str:
    """One section: its docstring, then the defaults, all commented out but the header."""
    text = (inspect.getdoc(kind) or "").partition("\n\n")
    about = text[2] if path.startswith(("session", "gate")) else text[0]
    values = {}
    for field in structs.fields(kind):
        default = field.default
        if default is NODEFAULT and field.default_factory is not NODEFAULT:
            default = field.default_factory()
        if default is not NODEFAULT:
            values[field.name] = msgspec.to_builtins(default)
    lines = [f"## {line}".rstrip() for line in about.splitlines()]
    lines += [
        line if line.startswith("[") else f"# {line}"
        for line in _tables({path: values}, "", None)
        if line
    ]
    return "\n".join(lines) + "\n"


def _tables(plain: Mapping[str, Any], path: str, origins: Mapping[str, str] | None) -> list[str]:
    lines: list[str] = []
    for name, value in plain.items():
        here = f"{path}.{name}" if path else name
        if not isinstance(value, Mapping):
            said = f"  # {origins.get(here, 'default')}" if origins is not None else ""
            if value is not None:
                lines.append(f"{_key(name)} = {_value(value)}{said}")
    for name, value in plain.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, Mapping):
            below = _tables(value, here, origins)
            lines += [
                *([""] if lines else []),
                *([f"[{here}]"] if _has_values(value) else []),
                *below,
            ]
    return lines


def _has_values(table: Mapping[str, Any]) -> bool:
    return not table or any(not isinstance(value, Mapping) for value in table.values())


def _key(name: str) -> str:
    bare = name.replace("_", "").replace("-", "").isalnum() and name.isascii()
    return name if bare else _value(name)


def _value(value: Any) -> str:
    """JSON's texts, numbers, booleans and lists are TOML's as well."""
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()
