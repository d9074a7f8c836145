"""Markets are remembered between sessions, and are part of a session's settings; the command."""

import asyncio
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from catalogue_desk import CONDITION, ROW, Desk, contest, game, serving, with_venue
from msgspec import structs

from tapewatch.app import market_cache
from tapewatch.app.cli import main as command_line
from tapewatch.app.config import Config, assemble, effective, restore
from tapewatch.app.environment import Setting
from tapewatch.app.market_cache import FILE, FRESH_NS, KEPT_NS, MarketCache
from tapewatch.app.resolve import resolved
from tapewatch.model.errors import Retryable
from tapewatch.model.time import NS_PER_S
from tapewatch.simulate.polymarket import PolymarketServer
from tapewatch.testing import virtual_time
from tapewatch.venues.polygon import Polygon

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
