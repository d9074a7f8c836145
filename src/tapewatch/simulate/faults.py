"""The faults that the simulated venue can show, and when it shows them.

A fault is scripted (`{at, for, fault, scope, params}` in JSON, or `F15@20`, `stall@30:10`,
`F11@20,code=1012` on the command line). This module knows names, times and parameters; what a fault
does stands where it acts (`exchange`, `connection`, `kraken`).
"""

import math
import pathlib
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tapewatch.model.errors import ConfigError

Value = str | int | float | bool


class Scope(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a fault acts; an empty field means everywhere. `channel` is `trade` or `book`, `call` a
    REST call such as `Trades`."""

    symbol: str = ""
    channel: str = ""
    call: str = ""


class Fault(Struct, frozen=True, forbid_unknown_fields=True, rename={"at_s": "at", "for_s": "for"}):
    """One scripted occurrence: `at_s` seconds after the server's start, for `for_s` seconds."""

    at_s: float
    fault: str
    for_s: float = 0.0
    scope: Scope = Scope()
    params: dict[str, Value] = {}


class FaultKind(Struct, frozen=True):
    """One entry of the catalogue. `for_s` is the default length; 0 means it acts once. A number
    must lie in `low`..`high`, a text be one of `choices` where there are any."""

    code: str
    name: str
    text: str
    for_s: float = 0.0
    params: dict[str, Value] = {}
    low: float = 0.0
    high: float = 10_000.0
    choices: tuple[str, ...] = ()


_GAP: Final = "trades only on REST (lost: not even there)"
# Numbers as in the catalogue of feed faults of the protocol reference.
CATALOGUE: Final = (
    FaultKind("F01", "half_open", "open sockets neither send nor read any more; TCP stays"),
    FaultKind("F02", "acked_dead", "subscriptions made now are acknowledged, but get no data", 30),
    FaultKind("F03", "stall", "no data, heartbeats go on, REST goes on", 10),
    FaultKind("F07", "rejected", "subscriptions made now are refused", 10),
    FaultKind("F11", "close", "sockets close; 1006 drops TCP", 0, {"code": 1006}, 1000, 4999),
    FaultKind(
        "F12", "ban", "handshakes and REST refused (0: TCP reset)", 30, {"status": 429}, 0, 599
    ),
    FaultKind("F13", "duplicates", "close; who returns gets trades twice", 30, {"trades": 20}, 1),
    FaultKind("F14", "equal_trades", "trades equal in all but the id", 0, {"trades": 3}, 2),
    FaultKind("F15", "trade_gap", _GAP, 0, {"trades": 3, "lost": False}, 1),
    FaultKind("F16", "out_of_order", "trades come in reverse order", 0, {"trades": 3}, 2),
    FaultKind("F17", "lost_delta", "a book message is not sent"),
    FaultKind(
        "F19",
        "float_text",
        "book checksums of float text, or float numbers",
        10,
        {"what": "checksum"},
        choices=("checksum", "numbers"),
    ),
    FaultKind("F22", "crossed", "best bid above the best ask; ticks 0: locked", 0.5, {"ticks": 3}),
    FaultKind(
        "F26", "glitch", "quotes far away and back, no trade", 0.4, {"percent": 5.0}, -90, 1000
    ),
    FaultKind("F32", "maintenance", "status maintenance, no data", 10),
    FaultKind("F33", "rate_limit", "REST: EGeneral:Too many requests beyond 1/s", 30),
    FaultKind("F35", "http_5xx", "REST answers an HTML error page", 10, {"status": 502}, 400, 599),
    FaultKind(
        "F36",
        "error_body",
        "REST answers 200 with an error body",
        10,
        {"error": "EService:Unavailable"},
    ),
    FaultKind(
        "F41",
        "malformed",
        "bad frames: all, or one of text empty nan not_utf8 truncated huge",
        0,
        {"frame": "all"},
        choices=("all", "text", "empty", "nan", "not_utf8", "truncated", "huge"),
    ),
    FaultKind("F42", "clock_skew", "venue times are shifted", 30, {"seconds": 5.0}, -1e8, 1e8),
    FaultKind(
        "F43",
        "time_unit",
        "times as integers of s, ms or ns",
        10,
        {"unit": "ms"},
        choices=("s", "ms", "ns"),
    ),
    FaultKind(
        "F46",
        "slow_consumer",
        "frames pile up and burst; over queue: closed",
        5,
        {"queue": 1000},
        1,
    ),
)


def kind_of(
    fault: Fault, catalogue: tuple[FaultKind, ...] = CATALOGUE, venue: str = "kraken"
) -> FaultKind:
    """The catalogue's entry. Raises `ConfigError` for an unknown name."""
    word = fault.fault.lower()
    kind = next((one for one in catalogue if word in (one.code.lower(), one.name)), None)
    if kind is None:
        raise ConfigError(
            f'unknown fault "{fault.fault[:40]}"; see tapewatch simulate {venue} --list-faults'
        )
    return kind


def complete(
    fault: Fault, catalogue: tuple[FaultKind, ...] = CATALOGUE, venue: str = "kraken"
) -> Fault:
    """`fault` with its number as name and every default filled in. Raises `ConfigError`."""
    kind = kind_of(fault, catalogue, venue)
    for name, value in fault.params.items():
        if name not in kind.params:
            known = ", ".join(kind.params) or "none"
            raise ConfigError(f'{kind.name} has no parameter "{name[:40]}" (it has: {known})')
        if not _fits(value, kind.params[name], kind):
            raise ConfigError(f"{kind.name}: {name} cannot be {str(value)[:40]}")
    if not (0 <= fault.at_s < math.inf and 0 <= fault.for_s < math.inf):
        raise ConfigError(f"{kind.name}: times are seconds from the start, not negative")
    return replace(
        fault,
        fault=kind.code,
        for_s=fault.for_s or kind.for_s,
        params={**kind.params, **fault.params},
    )


def _fits(value: Value, like: Value, kind: FaultKind) -> bool:
    if isinstance(like, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(like, bool)
    if isinstance(like, str) or isinstance(value, str):
        known = value in kind.choices or not kind.choices
        return isinstance(value, str) and isinstance(like, str) and known
    return kind.low <= value <= kind.high


def parse(text: str, catalogue: tuple[FaultKind, ...] = CATALOGUE, venue: str = "kraken") -> Fault:
    """`NAME@AT[:FOR][,key=value...]` -> a complete fault. Raises `ConfigError`."""
    head, *pairs = text.split(",")
    name, _, times = head.partition("@")
    at, _, length = times.partition(":")
    params: dict[str, Value] = {}
    scope: dict[str, str] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key in Scope.__struct_fields__:
            scope[key] = value
        else:
            params[key] = _value(value)
    try:
        fault = Fault(float(at), name, float(length or 0), Scope(**scope), params)
    except ValueError as error:
        raise ConfigError(
            f'"{text[:60]}" is not a fault; write NAME@AT[:FOR], such as stall@30:10', "--fault"
        ) from error
    return complete(fault, catalogue, venue)


def load(
    path: pathlib.Path, catalogue: tuple[FaultKind, ...] = CATALOGUE, venue: str = "kraken"
) -> tuple[Fault, ...]:
    """The faults of a JSON list. Raises `ConfigError`."""
    try:
        faults = msgspec.json.decode(path.read_bytes(), type=tuple[Fault, ...])
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"not a fault script: {error}", path.name) from error
    return tuple(complete(fault, catalogue, venue) for fault in faults)


def _value(text: str) -> Value:
    if text in {"true", "false"}:
        return text == "true"
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text  # `frame=nan` is a word
    return int(number) if number.is_integer() and "." not in text else number


class ActiveFaults:
    """The faults in force now."""

    def __init__(self) -> None:
        self._active: list[Fault] = []

    @property
    def any(self) -> bool:
        """True while a fault is in force."""
        return bool(self._active)

    def begin(self, fault: Fault) -> None:
        """From now on."""
        self._active.append(fault)

    def end(self, fault: Fault) -> None:
        """No more. Ending twice is harmless: a counted fault ends before its time."""
        self._active = [one for one in self._active if one is not fault]

    def find(self, code: str, symbol: str = "", channel: str = "", call: str = "") -> Fault | None:
        """The first active fault of this number whose scope includes the place."""
        for fault in self._active:
            scope = fault.scope
            if (
                fault.fault == code
                and scope.symbol in {"", symbol}
                and scope.channel in {"", channel}
                and scope.call in {"", call}
            ):
                return fault
        return None
