"""`evaluate nab`: the Numenta Anomaly Benchmark, a regression number and not a goal.

What runs is `nab_series`, the calibrated tails on a plain series, at default parameters. It sees
one value after the other and never the minimum and maximum of the whole file, which the benchmark
hands to every detector. Alerts are written at our own fixed line before a label is read; the
benchmark's score then looks for the best threshold itself.

Beside it, on the same scorer, stands the benchmark's windowed Gaussian.
"""

import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from tapewatch.app import table_files
from tapewatch.app.cells import time_ns
from tapewatch.app.environment import Setting
from tapewatch.app.evaluate import nab_scoring, scoring
from tapewatch.app.evaluate.nab_series import Scored, Series
from tapewatch.app.evaluate.runner import write
from tapewatch.detect.base import LINE
from tapewatch.gate.incidents import stable_id
from tapewatch.model.errors import ConfigError
from tapewatch.model.outputs import Alert, DataVerdict

HOLDS: Final = 5  # a detection stands alone for this fraction of the probation
# The windowed Gaussian of the benchmark: the window slides once it is full, in steps.
WINDOW: Final = 6_400
STEP: Final = 100
DIGITS: Final = 12  # to which its published scores were rounded

Windows = dict[str, list[tuple[int, int]]]


class Named(Struct, frozen=True):
    """One file of the benchmark: `name` is `folder/file.csv`, times in ns."""

    name: str
    times: list[int]
    values: list[float]


def evaluate(
    data: pathlib.Path,
    out: pathlib.Path,
    changes: Sequence[Setting] = (),  # noqa: ARG001  the sets share one signature
) -> dict[str, Any]:
    """Score of the benchmark in `data`; one file of alerts each in `out`. Raises `ConfigError`."""
    files = list(_files(data))
    ours: dict[str, list[float]] = {}
    for file in files:
        scored = suite(file.values)
        write(out, pathlib.PurePosixPath(file.name).stem, _alerts(file, scored))
        ours[file.name] = [one.score for one in scored]
    gaussian = {file.name: windowed_gaussian(file.values) for file in files}
    profiles = nab_scoring.profiles(_json(data / "config" / "profiles.json"))
    windows = {file.name: found for file, found in zip(files, _windows(data, files), strict=True)}
    return scoring.plain(
        {
            "set": "nab",
            "files": len(files),
            "points": sum(len(file.values) for file in files),
            "profiles": _scores(ours, windows, profiles),
            "families": _families(ours, windows, profiles["standard"]),
            "peers": {
                "windowed_gaussian": {
                    name: nab_scoring.best(_marked(gaussian, windows), profile).score
                    for name, profile in profiles.items()
                }
            },
        }
    )


def suite(values: Sequence[float]) -> list[Scored]:
    """What our detector makes of a series."""
    detector = Series(nab_scoring.probation(len(values)) // HOLDS)
    return [detector.update(value) for value in values]


def windowed_gaussian(values: Sequence[float]) -> list[float]:
    """1 - p of each value under a normal law fitted to a sliding window, the benchmark's baseline.

    Reference: NAB 1.1, detectors/gaussian.
    """
    window: list[float] = []
    waiting: list[float] = []
    total = squares = 0.0
    scores: list[float] = []
    for value in values:
        offset = value - values[0]  # so that the sums keep their digits
        score = 0.0
        if window:
            mean = total / len(window)
            spread = math.sqrt(max(squares / len(window) - mean * mean, 0.0)) or 1e-6
            score = 1.0 - 0.5 * math.erfc(abs(offset - mean) / spread / math.sqrt(2.0))
        scores.append(round(score, DIGITS))
        if len(window) < WINDOW:
            window.append(offset)
            total, squares = total + offset, squares + offset * offset
            continue
        waiting.append(offset)
        if len(waiting) == STEP:
            window, waiting = window[STEP:] + waiting, []
            total, squares = sum(window), sum([one * one for one in window])
    return scores


def _alerts(file: Named, scored: Sequence[Scored]) -> Iterator[Alert]:
    stem = pathlib.PurePosixPath(file.name).stem
    for at, (time, one) in enumerate(zip(file.times, scored, strict=True)):
        if one.score < LINE:
            continue
        incident = stable_id("nab_series", stem, at)
        yield Alert(
            id=incident,
            incident=incident,
            instrument=f"nab:{stem}",
            detector="nab_series",
            cause="series",
            severity="warn",
            ts_event_ns=time,
            ts_alert_ns=time,
            onset_ns=time,
            p=10.0**-one.score,
            p_extrapolated=True,
            score=one.score,
            line=LINE,
            observed=one.value,
            expected=one.expected,
            baseline_count=at,
            data_verdict=DataVerdict("complete"),
            reason=f"{one.value:.6g} where {one.expected:.6g} was expected",
        )


def _scores(
    ours: dict[str, list[float]], windows: Windows, profiles: dict[str, nab_scoring.Profile]
) -> dict[str, Any]:
    files = _marked(ours, windows)
    return {
        name: {
            "best": nab_scoring.best(files, profile),
            "ci95_over_files": nab_scoring.interval(files, profile, name),
            "other_half": nab_scoring.other_half(files, profile, name),
        }
        for name, profile in profiles.items()
    }


def _families(
    ours: dict[str, list[float]], windows: Windows, profile: nab_scoring.Profile
) -> dict[str, Any]:
    """Score of each folder at the threshold that is best for all of them together."""
    threshold = nab_scoring.best(_marked(ours, windows), profile).threshold
    found: dict[str, Any] = {}
    for family in sorted({name.partition("/")[0] for name in ours}):
        part = {name: one for name, one in ours.items() if name.startswith(f"{family}/")}
        files = _marked(part, windows)
        count = sum(file.windows for file in files)
        if count:
            score = nab_scoring.score_at(files, profile, threshold)
            found[family] = {"windows": count, "score": score}
    return found


def _marked(scores: dict[str, list[float]], windows: Windows) -> list[nab_scoring.Marked]:
    return [nab_scoring.marked(one, windows[name]) for name, one in scores.items()]


def _files(data: pathlib.Path) -> Iterator[Named]:
    paths = sorted((data / "data").glob("*/*.csv"))
    if not paths:
        raise ConfigError(f"{data.name} has no data/*/*.csv; is it the benchmark's folder?", "DIR")
    for path in paths:
        rows = [row for _, row in table_files.rows(path, _refuse(path))]
        yield Named(
            f"{path.parent.name}/{path.name}",
            [time_ns(row["timestamp"]) for row in rows],
            [float(row["value"]) for row in rows],
        )


def _refuse(path: pathlib.Path) -> Callable[[int, str], None]:
    """The benchmark is a fixed thing: a row that cannot be read means that it is another one."""

    def complain(number: int, what: str) -> None:
        raise ConfigError(f"{path.name}:{number}: {what}", "DIR")

    return complain


def _windows(data: pathlib.Path, files: Sequence[Named]) -> Iterator[list[tuple[int, int]]]:
    """Positions of the labelled windows of each file."""
    labels = _json(data / "labels" / "combined_windows.json")
    for file in files:
        spans = [(time_ns(first), time_ns(last)) for first, last in labels[file.name]]
        yield [(file.times.index(first), file.times.index(last)) for first, last in spans]


def _json(path: pathlib.Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path.name} cannot be read: {error}", "DIR") from error
