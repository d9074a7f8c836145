"""Words become markets: against the simulated catalogue, and against one that misbehaves."""

import asyncio
import contextlib
import json
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest
from aiohttp import web
from msgspec import structs

from tapewatch.app import market_cache
from tapewatch.app.cli import main as command_line
from tapewatch.app.config import Config, assemble, effective, restore
from tapewatch.app.environment import Setting
from tapewatch.app.market_cache import FILE, FRESH_NS, KEPT_NS, MarketCache
from tapewatch.app.resolve import ATTEMPTS, HYDRATION_S, Resolver, resolved
from tapewatch.io.http import Http
from tapewatch.model.errors import ConfigError, Retryable
from tapewatch.model.time import NS_PER_S
from tapewatch.simulate.polymarket import PolymarketConfig, PolymarketServer
from tapewatch.simulate.polymarket_listing import Listing
from tapewatch.testing import virtual_time
from tapewatch.venues.base import Budget
from tapewatch.venues.polygon import Polygon
from tapewatch.venues.polymarket_words import word_of

T = TypeVar("T")
BUDGET = Budget("gamma", 75, 10.0, 4, 8.0)
CONDITION = "0x" + "ab" * 32
ROW = {
    "conditionId": CONDITION,
    "slug": "game",
    "outcomes": '["Yes", "No"]',
    "clobTokenIds": '["11", "12"]',
}


class Desk:
    """A simulated venue, and a resolver that asks it."""

    def __init__(self, server: PolymarketServer, http: Http, folder: pathlib.Path | None) -> None:
        self.server, self.said = server, list[str]()
        self.clock = virtual_time.loop_clock()
        self.cache = MarketCache(folder, self.clock.now_ns()) if folder else None
        self.resolver = Resolver(
            http,
            self.clock,
            gamma_url=server.gamma_url,
            budget=BUDGET,
            cache=self.cache,
            say=self.said.append,
        )

    def asked(self) -> int:
        return sum(self.server.requests.values())


def with_venue(
    scenario: Callable[[Desk], Awaitable[T]], folder: pathlib.Path | None = None, **config: Any
) -> T:
    async def run() -> T:
        clock, http = virtual_time.loop_clock(), Http()
        try:
            async with PolymarketServer(PolymarketConfig(**config), clock) as server:
                return await scenario(Desk(server, http, folder))
        finally:
            await http.close()

    return virtual_time.run(run())


def game(server: PolymarketServer) -> Listing:
    """A market whose event has no other."""
    return next(one for one in server.listings if len(one.event.markets) == 1)


def contest(server: PolymarketServer) -> Listing:
    return next(one for one in server.listings if one.event.neg_risk)


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


@contextlib.asynccontextmanager
async def serving(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[Resolver]:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    http = Http()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield Resolver(http, virtual_time.loop_clock(), gamma_url=url, budget=BUDGET)
    finally:
        await http.close()
        await runner.cleanup()


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


def always(status: int, **more: Any) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, **more)

    return answer


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


# What is remembered.


def test_what_was_asked_lately_is_not_asked_again(tmp_path: pathlib.Path) -> None:
    async def scenario(desk: Desk) -> None:
        word = game(desk.server).slug
        first = await desk.resolver.find(word)
        asked = desk.asked()
        assert await desk.resolver.find(word) == first
        assert desk.asked() == asked
        assert desk.cache is not None
        desk.cache.save()
        again = MarketCache(tmp_path, desk.clock.now_ns())
        url = f"{desk.server.gamma_url} {word}"
        entry = again.get(url, desk.clock.now_ns())
        assert entry is not None
        assert entry.found == first
        later = desk.clock.now_ns() + FRESH_NS
        assert again.get(url, later) is None
        assert again.get(url, later, old=True) == entry
        assert again.get(url, entry.at_ns + KEPT_NS, old=True) is None

    with_venue(scenario, tmp_path)


def test_a_start_works_while_the_catalogue_does_not(tmp_path: pathlib.Path) -> None:
    async def scenario(desk: Desk) -> None:
        word = game(desk.server).slug
        first = await desk.resolver.find(word)
        await asyncio.sleep(FRESH_NS / NS_PER_S)
        desk.server.down("gamma")
        assert await desk.resolver.find(word) == first
        assert "What its catalogue said 5 m" in desk.said[-1]
        with pytest.raises(Retryable):
            await desk.resolver.find("another-word")

    with_venue(scenario, tmp_path)


@pytest.mark.parametrize("data", [b"", b"{}", b"[7]", b"\xff", b'[{"asked":"x"}]'])
def test_a_file_that_is_damaged_is_empty_and_told(tmp_path: pathlib.Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    cache = MarketCache(tmp_path, NS_PER_S)
    assert "cannot be read" in cache.trouble
    cache.put("a", NS_PER_S, ())
    cache.save()
    assert MarketCache(tmp_path, NS_PER_S).get("a", NS_PER_S) is not None


def test_what_is_remembered_is_bounded(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market_cache.limits, "MARKET_CACHE_WORDS", 2)
    cache = MarketCache(tmp_path, 0)
    for name in ("a", "b", "c"):
        cache.put(name, 0, ())
    assert [cache.get(name, 0) is not None for name in ("a", "b", "c")] == [False, True, True]
    cache.save()
    monkeypatch.setattr(market_cache.limits, "MARKET_CACHE_BYTES", 10)
    assert "too large" in MarketCache(tmp_path, 0).trouble


def test_a_folder_that_takes_no_file_is_told(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = MarketCache(tmp_path / "file" / "x", 0)
    cache.save()
    assert "cannot be" in cache.trouble


# A session's settings.


def settings(server: PolymarketServer, *words: str) -> Config:
    table = {
        "symbols": list(words),
        "gamma_url": server.gamma_url,
        "clob_url": server.clob_url,
        "data_url": server.data_url,
        "ws_url": server.ws_url,
    }
    said = [Setting(("source", "polymarket", key), value, "x") for key, value in table.items()]
    return assemble(said)[0]


def test_settings_are_filled_in_and_a_replay_needs_nobody(tmp_path: pathlib.Path) -> None:
    async def scenario(desk: Desk) -> Config:
        event = contest(desk.server).event
        words = (event.slug, game(desk.server).condition)
        config = settings(desk.server, *words)
        both = (Polygon(symbols=(game(desk.server).slug,)), *config.venues)
        config = structs.replace(config, venues=both)
        found = await resolved(config, desk.clock, folder=tmp_path, say=desk.said.append)
        polygon, polymarket = found.venues
        assert polymarket.symbols == words
        assert len(polymarket.markets) == len(event.markets) + 1
        assert polygon.markets == polymarket.markets[-1:]
        assert polymarket.start().events == (event.slug,)
        arbitrage = next(one for one in found.detectors if one.name == "sum_arb")
        assert arbitrage.sets == (tuple(one.instrument for one in event.markets),)
        assert arbitrage.fresh_s == 300.0
        assert desk.said == []
        return structs.replace(found, venues=(polymarket,))

    found = with_venue(scenario, tmp_path)
    again = restore(json.loads(json.dumps(effective(found))))
    assert effective(again) == effective(found)
    assert again.venues == found.venues


def test_a_session_that_goes_on_keeps_its_markets(tmp_path: pathlib.Path) -> None:
    async def scenario(desk: Desk) -> None:
        config = settings(desk.server, contest(desk.server).event.slug)
        before = await resolved(config, desk.clock, folder=tmp_path)
        desk.server.down("gamma")
        desk.server.planter.new_market()
        (tmp_path / FILE).unlink()
        after = await resolved(config, desk.clock, folder=tmp_path, known=before)
        assert effective(after) == effective(before)
        other = settings(desk.server, game(desk.server).slug)
        with pytest.raises(Retryable):
            await resolved(other, desk.clock, folder=tmp_path, known=before)

    with_venue(scenario, tmp_path)


def test_an_event_to_which_outcomes_may_be_added_is_an_open_set(tmp_path: pathlib.Path) -> None:
    other = {**ROW, "conditionId": "0x" + "cd" * 32, "slug": "b", "clobTokenIds": '["13", "14"]'}
    event = {
        "slug": "race",
        "negRisk": True,
        "negRiskAugmented": True,
        "markets": [{**ROW, "negRisk": True}, {**other, "negRisk": True}],
    }

    async def answer(request: web.Request) -> web.Response:
        empty: dict[str, Any] = {"markets": []}
        return web.json_response({"events": [event]} if "events" in request.path else empty)

    async def scenario() -> None:
        async with serving(answer) as resolver:
            url = resolver._gamma_url
            said = [
                Setting(("source", "polymarket", "symbols"), ["event/race"], "x"),
                Setting(("source", "polymarket", "gamma_url"), url, "x"),
            ]
            config = assemble(said)[0]
            clock = virtual_time.loop_clock()
            found = await resolved(config, clock, folder=tmp_path)
            arbitrage = next(one for one in found.detectors if one.name == "sum_arb")
            legs = (f"polymarket:{CONDITION}", "polymarket:0x" + "cd" * 32)
            assert (arbitrage.sets, arbitrage.open_sets) == ((), (legs,))
            own = structs.replace(arbitrage, sets=(legs,), open_sets=(), fresh_s=2.0)
            said_own = structs.replace(config, detectors=(own,))
            kept = await resolved(said_own, clock, folder=tmp_path)
            assert kept.detectors == (own,)

    virtual_time.run(scenario())


def test_other_venues_are_left_alone(tmp_path: pathlib.Path) -> None:
    async def scenario() -> None:
        config = assemble([Setting(("source", "kraken", "symbols"), ["BTC/USD"], "x")])[0]
        assert await resolved(config, virtual_time.loop_clock(), folder=tmp_path) is config

    virtual_time.run(scenario())


# The command.


def test_markets_search_and_show(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    async def in_a_thread(run: Callable[[], None]) -> None:
        await asyncio.to_thread(run)

    async def scenario(desk: Desk) -> None:
        listing, url = game(desk.server), desk.server.gamma_url

        def run(*args: str, code: int = 0) -> tuple[str, str]:
            with pytest.raises(SystemExit) as ended:
                command_line.main(["markets", *args, "--gamma-url", url])
            assert (ended.value.code or 0) == code
            return capsys.readouterr()

        def use() -> None:
            words = listing.question.split()[2:4]
            out, err = run("search", *words)
            assert listing.slug in out
            assert "tapewatch watch polymarket:" in err
            lines = run("search", *words, "--json")[0].splitlines()
            assert json.loads(lines[0])["schema"] == "tapewatch.market/1"
            out, _ = run("show", f"polymarket:{listing.slug}")
            assert listing.condition in out
            assert f"{listing.yes} {listing.outcomes[0]} (its price is watched)" in out
            assert json.loads(run("show", listing.yes, "--json")[0])["slug"] == listing.slug
            assert "has no market" in run("show", "zzz", code=2)[1]
            assert "No open market" in run("search", "zzz")[1]

        await in_a_thread(use)

    with_venue(scenario)
