"""Words become markets: against the simulated catalogue, and against one that misbehaves."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from aiohttp import web
from catalogue_desk import CONDITION, ROW, Desk, always, contest, game, serving, with_venue

from tapewatch.app.resolve import ATTEMPTS, HYDRATION_S
from tapewatch.model.errors import ConfigError, Retryable
from tapewatch.simulate.polymarket import PolymarketServer
from tapewatch.testing import virtual_time
from tapewatch.venues.polymarket_words import word_of


def refusal(words: Sequence[str], prepare: Callable[[PolymarketServer], None] | None = None) -> str:
    """Why words lead nowhere."""

    async def scenario(desk: Desk) -> str:
        if prepare is not None:
            prepare(desk.server)
        with pytest.raises(ConfigError) as caught:
            await desk.resolver.resolve([word.format(game(desk.server)) for word in words])
        return str(caught.value)

    return with_venue(scenario)


# Words.


@pytest.mark.parametrize(
    "text",
    [
        "{0.slug}",
        "market/{0.slug}",
        "{0.condition}",
        "{0.yes}",
        "{0.no}",
        "{0.id}",
        "{0.question_id}",
        "https://polymarket.com/market/{0.slug}",
        "https://www.polymarket.com/de/event/{0.event.slug}/{0.slug}?tid=17#x",
        "polymarket.com/event/{0.event.slug}",
        "https://polymarket.com/sports/nba/games/week/3/{0.event.slug}",
        "event/{0.event.slug}",
    ],
)
def test_all_names_of_a_market_lead_to_it(text: str) -> None:
    async def scenario(desk: Desk) -> None:
        listing = game(desk.server)
        found = await desk.resolver.resolve([text.format(listing)])
        (market,) = found.markets
        assert (market.condition, market.yes, market.no) == (
            listing.condition,
            listing.yes,
            listing.no,
        )
        assert (market.slug, market.event) == (listing.slug, listing.event.slug)
        assert market.outcomes == listing.outcomes
        assert found.groups == ()

    with_venue(scenario)


def test_upper_case_ids_and_a_token_in_hexadecimal_are_found() -> None:
    async def scenario(desk: Desk) -> None:
        listing = game(desk.server)
        words = ["0x" + listing.condition[2:].upper(), f"0x{int(listing.yes):064x}"]
        words.append(str(int(listing.condition, 16)))  # F44: a condition where a token belongs
        found = await desk.resolver.resolve(words)
        assert [market.condition for market in found.markets] == [listing.condition]

    with_venue(scenario)


def test_an_event_is_all_of_its_markets_and_a_set_of_legs() -> None:
    async def scenario(desk: Desk) -> None:
        event = contest(desk.server).event
        words = [event.slug, event.markets[0].slug]
        found = await desk.resolver.resolve(words)
        conditions = [one.condition for one in event.markets]
        assert [market.condition for market in found.markets] == conditions
        assert [(len(legs), more) for legs, more in found.groups] == [(len(conditions), False)]

    with_venue(scenario)


def test_many_condition_ids_are_asked_for_together() -> None:
    async def scenario(desk: Desk) -> None:
        listings = desk.server.listings[:60]
        found = await desk.resolver.resolve([one.condition for one in listings])
        assert [one.condition for one in found.markets] == [one.condition for one in listings]
        assert desk.asked() == 6  # three batches, open and closed

    with_venue(scenario, markets=60)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0x" + "a" * 40, "is the address of a wallet"),
        ("0x" + "a" * 63, "this has 63"),
        ("9" * 78, "more than 256 bits"),
        ("https://example.com/event/x", "is no address of polymarket.com"),
        ("https://polymarket.com/", "of no market or event"),
        ("https://[::1", "is no address of polymarket.com"),
        ("two words", "names no market"),
        ("a/b/c", "names no market"),
        ("../../etc", "names no market"),
        ("", "names no market"),
    ],
)
def test_what_can_be_no_market_is_said_without_asking(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        word_of(text)


def test_an_unknown_word_gets_suggestions() -> None:
    async def scenario(desk: Desk) -> None:
        word = contest(desk.server).event.title.lower().split()[-2]
        with pytest.raises(ConfigError) as caught:
            await desk.resolver.resolve([word])
        text = str(caught.value)
        assert f'Polymarket has no market "{word}", but ' in text
        assert contest(desk.server).slug in text
        assert text.endswith(f"See: tapewatch markets search {word}")

    with_venue(scenario)


def test_a_word_like_nothing_gets_none() -> None:
    text = refusal(["no-such-thing"])
    hint = "See: tapewatch markets search no such thing"
    assert text == f'Polymarket has no market "no-such-thing". {hint}'
    assert refusal(["0x" + "12" * 32]).startswith("Polymarket knows no market with the id 0x12")


def test_a_market_that_is_over_cannot_be_watched() -> None:
    def resolve(server: PolymarketServer) -> None:
        server.planter.resolve(game(server).slug, 0)

    text = refusal(["{0.slug}"], resolve)
    assert "cannot be watched: resolved: " in text


def test_a_disputed_market_can_be_watched() -> None:
    async def scenario(desk: Desk) -> None:
        listing = game(desk.server)
        desk.server.planter.propose(listing.slug, "disputed")
        (found,) = await desk.resolver.find(listing.slug)
        assert found.state == "disputed"
        assert len((await desk.resolver.resolve([listing.slug])).markets) == 1

    with_venue(scenario)


# Hydration.


@pytest.mark.parametrize("hidden", ["", "[]", '["",""]'])
def test_a_new_market_is_waited_for(hidden: str) -> None:
    """F29."""

    async def scenario(desk: Desk) -> None:
        loop = asyncio.get_running_loop()
        listing, began = desk.server.planter.new_market(hidden), loop.time()
        loop.call_later(100.0, desk.server.planter.hydrate, listing)
        found = await desk.resolver.resolve([listing.slug])
        assert [market.yes for market in found.markets] == [listing.yes]
        assert 100.0 <= loop.time() - began <= 120.0
        assert desk.said[0] == (
            f"{listing.slug} is new, its tokens are not known yet; asking again in 5 s."
        )

    with_venue(scenario)


def test_a_market_that_is_never_hydrated_is_given_up_after_three_minutes() -> None:
    async def scenario(desk: Desk) -> None:
        loop = asyncio.get_running_loop()
        listing, began = desk.server.planter.new_market(""), loop.time()
        with pytest.raises(ConfigError, match="its tokens are not known yet"):
            await desk.resolver.resolve([listing.slug])
        assert 170.0 <= sum(HYDRATION_S) <= loop.time() - began <= 200.0

    with_venue(scenario)


# A catalogue that misbehaves.


def test_markets_that_were_not_asked_for_are_not_taken() -> None:
    """F45: a filter that is ignored."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"markets": [ROW]})

    async def scenario() -> None:
        async with serving(answer) as resolver:
            for word in ("other", "event/other", "0x" + "cd" * 32, "7" * 30, "77"):
                with pytest.raises(ConfigError):
                    await resolver.resolve([word])
            assert (await resolver.resolve(["game"])).markets[0].condition == CONDITION

    virtual_time.run(scenario())


def test_a_failure_is_tried_again_and_then_told() -> None:
    calls: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        calls.append(request.path)
        if len(calls) < ATTEMPTS:
            return web.Response(status=503)
        return web.json_response({"markets": [ROW]})

    async def scenario() -> None:
        async with serving(answer) as resolver:
            assert len((await resolver.resolve(["game"])).markets) == 1
        calls.clear()
        async with serving(always(503)) as resolver:
            with pytest.raises(Retryable, match="down or overloaded"):
                await resolver.resolve(["game"])

    virtual_time.run(scenario())


def test_a_long_ban_is_told_at_once() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with serving(always(429, headers={"Retry-After": "300"})) as resolver:
            with pytest.raises(Retryable, match="429"):
                await resolver.resolve(["game"])
        assert loop.time() - began < 5.0

    virtual_time.run(scenario())


def test_an_answer_of_another_shape_is_trouble_of_the_source() -> None:
    async def scenario() -> None:
        async with serving(always(200, text='{"error":"x"}')) as resolver:
            with pytest.raises(Retryable, match="catalogue is not what it was"):
                await resolver.resolve(["game"])

    virtual_time.run(scenario())
