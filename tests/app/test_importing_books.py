"""Importing books: which rows are one message, whose they are, and what is told about the rest."""

import gzip
import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.app import importing, importing_books
from tapewatch.app.importing import Imported, Plan
from tapewatch.model.errors import ConfigError
from tapewatch.model.events import Book, Status
from tapewatch.model.inputs import Frame, Input, Timer
from tapewatch.model.time import NS_PER_MS
from tapewatch.venues.ndjson import Ndjson

T0 = 1_750_000_000_000  # ms
HEAD = "market_slug,asset_id,market_id,event_type,price,side,size,hash,timestamp"
GAME = "polymarket:game"


def row(asset: str, kind: str, change: str, number: str = "h", ms: int = 0) -> str:
    """`change` is price,side,size."""
    return f"game,{asset},7,{kind},{change},{number},{T0 + ms}"


def imported(
    tmp_path: pathlib.Path, *rows: str, instruments: tuple[str, ...] = (GAME,), head: str = HEAD
) -> tuple[Imported, list[Input], tuple[str, ...]]:
    file = tmp_path / "a.csv"
    file.write_text("\n".join((head, *rows)) + "\n")
    plan = Plan(kind="books", file=file, instruments=instruments)
    done = Imported()
    return done, list(importing.inputs(plan, done)), importing.ids(plan)


def books(items: list[Input], ids: tuple[str, ...]) -> list[Book]:
    venue = Ndjson(ids=ids)
    state = venue.start()
    found = []
    for item in items:
        if isinstance(item, Frame):
            (event,) = venue.decode(state, item)
            assert isinstance(event, Book), event
            found.append(event)
    return found


def test_rows_of_one_message_are_one_event(tmp_path: pathlib.Path) -> None:
    done, items, ids = imported(
        tmp_path,
        row("11", "book", "0.4,bid,5"),
        row("11", "book", "0.6,ask,7"),
        row("11", "book", "0.5,bid,1.5"),
        row("11", "price_change", "0.5,BUY,0", "i", 10),
        row("11", "price_change", "0.45,buy,2", "i", 10),
        row("11", "price_change", "0.6,SELL,9", "j", 10),
        row("11", "book", "0.1,bid,1", "k", 2_000),
    )
    seen = books(items, ids)
    assert [(one.bids, one.asks) for one in seen] == [
        (((0.5, 1.5), (0.4, 5.0)), ((0.6, 7.0),)),
        (((0.45, 2.0), (0.4, 5.0)), ((0.6, 7.0),)),
        (((0.45, 2.0), (0.4, 5.0)), ((0.6, 9.0),)),
        (((0.1, 1.0),), ()),  # a whole book replaces both sides
    ]
    assert (done.rows, done.bad, done.late) == (4, 0, 0)
    assert sum(isinstance(item, Timer) for item in items) == 3


def test_two_outcomes_of_one_market_mirror_each_other(tmp_path: pathlib.Path) -> None:
    _, items, ids = imported(
        tmp_path,
        row("9", "book", "0.4,bid,5"),
        row("11", "book", "0.6,ask,5"),
        row("9", "price_change", "0.4,bid,0", "i", 10),
    )
    assert ids == (f"{GAME}/11", f"{GAME}/9")  # in text order
    seen = books(items, ids)
    assert [(one.instrument, one.mirror_of) for one in seen] == [
        (f"{GAME}/9", f"{GAME}/11"),
        (f"{GAME}/11", ""),
        (f"{GAME}/9", f"{GAME}/11"),
    ]
    assert seen[-1].bids == ()


def test_each_asset_can_be_named(tmp_path: pathlib.Path) -> None:
    _, items, ids = imported(
        tmp_path,
        row("11", "book", "0.4,bid,5"),
        row("9", "book", "0.6,ask,5"),
        instruments=("polymarket:yes", "polymarket:no"),
    )
    assert [one.instrument for one in books(items, ids)] == ["polymarket:yes", "polymarket:no"]


def test_assets_of_different_markets_are_no_mirrors(tmp_path: pathlib.Path) -> None:
    _, items, ids = imported(
        tmp_path,
        row("11", "book", "0.4,bid,5"),
        row("9", "book", "0.6,ask,5").replace("game,", "other,"),
    )
    assert {one.mirror_of for one in books(items, ids)} == {""}


def test_a_wrong_number_of_names_says_what_is_there(tmp_path: pathlib.Path) -> None:
    rows = [row(asset, "book", "0.4,bid,5") for asset in ("1", "2", "3")]
    with pytest.raises(ConfigError, match="3 assets: 1, 2, 3; give one instrument"):
        imported(tmp_path, *rows, instruments=("a:b", "a:c"))


def test_too_many_assets_are_no_market(tmp_path: pathlib.Path) -> None:
    rows = [row(str(n), "book", "0.4,bid,5") for n in range(importing_books.ASSETS + 1)]
    with pytest.raises(ConfigError, match="more than 64 assets"):
        imported(tmp_path, *rows)


def test_bad_rows_are_told_and_left_out(tmp_path: pathlib.Path) -> None:
    done, items, ids = imported(
        tmp_path,
        row("11", "book", "0.4,bid,5"),
        row("11", "book", "0.5,ask,5"),
        "game,11,7,price_ch",  # torn
        "",
        row("11", "price_change", "0.4,middle,5", "i", 1),
        row("11", "last_trade", "0.4,bid,5", "i", 1),
        row("11", "price_change", "-0.4,bid,5", "i", 1),
        row("11", "price_change", "nan,bid,5", "i", 1),
        row("11", "price_change", "0.4,bid,-1", "i", 1),
        row("11", "price_change", "0.4,bid,inf", "i", 1),
        row("11", "price_change", "0.4,bid,1", "i", 1).replace(str(T0 + 1), "now"),
    )
    assert (done.rows, done.bad) == (1, 8)
    assert len(books(items, ids)) == 1
    said = " ".join(done.problems)
    for word in ("4 cells", "no side", "no change", "price of a level", "size of a level", "time"):
        assert word in said


def test_the_clock_never_goes_back(tmp_path: pathlib.Path) -> None:
    done, items, ids = imported(
        tmp_path,
        row("11", "book", "0.4,bid,5", "a", 10),
        row("11", "price_change", "0.4,bid,6", "b", 5),
        row("11", "price_change", "0.4,bid,7", "c", 12),
    )
    seen = books(items, ids)
    assert [one.ts_recv for one in seen] == [(T0 + ms) * NS_PER_MS for ms in (10, 10, 12)]
    assert [one.ts_event for one in seen] == [(T0 + ms) * NS_PER_MS for ms in (10, 5, 12)]
    assert done.late == 1


def test_a_plain_file_of_one_book(tmp_path: pathlib.Path) -> None:
    _, items, ids = imported(
        tmp_path, f"{T0},100,b,1", f"{T0 + 1},101,a,2", head="ts_ms,price,side,qty",
        instruments=("binance:BTC/USDT",),
    )  # fmt: skip
    assert ids == ("binance:BTC/USDT",)
    assert books(items, ids)[-1].asks == ((101.0, 2.0),)


Changes = st.lists(
    st.tuples(st.booleans(), st.integers(1, 99), st.integers(0, 5), st.integers(0, 2)), min_size=1
)


@given(Changes)
def test_books_against_a_dictionary(changes: list[tuple[bool, int, int, int]]) -> None:
    """Levels in any order; the slow book is two dictionaries."""
    venue = Ndjson(ids=("a:b",))
    state = venue.start()
    slow: dict[bool, dict[int, int]] = {True: {}, False: {}}
    for bid, cents, size, snapshot in changes:
        if not snapshot:
            slow = {True: {}, False: {}}
        slow[bid].pop(cents, None)
        if size:
            slow[bid][cents] = size
        change = {"bids" if bid else "asks": [[cents / 100, size]], "snapshot": not snapshot}
        made = {"instrument": "a:b", "ts_event": T0 * NS_PER_MS, **change}
        text = json.dumps({"book": made})
        (event,) = venue.decode(state, Frame(T0 * NS_PER_MS, "ndjson", text.encode()))
        assert isinstance(event, Book)
        wanted = sorted(((price / 100, float(n)) for price, n in slow[True].items()), reverse=True)
        assert event.bids == tuple(wanted[:20])
        assert event.asks == tuple(sorted((p / 100, float(n)) for p, n in slow[False].items())[:20])


@pytest.mark.parametrize(
    "book",
    ['"bids":[[0,1]]', '"bids":[[-1,1]]', '"bids":[[1e9,1]]', '"asks":[[1,-1]]',
     '"mirror_of":"a:c"'],
)  # fmt: skip
def test_impossible_books_are_told(book: str) -> None:
    venue = Ndjson(ids=("a:b",))
    text = f'{{"book":{{"instrument":"a:b","ts_event":{T0 * NS_PER_MS},{book}}}}}'
    (event,) = venue.decode(venue.start(), Frame(1, "ndjson", text.encode()))
    assert isinstance(event, Status)
    assert event.kind == "invalid"


def test_real_books(shared_data: pathlib.Path) -> None:
    """Both outcomes of one game: every message of one is a mirror of the other."""
    (file,) = shared_data.glob("polymarket_books/20250624_mlb-tex-bal*.csv.gz")
    plan = Plan(kind="books", file=file, instruments=(GAME,))
    done = Imported()
    items = list(importing.inputs(plan, done))
    with gzip.open(file, "rt") as lines:
        rows = [line.rsplit(",", 2) for line in lines][1:]
    assert done.rows < len(rows)
    assert done.bad == 0
    top: dict[str, Book] = {}
    agree = total = 0
    ids = importing.ids(plan)
    for event in books(items, ids):
        top[event.mirror_of] = event
        if len(top) == 2 and len({one.ts_event for one in top.values()}) == 1:
            own, mirror = top[""], top[ids[0]]
            if own.bids and mirror.asks:
                total += 1
                agree += abs(own.bids[0][0] + mirror.asks[0][0] - 1.0) < 1e-9
    assert total > 10
    assert agree / total > 0.95
