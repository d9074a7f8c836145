"""What is planted in a simulated market: the script's structs, its reader, and the built-in demo.

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
from tapewatch.simulate.faults import Fault, Scope

_RENAME: Final = {"at_s": "at", "for_s": "for"}

Kind = Literal["price_jump", "bad_print", "volume_burst", "silence", "book_pull", "drift"]

# Every parameter with its default.
PARAMS: Final[Mapping[Kind, Mapping[str, float | str]]] = {
    "price_jump": {"sigmas": 8.0},
    "bad_print": {"percent": 3.0},
    "volume_burst": {"rate": 4.0, "size": 5.0},
    "silence": {},
    "book_pull": {"side": "bid", "percent": 0.2},
    "drift": {"sigmas_per_s": 1.0},
}
HIGH: Final = 1_000.0  # no parameter makes sense beyond
_LOW: Final = {"sigmas": -HIGH, "sigmas_per_s": -HIGH, "percent": -90.0, "rate": 0.0, "size": 0.0}
_LASTING: Final = frozenset({"volume_burst", "silence", "book_pull", "drift"})


class Anomaly(Struct, frozen=True, forbid_unknown_fields=True, rename=_RENAME):
    """One planted anomaly. An empty `symbol` is the first listed pair; defaults are in `PARAMS`.

    | kind | params |
    |---|---|
    | `price_jump` | `sigmas`: signed, in units of the present standard deviation of 1 s |
    | `bad_print` | `percent`: signed; one trade away from the market, the next is back |
    | `volume_burst` | `rate`, `size`: factors, during `for` |
    | `silence` | neither trades nor book updates, during `for` |
    | `book_pull` | `side` (bid, ask), `percent`: that much of the side is empty during `for` |
    | `drift` | `sigmas_per_s`: signed, during `for` |
    """

    at_s: float
    kind: Kind
    for_s: float = 0.0
    symbol: str = ""
    params: dict[str, float | str] = {}

    def __post_init__(self) -> None:
        known = PARAMS[self.kind]
        for name, value in self.params.items():
            if name not in known:
                has = ", ".join(known) or "none"
                raise ValueError(f"{self.kind} has no parameter {name[:40]!r} (it has: {has})")
            if name == "side":
                fits = value in ("bid", "ask")
            else:
                fits = not isinstance(value, str) and _LOW[name] < value <= HIGH
            if not fits:
                raise ValueError(f"{self.kind}: {name} cannot be {str(value)[:40]}")
        if not (0 <= self.at_s < math.inf and 0 <= self.for_s < math.inf):
            raise ValueError(f"{self.kind}: times are seconds from the start, not negative")
        if self.for_s == 0 and self.kind in _LASTING:
            raise ValueError(f"{self.kind} needs a length: for")

    def number(self, name: str) -> float:
        """A numeric parameter or its default."""
        return float(self.params.get(name, PARAMS[self.kind][name]))


class MarketConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The synthetic market.

    Returns: Student-t with `tail_df` degrees of freedom, volatility of one second `sigma_1s` times
    a log-AR(1) factor of deviation `vol_of_vol`. Arrivals: Hawkes process with mean
    `trades_per_s`, branching ratio `branching` and an exponential kernel of rate `decay_per_s`
    (Hawkes 1971). The defaults are of the order of BTC/USD on a quiet day; the book rate is what
    was captured at depth 10.
    """

    trades_per_s: float = 3.0
    branching: float = 0.7
    decay_per_s: float = 2.0
    sigma_1s: float = 6e-5
    tail_df: float = 4.0
    vol_of_vol: float = 0.4
    books_per_s: float = 15.0

    def __post_init__(self) -> None:
        if not (0 <= self.branching < 1 and self.tail_df > 2 and self.decay_per_s > 0):
            raise ValueError("branching must be in [0, 1), tail_df above 2, decay_per_s above 0")
        if not (0 < self.trades_per_s <= 1000 and 0 < self.books_per_s <= 1000):
            raise ValueError("trades_per_s and books_per_s must be in (0, 1000]")
        if not 0 <= self.sigma_1s < 0.1:
            raise ValueError("sigma_1s must be in [0, 0.1)")


class Scenario(Struct, frozen=True, forbid_unknown_fields=True):
    """A market and everything planted in it. `for_s` is how long the script lasts."""

    market: MarketConfig = MarketConfig()
    anomalies: tuple[Anomaly, ...] = ()
    faults: tuple[Fault, ...] = ()


# One minute for `tapewatch demo`. Calm for 30 s at a brisk rate (warm-up takes about 10 s), little
# self-excitation so that nothing but what is planted stands out; then one thing at a time, each
# with room before the next. The stall comes last: it also silences everything after it.
DEMO_S: Final = 62.0
DEMO: Final = Scenario(
    market=MarketConfig(
        trades_per_s=16.0, branching=0.3, sigma_1s=2.5e-5, tail_df=6.0, vol_of_vol=0.1
    ),
    anomalies=(
        Anomaly(at_s=35.0, kind="price_jump", params={"sigmas": 60.0}),
        Anomaly(at_s=42.0, kind="volume_burst", for_s=2.0, params={"rate": 4.0, "size": 8.0}),
    ),
    faults=(
        Fault(at_s=24.0, fault="malformed", params={"frame": "truncated"}),
        Fault(at_s=28.0, fault="trade_gap", params={"trades": 5}),
        Fault(at_s=31.0, fault="lost_delta"),
        Fault(at_s=38.5, for_s=0.4, fault="glitch", params={"percent": 2.0}),
        Fault(at_s=47.0, for_s=12.0, fault="stall", scope=Scope()),
    ),
)


def load(where: str) -> Scenario:
    """The scenario named `demo` or the one in a JSON file. Raises `ConfigError`."""
    if where == "demo":
        return DEMO
    try:
        return msgspec.json.decode(pathlib.Path(where).read_bytes(), type=Scenario)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"not a scenario: {error}", where) from error
