"""Made-up tapes through the real engine: what it says of nothing, and of what is planted.

A tape is run once, clean. Where something is planted, the engine is copied (its snapshot restored
into a second engine) and the copy sees the planted seconds; the original goes on as if nothing had
happened. So no plant teaches the baseline that the next one meets, and a thousand plants of each
size cost one tape.

What is measured of a detector is the highest score of its ready observations in each second, where
they have a calibrated p; the score is -log10 p.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import sqrt
from random import Random
from typing import Final, Literal

from msgspec import Struct

from tapewatch.app.build import engine_of
from tapewatch.app.environment import Setting
from tapewatch.app.evaluate import synthetic_tapes as tapes
from tapewatch.app.evaluate.runner import configured
from tapewatch.app.evaluate.scoring import EPISODE_S, episodes
from tapewatch.app.evaluate.synthetic_tapes import Law, Step
from tapewatch.detect.base import LINE
from tapewatch.engine import snapshot
from tapewatch.engine.engine import Engine
from tapewatch.model.outputs import Alert, Observation, Output
from tapewatch.model.time import NS_PER_S

# Seconds before anything is judged: every record has its 2,000 magnitudes by then, also those of
# 5-s samples.
SETTLED_S: Final = 12_000
STEPS_S: Final = {"price_jump": 1.0}  # how often a detector measures; the others, at samples
SAMPLE_S: Final = 5.0

Scores = dict[int, float]  # second -> highest score


class Run(Struct):
    """What one clean tape gave: by detector, and the alerts."""

    seconds: int
    scores: dict[str, Scores]
    alerts: list[Alert]


class Market:
    """One engine on one tape. `chance` decides when within a second trades come, and their size."""

    def __init__(self, law: Law, chance: Random, changes: Sequence[Setting]) -> None:
        self._id = tapes.instrument(law.name)
        self._chance = chance
        self._engines = [engine_of(configured([self._id], changes)) for _ in range(2)]

    def second(self, number: int, step: Step) -> list[Output]:
        """Outputs of one second."""
        return self._second(self._engines[0], number, step, self._chance)

    def planted(self, first: int, steps: Sequence[Step], chance: Random) -> list[list[Output]]:
        """What would be said of other seconds from `first` on, and the timer after them; what has
        happened so far is not changed."""
        original, copy = self._engines
        snapshot.restore(copy, snapshot.snapshot(original))
        said = [self._second(copy, first + at, step, chance) for at, step in enumerate(steps)]
        said[-1] += copy.step(tapes.timer(first + len(steps)))
        return said

    def _second(self, engine: Engine, number: int, step: Step, chance: Random) -> list[Output]:
        outputs = engine.step(tapes.timer(number))
        for frame in tapes.frames(self._id, number, step, chance):
            outputs += engine.step(frame)
        return outputs


def clean(law: Law, seed: int, seconds: int, changes: Sequence[Setting] = ()) -> Run:
    """Run a tape as it is."""
    run = Run(seconds, {}, [])
    market = Market(law, tapes.random_of(f"{law.name}/trades", seed), changes)
    steps = law.steps(tapes.random_of(law.name, seed))
    for number, step in zip(range(seconds), steps, strict=False):
        outputs = market.second(number, step)
        for seen in observations(outputs):
            scores = run.scores.setdefault(seen.detector, {})
            scores[number] = max(scores.get(number, 0.0), seen.score)
        run.alerts += [out for out in outputs if isinstance(out, Alert)]
    return run


def observations(outputs: Iterable[Output]) -> Iterator[Observation]:
    """Those that have a calibrated p."""
    for out in outputs:
        if isinstance(out, Observation) and out.ready and out.p is not None:
            yield out


def judged_steps(run: Run, detector: str) -> int:
    """How often a detector measured after SETTLED_S."""
    return int((run.seconds - SETTLED_S) / STEPS_S.get(detector, SAMPLE_S))


def judged(run: Run, detector: str) -> Scores:
    """Its scores after SETTLED_S."""
    return {at: one for at, one in run.scores.get(detector, {}).items() if at >= SETTLED_S}


def line_at_share(runs: Sequence[Run], detector: str, share: float) -> float:
    """The score that this share of all steps reaches, on clean tapes."""
    scores = sorted([one for run in runs for one in judged(run, detector).values()], reverse=True)
    place = int(share * sum(judged_steps(run, detector) for run in runs))
    return scores[place] if place < len(scores) else min(scores, default=LINE)


def line_at_rate(runs: Sequence[Run], detector: str, per_day: float) -> float:
    """The least score that makes at most so many episodes a day, on clean tapes."""
    found = [judged(run, detector) for run in runs]
    days = sum(run.seconds - SETTLED_S for run in runs) / tapes.DAY_S
    values = sorted({score for scores in found for score in scores.values()})
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        times = [[at * NS_PER_S for at, one in s.items() if one >= values[middle]] for s in found]
        if sum(len(episodes(one, EPISODE_S)) for one in times) <= per_day * days:
            high = middle
        else:
            low = middle + 1
    return values[low] if low < len(values) else (values[-1] + 0.01 if values else LINE)


class Plant(Struct, frozen=True):
    """Something planted: `k` sd, and the highest score that it got in its time, by detector, also
    where it was too small to matter; `delays`: seconds until a score reached the line as shipped;
    `told`: an alarm (warn or above) came of it."""

    k: float
    scores: dict[str, float]
    delays: dict[str, float]
    told: bool


class Shape(Struct, frozen=True):
    """What to plant: a `jump` of `k` sd in one second, a `ramp` of `k` sd of its `seconds` in so
    many seconds, a `trend` of `k` sd each second, moves that are `k` times as `wild`, or a jump
    that is `masked` by a larger one before it."""

    k: float
    seconds: int = 1
    kind: Literal["jump", "ramp", "trend", "wild", "masked"] = "jump"


class Plan(Struct, frozen=True, kw_only=True):
    """Where to plant. A `dirty` share of the seconds jump by DIRT sd on the clean tape already."""

    law: Law
    seed: int
    points: int
    every_s: int = 30
    dirty: float = 0.0


DIRT: Final = 8.0
DECOY: Final = 50.0
DECOY_BEFORE_S: Final = 60


def tape(plan: Plan, beyond: int) -> list[Step]:
    """The steps of a plan's tape, `beyond` more than the last plant needs to begin."""
    chance = tapes.random_of(f"{plan.law.name}/dirt", plan.seed)
    made: list[Step] = []
    offset = 0.0
    count = SETTLED_S + plan.points * plan.every_s + beyond
    steps = plan.law.steps(tapes.random_of(plan.law.name, plan.seed))
    before: Step | None = None
    for _, step in zip(range(count), steps, strict=False):
        if before is not None and plan.dirty and chance.random() < plan.dirty:
            offset += by(before, step, chance.choice((-DIRT, DIRT)) * step.sigma)
        before = step
        made.append(tapes.shifted(step, offset))
    return made


def by(before: Step, step: Step, move: float) -> float:
    """By how much a step must be shifted to be `move` (log price) away from the one before."""
    return move - (tapes.log_mid(step) - tapes.log_mid(before))


def jump(steps: Sequence[Step], at: int, k: float) -> list[Step]:
    """The price moves by `k` sd in the second `at`, instead of what it did."""
    return [tapes.shifted(steps[at], by(steps[at - 1], steps[at], k * steps[at].sigma))]


def ramp(steps: Sequence[Step], at: int, k: float, seconds: int) -> list[Step]:
    """It drifts by `k` sd of `seconds` seconds, evenly, on top of what it did."""
    if seconds == 1:
        return jump(steps, at, k)
    each = k / sqrt(seconds)
    made, offset = [], 0.0
    for step in steps[at : at + seconds]:
        offset += each * step.sigma
        made.append(tapes.shifted(step, offset))
    return made


def trend(steps: Sequence[Step], at: int, k: float, seconds: int) -> list[Step]:
    """It drifts by `k` sd each second, on top of what it did."""
    return ramp(steps, at, k * sqrt(seconds), seconds)


def wild(steps: Sequence[Step], at: int, k: float, seconds: int) -> list[Step]:
    """Every move is `k` times what it was."""
    made, offset = [], 0.0
    for place in range(at, at + seconds):
        move = tapes.log_mid(steps[place]) - tapes.log_mid(steps[place - 1])
        offset += (k - 1.0) * move
        made.append(tapes.shifted(steps[place], offset))
    return made


def masked(steps: Sequence[Step], at: int, k: float) -> list[Step]:
    """A jump of DECOY sd, and a minute later one of `k`."""
    first, second = at, at + DECOY_BEFORE_S
    decoy = by(steps[first - 1], steps[first], DECOY * steps[first].sigma)
    after = decoy + by(steps[second - 1], steps[second], k * steps[second].sigma)
    return [tapes.shifted(step, decoy) for step in steps[first:second]] + [
        tapes.shifted(steps[second], after)
    ]


def plants(
    plan: Plan,
    shapes: Sequence[Shape],
    changes: Sequence[Setting] = (),
) -> list[list[Plant]]:
    """Plant each shape at each point, with alternating signs; one list a shape."""
    longest = max(shape.seconds for shape in shapes) + DECOY_BEFORE_S + 1
    steps = tape(plan, longest)
    market = Market(plan.law, tapes.random_of(f"{plan.law.name}/trades", plan.seed), changes)
    found: list[list[Plant]] = [[] for _ in shapes]
    for number in range(SETTLED_S + plan.points * plan.every_s):
        point, left = divmod(number - SETTLED_S, plan.every_s)
        if number >= SETTLED_S and left == 0:
            for shape, into in zip(shapes, found, strict=True):
                chance = tapes.random_of(
                    f"{plan.law.name}/{shape.k}/{shape.seconds}/{shape.kind}/{number}", plan.seed
                )
                into.append(_plant(market, steps, number, shape, 1 - 2 * (point % 2), chance))
        market.second(number, steps[number])
    return found


def _plant(
    market: Market,
    steps: Sequence[Step],
    at: int,
    shape: Shape,
    sign: int,
    chance: Random,
) -> Plant:
    k, seconds = sign * shape.k, shape.seconds
    match shape.kind:
        case "masked":
            said = market.planted(at, masked(steps, at, k), chance)[-1:]  # from the second jump on
        case "ramp":
            said = market.planted(at, ramp(steps, at, k, seconds), chance)
        case "trend":
            said = market.planted(at, trend(steps, at, k, seconds), chance)
        case "wild":
            said = market.planted(at, wild(steps, at, shape.k, seconds), chance)
        case _:
            said = market.planted(at, jump(steps, at, k), chance)
    scores: dict[str, float] = {}
    delays: dict[str, float] = {}
    for second, outputs in enumerate(said):
        for seen in observations(outputs):
            scores[seen.detector] = max(scores.get(seen.detector, 0.0), seen.score)
            if seen.score >= LINE:
                delays.setdefault(seen.detector, float(second))
    told = any(isinstance(out, Alert) and out.severity != "info" for one in said for out in one)
    return Plant(shape.k, scores, delays, told)
