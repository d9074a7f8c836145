"""The scorer of the Numenta Anomaly Benchmark, written anew from its description.

Every labelled window earns by how early its first detection lies in it, every detection outside
costs by how far it is past the last window, both on one sigmoid; what is missed costs `fn`. The
first part of a file is probation and does not count. One threshold for all files is the best that
there is **given the labels**: that optimism is the benchmark's, not ours, and part of every figure
that is published for it. `other_half` says how much of it is left when the threshold comes from
other files.

Reference: Lavin and Ahmad 2015, "Evaluating real-time anomaly detection algorithms - the Numenta
anomaly benchmark", section II; positions, ties and normalisation as in NAB 1.1, whose published
result for its windowed Gaussian this module reproduces (a test).
"""

from collections.abc import Sequence
from math import exp, inf
from random import Random
from typing import Any, Final

from msgspec import Struct

from tapewatch.app.evaluate.scoring import Interval, bootstrap

PROBATION: Final = 0.15  # share of a file, counted on at most PROBATION_POINTS of it
PROBATION_POINTS: Final = 5_000
FAR: Final = 3.0  # window widths past a window, from where on a false alarm costs everything
ROUNDS: Final = 200  # of bootstraps and splits, each of which looks for the best threshold anew


class Profile(Struct, frozen=True):
    """What a detection earns, a false alarm costs and a miss costs."""

    tp: float
    fp: float
    fn: float


class Point(Struct, frozen=True, gc=False):
    """A detection that some threshold would make: the detector's score, the window it lies in (-1:
    outside) and what it is worth before the weights."""

    score: float
    window: int
    worth: float


class Marked(Struct, frozen=True):
    """One file: how many windows count, and its points with a score above 0."""

    windows: int
    points: tuple[Point, ...]


class Best(Struct, frozen=True):
    """Result at the best threshold: `score` is 0 when nothing is detected and 100 at most."""

    score: float
    threshold: float
    hits: int
    windows: int
    false_alarms: int


def profiles(text: dict[str, Any]) -> dict[str, Profile]:
    """Profiles as `config/profiles.json` has them."""
    return {
        name: Profile(cost["tpWeight"], cost["fpWeight"], cost["fnWeight"])
        for name, cost in ((name, one["CostMatrix"]) for name, one in text.items())
    }


def probation(points: int) -> int:
    """Points at the beginning of a file that do not count."""
    return int(PROBATION * min(points, PROBATION_POINTS))


def sigmoid(position: float) -> float:
    """Worth of a detection at a position in window widths, counted from the window's right end:
    nearly 1 at its beginning (-1), 0 at its end, -1 long past it."""
    return -1.0 if position > FAR else 2.0 / (1.0 + exp(5.0 * position)) - 1.0


def marked(scores: Sequence[float], windows: Sequence[tuple[int, int]]) -> Marked:
    """What each point of a file would be worth. `windows` are (first, last) positions, both
    included, in order. A score of 0 or less is no detection at any threshold."""
    early, after = sigmoid(-1.0), probation(len(scores))
    found: list[Point] = []
    begun, inside = 0, False
    for at, score in enumerate(scores):
        if not inside and begun < len(windows) and at >= windows[begun][0]:
            begun, inside = begun + 1, True
        first, last = windows[begun - 1] if begun else (0, 0)
        if inside:
            worth = sigmoid((at - last - 1) / (last - first + 1)) / early
        elif begun:
            worth = sigmoid((at - last) / max(last - first, 1))
        else:
            worth = -1.0
        if at >= after and score > 0.0:
            found.append(Point(score, begun - 1 if inside else -1, worth))
        inside = inside and at < last
    return Marked(sum(last >= after for _, last in windows), tuple(found))


def best(files: Sequence[Marked], profile: Profile) -> Best:
    """The best threshold for all files together, and the score there."""
    every = [(point, number) for number, file in enumerate(files) for point in file.points]
    every.sort(key=lambda pair: -pair[0].score)
    windows = sum(file.windows for file in files)
    total = nothing = -profile.fn * windows
    found: dict[tuple[int, int], float] = {}
    alarms, threshold = 0, inf
    top = (total, inf, 0, 0)
    for point, number in every:
        if point.score != threshold:
            top = max(top, (total, threshold, len(found), alarms), key=lambda one: one[0])
            threshold = point.score
        if point.window < 0:
            total += profile.fp * point.worth
            alarms += 1
        else:
            key = (number, point.window)
            before = found.get(key, -profile.fn)
            found[key] = max(before, profile.tp * point.worth)
            total += found[key] - before
    top = max(top, (total, threshold, len(found), alarms), key=lambda one: one[0])
    return Best(_normal(top[0], nothing, profile, windows), top[1], top[2], windows, top[3])


def score_at(files: Sequence[Marked], profile: Profile, threshold: float) -> float:
    """Normalised score at a threshold that was chosen elsewhere."""
    windows = sum(file.windows for file in files)
    total = nothing = -profile.fn * windows
    for file in files:
        found: dict[int, float] = {}
        for point in file.points:
            if point.score < threshold:
                continue
            if point.window < 0:
                total += profile.fp * point.worth
            else:
                found[point.window] = max(found.get(point.window, -1.0), point.worth)
        total += sum([profile.tp * worth + profile.fn for worth in found.values()])
    return _normal(total, nothing, profile, windows)


def interval(files: Sequence[Marked], profile: Profile, seed: str) -> Interval | None:
    """95 % interval of the best score over files drawn with replacement."""
    return bootstrap(files, lambda drawn: best(drawn, profile).score, seed, ROUNDS)


def other_half(files: Sequence[Marked], profile: Profile, seed: str) -> float:
    """Mean score of one half of the files at the best threshold of the other half."""
    random = Random(seed)  # noqa: S311  seeded, nothing secret
    half, total = len(files) // 2, 0.0
    for _ in range(ROUNDS):
        drawn = random.sample(files, len(files))
        threshold = best(drawn[:half], profile).threshold
        total += score_at(drawn[half:], profile, threshold)
    return total / ROUNDS


def _normal(total: float, nothing: float, profile: Profile, windows: int) -> float:
    """0 for a detector that is silent, 100 for one that finds every window at once."""
    span = profile.tp * windows - nothing
    return 100.0 * (total - nothing) / span if span else 0.0
