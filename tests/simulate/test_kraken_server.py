"""The simulated Kraken without faults: its frames and calls, seen by an independent client."""

import asyncio
import json
import pathlib
from itertools import pairwise
from typing import Any

import pytest
from kraken_client import Client, ClientBook, attached, connected, crc, now_s, rest, texts, venue

from tapewatch.model.errors import ConfigError, TapewatchError
from tapewatch.model.time import parse_rfc3339
from tapewatch.simulate.kraken import KrakenConfig, KrakenServer
from tapewatch.testing import virtual_time


def session(seconds: float = 10.0, depth: int = 10, **config: Any) -> Client:
    """Frames of a client that subscribes to trades and books for a while."""

    async def main() -> Client:
        async with venue(**config) as (server, http), connected(http, server.ws_url) as client:
            await client.subscribe("trade", snapshot=True)
            await client.subscribe("book", depth=depth)
            await client.until(seconds)
            return client

    return virtual_time.run(main())


@pytest.mark.parametrize("depth", [10, 25, 100, 500])
def test_every_book_message_has_a_valid_checksum(depth: int) -> None:
    client, book = session(depth=depth), ClientBook(depth)
    for message in client.of("book"):
        assert book.apply(message)
        bid, ask = book.best()
        assert bid < ask
    assert book.good > 80
    assert len(book.bids) >= min(depth, 100)


def test_levels_that_fall_out_of_the_depth_are_not_deleted() -> None:
    client, book = session(), ClientBook(1 << 20)  # a client that never truncates
    for message in client.of("book"):
        book.apply(message)
    assert book.bad > 10


def test_trades_are_consecutive_from_the_snapshot_on() -> None:
    client = session(30.0)
    snapshot, live = client.trades("snapshot"), client.trades("update")
    assert len(snapshot) == 50
    assert len(live) > 20
    ids = [int(row["trade_id"]) for row in snapshot + live]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    times = [parse_rfc3339(row["timestamp"]) for row in snapshot + live]
    assert times == sorted(times)
    assert {row["side"] for row in live} == {"buy", "sell"}


def test_numbers_are_bare_and_at_full_precision() -> None:
    client = session()
    for row in client.trades():
        assert len(row["price"].partition(".")[2]) == 1
        assert len(row["qty"].partition(".")[2]) == 8


def test_heartbeats_come_once_a_second_while_subscribed_only() -> None:
    async def main() -> None:
        async with venue() as (server, http), connected(http, server.ws_url) as client:
            await client.until(3.5)
            assert client.of("heartbeat") == []
            await client.subscribe("trade")
            await client.until(8.5)
            beats = [at for at, raw in client.frames if b"heartbeat" in raw]
            assert beats == pytest.approx([4, 5, 6, 7, 8], abs=0.01)
            await client.unsubscribe("trade")
            await client.until(12.5)
            assert len(client.of("heartbeat")) == 5

    virtual_time.run(main())


def test_same_seed_same_bytes() -> None:
    def bytes_of(seed: int) -> list[bytes]:
        return [raw for _, raw in session(5.0, seed=seed).frames]

    assert bytes_of(3) == bytes_of(3)
    assert bytes_of(3) != bytes_of(4)


def test_acknowledgements_and_refusals() -> None:
    async def main() -> Client:
        async with attached(symbols=("BTC/USD", "ETH/USD")) as (_server, _http, client):
            await client.subscribe("book", "BTC/USD", "ETH/USD", depth=25)
            await client.subscribe("book", depth=27)
            await client.subscribe("trade", "XBT/USD")
            await client.subscribe("book", "BTC/USD", depth=25)
            await client.subscribe("trade", "ETH/USD", snapshot=False)
            await client.unsubscribe("trade", "BTC/USD")
            await client.ask({"method": "subscribe", "params": {"channel": "trade"}})
            await client.ask({"method": "subscribe", "params": 5})
            await client.socket.send_str("{nonsense")
            await client.socket.send_str("[" * 20_000)
            await client.ask({"method": "ping", "req_id": 101})
            await client.until(1.0)
            return client

    client = virtual_time.run(main())
    replies = client.replies()
    for reply in replies:
        assert parse_rfc3339(reply["time_in"]) <= parse_rfc3339(reply["time_out"])
    assert [reply["result"] for reply in replies if reply.get("success")] == [
        {"channel": "book", "depth": 25, "snapshot": True, "symbol": "BTC/USD", "warnings": []},
        {"channel": "book", "depth": 25, "snapshot": True, "symbol": "ETH/USD", "warnings": []},
        {"channel": "trade", "snapshot": False, "symbol": "ETH/USD"},
    ]
    assert [reply["error"] for reply in replies if reply.get("success") is False] == [
        "Subscription depth not supported",
        "Currency pair not supported XBT/USD",
        "Already subscribed",
        "Subscription Not Found",
        "Symbol field must be an array",
        "Subscription name invalid",
        "Malformed request",
        "Malformed request",
    ]
    assert replies[0]["req_id"] == 7
    assert replies[-1]["method"] == "pong"
    assert replies[-1]["req_id"] == 101
    assert client.of("trade", "snapshot") == []


def test_status_and_instruments() -> None:
    async def main() -> Client:
        async with venue() as (server, http), connected(http, server.ws_url) as client:
            await client.ask({"method": "subscribe", "params": {"channel": "instrument"}})
            await client.until(0.5)
            return client

    client = virtual_time.run(main())
    status = json.loads(client.frames[0][1])
    assert status["channel"] == "status"
    assert status["data"][0]["system"] == "online"
    assert status["data"][0]["connection_id"] > 1 << 53
    (instrument,) = client.of("instrument")
    assert [asset["id"] for asset in instrument["data"]["assets"]] == ["BTC", "USD"]
    assert instrument["data"]["pairs"][0]["price_precision"] == "1"


def test_shapes_equal_the_captured_ones(shared_data: pathlib.Path) -> None:
    wire = shared_data / "wire"
    client = session()

    def sample(name: str) -> Any:
        return json.loads((wire / "kraken_v2" / f"nautilus_ws_{name}.json").read_text())

    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shape(item) for key, item in sorted(value.items())}
        return shape(value[0]) if isinstance(value, list) and value else None

    assert shape(client.of("book", "snapshot")[0]) == shape(sample("book_snapshot"))
    assert shape(client.of("trade", "update")[0]) == shape(sample("trade_update"))
    ack = sample("subscribe_response")
    assert set(client.replies()[0]) == set(ack)
    assert set(client.replies()[0]["result"]) == set(ack["result"])

    async def calls() -> list[tuple[int, Any]]:
        async with venue() as (server, http):
            return [
                await rest(http, server, call)
                for call in ("Trades?pair=XBTUSD", "Depth?pair=XBTUSD", "Time", "SystemStatus")
            ]

    names = ("trades", "order_book", "server_time", "system_status")
    for name, (status, body) in zip(names, virtual_time.run(calls()), strict=True):
        captured = json.loads((wire / "kraken_rest" / f"nautilus_http_{name}.json").read_text())
        renamed = json.loads(json.dumps(captured).replace("XBTUSDT", "XXBTZUSD"))
        assert status == 200
        assert shape(body) == shape(renamed)
        row, real = body["result"], renamed["result"]
        if "XXBTZUSD" in row and name == "trades":
            assert [type(x) for x in row["XXBTZUSD"][0]] == [type(x) for x in real["XXBTZUSD"][0]]


def test_rest_trades_pages_without_loss() -> None:
    async def main() -> None:
        # seven trades of one instant lie across a page's end
        async with attached("equal_trades@2,trades=7") as (server, http, client):
            await client.subscribe("trade", snapshot=False)
            await client.until(30.0)
            ids, cursor = [], "0"
            while True:
                _, body = await rest(http, server, f"Trades?pair=XBTUSD&since={cursor}&count=3")
                assert body["error"] == []
                rows = body["result"]["XXBTZUSD"]
                if not rows:
                    break
                ids += [row[6] for row in rows]
                cursor = body["result"]["last"]
            assert ids == list(range(ids[0], ids[-1] + 1))
            seen = [int(row["trade_id"]) for row in client.trades()]
            assert set(seen) <= set(ids)
            for pair in ("BTC/USD", "XBT/USD", "XXBTZUSD", "BTCUSD"):
                status, body = await rest(http, server, f"Depth?pair={pair}&count=5")
                assert status == 200
                depth = body["result"]["XXBTZUSD"]
                assert len(depth["bids"]) == len(depth["asks"]) == 5
                assert float(depth["bids"][0][0]) < float(depth["asks"][0][0])

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("Trades?pair=NOPE", "EQuery:Unknown asset pair"),
        ("AssetPairs?pair=XBTUSD,NOPE", "EQuery:Unknown asset pair"),
        ("Trades?pair=XBTUSD&since=yesterday", "EGeneral:Invalid arguments"),
        ("Depth?pair=XBTUSD&count=0", "EGeneral:Invalid arguments"),
        ("Spells", "EGeneral:Unknown method"),
    ],
)
def test_rest_errors_are_200_with_an_error_list(call: str, error: str) -> None:
    async def main() -> None:
        async with venue() as (server, http):
            assert await rest(http, server, call) == (200, {"error": [error]})

    virtual_time.run(main())


def test_v1_frames() -> None:
    async def main() -> list[Any]:
        async with venue() as (server, http), connected(http, server.ws_v1_url) as client:
            for name in ("trade", "book"):
                about = {"name": name, "depth": 10} if name == "book" else {"name": name}
                await client.ask({"event": "subscribe", "pair": ["XBT/USD"], "subscription": about})
            await client.ask({"event": "subscribe", "pair": ["BTCUSD"], "subscription": about})
            await client.ask({"event": "ping", "reqid": 5})
            await client.until(20.0)
            return [json.loads(raw) for _, raw in client.frames]

    frames = virtual_time.run(main())
    events = [frame for frame in frames if isinstance(frame, dict)]
    assert events[0]["event"] == "systemStatus"
    assert [e["status"] for e in events if e["event"] == "subscriptionStatus"] == [
        "subscribed",
        "subscribed",
        "error",
    ]
    assert {"event": "pong", "reqid": 5} in events
    trades = [row for f in frames if isinstance(f, list) and f[-2] == "trade" for row in f[1]]
    assert trades
    assert all(len(row) == 6 and row[3] in "bs" and row[4] in "lm" for row in trades)
    books = [f for f in frames if isinstance(f, list) and f[-2] == "book-10"]
    assert set(books[0][1]) == {"as", "bs"}
    assert {len(frame) for frame in books} == {4, 5}
    check_v1(books)


def check_v1(books: list[list[Any]]) -> None:
    """Apply v1 book lists; every checksum must be right."""
    sides = {"a": {}, "b": {}}
    for key in sides:
        sides[key] = {price: size for price, size, _ in books[0][1][key + "s"]}
    revealed = 0
    for frame in books[1:]:
        parts = frame[1:-2]
        for part in parts:
            for key in part.keys() & {"a", "b"}:
                for price, size, _, *mark in part[key]:
                    revealed += mark == ["r"]
                    sides[key][price] = size
                    if float(size) == 0:
                        del sides[key][price]
        for key, best_high in (("a", False), ("b", True)):
            keep = sorted(sides[key], key=float, reverse=best_high)[:10]
            sides[key] = {price: sides[key][price] for price in keep}
        assert crc(sides["a"], sides["b"]) == int(parts[-1]["c"])
    assert revealed > 0


def test_v1_heartbeats_fill_silence() -> None:
    async def main() -> list[float]:
        async with venue() as (server, http), connected(http, server.ws_v1_url) as client:
            about = {"name": "trade"}
            await client.ask({"event": "subscribe", "pair": ["XBT/USD"], "subscription": about})
            await client.until(20.0)
            return [at for at, _ in client.frames]

    times = virtual_time.run(main())
    assert max(b - a for a, b in pairwise(times)) < 2.1


def test_a_taken_port_names_its_owner() -> None:
    async def main() -> None:
        async with venue() as (server, _):
            port = int(server.rest_url.rpartition(":")[2])
            with pytest.raises(TapewatchError, match=rf"Port {port} is used by pid \d+ \(.+\)"):
                async with KrakenServer(KrakenConfig(port=port), virtual_time.loop_clock()):
                    pass

    virtual_time.run(main())


@pytest.mark.parametrize(
    "config", [{"host": "0.0.0.0"}, {"symbols": ("btc",)}, {"symbols": ()}, {"speed": 0.0}]
)
def test_what_cannot_be_served_is_refused(config: dict[str, Any]) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError):
            KrakenServer(KrakenConfig(**config), virtual_time.loop_clock())

    virtual_time.run(main())


def test_stopping_says_goodbye_after_what_was_queued() -> None:
    async def main() -> None:
        async with venue() as (server, http), connected(http, server.ws_url) as client:
            await client.subscribe("trade")
            await client.until(1.0)
            stopping = asyncio.create_task(server.__aexit__(None, None, None))
            while await client.next():
                pass
            assert client.closed == 1001
            await client.socket.close()
            await stopping
            assert now_s() < 3

    virtual_time.run(main())


def test_the_checksum_of_the_test_is_the_venues(shared_data: pathlib.Path) -> None:
    book = ClientBook()
    path = shared_data / "wire" / "kraken_v2" / "book_d10_btcusd_wiretext_restored_510.ndjson"
    for line in path.read_bytes().splitlines():
        book.apply(texts(line))
    assert (book.good, book.bad) == (510, 0)
