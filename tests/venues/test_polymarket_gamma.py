"""Polymarket's catalogue: what is asked, what answers mean, and the traps in them."""

import json
import pathlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polymarket_feed import CONDITION, INSTRUMENT, MARKET, NO, T0, YES, Feed, kinds, statuses

from tapewatch.model.errors import DecodeError
from tapewatch.model.time import NS_PER_S, parse_rfc3339
from tapewatch.venues import polymarket_refresh as refresh
from tapewatch.venues.polymarket import Polymarket
from tapewatch.venues.polymarket_gamma import (
    Found,
    ask_clob,
    ask_events,
    ask_market,
    ask_markets,
    ask_search,
    read_markets,
)
from tapewatch.venues.polymarket_markets import Market
from tapewatch.venues.polymarket_status import ENDED_NS, ENDING_NS, Facts, state_of

GAMMA = "http://127.0.0.1:1"


def row(**changes: Any) -> dict[str, Any]:
    """A market as Gamma writes it."""
    return {
        "id": "559657",
        "conditionId": CONDITION,
        "slug": "game",
        "question": "Will they win?",
        "outcomes": '["Yes", "No"]',
        "outcomePrices": '["0.4", "0.6"]',
        "clobTokenIds": json.dumps([YES, NO]),
        "active": True,
        "closed": False,
        "archived": False,
        "acceptingOrders": True,
        "enableOrderBook": True,
        "endDate": "2028-11-07T00:00:00Z",
        "orderPriceMinTickSize": 0.001,
        "negRisk": False,
        "events": [{"slug": "league", "title": "The league"}],
        **changes,
    }


def page(*rows: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"markets": list(rows), "next_cursor": "", **more}).encode()


def only(data: bytes, now: int = T0) -> Found:
    read = read_markets(data, now)
    assert read.problems == ()
    (found,) = read.found
    return found


def test_ids_outcomes_and_prices_are_lists_inside_a_text() -> None:
    found = only(page(row()))
    assert found.market == Market(
        condition=CONDITION,
        yes=YES,
        no=NO,
        outcomes=("Yes", "No"),
        slug="game",
        question="Will they win?",
        event="league",
        tick=0.001,
        end_ns=parse_rfc3339("2028-11-07T00:00:00Z"),
    )
    assert (found.state, found.why, found.lacks) == ("open", "", "")
    assert found.event_title == "The league"
    as_lists = row(clobTokenIds=[YES, NO], outcomes=["Yes", "No"], outcomePrices=["0.4", "0.6"])
    assert only(page(as_lists)).market == found.market  # as they may be written one day


@pytest.mark.parametrize("ids", ["", "[]", '["",""]', None, "null", "no JSON"])
def test_a_market_without_tokens_is_not_hydrated_yet(ids: str | None) -> None:
    """F29: for minutes after its creation."""
    found = only(page(row(clobTokenIds=ids)))
    assert (found.market, found.hydrated) == (None, False)
    assert found.lacks == "its tokens are not known yet"


@pytest.mark.parametrize(
    "changes",
    [
        {"clobTokenIds": json.dumps([YES])},
        {"clobTokenIds": json.dumps([YES, NO, "3"]), "outcomes": '["A", "B", "C"]'},
        {"clobTokenIds": json.dumps([YES, YES])},
        {"clobTokenIds": json.dumps([YES, CONDITION])},  # F44: a condition id as a token id
    ],
)
def test_what_has_no_two_tokens_is_no_market_to_watch(changes: dict[str, Any]) -> None:
    found = only(page(row(**changes)))
    assert found.market is None
    assert found.hydrated
    assert found.lacks


@pytest.mark.parametrize("digits", [64, 62])
def test_condition_ids_have_32_bytes_or_31(digits: int) -> None:
    found = only(page(row(conditionId="0x" + "AB" * (digits // 2))))
    assert found.condition == "0x" + "ab" * (digits // 2)
    assert found.market is not None


@pytest.mark.parametrize("text", ["0x" + "a" * 63, "ab" * 32, "0x../" + "a" * 60, ""])
def test_a_row_without_a_condition_id_is_a_problem_and_no_loss(text: str) -> None:
    read = read_markets(page(row(conditionId=text), row()), T0)
    assert [found.condition for found in read.found] == [CONDITION]
    assert len(read.problems) == 1


def test_rows_of_another_shape_do_not_take_the_others_with_them() -> None:
    """F40."""
    rows = [row(conditionId=7), {"new": 1}, row(events=[{"slug": 5}], endDate=3, unheard_of={})]
    read = read_markets(json.dumps(rows).encode(), T0)
    assert len(read.problems) == 2
    (found,) = read.found
    assert found.market is not None
    assert (found.market.event, found.market.end_ns) == ("", 0)


def test_text_that_people_will_see_is_safe() -> None:
    found = only(page(row(slug="a\u001b[31mb", question="x\u202ey", outcomes='["\\u0007", "N"]')))
    assert found.market is not None
    shown = found.market.slug + found.market.question + found.market.outcomes[0]
    assert shown.isprintable()


def test_closed_outweighs_accepting_orders() -> None:
    found = only(page(row(closed=True, acceptingOrders=True, outcomePrices='["1", "0"]')))
    assert (found.state, found.why) == ("resolved", "resolved: Yes")
    found = only(page(row(closed=True, acceptingOrders=True)))
    assert (found.state, found.why) == ("closed", "it is closed")


def test_closed_with_prices_of_zero_has_no_winner() -> None:
    found = only(page(row(closed=True, outcomePrices='["0", "0"]')))
    assert (found.state, found.why) == ("closed", "it is closed")


def test_a_price_of_one_decides_nothing_while_the_market_is_open() -> None:
    assert only(page(row(outcomePrices='["1", "0"]'))).state == "open"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"umaResolutionStatus": "requested"}, "open"),
        ({"umaResolutionStatus": "proposed"}, "disputed"),
        ({"umaResolutionStatus": "disputed"}, "disputed"),
        ({"umaResolutionStatus": "resolved"}, "resolved"),
        ({"umaResolutionStatus": "settled"}, "resolved"),
        ({"umaResolutionStatuses": '["proposed", "disputed"]'}, "disputed"),
        ({"umaResolutionStatuses": "[]"}, "open"),
        ({"umaResolutionStatus": None, "umaResolutionStatuses": None}, "open"),
        ({"acceptingOrders": False}, "paused"),
        ({"enableOrderBook": False}, "paused"),
        ({"active": False}, "paused"),
        ({"archived": True}, "closed"),
        ({"acceptingOrders": None, "active": None}, "open"),
    ],
)
def test_states(changes: dict[str, Any], state: str) -> None:
    found = only(page(row(**changes)))
    assert found.state == state
    assert bool(found.why) == (state != "open")


def test_the_last_minutes_and_the_hour_after_the_end_are_no_trading() -> None:
    end = T0 + 86_400 * NS_PER_S
    facts = Facts(end_ns=end)
    assert state_of(facts, end - ENDING_NS - 1)[0] == "open"
    assert state_of(facts, end - ENDING_NS)[0] == "paused"
    assert state_of(facts, end + ENDED_NS - 1)[0] == "paused"
    assert state_of(facts, end + ENDED_NS)[0] == "open"  # many a market outlives its date


def test_a_game_in_play_is_no_trading_where_orders_are_delayed() -> None:
    begun = row(gameStartTime="2025-11-21 00:00:00+00", secondsDelay=3)
    found = only(page(begun), parse_rfc3339("2025-11-21T00:00:01Z"))
    assert (found.state, found.why) == ("paused", "in play: orders are delayed by 3 s")
    assert only(page(begun), parse_rfc3339("2025-11-20T23:59:59Z")).state == "open"
    begun["secondsDelay"] = 0
    assert only(page(begun), parse_rfc3339("2025-11-21T00:00:01Z")).state == "open"


@pytest.mark.parametrize(
    "text", ["2026-05-09 02:07:01+00", "2026-05-09T02:07:01Z", "2026-05-09 02:07:01+00:00"]
)
def test_times_come_in_several_forms(text: str) -> None:
    market = only(page(row(endDate=text))).market
    assert market is not None
    assert market.end_ns == parse_rfc3339("2026-05-09T02:07:01Z")


def test_all_markets_of_an_event() -> None:
    other = row(conditionId="0x" + "cd" * 32, clobTokenIds='["3", "4"]', events=None)
    event = {
        "slug": "league",
        "title": "The league",
        "negRisk": True,
        "negRiskAugmented": True,
        "markets": [row(events=None), other, {"conditionId": []}],
    }
    for data in (
        json.dumps([event]),
        json.dumps(event),
        json.dumps({"events": [event], "next_cursor": "abc"}),
        json.dumps({"events": [event], "pagination": {"hasMore": False}}),
    ):
        read = read_markets(data.encode(), T0)
        assert [found.event for found in read.found] == ["league", "league"]
        assert all(found.exclusive and found.open_ended for found in read.found)
        assert len(read.problems) == 1
        assert read.cursor == ("abc" if "next_cursor" in data else "")


def test_a_market_of_the_clob() -> None:
    token = {"token_id": YES, "outcome": "Yes", "price": 0, "winner": False}
    clob = {
        "condition_id": CONDITION,
        "market_slug": "game",
        "question": "Will they win?",
        "tokens": [token, {"token_id": NO, "outcome": "No", "price": 1, "winner": True}],
        "closed": True,
        "accepting_orders": True,
        "minimum_tick_size": 0.001,
    }
    found = only(json.dumps(clob).encode())
    assert (found.state, found.why) == ("resolved", "resolved: No")
    assert found.market is not None
    assert (found.market.yes, found.market.no, found.market.tick) == (YES, NO, 0.001)
    read = read_markets(json.dumps({"data": [clob], "next_cursor": "LTE="}).encode(), T0)
    assert (len(read.found), read.cursor) == (1, "LTE=")


@pytest.mark.parametrize("data", [b"", b"<html>", b"{}", b'{"error":"x"}', b"7", b"[" * 5000])
def test_what_is_no_catalogue_raises_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read_markets(data, T0)


@given(st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from([*row(), "markets", "data", "tokens"]), inner, max_size=6),
    max_leaves=20,
))  # fmt: skip
def test_hostile_json_gives_an_answer_or_a_decode_error(value: Any) -> None:
    for data in (value, [value], {"markets": [value]}, row(events=[value])):
        try:
            read = read_markets(json.dumps(data).encode(), T0)
        except DecodeError:
            continue
        for found in read.found:
            assert found.market is None or found.market.yes.isdigit()


def test_parameters_are_repeated_and_never_lists_with_commas() -> None:
    asked = ask_markets(GAMMA, ["0xa", "0xb", "0xc"], batch=2)
    assert [fetch.url.partition("?")[2] for fetch in asked] == [
        "condition_ids=0xa&condition_ids=0xb&closed=false&limit=100",
        "condition_ids=0xa&condition_ids=0xb&closed=true&limit=100",
        "condition_ids=0xc&closed=false&limit=100",
        "condition_ids=0xc&closed=true&limit=100",
    ]
    assert len({fetch.stream for fetch in asked}) == 4
    assert all(fetch.surface == "gamma" for fetch in asked)


def test_words_cannot_leave_their_place_in_an_address() -> None:
    word = "a&closed=true#/../x y"
    for fetch in (
        *ask_events(GAMMA, [word]),
        ask_market(GAMMA, "slug", word, closed=False),
        ask_search(GAMMA, word),
    ):
        assert "a%26closed%3Dtrue%23%2F..%2Fx" in fetch.url
    with pytest.raises(ValueError, match="no condition id"):
        ask_clob(GAMMA, "../../x")
    assert ask_clob(GAMMA, CONDITION).url == f"{GAMMA}/markets/{CONDITION}"


# Refreshing what is watched.

STREAM = "rest:/markets/keyset?closed=false&batch=0"


def test_a_resolution_that_no_socket_told_halts_the_market() -> None:
    """F30."""
    feed = Feed()
    feed.up()
    assert kinds(feed.raw(page(row()), STREAM)) == []
    told = statuses(feed.raw(page(row(closed=True, outcomePrices='["0", "1"]')), STREAM))
    assert [(one.kind, one.instrument, one.detail) for one in told] == [
        ("halted", INSTRUMENT, "resolved: No")
    ]
    asked = refresh.polls(feed.state, GAMMA, 60.0)
    assert [poll.requests for poll in asked] == [(), ()]  # it is decided for good


def test_new_markets_of_a_watched_event_are_listed_and_others_are_not() -> None:
    feed = Feed(Polymarket(symbols=("league",), markets=(MARKET,)))
    feed.up()
    new = row(conditionId="0x" + "cd" * 32, clobTokenIds='["3", "4"]', slug="new")
    stranger = row(
        conditionId="0x" + "ef" * 32, clobTokenIds='["5", "6"]', events=[{"slug": "other"}]
    )
    told = statuses(feed.raw(page(new, stranger), STREAM))
    assert [(one.kind, one.ask) for one in told] == [("listed", "resubscribe"), ("unknown", None)]
    assert len(feed.state.bets) == 2
    _, asked = refresh.polls(feed.state, GAMMA, 60.0)
    assert [fetch.url for fetch in asked.requests] == [f"{GAMMA}/events/keyset?slug=league"]


def test_a_market_that_is_not_hydrated_is_listed_when_it_is() -> None:
    feed = Feed(Polymarket(symbols=("league",), markets=(MARKET,)))
    feed.up()
    new = row(conditionId="0x" + "cd" * 32, slug="new")
    assert kinds(feed.raw(page({**new, "clobTokenIds": ""}), STREAM)) == []
    assert kinds(feed.raw(page({**new, "clobTokenIds": '["3", "4"]'}), STREAM)) == ["listed"]


def test_many_markets_are_asked_for_more_slowly() -> None:
    few, many = Feed(), Feed(Polymarket(markets=tuple(
        Market(condition=f"0x{n:064x}", yes=str(2 * n + 1), no=str(2 * n + 2)) for n in range(3000)
    )))  # fmt: skip
    assert refresh.polls(few.state, GAMMA, 60.0)[0].every_s == 60.0
    poll, _ = refresh.polls(many.state, GAMMA, 60.0)
    assert (len(poll.requests), poll.every_s) == (240, 120.0)


# Real answers.


def test_real_answers(shared_data: pathlib.Path) -> None:
    folder = shared_data / "wire" / "polymarket_rest"
    states: dict[str, str] = {}
    tokens = 0
    for path in sorted(folder.glob("*.json")):
        if "trades" in path.name or "book" in path.name:
            continue
        read = read_markets(path.read_bytes(), parse_rfc3339("2026-03-11T15:00:00Z"))
        assert read.problems == ()
        states |= {found.slug: found.why for found in read.found}
        tokens += sum(found.market is not None for found in read.found)
    assert tokens > 100
    assert states["russia-x-ukraine-ceasefire-by-end-of-2027"] == "resolved: Yes"
    assert states["will-joe-biden-get-coronavirus-before-the-election"] == "it is closed"
    assert states["cs2-faze-ill-2026-04-05"] == "resolved: FaZe"
    assert states["btc-updown-5m-1773307200"] == ""
