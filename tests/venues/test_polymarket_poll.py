"""REST as the only source of Polymarket's prices."""

import json

import pytest
from polymarket_feed import (
    CONDITION,
    INSTRUMENT,
    MARKET,
    T0,
    YES,
    Feed,
    WireBook,
    books,
    kinds,
    live,
    markets,
    statuses,
    tops,
    trade,
    trades,
)

from tapewatch.model.events import Event, Quote
from tapewatch.model.time import NS_PER_MS, NS_PER_S
from tapewatch.venues.polymarket import Polymarket

POLLED = Polymarket(markets=(MARKET,), mode="poll")


def said(events: list[Event]) -> list[tuple[str, str]]:
    """Statuses as (kind, instrument without its venue and condition)."""
    return [(s.kind, s.instrument.removeprefix(INSTRUMENT)) for s in statuses(events)]


def test_polls_bring_the_price() -> None:
    feed, yes = Feed(POLLED), WireBook()
    assert feed.venue.streams(feed.state) == ()
    poll = feed.venue.polls(feed.state)[0]
    assert (poll.every_s, poll.lead_s) == (30.0, 2.0)
    (fetch,) = poll.requests
    assert (fetch.surface, fetch.url) == ("clob", "https://clob.polymarket.com/books")
    assert json.loads(fetch.body) == [{"token_id": YES}]
    feed.up("clob")
    feed.now = T0 + 900 * NS_PER_MS
    events = feed.rest(yes.rest())
    assert tops(events) == [(0.49, 10.0, 0.52, 10.0)]
    assert books(events)[0].ts_event == feed.now
    feed.now += 30 * NS_PER_S
    yes.now += 10 * NS_PER_S
    yes.put("BUY", "0.50", "3")
    events = feed.rest(yes.rest())
    assert tops(events) == [(0.5, 3.0, 0.52, 10.0)]
    assert books(events)[0].ts_event == yes.now // NS_PER_MS * NS_PER_MS
    feed.now += 30 * NS_PER_S
    events = feed.rest(yes.rest())  # nothing has changed, which is known as of now
    assert not tops(events)
    assert books(events)[0].ts_event == feed.now


def test_batches_fit_into_a_frame_and_name_themselves() -> None:
    venue = Polymarket(markets=markets(250), mode="poll")
    poll = venue.polls(venue.start())[0]
    assert [len(json.loads(one.body)) for one in poll.requests] == [100, 100, 50]
    assert [one.stream for one in poll.requests] == [f"rest:/books?batch={n}" for n in range(3)]


def test_the_books_of_a_batch_come_in_any_order_and_not_all() -> None:  # F29, F30, F45
    feed = Feed(Polymarket(markets=markets(3), mode="poll"))
    wire = [WireBook(market) for market in feed.venue.markets]
    stranger = {**wire[1].rest(), "asset_id": "99"}
    wrong = {**wire[1].rest(), "market": wire[0].market.condition}
    events = feed.rest(wire[2].rest(), stranger, wrong, wire[0].rest())
    assert [one.instrument for one in events if isinstance(one, Quote)] == [
        f"polymarket:{wire[2].market.condition}",
        INSTRUMENT,
    ]
    assert kinds(events) == ["unknown", "invalid"]
    for _ in range(3):
        feed.wait(30)
        feed.rest(wire[2].rest(), wire[0].rest())
    missing = f"polymarket:{wire[1].market.condition}"
    assert [*feed.state.stale.each] == [missing]
    assert feed.state.stale.whole == ""


def test_without_rest_a_polled_source_is_stale_with_the_first_poll_that_fails() -> None:
    """CLOB_API_DOWN: nothing is to be said of prices that are not current."""
    feed, yes = Feed(POLLED), WireBook()
    feed.up("clob")
    feed.rest(yes.rest())
    feed.wait(10)
    assert not statuses(feed.down("clob", "a probe failed") + feed.wait(20))  # current until then
    found = statuses(feed.wait(1))
    assert [(s.kind, s.instrument, s.detail) for s in found] == [("stale", "", "a probe failed")]
    assert found[0].ts_recv - found[0].since_ns == 31 * NS_PER_S, "since the last book"
    assert not statuses(feed.wait(600))
    feed.up("clob")
    assert not statuses(feed.wait(1))  # that it answers is no book yet
    feed.rest(yes.rest())
    assert said(feed.wait(1)) == [("current", "")]


def test_without_rest_from_the_start_a_polled_source_is_stale_at_once() -> None:
    feed = Feed(POLLED)
    feed.down("clob", "no answer within 8 s")
    assert said(feed.wait(1)) == [("stale", "")]


def test_one_request_of_many_that_fails_leaves_the_others_current() -> None:
    feed = Feed(Polymarket(markets=markets(3), mode="poll"))
    wire = [WireBook(market) for market in feed.venue.markets]
    feed.up("clob")
    feed.rest(*(yes.rest() for yes in wire))
    feed.wait(31)
    feed.rest(*(yes.rest() for yes in wire[:2]))
    feed.down("clob", "no answer within 8 s")
    found = statuses(feed.wait(1))
    assert [(s.kind, s.instrument) for s in found] == [
        ("stale", f"polymarket:{wire[2].market.condition}")
    ]


def test_without_the_data_api_only_volume_is_in_doubt() -> None:
    feed, yes = Feed(POLLED), WireBook()
    feed.up("clob")
    feed.rest(yes.rest())
    assert said(feed.down("data")) == [("incomplete", "")]
    assert said(feed.up("data")) == [("complete", "")]


def rows(*times_s: int) -> bytes:
    """A page of the Data API, newest first."""
    return json.dumps({"data": [{
        "token_id": YES, "condition_id": CONDITION, "side": "BUY", "price": 0.5, "size": 2,
        "timestamp": at, "transaction_hash": f"0x{at}", "proxy_wallet": "0x1",
    } for at in times_s], "pagination": {"has_more": False}}).encode()  # fmt: skip


def test_a_data_api_that_stops_without_a_word_leaves_volume_in_doubt() -> None:  # F39
    feed, stream = Feed(POLLED), "rest:/v2/trades?batch=0&page=0"
    feed.wait(1)
    now_s = feed.now // NS_PER_S
    feed.raw(rows(now_s - 9), stream)
    assert len(trades(feed.raw(rows(now_s - 1, now_s - 9), stream))) == 1
    assert kinds(feed.raw(rows(), stream)) == ["mute"]  # there were some
    assert said(feed.wait(1)) == [("incomplete", "")]
    assert not statuses(feed.wait(5))
    feed.raw(rows(now_s + 3, now_s - 1), stream)
    assert said(feed.wait(1)) == [("complete", "")]


def test_a_polled_market_without_books_is_stale_after_two_and_a_half_polls() -> None:
    feed, yes = Feed(POLLED), WireBook()
    feed.wait(1)
    feed.rest(yes.rest())
    assert not statuses(feed.wait(75))
    assert said(feed.wait(1)) == [("stale", "")]


def test_a_polled_book_from_a_cache_is_no_evidence() -> None:  # F24
    feed, yes = Feed(POLLED), WireBook()
    feed.wait(1)
    feed.rest(yes.rest())
    feed.now += 90 * NS_PER_S
    feed.ws(trade(timestamp=str(feed.now // NS_PER_MS)))  # as if the Data API said so
    for _ in range(3):
        assert not books(feed.rest(yes.rest()))
    assert said(feed.wait(1)) == [("stale", "")]
    yes.now = feed.now
    yes.put("BUY", "0.50", "3")
    feed.rest(yes.rest())
    assert said(feed.wait(1)) == [("current", "")]


def test_a_polled_book_that_is_older_than_the_last_is_not_shown() -> None:  # F24
    feed, yes = Feed(POLLED), WireBook()
    old = yes.rest()
    yes.put("BUY", "0.50", "3")
    feed.rest(yes.rest())
    assert feed.rest(old) == []


def test_a_polled_ghost_waits_for_the_mid_price() -> None:  # F23
    for mid, believed in (("0.5", True), ("0.505", True), ("0.52", False), ("0.7", False)):
        feed, yes = Feed(POLLED), WireBook()
        feed.rest(yes.rest())
        wide = {**yes.rest(), "timestamp": str(yes.now // NS_PER_MS + 9000), "hash": "1" * 40}
        wide["bids"], wide["asks"] = [{"price": "0.01", "size": "1"}], []
        assert kinds(feed.rest(wide)) == ["ghost"]
        feed.raw(json.dumps({"mid": mid}).encode(), f"rest:/midpoint?token_id={YES}")
        events = feed.rest(wide)
        assert (tops(events) == [(0.01, 1.0, 0.0, 0.0)]) is believed
        assert not statuses(events)
        feed.now += 61 * NS_PER_S
        assert kinds(feed.rest({**wide, "hash": "2" * 40})) == ([] if believed else ["ghost"])


@pytest.mark.parametrize("data", [b'{"mid":"x"}', b"[]", b'{"mid":null}', b"{}"])
def test_mid_prices_that_are_none(data: bytes) -> None:
    feed, _, _ = live()
    assert kinds(feed.raw(data, f"rest:/midpoint?token_id={YES}")) == ["invalid"]
