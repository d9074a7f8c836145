"""Bot 4.15's own names for settings, as its specification has them at the top of a file.

They go on working, each with a note that says what it sets.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from tapewatch.app.environment import Setting
from tapewatch.model.errors import ConfigError


def _same(value: Any) -> Any:
    return value


def _hours(value: Any) -> float:
    """As seconds. Raises `ConfigError`."""
    try:
        return float(value) * 3600.0
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{str(value)[:40]!r} is no number of hours") from error


# Name -> (path, how its value becomes one of that).
NAMES: Final[dict[str, tuple[tuple[str, ...], Callable[[Any], Any]]]] = {
    "z_threshold": (("detector", "zscore", "z_score_threshold"), _same),
    "z_score_threshold": (("detector", "zscore", "z_score_threshold"), _same),
    "baseline_window_s": (("detector", "zscore", "baseline_window_s"), _same),
    "min_baseline_window_h": (("detector", "zscore", "baseline_window_s"), _hours),
    "sample_rate": (("gate", "sample_rate"), _same),
    "publish_to": (("sink", "bus", "publish_to"), _same),
    "auto_pause_strategies": (("advice", "auto_pause_strategies"), _same),
}


def renamed(said: Sequence[Setting]) -> tuple[list[Setting], list[str]]:
    """Settings under our names, and a note for each that had another. Raises `ConfigError`."""
    found, notes = [], []
    for setting in said:
        name = setting.path[0]
        if len(setting.path) > 1 or name not in NAMES:
            found.append(setting)
            continue
        path, value_of = NAMES[name]
        try:
            found.append(replace(setting, path=path, value=value_of(setting.value)))
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}", setting.origin) from error
        notes.append(f"{name} is set; it is bot 4.15's name of {'.'.join(path)}")
    return found, notes
