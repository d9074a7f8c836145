"""Importing: which rows, at which times, with which timers; and what is told about the rest."""

import gzip
import json
import pathlib
from typing import Any

import pytest

from tapewatch.app.cells import time_ns
from tapewatch.app.importing import Imported, Plan, import_file, parse_columns
from tapewatch.io.tape_file import TapeFile
from tapewatch.io.tape_read import TapeReader
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.events import Bar, Event, Trade
from tapewatch.model.inputs import Frame, Input, Link, Timer
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.kraken import Kraken
from tapewatch.venues.ndjson import Ndjson

T0 = 1_561_939_203  # seconds


def imported(
    tmp_path: pathlib.Path, file: pathlib.Path | str, **plan: Any
) -> tuple[Imported, list[Input]]:
    if isinstance(file, str):
        name, _, text = file.partition("\n")
        file = tmp_path / name
        file.write_text(text)
    wanted = {"kind": "trades", "instruments": ("kraken:BTC/USD",)} | plan
    path = tmp_path / "x.tape"
    with TapeFile(path, config={}, version="0") as tape:
        done = import_file(Plan(file=file, **wanted), tape)
    return done, [item for _, item in TapeReader(path).inputs()]


def events(items: list[Input]) -> list[Event]:
    venue = Ndjson(ids=("kraken:BTC/USD",))
    frames = (item for item in items if isinstance(item, Frame))
    return [event for frame in frames for event in venue.decode(venue.start(), frame)]


def kinds(items: list[Input]) -> str:
    return "".join(type(item).__name__[0] for item in items)


def test_trades_between_timers(tmp_path: pathlib.Path) -> None:
    text = f"a.csv\nts,price,qty,side\n{T0}.25,10,1,s\n{T0}.75,11,2,B\n{T0 + 2},12,3,?\n"
    done, items = imported(tmp_path, text)
    assert kinds(items) == "FFTTFT"
    at = T0 * NS_PER_S
    assert events(items) == [
        Trade("kraken:BTC/USD", at + 250_000_000, at + 250_000_000, 10.0, 1.0, "sell"),
        Trade("kraken:BTC/USD", at + 750_000_000, at + 750_000_000, 11.0, 2.0, "buy"),
        Trade("kraken:BTC/USD", at + 2 * NS_PER_S, at + 2 * NS_PER_S, 12.0, 3.0, "unknown"),
    ]
    assert [item.ts_recv // NS_PER_S - T0 for item in items if isinstance(item, Timer)] == [1, 2, 3]
    assert (done.rows, done.bad, done.timers) == (3, 0, 3)


@pytest.mark.parametrize("factor", [1, 10**3, 10**6, 10**9])
def test_units_of_time_are_recognised(factor: int) -> None:
    assert time_ns(T0 * factor) == T0 * NS_PER_S
    assert time_ns(str(T0 * factor)) == T0 * NS_PER_S


def test_times_keep_their_digits() -> None:
    assert time_ns("1762795433.9717445") == 1_762_795_433_971_744_500
    assert time_ns("2019-07-01T00:00:03.172Z") == 1_561_939_203_172_000_000
    assert time_ns("2019-07-01 02:00:03.172+02:00") == 1_561_939_203_172_000_000
    assert time_ns("2019-07-01 00:00:03") == T0 * NS_PER_S
    assert time_ns("2019-07-01") == (T0 - 3) * NS_PER_S


@pytest.mark.parametrize(
    "value", ["", "now", "5", "-1561939203", "nan", "inf", "1e400", None, True, "2019-13-01"]
)
def test_what_is_no_time(value: Any) -> None:
    with pytest.raises(DecodeError):
        time_ns(value)


def test_bad_rows_are_told_with_their_line_and_left_out(tmp_path: pathlib.Path) -> None:
    cells = ["10,1", "0,1", "nan,1", "1_0,1", "10", "10,x"]
    rows = "\n".join(["5,10,1", *(f"{T0},{two}" for two in cells)])
    done, items = imported(tmp_path, f"a.csv\ntime,price,size\n{rows}")
    assert (done.rows, done.bad) == (1, 6)
    assert done.problems == [
        "a.csv:2: not a time between 2009 and 2100: 5",
        "a.csv:4: the price is 0",
        "a.csv:5: the price is nan",
        "a.csv:6: not a number: 1_0",
        "a.csv:7: 2 cells, the head has 3",
        "a.csv:8: not a number: x",
    ]
    assert len(events(items)) == 1


def test_few_of_many_problems_are_told(tmp_path: pathlib.Path) -> None:
    text = "a.csv\ntime,price,size\n" + "\x1b[2J,1,1\n" * 500 + f"{T0},1,1\n"
    done, _ = imported(tmp_path, text)
    assert (done.bad, len(done.problems)) == (500, limits.IMPORT_PROBLEMS)
    assert done.problems[0].isprintable()


def test_late_rows_are_received_late(tmp_path: pathlib.Path) -> None:
    done, items = imported(tmp_path, f"a.csv\ntime,price,size\n{T0 + 5},1,1\n{T0},1,1\n")
    assert done.late == 1
    assert [item.ts_recv // NS_PER_S - T0 for item in items] == [5, 5, 6]
    assert [event.ts_event // NS_PER_S - T0 for event in events(items)] == [5, 0]


def test_a_very_long_silence_is_shortened_and_told(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "QUIET_TIMERS", 10)
    done, items = imported(tmp_path, f"a.csv\ntime,price,size\n{T0},1,1\n{T0 + 100},1,1\n")
    assert kinds(items) == "F" + "T" * 11 + "FT"
    assert done.skipped_s == 89.0


def test_other_names_of_columns(tmp_path: pathlib.Path) -> None:
    text = f"a.csv\nWhen,cost,n\n{T0},5,6\n"
    columns = parse_columns("time=When,price=cost,size=n")
    assert events(imported(tmp_path, text, columns=columns)[1])
    for columns, said in (
        ({}, "no column that looks like time; it has When, cost, n. Say which: --columns time=..."),
        ({"time": "when"}, 'a.csv has no column "when"; it has When, cost, n'),
        ({"tme": "When"}, '"tme" is not one of time, price, size, side, id'),
    ):
        with pytest.raises(ConfigError) as caught:
            imported(tmp_path, text, columns=columns)
        assert said in str(caught.value)
    with pytest.raises(ConfigError, match="name=column"):
        parse_columns("time")


def test_bars_are_known_when_they_end(tmp_path: pathlib.Path) -> None:
    rows = [f"{T0 - 3 + 60 * i},1,2,0.5,1.5,7" for i in (0, 1, 3)]
    text = "b.csv\ntime,open,high,low,close,volume\n" + "\n".join(rows)
    done, items = imported(tmp_path, text, kind="bars")
    bars = [event for event in events(items) if isinstance(event, Bar)]
    assert [bar.ts_event // NS_PER_S - (T0 - 3) for bar in bars] == [60, 120, 240]
    assert {bar.interval_ns for bar in bars} == {60 * NS_PER_S}
    assert kinds(items) == "FTFTTFT"  # a bar before the timer of its end
    strokes = [item.ts_recv // NS_PER_S - (T0 - 3) for item in items if isinstance(item, Timer)]
    assert strokes == [60, 120, 180, 240]
    assert done.rows == 3
    _, items = imported(tmp_path, text, kind="bars", bar_time="end", interval_s=30.0)
    first = events(items)[0]
    assert isinstance(first, Bar)
    assert (first.ts_event // NS_PER_S, first.interval_ns) == (T0 - 3, 30 * NS_PER_S)


def test_one_bar_has_no_interval(tmp_path: pathlib.Path) -> None:
    text = f"b.csv\ntime,open,high,low,close,volume\n{T0},1,2,0.5,1.5,7\n"
    with pytest.raises(ConfigError, match="--interval 1m"):
        imported(tmp_path, text, kind="bars")


def test_ndjson_and_gzip(tmp_path: pathlib.Path) -> None:
    row = json.dumps({"ts": T0, "price": 5.5, "qty": 1, "id": 7}).encode()
    path = tmp_path / "a.ndjson.gz"
    path.write_bytes(gzip.compress(row + b"\nnot json\n[1]\n\n" + row))
    done, items = imported(tmp_path, path)
    assert (done.rows, done.bad) == (2, 2)
    first = events(items)[0]
    assert isinstance(first, Trade)
    assert (first.price, first.trade_id) == (5.5, "7")


def test_a_line_without_end(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ROW_BYTES", 100)
    done, _ = imported(tmp_path, f"a.csv\ntime,price,size\n{'x' * 1000}\n{T0},1,1\n")
    assert (done.rows, done.bad) == (1, 1)
    assert done.problems == ["a.csv:2: longer than 100 bytes"]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.parquet"])
def test_a_damaged_file(tmp_path: pathlib.Path, name: str) -> None:
    path = tmp_path / name
    cut = gzip.compress(b"time,price,size\n" * 1000)[:40]
    path.write_bytes(cut if name.endswith("gz") else b"PAR1")
    with pytest.raises(ConfigError, match="cannot be read"):
        imported(tmp_path, path)
    assert not (tmp_path / "x.tape").exists()


@pytest.mark.parametrize("text", ["a.csv\n", "a.csv\ntime,price,size\n", "a.ndjson\n{}\n"])
def test_nothing_usable(tmp_path: pathlib.Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"no usable row|no column"):
        imported(tmp_path, text)


def test_other_files_are_refused_by_name(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="not csv"):
        imported(tmp_path, "a.xlsx\n")


def test_captured_frames(tmp_path: pathlib.Path) -> None:
    text = (
        'raw.txt\nwss://x <-> 1618678132.38\nwss://x <- 1618678132.8: {"event":"subscribe"}\n'
        '1618678132.5: {"event":"heartbeat"}\n1618678134.5: \x01garbage\n'
    )
    done, items = imported(tmp_path, text, kind="frames")
    assert kinds(items) == "LFTTFT"
    assert items[0] == Link(1_618_678_132_380_000_000, "kraken", "up", "imported")
    assert items[1] == Frame(1_618_678_132_500_000_000, "kraken", b'{"event":"heartbeat"}')
    assert done.rows == 2


def test_frames_with_nanoseconds_before_them(tmp_path: pathlib.Path) -> None:
    text = 'raw.txt\n1723161254087891268 {"u":1}\n1723161254116723068 {"u":2}\n'
    done, items = imported(tmp_path, text, kind="frames")
    frames = [item for item in items if isinstance(item, Frame)]
    assert frames == [
        Frame(1_723_161_254_087_891_268, "kraken", b'{"u":1}'),
        Frame(1_723_161_254_116_723_068, "kraken", b'{"u":2}'),
    ]
    assert done.rows == 2


def test_bare_frames_get_times(tmp_path: pathlib.Path) -> None:
    _, items = imported(tmp_path, "f.ndjson\n{}\n[]\n", kind="frames", start_ns=T0 * NS_PER_S)
    assert kinds(items) == "LFFT"
    assert [item.ts_recv - T0 * NS_PER_S for item in items[:3]] == [1_000_000, 1_000_000, 2_000_000]


def test_a_real_hour(shared_data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    file = shared_data / "kraken_trades" / "kraken_btcusd_20190701_00h.csv"
    done, items = imported(tmp_path, file)
    rows = file.read_text().splitlines()[1:]
    assert (done.rows, done.bad) == (len(rows), 0)
    found = [event for event in events(items) if isinstance(event, Trade)]
    told = [
        (str(trade.ts_event // 10**6), trade.aggressor, trade.price, trade.size) for trade in found
    ]
    cells = (row.split(",") for row in rows)
    assert told == [(ts, side, float(price), float(qty)) for ts, side, price, qty in cells]


def test_real_parquet(shared_data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    pump = shared_data / "pumps" / "GVT_2021-01-23T2100Z.parquet"
    done, items = imported(tmp_path, pump)
    assert done.rows == len(events(items)) > 1_000
    assert done.bad == 0


def test_real_frames(shared_data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    file = shared_data / "wire" / "kraken_v2" / "book_d10_btcusd_wiretext_restored_510.ndjson"
    _, items = imported(tmp_path, file, kind="frames")
    venue = Kraken(symbols=("BTC/USD",))
    state = venue.start()
    seen: list[str] = []
    for item in items:
        if isinstance(item, Frame):
            seen += [type(event).__name__ for event in venue.decode(state, item)]
    assert seen.count("Quote") > 100
    assert len([item for item in items if isinstance(item, Frame)]) == 510
