"""The market channel of the simulated Polymarket, as an independent client sees it."""

import json

from polymarket_client import connected, get, hash_of, venue

from tapewatch.testing import virtual_time


def test_books_by_messages_are_those_of_rest_and_all_hashes_fit() -> None:
    async def main() -> None:
        async with venue() as (server, http), connected(http, server.ws_url) as client:
            tokens = [token for one in server.listings for token in (one.yes, one.no)]
            await client.open(tokens)
            await client.until(300.0)
            books = client.books()
            assert set(books) == set(tokens)
            assert sum(book.bad for book in books.values()) == 0
            assert sum(book.good for book in books.values()) > 1000
            for token in tokens:
                status, rest = await get(http, f"{server.clob_url}/book", token_id=token)
                assert status == 200
                assert (rest["bids"], rest["asks"]) == (
                    books[token].book["bids"],
                    books[token].book["asks"],
                )
                assert rest["hash"] == hash_of(rest)

    virtual_time.run(main())


def test_first_books_come_as_one_list_in_the_venues_order() -> None:
    async def main() -> None:
        async with venue() as (server, http), connected(http, server.ws_url) as client:
            listing = server.listings[0]
            await client.open([listing.yes, listing.no])
            await client.until(0.05)
            first = json.loads(client.frames[0][1])
            assert [one["asset_id"] for one in first] == [listing.yes, listing.no]
            for book in first:
                bids = [float(row["price"]) for row in book["bids"]]
                asks = [float(row["price"]) for row in book["asks"]]
                assert bids == sorted(bids)
                assert asks == sorted(asks, reverse=True)
                assert bids[-1] < asks[-1]

    virtual_time.run(main())


def test_ping_is_answered_and_nonsense_is_told() -> None:
    async def main() -> None:
        async with venue() as (server, http), connected(http, server.ws_url) as client:
            await client.ask("PING")
            await client.ask("{")
            await client.until(1)
            assert [text for _, text in client.frames] == ["PONG", "INVALID OPERATION"]
            assert (await get(http, server.clob_url + "/ok"))[0] == 200
            async with http.get(server.ws_url.replace("ws:", "http:")) as answer:
                assert answer.status == 426

    virtual_time.run(main())


def test_the_first_frame_must_be_of_type_market() -> None:
    async def main() -> None:
        async with venue() as (server, http), connected(http, server.ws_url) as client:
            token = server.listings[0].yes
            await client.subscribe([token])
            await client.until(20)
            assert client.frames == []
            await client.open([token])
            await client.until(40)
            assert client.of("book", token)

    virtual_time.run(main())


def test_subscriptions_come_and_go_without_acknowledgement() -> None:
    async def main() -> None:
        async with venue() as (server, http), connected(http, server.ws_url) as client:
            first, second = (one.yes for one in server.listings[:2])
            await client.open([first])
            await client.until(0.1)
            await client.subscribe([first])
            await client.subscribe([second, "123"])
            await client.ask({"operation": "unsubscribe", "assets_ids": [first]})
            await client.until(30)
            assert client.frames[1][1] == "NO NEW ASSETS"
            later = [row for at, row in client.timed() if at > 0.2]
            assert {row["market"] for row in later} == {server.listings[1].condition}

    virtual_time.run(main())


def test_custom_messages_come_to_those_who_ask_for_them() -> None:
    async def main() -> None:
        async with (
            venue() as (server, http),
            connected(http, server.ws_url) as plain,
            connected(http, server.ws_url) as custom,
        ):
            tokens = [one.yes for one in server.listings]
            await plain.open(tokens)
            await custom.open(tokens, custom_feature_enabled=True)
            await custom.until(120)
            server.planter.new_market()
            server.planter.resolve("1", 0)
            await custom.until(121)
            changes = len(custom.of("price_change"))
            await plain.until(121.1)
            for kind in ("best_bid_ask", "new_market", "market_resolved"):
                assert custom.of(kind)
                assert not plain.of(kind)
            seen = [at for at, _ in plain.timed("price_change")]
            assert len(seen) >= changes > 100

    virtual_time.run(main())


def test_yes_and_no_mirror_each_other_in_every_message() -> None:
    async def main() -> None:
        async with venue() as (server, http), connected(http, server.ws_url) as client:
            one = server.listings[0]
            await client.open([one.yes])  # one token is enough to get both entries
            await client.until(120)
            changes = client.of("price_change")
            assert len(changes) > 50
            for message in changes:
                rows = message["price_changes"]
                for yes, no in zip(rows[::2], rows[1::2], strict=True):
                    assert (yes["asset_id"], no["asset_id"]) == (one.yes, one.no)
                    assert round(float(yes["price"]) + float(no["price"]), 6) == 1
                    assert yes["size"] == no["size"]
                    assert {yes["side"], no["side"]} == {"BUY", "SELL"}
                    assert round(float(yes["best_bid"]) + float(no["best_ask"]), 6) == 1

    virtual_time.run(main())


def test_legacy_changes_are_one_message_for_each_token() -> None:
    async def main() -> None:
        async with (
            venue(form="legacy", generation="2026") as (server, http),
            connected(http, server.ws_url) as client,
        ):
            one = server.listings[0]
            await client.open([one.yes])
            await client.until(60)
            assert {row["asset_id"] for row in client.of("price_change")} == {one.yes}
            assert all(hash_of(row, "2026") == row["hash"] for row in client.of("book"))

    virtual_time.run(main())
