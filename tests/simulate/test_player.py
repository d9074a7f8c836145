"""Playing recorded trades through the simulated Kraken."""

import asyncio
import csv
import pathlib
import re
import socket
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from kraken_client import ClientBook, Rows, attached, connected, now_s, venue

from tapewatch.io.tape_write import TapeWriter
from tapewatch.model.errors import ConfigError
from tapewatch.model.inputs import Frame
from tapewatch.model.time import NS_PER_S, parse_rfc3339
from tapewatch.simulate.faults import parse
from tapewatch.simulate.source import read_trades
from tapewatch.testing import virtual_time

CSV = "ts_ms,side,price,qty\n"


def written(folder: pathlib.Path, rows: str, head: str = CSV) -> pathlib.Path:
    path = folder / "trades.csv"
    path.write_text(head + rows)
    return path


def play_v2(tape: pathlib.Path, speed: float, *faults: str, **config: Any) -> Rows:
    """All trades that a v2 client gets until the tape is over."""

    async def main() -> Rows:
        async with venue(*map(parse, faults), tape=tape, speed=speed, **config) as (server, http):
            await asyncio.sleep(5.0)  # nothing is played before somebody listens
            async with connected(http, server.ws_url) as client:
                await client.subscribe("trade", snapshot=True)
                await client.subscribe("book")
                over = asyncio.create_task(server.over())
                while not over.done():
                    await client.until(now_s() + 1.0)
                await client.until(now_s() + 3.0)
                assert client.of("heartbeat")  # still alive after the last trade
                book = ClientBook()
                assert all(book.apply(message) for message in client.of("book"))
                return client.trades()

    return virtual_time.run(main())


def exact(rows: Rows) -> list[tuple[str, Decimal, Decimal]]:
    size = "qty" if "qty" in rows[0] else "amount"
    return [(row["side"], Decimal(row["price"]), Decimal(row[size])) for row in rows]


def hour(shared_data: pathlib.Path) -> tuple[pathlib.Path, Rows]:
    path = shared_data / "kraken_trades" / "kraken_btcusd_20190701_00h.csv"
    with path.open() as file:
        return path, list(csv.DictReader(file))


@pytest.mark.parametrize("speed", [float("inf"), 600.0])
def test_a_real_hour_arrives_once_and_exact(shared_data: pathlib.Path, speed: float) -> None:
    path, rows = hour(shared_data)
    got = play_v2(path, speed)
    assert exact(got) == exact(rows)
    ids = [int(row["trade_id"]) for row in got]
    assert ids == list(range(ids[0], ids[0] + 2672))
    if speed == 600.0:
        stamps = [parse_rfc3339(row["timestamp"]) for row in got]
        assert stamps[0] - virtual_time.START_NS == pytest.approx(5 * NS_PER_S, abs=0.2 * NS_PER_S)
        for (a, b), (x, y) in zip(pairwise(stamps), pairwise(rows), strict=True):
            gap_ms = (int(y["ts_ms"]) - int(x["ts_ms"])) / 600
            assert (b - a) / 1e6 == pytest.approx(gap_ms, abs=0.01)


def test_a_real_hour_over_v1(shared_data: pathlib.Path) -> None:
    path, rows = hour(shared_data)

    async def main() -> list[Any]:
        async with (
            venue(tape=path, speed=float("inf")) as (server, http),
            connected(http, server.ws_v1_url) as client,
        ):
            about = {"name": "trade"}
            await client.ask({"event": "subscribe", "pair": ["XBT/USD"], "subscription": about})
            await asyncio.gather(server.over(), client.until(5.0))
            return [row for message in client.lists("trade") for row in message[1]]

    got = virtual_time.run(main())
    sides = {"b": "buy", "s": "sell"}
    assert [(sides[r[3]], Decimal(r[0]), Decimal(r[1])) for r in got] == exact(rows)


def test_a_slow_client_is_waited_for_at_full_speed(
    shared_data: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With little room in the sockets and the queue, the file must not run away from the client."""
    path, rows = hour(shared_data)
    monkeypatch.setattr("tapewatch.simulate.connection.QUEUE", 1000)

    async def main() -> None:
        async with attached(tape=path, speed=float("inf")) as (server, _, client):
            await client.next()
            for end in (client.socket._response.connection, *server._connections):
                transport = end.transport if hasattr(end, "transport") else end._request.transport
                wire = transport.get_extra_info("socket")
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            await client.subscribe("book")
            await client.subscribe("trade")
            await asyncio.sleep(5.0)  # nobody reads
            over = asyncio.create_task(server.over())
            while not over.done():
                await client.until(now_s() + 1.0)
            await client.until(now_s() + 3.0)
            assert client.closed is None
            assert exact(client.trades()) == exact(rows)

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("head", "row"),
    [
        (CSV, "1561939203172,sell,10749.4,0.004"),
        ("time,price,size,side\n", "1561939203.172,10749.4,0.0040,s"),
        ("ts_ns,price,amount,side\n", "1561939203172000000,10749.40,0.004,SELL"),
        ("timestamp,price,volume,taker_side\n", "2019-07-01T00:00:03.172Z,10749.4,4e-3,sell"),
    ],
)
def test_column_names_and_time_units(tmp_path: pathlib.Path, head: str, row: str) -> None:
    (trade,) = read_trades(written(tmp_path, row, head), "BTC/USD")
    assert trade.ns == 1_561_939_203_172_000_000
    assert (trade.price, trade.size, trade.taker) == (
        Decimal("10749.4"),
        Decimal("0.004"),
        "sell",
    )


def test_the_tick_rule_stands_in_for_missing_sides(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "1,5\n2,4\n3,6\n", "time,price\n".replace("e\n", "e,qty\n"))
    path.write_text("time,price,qty\n1,5,1\n2,4,1\n3,6,1\n")
    assert [trade.taker for trade in read_trades(path, "BTC/USD")] == ["buy", "sell", "buy"]


def test_more_decimals_than_the_pair_has_are_kept(tmp_path: pathlib.Path) -> None:
    got = play_v2(written(tmp_path, "1,buy,10.12345,0.0000000012\n"), 1.0)
    assert exact(got) == [("buy", Decimal("10.12345"), Decimal("0.0000000012"))]


def test_parquet(tmp_path: pathlib.Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table(
        {"ts_ms": [1, 2], "side": ["buy", "sell"], "price": [10.1, 10.2], "qty": [0.3, 1e-8]}
    )
    parquet.write_table(table, tmp_path / "t.parquet")
    got = [(t.price, t.size) for t in read_trades(tmp_path / "t.parquet", "BTC/USD")]
    assert got == [(Decimal("10.1"), Decimal("0.3")), (Decimal("10.2"), Decimal("1E-8"))]


def test_a_tape_is_played_with_each_trade_once(tmp_path: pathlib.Path) -> None:
    async def record() -> list[bytes]:
        async with venue(parse("duplicates@3:9")) as (server, http):
            frames = []
            for _ in range(2):
                async with connected(http, server.ws_url) as client:
                    await client.subscribe("trade", snapshot=True)
                    await client.until(now_s() + 4.0)
                    frames += [data for _, data in client.frames]
            return frames

    frames = virtual_time.run(record())
    write_tape(tmp_path / "tape", [*frames, b'{"channel":"trade"broken'])
    trades = read_trades(tmp_path / "tape", "BTC/USD")
    sent = set(re.findall(rb'"trade_id":(\d+)', b"".join(frames)))
    assert len(trades) == len(sent) > 50
    got = play_v2(tmp_path / "tape", float("inf"))
    assert [(t.taker, t.price, t.size) for t in trades] == exact(got)
    with pytest.raises(ConfigError, match="no trades"):
        read_trades(tmp_path / "tape", "ETH/USD")


def write_tape(path: pathlib.Path, frames: list[bytes]) -> None:
    writer = TapeWriter(path, config={}, version="0")
    for index, data in enumerate(frames):
        writer.append(Frame(index + 1, "kraken", data))
    writer.close()


@pytest.mark.parametrize(
    "row",
    [
        "1,buy,nan,1",
        "1,buy,0,1",
        "1,buy,-5,1",
        "1,buy,1e400x,1",
        "1,buy,1,inf",
        "1,up,1,1",
        "then,buy,1,1",
        "1,buy,1",
        "1,buy,0.0000000000000001,1",
    ],
)
def test_bad_rows_are_named(tmp_path: pathlib.Path, row: str) -> None:
    with pytest.raises(ConfigError, match="row 2: not a trade"):
        read_trades(written(tmp_path, f"1,buy,5,5\n{row}\n"), "BTC/USD")


def test_an_empty_or_binary_file_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="no trades"):
        read_trades(written(tmp_path, ""), "BTC/USD")
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xff\xfe\x00\x00" * 50)
    with pytest.raises(ConfigError):
        read_trades(path, "BTC/USD")


def test_faults_act_on_played_trades_too(tmp_path: pathlib.Path) -> None:
    rows = "".join(f"{1000 * i},buy,{100 + i},1\n" for i in range(30))
    got = play_v2(written(tmp_path, rows), 1.0, "trade_gap@10,trades=4")
    ids = [int(row["trade_id"]) for row in got]
    assert len(ids) == 26
    assert ids[-1] - ids[0] == 29
