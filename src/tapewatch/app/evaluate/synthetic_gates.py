"""What must hold on made-up tapes, as a table of figures against bounds. Reads a score only."""

from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

BAND: Final = (0.5, 2.0)  # of realised over nominal
ENOUGH: Final = 20.0  # expected events from which a ratio can be judged
# A slow lattice moves less often than p: what it says can only be rarer than claimed.
CALIBRATED: Final = ("gaussian", "garch_t3", "garch_t4", "lattice_busy", "pumps_quiet")
WARN_A_DAY: Final = 1.0
PAGE_A_DAY: Final = 0.1


class Gate(Struct, frozen=True):
    """`value` must lie within `least` and `most`; None: the run was too small to judge."""

    name: str
    value: float | None
    least: float | None
    most: float | None
    holds: bool | None


def gates(score: dict[str, Any]) -> list[Gate]:
    """All that the score can answer."""
    return [*_calibration(score), *_load(score), *_power(score)]


def gate(
    name: str, value: float | None, least: float | None = None, most: float | None = None
) -> Gate:
    """A gate, judged."""
    if value is None:
        return Gate(name, None, least, most, None)
    holds = (least is None or value >= least) and (most is None or value <= most)
    return Gate(name, value, least, most, holds)


def _calibration(score: dict[str, Any]) -> Iterator[Gate]:
    for row in score["calibration"]:
        if row["detector"] != "price_jump" or row["tape"] not in CALIBRATED or row["p"] < 5e-4:
            continue
        value = row["ratio"] if row["expected"] >= ENOUGH else None
        yield gate(f"realised / nominal at {row['p']:g}, {row['tape']}", value, *BAND)


def _load(score: dict[str, Any]) -> Iterator[Gate]:
    for row in score["load"]:
        name = row["tape"]
        if name == "frozen":
            yield gate("alerts of a frozen market", float(row["any"]["count"]), None, 0.0)
        yield gate(f"alarms a day, {name}", row["warn"]["rate"], None, WARN_A_DAY)
        yield gate(f"pages a day, {name}", row["page"]["rate"], None, PAGE_A_DAY)


def _power(score: dict[str, Any]) -> Iterator[Gate]:
    wanted = (
        ("gaussian_wild", "as_shipped", 5.0, 1.0),
        ("garch_t4", "0.001_of_steps", 8.0, 0.8),
        ("garch_t4", "0.01_of_steps", 5.0, 0.95),
    )
    for tape, at, k, least in wanted:
        for row in score["power"]:
            if (row["tape"], row["at"], row["k"]) == (tape, at, k):
                name = f"jumps of {k:g} local sd seen, {tape}, {at.replace('_', ' ')}"
                yield gate(name, row["seen"]["share"], least)
    yield gate("5 sd seen 60 s after a decoy of 50 sd", score["masking"]["seen"]["share"], 0.99)
