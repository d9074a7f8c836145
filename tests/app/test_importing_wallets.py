"""Tables of trades with accounts become rows, one instrument an outcome of a market."""

import pathlib

import pytest

from tapewatch.app.importing import Imported, Plan, ids, inputs
from tapewatch.model.errors import ConfigError
from tapewatch.model.events import Trade
from tapewatch.model.inputs import Frame, Timer
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.ndjson import Ndjson

HEAD = "market,Timestamp,Account,Type,Outcome,Amount,Shares,Price\n"
ROW = "rain,2022-01-12 21:10:26,0xab,Buy,Yes,55.0,99.78,0.5512\n"
T0 = 1_642_021_826 * NS_PER_S


def imported(
    tmp_path: pathlib.Path, text: str, columns: dict[str, str] | None = None
) -> tuple[Imported, list[Trade], list[Timer]]:
    file = tmp_path / "trades.csv"
    file.write_text(text)
    plan = Plan(
        kind="wallet-trades", file=file, instruments=("polymarket:bets",), columns=columns or {}
    )
    done = Imported()
    items = list(inputs(plan, done))
    venue = Ndjson(ids=ids(plan))
    state = venue.start()
    found = [
        event
        for item in items
        if isinstance(item, Frame)
        for event in venue.decode(state, item)
        if isinstance(event, Trade)
    ]
    return done, found, [item for item in items if isinstance(item, Timer)]


def test_a_row_becomes_a_trade_of_its_outcome(tmp_path: pathlib.Path) -> None:
    _, (trade,), _ = imported(tmp_path, HEAD + ROW)
    assert trade.instrument == "polymarket:bets/rain/Yes"
    assert (trade.ts_event, trade.ts_recv) == (T0, T0)
    assert (trade.taker, trade.maker, trade.aggressor, trade.size) == ("0xab", "", "buy", 99.78)
    assert trade.price * trade.size == pytest.approx(55.0, rel=1e-12)  # exact, not 0.5512


def test_the_price_of_dust_is_the_finer_one(tmp_path: pathlib.Path) -> None:
    dust = "rain,2022-01-12 21:10:26,0xab,Sell,Yes,0.01,0.01,0.9015\n"
    nothing = "rain,2022-01-12 21:10:27,0xab,Sell,Yes,0.0,0.01,0.42\n"
    _, (first, second), _ = imported(tmp_path, HEAD + dust + nothing)
    assert (first.price, second.price) == (0.9015, 0.42)


def test_rows_are_sorted_and_timers_come_every_minute(tmp_path: pathlib.Path) -> None:
    later = ROW.replace("21:10:26", "21:13:26").replace("rain", "snow here")
    done, trades, timers = imported(tmp_path, HEAD + later + ROW)
    assert [trade.instrument for trade in trades] == [
        "polymarket:bets/rain/Yes",
        "polymarket:bets/snow-here/Yes",
    ]
    assert len(timers) == 4
    assert (done.rows, done.bad, done.late) == (2, 0, 0)


def test_both_parties_may_be_named(tmp_path: pathlib.Path) -> None:
    text = f"ts,taker,maker,side,size,price\n{T0 // NS_PER_S},a,b,SELL,2,0.5\n"
    _, (trade,), _ = imported(tmp_path, text)
    assert (trade.instrument, trade.taker, trade.maker) == ("polymarket:bets", "a", "b")
    _, (trade,), _ = imported(tmp_path, text.replace("taker", "who"), {"account": "who"})
    assert trade.taker == "a"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("Buy", "Gift", "no side of a trade: gift"),
        ("0xab", "", "no account"),
        ("99.78", "0", "the size is 0"),
        ("99.78", "many", "not a number: many"),
        ("2022-01-12 21:10:26", "soon", "not a time: soon"),
    ],
)
def test_bad_rows_are_told_and_left_out(
    tmp_path: pathlib.Path, old: str, new: str, why: str
) -> None:
    done, trades, _ = imported(tmp_path, HEAD + ROW.replace(old, new) + ROW)
    assert (len(trades), done.bad) == (1, 1)
    assert done.problems == [f"trades.csv:2: {why}"]


def test_a_file_without_what_is_needed_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="no column that looks like account"):
        imported(tmp_path, HEAD.replace("Account", "Who") + ROW)
    with pytest.raises(ConfigError, match="no price and no value"):
        imported(tmp_path, "ts,account,side,size\n1,a,buy,1\n")


def test_the_real_table(shared_data: pathlib.Path) -> None:
    file = shared_data / "polymarket_wallets" / "trades.parquet"
    plan = Plan(kind="wallet-trades", file=file, instruments=("polymarket:midterms",))
    done = Imported()
    rows = sum(isinstance(item, Frame) for item in inputs(plan, done))
    assert rows == done.rows == 28_005 - done.bad
    assert done.bad < 300  # sizes of 0
    assert len(ids(plan)) == 77
