"""Recordings played through the simulated Polymarket: of our own making, and real ones."""

import asyncio
import gzip
import math
import pathlib

import pytest
from polymarket_client import connected, get, hash_of, now_s, venue

from tapewatch.model.errors import ConfigError
from tapewatch.simulate.polymarket_source import read_books, read_wallets
from tapewatch.testing import virtual_time

HEAD = "market_slug,asset_id,market_id,event_type,price,side,size,hash,timestamp\n"
ROWS = """\
game,20,,book,0.40,bid,100,h1,1000000000000
game,20,,book,0.45,ask,50.5,h1,1000000000000
game,30,,book,0.60,ask,100,h2,1000000000000
game,20,,price_change,0.41,BUY,7,h3,1000000010000
game,20,,price_change,0.45,SELL,0,h3,1000000010000
game,20,,price_change,0.46,sell,9,h3,1000000010000
torn,
game,20,,price_change,nan,bid,9,h4,1000000011000
game,20,,book,0.30,bid,1,h5,1000000020000
game,20,,book,0.31,ask,2,h5,1000000020000
"""


@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 20.0), (10.0, 2.0), (math.inf, 0.0)])
def test_recorded_books_are_played_from_the_first_subscription(
    tmp_path: pathlib.Path, speed: float, seconds: float
) -> None:
    path = tmp_path / "books.csv.gz"
    path.write_bytes(gzip.compress((HEAD + ROWS).encode()))

    async def main() -> None:
        async with (
            venue(markets=0, books=(path,), speed=speed) as (server, http),
            connected(http, server.ws_url) as client,
        ):
            (one,) = server.listings
            assert (one.slug, one.yes, one.no) == ("game", "20", "30")
            await asyncio.sleep(50)
            assert server.players.left == 1
            began = now_s()
            await client.open(["20", "30"])
            await client.until(began + seconds + 1)
            assert server.players.left == 0
            books = client.of("book", "20")
            assert books[0]["bids"] == [{"price": "0.4", "size": "100"}]
            assert books[0]["asks"] == [{"price": "0.45", "size": "50.5"}]
            (at, change) = client.timed("price_change")[0]
            assert at - began == pytest.approx(seconds / 2, abs=0.1)
            ours = [row for row in change["price_changes"] if row["asset_id"] == "20"]
            assert [(row["price"], row["size"], row["side"]) for row in ours] == [
                ("0.41", "7", "BUY"),
                ("0.45", "0", "SELL"),
                ("0.46", "9", "SELL"),
            ]
            assert books[-1]["asks"] == [{"price": "0.31", "size": "2"}]
            assert client.of("book", "30")[-1]["bids"] == [{"price": "0.69", "size": "2"}]
            assert hash_of(books[-1]) == books[-1]["hash"]

    virtual_time.run(main())


def test_what_is_no_recording_is_refused(tmp_path: pathlib.Path) -> None:
    for name, text in (
        ("a.csv", HEAD),
        ("b.csv", "x,y\n1,2\n"),
        ("c.csv.gz", "not gzip"),
        ("d.csv", HEAD + "game,20,,book,9,bid,1,h,1000000000000\n"),
    ):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(ConfigError):
            read_books(path)
    with pytest.raises(ConfigError):
        read_wallets(tmp_path / "a.csv")


def test_a_real_recording_comes_out_as_it_went_in(shared_data: pathlib.Path) -> None:
    path = next((shared_data / "polymarket_books").glob("20250619_mlb-min-cin*events.csv.gz"))
    (recording,) = read_books(path)

    async def main() -> None:
        async with (
            venue(markets=0, books=(path,), speed=math.inf) as (server, http),
            connected(http, server.ws_url) as client,
        ):
            (one,) = server.listings
            assert one.yes < one.no
            await client.open([one.yes])
            await client.until(1000)
            assert server.players.left == 0
            assert len(client.timed("book")) + len(client.timed("price_change")) == 1 + len(
                recording.items
            )
            book = client.books()[one.yes]
            assert book.bad == 0
            assert book.good > 100
            _, rest = await get(http, f"{server.clob_url}/book", token_id=one.yes)
            assert (rest["bids"], rest["asks"]) == (book.book["bids"], book.book["asks"])

    virtual_time.run(main())


def test_real_trades_with_wallets_come_from_the_data_api(shared_data: pathlib.Path) -> None:
    path = shared_data / "polymarket_wallets" / "trades.parquet"

    async def main() -> None:
        async with venue(markets=0, wallets=path, speed=math.inf) as (server, http):
            assert len(server.listings) == 39
            one = server.exchange.catalogue.find("georgia-governor")
            assert one is not None
            url = f"{server.data_url}/trades"
            assert (await get(http, url, market=one.condition))[1] == []  # it begins now
            await asyncio.sleep(5)
            _, rows = await get(http, url, market=one.condition, limit=10_000)
            assert len(rows) > 100
            assert {row["outcome"] for row in rows} == {"Republican", "Democrat"}
            assert rows[-1]["proxyWallet"] == "0x0e8d61f16a2373931ffbfc2993f046e33286dfcc"
            assert (rows[-1]["size"], rows[-1]["price"]) == (99.78, 0.5512)

    virtual_time.run(main())
