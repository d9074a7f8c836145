"""Polymarket: news of markets, what is sent and asked, and settings."""

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
    YES,
    Feed,
    WireBook,
    kinds,
    live,
    markets,
    statuses,
    tops,
    trade,
    trades,
)

from tapewatch.model.errors import ConfigError
from tapewatch.model.events import Event
from tapewatch.model.outputs import Fault
from tapewatch.venues import polymarket_news as news
from tapewatch.venues.polymarket import Polymarket
from tapewatch.venues.polymarket_markets import Market
from tapewatch.venues.polymarket_state import Reading


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
