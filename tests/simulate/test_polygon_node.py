"""The simulated node over real HTTP and websockets, with a client that shares no code with it."""

import asyncio
import contextlib
import itertools
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner

from tapewatch.app.cli.simulate import simulate
from tapewatch.model.errors import ConfigError
from tapewatch.simulate.polygon import PolygonConfig, PolygonServer
from tapewatch.simulate.polygon_faults import POLYGON
from tapewatch.simulate.polygon_rings import Ring, parse
from tapewatch.simulate.polymarket import PolymarketConfig
from tapewatch.testing.virtual_time import loop_clock, run

V2 = "0xd543adfd945773f1a62f74f0ee55a5e3b9b1a28262980ba90b1a89f2ea84d8ee"


class Client:
    """JSON-RPC by hand."""

    def __init__(self, session: aiohttp.ClientSession, server: PolygonServer) -> None:
        self.session, self.server = session, server

    async def post(self, body: Any) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.post(self.server.rpc_url, data=data) as response:
            assert response.status == 200
            return await response.json()

    async def call(self, method: str, *params: Any) -> Any:
        answer = await self.post({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
        assert answer["id"] == 7
        return answer.get("result", answer.get("error"))


@contextlib.asynccontextmanager
async def serving(**more: Any) -> AsyncIterator[Client]:
    market = PolymarketConfig(markets=2, contests=0, seed=3)
    async with (
        PolygonServer(PolygonConfig(market=market, **more), loop_clock()) as server,
        aiohttp.ClientSession() as session,
    ):
        yield Client(session, server)


def talk(body: Callable[[Client], Awaitable[None]], **more: Any) -> None:
    async def scenario() -> None:
        async with serving(**more) as client:
            await body(client)

    run(scenario())


def test_blocks_come_every_two_seconds_and_hang_together() -> None:
    async def body(client: Client) -> None:
        assert await client.call("eth_chainId") == "0x89"
        before = int(await client.call("eth_blockNumber"), 16)
        await asyncio.sleep(20.1)
        after = int(await client.call("eth_blockNumber"), 16)
        assert after - before == 10
        blocks = [
            await client.call("eth_getBlockByNumber", hex(n), False)
            for n in range(before - 5, after + 1)
        ]
        for one, two in itertools.pairwise(blocks):
            assert two["parentHash"] == one["hash"]
            assert int(two["timestamp"], 16) - int(one["timestamp"], 16) == 2
        assert await client.call("eth_getBlockByNumber", hex(after + 1), False) is None
        latest = await client.call("eth_getBlockByNumber", "latest", False)
        assert latest["number"] == hex(after)

    talk(body)


def test_logs_by_contract_topic_and_range() -> None:
    async def body(client: Client) -> None:
        await asyncio.sleep(120)
        everything = await client.call("eth_getLogs", {"fromBlock": "earliest"})
        assert everything
        fills = await client.call("eth_getLogs", {"fromBlock": "earliest", "topics": [[V2]]})
        assert 0 < len(fills) < len(everything)
        assert {row["topics"][0] for row in fills} == {V2}
        maker = fills[0]["topics"][2]
        own = await client.call(
            "eth_getLogs", {"fromBlock": "earliest", "topics": [None, None, maker]}
        )
        assert own
        assert {row["topics"][2] for row in own} == {maker}
        none = await client.call(
            "eth_getLogs", {"fromBlock": "earliest", "address": ["0x" + "1" * 40]}
        )
        assert none == []
        at = fills[0]["blockNumber"]
        some = await client.call("eth_getLogs", {"fromBlock": at, "toBlock": at})
        assert {row["blockNumber"] for row in some} == {at}
        block = await client.call("eth_getBlockByNumber", at, False)
        assert {row["blockHash"] for row in some} == {block["hash"]}
        assert {row["transactionHash"] for row in some} <= set(block["transactions"])
        indices = [int(row["logIndex"], 16) for row in some]
        assert indices == list(range(len(indices)))

    talk(body)


def test_a_match_is_fills_of_makers_then_the_takers_own_which_is_their_sum() -> None:
    async def body(client: Client) -> None:
        await asyncio.sleep(200)
        rows = await client.call("eth_getLogs", {"fromBlock": "earliest", "topics": [[V2]]})
        by_tx: dict[str, list[Any]] = {}
        for row in rows:
            by_tx.setdefault(row["transactionHash"], []).append(row)
        for found in by_tx.values():
            *makers, taker = found
            contract = taker["address"]
            assert taker["topics"][3][-40:] == contract[2:]
            assert {row["topics"][3] for row in makers} == {taker["topics"][2]}
            words = [
                [int(row["data"][2:][at : at + 64], 16) for at in range(0, 448, 64)]
                for row in found
            ]
            tokens = [word[3] if word[0] == 0 else word[2] for word in words]
            assert tokens[-1] == sum(tokens[:-1]), "in shares"

    talk(body)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"nonsense", -32700),
        ([], -32600),
        ({"id": 1}, -32600),
        ({"id": 1, "method": "eth_sendRawTransaction", "params": ["0x1"]}, -32601),
        ({"id": 1, "method": "eth_getLogs", "params": [{"fromBlock": "x"}]}, -32602),
        ({"id": 1, "method": "eth_getLogs", "params": [{"address": 5}]}, -32602),
        ({"id": 1, "method": "eth_getBlockByNumber", "params": []}, -32602),
        ({"id": 1, "method": "eth_getLogs", "params": [{"fromBlock": "0x1"}]}, -32000),
    ],
)
def test_errors_are_those_of_json_rpc(body: Any, code: int) -> None:
    async def ask(client: Client) -> None:
        assert (await client.post(body))["error"]["code"] == code

    talk(ask)


def test_a_batch_keeps_its_ids() -> None:
    async def body(client: Client) -> None:
        answers = await client.post(
            [
                {"id": 5, "method": "eth_blockNumber"},
                {"id": "b", "method": "nothing"},
                {"id": 6, "method": "eth_chainId"},
                7,
            ]
        )
        assert [one["id"] for one in answers] == [5, "b", 6, None]

    talk(body)


async def notices(socket: aiohttp.ClientWebSocketResponse, seconds: float) -> list[Any]:
    """Results of notifications, heads and logs together."""
    found = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for message in socket:
                told = json.loads(message.data)
                found.append(told["params"]["result"] if "params" in told else told)
    return found


def test_subscriptions_and_a_reorganisation() -> None:
    async def body(client: Client) -> None:
        async with client.session.ws_connect(client.server.ws_url) as socket:
            for number, params in ((1, ["newHeads"]), (2, ["logs", {"topics": [[V2]]}])):
                await socket.send_json({"id": number, "method": "eth_subscribe", "params": params})
            before = await notices(socket, 60.5)
            names = [one["result"] for one in before if "id" in one]
            assert len(set(names)) == 2
            heads = [one for one in before if "parentHash" in one]
            logs = [one for one in before if "topics" in one]
            assert len(heads) == 30
            assert logs
            assert not any(one["removed"] for one in logs)
            client.server.fault("reorg,depth=20,dropped=1")
            after = await notices(socket, 10.0)
            removed = [one for one in after if one.get("removed")]
            again = [one for one in after if one.get("removed") is False]
            depth = {one["number"] for one in heads[-20:]}
            assert [one["blockNumber"] for one in removed] == sorted(
                (one["blockNumber"] for one in logs if one["blockNumber"] in depth), reverse=True
            )
            gone = {one["transactionHash"] for one in removed}
            assert len(gone - {one["transactionHash"] for one in again}) == 1
            assert {one["blockHash"] for one in removed}.isdisjoint(
                one["blockHash"] for one in again
            )
            await socket.send_json({"id": 3, "method": "eth_unsubscribe", "params": [names[0]]})
            await socket.send_json({"id": 4, "method": "eth_subscribe", "params": ["gas"]})
            rest = await notices(socket, 8.0)
            assert [one["result"] for one in rest if one.get("id") == 3] == [True]
            assert [one["error"]["code"] for one in rest if one.get("id") == 4] == [-32601]
            assert not [one for one in rest[2:] if "parentHash" in one]

    talk(body)


def test_the_same_seed_settles_the_same_trades() -> None:
    found: list[list[str]] = []

    async def body(client: Client) -> None:
        await asyncio.sleep(100)
        rows = await client.call("eth_getLogs", {"fromBlock": "earliest"})
        found.append([row["data"] for row in rows])

    talk(body)
    talk(body)
    assert len(found[0]) > 20
    assert found[0] == found[1]


def test_rings_trade_among_themselves_and_are_written_down() -> None:
    rings = (
        Ring(at_s=10, kind="cycle", members=4, trades=40, for_s=60, market="1"),
        Ring(at_s=10, kind="ping_pong", trades=20, for_s=60, cross="mint", market="2"),
        Ring(at_s=10, kind="self_cross", trades=20, for_s=60, market="2"),
    )

    async def body(client: Client) -> None:
        await asyncio.sleep(90)
        rows = await client.call("eth_getLogs", {"fromBlock": "earliest", "topics": [[V2]]})
        records = client.server.market.truth.of("wash")
        assert [len(one.params["wallets"]) for one in records] == [4, 2, 1]
        for record in records:
            padded = {"0x" + "0" * 24 + one[2:] for one in record.params["wallets"]}
            own = [row for row in rows if row["topics"][2] in padded]
            fills = [row for row in own if row["topics"][3] in padded]
            assert len(fills) == record.params["trades"]
            assert len(own) == 2 * len(fills), "each with the taker's own row"
            sides = {row["data"][2:66][-1] for row in fills}
            if record.params["cross"] == "mint":
                assert sides == {"0", "1"}, "pairs are made and merged"

    talk(body, rings=rings)


@pytest.mark.parametrize(
    "text",
    ["", "ring@5", "cycle", "cycle@x", "cycle@5,members=9", "cycle@5,cross=no", "cycle@5,size=1",
     "cycle@5:0", "cycle@5,trades=0", "cycle@5,shares=nan"],
)  # fmt: skip
def test_what_is_no_ring(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text)


def test_a_ring_on_the_command_line() -> None:
    found = parse("cycle@5:60,members=5,trades=9,shares=7,cross=mint,market=2")
    assert found == Ring(
        at_s=5, kind="cycle", for_s=60, members=5, trades=9, shares=7, cross="mint", market="2"
    )


# The command.

RUN = "from tapewatch.app.cli.simulate import simulate; simulate()"


def test_one_json_line_then_a_clean_end(tmp_path: Any) -> None:
    truth = tmp_path / "truth.ndjson"
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "polygon", "--truth", str(truth), "--fault", "reorg@0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    assert (line["schema"], line["venue"]) == ("tapewatch.simulate/1", "polygon")
    assert line["pid"] == process.pid
    body = json.dumps({"id": 1, "method": "eth_chainId"}).encode()
    with urllib.request.urlopen(line["rpc"], body) as answer:
        assert json.load(answer)["result"] == "0x89"
    with urllib.request.urlopen(line["clob"] + "/time") as answer:
        assert json.load(answer) > 0
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert "nothing it says is real" in err
    (record,) = map(json.loads, truth.read_text().splitlines())
    assert (record["schema"], record["kind"]) == ("tapewatch.truth/1", "reorg")


@pytest.mark.parametrize(
    "args",
    [
        ["--host", "0.0.0.0"],
        ["--speed", "quick"],
        ["--markets", "0"],
        ["--fault", "gremlins@5"],
        ["--fault", "reorg@5,deep=3"],
        ["--ring", "cycle@5,market=99"],
    ],
)
def test_mistakes_are_usage_errors(args: list[str]) -> None:
    error = CliRunner().invoke(simulate, ["polygon", *args]).exception
    assert isinstance(error, ConfigError)
    assert error.exit_code == 2


def test_the_catalogue_can_be_listed() -> None:
    result = CliRunner().invoke(simulate, ["polygon", "--list-faults"])
    assert result.exit_code == 0
    for kind in POLYGON:
        assert kind.name in result.output
