"""The rules of others, where their libraries are installed, and how they are made comparable."""

import itertools
import json
import pathlib
from collections.abc import Callable
from math import exp, log
from random import Random
from statistics import fmean, pstdev

import pytest

from tapewatch.app.evaluate import peers, peers_rules
from tapewatch.app.evaluate.peers_rules import Rule
from tapewatch.model.errors import ConfigError
from tapewatch.model.time import NS_PER_S

NOWHERE = pathlib.Path("-")
SIMPLE = {"level_z": peers_rules.LevelZ, "move_z": peers_rules.MoveZ}


def prices(count: int) -> list[float]:
    random, x = Random(5), log(100.0)
    made = []
    for _ in range(count):
        x += random.gauss(0.0, 1e-3)
        made.append(exp(x))
    return made


def fed(rule: Rule, values: list[float]) -> Rule:
    for value in values:
        rule.learn(value)
    return rule


def test_level_z_is_the_textbook_s() -> None:
    values = prices(90)
    rule = fed(peers_rules.LevelZ(50), values)
    window = values[-50:]
    expected = abs(120.0 - fmean(window)) / pstdev(window)
    assert rule.score(120.0) == pytest.approx(expected, rel=1e-9)
    assert rule.score(120.0) == pytest.approx(expected, rel=1e-9)  # scoring changes nothing
    assert fed(peers_rules.LevelZ(50), [7.0] * 9).score(8.0) == 0.0  # no spread, no score


def test_move_z_is_the_textbook_s() -> None:
    values = prices(90)
    rule = fed(peers_rules.MoveZ(50), values)
    moves = [log(b / a) for a, b in itertools.pairwise(values)][-50:]
    move = log(120.0 / values[-1])
    assert rule.score(120.0) == pytest.approx(abs(move - fmean(moves)) / pstdev(moves), rel=1e-6)
    assert peers_rules.MoveZ(50).score(1.0) == 0.0


@pytest.mark.parametrize(
    ("library", "make", "warm"),
    [
        ("river", peers_rules.GaussianScorer, 400),
        ("river", peers_rules.HalfSpaceTrees, 600),
        ("rrcf", peers_rules.CutForest, 60),
    ],
)
def test_rules_of_libraries(library: str, make: Callable[[int], Rule], warm: int) -> None:
    pytest.importorskip(library, reason=f"{library} is only in tapewatch[peers]")
    values = prices(warm)
    rule = fed(make(100), values)
    usual, jumped = rule.score(values[-1]), rule.score(values[-1] * 1.02)
    assert jumped > usual
    assert rule.score(values[-1] * 1.02) == pytest.approx(jumped, rel=0.2)  # nothing was learnt


def test_a_missing_library_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no_such_thing is not installed.*tapewatch\[peers\]"):
        peers_rules._library("no_such_thing.anomaly")


def test_missing_rules_are_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: int) -> Rule:
        raise ConfigError("not here")

    monkeypatch.setattr(peers, "MAKERS", {**SIMPLE, "absent": absent})
    score = peers.measure(peers.Size(warm=1_500, points=40), NOWHERE)
    assert score["missing"] == {"absent": "not here"}
    assert {row["rule"] for row in score["synthetic"]} == {"level_z", "move_z", "driftlock"}
    assert "pumps" not in score
    json.dumps(score, allow_nan=False)
    seen = {
        (row["tape"], row["rule"], row["share"], row["k"]): row["seen"]["share"]
        for row in score["synthetic"]
    }
    assert seen["gaussian_wild", "move_z", 0.01, 8.0] == 1.0
    assert seen["gaussian_wild", "level_z", 0.01, 5.0] < 0.5  # a level has no power against jumps
    assert seen["gaussian_wild", "driftlock", 0.01, 8.0] < 0.5


def test_thresholds_come_from_clean_steps() -> None:
    clean = [float(n) for n in range(1_000)]
    rows = peers._seen("law", "rule", clean, {5.0: [995.0, 980.0, 998.0]})
    assert [(row["share"], row["line"], row["seen"].hits) for row in rows] == [(0.01, 989.0, 2)]


def test_the_least_threshold_that_is_quiet_enough() -> None:
    peaks = [(float(n), n) for n in range(100)]

    def load(line: float) -> float:
        return sum(score >= line for score, _ in peaks)

    assert peers._line({"x": peaks}, load, 10.0) == 90.0
    assert len(list(peers._alerts("x", sorted(peaks, reverse=True), 90.0))) == 10


def test_a_listener_keeps_the_highest() -> None:
    listener = peers.Listener("move_z", 50, 3)
    values = prices(60)
    values[30] *= 1.05
    for at, value in enumerate(values):
        listener.hear(value, at)
    assert next(at for _, at in listener.peaks()) == 30
    assert len(listener.peaks()) == 3


def test_bars_of_a_file(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "trades.csv"
    rows = [(1_600_000_001_000, 10.0), (1_600_000_003_000, 11.0), (1_600_000_021_000, 12.0)]
    lines = [f"{ms},{price}\n" for ms, price in rows]
    file.write_text("ts_ms,price\n" + "".join(lines) + "1600000036000,12\n")
    heard = peers._bars(file, ["level_z"])["level_z"]
    ends = sorted(at // NS_PER_S for _, at in heard.peaks())
    assert ends == [1_600_000_000 + at for at in (5, 10, 15, 20, 25, 30, 35)]


def test_pumps_at_equal_load(shared_data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    place = shared_data / "pumps"
    head, *rows = (place / "labels.csv").read_text().splitlines()
    row = next(row for row in rows if row.startswith("BNT_2020"))
    (tmp_path / "pumps").mkdir()
    (tmp_path / "pumps" / "labels.csv").write_text(f"{head}\n{row}\n")
    name = row.partition(",")[0]
    (tmp_path / "pumps" / name).symlink_to(place / name)
    loud, quiet, fixed = peers._pumps(tmp_path, ["level_z"])
    assert quiet["line"] > loud["line"]
    assert loud["score"]["alarms_per_market_day"]["rate"] <= 1.0
    assert fixed["line"] == 3.0
    assert fixed["score"]["alarms_per_market_day"]["rate"] > 5.0
