"""The same calibration on real tape: the quiet part of the pump files, where there are any.

Quiet is everything up to an hour before an announcement. A step of `price_jump` is a second with
trades. Those of small coins are few, and its record takes 2,000 of them: on most of these files it
is too young throughout, and p is the cautious law that stands in for it.
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from tapewatch.app import importing, table_files
from tapewatch.app.build import engine_of
from tapewatch.app.cells import time_ns
from tapewatch.app.environment import Setting
from tapewatch.app.evaluate.runner import configured
from tapewatch.app.evaluate.synthetic_runs import observations
from tapewatch.kernels.tails import READY
from tapewatch.model.inputs import Frame, Input
from tapewatch.model.time import NS_PER_S

BEFORE_NS: Final = 3600 * NS_PER_S  # of an announcement: what comes later is the event's
WARM: Final = 60  # steps until a scale is known; the record begins then


class Quiet(Struct):
    """Steps that were judged, how many by a full record, and the scores of those that had one."""

    files: int = 0
    steps: int = 0
    full: int = 0
    scores: list[float] = []


def folder(data: pathlib.Path) -> pathlib.Path | None:
    """Where the pump files are, in `data` or below it; None without any."""
    for place in (data, data / "pumps"):
        if (place / "labels.csv").is_file() and any(place.glob("*.parquet")):
            return place
    return None


def quiet(place: pathlib.Path, changes: Sequence[Setting] = ()) -> Quiet:
    """Measure all files of a folder."""
    found = Quiet()
    for _, row in table_files.rows(place / "labels.csv", lambda *_: None):
        text = row.get("corrected_utc") or row["announced_utc"]
        market = f"binance:{row['symbol']}/BTC"
        plan = importing.Plan(kind="trades", file=place / row["file"], instruments=(market,))
        items = importing.inputs(plan, importing.Imported())
        _measure(_until(items, time_ns(text) - BEFORE_NS), market, changes, found)
        found.files += 1
    return found


def _until(items: Iterator[Input], end: int) -> Iterator[Input]:
    for item in items:
        if item.ts_recv >= end:
            return
        yield item


def _measure(items: Iterator[Input], market: str, changes: Sequence[Setting], found: Quiet) -> None:
    engine = engine_of(configured([market], changes))
    steps, second, best = 0, 0, 0.0
    for item in items:
        outputs = engine.step(item)
        if not isinstance(item, Frame):
            continue
        if item.ts_recv // NS_PER_S != second:
            if best:
                found.scores.append(best)
            second, best, steps = item.ts_recv // NS_PER_S, 0.0, steps + 1
            found.steps += steps > WARM
            found.full += steps > READY + WARM
        if steps > WARM:
            for seen in observations(outputs):
                if seen.detector == "price_jump":
                    best = max(best, seen.score)
    if best:
        found.scores.append(best)
