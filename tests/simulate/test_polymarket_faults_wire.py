"""Faults of the simulated Polymarket's sockets and books, as an independent client sees them."""

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from polymarket_client import Client, ClientBook, connected, get, hash_of, now_s, venue

from tapewatch.simulate.polymarket import PolymarketServer
from tapewatch.simulate.polymarket_faults import POLYMARKET, parse
from tapewatch.simulate.polymarket_scenario import PolymarketMarketConfig, PolymarketScenario
from tapewatch.simulate.polymarket_socket import Limits
from tapewatch.testing import virtual_time

BUSY = PolymarketMarketConfig(changes_per_s=4.0, trades_per_s=0.5, plays_every_s=6000.0)
Watched = tuple[Client, PolymarketServer]


def scripted(*faults: str) -> PolymarketScenario:
    return PolymarketScenario(market=BUSY, faults=tuple(map(parse, faults)))


def watch(
    *faults: str,
    until_s: float = 60.0,
    then: Callable[[Watched], Any] | None = None,
    **more: Any,
) -> Watched:
    """A client of all markets for a while."""

    async def main() -> Watched:
        async with (
            venue(scenario=scripted(*faults), **more) as (server, http),
            connected(http, server.ws_url) as client,
        ):
            await client.open(tokens(server), custom_feature_enabled=True)
            await client.until(until_s)
            if then is not None:
                await then((client, server))
            return client, server

    return virtual_time.run(main())


def tokens(server: PolymarketServer) -> list[str]:
    return [token for one in server.listings for token in (one.yes, one.no)]


def times(client: Client, kind: str = "", token: str = "") -> list[float]:
    return [at for at, one in client.timed(kind) if not token or one.get("asset_id") == token]


def within(times: Iterable[float], begin: float, end: float) -> list[float]:
    return [at for at in times if begin + 0.02 < at < end - 0.02]


def test_half_open_sockets_do_not_even_answer_ping() -> None:
    async def later(watched: Watched) -> None:
        client, _ = watched
        await client.ask("PING")
        await client.until(90.0)

    client, server = watch("half_open@10", then=later)
    assert within(times(client), 10, 90) == []
    assert client.closed is None
    assert [text for at, text in client.frames if text == "PONG"] == []
    assert [record.kind for record in server.truth.records] == ["half_open"]


def test_pong_goes_on_while_data_do_not_and_rest_moves() -> None:
    async def main() -> None:
        async with (
            venue(scenario=scripted("pong_alive@10:60")) as (server, http),
            connected(http, server.ws_url) as client,
        ):
            one = server.listings[0]
            await client.open(tokens(server))
            await client.until(15)
            _, before = await get(http, f"{server.clob_url}/book", token_id=one.yes)
            await client.ask("PING")
            async with connected(http, server.ws_url) as second:  # a new socket gets nothing either
                await second.open([one.yes])
                await second.until(30)
                assert second.frames == []
            await client.until(69)
            _, after = await get(http, f"{server.clob_url}/book", token_id=one.yes)
            assert after["timestamp"] > before["timestamp"]
            assert [text for at, text in client.frames if at > 10.02] == ["PONG"]
            await client.until(80)
            assert within(times(client), 70, 80)

    virtual_time.run(main())


def test_expired_subscriptions_come_back_when_made_again() -> None:
    async def again(watched: Watched) -> None:
        client, server = watched
        assert within(times(client), 10, 30) == []
        await client.subscribe([server.listings[0].yes])
        await client.until(60.0)

    client, server = watch("expired@10", until_s=30.0, then=again)
    alive = server.listings[0].yes
    assert within(times(client, "book", alive), 29, 60)
    assert within(times(client, "price_change"), 30, 60)
    assert within(times(client, "book", server.listings[1].yes), 10, 60) == []


def test_a_burst_brings_all_that_piled_up_with_its_old_times() -> None:
    async def ping(watched: Watched) -> None:
        await watched[0].ask("PING")
        await watched[0].until(40.0)

    client, _ = watch("burst@10:10", until_s=15.0, then=ping)
    assert within(times(client), 10, 20) == []
    assert [at for at, text in client.frames if text == "PONG"] == [pytest.approx(15, abs=0.1)]
    start_ms = virtual_time.START_NS // 10**6
    late = [int(one["timestamp"]) - start_ms for at, one in client.timed() if 19.9 < at < 20.1]
    assert len(late) > 100
    assert min(late) < 10_500
    assert sum(book.bad for book in client.books().values()) == 0


def test_of_a_subscription_only_the_first_ids_count() -> None:
    async def main() -> None:
        async with (
            venue(scenario=scripted("partial@0:30,ids=3")) as (server, http),
            connected(http, server.ws_url) as client,
        ):
            await asyncio.sleep(0.1)
            await client.open(tokens(server))
            await client.until(40)
            assert {one["asset_id"] for one in client.of("book")} == set(tokens(server)[:3])

    virtual_time.run(main())


@pytest.mark.parametrize("how", ["fault", "limit", "socket"])
def test_too_many_ids_in_a_frame_end_the_socket_soon_after(how: str) -> None:
    async def main() -> None:
        plot = scripted("hang_up@0:30,ids=6" if how == "fault" else "hang_up@500")
        limits = {
            "fault": Limits(),
            "limit": Limits(frame_ids=6),
            "socket": Limits(socket_ids=6),
        }[how]
        async with venue(scenario=plot, limits=limits) as (server, http):
            for _ in range(2):  # for ever, as long as the client does it again
                async with connected(http, server.ws_url) as client:
                    await asyncio.sleep(0.1)
                    began = now_s()
                    await client.open(tokens(server))
                    await client.until(began + 5)
                    assert client.closed == 1006
                    assert 0.1 <= now_s() - began <= 0.25
                    assert client.frames == []
            async with connected(http, server.ws_url) as client:
                await client.open(tokens(server)[:6])
                await client.until(now_s() + 5)
                assert client.of("book")
                assert client.closed is None

    virtual_time.run(main())


def test_one_kind_of_message_is_not_sent_any_more() -> None:
    client, _ = watch("removed@10:200,topic=last_trade_price")
    assert within(times(client, "last_trade_price"), 0, 10)
    assert within(times(client, "last_trade_price"), 10, 60) == []
    assert within(times(client, "price_change"), 10, 60)


@pytest.mark.parametrize(("code", "seen"), [(1012, 1012), (1006, 1006)])
def test_sockets_close(code: int, seen: int) -> None:
    client, _ = watch(f"close@10,code={code}")
    assert client.closed == seen
    assert max(times(client)) < 10.1


def test_a_service_that_is_down_drops_its_sockets() -> None:
    client, _ = watch("down@10:20,call=ws")
    assert client.closed == 1006


@pytest.mark.parametrize("generation", ["none", "gen2024", "gen2026"])
def test_another_recipe_of_the_hash(generation: str) -> None:
    client, _ = watch(f"recipe@10:20,generation={generation}", until_s=40.0)
    books = {True: [], False: []}
    for at, one in client.timed("book"):
        if at < 9.9 or at > 30.1 or 10.1 < at < 29.9:
            books[10 < at < 30].append(one)
    assert all(hash_of(one) == one["hash"] for one in books[False])
    assert books[True]
    assert not any(hash_of(one) == one["hash"] for one in books[True])
    if generation != "none":
        assert all(hash_of(one, generation[3:]) == one["hash"] for one in books[True])


def tops(client: Client, token: str) -> list[tuple[float, float, float]]:
    """Time, best bid and best ask after each message."""
    found, book = [], ClientBook()
    for at, message in client.timed():
        if message["event_type"] == "book" and message["asset_id"] == token:
            book.load(message)
        elif message["event_type"] == "price_change" and book.book:
            for row in message["price_changes"]:
                if row["asset_id"] == token:
                    book.apply(row, message["timestamp"])
        else:
            continue
        found.append((at, *book.best()))
    return found


@pytest.mark.parametrize("ticks", [0, 3])
def test_a_crossed_or_locked_book_heals(ticks: int) -> None:
    client, server = watch(f"crossed@10:0.5,ticks={ticks}", until_s=20.0)
    for token in (server.listings[0].yes, server.listings[0].no):
        crossed = [at for at, bid, ask in tops(client, token) if bid >= ask]
        assert crossed
        assert 10 <= min(crossed) <= max(crossed) < 10.6
        gaps = [bid - ask for at, bid, ask in tops(client, token) if bid >= ask]
        assert max(gaps) == pytest.approx(ticks / 100, abs=1e-9)
    other = server.listings[1].yes
    assert [at for at, bid, ask in tops(client, other) if bid >= ask] == []


def test_a_frozen_subset_on_open_sockets_only() -> None:
    async def main() -> None:
        plot = scripted("frozen_subset@10:60,share=0.5")
        async with (
            venue(scenario=plot, markets=12) as (server, http),
            connected(http, server.ws_url) as client,
        ):
            await client.open(tokens(server))
            await client.until(11)
            async with connected(http, server.ws_url) as second:
                await second.open(tokens(server))
                await second.until(60)
            (record,) = server.truth.records
            frozen = set(record.params["conditions"].split())
            assert 1 < len(frozen) < 11
            alive = {one["market"] for at, one in client.timed("price_change") if 10.1 < at < 59}
            everything = {one["market"] for at, one in second.timed("price_change")}
            assert alive == everything - frozen
            assert len(everything) == 12

    virtual_time.run(main())


def test_a_glitch_of_quotes_without_a_trade() -> None:
    client, server = watch("glitch@10:0.4,percent=20", until_s=20.0)
    found = tops(client, server.listings[0].yes)
    before = [bid for at, bid, _ in found if at < 10][-1]
    far = [at for at, bid, _ in found if 10 <= at < 11 and abs(bid - before) > 0.15]
    assert far
    assert max(far) < 10.4
    assert abs(next(bid for at, bid, _ in found if at > 11) - before) < 0.05
    assert within(times(client, "last_trade_price", server.listings[0].yes), 10, 10.4) == []


@pytest.mark.parametrize(("side", "quote"), [("bid", (True, False)), ("both", (True, True))])
def test_a_book_without_a_side(side: str, quote: tuple[bool, bool]) -> None:
    async def look(watched: Watched) -> None:
        client, server = watched
        one = server.listings[0]
        (bid, ask) = [(b, a) for _, b, a in tops(client, one.yes)][-1]
        assert (bid == 0.0, ask == 1.0) == quote
        last = [row for message in client.of("price_change") for row in message["price_changes"]
                if row["asset_id"] == one.yes][-1]  # fmt: skip
        assert (last["best_bid"] == "0", last["best_ask"] == "1") == quote
        tight = [row for row in client.of("best_bid_ask") if row["asset_id"] == one.yes][-1]
        assert (tight["best_bid"] == "0", tight["best_ask"] == "1") == quote
        await client.until(30.0)
        (bid, ask) = [(b, a) for _, b, a in tops(client, one.yes)][-1]
        assert 0 < bid < ask < 1

    watch(f"one_sided@10:10,side={side}", until_s=15.0, then=look)


@pytest.mark.parametrize("announced", [True, False])
def test_a_market_resolves(*, announced: bool) -> None:
    async def main() -> None:
        plot = scripted(f"resolved@10,winner=1,announced={str(announced).lower()},symbol=2")
        async with (
            venue(scenario=plot) as (server, http),
            connected(http, server.ws_url) as client,
        ):
            one = server.listings[1]
            await client.open(tokens(server), custom_feature_enabled=True)
            await client.until(20)
            refusal = await get(http, f"{server.clob_url}/book", token_id=one.yes)
            assert refusal[0] == 404
            assert "No orderbook exists" in refusal[1]["error"]
            told = client.of("market_resolved")
            assert [row["winning_asset_id"] for row in told] == [one.no] * announced
            trades = [float(row["price"]) for row in client.of("last_trade_price", one.yes)]
            books = tops(client, one.yes)
            assert books[-1][1] < 0.1 or (trades and trades[-1] < 0.1)
            assert not [
                at for at, row in client.timed() if at > 10.1 and row["market"] == one.condition
            ]

    virtual_time.run(main())


@pytest.mark.parametrize("after_s", [0.5, 0])
def test_another_tick_size_and_a_fresh_book(after_s: float) -> None:
    async def look(watched: Watched) -> None:
        client, server = watched
        one = server.listings[0]
        change = client.of("tick_size_change", one.yes)[0]
        assert (change["old_tick_size"], change["new_tick_size"]) == ("0.01", "0.001")
        books = [row for at, row in client.timed("book") if 10.2 < at < 11 and
                 row["asset_id"] == one.yes and row["tick_size"] == "0.001"]  # fmt: skip
        if after_s:
            assert books
        await client.until(70.0)
        assert [row["new_tick_size"] for row in client.of("tick_size_change", one.yes)] == [
            "0.001",
            "0.01",
        ]
        back = [row for at, row in client.timed("book") if 60 <= at < 60.1]
        assert {row["tick_size"] for row in back if row["asset_id"] == one.yes} == {"0.01"}
        fine = [row["price"] for at, message in client.timed("price_change") if 12 < at < 60
                for row in message["price_changes"] if row["asset_id"] == one.yes]  # fmt: skip
        assert any(len(price) > 4 for price in fine)

    watch(f"tick_size@10:50,after_s={after_s}", until_s=12.0, then=look)


@pytest.mark.parametrize("form", ["legacy", "fields", "renamed"])
def test_price_changes_of_another_shape(form: str) -> None:
    client, server = watch(f"schema@10:20,form={form}", until_s=40.0)
    odd = [one for at, one in client.timed("price_change") if 10.1 < at < 29.9]
    assert odd
    if form == "legacy":
        assert all(one["changes"] and one["asset_id"] and one["hash"] for one in odd)
        assert {one["asset_id"] for one in odd} == set(tokens(server))
    elif form == "fields":
        assert all(one["price_changes"][0]["price"].startswith(".") for one in odd)
        assert all("sequence" in one for one in odd)
    else:
        assert all("level_updates" in one and "price_changes" not in one for one in odd)
    assert all("price_changes" in one for at, one in client.timed("price_change") if at > 30.1)


def test_bad_frames_of_every_kind() -> None:
    client, _ = watch("malformed@10", until_s=20.0)
    bad = [text for at, text in client.frames if 9.99 < at < 10.05]
    for start in ("INVALID OPERATION", "[]", '{"event_type":"last_trade_price","asset_id":"1"'):
        assert any(text.startswith(start) for text in bad)
    assert client.closed is not None  # no client may accept text that is not UTF-8
    with pytest.raises(json.JSONDecodeError):
        json.loads(next(text for text in bad if text.endswith("0x")))


def test_faults_are_written_to_the_truth_with_number_and_times() -> None:
    ending = {"F01", "F11", "F12", "F41"}
    kinds = [kind for kind in POLYMARKET if kind.code not in ending]
    script = [f"{kind.code}@{5 + 3 * i}:2" for i, kind in enumerate(kinds)]
    _, server = watch(*script, until_s=100.0)
    records = [record for record in server.truth.records if record.fault]
    assert {record.fault for record in records} == {kind.code for kind in kinds}
    for record in records:
        assert record.end_ns - record.t_ns == 2 * 10**9
        assert record.instrument == "" or record.instrument.startswith("polymarket:0x")
