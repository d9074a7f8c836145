"""Trades of Polymarket's Data API: no ids, whole seconds, equal rows, and pages that move."""

import json
import pathlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polymarket_feed import (
    CONDITION,
    INSTRUMENT,
    MARKET,
    NO,
    T0,
    Feed,
    kinds,
    markets,
    statuses,
    trade,
    trades,
)
from polymarket_rows import T0_S, V1, V2, WALLET, Data, newer, polled, row, sizes

from tapewatch.model.errors import DecodeError
from tapewatch.model.events import Event, Trade
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.polymarket import Polymarket
from tapewatch.venues.polymarket_data import FULL, OVERLAP, ROWS, read_trades
from tapewatch.venues.polymarket_trades import LATE_NS, PAGES


def test_a_row_becomes_a_trade_of_its_taker_in_event_time() -> None:
    data = polled()
    data.add(row(timestamp=T0_S, transactionHash="0xAB"))
    assert data.sweep() == [
        Trade(
            INSTRUMENT,
            T0,
            T0 + NS_PER_S,
            0.55,
            5.4,
            "buy",
            "0xab",
            0,
            backfilled=True,
            taker=WALLET,
        )
    ]


def test_trades_of_the_other_outcome_are_the_opposite_trades() -> None:
    data = polled()
    data.add(row(1, asset=NO), row(2, asset=NO, side="SELL"))
    assert [(one.price, one.aggressor) for one in trades(data.sweep())] == [
        (0.45, "sell"),
        (0.45, "buy"),
    ]


def test_both_generations_say_the_same() -> None:
    rows = [row(2), row(1, price="0.5", size="3")]
    first, second = polled("v1"), polled("v2")
    one = trades(first.feed.raw(json.dumps(rows).encode(), V1 + "0"))
    assert one == trades(second.feed.raw(json.dumps(newer(rows)).encode(), V2 + "0"))
    assert len(one) == 2


def test_what_was_told_is_not_told_again() -> None:
    """F13: pages overlap."""
    data = polled()
    data.add(row(1), row(2))
    assert len(trades(data.sweep())) == 2
    data.add(row(3, size=1.0))
    assert sizes(data.sweep()) == [1.0]
    assert data.sweep() == []


def test_equal_rows_are_as_many_trades() -> None:
    """F14: one transaction settles many fills, which may be equal in all they say."""
    data = polled()
    data.add(row(1), row(1))
    found = trades(data.sweep())
    assert [(one.size, one.index) for one in found] == [(5.4, 0), (5.4, 1)]
    data.add(row(1))
    data.feed.reload()
    assert [one.index for one in trades(data.sweep())] == [2]
    assert data.sweep() == []


def test_rows_of_other_markets_are_counted_and_never_told() -> None:
    """F45: a filter that is ignored."""
    data = polled()
    other = "0x" + "cd" * 32
    data.add(row(1, conditionId=other), row(2, asset="999"), row(3))
    events = data.sweep()
    assert len(trades(events)) == 1
    assert [(one.kind, one.value) for one in statuses(events)] == [("invalid", 2.0)]


def test_rows_that_cannot_be_are_said_and_the_others_told() -> None:
    data = polled()
    bad = [
        row(1, price=1.5), row(2, price="NaN"), row(3, size=-1), row(4, timestamp=0),
        row(5, side="HOLD"), row(6, proxyWallet=7), {"x": 1}, row(7, size=1e300),
    ]  # fmt: skip
    events = data.feed.raw(json.dumps([*bad, row(8)]).encode(), V1 + "0")
    assert len(trades(events)) == 1
    assert kinds(events) == ["invalid"] * len(bad)


@pytest.mark.parametrize("text", ["../../x", "0x\u202e", "x" * 81, " "])
def test_foreign_ids_do_not_get_in(text: str) -> None:
    data = polled()
    data.add(row(1, proxyWallet=text, transactionHash=text))
    (found,) = trades(data.sweep())
    assert (found.taker, found.trade_id) == ("", "")


def test_older_pages_are_asked_for_until_they_reach_what_is_known() -> None:
    data = polled()
    data.add(row(-200))
    data.sweep()
    data.add(*(row(at, size=1.0 + at) for at in range(1200)))
    data.feed.now += 1300 * NS_PER_S
    found = data.sweep()
    assert sizes(found) == [1.0 + at for at in range(1200)]  # oldest first, each once
    assert kinds(found) == []


def test_new_trades_push_older_ones_into_the_next_page() -> None:
    data = polled()
    data.add(row(-200))
    data.sweep()
    data.add(*(row(at, size=1.0 + at) for at in range(700)))
    events = data.answer(data.asked()[0])
    (fetch,) = data.asked("trades_more")
    assert f"offset={ROWS - OVERLAP}" in fetch.url
    data.add(*(row(700 + at, size=701.0 + at) for at in range(30)))
    events += data.answer(fetch)
    for last in data.asked("trades_more"):  # which has nothing that is not known
        events += data.answer(last)
    assert sizes(events) == [1.0 + at for at in range(700)]
    assert kinds(events) == []
    assert sizes(data.sweep()) == [701.0 + at for at in range(30)]


def test_equal_rows_on_both_sides_of_a_page_are_not_lost() -> None:
    data = polled()
    data.add(row(-200))
    data.sweep()
    same = [row(100) for _ in range(8)]
    data.add(*(row(200 + at, size=2.0 + at) for at in range(ROWS - 4)))
    data.add(*same, *(row(at, size=3.0 + at) for at in range(90)))
    assert sizes(data.sweep()).count(5.4) == 8


def test_a_page_that_comes_again_ends_the_sweep_as_incomplete() -> None:
    """F37: beyond some offset the same rows are given again."""
    data = polled()
    data.add(row(-200))
    data.sweep()
    data.add(*(row(at, size=1.0 + at) for at in range(1200)))
    data.feed.now += 1300 * NS_PER_S
    data.answer(data.asked()[0])
    (fetch,) = data.asked("trades_more")
    again = json.dumps(data.rows[:ROWS]).encode()
    events = data.feed.raw(again, fetch.stream)
    assert kinds(events) == ["incomplete", "complete"]
    assert statuses(events)[0].since_ns == T0 - 200 * NS_PER_S
    assert sizes(events) == [1.0 + at for at in range(700, 1200)]
    assert not data.asked("trades_more")


def test_pages_that_do_not_fit_together_are_incomplete() -> None:
    data = polled()
    data.add(row(-200))
    data.sweep()
    data.add(*(row(at) for at in range(700)))
    data.answer(data.asked()[0])
    (fetch,) = data.asked("trades_more")
    gap = [row(at) for at in range(150, 0, -1)]
    assert kinds(data.feed.raw(json.dumps(gap).encode(), fetch.stream)) == [
        "incomplete",
        "complete",
    ]


def test_more_pages_than_the_bound_are_incomplete() -> None:
    data = polled()
    data.add(row(-200))
    data.sweep()
    data.add(*(row(at, size=1.0 + at) for at in range(4000)))
    data.feed.now += 4100 * NS_PER_S
    events = data.sweep()
    assert kinds(events) == ["incomplete", "complete"]
    assert len(trades(events)) == ROWS + (PAGES - 1) * (ROWS - OVERLAP)


def test_a_sweep_that_is_overtaken_is_incomplete_and_its_rows_are_told() -> None:
    data = polled()
    data.add(row(-200))
    data.sweep()
    data.add(*(row(at, size=1.0 + at) for at in range(700)))
    data.answer(data.asked()[0])
    (late,) = data.asked("trades_more")
    events = data.answer(data.asked()[0])
    assert kinds(events) == ["incomplete", "complete"]
    assert len(trades(events)) == ROWS
    assert data.feed.raw(b"[]", late.stream.replace("page=1", "page=5")) == []


def test_cursors_lead_to_the_next_page_and_come_again_are_found_out() -> None:
    data = polled("v2")
    known = newer([row(-200)])
    data.feed.raw(json.dumps(known).encode(), V2 + "0")
    pages = {"has_more": True, "next_cursor": "a b&c"}
    rows = [row(at, size=1.0 + at) for at in range(ROWS, 0, -1)]
    body = json.dumps({**newer(rows), "pagination": pages}).encode()
    assert data.feed.raw(body, V2 + "0") == []
    (fetch,) = data.asked("trades_more")
    assert "cursor=a+b%26c" in fetch.url
    assert f"condition_id={CONDITION}" in fetch.url
    assert kinds(data.feed.raw(body, fetch.stream)) == ["incomplete", "complete"]
    data.feed.raw(body, V2 + "0")
    rest = json.dumps({**newer([row(-1), row(-300)]), "pagination": {"has_more": False}})
    assert kinds(data.feed.raw(rest.encode(), V2 + "1")) == []


def test_rows_settled_late_are_told_and_very_late_ones_are_not() -> None:
    """F38."""
    data = polled()
    data.add(row(0), row(4000))
    data.feed.now += 5000 * NS_PER_S
    data.sweep()
    data.add(row(2000, size=1.0))
    assert sizes(data.sweep()) == [1.0]
    data.add(row(4000 - LATE_NS // NS_PER_S - 1, size=2.0))
    assert sizes(data.sweep()) == []


def test_what_is_remembered_is_bounded() -> None:
    data = polled()
    for begin in range(0, 12_000, 400):
        data.add(*(row(begin + at, size=1.0 + begin + at) for at in range(400)))
        data.feed.now = T0 + (begin + 400) * NS_PER_S
        data.sweep()
        (sweep,) = data.feed.state.sweeps.values()
        assert len(sweep.known) <= LATE_NS // NS_PER_S + 401
        assert sweep.rows == []


def test_a_service_without_rows_where_there_were_some_is_given_up() -> None:
    """F39: it answers, with nothing, from a date on."""
    data = polled("v2")
    data.feed.raw(json.dumps(newer([row(1)])).encode(), V2 + "0")
    nothing = b'{"count":0,"data":[]}'
    assert kinds(data.feed.raw(nothing, V2 + "0")) == ["mute"]
    assert kinds(data.feed.raw(nothing, V2 + "0")) == []  # said once
    told = data.feed.wait(2)
    assert ("incomplete", INSTRUMENT) in {(one.kind, one.instrument) for one in statuses(told)}
    data.feed.raw(json.dumps(newer([row(1), row(2)])).encode(), V2 + "0")
    assert "complete" in kinds(data.feed.wait(2))


def test_a_service_that_lags_behind_the_socket_by_an_hour_is_given_up() -> None:
    data = Data(Polymarket(markets=(MARKET,), trades="v1"))
    data.add(row(-LATE_NS // NS_PER_S - 100))
    data.sweep()
    data.feed.up()
    data.feed.ws(trade())
    assert kinds(data.sweep()) == ["mute"]


def test_a_market_that_never_traded_is_no_trouble() -> None:
    data = polled("v2")
    assert data.feed.raw(b'{"data":[],"pagination":{"has_more":false}}', V2 + "0") == []


# What is asked.


def test_takers_only_by_all_known_names() -> None:
    (first,) = polled("v1").asked()
    assert f"market={CONDITION}&takerOnly=true&offset=0" in first.url
    (second,) = polled("v2").asked()
    assert f"condition_id={CONDITION}&taker_only=true" in second.url
    assert polled("off").asked() == ()


def test_many_markets_share_requests_and_the_budget() -> None:
    venue = Polymarket(markets=markets(3000), mode="poll", trades="v1")
    (poll,) = [one for one in venue.polls(venue.start()) if one.name == "trades"]
    assert len(poll.requests) == 150
    assert poll.every_s == 37.5  # four a second
    venue = Polymarket(markets=markets(3000), mode="poll", trades="v2")
    (poll,) = [one for one in venue.polls(venue.start()) if one.name == "trades"]
    assert (len(poll.requests), poll.every_s) == (3000, 750.0)


def test_markets_of_one_request_keep_their_trades_apart() -> None:
    venue = Polymarket(markets=(other := markets(2)), mode="poll", trades="v1")
    feed = Feed(venue)
    strange = row(1, conditionId=other[1].condition, asset=other[1].no)
    found = trades(feed.raw(json.dumps([strange, row(0)]).encode(), V1 + "0"))
    assert [one.instrument for one in found] == [INSTRUMENT, f"polymarket:{other[1].condition}"]


@pytest.mark.parametrize("query", ["", "batch=7&page=0", "batch=x&page=0", "batch=0", "a=-1&b=0"])
def test_answers_to_nothing_are_counted(query: str) -> None:
    assert kinds(Feed().raw(b"[]", f"rest:/trades?{query}")) == ["unknown"]


@pytest.mark.parametrize("data", [b"", b"{}", b'{"error":"x"}', b"<html>", b'{"data":7}', b"7"])
def test_what_is_no_page_raises_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read_trades(data)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "timestamp": st.sampled_from([T0_S, T0_S + 1, 0, "x", 1e30, True]),
                "price": st.sampled_from([0.5, "0.5", 0, 1, "NaN", None]),
                "size": st.sampled_from([1, "1", -1, 1e300, [], 0.25]),
                "side": st.sampled_from(["BUY", "sell", "", 4]),
            }
        ),
        max_size=8,
    ),
    st.sampled_from(["v1", "v2"]),
)
def test_hostile_rows_never_break_it(changes: list[dict[str, Any]], generation: str) -> None:
    data = polled(generation)
    rows = [row(**one) for one in changes]
    body: Any = rows if generation == "v1" else newer(rows)
    events = data.feed.raw(json.dumps(body).encode(), (V1 if generation == "v1" else V2) + "0")
    assert all(0.0 < one.price < 1.0 and one.size > 0.0 for one in trades(events))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.lists(st.integers(1, 40)))
def test_every_trade_is_told_once_however_it_is_polled(times: list[int], cuts: list[int]) -> None:
    data = polled()
    told: list[Event] = []
    todo = [row(at) for at in sorted(times)]
    for cut in [*cuts, len(todo)]:
        data.add(*todo[:cut])
        todo = todo[cut:]
        told += data.sweep()
    assert len(trades(told)) == len(times)


def test_real_rows(shared_data: pathlib.Path) -> None:
    folder = shared_data / "wire" / "polymarket_rest"
    for name in ("nautilus_data_api_trades_response.json", "nautilus_py_trades.json"):
        answer = read_trades((folder / name).read_bytes())
        assert answer.problems == ()
        assert len(answer.rows) == answer.given >= 3
        assert all(one.wallet.startswith("0x") for one in answer.rows)


assert FULL < ROWS
