"""The market channel of the simulated Polymarket, as an independent client sees it."""

import json

from polymarket_client import connected, get, venue

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
                assert rest["hash"] == client.of("book", token)[0]["hash"] or rest["timestamp"]

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
