"""Settings: layers in, one checked `Config` out, with the origin of every value.

Strongest first: command line, environment, project file `./tapewatch.toml` (or `--config`), user
file, defaults. A default stands in the struct that uses it and nowhere else. Values are checked
where they are used as well: the plug-ins build themselves from their tables.
"""

import math
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, get_origin

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import fields

from tapewatch.app import registry
from tapewatch.app.aliases import renamed
from tapewatch.app.approvals import FILE as APPROVALS_FILE
from tapewatch.app.approvals import Approvals, refuse_claims, with_approvals
from tapewatch.app.config_file import flatten, read_file
from tapewatch.app.environment import COMMAND_LINE, Setting, settings_of
from tapewatch.app.history_settings import HistorySettings
from tapewatch.app.http_settings import HttpSettings
from tapewatch.app.suggest import did_you_mean
from tapewatch.gate.advice import AdviceSettings, Mode
from tapewatch.gate.gate import Gate
from tapewatch.io.clock import SystemClock
from tapewatch.io.control_switches import KillSwitchSettings
from tapewatch.io.redis_state import RedisSettings
from tapewatch.model.errors import ConfigError
from tapewatch.model.text import clean, masked
from tapewatch.model.time import parse_duration
from tapewatch.sinks.bus_settings import BusSettings
from tapewatch.sinks.metrics_settings import MetricsSettings
from tapewatch.sinks.session_files import FileNames

PROJECT_FILE: Final = "tapewatch.toml"
USER_FILE: Final = "~/.config/tapewatch/config.toml"
STATE_FOLDER: Final = "~/.local/state/tapewatch"
# `driftlock` and `zscore`, faithful to the rules of others, and the simpler `staleness` are off
# until they are named.
DEFAULT_DETECTORS: Final = (
    "bar_jump", "book", "crossed", "divergence", "drift", "feed", "flow", "gap", "intensity", "peg",
    "price_jump", "pump", "regime", "repricing", "shape", "spoof", "sum_arb", "volume", "wash",
)  # fmt: skip
TEST_MODE_S: Final = 120.0  # driftlock's test session

Seconds = Annotated[float, Meta(ge=0.0)]


class Session(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The folder and the length of a session.

    `dir` holds the folders of all sessions; `name` is this one's, empty for `session_<unix time>`.
    `duration_s` 0: until stopped. `status_every_s` 0: never. `test_mode` ends a session without a
    duration after two minutes.
    """

    dir: str = "logs"
    name: str = ""
    duration_s: Seconds = 0.0
    status_every_s: Seconds = 900.0
    test_mode: bool = False

    def __post_init__(self) -> None:
        if 0.0 < self.status_every_s < 1.0:
            raise ConfigError(
                f"status_every_s = {self.status_every_s:g} is below 1; 0 switches it off"
            )

    @property
    def lasts_s(self) -> float | None:
        """Seconds after which the session ends by itself; None: never."""
        return self.duration_s or (TEST_MODE_S if self.test_mode else None)


class TerminalSink(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The terminal. `bell` rings for alerts of severity warn and above."""

    bell: bool = True


class Sinks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where outputs go."""

    terminal: TerminalSink = TerminalSink()
    files: FileNames = FileNames()
    bus: BusSettings = BusSettings()


class ServiceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the service may say, and to whom.

    `mode` is `shadow_only` (reports and advice are on trial and bind nobody), `limited_live` (they
    bind for sink.bus.limited_markets) or `general_live`. `tapewatch promote` says when the next
    one is earned. `shadow_log` is a file of what the gate held up, or would have; empty: one in
    the session's folder.
    """

    mode: Mode = "shadow_only"
    shadow_log: str = ""


class Config(Struct, frozen=True, kw_only=True):
    """All settings, checked. `venues` and `detectors` are built and ready for the engine."""

    session: Session
    venues: tuple[Any, ...]
    detectors: tuple[Any, ...]
    gate: Gate
    kill_switch: KillSwitchSettings
    sink: Sinks
    service: ServiceSettings
    http: HttpSettings
    advice: AdviceSettings
    metrics: MetricsSettings
    redis: RedisSettings
    history: HistorySettings


class Loaded(Struct, frozen=True):
    """A configuration and how it came about: `origins` by dotted path (absent: default), `notes`
    for people, `files` that were read."""

    config: Config
    origins: dict[str, str]
    notes: tuple[str, ...]
    files: tuple[str, ...]


SECTIONS: Final[dict[str, type[Struct]]] = {
    "session": Session,
    "gate": Gate,
    "kill_switch": KillSwitchSettings,
    "sink": Sinks,
    "service": ServiceSettings,
    "http": HttpSettings,
    "advice": AdviceSettings,
    "metrics": MetricsSettings,
    "redis": RedisSettings,
    "history": HistorySettings,
}


def load(
    flags: Sequence[Setting] = (),
    *,
    environment: Mapping[str, str] = os.environ,
    file: pathlib.Path | None = None,
) -> Loaded:
    """Read all layers. `file` replaces the project file. Raises `ConfigError`."""
    user = _user_file(environment)
    files = [path for path in (user, pathlib.Path(PROJECT_FILE)) if path.is_file()]
    if file is not None:
        files = [*(path for path in files if path == user), file]
    said = [setting for path in files for setting in read_file(path)]
    from_environment, notes = settings_of(environment)
    said, old_names = renamed([*said, *from_environment, *flags])
    record = Approvals(pathlib.Path(APPROVALS_FILE).expanduser())
    said, allowed = with_approvals(said, record, SystemClock().now_ns())
    config, origins = assemble(said)
    notes += [*old_names, *allowed]
    return Loaded(config, origins, tuple(notes), tuple(str(path) for path in files))


def restore(plain: Mapping[str, Any], changes: Sequence[Setting] = ()) -> Config:
    """The configuration that `effective` wrote, with `changes`. Raises `ConfigError`."""
    refuse_claims(changes)
    wanted = {**plain, "detector": dict(plain.get("detector", {}))}
    for name in DEFAULT_DETECTORS:  # one that was switched off stays off
        wanted["detector"].setdefault(name, {"enabled": False})
    return assemble([*flatten(wanted, (), lambda _: "tape"), *changes])[0]


def everything(config: Config) -> dict[str, Any]:
    """Every setting with its value, as JSON data."""
    plain = {name: getattr(config, name) for name in SECTIONS}
    plain["source"] = {venue.name: venue for venue in config.venues}
    plain["detector"] = {detector.name: detector for detector in config.detectors}
    builtins: dict[str, Any] = msgspec.to_builtins(plain)
    return builtins


def effective(config: Config) -> dict[str, Any]:
    """The settings that outputs depend on, as JSON data: the first record of a tape. Two sessions
    with the same ones say the same about the same inputs."""
    plain = everything(config)
    return {name: plain[name] for name in ("source", "detector", "gate")}


def set_option(text: str) -> Setting:
    """`detector.zscore.z_score_threshold=4` -> a setting. Raises `ConfigError`."""
    path, separator, value = text.partition("=")
    if not separator or not path.strip():
        raise ConfigError(f'"{clean(text, 60)}" is not key=value', "--set")
    return Setting(tuple(path.strip().split(".")), value.strip(), "--set")


def assemble(said: Sequence[Setting]) -> tuple[Config, dict[str, str]]:
    """Later settings win. Raises `ConfigError` that names the origin of what is wrong."""
    tree: dict[str, Any] = {"detector": {name: {} for name in DEFAULT_DETECTORS}}
    origins: dict[str, str] = {}
    for setting in said:
        _place(tree, setting)
        origins[".".join(setting.path)] = setting.origin
    for name in tree:
        if name not in {*SECTIONS, *registry.GROUPS}:
            known = [*SECTIONS, *registry.GROUPS]
            raise _wrong(origins, name, f'unknown key "{clean(name)}"{did_you_mean(name, known)}')
    sections = {
        name: _fit(kind, tree.get(name, {}), name, origins) for name, kind in SECTIONS.items()
    }
    config = Config(
        venues=_build("source", tree.get("source", {}), origins),
        detectors=_build("detector", tree["detector"], origins),
        **sections,
    )
    _check_lines(config, origins)
    return config, origins


def _build(kind: registry.Kind, tables: Any, origins: dict[str, str]) -> tuple[Any, ...]:
    if not isinstance(tables, dict):
        raise _wrong(origins, kind, f"write a table such as [{kind}.name]")
    built = []
    for name, table in sorted(tables.items()):
        path = f"{kind}.{name}"
        if not isinstance(table, dict):
            raise _wrong(origins, path, f"write a table [{path}]")
        wanted = dict(table)
        if not _fit(
            _Switched, {k: wanted.pop(k) for k in ("enabled",) if k in wanted}, path, origins
        ).enabled:
            continue
        try:
            struct = registry.load(kind, name)
        except ConfigError as error:
            raise _wrong(origins, path, str(error)) from error
        built.append(_fit(struct, wanted, path, origins))
    return tuple(built)


class _Switched(Struct, frozen=True):
    """What every plug-in's table may say."""

    enabled: bool = True


def _fit(kind: type[Struct], table: Any, path: str, origins: dict[str, str]) -> Any:
    """`table` as `kind`. Raises `ConfigError` in the user's words."""
    if not isinstance(table, dict):
        raise _wrong(origins, path, f"write a table [{path}]")
    plain = _from_text(kind, table, path, origins)
    try:
        fitted = msgspec.convert(plain, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _explained(error, kind, table, path, origins) from error
    except ConfigError as error:
        name = str(error).partition(" ")[0]
        if name in kind.__struct_fields__:
            raise _wrong(origins, f"{path}.{name}", f"{path}.{error}") from error
        sentence = str(error)[:1].isupper()  # it says itself what it is about
        raise _wrong(origins, path, str(error) if sentence else f"{path}: {error}") from error
    for setting in flatten(msgspec.to_builtins(fitted), (path,), lambda _: ""):
        if isinstance(setting.value, float) and not math.isfinite(setting.value):
            full = ".".join(setting.path)
            raise _wrong(origins, full, f"{full} = {setting.value}: no finite number")
    return fitted


def _explained(
    error: msgspec.ValidationError,
    kind: type[Struct],
    table: dict[str, Any],
    path: str,
    origins: dict[str, str],
) -> ConfigError:
    text, _, at = str(error).partition(" - at `$.")
    inside = [part for part in at.rstrip("`").split(".") if part]
    unknown = re.search(r"unknown field `(.*)`", text)
    if unknown:
        name = unknown.group(1)
        full = ".".join([path, *inside, name])
        hint = did_you_mean(name, _names(kind, inside))
        return _wrong(
            origins, full, f'{".".join([path, *inside])}: unknown key "{clean(name)}"{hint}'
        )
    full = ".".join([path, *inside])
    missing = re.search(r"required field `(.*)`", text)
    if missing:
        return _wrong(origins, full, f"{full}.{missing.group(1)} is missing")
    value: Any = table
    for part in inside:
        value = value.get(part.partition("[")[0]) if isinstance(value, dict) else value
    return _wrong(origins, full, f"{full} = {clean(masked(str(value)), 60)}: {_plain(text)}")


def _plain(text: str) -> str:
    """msgspec's words without code marks: `expected float, got str`."""
    return text[:1].lower() + text[1:].replace("`", "")


def _names(kind: Any, inside: Sequence[str]) -> list[str]:
    for part in inside:
        kind = next((f.type for f in fields(kind) if f.name == part), None)
        if not _is_struct(kind):
            return []
    return list(kind.__struct_fields__)


def _from_text(
    kind: type[Struct], table: dict[str, Any], path: str, origins: dict[str, str]
) -> dict[str, Any]:
    """Texts where other things are meant: `90s` for seconds, `a,b` for lists."""
    result = dict(table)
    for field in fields(kind):
        value = table.get(field.name)
        where = f"{path}.{field.name}"
        if isinstance(value, dict) and _is_struct(field.type):
            result[field.name] = _from_text(field.type, value, where, origins)
        elif isinstance(value, str) and get_origin(field.type) in (tuple, list):
            result[field.name] = [part.strip() for part in value.split(",") if part.strip()]
        elif isinstance(value, str) and field.name.endswith("_s"):
            try:
                result[field.name] = parse_duration(value)
            except ConfigError as error:
                raise _wrong(origins, where, f"{where}: {error}") from error
    return result


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _check_lines(config: Config, origins: dict[str, str]) -> None:
    known = [detector.name for detector in config.detectors]
    for name in config.gate.lines:
        if name not in known:
            path = f"gate.lines.{name}"
            hint = did_you_mean(name, known)
            raise _wrong(origins, path, f'gate.lines: no detector "{clean(name)}" runs{hint}')


def _wrong(origins: dict[str, str], path: str, message: str) -> ConfigError:
    """The error with the origin of `path`, or of whatever was said below or above it."""
    below = (origin for key, origin in origins.items() if key.startswith(f"{path}."))
    parts = path.split(".")
    above = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
    exact = next((origins[key] for key in above if key in origins), None)
    origin = exact or next(below, "")
    return ConfigError(message, "" if origin == COMMAND_LINE else origin)


def _place(tree: dict[str, Any], setting: Setting) -> None:
    for key in setting.path[:-1]:
        below = tree.setdefault(key, {})
        if not isinstance(below, dict):
            raise ConfigError(f"{'.'.join(setting.path)}: {key} is no table", setting.origin)
        tree = below
    last = setting.path[-1]
    if setting.value == {} and isinstance(tree.get(last), dict):
        return
    tree[last] = setting.value


def _user_file(environment: Mapping[str, str]) -> pathlib.Path:
    base = environment.get("XDG_CONFIG_HOME")
    return (
        pathlib.Path(base) / "tapewatch/config.toml"
        if base
        else pathlib.Path(USER_FILE).expanduser()
    )
