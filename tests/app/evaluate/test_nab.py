"""The benchmark's scorer on cases worked out by hand, and its published baseline reproduced."""

import json
import pathlib
from math import inf, isclose

import pytest

from tapewatch.app.evaluate import nab, nab_scoring
from tapewatch.app.evaluate.nab_scoring import Profile, best, marked, sigmoid
from tapewatch.app.evaluate.nab_series import Series
from tapewatch.kernels.tails import Tail, learn, p_value
from tapewatch.model.errors import ConfigError

EVEN = Profile(tp=1.0, fp=0.11, fn=1.0)
HEAD = "timestamp,value\n"


def at(points: int, scores: dict[int, float]) -> list[float]:
    return [scores.get(place, 0.0) for place in range(points)]


def test_sigmoid() -> None:
    assert sigmoid(0.0) == 0.0
    assert sigmoid(-1.0) == pytest.approx(0.98661, abs=1e-5)
    assert sigmoid(3.1) == -1.0


def test_probation() -> None:
    assert [nab_scoring.probation(n) for n in (10, 1_000, 5_000, 90_000)] == [1, 150, 750, 750]


def test_one_early_hit_is_all_there_is() -> None:
    found = best([marked(at(100, {50: 0.9}), [(50, 59)])], EVEN)
    assert found == nab_scoring.Best(pytest.approx(100.0), 0.9, 1, 1, 0)


def test_a_late_hit_earns_less() -> None:
    # The last point of ten: position -0.1, 2 / (1 + e^-0.5) - 1 = 0.24492 of 0.98661.
    found = best([marked(at(100, {59: 0.9}), [(50, 59)])], EVEN)
    assert found.score == pytest.approx(100 * (0.24492 / 0.98661 + 1) / 2, abs=1e-3)


def test_silence_scores_nothing() -> None:
    found = best([marked(at(100, {}), [(50, 59)])], EVEN)
    assert (found.score, found.hits, found.threshold) == (0.0, 0, inf)


def test_false_alarms_cost_by_distance() -> None:
    before = marked(at(100, {30: 0.9, 50: 0.9}), [(50, 59)])
    assert best([before], EVEN).score == pytest.approx(100 * (1 - 0.11 + 1) / 2)
    # 9 points past a window of 10: position 1, worth -0.98661.
    after = marked(at(100, {50: 0.9, 68: 0.9}), [(50, 59)])
    assert best([after], EVEN).score == pytest.approx(100 * (1 - 0.11 * 0.98661 + 1) / 2, abs=1e-3)
    assert best([after], EVEN).false_alarms == 1


def test_only_the_best_detection_of_a_window_counts() -> None:
    twice = marked(at(100, {50: 0.9, 55: 0.9, 58: 0.9}), [(50, 59)])
    assert best([twice], EVEN).score == pytest.approx(100.0)


def test_probation_does_not_count() -> None:
    file = marked(at(100, {3: 0.9, 10: 0.9}), [(2, 8)])
    assert file.windows == 0
    assert [point.window for point in file.points] == []  # 10 is within the first 15 of 100


def test_one_threshold_for_all_files() -> None:
    loud = marked(at(100, {50: 0.9, 30: 0.8}), [(50, 59)])
    soft = marked(at(100, {50: 0.5}), [(50, 59)])
    found = best([loud, soft], EVEN)
    assert (found.threshold, found.hits, found.false_alarms) == (0.5, 2, 1)
    assert found.score == pytest.approx(100 * (2 - 0.11 + 2) / 4)
    assert isclose(nab_scoring.score_at([loud, soft], EVEN, 0.85), 50.0)
    assert isclose(nab_scoring.score_at([loud, soft], EVEN, found.threshold), found.score)


def test_equal_scores_stand_or_fall_together() -> None:
    costly = Profile(tp=1.0, fp=3.0, fn=1.0)
    file = marked(at(100, {50: 0.9, 30: 0.9}), [(50, 59)])
    assert best([file], costly).score == 0.0  # the hit is not to be had without the false alarm


def test_two_windows_of_one_file() -> None:
    file = marked(at(200, {60: 0.9, 120: 0.9}), [(60, 69), (120, 129)])
    assert best([file], EVEN).hits == 2
    assert best([file], EVEN).score == pytest.approx(100.0)


def test_other_half_is_no_better() -> None:
    files = [marked(at(100, {50: 0.5 + n / 100, 30: 0.4 + n / 100}), [(50, 59)]) for n in range(12)]
    assert nab_scoring.other_half(files, EVEN, "s") <= best(files, EVEN).score
    low, high = nab_scoring.interval(files, EVEN, "s") or (0.0, 0.0)
    assert low <= best(files, EVEN).score <= high


def test_series_sees_a_step_and_says_so_once() -> None:
    detector = Series(hold=50)
    values = [float((7 * n) % 13) + 60.0 * (n >= 1_200) for n in range(1_500)]
    scores = [detector.update(value).score for value in values]
    assert [at for at in range(200, 1_250) if scores[at] > 3.5] == [1_200]


def test_series_of_one_value_stays_silent() -> None:
    detector = Series(hold=10)
    assert max(detector.update(0.0).score for _ in range(500)) < 1.0


def test_series_is_indifferent_to_unit_and_origin() -> None:
    values = [((n * n) % 101) / 8 for n in range(600)]
    plain, moved = Series(20), Series(20)
    for value in values:
        assert moved.update(-4.0 * value + 1_024).score == pytest.approx(
            plain.update(value).score, abs=1e-6
        )


def test_evaluate_writes_alerts_and_score(tmp_path: pathlib.Path) -> None:
    data, out = tmp_path / "nab", tmp_path / "out"
    for folder in ("data/made", "labels", "config"):
        (data / folder).mkdir(parents=True)
    times = [f"2014-04-{1 + n // 24:02}T{n % 24:02}:00:00" for n in range(600)]
    values = [(7 * n) % 13 for n in range(600)]
    values[400] = 900
    rows = [f"{time},{value}\n" for time, value in zip(times, values, strict=True)]
    (data / "data/made/one.csv").write_text(HEAD + "".join(rows))
    labels = {"made/one.csv": [[f"{times[395]}.000000", f"{times[420]}.000000"]]}
    (data / "labels/combined_windows.json").write_text(json.dumps(labels))
    cost = {"tpWeight": 1.0, "fnWeight": 1.0, "fpWeight": 0.11, "tnWeight": 1.0}
    (data / "config/profiles.json").write_text(json.dumps({"standard": {"CostMatrix": cost}}))
    score = nab.evaluate(data, out)
    assert score["profiles"]["standard"]["best"]["hits"] == 1
    assert score["profiles"]["standard"]["best"]["score"] > 85
    assert score["families"]["made"]["windows"] == 1
    alerts = [json.loads(line) for line in (out / "one.alerts.ndjson").read_text().splitlines()]
    assert any(alert["observed"] == 900 for alert in alerts)
    (data / "data/made/one.csv").write_text(HEAD + "2014-04-01 00:00:00\n")
    with pytest.raises(ConfigError, match="cells"):
        nab.evaluate(data, out)
    with pytest.raises(ConfigError, match="benchmark's folder"):
        nab.evaluate(tmp_path / "labels", out)


def test_windowed_gaussian_as_published(shared_data: pathlib.Path) -> None:
    """The board of the benchmark's README says 39.6 / 20.9 / 47.4."""
    folder = shared_data / "nab"
    files = list(nab._files(folder))
    profiles = nab_scoring.profiles(nab._json(folder / "config" / "profiles.json"))
    windows = nab._windows(folder, files)
    ready = [
        marked(nab.windowed_gaussian(file.values), spans)
        for file, spans in zip(files, windows, strict=True)
    ]
    found = [round(best(ready, profile).score, 1) for profile in profiles.values()]
    assert found == [39.6, 20.9, 47.4]


def test_a_young_tail_may_speak_of_rarer_things_when_it_is_not_held() -> None:
    tail = Tail()
    for n in range(500):
        learn(tail, 0.1 + (n % 50) / 25)
    assert p_value(tail, 50.0)[0] == 1 / 501
    free, extrapolated = p_value(tail, 50.0, held=False)
    assert 0.0 < free < 1 / 501
    assert extrapolated
