"""What shows that a book of Polymarket's is wrong, and what is done about it."""

import json

import pytest
from polymarket_feed import (
    CONDITION,
    INSTRUMENT,
    NO,
    YES,
    Feed,
    WireBook,
    kinds,
    live,
    markets,
    statuses,
    tops,
)

from tapewatch.model.outputs import Fault
from tapewatch.venues import polymarket_levels
from tapewatch.venues.polymarket import Polymarket


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
