"""Plug-ins by name: entry points of this and of other installed packages. Holds no state."""

import importlib.metadata
import inspect
from typing import Any, Final, Literal

from msgspec import Struct

from tapewatch.app.suggest import did_you_mean
from tapewatch.model.errors import ConfigError
from tapewatch.model.text import clean

Kind = Literal["source", "detector"]

# The section of the settings in which plug-ins are named -> their entry point group.
GROUPS: Final[dict[Kind, str]] = {
    "source": "tapewatch.venues",
    "detector": "tapewatch.detectors",
}


class Plugin(Struct, frozen=True):
    """One installed plug-in. `trouble`: why it cannot be used, empty when it can."""

    kind: Kind
    name: str
    package: str
    version: str
    about: str
    trouble: str = ""


def plugins() -> list[Plugin]:
    """All that are installed, usable or not, by kind and name."""
    return [
        _describe(kind, point)
        for kind, group in GROUPS.items()
        for point in sorted(importlib.metadata.entry_points(group=group))
    ]


def load(kind: Kind, name: str) -> type[Struct]:
    """The struct of a plug-in. Raises `ConfigError` when there is none that works."""
    points = importlib.metadata.entry_points(group=GROUPS[kind])
    if name not in points.names:
        raise ConfigError(f'unknown {kind} "{clean(name, 40)}"{did_you_mean(name, points.names)}')
    return _import(kind, points[name])


def _import(kind: Kind, point: importlib.metadata.EntryPoint) -> type[Struct]:
    try:
        found: Any = point.load()
    except (ImportError, AttributeError, SyntaxError) as error:
        raise ConfigError(
            f'{kind} "{point.name}" cannot be imported: {clean(str(error))}'
        ) from error
    if not (isinstance(found, type) and issubclass(found, Struct)):
        raise ConfigError(f'{kind} "{point.name}" is no msgspec Struct')
    return found


def _describe(kind: Kind, point: importlib.metadata.EntryPoint) -> Plugin:
    package = point.dist.name if point.dist else ""
    version = point.dist.version if point.dist else ""
    try:
        text = inspect.getdoc(_import(kind, point)) or ""
    except ConfigError as error:
        return Plugin(kind, point.name, package, version, "", str(error))
    about = text.partition("\n\n")[0].replace("\n", " ")
    return Plugin(kind, point.name, package, version, clean(about, 160))
