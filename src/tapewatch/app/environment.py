"""Environment variables as settings: `TAPEWATCH_SECTION__KEY`, and the names of driftlock's own.

The old names go on working, each with a note that says what it sets. A name whose feature does not
exist here says so: no option is silently without effect.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

PREFIX: Final = "TAPEWATCH_"
SEPARATOR: Final = "__"
COMMAND_LINE: Final = "command line"  # an origin that nobody must be told


class Setting(Struct, frozen=True):
    """One value, the path it is meant for, and where it was said."""

    path: tuple[str, ...]
    value: Any
    origin: str


def _text(value: str) -> str:
    return value


def _file(value: str) -> str:
    return str(pathlib.Path(value).absolute())  # scripts meant it relative to where they run


# Name -> (path, how its text becomes a value). Of two names for one path the later one wins.
ALIASES: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "KRAKEN_PAIR": ("source.kraken.symbols", _text),
    "BASELINE_LINES": ("detector.driftlock.baseline_lines", _text),
    "COMPRESSION_ALGO": ("detector.driftlock.algo", _text),
    "DURATION": ("session.duration_s", _text),
    "TEST_MODE": ("session.test_mode", _text),
    "REPORT_INTERVAL": ("session.status_every_s", _text),
    "TEST_INTERVAL": ("session.status_every_s", _text),
    "RAW_LOG": ("sink.files.raw", _file),
    "ANOMALY_LOG": ("sink.files.anomalies", _file),
    "ALERT_LOG": ("sink.files.alerts", _file),
    "STATUS_LOG": ("sink.files.status", _file),
    "SYNTHETIC_LOG": ("sink.files.synthetic", _file),
    "LOOM_LOG": ("sink.files.loom", _file),
    "LOOM_STATE_FILE": ("sink.files.loom_state", _file),
    "STREAMER_PID_FILE": ("sink.files.streamer_pid", _file),
    "RECORDING_DIR": ("sink.files.recordings", _file),
}
SESSION_DIR: Final = "SESSION_DIR"  # one name for two settings: the folder's parent and its name

# Name -> the feature it belongs to, which this version does not have.
ABSENT: Final[dict[str, str]] = {
    "NO_ANOMALY_THRESHOLD": "synthetic injection",
    "FORCE_INJECT": "synthetic injection",
    "ALERT_SOUND": "sound",
    "RECORDING_DURATION": "screen recording",
    "SCREEN_RESOLUTION": "screen recording",
    "FRAMERATE": "screen recording",
    "CAPTURE_BACKEND": "screen recording",
    "VIRTUAL_DISPLAY": "screen recording",
    "PIX_FMT_X11": "screen recording",
    "PIX_FMT_AVFOUNDATION": "screen recording",
    "SCREEN_DEVICE": "screen recording",
}


def settings_of(environment: Mapping[str, str]) -> tuple[list[Setting], list[str]]:
    """Settings, weakest first, and a note for each old name that is set."""
    found, notes = _old_names(environment)
    for name in sorted(environment):
        path = name.removeprefix(PREFIX).lower().split(SEPARATOR)
        if name.startswith(PREFIX) and len(path) > 1 and environment[name]:
            found.append(Setting(tuple(path), environment[name], name))
    return found, notes


def variable_for(path: str) -> str:
    """`session.duration_s` -> `TAPEWATCH_SESSION__DURATION_S`."""
    return PREFIX + path.replace(".", SEPARATOR).upper()


def _old_names(environment: Mapping[str, str]) -> tuple[list[Setting], list[str]]:
    found: list[Setting] = []
    notes: list[str] = []
    folder = environment.get(SESSION_DIR)
    if folder:
        path = pathlib.Path(folder)
        found.append(Setting(("session", "dir"), str(path.parent), SESSION_DIR))
        found.append(Setting(("session", "name"), path.name, SESSION_DIR))
        notes.append(f"{SESSION_DIR} is set; it sets session.dir and session.name")
    for name, (path_text, value_of) in ALIASES.items():
        if environment.get(name):
            value = value_of(environment[name])
            found.append(Setting(tuple(path_text.split(".")), value, name))
            notes.append(
                f"{name} is set; it is an old name of {path_text} ({variable_for(path_text)})"
            )
    notes += [
        f"{name} is set but {feature} is not part of this version"
        for name, feature in ABSENT.items()
        if environment.get(name)
    ]
    return found, notes
