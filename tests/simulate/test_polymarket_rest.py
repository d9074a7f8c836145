"""The HTTP services of the simulated Polymarket, as an independent client sees them."""

import asyncio
import json

from polymarket_client import get, hash_of, post, venue

from tapewatch.simulate.polymarket_scenario import PolymarketMarketConfig, PolymarketScenario
from tapewatch.testing import virtual_time

BUSY = PolymarketScenario(market=PolymarketMarketConfig(trades_per_s=2.0, plays_every_s=600.0))


def test_clob_answers_as_documented() -> None:
    async def main() -> None:
        async with venue() as (server, http):
            base, one = server.clob_url, server.listings[0]
            assert await get(http, f"{base}/ok") == (200, "OK")
            assert await get(http, f"{base}/time") == (200, virtual_time.START_NS // 10**9)
            _, book = await get(http, f"{base}/book", token_id=one.yes)
            bid, ask = float(book["bids"][-1]["price"]), float(book["asks"][-1]["price"])
            assert book["hash"] == hash_of(book)
            assert (book["tick_size"], book["min_order_size"], book["neg_risk"]) == (
                "0.01",
                "5",
                False,
            )
            _, mid = await get(http, f"{base}/midpoint", token_id=one.yes)
            assert float(mid["mid"]) == round((bid + ask) / 2, 5)
            for side, price in (("BUY", bid), ("SELL", ask)):
                _, got = await get(http, f"{base}/price", token_id=one.yes, side=side)
                assert float(got["price"]) == price
            _, spread = await get(http, f"{base}/spread", token_id=one.yes)
            assert float(spread["spread"]) == round(ask - bid, 4)
            assert await get(http, f"{base}/tick-size", token_id=one.yes) == (
                200,
                {"minimum_tick_size": 0.01},
            )
            assert await get(http, f"{base}/neg-risk", token_id=one.yes) == (
                200,
                {"neg_risk": False},
            )
            asks = [{"token_id": one.yes, "side": "BUY"}, {"token_id": one.no, "side": "SELL"}]
            _, mids = await post(http, f"{base}/midpoints", asks)
            assert float(mids[one.yes]) + float(mids[one.no]) == 1.0
            _, prices = await post(http, f"{base}/prices", asks)
            assert float(prices[one.yes]["BUY"]) == bid
            _, spreads = await post(http, f"{base}/spreads", asks)
            assert spreads[one.yes] == spreads[one.no] == spread["spread"]

    virtual_time.run(main())


def test_wrong_ids_are_refused_in_the_venues_words() -> None:
    async def main() -> None:
        async with venue() as (server, http):
            base, one = server.clob_url, server.listings[0]
            wrong = await get(http, f"{base}/book", token_id=one.condition)  # F44: condition id
            assert wrong == (400, {"error": "Invalid token id"})
            unknown = await get(http, f"{base}/book", token_id="123")
            assert unknown == (
                404,
                {"error": "No orderbook exists for the requested token id"},
            )
            assert (await get(http, f"{base}/midpoint", token_id=""))[0] == 400
            assert (await get(http, f"{base}/price", token_id=one.yes, side="UP"))[0] == 400
            assert (await get(http, f"{base}/markets/0x12"))[0] == 404
            assert (await get(http, f"{base}/markets-by-token/1"))[0] == 404
            assert (await post(http, f"{base}/books", {"token_id": one.yes}))[0] == 400
            many = [{"token_id": one.yes}] * 501
            assert await post(http, f"{base}/books", many) == (
                400,
                {"error": "Payload exceeds the limit"},
            )
            _, found = await post(http, f"{base}/books", [{"token_id": "1"}, {"token_id": one.no}])
            assert [book["asset_id"] for book in found] == [one.no]  # by id, not by place

    virtual_time.run(main())


def test_clob_markets_and_pages() -> None:
    async def main() -> None:
        async with venue(markets=501) as (server, http):
            _, first = await get(http, f"{server.clob_url}/markets")
            cursor = first["next_cursor"]
            _, last = await get(http, f"{server.clob_url}/markets", next_cursor=cursor)
            assert (first["count"], last["count"], last["next_cursor"]) == (500, 1, "LTE=")
            one = server.listings[7]
            _, market = await get(http, f"{server.clob_url}/markets/{one.condition}")
            assert [token["token_id"] for token in market["tokens"]] == [one.yes, one.no]
            assert market["minimum_tick_size"] == 0.01
            _, back = await get(http, f"{server.clob_url}/markets-by-token/{one.no}")
            assert back["condition_id"] == one.condition
            # the venue's own paths work as well
            root = server.clob_url.removesuffix("/clob")
            assert (await get(http, f"{root}/markets-by-token/{one.no}"))[1] == back

    virtual_time.run(main())


def test_gamma_finds_by_repeated_parameters_not_by_commas() -> None:
    async def main() -> None:
        async with venue(markets=8, contests=1, outcomes=3, short=1) as (server, http):
            ids = [one.condition for one in server.listings]
            url = f"{server.gamma_url}/markets/keyset"
            async with http.get(url, params=[("condition_ids", one) for one in ids[:3]]) as answer:
                found = json.loads(await answer.read())
            assert [row["conditionId"] for row in found["markets"]] == ids[:3]
            assert "next_cursor" not in found
            assert (await get(http, url, condition_ids=",".join(ids)))[1] == {"markets": []}
            row = found["markets"][0]
            one = server.listings[0]
            assert json.loads(row["clobTokenIds"]) == [one.yes, one.no]
            assert json.loads(row["outcomes"]) == ["Yes", "No"]
            assert round(sum(map(float, json.loads(row["outcomePrices"]))), 6) == 1.0
            assert row["negRisk"] is True
            assert row["negRiskMarketID"] == row["events"][0]["negRiskMarketID"]
            assert len(ids[-1]) == 64  # 31 bytes: protocol v2
            _, by_token = await get(http, url, clob_token_ids=one.no)
            assert by_token["markets"][0]["slug"] == one.slug
            _, event = await get(http, f"{server.gamma_url}/events", slug=one.event.slug)
            assert [market["slug"] for market in event[0]["markets"]] == [
                other.slug for other in server.listings[:3]
            ]
            assert (await get(http, f"{server.gamma_url}/events/{one.event.id}"))[1] == event[0]
            assert (await get(http, f"{server.gamma_url}/markets/slug/{one.slug}"))[0] == 200
            assert (await get(http, f"{server.gamma_url}/markets/999"))[0] == 404

    virtual_time.run(main())


def test_gamma_pages_by_cursor_and_ignores_what_it_does_not_know() -> None:
    async def main() -> None:
        async with venue(markets=250) as (server, http):
            for kind in ("markets", "events"):
                url, seen, more = f"{server.gamma_url}/{kind}/keyset", [], {}
                for _ in range(5):
                    _, page = await get(http, url, limit=100, **more)
                    seen += [row["id"] for row in page[kind]]
                    if "next_cursor" not in page:
                        break
                    more = {"after_cursor": page["next_cursor"]}
                assert len(seen) == len(set(seen)) == 250
            first = await get(http, url, limit=2)
            again = await get(http, url, limit=2, cursor=first[1]["next_cursor"], color="red")
            assert again == first
            assert (await get(http, url, offset=5))[0] == 422
            assert (await get(http, url, after_cursor="%%"))[0] == 422
            _, old = await get(http, f"{server.gamma_url}/markets", offset=240, limit=100)
            assert len(old) == 10
            _, big = await get(http, f"{server.gamma_url}/markets/keyset", limit=5000)
            assert len(big["markets"]) == 100
            _, rich = await get(
                http,
                f"{server.gamma_url}/markets/keyset",
                order="liquidityNum",
                ascending="false",
                liquidity_num_min=1000,
            )
            amounts = [row["liquidityNum"] for row in rich["markets"]]
            assert amounts == sorted(amounts, reverse=True)
            assert min(amounts) >= 1000

    virtual_time.run(main())


def test_search_finds_all_words_and_says_how_many_more() -> None:
    async def main() -> None:
        async with venue(markets=40, contests=1) as (server, http):
            url = f"{server.gamma_url}/public-search"
            _, found = await get(http, url, q="wins the cup")
            assert [event["negRisk"] for event in found["events"]] == [True]
            _, games = await get(http, url, q="vs", limit_per_type=7)
            assert len(games["events"]) == 7
            assert games["pagination"] == {"hasMore": True, "totalResults": 36}
            assert (await get(http, url, q="nothing like this"))[1]["events"] == []
            assert (await get(http, url))[0] == 422

    virtual_time.run(main())


def test_states_of_a_market_on_gamma_and_clob() -> None:
    async def main() -> None:
        async with venue() as (server, http):
            one = server.listings[1]
            gamma, clob = f"{server.gamma_url}/markets/keyset", server.clob_url
            server.planter.propose(one.slug, "disputed")
            _, found = await get(http, gamma, condition_ids=one.condition)
            assert found["markets"][0]["umaResolutionStatus"] == "disputed"
            assert json.loads(found["markets"][0]["umaResolutionStatuses"]) == ["disputed"]
            server.planter.pause(one.slug, 5.0)
            _, found = await get(http, gamma, condition_ids=one.condition)
            assert found["markets"][0]["acceptingOrders"] is False
            server.planter.resolve(one.slug, 1)
            assert (await get(http, gamma, condition_ids=one.condition))[1] == {"markets": []}
            _, found = await get(http, gamma, condition_ids=one.condition, closed="true")
            row = found["markets"][0]
            assert json.loads(row["outcomePrices"]) == ["0", "1"]
            assert row["closedTime"] == "2025-01-02 03:04:05+00"
            _, market = await get(http, f"{clob}/markets/{one.condition}")
            assert [token["winner"] for token in market["tokens"]] == [False, True]
            assert market["closed"] is True
            assert (await get(http, f"{clob}/book", token_id=one.yes))[0] == 404

    virtual_time.run(main())


def test_data_api_v1_is_newest_first_and_has_takers_only() -> None:
    async def main() -> None:
        async with venue(scenario=BUSY) as (server, http):
            await asyncio.sleep(300.0)
            one, url = server.listings[0], f"{server.data_url}/trades"
            _, rows = await get(http, url, market=one.condition, limit=10_000)
            assert len(rows) > 100
            assert {row["conditionId"] for row in rows} == {one.condition}
            times = [row["timestamp"] for row in rows]
            assert times == sorted(times, reverse=True)
            now = virtual_time.loop_clock().now_ns() // 10**9
            assert now - 30 <= times[0] <= now - 2  # settled, in seconds
            _, both = await get(http, url, market=one.condition, limit=10_000, takerOnly="false")
            assert len(both) == 2 * len(rows)
            # the wrong name of the filter: all markets' rows
            _, wrong = await get(http, url, condition_id=one.condition, window=300)
            assert len({row["conditionId"] for row in wrong}) == 4
            assert len(wrong) == 100
            pages = [
                await get(http, url, market=one.condition, limit=10, offset=at) for at in (0, 10)
            ]
            assert pages[0][1] + pages[1][1] == rows[:20]
            refusal = await get(http, url, offset=3_001)
            assert refusal[0] == 400
            assert "max historical activity offset" in refusal[1]["error"]

    virtual_time.run(main())


def test_data_api_v2_walks_by_cursor() -> None:
    async def main() -> None:
        async with venue(scenario=BUSY) as (server, http):
            await asyncio.sleep(200.0)
            one, url = server.listings[0], f"{server.data_url}/v2/trades"
            _, v1 = await get(http, f"{server.data_url}/trades", market=one.condition, limit=10_000)
            walked, more = [], {}
            for _ in range(100):
                _, page = await get(http, url, condition_id=one.condition, limit=17, **more)
                walked += page["data"]
                if not page["pagination"]["has_more"]:
                    break
                more = {"cursor": page["pagination"]["next_cursor"]}
            assert page["pagination"]["next_cursor"] is None
            assert [row["transaction_hash"] for row in walked] == [
                row["transactionHash"] for row in v1
            ]
            assert {row["condition_id"] for row in walked} == {one.condition}
            wallet = walked[0]["proxy_wallet"]
            _, own = await get(http, url, user=wallet)
            assert {row["proxy_wallet"] for row in own["data"]} == {wallet}
            assert (await get(http, url, cursor="x"))[0] == 400

    virtual_time.run(main())
