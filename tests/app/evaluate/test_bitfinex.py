"""The set of minute bars on made-up files: from rows to a score, and the score's arithmetic."""

import json
import pathlib
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tapewatch.app.config import DEFAULT_DETECTORS, set_option
from tapewatch.app.evaluate import bitfinex
from tapewatch.app.evaluate.bitfinex import Incident, scored
from tapewatch.model.errors import ConfigError
from tapewatch.model.outputs import Alert, DataVerdict
from tapewatch.model.time import NS_PER_S, parse_rfc3339

MINUTE = 60 * NS_PER_S
T0 = parse_rfc3339("2016-09-01T00:00:00Z")
HEAD = "id,symbol,start_utc,end_utc,kind,what,split\n"
ALONE = [
    set_option(f"detector.{name}.enabled=false") for name in DEFAULT_DETECTORS if name != "bar_jump"
]


def alert(minute: float, cause: str = "price_jump", severity: Any = "warn") -> Alert:
    at = T0 + round(minute * MINUTE)
    return Alert(
        id=str(at),
        incident="one",
        instrument="bitfinex:BTCUSD",
        detector=cause,
        cause=cause,
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


def incident(name: str, kind: str, start: float, end: float) -> Incident:
    return Incident(name, "BTCUSD", kind, T0 + round(start * MINUTE), T0 + round(end * MINUTE))


def test_the_score_by_hand() -> None:
    incidents = [
        incident("print", "erroneous_print", 100, 100),
        incident("untyped", "erroneous_print", 200, 200),
        incident("crash", "flash_crash", 300, 310),
        incident("out", "outage", 400, 460),
        incident("late", "outage", 600, 620),
    ]
    said = [
        alert(101, "bad_print"),
        alert(201),
        alert(199, "bad_print", "info"),  # nobody was told
        alert(315, "bad_print"),  # five minutes after the end: found, but it was none
        alert(411, "silence"),
        alert(461.5, "resumed", "info"),
        alert(616, "silence"),
        alert(623, "resumed", "info"),
    ]
    score = scored(incidents, {"BTCUSD": said})
    assert (score["incidents"].hits, score["incidents"].n) == (4, 5)
    assert score["missed"] == ["late"]
    assert score["delay_s"] == {"print": 60.0, "untyped": 60.0, "crash": 900.0, "out": 660.0}
    assert (score["wrong_prints_called_so"].hits, score["wrong_prints_called_so"].n) == (1, 2)
    assert score["moves_called_wrong_prints"] == ["crash"]
    assert [score["outages"][f"within_{b}_s"].hits for b in (600, 900)] == [0, 1]
    assert score["resumed_within_2_min"].hits == 1


def test_silence_finds_no_crash_and_a_crash_no_outage() -> None:
    incidents = [incident("crash", "flash_crash", 0, 0), incident("out", "outage", 100, 200)]
    said = {"BTCUSD": [alert(1, "silence"), alert(2, "resumed"), alert(101)]}
    assert scored(incidents, said)["missed"] == ["crash", "out"]


def test_load_counts_episodes_of_all_causes_by_what_began_them() -> None:
    minutes = [
        (0, "drift"),
        (0, "silence"),
        (4, "price_jump"),
        (60, "price_jump"),
        (600_000, "price_jump"),
    ]
    said = {"BTCUSD": [alert(m, cause) for m, cause in minutes] + [alert(30, severity="info")]}
    load = scored([], said)["load"]
    assert list(load) == ["BTCUSD 2016"]
    rate = load["BTCUSD 2016"]["alarms_per_day"]
    assert (rate.count, rate.exposure) == (2, 323)  # the last one is a year later
    assert load["BTCUSD 2016"]["by_cause"] == {"drift": 1, "price_jump": 1}


def made_up(folder: pathlib.Path, minutes: int = 3_000, wrong: int = 2_900) -> pathlib.Path:
    """A quiet market with one print at a hundredth of the price."""
    random, price = Random(1), 600.0
    columns: dict[str, list[Any]] = {
        name: [] for name in ("ts_ms", "open", "close", "high", "low", "volume")
    }
    for minute in range(minutes):
        price *= 1.0 + random.gauss(0.0, 5e-4)
        low = price / 100.0 if minute == wrong else price
        row = (T0 // 1_000_000 + minute * 60_000, price, price, price, low, random.random() + 1.0)
        for name, value in zip(columns, row, strict=True):
            columns[name].append(value)
    folder.mkdir(exist_ok=True)
    parquet.write_table(pa.table(columns), folder / "BTCUSD_1m.parquet")
    return folder


def test_from_rows_to_a_score(tmp_path: pathlib.Path) -> None:
    data = made_up(tmp_path / "data")
    lines = [
        "b01,BTCUSD,2016-09-03 00:20,2016-09-03 00:20,erroneous_print,a slip,dev",
        "x01,BTC/LTC,2016-09-02 00:00,2016-09-02 00:10,flash_crash,nothing,dev",
        "g01,ALL,2016-09-02 00:00,2016-09-02 00:10,repo_hole,nothing,exclude",
    ]
    (data / "incidents.csv").write_text(HEAD + "\n".join(lines) + "\n")
    out = tmp_path / "out"
    score = bitfinex.evaluate(data, out, ALONE)
    assert score["delay_s"] == {"b01:BTCUSD": 60.0}
    assert score["missed"] == ["x01:BTCUSD"]  # of a symbol without a file nothing is asked
    assert score["wrong_prints_called_so"]["hits"] == 1
    told = [json.loads(line) for line in (out / "BTCUSD_1m.alerts.ndjson").read_text().splitlines()]
    assert [(one["cause"], one["instrument"]) for one in told] == [("bad_print", "bitfinex:BTCUSD")]
    json.dumps(score)


def test_a_folder_without_bars_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match=r"no file named \*_1m.parquet"):
        bitfinex.evaluate(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [("b01,BTCUSD,soon,2016-09-03 00:20,outage,x,dev", "not an RFC 3339 time"), ("b01", "cells")],
)
def test_a_bad_label_is_named(tmp_path: pathlib.Path, line: str, complaint: str) -> None:
    data = made_up(tmp_path / "data", minutes=10)
    (data / "incidents.csv").write_text(f"{HEAD}{line}\n")
    with pytest.raises(ConfigError, match=f"incidents.csv:2: .*{complaint}"):
        bitfinex.evaluate(data, tmp_path / "out", ALONE)
