"""The set of pumps on two made-up files: from rows to a score, and the score's arithmetic."""

import json
import pathlib
from random import Random
from typing import Any

import pytest

from tapewatch.app.config import DEFAULT_DETECTORS, set_option
from tapewatch.app.evaluate import pumps
from tapewatch.app.evaluate.pumps import Label, scored
from tapewatch.model.errors import ConfigError
from tapewatch.model.outputs import Alert, DataVerdict
from tapewatch.model.time import NS_PER_S

HOUR = 3600 * NS_PER_S
T0 = 1_600_000_000 * NS_PER_S
HEAD = "file,symbol,announced_utc,manual_onset_utc,hours,corrected_utc\n"
# What other detectors say is for their own tests.
ALONE = [
    set_option(f"detector.{name}.enabled=false") for name in DEFAULT_DETECTORS if name != "pump"
]
AT = "2020-09-13 17:26:40"  # five hours after T0


def alarm(at: int, cause: str = "pump") -> Alert:
    return Alert(
        id=str(at),
        incident="one",
        instrument="ndjson:COIN/BTC",
        detector=cause,
        cause=cause,
        severity="warn",
        ts_event_ns=at,
        ts_alert_ns=at,
        onset_ns=at,
        p=None,
        p_extrapolated=False,
        score=1.0,
        line=1.0,
        observed=None,
        expected=None,
        data_verdict=DataVerdict("complete"),
    )


def label(name: str, onset_s: int = 0, hours: float = 96.0) -> Label:
    at = T0 + 48 * HOUR
    return Label(name, "COIN", at, at + onset_s * NS_PER_S if onset_s else 0, hours)


def test_the_score_by_hand() -> None:
    at = T0 + 48 * HOUR
    labels = [label("a", 5), label("b", 10), label("c")]
    said = {
        "a": [alarm(at + 9 * NS_PER_S)],  # 4 s after the onset, 9 s after the announcement
        # 45 s after the onset; two alarms 200 s apart, ten hours before: one episode of load
        "b": [alarm(at - 10 * HOUR, "gap"), alarm(at - 10 * HOUR + 200 * NS_PER_S),
              alarm(at + 55 * NS_PER_S)],
        "c": [alarm(at + 2 * HOUR)],  # within six hours after: neither found nor load
    }  # fmt: skip
    score = scored(labels, said)
    onsets, announced = score["onsets"], score["announcements"]
    assert (onsets["within_10_s"].hits, onsets["within_10_s"].n) == (1, 2)
    assert onsets["within_300_s"].hits == 2
    assert [announced[f"within_{b}_s"].hits for b in (10, 30, 300)] == [1, 1, 2]
    assert score["onsets_later_than_10_s"] == {"b": 45.0}
    assert score["market_days"] == pytest.approx(3 * 89 / 24, abs=1e-3)
    load = score["alarms_per_market_day"]
    assert (load.count, load.rate) == (1, pytest.approx(24 / (3 * 89)))
    assert load.low < load.rate < load.high
    assert score["alarms_by_cause"] == {"gap": 1}
    assert score["chance"].n == 120


def test_an_onset_never_found_has_no_delay() -> None:
    score = scored([label("a", 5)], {"a": []})
    assert score["onsets_later_than_10_s"] == {"a": None}
    assert score["onsets"]["within_300_s"].hits == 0


def rows(*, pumped: bool) -> str:
    """Ten hours of single orders; if `pumped`, sixty in six seconds after five, up 20 %."""
    random, at, text = Random(1), T0 / NS_PER_S, ["ts_ms,side,price,qty"]
    middle = at + 5 * 3600
    done = not pumped
    while at < T0 / NS_PER_S + 10 * 3600:
        at += random.expovariate(1 / 20.0)
        if at > middle and not done:
            done = True
            text += [
                f"{int((middle + i / 10) * 1000)},buy,{100 * (1 + i / 300):.2f},1"
                for i in range(1, 61)
            ]
            at = middle + 7
        side = random.choice(("buy", "sell"))
        price = 100.2 if side == "buy" else 99.8
        text.append(f"{int(at * 1000)},{side},{price},{random.lognormvariate(0, 1):.4f}")
    return "\n".join(text) + "\n"


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    data = tmp_path / "data"
    data.mkdir()
    (data / "COIN_1.csv").write_text(rows(pumped=True))
    (data / "DULL_1.csv").write_text(rows(pumped=False))
    (data / "labels.csv").write_text(
        f"{HEAD}COIN_1.csv,COIN,{AT},{AT},10,\nDULL_1.csv,DULL,2020-09-13 10:00:00,,10,{AT}\n"
    )
    return data


def test_from_rows_to_a_score(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    score: dict[str, Any] = pumps.evaluate(folder, tmp_path / "out", ALONE)
    json.dumps(score)  # it is JSON data
    assert score["onsets"]["within_10_s"]["hits"] == 1
    assert score["announcements"]["within_30_s"]["hits"] == 1
    assert score["announcements"]["within_30_s"]["n"] == 2
    told = (tmp_path / "out" / "COIN_1.alerts.ndjson").read_text().splitlines()
    causes = [json.loads(line)["cause"] for line in told]
    assert "pump" in causes
    quiet = (tmp_path / "out" / "DULL_1.alerts.ndjson").read_text().splitlines()
    assert not [line for line in quiet if json.loads(line)["cause"] == "pump"]


def test_a_wrong_label_is_named(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (folder / "labels.csv").write_text(f"{HEAD}COIN_1.csv,COIN,yesterday,,10,\n")
    with pytest.raises(ConfigError, match=r"labels\.csv:2"):
        pumps.evaluate(folder, tmp_path, ALONE)
    (folder / "labels.csv").write_text(f"{HEAD}GONE.csv,COIN,{AT},,10,\n")
    with pytest.raises(ConfigError, match=r"GONE\.csv"):
        pumps.evaluate(folder, tmp_path, ALONE)
    (folder / "labels.csv").write_text("file,symbol\nCOIN_1.csv,COIN\n")
    with pytest.raises(ConfigError, match="manual_onset_utc"):
        pumps.evaluate(folder, tmp_path, ALONE)
