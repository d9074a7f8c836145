"""What is planted in the simulated Polymarket, the truth of it, and that a seed repeats it."""

import asyncio
import json
import pathlib

import msgspec
import pytest
from polymarket_client import connected, get, venue

from tapewatch.model.errors import ConfigError
from tapewatch.simulate.polymarket_scenario import (
    PolymarketAnomaly,
    PolymarketMarketConfig,
    PolymarketScenario,
    load,
)
from tapewatch.testing import virtual_time

CALM = PolymarketMarketConfig(plays_every_s=6000.0)


def planted(*anomalies: PolymarketAnomaly) -> PolymarketScenario:
    return PolymarketScenario(market=CALM, anomalies=anomalies)


def test_a_spike_is_as_many_deviations_as_it_says_and_stays() -> None:
    async def main() -> None:
        async with venue(scenario=planted()) as (server, http):
            await asyncio.sleep(600)
            one = server.listings[0]
            record = server.spike(one.condition, 5.0)
            told = record.params
            assert told["to"] - told["from"] == pytest.approx(
                told["sigmas"] * told["sigma"], abs=1e-9
            )
            # whole ticks, and the spread is one or two of them
            assert abs(told["sigmas"]) * told["sigma"] == pytest.approx(
                max(5 * told["sigma"], 0.01), abs=0.0126
            )
            _, mid = await get(http, f"{server.clob_url}/midpoint", token_id=one.yes)
            assert float(mid["mid"]) == pytest.approx(told["to"], abs=0.006)
            assert record.instrument == f"polymarket:{one.condition}"
            await asyncio.sleep(5)
            _, mid = await get(http, f"{server.clob_url}/midpoint", token_id=one.yes)
            assert float(mid["mid"]) == pytest.approx(told["to"], abs=0.05)

    virtual_time.run(main())


def test_a_volume_spike_is_one_large_trade() -> None:
    async def main() -> None:
        plot = planted(PolymarketAnomaly(30.0, "volume_spike", params={"factor": 50.0}))
        async with (
            venue(scenario=plot) as (server, http),
            connected(http, server.ws_url) as client,
        ):
            one = server.listings[0]
            await client.open([one.yes, one.no])
            await client.until(31)
            sizes = [float(row["size"]) for at, row in client.timed("last_trade_price") if at >= 30]
            assert 50 * CALM.size in sizes
            await asyncio.sleep(5)
            _, rows = await get(http, f"{server.data_url}/trades", market=one.condition)
            big = [row for row in rows if row["size"] == 50 * CALM.size]
            hashes = {row["transaction_hash"] for row in client.of("last_trade_price")}
            assert {row["transactionHash"] for row in big} <= hashes

    virtual_time.run(main())


@pytest.mark.parametrize(("ring", "wallets"), [("self_cross", 1), ("ping_pong", 2), ("cycle", 4)])
def test_a_wash_ring_trades_with_itself(ring: str, wallets: int) -> None:
    async def main() -> None:
        params = {"ring": ring, "wallets": 4.0, "trades": 12.0}
        plot = planted(PolymarketAnomaly(5.0, "wash", 30.0, symbol="2", params=params))
        async with venue(scenario=plot) as (server, http):
            await asyncio.sleep(60)
            (record,) = server.truth.of("wash")
            own = record.params["wallets"]
            assert len(own) == wallets
            one = server.listings[1]
            url = f"{server.data_url}/trades"
            _, rows = await get(http, url, market=one.condition, limit=10_000, takerOnly="false")
            pairs: dict[str, list[str]] = {}
            for row in reversed(rows):
                if row["proxyWallet"] in own:
                    pairs.setdefault(row["transactionHash"], []).append(row["proxyWallet"])
            assert len(pairs) == 12
            assert all(len(pair) == 2 for pair in pairs.values())
            assert all((pair[0] == pair[1]) == (ring == "self_cross") for pair in pairs.values())

    virtual_time.run(main())


def test_a_pull_takes_the_touch_away_and_posts_again() -> None:
    async def main() -> None:
        plot = planted(PolymarketAnomaly(20.0, "pull", 6.0))
        async with venue(scenario=plot) as (server, http):
            one = server.listings[0]

            async def spread() -> float:
                _, got = await get(http, f"{server.clob_url}/spread", token_id=one.yes)
                return float(got["spread"])

            await asyncio.sleep(19)
            assert await spread() <= 0.04
            await asyncio.sleep(3)
            assert await spread() > 0.1
            await asyncio.sleep(5)
            assert await spread() <= 0.04

    virtual_time.run(main())


def test_silence_and_states_and_a_new_market_by_script() -> None:
    async def main() -> None:
        plot = planted(
            PolymarketAnomaly(10.0, "silence", 20.0),
            PolymarketAnomaly(10.0, "pause", 20.0, symbol="2"),
            PolymarketAnomaly(10.0, "propose", symbol="3"),
            PolymarketAnomaly(20.0, "dispute", symbol="3"),
            PolymarketAnomaly(20.0, "new_market"),
            PolymarketAnomaly(25.0, "resolution", symbol="4", params={"winner": 1.0}),
            PolymarketAnomaly(40.0, "glitch"),
            PolymarketAnomaly(50.0, "crossed"),
            PolymarketAnomaly(60.0, "price_spike", params={"sigmas": -6.0}),
        )
        async with (
            venue(scenario=plot) as (server, http),
            connected(http, server.ws_url) as client,
        ):
            first, second, third, fourth = server.listings[:4]
            await client.open([one.yes for one in server.listings], custom_feature_enabled=True)
            await client.until(15)
            assert (second.accepting, third.uma) == (False, "proposed")
            await client.until(29)
            quiet = [at for at, row in client.timed("price_change") if row["market"] == first.condition and at > 10.1]  # fmt: skip  # noqa: E501
            assert quiet == []
            assert (third.uma, len(server.listings)) == ("disputed", 5)
            assert client.of("new_market")[0]["condition_id"] == server.listings[4].condition
            assert client.of("market_resolved")[0]["winning_outcome"] == fourth.outcomes[1]
            await client.until(70)
            assert second.accepting
            kinds = [record.kind for record in server.truth.records]
            assert kinds == [
                "silence", "pause", "propose", "dispute", "new_market", "resolution", "glitch",
                "crossed", "price_spike",
            ]  # fmt: skip
            spike = server.truth.records[-1]
            assert (spike.t_ns - virtual_time.START_NS) == 60 * 10**9

    virtual_time.run(main())


def test_one_seed_makes_one_market_and_another_another() -> None:
    def run(seed: int) -> list[str]:
        async def main() -> list[str]:
            async with (
                venue(seed=seed, markets=6, contests=1) as (server, http),
                connected(http, server.ws_url) as client,
            ):
                await client.open([one.yes for one in server.listings])
                await client.until(400)  # long enough for the fair prices to wander
                return [text for _, text in client.frames]

        return virtual_time.run(main())

    first = run(3)
    assert len(first) > 300
    assert first == run(3)
    assert first[0] != run(4)[0]


def test_fair_prices_of_an_event_sum_to_one() -> None:
    async def main() -> None:
        async with venue(markets=5, contests=1, outcomes=5, scenario=planted()) as (server, http):
            await asyncio.sleep(300)
            _, events = await get(http, f"{server.gamma_url}/events", limit=1)
            rows = events[0]["markets"]
            mids = [float(json.loads(row["outcomePrices"])[0]) for row in rows]
            assert len(mids) == 5
            assert sum(mids) == pytest.approx(1.0, abs=0.12)

    virtual_time.run(main())


def test_a_scenario_file_is_read_or_refused(tmp_path: pathlib.Path) -> None:
    good = tmp_path / "good.json"
    good.write_text(
        '{"market": {"trades_per_s": 2}, "anomalies": [{"at": 5, "kind": "price_spike", '
        '"params": {"sigmas": 8}}], "faults": [{"at": 1, "fault": "pong_alive"}]}'
    )
    plot = load(good)
    assert (plot.market.trades_per_s, plot.anomalies[0].number("sigmas")) == (2.0, 8.0)
    for wrong in (
        '{"anomalies": [{"at": 5, "kind": "price_spike", "params": {"sigma": 8}}]}',
        '{"anomalies": [{"at": 5, "kind": "wash", "params": {"ring": "round"}}]}',
        '{"anomalies": [{"at": -1, "kind": "pull"}]}',
        '{"market": {"trades_per_s": -2}}',
        '{"market": {"sigma": 7}}',
        '{"market": {"events_per_s": 0}}',
    ):
        bad = tmp_path / "bad.json"
        bad.write_text(wrong)
        with pytest.raises(ConfigError):
            load(bad)
    assert msgspec.json.encode(PolymarketScenario())


def test_a_market_that_is_not_there_cannot_be_named() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="not among the markets"):
            async with venue(scenario=planted(PolymarketAnomaly(1.0, "pull", symbol="99"))):
                raise AssertionError

    virtual_time.run(main())
