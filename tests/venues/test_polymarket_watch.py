"""Sockets that go down, freeze or forget; REST as a check, a stand-in, and the only source."""

import json
from itertools import pairwise
from typing import Any

import pytest
from polymarket_feed import (
    INSTRUMENT,
    NO,
    T0,
    YES,
    Feed,
    WireBook,
    kinds,
    live,
    markets,
    mirrored,
    statuses,
    tops,
    trade,
)

from tapewatch.model.events import Event, Status
from tapewatch.model.outputs import Fault
from tapewatch.model.time import NS_PER_MS, NS_PER_S
from tapewatch.venues.polymarket import Polymarket


def said(events: list[Event]) -> list[tuple[str, str]]:
    """Statuses as (kind, instrument without its venue and condition)."""
    return [(s.kind, s.instrument.removeprefix(INSTRUMENT)) for s in statuses(events)]


def fleet(count: int) -> tuple[Feed, list[WireBook]]:
    """Many markets with their books."""
    feed = Feed(Polymarket(markets=markets(count)))
    for stream in feed.venue.streams(feed.state):
        feed.up(stream)
    wire = [WireBook(market) for market in feed.venue.markets]
    for at, yes in enumerate(wire):
        no = WireBook(yes.market, no=True)
        feed.ws(yes.book(), no.book(), stream=f"ws:{at // 100}")
    return feed, wire


def assets(fault: Fault | Status, feed: Feed) -> list[str]:
    asked = Fault(fault.kind, "polymarket", fault.instrument, 0, channel=fault.channel)
    fetch = feed.venue.fetch(feed.state, asked)
    assert fetch is not None
    return [one["token_id"] for one in json.loads(fetch.body)]


# The probe


def test_a_quiet_market_that_rest_confirms_is_nothing() -> None:
    feed, yes, _ = live()
    for _ in range(20):
        assert not statuses(feed.wait(45) + feed.rest(yes.rest()))


def test_a_socket_that_answers_pings_and_brings_nothing_is_mute() -> None:  # F04
    feed, yes, _ = live()
    events: list[Event] = []
    for _ in range(9):
        feed.raw(b"PONG")
        events += feed.wait(10)
    assert not statuses(events)
    yes.now = feed.now  # the venue goes on, the socket does not
    yes.put("BUY", "0.50", "3")
    assert not statuses(feed.rest(yes.rest()) + feed.wait(3))  # it may still be on its way
    found = statuses(feed.wait(1))
    assert [(s.kind, s.instrument, s.ask, s.stream) for s in found] == [
        ("mute", "", "reconnect", "ws:0")
    ]
    # REST takes over, so that there is a price, and the market is not stale.
    (poll,) = [one for one in feed.venue.polls(feed.state) if one.name == "takeover"]
    assert poll.every_s == 5.0
    assert json.loads(poll.requests[0].body) == [{"token_id": YES}]
    assert tops(feed.rest(yes.rest())) == [(0.5, 3.0, 0.52, 10.0)]
    yes.put("BUY", "0.51", "1")
    assert tops(feed.rest(yes.rest())) == [(0.51, 1.0, 0.52, 10.0)]
    assert not statuses(feed.wait(10))
    # The new connection is believed again.
    feed.down()
    feed.up()
    assert tops(feed.ws(yes.book())) == [(0.51, 1.0, 0.52, 10.0)]
    assert "takeover" not in [one.name for one in feed.venue.polls(feed.state)]


def test_mute_again_and_again_is_tried_more_and_more_seldom() -> None:
    feed, yes, _ = live()
    feed.wait(60)
    asked = []
    for _ in range(300):
        yes.now = feed.now
        yes.put("BUY", "0.50", "3")
        feed.rest(yes.rest())
        for status in statuses(feed.wait(5), "mute"):
            asked.append(status.ts_recv // NS_PER_S)
            feed.down()
            feed.up()
            feed.ws(yes.book())  # and then silence
            feed.wait(20)
    waits = [after - before for before, after in pairwise(asked)]
    assert len(asked) >= 4
    assert waits == sorted(waits)
    assert waits[0] >= 60
    assert waits[-1] >= 480


def test_a_few_frozen_tokens_are_asked_for_again_one_by_one() -> None:  # F25
    feed, wire = fleet(40)
    feed.now += 60 * NS_PER_S
    for yes in wire:
        yes.now = feed.now
        yes.put("BUY", "0.50", "3")
    for yes in wire[3:]:
        feed.ws(yes.change(yes.put("BUY", "0.50", "3")))
    assert not statuses(feed.rest(*(yes.rest() for yes in wire)))
    found = []
    for _ in range(4):
        feed.ws(wire[9].update("BUY", "0.50", "3"))  # the socket flows
        found += statuses(feed.wait(1))
    assert [(s.kind, s.instrument, s.ask) for s in found] == [
        ("mute", f"polymarket:{yes.market.condition}", "resubscribe") for yes in wire[:3]
    ]
    asked = {one.name: one for one in feed.venue.polls(feed.state)}["takeover"]
    assert json.loads(asked.requests[0].body) == [{"token_id": y.asset} for y in wire[:3]]
    feed.ws(*(yes.book() for yes in wire[:3]))
    assert "takeover" not in {one.name for one in feed.venue.polls(feed.state)}


def test_a_quarter_of_its_tokens_frozen_is_the_socket() -> None:  # F25
    feed, wire = fleet(40)
    feed.now += 60 * NS_PER_S
    for yes in wire[:30]:
        yes.now = feed.now
        yes.put("BUY", "0.50", "3")
    feed.rest(*(yes.rest() for yes in wire))
    found = []
    for _ in range(4):
        feed.ws(wire[39].update("BUY", "0.50", "3"))
        found += statuses(feed.wait(1))
    assert [(s.kind, s.ask, s.value) for s in found] == [("mute", "reconnect", 30.0)]


def test_an_old_book_of_rest_is_no_evidence() -> None:  # F24
    feed, yes, _ = live()
    old = yes.rest()
    feed.ws(yes.update("BUY", "0.50", "3"))
    assert not statuses(feed.rest(old) + feed.wait(10))
    assert not tops(feed.rest(old))


def test_rest_may_be_quicker_than_the_socket() -> None:
    feed, yes, _ = live()
    row = yes.put("BUY", "0.50", "3")
    feed.rest(yes.rest())
    feed.wait(2)
    feed.ws(yes.change(row))
    assert not statuses(feed.wait(10))


def test_a_frozen_token_that_speaks_is_believed() -> None:
    feed, yes, _ = live()
    row = yes.put("BUY", "0.50", "3")
    feed.rest(yes.rest())
    assert kinds(feed.wait(4)) == ["mute"]
    feed.ws(yes.change(row))
    assert "takeover" not in [one.name for one in feed.venue.polls(feed.state)]


def test_a_ghost_book_is_not_believed() -> None:  # F23
    feed, yes, _ = live()
    ghost = {**yes.rest(), "timestamp": str(yes.now // NS_PER_MS + 5000), "hash": "1" * 40}
    ghost["bids"] = [{"price": "0.01", "size": "100"}]
    ghost["asks"] = [{"price": "0.99", "size": "100"}]
    (found,) = statuses(feed.rest(ghost))
    assert (found.kind, found.instrument, found.ask) == ("ghost", INSTRUMENT, "probe")
    events = feed.rest(ghost) + feed.wait(20)
    assert not statuses(events)
    assert not tops(events)
    fault = Fault("ghost", "polymarket", INSTRUMENT, 0, channel="midpoint")
    fetch = feed.venue.fetch(feed.state, fault)
    assert fetch is not None
    assert fetch.url.endswith(f"/midpoint?token_id={YES}")
    feed.raw(b'{"mid":"0.505"}', fetch.stream)
    assert kinds(feed.rest(yes.rest())) == []


def test_a_book_that_is_empty_says_its_mid_price_too() -> None:
    feed, yes, _ = live()
    yes.bids.clear()
    yes.asks.clear()
    yes.put("BUY", "0.30", "1")
    wide = yes.rest()
    wide["bids"], wide["asks"] = [{"price": "0.01", "size": "1"}], [{"price": "0.99", "size": "1"}]
    feed.rest(wide)
    feed.raw(b'{"mid":"0.5"}', f"rest:/midpoint?token_id={YES}")
    assert not statuses(feed.rest(wide))
    assert kinds(feed.wait(4)) == ["mute"]  # so the socket should have said so


# Connections


def test_a_socket_without_any_data_is_asked_again_then_dropped() -> None:  # F02, F10
    feed = Feed()
    feed.up()
    asked = []
    for _ in range(200):
        feed.raw(b"PONG")
        asked += [(s.ask, s.ts_recv - T0) for s in statuses(feed.wait(1), "no_data")]
    assert [one for one, _ in asked[:4]] == ["resubscribe", "resubscribe", "reconnect", "reconnect"]
    waits = [at // NS_PER_S for _, at in asked]
    assert waits[0] == 11
    assert [b - a for a, b in pairwise(waits)][:2] == [21, 41]


def test_while_the_socket_is_down_rest_brings_the_price() -> None:
    feed, yes, _ = live()
    events = feed.down()
    assert said(events) == [("incomplete", "")]
    assert statuses(events)[0].since_ns == T0
    assert {"books", "takeover"} <= {one.name for one in feed.venue.polls(feed.state)}
    feed.now += 5 * NS_PER_S
    yes.put("BUY", "0.50", "3")
    assert tops(feed.rest(yes.rest())) == [(0.5, 3.0, 0.52, 10.0)]
    for _ in range(20):
        assert not statuses(feed.wait(5) + feed.rest(yes.rest()))
    assert said(feed.up()) == [("complete", "")]
    assert feed.ws(yes.update("BUY", "0.49", "1")) == []  # a new connection begins without a book
    assert tops(feed.ws(yes.book())) == [(0.5, 3.0, 0.52, 10.0)]


def test_a_market_without_any_book_becomes_stale_and_current_again() -> None:
    feed, yes, _ = live()
    feed.down()
    assert not statuses(feed.wait(15))
    (found,) = statuses(feed.wait(1))
    assert (found.kind, found.instrument) == ("stale", INSTRUMENT)
    assert not statuses(feed.wait(100))
    feed.rest(yes.rest())
    assert said(feed.wait(1)) == [("current", "")]


def test_all_markets_stale_are_said_at_once() -> None:
    feed, wire = fleet(150)
    feed.down("ws:1")
    assert len(statuses(feed.wait(16), "stale")) == 50
    events = feed.down("ws:0")
    whole = [s for s in statuses(events) if not s.instrument]
    assert [(s.kind, s.detail) for s in whole] == [("incomplete", "no socket is up")]
    found = statuses(feed.wait(16))
    assert [(s.kind, s.instrument) for s in found] == [("stale", "")]
    feed.up("ws:0")
    twins = [[yes.book(), WireBook(yes.market, no=True).book()] for yes in wire]
    feed.ws(*(book for twin in twins[:100] for book in twin))
    found = statuses(feed.wait(1))
    assert [(s.kind, s.instrument) for s in found] == [("current", "")]
    assert not statuses(feed.wait(3))
    feed.up("ws:1")
    feed.ws(*(book for twin in twins[100:] for book in twin), stream="ws:1")
    assert kinds(feed.wait(1)) == ["current"] * 50


@pytest.mark.parametrize("code", [425, 503])
def test_an_exchange_that_restarts_is_halted(code: int) -> None:  # F32
    feed, _, _ = live()
    found = statuses(feed.down("clob", f"Polymarket is down or overloaded ({code})."))
    assert [(s.kind, s.instrument) for s in found] == [("halted", "")]
    assert said(feed.up("clob")) == [("online", "")]


def test_rest_that_is_away_says_nothing_of_a_socket_that_flows() -> None:
    feed, yes, _ = live()
    assert not statuses(feed.down("clob", "no answer"))
    for _ in range(10):
        assert not statuses(feed.wait(30) + feed.ws(yes.update("BUY", "0.50", "3")))


def test_links_of_strangers() -> None:
    feed, _, _ = live()
    for stream in ("ws", "ws:7", "ws:-1", "ws:x", "x" * 500):
        assert not statuses(feed.down(stream))
    assert set(feed.state.sockets) == {"ws:0"}
    assert feed.state.down == {}


def test_the_state_can_be_written_at_any_moment() -> None:
    """The same events with and without a round trip, through a bad day."""

    def day(*, reload: bool) -> list[Event]:
        feed, yes, no = live()
        events: list[Event] = []

        def then(found: list[Event]) -> None:
            events.extend(found)
            if reload:
                feed.reload()

        for n in range(30):
            then(feed.ws(mirrored(yes, no, "BUY", "0.50", str(n % 3))))
            then(feed.ws(trade(tx=f"0x{n % 7}")))
            then(feed.wait(2))
        then(feed.down())
        then(feed.wait(20))
        then(feed.rest(yes.rest()))
        then(feed.up())
        yes.put("BUY", "0.51", "9")
        then(feed.rest(yes.rest()) + feed.wait(30))
        then(feed.ws(yes.book()))
        return events

    assert day(reload=True) == day(reload=False)
    assert len(statuses(day(reload=False))) > 3


def test_what_is_asked_of_rest() -> None:
    feed, _, _ = live()
    status: Any = Fault("no_data", "polymarket", f"{INSTRUMENT}/NO", 0, channel="book")
    assert assets(status, feed) == [YES, NO]
    assert feed.venue.fetch(feed.state, Fault("gap", "polymarket", "", 0)) is None
    assert feed.venue.fetch(feed.state, Fault("gap", "polymarket", "polymarket:x", 0)) is None
