"""The set of a lost peg on made-up files: two venues in one run, and the score's arithmetic."""

import json
import pathlib
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tapewatch.app.config import DEFAULT_DETECTORS, set_option
from tapewatch.app.evaluate import usde
from tapewatch.app.evaluate.usde import FIRST, POOL, VENUE, scored
from tapewatch.model.errors import ConfigError
from tapewatch.model.outputs import Alert, DataVerdict
from tapewatch.model.time import NS_PER_S

MINUTE = 60 * NS_PER_S
ALONE = [
    set_option(f"detector.{name}.enabled=false")
    for name in DEFAULT_DETECTORS
    if name not in ("peg", "divergence", "gap")
]


def alert(minute: float, severity: Any = "warn") -> Alert:
    at = FIRST + round(minute * MINUTE)
    return Alert(
        id=str(at),
        incident="one",
        instrument=VENUE,
        detector="peg",
        cause="divergence",
        severity=severity,
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


def test_the_score_by_hand() -> None:
    said = [alert(-1.0, "info"), alert(0.5), alert(30), alert(500), alert(559), alert(700)]
    score = scored(said, 100.0)
    assert score["first_alarm_utc"] == "2025-10-10T21:21:30Z"
    assert score["later_than_the_first_bar_s"] == 30.0
    assert score["before_the_published_window_s"] == 870.0
    assert score["alarms_in_incident"] == 2
    assert (score["other_incidents"].count, score["other_incidents"].rate) == (2, 0.02)
    assert len(score["other_incidents_utc"]) == 2


def test_nothing_told() -> None:
    score = scored([alert(0, "info")], 100.0)
    assert not score["found"]
    assert score["first_alarm_utc"] is None
    assert score["other_incidents"].count == 0


def made_up(folder: pathlib.Path) -> pathlib.Path:
    """Two days of a coin that stands still on both venues, then falls on one."""
    random = Random(1)
    count = 3_000
    start = FIRST - MINUTE - (count - 60) * MINUTE
    lows = [0.9 if at >= count - 60 else 1.0 for at in range(count)]
    closes = [low + random.choice((0.0, 1e-4)) for low in lows]
    folder.mkdir()
    times = pa.array([start + at * MINUTE for at in range(count)], pa.timestamp("ns"))
    highs = [max(closes[at], 1.0001) for at in range(count)]
    bars = {"open": closes, "high": highs, "low": lows, "close": closes, "volume": [5.0] * count}
    table = pa.table({**bars, "__index_level_0__": times})
    parquet.write_table(table, folder / usde.BARS)
    seconds = [(FIRST // NS_PER_S) - 600 + 12 * block for block in range(100)]
    pool = {"timestamp": seconds, "token0Price": ["1.0"] * 100, usde.PRICE: ["1.00005"] * 100}
    parquet.write_table(pa.table(pool), folder / usde.BLOCKS)
    return folder


def test_from_rows_to_a_score(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "out"
    score = usde.evaluate(made_up(tmp_path / "data"), out, ALONE)
    for run, detector in (("single", "peg"), ("cross", "divergence")):
        assert score[run]["first_alarm_utc"] == "2025-10-10T21:21:00Z"
        assert score[run]["alarms_in_incident"] == 1
        assert score[run]["other_incidents"]["count"] == 0
        lines = (out / f"usde.{run}.alerts.ndjson").read_text().splitlines()
        told = [json.loads(line) for line in lines]
        alarms = [one for one in told if one["severity"] != "info"]
        assert [(one["detector"], one["instrument"]) for one in alarms] == [(detector, VENUE)]
    assert score["single"]["other_incidents"]["exposure"] == pytest.approx(2999 / 1440)


def test_the_end_of_the_pools_recording_is_no_silence(tmp_path: pathlib.Path) -> None:
    """Its blocks end forty minutes before the bars do."""
    blocks = list(usde._blocks(made_up(tmp_path / "data")))
    assert len(blocks) == 101
    link = blocks[-1]
    assert (link.source, link.state) == (POOL.partition(":")[0], "down")  # type: ignore[union-attr]


def test_a_pool_without_its_price_is_refused(tmp_path: pathlib.Path) -> None:
    data = made_up(tmp_path / "data")
    parquet.write_table(pa.table({"timestamp": [1]}), data / usde.BLOCKS)
    with pytest.raises(ConfigError, match=r"uniswap_usde.parquet:1: "):
        usde.evaluate(data, tmp_path / "out", ALONE)
