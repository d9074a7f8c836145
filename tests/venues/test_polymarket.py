"""Polymarket's market channel: each trap of the protocol by name."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from polymarket_feed import (
    CONDITION,
    INSTRUMENT,
    MARKET,
    NO,
    T0,
    YES,
    Feed,
    WireBook,
    books,
    kinds,
    live,
    markets,
    mirrored,
    statuses,
    tops,
    trade,
    trades,
)

from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.events import Event
from tapewatch.model.outputs import Fault
from tapewatch.model.time import NS_PER_MS, NS_PER_S
from tapewatch.venues import polymarket_levels
from tapewatch.venues import polymarket_news as news
from tapewatch.venues.polymarket import Polymarket
from tapewatch.venues.polymarket_markets import Market
from tapewatch.venues.polymarket_state import Reading

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


# What shows that a book is wrong


def test_best_prices_of_a_change_that_differ_for_long_lead_to_a_fresh_book() -> None:
    feed, yes, _ = live()
    yes.put("BUY", "0.50", "3")  # lost on the way
    lost = [feed.ws(yes.update("SELL", "0.90", str(n))) for n in range(1, 5)]
    assert [kinds(events) for events in lost] == [[], [], [], ["checksum"]]
    (said,) = statuses(lost[-1])
    assert (said.instrument, said.ask, said.stream) == (INSTRUMENT, "resubscribe", "ws:0")
    assert "0.5/0.52" in said.detail.replace("0.50", "0.5")
    assert feed.ws(yes.update("BUY", "0.40", "1")) == []
    events = feed.ws(yes.book())
    assert tops(events) == [(0.5, 3.0, 0.52, 10.0)]
    assert kinds(events) == ["resynced"]


def test_best_prices_that_differ_for_a_second_lead_to_a_fresh_book() -> None:
    feed, yes, _ = live()
    yes.put("BUY", "0.50", "3")
    feed.ws(yes.update("SELL", "0.90", "1"))
    assert not statuses(feed.wait(1))
    assert kinds(feed.wait(1)) == ["checksum"]


def test_best_prices_that_differ_for_a_moment_do_not() -> None:
    feed, yes, _ = live()
    hidden = yes.put("BUY", "0.50", "3")
    for n in range(3):
        assert not statuses(feed.ws(yes.update("SELL", "0.90", str(n))))
    feed.ws(yes.change(hidden))
    assert feed.state.tokens[0].apart == 0
    assert not statuses(feed.wait(2))


def test_a_separate_message_of_best_prices_is_compared_too() -> None:
    feed, _, _ = live()
    best = {"event_type": "best_bid_ask", "market": CONDITION, "asset_id": YES}
    frames = [feed.ws({**best, "best_bid": "0.50", "best_ask": "0.52"}) for _ in range(4)]
    assert kinds(frames[-1]) == ["checksum"]


def test_a_venue_that_keeps_naming_other_prices_is_left_alone() -> None:
    feed, yes, _ = live()
    said = []
    for n in range(40):
        row = {**yes.put("SELL", "0.90", str(n + 1)), "best_bid": "0.11"}
        said += kinds(feed.ws(yes.change(row)))
        if not feed.state.tokens[0].valid:
            said += kinds(feed.ws(yes.book()))
    assert said == ["checksum", "resynced"] * 3 + ["unchecked"]


@pytest.mark.parametrize("generation", [0, 1, 2])
def test_the_recipe_of_the_hash_is_found(generation: int) -> None:
    feed, yes = Feed(), WireBook(generation=generation)
    feed.up()
    feed.ws(yes.book())
    assert feed.state.recipe == generation
    feed.ws(yes.update("BUY", "0.50", "3"))
    assert not statuses(feed.wait(2))
    assert feed.state.tokens[0].verified


def test_the_hash_of_a_change_shows_a_lost_one() -> None:
    feed, yes, _ = live()
    yes.put("BUY", "0.20", "3")  # lost, and far from the best prices
    assert not statuses(feed.ws(yes.update("BUY", "0.50", "3")) + feed.wait(5))
    assert not statuses(feed.ws(yes.update("BUY", "0.50", "4")))
    (said,) = statuses(feed.wait(1))
    assert (said.kind, said.ask) == ("checksum", "resubscribe")
    assert not feed.state.tokens[0].valid


def test_a_recipe_that_is_not_known_is_told_once_and_costs_no_book() -> None:
    feed, yes, _ = live()
    feed.down()
    feed.up()
    said = []
    for _ in range(polymarket_levels.UNMATCHED + 5):
        said += statuses(feed.ws({**yes.book(), "hash": "0" * 40}))
    assert [(s.kind, s.instrument, s.ask) for s in said] == [("unknown", "", None)]
    assert not statuses(feed.ws(yes.update("BUY", "0.50", "3")) + feed.wait(3))
    feed.down()
    feed.up()
    feed.ws(yes.book())
    assert feed.state.recipe == 1


def test_a_recipe_that_changes_under_way_blames_no_book() -> None:  # F21
    feed = Feed(Polymarket(markets=markets(3)))
    feed.up()
    wire = [WireBook(market) for market in feed.venue.markets]
    feed.ws(*(yes.book() for yes in wire))
    assert feed.state.recipe == 1
    for yes in wire:
        yes.generation = 2
    for size in range(1, 6):
        feed.ws(*(yes.update("BUY", "0.50", str(size)) for yes in wire))
        assert "checksum" not in kinds(feed.wait(1))
    assert feed.state.recipe == -1
    feed.ws(*(yes.book() for yes in wire))
    assert feed.state.recipe == 2
    assert all(token.verified for token in feed.state.tokens[::2])


def test_books_that_contradict_each_other_for_two_seconds_are_a_fault_of_the_feed() -> None:
    feed, yes, _ = live()
    feed.ws(yes.update("BUY", "0.51", "3"))  # NO's best ask should be 0.49 and is 0.51
    assert not statuses(feed.wait(2))
    (said,) = statuses(feed.wait(1))
    assert (said.kind, said.instrument, said.ask) == ("mirror", INSTRUMENT, None)
    assert said.detail == "0.51/0.52 against 0.48/0.51 of the other outcome"
    assert not statuses(feed.wait(5))
    feed.ws(yes.update("BUY", "0.51", "0"))
    assert feed.state.bets[0].apart_ns == 0


def test_one_tick_between_the_outcomes_is_no_contradiction() -> None:
    feed, yes, _ = live()
    feed.ws(yes.update("BUY", "0.50", "3"))
    assert not statuses(feed.wait(5))


def test_a_crossed_book_is_shown_as_it_is() -> None:
    feed, yes, _ = live()
    events = feed.ws(yes.update("BUY", "0.53", "3"))
    assert tops(events) == [(0.53, 3.0, 0.52, 10.0)]
    assert not statuses(events)


def test_another_tick_size_drops_the_book() -> None:
    feed, yes, no = live()
    change = {"event_type": "tick_size_change", "market": CONDITION, "timestamp": "1"}
    same = {"old_tick_size": "0.01", "new_tick_size": "0.01"}
    feed.ws({**change, **same, "asset_id": YES})
    assert feed.state.tokens[0].valid
    for asset in (YES, NO):
        feed.ws({**change, "asset_id": asset, "old_tick_size": "0.01", "new_tick_size": "0.001"})
    assert feed.ws(yes.update("BUY", "0.50", "3")) == []
    asked = statuses(feed.wait(4), "no_data")
    assert [(s.instrument, s.ask) for s in asked] == [
        (INSTRUMENT, "probe"),
        (f"{INSTRUMENT}/NO", "probe"),
    ]
    fetch = feed.venue.fetch(feed.state, Fault("no_data", "polymarket", INSTRUMENT, 0))
    assert fetch is not None
    assert json.loads(fetch.body) == [{"token_id": YES}, {"token_id": NO}]
    fine = {"tick_size": "0.001"}
    assert tops(feed.rest({**yes.rest(), **fine}, {**no.rest(), **fine})) == [
        (0.5, 3.0, 0.52, 10.0)
    ]
    assert feed.state.bets[0].tick == 100_000


def test_deltas_go_on_from_a_book_of_rest() -> None:
    feed, yes, _ = live()
    feed.ws({
        "event_type": "tick_size_change", "market": CONDITION, "asset_id": YES,
        "old_tick_size": "0.01", "new_tick_size": "0.001",
    })  # fmt: skip
    old = yes.rest()
    feed.ws(yes.update("BUY", "0.50", "3"))  # dropped, so `old` is of no use any more
    feed.wait(4)
    assert not tops(feed.rest(old))
    assert tops(feed.rest(yes.rest())) == [(0.5, 3.0, 0.52, 10.0)]
    assert tops(feed.ws(yes.update("BUY", "0.51", "1"))) == [(0.51, 1.0, 0.52, 10.0)]


# Markets


def test_a_decided_market_is_halted() -> None:
    feed, _, _ = live()
    events = feed.ws({
        "event_type": "market_resolved", "market": CONDITION, "assets_ids": [YES, NO],
        "winning_asset_id": YES, "winning_outcome": "Yes", "timestamp": "1766790415550",
    })  # fmt: skip
    assert [(s.kind, s.instrument, s.detail) for s in statuses(events)] == [
        ("halted", INSTRUMENT, "resolved: Yes")
    ]
    assert feed.venue.polls(feed.state)[0].requests == ()


NEW = {
    "event_type": "new_market", "id": "1", "market": "0x" + "cd" * 32, "slug": "second",
    "question": "Who?", "outcomes": ["A", "B"], "assets_ids": ["1", "2"],
    "clob_token_ids": ["1", "2"], "condition_id": "0x" + "cd" * 32,
    "event_message": {"slug": "league"}, "order_price_min_tick_size": "0.001",
}  # fmt: skip


def test_a_new_market_of_a_watched_event_is_watched() -> None:
    feed, _, _ = live(Polymarket(symbols=("league",), markets=(MARKET,)))
    (said,) = statuses(feed.ws(NEW))
    instrument = f"polymarket:{NEW['condition_id']}"
    assert (said.kind, said.instrument, said.detail) == ("listed", instrument, "second · A")
    assert (said.ask, said.stream) == ("resubscribe", "ws:0")
    fault = Fault("listed", "polymarket", instrument, 0, ask="resubscribe", stream="ws:0")
    (sent,) = feed.venue.resubscribe(feed.state, fault)
    assert json.loads(sent)["assets_ids"] == ["1", "2"]
    assert json.loads(sent)["operation"] == "subscribe"
    assert not feed.ws(NEW)  # known by now
    feed.reload()
    market = feed.state.bets[1].market
    assert (market.tick, market.outcomes) == (0.001, ("A", "B"))
    assert tops(feed.ws(WireBook(market).book()))


def test_a_new_market_of_somebody_else_is_no_news() -> None:
    feed, _, _ = live()
    assert feed.ws(NEW) == []


@pytest.mark.parametrize(
    "wrong",
    [{"clob_token_ids": ["", ""]}, {"condition_id": "0x1"}, {"outcomes": ["A"]},
     {"clob_token_ids": [YES, NO]}, {"assets_ids": None, "clob_token_ids": None}],
)  # fmt: skip
def test_a_new_market_that_cannot_be(wrong: dict[str, Any]) -> None:
    feed, _, _ = live(Polymarket(symbols=("league",), markets=(MARKET,)))
    feed.ws({**NEW, **wrong})
    assert len(feed.state.bets) == 1


def test_markets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tapewatch.venues.polymarket_news.POLYMARKET_MARKETS", 1)
    feed, _, _ = live(Polymarket(symbols=("league",), markets=(MARKET,)))
    assert kinds(feed.ws(NEW)) == ["rejected"]


def catalogue(feed: Feed, market: Market, why_not: str = "") -> list[Event]:
    reading = Reading(feed.state, feed.now, True, [])
    news.heard(reading, market, why_not)
    return reading.finish()


def test_the_catalogue_halts_a_market_and_lets_it_trade_again() -> None:
    feed, _, _ = live()
    assert catalogue(feed, MARKET) == []
    (said,) = statuses(catalogue(feed, MARKET, "closed"))
    assert (said.kind, said.instrument, said.detail) == ("halted", INSTRUMENT, "closed")
    assert catalogue(feed, MARKET, "closed") == []
    (said,) = statuses(catalogue(feed, MARKET, "disputed"))
    assert (said.kind, said.detail) == ("halted", "disputed")
    assert kinds(catalogue(feed, MARKET)) == ["online"]


def test_the_catalogue_knows_the_tick_better() -> None:
    feed, _, _ = live()
    assert catalogue(feed, msgspec.structs.replace(MARKET, tick=0.001)) == []
    assert feed.state.bets[0].tick == 100_000


def test_tokens_do_not_change_hands() -> None:
    feed, _, _ = live()
    assert kinds(catalogue(feed, msgspec.structs.replace(MARKET, yes="1"))) == ["invalid"]
    assert feed.state.bets[0].market == MARKET


def test_the_catalogue_brings_new_markets_that_trade() -> None:
    feed, _, _ = live()
    other = Market(condition="0x" + "cd" * 32, yes="1", no="2", slug="other")
    assert catalogue(feed, other, "closed") == []
    (said,) = statuses(catalogue(feed, other))
    assert (said.kind, said.ask) == ("listed", "resubscribe")


# What is sent


def test_a_socket_has_at_most_two_hundred_ids_and_a_frame_a_hundred() -> None:
    venue = Polymarket(markets=markets(250))
    state = venue.start()
    assert venue.streams(state) == ("ws:0", "ws:1", "ws:2")
    sent = [[json.loads(text) for text in venue.subscribe(state, s)] for s in venue.streams(state)]
    assert [[len(frame["assets_ids"]) for frame in frames] for frames in sent] == [
        [100, 100],
        [100, 100],
        [100],
    ]
    # The first frame after each connect has a form of its own.
    assert [[(f.get("type"), f.get("operation")) for f in frames] for frames in sent[1:]] == [
        [("market", None), (None, "subscribe")],
        [("market", None)],
    ]
    assert all(frame["custom_feature_enabled"] for frames in sent for frame in frames)
    ids = [one for frames in sent for frame in frames for one in frame["assets_ids"]]
    assert len(set(ids)) == 500


def test_a_token_is_given_up_before_it_is_asked_for_again() -> None:
    feed, _, _ = live()
    for instrument in (INSTRUMENT, f"{INSTRUMENT}/NO", ""):
        fault = Fault("checksum", "polymarket", instrument, 0, ask="resubscribe", stream="ws:0")
        sent = [json.loads(text) for text in feed.venue.resubscribe(feed.state, fault)]
        assert [(one["operation"], one["assets_ids"]) for one in sent] == [
            ("unsubscribe", [YES, NO]),
            ("subscribe", [YES, NO]),
        ]


def test_the_socket_is_pinged_with_text() -> None:
    endpoint = Feed().venue.endpoint()
    assert (endpoint.ping, endpoint.ping_every_s, endpoint.silence_s) == (b"PING", 10.0, 20.0)


def test_budgets_are_a_quarter_of_the_limits() -> None:
    budgets = {one.surface: one for one in Feed().venue.budgets()}
    assert {name: (one.requests, one.per_s) for name, one in budgets.items()} == {
        "clob": (125, 10.0),
        "data": (50, 10.0),
        "gamma": (75, 10.0),
    }
    assert (budgets["clob"].in_flight, budgets["clob"].timeout_s) == (30, 8.0)


# Configuration


@pytest.mark.parametrize(
    "options",
    [
        {"markets": ()},
        {"markets": (msgspec.structs.replace(MARKET, condition="0xAB"),)},
        {"markets": (msgspec.structs.replace(MARKET, yes="one"),)},
        {"markets": (msgspec.structs.replace(MARKET, no=YES),)},
        {"markets": (msgspec.structs.replace(MARKET, tick=0.0),)},
        {"markets": (MARKET,), "ws_url": "https://x"},
        {"markets": (MARKET,), "clob_url": "ftp://x"},
        {"markets": (MARKET,), "data_url": "http://a b"},
    ],
)
def test_settings_that_cannot_work(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Polymarket(**options)


def test_ids_of_31_bytes_are_ids() -> None:
    market = Market(condition="0x" + "ab" * 31, yes="1", no="2")
    venue = Polymarket(markets=(market,))
    assert venue.instruments() == (f"polymarket:{market.condition}",)


def test_two_markets_cannot_share_a_token() -> None:
    twin = msgspec.structs.replace(MARKET, condition="0x" + "cd" * 32)
    with pytest.raises(ConfigError, match="share"):
        Polymarket(markets=(MARKET, twin)).start()


def test_a_decimal_stays_one() -> None:
    """1 - 0.47 is not 0.53 as a float; integers keep it."""
    feed, _, _ = live()
    for n in range(1, 100):
        price = str(Decimal(n) / 100)
        (found,) = trades(feed.ws(trade(price, tx=f"0x{n}", asset_id=NO)))
        assert found.price == float(1 - Decimal(price))
