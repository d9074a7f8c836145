"""Faults of the simulated Polymarket's HTTP services, as an independent client sees them."""

import asyncio
import json

import aiohttp
import pytest
from polymarket_client import connected, get, hash_of, now_s, post, venue

from tapewatch.simulate.polymarket_faults import parse
from tapewatch.simulate.polymarket_scenario import PolymarketMarketConfig, PolymarketScenario
from tapewatch.testing import virtual_time

BUSY = PolymarketMarketConfig(trades_per_s=2.0, plays_every_s=600.0)


def scripted(*faults: str) -> PolymarketScenario:
    return PolymarketScenario(market=BUSY, faults=tuple(map(parse, faults)))


async def until(second: float) -> None:
    await asyncio.sleep(max(0.0, second - now_s()))


def test_a_ghost_book_on_rest_while_all_else_is_right() -> None:
    async def main() -> None:
        async with venue(scenario=scripted("ghost@5:10,symbol=1")) as (server, http):
            one, other = server.listings[:2]
            await until(6)
            _, books = await post(
                http, f"{server.clob_url}/books", [{"token_id": t} for t in (one.yes, other.yes)]
            )
            ghost, real = books
            assert (ghost["bids"][-1]["price"], ghost["asks"][-1]["price"]) == ("0.01", "0.99")
            assert ghost["hash"] == hash_of(ghost)
            assert len(real["bids"]) > 2
            _, spread = await get(http, f"{server.clob_url}/spread", token_id=one.yes)
            assert float(spread["spread"]) < 0.9
            await until(16)
            _, book = await get(http, f"{server.clob_url}/book", token_id=one.yes)
            assert len(book["bids"]) > 2

    virtual_time.run(main())


def test_a_stale_cache_repeats_hash_and_timestamp() -> None:
    async def main() -> None:
        async with venue(scenario=scripted("stale_cache@5:60")) as (server, http):
            one = server.listings[0]

            async def book() -> dict[str, str]:
                return (await get(http, f"{server.clob_url}/book", token_id=one.yes))[1]

            await until(6)
            first = await book()
            await until(60)
            assert await book() == first
            await until(70)
            assert (await book())["hash"] != first["hash"]
            assert int((await book())["timestamp"]) > int(first["timestamp"]) + 50_000

    virtual_time.run(main())


@pytest.mark.parametrize(("how", "written"), [("empty", ""), ("list", "[]"), ("blank", '["", ""]')])
def test_a_new_market_is_not_hydrated_for_a_while(how: str, written: str) -> None:
    async def main() -> None:
        plot = scripted(f"not_hydrated@5:60,tokens={how}")
        async with (
            venue(scenario=plot) as (server, http),
            connected(http, server.ws_url) as client,
        ):
            await client.open([], custom_feature_enabled=True)
            await client.until(6)
            new = server.listings[-1]
            gamma = f"{server.gamma_url}/markets/keyset"
            _, found = await get(http, gamma, slug=new.slug)
            assert found["markets"][0]["clobTokenIds"] == written
            assert found["markets"][0]["active"] is True
            assert (await get(http, f"{server.clob_url}/book", token_id=new.yes))[0] == 404
            assert client.of("new_market") == []
            await client.until(70)
            _, found = await get(http, gamma, slug=new.slug)
            assert json.loads(found["markets"][0]["clobTokenIds"]) == [new.yes, new.no]
            assert (await get(http, f"{server.clob_url}/book", token_id=new.yes))[0] == 200
            (told,) = client.of("new_market")
            assert told["clob_token_ids"] == [new.yes, new.no]
            assert told["condition_id"] == new.condition

    virtual_time.run(main())


@pytest.mark.parametrize(("status", "words"), [(425, "restarting"), (503, "disabled")])
def test_a_restart_refuses_and_is_silent_then_all_books_come(status: int, words: str) -> None:
    async def main() -> None:
        plot = scripted(f"restart@10:90,status={status}")
        async with (
            venue(scenario=plot) as (server, http),
            connected(http, server.ws_url) as client,
        ):
            tokens = [token for one in server.listings for token in (one.yes, one.no)]
            await client.open(tokens)
            await client.until(11)
            url = f"{server.clob_url}/book"
            refusal = await get(http, url, token_id=tokens[0])
            assert refusal[0] == status
            assert words in refusal[1]["error"]
            assert (await get(http, f"{server.clob_url}/time"))[0] == 200
            assert (await get(http, f"{server.gamma_url}/markets/keyset"))[0] == 200
            await client.ask("PING")
            await client.until(99)
            silent = [text for at, text in client.frames if 10.01 < at < 99]
            assert silent == ["PONG"]
            await client.until(101)
            burst = {one["asset_id"] for at, one in client.timed("book") if at > 99}
            assert burst == set(tokens)
            assert (await get(http, url, token_id=tokens[0]))[0] == 200

    virtual_time.run(main())


def test_too_many_requests_are_refused_with_retry_after() -> None:
    async def main() -> None:
        async with venue(scenario=scripted("F33@0,per_s=2,retry_after_s=3")) as (server, http):
            await until(0.1)
            statuses = []
            for _ in range(4):
                async with http.get(f"{server.clob_url}/ok") as answer:
                    statuses.append(answer.status)
            assert statuses == [200, 200, 429, 429]
            assert answer.headers["Retry-After"] == "3"
            assert (await get(http, f"{server.gamma_url}/markets"))[0] == 200  # its own budget
            await until(2)
            assert (await get(http, f"{server.clob_url}/ok"))[0] == 200
            assert server.edge.refused == {"clob/ok": 2}

    virtual_time.run(main())


def test_too_many_requests_wait_in_a_queue() -> None:
    async def main() -> None:
        async with venue(scenario=scripted("F33@0,per_s=1,delay_s=7")) as (server, http):
            await until(0.1)
            for late in (0.0, 7.0):
                began = now_s()
                assert (await get(http, f"{server.clob_url}/ok"))[0] == 200
                assert now_s() - began == pytest.approx(late, abs=0.1)

    virtual_time.run(main())


def test_the_edge_blocks_with_html_or_a_reset() -> None:
    async def main() -> None:
        plot = scripted("cloudflare@0:10,call=gamma", "cloudflare@20:10,status=0")
        async with venue(scenario=plot) as (server, http):
            await until(1)
            async with http.get(f"{server.gamma_url}/markets") as answer:
                assert answer.status == 403
                assert answer.headers["Server"] == "cloudflare"
                assert answer.content_type == "text/html"
                assert "<html>" in await answer.text()
            assert (await get(http, f"{server.clob_url}/ok"))[0] == 200
            await until(21)
            with pytest.raises(aiohttp.ClientError):
                await get(http, f"{server.clob_url}/ok")
            with pytest.raises(aiohttp.ClientError):
                await http.ws_connect(server.ws_url)

    virtual_time.run(main())


def test_error_pages_and_errors_in_the_venues_words() -> None:
    async def main() -> None:
        plot = scripted(
            "http_5xx@0:5,status=522,call=books", "http_5xx@10:5,status=503,body=json,call=data"
        )
        async with venue(scenario=plot) as (server, http):
            await until(1)
            async with http.post(f"{server.clob_url}/books", json=[]) as answer:
                assert (answer.status, answer.content_type) == (522, "text/html")
            assert (await get(http, f"{server.clob_url}/ok"))[0] == 200
            await until(11)
            status, body = await get(http, f"{server.data_url}/trades")
            assert (status, list(body)) == (503, ["error"])
            await until(20)
            assert (await get(http, f"{server.data_url}/trades"))[0] == 200

    virtual_time.run(main())


def test_a_service_goes_and_comes_back() -> None:
    async def main() -> None:
        async with venue() as (server, http):
            server.down("data")
            with pytest.raises(aiohttp.ClientError):
                await get(http, f"{server.data_url}/trades")
            assert (await get(http, f"{server.clob_url}/ok"))[0] == 200
            server.down("data", on=False)
            assert (await get(http, f"{server.data_url}/trades"))[0] == 200
            end = server.fault("down,call=ws")
            with pytest.raises(aiohttp.ClientError):
                await http.ws_connect(server.ws_url)
            end()
            async with connected(http, server.ws_url):
                served = server.requests["ws/market"] - server.edge.refused["ws/market"]
                assert served == 1  # a client may ask twice by itself

    virtual_time.run(main())


def test_pages_repeat_beyond_an_offset() -> None:
    async def main() -> None:
        async with venue(scenario=scripted("same_page@100:900,offset=20")) as (server, http):
            await until(100.5)
            url = f"{server.data_url}/trades"
            pages = [(await get(http, url, limit=20, offset=at))[1] for at in (0, 20, 40, 60)]
            assert pages[0] != pages[1] == pages[2] == pages[3]
            _, v2 = await get(http, f"{server.data_url}/v2/trades", limit=20)
            cursor = v2["pagination"]["next_cursor"]
            _, more = await get(http, f"{server.data_url}/v2/trades", limit=20, cursor=cursor)
            assert more["data"] != v2["data"]  # the cursor does not suffer from it

    virtual_time.run(main())


def test_late_trades_appear_half_an_hour_later_at_their_own_time() -> None:
    async def main() -> None:
        async with venue(scenario=scripted("late@10:20,seconds=300")) as (server, http):
            url = f"{server.data_url}/trades"
            start = virtual_time.START_NS // 10**9

            async def lates() -> int:
                _, rows = await get(http, url, limit=10_000)
                return len([row for row in rows if 11 < row["timestamp"] - start < 29])

            await until(60)
            assert await lates() == 0
            await until(340)
            assert await lates() > 10

    virtual_time.run(main())


def test_a_decommissioned_endpoint_answers_200_and_nothing() -> None:
    async def main() -> None:
        plot = scripted("decommissioned@50:500,call=trades")
        async with venue(scenario=plot) as (server, http):
            await until(51)
            assert await get(http, f"{server.data_url}/trades") == (200, [])
            _, v2 = await get(http, f"{server.data_url}/v2/trades")
            assert v2["data"]
            server.fault("decommissioned,call=v2/trades")
            _, v2 = await get(http, f"{server.data_url}/v2/trades")
            assert v2 == {"data": [], "pagination": {"has_more": False, "next_cursor": None}}

    virtual_time.run(main())


def test_gamma_gives_condition_ids_for_token_ids() -> None:
    async def main() -> None:
        async with venue(scenario=scripted("wrong_id@0:10")) as (server, http):
            await until(1)
            _, found = await get(http, f"{server.gamma_url}/markets/keyset", limit=1)
            wrong = json.loads(found["markets"][0]["clobTokenIds"])[0]
            assert wrong == server.listings[0].condition
            refusal = await get(http, f"{server.clob_url}/book", token_id=wrong)
            assert refusal == (400, {"error": "Invalid token id"})

    virtual_time.run(main())


def test_the_data_api_ignores_its_filter() -> None:
    async def main() -> None:
        async with venue(scenario=scripted("wrong_rows@60:60")) as (server, http):
            one = server.listings[0]
            for path, name, key in (
                ("trades", "market", "conditionId"),
                ("v2/trades", "condition_id", "condition_id"),
            ):
                url, query = f"{server.data_url}/{path}", {name: one.condition}
                await until(61)
                _, found = await get(http, url, **query)
                rows = found if isinstance(found, list) else found["data"]
                assert len({row[key] for row in rows}) == 4

    virtual_time.run(main())


def test_the_venues_clock_is_wrong() -> None:
    async def main() -> None:
        async with venue(scenario=scripted("clock_skew@5:10,seconds=-3600")) as (server, http):
            await until(6)
            start = virtual_time.START_NS // 10**9
            assert (await get(http, f"{server.clob_url}/time"))[1] == start + 6 - 3600
            await until(16)
            assert (await get(http, f"{server.clob_url}/time"))[1] == start + 16

    virtual_time.run(main())
