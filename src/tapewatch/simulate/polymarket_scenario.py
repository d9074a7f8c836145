"""What is planted in the simulated Polymarket: the script's structs and its reader.

A scenario file is JSON: `{"market": {...}, "anomalies": [{at, for, kind, symbol, params}],
"faults": [{at, for, fault, scope, params}]}`, times in seconds from the server's start.
"""

import math
import pathlib
from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from msgspec import Struct

from tapewatch.model.errors import ConfigError
from tapewatch.simulate.faults import Fault
from tapewatch.simulate.polymarket_crowd import PolymarketMarketConfig

Kind = Literal[
    "price_spike",
    "volume_spike",
    "glitch",
    "crossed",
    "pull",
    "silence",
    "wash",
    "propose",
    "dispute",
    "pause",
    "resolution",
    "new_market",
]
Value = float | str | bool

# Every parameter with its default.
PARAMS: Final[Mapping[Kind, Mapping[str, Value]]] = {
    "price_spike": {"sigmas": 5.0},
    "volume_spike": {"factor": 30.0},
    "glitch": {"percent": 20.0},
    "crossed": {"ticks": 2.0},
    "pull": {},
    "silence": {},
    "wash": {"ring": "cycle", "wallets": 3.0, "trades": 30.0, "shares": 120.0},
    "propose": {},
    "dispute": {},
    "pause": {},
    "resolution": {"winner": 0.0, "announced": True},
    "new_market": {},
}
LENGTHS: Final[Mapping[Kind, float]] = {
    "glitch": 0.4,
    "crossed": 1.5,
    "pull": 5.0,
    "silence": 60.0,
    "wash": 60.0,
    "pause": 60.0,
}
RINGS: Final = ("self_cross", "cycle", "ping_pong")
HIGH: Final = 10_000.0  # no parameter makes sense beyond
_LOW: Final = {"sigmas": -HIGH, "percent": -90.0}


class PolymarketAnomaly(
    Struct, frozen=True, forbid_unknown_fields=True, rename={"at_s": "at", "for_s": "for"}
):
    """One planted anomaly. `symbol` is a market: slug, condition id, token id, or number from 1
    (empty: the first).

    | kind | params |
    |---|---|
    | `price_spike` | `sigmas`: signed, in deviations of the mid over the last half hour; it stays |
    | `volume_spike` | `factor`: one trade so many times the usual; with `for`: all trades |
    | `glitch` | `percent`: quotes so far away, and back after `for`; no trade |
    | `crossed` | `ticks`: best bid so far above the best ask, during `for` |
    | `pull` | makers pull and post again after `for` |
    | `silence` | nothing happens during `for` |
    | `wash` | `ring` (self_cross, cycle, ping_pong) of `wallets`: `trades` of `shares` in `for` |
    | `propose`, `dispute` | states of the resolution on Gamma |
    | `pause` | no orders accepted during `for` |
    | `resolution` | `winner` (0 or 1); `announced` on sockets |
    | `new_market` | one more market, announced |
    """

    at_s: float
    kind: Kind
    for_s: float = 0.0
    symbol: str = ""
    params: dict[str, Value] = {}

    def __post_init__(self) -> None:
        known = PARAMS[self.kind]
        for name, value in self.params.items():
            if name not in known:
                has = ", ".join(known) or "none"
                raise ValueError(f"{self.kind} has no parameter {name[:40]!r} (it has: {has})")
            if not _fits(name, value, known[name]):
                raise ValueError(f"{self.kind}: {name} cannot be {str(value)[:40]}")
        if not (0 <= self.at_s < math.inf and 0 <= self.for_s < math.inf):
            raise ValueError(f"{self.kind}: times are seconds from the start, not negative")

    @property
    def length_s(self) -> float:
        """`for`, or its default."""
        return self.for_s or LENGTHS.get(self.kind, 0.0)

    def number(self, name: str) -> float:
        """A numeric parameter or its default."""
        return float(self.params.get(name, PARAMS[self.kind][name]))

    def text(self, name: str) -> str:
        """A parameter that is a word, or its default."""
        return str(self.params.get(name, PARAMS[self.kind][name]))


def _fits(name: str, value: Value, like: Value) -> bool:
    if isinstance(like, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(like, bool)
    if isinstance(like, str) or isinstance(value, str):
        return value in RINGS and isinstance(like, str)
    if name == "winner":
        return value in {0, 1}
    return _LOW.get(name, 0.0) <= value <= HIGH


class PolymarketScenario(Struct, frozen=True, forbid_unknown_fields=True):
    """A market and everything planted in it."""

    market: PolymarketMarketConfig = PolymarketMarketConfig()
    anomalies: tuple[PolymarketAnomaly, ...] = ()
    faults: tuple[Fault, ...] = ()


def load(path: pathlib.Path) -> PolymarketScenario:
    """The scenario in a JSON file. Raises `ConfigError`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=PolymarketScenario)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"not a scenario: {error}", path.name) from error
