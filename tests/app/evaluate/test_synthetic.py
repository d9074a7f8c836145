"""Made-up tapes have the statistics they claim, and what is planted is measured as planted."""

import itertools
import json
import pathlib
from math import log, sqrt
from random import Random
from statistics import fmean, pstdev

import pytest

from tapewatch.app.config import DEFAULT_DETECTORS
from tapewatch.app.environment import Setting
from tapewatch.app.evaluate import synthetic, synthetic_gates, synthetic_quiet
from tapewatch.app.evaluate import synthetic_runs as runs
from tapewatch.app.evaluate import synthetic_tapes as tapes
from tapewatch.app.evaluate.synthetic_runs import Plan, Plant, Run, Shape
from tapewatch.app.evaluate.synthetic_tapes import Step
from tapewatch.model.time import NS_PER_S

NO_DATA = pathlib.Path("-")
ALONE = [  # one detector is enough to measure it, and quick
    Setting(("detector", name, "enabled"), False, "test")
    for name in DEFAULT_DETECTORS
    if name != "price_jump"
]


def moves(name: str, seconds: int, seed: int = 0) -> list[float]:
    steps = itertools.islice(tapes.law(name).steps(tapes.random_of(name, seed)), seconds)
    return [tapes.log_mid(b) - tapes.log_mid(a) for a, b in itertools.pairwise(steps)]


def correlation(values: list[float], lag: int) -> float:
    mean = fmean(values)
    both = zip(values, values[lag:], strict=False)
    return sum((a - mean) * (b - mean) for a, b in both) / sum((a - mean) ** 2 for a in values)


def kurtosis(values: list[float]) -> float:
    mean, spread = fmean(values), pstdev(values)
    return fmean(((value - mean) / spread) ** 4 for value in values)


def test_gaussian() -> None:
    found = moves("gaussian", 20_000)
    assert pstdev(found) == pytest.approx(tapes.SIGMA, rel=0.03)
    assert abs(correlation(found, 1)) < 0.03
    assert kurtosis(found) == pytest.approx(3.0, abs=0.2)
    assert pstdev(moves("gaussian_wild", 5_000)) == pytest.approx(1e-3, rel=0.05)


def test_student_has_unit_variance_and_heavy_tails() -> None:
    random = Random(7)
    drawn = [tapes.student(random, 5) for _ in range(40_000)]
    assert pstdev(drawn) == pytest.approx(1.0, rel=0.03)
    # P(|t5| > 5 / sqrt(5/3) * ...): the share beyond 4 sd is 0.0026 (t5 beyond 5.16).
    assert sum(abs(one) > 4.0 for one in drawn) / 40_000 == pytest.approx(0.0036, abs=0.0012)


def test_garch_clusters_and_knows_its_sd() -> None:
    steps = list(itertools.islice(tapes.law("garch_t4").steps(Random(3)), 30_000))
    found = [tapes.log_mid(b) - tapes.log_mid(a) for a, b in itertools.pairwise(steps)]
    assert kurtosis(found) > 6.0
    assert correlation([abs(one) for one in found], 5) > 0.1
    scaled = [move / step.sigma for move, step in zip(found, steps[1:], strict=True)]
    assert pstdev(scaled) == pytest.approx(1.0, rel=0.06)
    assert abs(correlation([abs(one) for one in scaled], 5)) < 0.03


def test_ornstein_uhlenbeck_comes_back() -> None:
    steps = itertools.islice(tapes.law("ornstein_uhlenbeck").steps(Random(3)), 60_000)
    levels = [tapes.log_mid(step) - log(tapes.PRICE) for step in steps]
    assert correlation(levels, 69) == pytest.approx(0.5, abs=0.08)


def test_hawkes_rate_and_clustering() -> None:
    steps = itertools.islice(tapes.law("hawkes").steps(Random(3)), 40_000)
    counts = [float(step.trades) for step in steps]
    assert fmean(counts) == pytest.approx(tapes.HAWKES_RATE, rel=0.1)
    minutes = [sum(counts[at : at + 60]) for at in range(0, 40_000, 60)]
    # Of windows much longer than the memory: var / mean = 1 / (1 - branching)^2 = 11, Poisson's 1.
    assert 6.0 < pstdev(minutes) ** 2 / fmean(minutes) < 13.0


def test_lattices_stand_on_their_ticks() -> None:
    busy = list(itertools.islice(tapes.law("lattice_busy").steps(Random(3)), 4_000))
    assert all(
        step.bid / tapes.GRID == pytest.approx(round(step.bid / tapes.GRID)) for step in busy
    )
    assert sum(a.bid != b.bid for a, b in itertools.pairwise(busy)) > 1_000
    slow = list(itertools.islice(tapes.law("lattice_slow").steps(Random(3)), 60_000))
    changed = sum(a.bid != b.bid for a, b in itertools.pairwise(slow))
    assert changed == pytest.approx(200, abs=45)
    frozen = itertools.islice(tapes.law("frozen").steps(Random(3)), 100)
    assert len({(step.bid, step.ask) for step in frozen}) == 1


def test_the_same_seed_gives_the_same_frames() -> None:
    step = Step(99.0, 101.0, 0.1, 5)
    made = [tapes.frames("synthetic:x", 7, step, Random(1)) for _ in range(2)]
    assert made[0] == made[1]
    assert len(made[0]) == 5
    start = (tapes.START_S + 7) * NS_PER_S
    assert all(start <= frame.ts_recv < start + NS_PER_S for frame in made[0])
    sides = [
        json.loads(frame.data)["trade"]
        for frame in tapes.frames("s:x", 0, Step(1, 2, 0), Random(1))
    ]
    assert {(row["aggressor"], row["price"]) for row in sides} == {("buy", 2.0), ("sell", 1.0)}


def test_shapes_are_in_units_of_the_local_sd() -> None:
    steps = list(itertools.islice(tapes.law("garch_t4").steps(Random(3)), 400))
    (jumped,) = runs.jump(steps, 100, -6.0)
    assert tapes.log_mid(jumped) - tapes.log_mid(steps[99]) == pytest.approx(-6 * steps[100].sigma)
    drifted = runs.ramp(steps, 100, 5.0, 4)
    each = [
        tapes.log_mid(a) - tapes.log_mid(b) for a, b in zip(drifted, steps[100:104], strict=True)
    ]
    assert each[-1] == pytest.approx(5.0 / sqrt(4) * sum(s.sigma for s in steps[100:104]))
    steady = runs.trend(steps, 100, 0.3, 4)
    each = [
        tapes.log_mid(a) - tapes.log_mid(b) for a, b in zip(steady, steps[100:104], strict=True)
    ]
    assert each[-1] == pytest.approx(0.3 * sum(s.sigma for s in steps[100:104]))
    tripled = runs.wild(steps, 100, 3.0, 4)
    assert tapes.log_mid(tripled[-1]) - tapes.log_mid(steps[99]) == pytest.approx(
        3.0 * (tapes.log_mid(steps[103]) - tapes.log_mid(steps[99]))
    )
    after = runs.masked(steps, 100, 5.0)
    assert len(after) == runs.DECOY_BEFORE_S + 1
    assert tapes.log_mid(after[0]) - tapes.log_mid(steps[99]) == pytest.approx(
        50 * steps[100].sigma
    )
    assert tapes.log_mid(after[-1]) - tapes.log_mid(after[-2]) == pytest.approx(
        5 * steps[160].sigma
    )


def test_dirt_is_on_the_tape() -> None:
    law = tapes.law("gaussian")
    clean, dirty = (
        runs.tape(Plan(law=law, seed=1, points=1, dirty=share), 1_000) for share in (0.0, 0.05)
    )
    large = [
        abs(tapes.log_mid(b) - tapes.log_mid(a)) > 7.9 * tapes.SIGMA
        for a, b in itertools.pairwise(dirty)
    ]
    assert sum(large) / len(large) == pytest.approx(0.05, abs=0.01)
    assert not any(
        abs(tapes.log_mid(b) - tapes.log_mid(a)) > 6 * tapes.SIGMA
        for a, b in itertools.pairwise(clean)
    )


def run_of(scores: dict[int, float], days: float = 1.0) -> Run:
    shifted = {runs.SETTLED_S + at: score for at, score in scores.items()}
    return Run(int(runs.SETTLED_S + days * tapes.DAY_S), {"price_jump": shifted}, [])


def test_lines_from_clean_tapes() -> None:
    scores = {at * 1_000: 2.0 + at / 100 for at in range(80)}
    clean = [run_of({**scores, 79_001: 9.0})]  # of one episode with the one before
    assert runs.judged_steps(clean[0], "price_jump") == tapes.DAY_S
    assert runs.judged_steps(clean[0], "volume") == tapes.DAY_S // 5
    assert runs.line_at_rate(clean, "price_jump", 10.0) == pytest.approx(2.70)
    assert runs.line_at_rate(clean, "price_jump", 0.5) > 9.0
    assert runs.line_at_share(clean, "price_jump", 10.5 / tapes.DAY_S) == pytest.approx(2.70)
    assert runs.line_at_share(clean, "price_jump", 0.5) == 2.0  # no more were told


def test_plants_are_seen_and_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SETTLED_S", 2_500)
    plan = Plan(law=tapes.law("gaussian_wild"), seed=0, points=4, every_s=5)
    shapes = [Shape(8.0), Shape(3.0), Shape(0.0)]
    large, small, nothing = runs.plants(plan, shapes, ALONE)
    assert all(plant.scores["price_jump"] > 3.5 for plant in large)
    assert not any(plant.scores.get("price_jump", 0.0) > 3.5 for plant in small + nothing)
    # Ten more giants at every point change nothing for the next one.
    crowded = runs.plants(plan, [shapes[0], *[Shape(40.0)] * 10], ALONE)
    assert crowded[0] == large


def test_a_decoy_masks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SETTLED_S", 2_500)
    plan = Plan(law=tapes.law("gaussian_wild"), seed=1, points=8, every_s=10)
    (found,) = runs.plants(plan, [Shape(5.0, runs.DECOY_BEFORE_S + 1, "masked")], ALONE)
    assert all(plant.scores.get("price_jump", 0.0) >= 3.5 for plant in found)


def test_a_frozen_market_says_nothing() -> None:
    run = runs.clean(tapes.law("frozen"), 0, 20_000)
    assert run.alerts == []
    assert "price_jump" not in run.scores


def test_gates_can_fail() -> None:
    assert synthetic_gates.gate("x", 0.4, 0.5, 2.0).holds is False
    assert synthetic_gates.gate("x", 2.0, 0.5, 2.0).holds is True
    assert synthetic_gates.gate("x", 3.0, None, 2.0).holds is False
    assert synthetic_gates.gate("x", None, 0.5).holds is None


def test_shares_and_ratios() -> None:
    plants = [Plant(5.0, {"price_jump": 4.0}, {}, True), Plant(5.0, {"drift": 9.0}, {}, False)]
    assert synthetic._seen(plants, 3.5).hits == 1
    assert synthetic._told(plants).hits == 1
    (first, *_) = synthetic._ratios("t", "d", 5_000, [2.0, 2.5, 1.9])
    assert (first["seen"], first["expected"], first["ratio"]) == (2, 50.0, 0.04)


def test_small_evaluation(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SETTLED_S", 2_500)  # enough for `price_jump`
    laws = tuple(tapes.law(name) for name in ("gaussian_wild", "frozen"))
    size = synthetic.Size(
        days=0.1,
        seeds=1,
        jumps=3,
        ramps=1,
        dirty=2,
        episodes=1,
        laws=laws,
        power=("gaussian_wild",),
    )
    score = synthetic.measure(size, NO_DATA, tmp_path)
    json.dumps(score, allow_nan=False)
    assert {path.name for path in tmp_path.iterdir()} == {
        "gaussian_wild-100.alerts.ndjson", "frozen-100.alerts.ndjson",
    }  # fmt: skip
    gates = {gate["name"]: gate["holds"] for gate in score["gates"]}
    assert gates["alerts of a frozen market"] is True
    assert gates["jumps of 5 local sd seen, gaussian_wild, as shipped"] is True
    assert gates["5 sd seen 60 s after a decoy of 50 sd"] is True
    seen = {(row["at"], row["k"]): row["seen"]["share"] for row in score["power"]}
    assert seen["as_shipped", 2.0] == 0.0
    assert seen["told", 12.0] == 1.0
    five_times = next(
        row for row in score["episodes"] if (row["k"], row["detector"]) == (5.0, "price_jump")
    )
    assert five_times["within_60_s"]["share"] == 1.0


def test_quiet_part_of_a_pump_file(shared_data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    place = synthetic_quiet.folder(shared_data)
    assert place is not None
    assert synthetic_quiet.folder(tmp_path) is None
    head, *rows = (place / "labels.csv").read_text().splitlines()
    row = next(row for row in rows if row.startswith("APPC_2021"))
    (tmp_path / "labels.csv").write_text(f"{head}\n{row}\n")
    (tmp_path / row.partition(",")[0]).symlink_to(place / row.partition(",")[0])
    found = synthetic_quiet.quiet(tmp_path, ALONE)
    assert found.files == 1
    assert 0 < found.steps < 28_303  # it has so many trades
    assert found.full <= found.steps
    assert len(found.scores) / found.steps < 0.05
