"""Polymarket's market channel: each trap of the protocol by name."""

from typing import Any

import pytest
from polymarket_feed import (
    CONDITION,
    INSTRUMENT,
    NO,
    T0,
    YES,
    Feed,
    WireBook,
    books,
    kinds,
    live,
    mirrored,
    statuses,
    tops,
    trade,
    trades,
)

from tapewatch.model.errors import DecodeError
from tapewatch.model.time import NS_PER_MS, NS_PER_S

START = (0.49, 10.0, 0.52, 10.0)


def test_the_first_books_show_a_price_and_a_mirror() -> None:
    feed, yes, no = Feed(), WireBook(), WireBook(no=True)
    assert [(s.instrument, s.detail) for s in statuses(feed.up(), "listed")] == [
        (INSTRUMENT, "game · Yes")
    ]
    feed.now += 5 * NS_PER_S
    events = feed.ws(yes.book(), no.book())
    assert tops(events) == [START]
    assert [(book.instrument, book.mirror_of) for book in books(events)] == [
        (INSTRUMENT, ""),
        (f"{INSTRUMENT}/NO", INSTRUMENT),
    ]
    # The best level is the last one on the wire, on both sides; a snapshot is of now.
    assert [book.bids[0][0] for book in books(events)] == [0.49, 0.48]
    assert books(events)[0].ts_event == feed.now
    assert not statuses(events)


def test_best_is_last_but_any_order_is_understood() -> None:
    feed, book = Feed(), WireBook().book()
    feed.up()
    book["bids"].reverse()
    book["asks"].reverse()
    assert tops(feed.ws(book)) == [START]


def test_a_change_names_the_new_total_and_zero_removes() -> None:
    feed, yes, _ = live()
    assert tops(feed.ws(yes.update("BUY", "0.49", "7"))) == [(0.49, 7.0, 0.52, 10.0)]
    assert tops(feed.ws(yes.update("BUY", "0.49", "0"))) == [(0.48, 11.0, 0.52, 10.0)]
    assert tops(feed.ws(yes.update("BUY", "0.30", "1"))) == []  # deep in the book
    assert not statuses(feed.ws(yes.update("SELL", "0.77", "0")))  # was never there


def test_a_pair_of_changes_gives_one_quote_and_both_books() -> None:
    feed, yes, no = live()
    events = feed.ws(mirrored(yes, no, "BUY", "0.50", "3"))
    assert tops(events) == [(0.5, 3.0, 0.52, 10.0)]
    assert [(book.mirror_of, book.bids[0], book.asks[0]) for book in books(events)] == [
        ("", (0.5, 3.0), (0.52, 10.0)),
        (INSTRUMENT, (0.48, 10.0), (0.5, 3.0)),
    ]
    assert books(events)[0].ts_event == yes.now // NS_PER_MS * NS_PER_MS


def test_all_changes_of_a_message_are_applied_before_it_is_shown() -> None:
    feed, yes, _ = live()
    rows = [yes.put("BUY", "0.49", "0"), yes.put("BUY", "0.48", "0"), yes.put("BUY", "0.51", "1")]
    assert tops(feed.ws(yes.change(*rows))) == [(0.51, 1.0, 0.52, 10.0)]


@pytest.mark.parametrize("flat", [False, True])
def test_both_older_forms_of_a_change(*, flat: bool) -> None:
    feed, yes, _ = live()
    level = {"price": "0.50", "side": "BUY", "size": "3"}
    about = {"event_type": "price_change", "market": CONDITION, "asset_id": YES, "hash": "x"}
    body: dict[str, Any] = level if flat else {"changes": [level]}
    assert tops(feed.ws({**about, **body, "timestamp": str(yes.now // NS_PER_MS)})) == [
        (0.5, 3.0, 0.52, 10.0)
    ]


def test_prices_without_a_leading_zero_and_numbers_for_text() -> None:
    feed, yes, _ = live()
    row = {**yes.put("BUY", "0.50", "3"), "price": ".50", "size": 3, "best_bid": 0.5}
    message = {**yes.change(row), "timestamp": yes.now // NS_PER_MS}
    assert tops(feed.ws(message)) == [(0.5, 3.0, 0.52, 10.0)]


def test_changes_before_a_book_are_dropped_and_counted() -> None:
    feed, yes = Feed(), WireBook()
    feed.up()
    assert feed.ws(yes.update("BUY", "0.50", "3")) == []
    assert feed.state.tokens[0].dropped == 1
    feed.ws(WireBook(no=True).book())  # the socket flows, this token does not
    said = statuses(feed.wait(4), "no_data")
    assert [(s.instrument, s.ask, s.detail) for s in said] == [
        (INSTRUMENT, "probe", "no book yet; 1 changes were dropped")
    ]


def test_an_empty_book_has_no_price() -> None:
    feed, yes, _ = live()
    yes.bids.clear()
    assert tops(feed.ws(yes.book())) == [(0.0, 0.0, 0.52, 10.0)]
    yes.asks.clear()
    assert tops(feed.ws(yes.book())) == [(0.0, 0.0, 0.0, 0.0)]


@pytest.mark.parametrize("words", [("0", "0"), ("0", "1"), ("", ""), ("0", "1.0")])
def test_zero_and_one_as_best_prices_are_no_prices(words: tuple[str, str]) -> None:
    feed, yes, _ = live()
    yes.bids.clear()
    yes.asks.clear()
    feed.ws(yes.book())
    best = {"best_bid": words[0], "best_ask": words[1], "event_type": "best_bid_ask"}
    for _ in range(9):
        assert not statuses(feed.ws({"market": CONDITION, "asset_id": YES, **best}))


@pytest.mark.parametrize("data", [b"PONG", b"NO NEW ASSETS", b"[]"])
def test_frames_that_say_nothing(data: bytes) -> None:
    feed, _, _ = live()
    heard = feed.state.sockets["ws:0"].heard_ns
    feed.now += NS_PER_S
    assert feed.raw(data) == []
    assert feed.state.sockets["ws:0"].heard_ns == heard  # alive is not flowing


@pytest.mark.parametrize("data", [b"", b"<html>", b"INVALID OPERATION", b"{", b"\xff\xfe"])
def test_what_is_no_json_is_malformed(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Feed().raw(data)


def test_unknown_shapes_are_counted_and_the_rest_of_the_frame_is_read() -> None:
    feed, yes, _ = live()
    events = feed.ws(
        {"event_type": "surprise", "market": CONDITION, "asset_id": YES},
        {"event_type": "book", "market": 7},
        {"what": "ever"},
        yes.update("BUY", "0.50", "3"),
    )
    assert tops(events) == [(0.5, 3.0, 0.52, 10.0)]
    assert kinds(events) == ["unknown", "invalid", "unknown"]


def test_bad_rows_beyond_the_first_twenty_are_one_status() -> None:
    feed, _, _ = live()
    said = statuses(feed.ws(*({"event_type": f"x{n}"} for n in range(30))))
    assert len(said) == 21
    assert said[-1].value == 10.0


@pytest.mark.parametrize(
    ("price", "size", "side"),
    [
        ("0", "1", "BUY"),
        ("1", "1", "BUY"),
        ("-0.5", "1", "BUY"),
        ("nan", "1", "BUY"),
        ("0.5", "inf", "BUY"),
        ("0.5", "-1", "BUY"),
        ("0.5", "x", "BUY"),
        ("0.5", "1", "HOLD"),
        ("0." + "0" * 90 + "1", "1", "BUY"),
    ],
)
def test_impossible_levels_are_dropped(price: str, size: str, side: str) -> None:
    feed, yes, _ = live()
    row = {"asset_id": YES, "price": price, "size": size, "side": side}
    events = feed.ws(yes.change(row))
    assert kinds(events) == ["invalid"]
    assert not books(events)


def test_a_message_of_another_market_is_refused() -> None:
    feed, yes, _ = live()
    events = feed.ws({**yes.book(), "market": "0x" + "cd" * 32})
    assert kinds(events) == ["invalid"]
    assert not tops(events)


# Trades


def test_a_trade_of_yes() -> None:
    feed, _, _ = live()
    (found,) = trades(feed.ws(trade("0.52", "25.5", "BUY", "0xabc")))
    assert (found.instrument, found.price, found.size) == (INSTRUMENT, 0.52, 25.5)
    assert (found.aggressor, found.trade_id, found.ts_event) == ("buy", "0xabc", T0)


def test_a_trade_of_no_is_the_opposite_trade_of_yes() -> None:
    feed, _, _ = live()
    (found,) = trades(feed.ws(trade("0.47", "5", "BUY", asset_id=NO)))
    assert (found.instrument, found.price, found.aggressor) == (INSTRUMENT, 0.53, "sell")
    (found,) = trades(feed.ws(trade("0.9", "5", "SELL", asset_id=NO)))
    assert (found.price, found.aggressor) == (0.1, "buy")


def test_equal_fills_of_one_transaction_are_as_many_trades() -> None:
    feed, _, _ = live()
    assert len(trades(feed.ws(trade(), trade(), trade(size="7")))) == 3


def test_a_frame_that_comes_twice_has_no_new_trades() -> None:
    feed, _, _ = live()
    feed.ws(trade(), trade())
    feed.down()
    feed.up()
    events = feed.ws(trade(), trade(), trade())
    assert len(trades(events)) == 1
    assert kinds(events) == ["duplicate", "duplicate"]


def test_equal_fills_at_different_times_are_different_trades() -> None:
    feed, _, _ = live()
    for ms in range(3):
        assert len(trades(feed.ws(trade(timestamp=str(T0 // NS_PER_MS + ms))))) == 1


def test_trades_without_a_transaction_are_told_apart_by_time() -> None:
    feed, _, _ = live()
    old = trade(tx="")
    del old["transaction_hash"]
    later = {**old, "timestamp": str(T0 // NS_PER_MS + 1)}
    assert len(trades(feed.ws(old))) == len(trades(feed.ws(later))) == 1
    assert not trades(feed.ws(later))


@pytest.mark.parametrize(
    "wrong", [{"price": "1"}, {"price": "x"}, {"size": "0"}, {"size": "nan"}, {"timestamp": "12"}]
)
def test_impossible_trades(wrong: dict[str, str]) -> None:
    feed, _, _ = live()
    events = feed.ws(trade(**wrong))
    assert kinds(events) == ["invalid"]
    assert not trades(events)


@pytest.mark.parametrize("factor", [1, 10**3, 10**6, 10**9])
def test_times_in_any_unit(factor: int) -> None:
    feed, _, _ = live()
    time = T0 // NS_PER_S * factor
    (found,) = trades(feed.ws(trade(timestamp=time if factor > 1 else str(time))))
    assert found.ts_event == T0


def test_the_memory_of_trades_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tapewatch.venues.polymarket_ws.TRADE_ID_RING", 5)
    feed, _, _ = live()
    for n in range(20):
        feed.ws(trade(tx=f"0x{n}"))
    assert list(feed.state.bets[0].seen) == [
        f"0x{n}/{T0}/0/BUY/50000000/20.0" for n in range(15, 20)
    ]
