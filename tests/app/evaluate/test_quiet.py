"""Calm data: which files are read as what, and that everything said is counted and written."""

import gzip
import json
import pathlib
from typing import Final

import pytest

from tapewatch.app.config import DEFAULT_DETECTORS
from tapewatch.app.environment import Setting
from tapewatch.app.evaluate import quiet
from tapewatch.model.errors import ConfigError

T0_MS: Final = 1_723_161_255_342
ONLY_RULES: Final = [
    Setting(("detector", name, "enabled"), value="false", origin="test")
    for name in DEFAULT_DETECTORS
    if name not in {"feed", "shape"}
]


def line(index: int, *, symbol: str, bad: bool = False) -> bytes:
    row = {"e": "trade", "E": T0_MS + index, "s": symbol, "t": index + 1, "p": "1.5", "q": "2",
           "T": T0_MS + index, "m": False, "X": "MARKET"}  # fmt: skip
    if bad:
        row["p"] = "-1"
    message = {"stream": f"{symbol.lower()}@trade", "data": row}
    return b"%d %s\n" % ((T0_MS + index + 5) * 10**6, json.dumps(message).encode())


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """One capture with an impossible price, one in order, trades, and files of no concern."""
    for name, symbol, bad in (
        ("binance_l2/spot_abcusdt_20240808.gz", "ABCUSDT", 7),
        ("binance_l2/cm_abcusd_perp_20240808.gz", "ABCUSD_PERP", -1),
    ):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        lines = (line(index, symbol=symbol, bad=index == bad) for index in range(20))
        file.write_bytes(gzip.compress(b"".join(lines)))
    trades = tmp_path / "kraken_trades" / "kraken_abcusd_20190701_00h.csv"
    trades.parent.mkdir()
    rows = (f"{T0_MS + 100_000 * index},buy,1.5,2\n" for index in range(37))
    trades.write_text("ts_ms,side,price,qty\n" + "".join(rows))
    (tmp_path / "binance_l2" / "SOURCES.md").write_text("none of ours")
    return tmp_path


def test_every_alert_is_counted_and_written(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    score = quiet.evaluate(folder, tmp_path / "out", ONLY_RULES)
    assert score["set"] == "quiet"
    counted = {one["file"]: (one["rows"], one["causes"]) for one in score["files"]}
    assert counted == {
        "cm_abcusd_perp_20240808": (20, {}),
        "spot_abcusdt_20240808": (20, {"info feed.gap": 1, "warn feed.invalid": 1}),
        "kraken_abcusd_20190701_00h": (37, {}),
    }
    assert (score["pages"], score["warnings"]) == (0, 1)
    assert score["alerts"] == {"info": 1, "warn": 1, "high": 0, "page": 0}
    assert score["warnings_by_cause"] == {"feed": 1}
    assert score["warnings_of_markets"] == 0
    assert score["market_days"] == pytest.approx(1.0 / 24.0, rel=0.01)
    written = tmp_path / "out" / "spot_abcusdt_20240808.alerts.ndjson"
    alerts = [json.loads(row) for row in written.read_text().splitlines()]
    assert {alert["instrument"] for alert in alerts} == {"binance:ABCUSDT"}
    assert [alert["severity"] for alert in alerts] == ["warn", "info"]
    assert (tmp_path / "out" / "kraken_abcusd_20190701_00h.alerts.ndjson").read_text() == ""


def test_the_score_is_the_same_each_time_and_names_no_time(
    folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    first = quiet.evaluate(folder, tmp_path / "a", ONLY_RULES)
    assert quiet.evaluate(folder, tmp_path / "b", ONLY_RULES) == first
    assert json.loads(json.dumps(first)) == first


def test_names_tell_the_market(folder: pathlib.Path) -> None:
    assert [(plan.kind, plan.instruments) for plan in quiet.plans(folder)] == [
        ("frames", ("binance:coinm/ABCUSD_PERP",)),
        ("frames", ("binance:ABCUSDT",)),
        ("trades", ("ndjson:ABCUSD",)),
    ]


def test_a_folder_without_captures_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="has no capture"):
        quiet.evaluate(tmp_path, tmp_path / "out")


def test_an_unusable_capture_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "spot_abcusdt_20240808.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(ConfigError, match=r"spot_abcusdt_20240808\.gz has no usable row"):
        quiet.evaluate(tmp_path, tmp_path / "out", ONLY_RULES)
