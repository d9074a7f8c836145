"""Every fault of the simulated Kraken, as an independent client sees it on the wire."""

import asyncio
import json

import aiohttp
import pytest
from kraken_client import Client, ClientBook, attached, calls, connected, now_s, rest, venue

from tapewatch.model.time import NS_PER_S, parse_rfc3339
from tapewatch.simulate.faults import CATALOGUE, parse
from tapewatch.simulate.scenario import MarketConfig
from tapewatch.simulate.truth import Record
from tapewatch.testing import virtual_time

BUSY = MarketConfig(trades_per_s=10.0, branching=0.3)


def watch(
    *faults: str, seconds: float = 20.0, book: bool = False
) -> tuple[Client, list[Record], list[int]]:
    """A client of trades (and books) for a while, and the truth."""

    async def main() -> tuple[Client, list[Record], list[int]]:
        async with attached(*faults, market=BUSY) as (server, _http, client):
            await client.subscribe("trade", snapshot=True)
            if book:
                await client.subscribe("book")
            await client.until(seconds)
            symbol = server.exchange.recent("BTC/USD", 10_000)
            return client, server.truth.records, [trade.id for trade in symbol]

    return virtual_time.run(main())


def arrivals(client: Client, start: bytes) -> list[float]:
    return [at for at, raw in client.frames if raw.startswith(start)]


def silent(times: list[float], begin: float, end: float) -> bool:
    return not [at for at in times if begin + 0.01 < at < end - 0.01]


def ids_of(client: Client) -> list[int]:
    return [int(row["trade_id"]) for row in client.trades()]


def test_half_open_neither_sends_nor_reads() -> None:
    async def main() -> None:
        async with venue(parse("F01@5")) as (server, http):
            async with connected(http, server.ws_url) as client:
                await client.subscribe("trade")
                await client.until(6.0)
                await client.ask({"method": "ping"})
                await client.until(60.0)
                assert client.closed is None
                assert max(at for at, _ in client.frames) < 5.01
                async with connected(http, server.ws_url) as second:  # a new connection works
                    await second.subscribe("trade")
                    await second.until(65.0)
                    assert second.trades()
                client.socket._response.connection.transport.abort()
            assert [record.kind for record in server.truth.records] == ["half_open"]

    virtual_time.run(main())


def test_half_open_answers_no_ping() -> None:
    async def main() -> None:
        async with venue(parse("F01@5")) as (server, http):
            socket = await http.ws_connect(server.ws_url, autoping=False)
            assert (await socket.receive()).type is aiohttp.WSMsgType.TEXT
            await socket.ping()
            assert (await socket.receive()).type is aiohttp.WSMsgType.PONG
            await asyncio.sleep(6.0)
            await socket.ping()
            with pytest.raises(TimeoutError):
                await socket.receive(timeout=30.0)
            assert socket._response.connection is not None
            assert socket._response.connection.transport is not None
            socket._response.connection.transport.abort()

    virtual_time.run(main())


def test_acked_dead_has_heartbeats_only() -> None:
    async def main() -> None:
        async with attached("F02@0:10") as (_server, _http, client):
            await asyncio.sleep(0.1)
            await client.subscribe("trade", snapshot=True)
            await client.subscribe("book")
            await client.until(20.0)
            assert [reply["success"] for reply in client.replies()] == [True, True]
            assert client.trades() == client.of("book") == []
            assert len(client.of("heartbeat")) > 15
            for channel in ("trade", "book"):  # later subscriptions live
                await client.unsubscribe(channel)
                await client.subscribe(channel)
            await client.until(30.0)
            assert client.trades("update")
            assert client.of("book")

    virtual_time.run(main())


def test_stall_keeps_heartbeats_and_rest_going_and_resumes() -> None:
    async def main() -> None:
        async with attached("stall@10:12", market=BUSY) as (server, http, client):
            await client.subscribe("trade")
            await client.subscribe("book")
            await client.until(12.0)
            _, before = await rest(http, server, "Trades?pair=XBTUSD")
            await client.unsubscribe("trade")
            await client.subscribe("trade", snapshot=True)  # does not help during the stall
            await client.until(21.0)
            _, after = await rest(http, server, "Trades?pair=XBTUSD")
            assert after["result"]["last"] != before["result"]["last"]
            assert len([at for at in arrivals(client, b'{"channel":"heartbeat') if at > 10]) > 9
            for channel in (b'{"channel":"trade', b'{"channel":"book'):
                assert silent(arrivals(client, channel), 10, 22)
            await client.until(30.0)
            (late,) = [m for m in client.of("trade", "snapshot") if m["data"]][1:]
            assert len(late["data"]) == 50
            assert client.of("trade")[-1]["type"] == "update"
            book = ClientBook()
            assert all(book.apply(message) for message in client.of("book"))
            (record,) = server.truth.records
            assert (record.end_ns - record.t_ns) == 12 * NS_PER_S

    virtual_time.run(main())


def test_rejected_subscription() -> None:
    async def main() -> None:
        async with attached("rejected@0:5,symbol=BTC/USD") as (_server, _http, client):
            await asyncio.sleep(0.1)
            await client.subscribe("trade")
            await client.until(4.5)
            (refusal,) = client.replies()
            assert refusal["success"] is False
            assert refusal["symbol"] == "BTC/USD"
            assert client.trades() == []
            assert len(client.of("heartbeat")) == 4  # the socket lives on, empty
            await client.until(6.0)
            await client.subscribe("trade")
            await client.until(7.0)
            assert client.trades()

    virtual_time.run(main())


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012])
def test_close(code: int) -> None:
    client, records, _ = watch(f"close@5,code={code}")
    assert client.closed == code
    assert max(at for at, _ in client.frames) <= 5.0
    assert records[0].params == {"code": code}


def test_ban_refuses_handshakes_and_rest() -> None:
    async def main() -> None:
        async with venue(parse("ban@2:10")) as (server, http):
            async with connected(http, server.ws_url) as client:
                await client.until(5.0)
                assert client.closed == 1006
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with connected(http, server.ws_url):
                    pass
            assert refused.value.status == 429
            status, page = await rest(http, server, "Time")
            assert status == 429
            assert "<html>" in page
            await asyncio.sleep(13 - now_s())
            assert (await rest(http, server, "Time"))[0] == 200

    virtual_time.run(main())


def test_ban_may_drop_tcp_instead() -> None:
    async def main() -> None:
        async with venue(parse("ban@0:10,status=0")) as (server, http):
            await asyncio.sleep(0.1)
            with pytest.raises(aiohttp.ClientConnectionError):
                await rest(http, server, "Time")

    virtual_time.run(main())


def test_duplicates_after_reconnect() -> None:
    async def main() -> None:
        async with venue(parse("duplicates@5:20,trades=10"), market=BUSY) as (server, http):
            async with connected(http, server.ws_url) as first:
                await first.subscribe("trade")
                await first.until(6.0)
                assert first.closed == 1001
            async with connected(http, server.ws_url) as second:
                await second.subscribe("trade", snapshot=True)
                await second.until(7.0)
                again = second.of("trade", "update")[0]["data"]
                assert again == second.trades("snapshot")[-10:]

    virtual_time.run(main())


def test_equal_trades_differ_by_id_only() -> None:
    client, records, _ = watch("equal_trades@5,trades=4")
    (record,) = records
    wanted = range(record.params["first_id"], record.params["last_id"] + 1)
    rows = [row for row in client.trades() if int(row["trade_id"]) in wanted]
    assert len(rows) == 4
    assert len({json.dumps({**row, "trade_id": 0}) for row in rows}) == 1


@pytest.mark.parametrize("lost", [False, True])
def test_trade_gap(lost: bool) -> None:  # noqa: FBT001
    client, records, kept = watch(f"trade_gap@5,trades=5,lost={str(lost).lower()}")
    (record,) = records
    gone = set(range(record.params["first_id"], record.params["last_id"] + 1))
    assert len(gone) >= 5
    seen = ids_of(client)
    assert set(range(seen[0], seen[-1] + 1)) - set(seen) == gone
    assert seen[-1] > max(gone)
    assert gone.isdisjoint(kept) if lost else gone <= set(kept)


def test_trade_gap_of_a_length() -> None:
    client, records, _ = watch("trade_gap@5:3")
    (record,) = records
    missing = record.params["last_id"] - record.params["first_id"] + 1
    assert missing > 10
    assert silent(arrivals(client, b'{"channel":"trade'), 5, 8)


def test_out_of_order_loses_nothing() -> None:
    client, records, _ = watch("out_of_order@5,trades=4")
    ids = ids_of(client)
    assert ids != sorted(ids)
    assert sorted(ids) == list(range(min(ids), max(ids) + 1))
    first, last = records[0].params["first_id"], records[0].params["last_id"]
    turned = [one for one in ids if first <= one <= last]
    assert turned == list(range(last, first - 1, -1))


def test_lost_delta_breaks_the_checksum_until_a_snapshot() -> None:
    async def main() -> None:
        async with attached("lost_delta@5") as (server, _http, client):
            await client.subscribe("book")
            await client.until(4.9)
            book = ClientBook()
            assert all(book.apply(message) for message in client.of("book"))
            done = len(client.of("book"))
            await client.until(8.0)
            for message in client.of("book")[done:]:
                book.apply(message)
            assert book.bad > 0
            await client.unsubscribe("book")
            await client.subscribe("book")
            done = len(client.of("book"))
            await client.until(12.0)
            fresh = client.of("book")[done:]
            start = [message["type"] for message in fresh].index("snapshot")
            assert all(book.apply(message) for message in fresh[start:])
            (record,) = server.truth.records
            assert 5.0 <= (record.t_ns - virtual_time.START_NS) / NS_PER_S < 6.0

    virtual_time.run(main())


def test_float_text_checksums() -> None:
    client, _, _ = watch("float_text@5:5", seconds=10.0, book=True)
    book, verdicts = ClientBook(), []
    times = arrivals(client, b'{"channel":"book')
    for at, message in zip(times, client.of("book"), strict=True):
        verdicts.append((at >= 5.0, book.apply(message)))
    assert {right for wrong, right in verdicts if not wrong} == {True}
    assert {right for wrong, right in verdicts if wrong} == {False}


def test_float_text_numbers() -> None:
    client, _, _ = watch("float_text@0:10,what=numbers", seconds=10.0, book=True)
    sizes = {level["qty"] for message in client.of("book") for level in message["data"][0]["asks"]}
    assert "0.0" in sizes
    assert not all(len(size.partition(".")[2]) == 8 for size in sizes)


@pytest.mark.parametrize("ticks", [0, 3])
def test_crossed_book_heals(ticks: int) -> None:
    client, _, _ = watch(f"crossed@5:1,ticks={ticks}", seconds=8.0, book=True)
    book, crossed = ClientBook(), []
    times = arrivals(client, b'{"channel":"book')
    for at, message in zip(times, client.of("book"), strict=True):
        assert book.apply(message)  # it is the venue's book, and the checksum says so
        bid, ask = book.best()
        if bid >= ask:
            crossed.append(at)
    assert min(crossed) == pytest.approx(5.0, abs=0.01)
    assert max(crossed) < 6.0


def test_glitch_moves_quotes_but_not_trades() -> None:
    client, _, _ = watch("glitch@5:0.4,percent=5", seconds=8.0, book=True)
    book, far = ClientBook(), []
    times = arrivals(client, b'{"channel":"book')
    for at, message in zip(times, client.of("book"), strict=True):
        assert book.apply(message)
        if book.best()[0] > 90_000:
            far.append(at)
    assert min(far) == pytest.approx(5.0, abs=0.01)
    assert max(far) < 5.4
    assert all(float(row["price"]) < 90_000 for row in client.trades())


def test_maintenance() -> None:
    client, _, _ = watch("maintenance@5:5", book=True)
    states = [message["data"][0]["system"] for message in client.of("status")]
    assert states == ["online", "maintenance", "online"]
    assert silent(arrivals(client, b'{"channel":"trade'), 5, 10)
    assert silent(arrivals(client, b'{"channel":"book'), 5, 10)


def test_malformed_frames_arrive_verbatim() -> None:
    client, _, _ = watch("malformed@5,frame=text", "malformed@6,frame=empty", "F41@7,frame=nan")
    raw = [data for _, data in client.frames]
    assert b"NO NEW ASSETS" in raw
    assert b"[]" in raw
    assert any(b":NaN," in data for data in raw)
    (cut,) = watch("F41@5,frame=truncated")[0].frames[-1:]
    assert cut[0] > 19.0  # the feed went on
    assert watch("F41@5,frame=not_utf8")[0].closed == 1007  # this client checks the encoding ...
    assert watch("F41@5,frame=huge")[0].closed == 1009  # ... and the size
    assert watch("F41@5")[0].closed in (1007, 1009)


def test_clock_skew_shifts_every_venue_time() -> None:
    client, _, _ = watch("clock_skew@5:5,seconds=-3600")
    for at, message in zip(
        arrivals(client, b'{"channel":"trade"'), client.of("trade"), strict=True
    ):
        if message["type"] == "update":
            stamped = parse_rfc3339(message["data"][0]["timestamp"]) - virtual_time.START_NS
            off = stamped / NS_PER_S - at
            assert off == pytest.approx(-3600 if 5 <= at < 10 else 0, abs=0.05)
    (_, body), (_, later) = (calls(f"clock_skew@{at}:5,seconds=60", "Time")[0] for at in (0, 50))
    assert body["result"]["unixtime"] - later["result"]["unixtime"] == 60


def test_time_unit() -> None:
    client, _, _ = watch("time_unit@5:5,unit=ms", seconds=10.0, book=True)
    stamps = [row["timestamp"] for row in client.trades("update")]
    odd = [stamp for stamp in stamps if stamp.isdecimal()]
    assert odd
    assert len(odd) < len(stamps)
    assert all(len(stamp) == 13 for stamp in odd)


def test_slow_consumer_bursts() -> None:
    client, _, _ = watch("slow_consumer@5:6")
    times = [at for at, _ in client.frames]
    assert silent(times, 5, 11)
    assert len([at for at in times if at == pytest.approx(11.0, abs=0.02)]) > 30
    assert ids_of(client) == list(range(ids_of(client)[0], ids_of(client)[-1] + 1))


def test_slow_consumer_is_closed_beyond_the_queue() -> None:
    client, _, _ = watch("slow_consumer@5:10,queue=10")
    assert client.closed == 1013


def test_v1_shows_faults_too() -> None:
    async def main() -> None:
        async with (
            venue(parse("trade_gap@2:3"), parse("F41@6,frame=nan"), market=BUSY) as (
                server,
                http,
            ),
            connected(http, server.ws_v1_url) as client,
        ):
            about = {"name": "trade"}
            await client.ask({"event": "subscribe", "pair": ["XBT/USD"], "subscription": about})
            await client.until(8.0)
            times = [at for at, raw in client.frames if b'"trade","XBT/USD"' in raw]
            assert silent(times, 2, 5)
            assert any(b'"NaN"' in raw for _, raw in client.frames)

    virtual_time.run(main())


def test_faults_are_written_to_the_truth_with_number_and_times() -> None:
    kinds = [kind for kind in CATALOGUE if kind.code not in {"F13", "F12", "F01", "F41", "F11"}]
    script = [f"{kind.code}@{5 + 3 * i}:2" for i, kind in enumerate(kinds)]
    _, records, _ = watch(*script, seconds=70.0, book=True)
    assert {record.fault for record in records} == {kind.code for kind in kinds}
    for record in records:
        assert record.t_ns <= record.end_ns
