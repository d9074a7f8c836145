"""Nodes that err, lag, lie, or send garbage: clean statuses, and never a crash."""

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polygon_logs import CONDITION, CTF_V2, NO, YES, block_hash, log
from polygon_node import HEAD, MARKET, SOCKET, Bench, ids

from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.events import Status, Trade
from tapewatch.model.inputs import Frame
from tapewatch.testing.conformance import check_venue
from tapewatch.venues.polygon import Contract, Polygon
from tapewatch.venues.polymarket_markets import Market


def read() -> Bench:
    bench = Bench()
    bench.begin()
    bench.grow()
    return bench


@pytest.mark.parametrize(
    "message",
    [
        "query returned more than 10000 results",
        "Query returned more than 10000 results. Try with this block range [0x1, 0x2].",
        "block range too large, max range: 50",
        "range 1000000 exceeds limit of 10000",
        "Log response size exceeded. Please reduce query block range.",
        "exceed maximum block range: 50000",
        "query timeout exceeded",
    ],
)
def test_too_much_at_once_is_asked_for_in_smaller_steps(message: str) -> None:
    bench = read()
    bench.state.span = 64
    for _ in range(3):
        bench.poll(eth_getLogs={"code": -32000, "message": message})
    (status,) = bench.said("unavailable")
    assert message[:30] in status.detail
    assert bench.state.span == 8
    bench.logs.append(log(block=HEAD + 1, index=1))
    bench.poll()
    assert len(bench.trades()) == 1, "and nothing is lost"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Too Many Requests", "rate_limited"),
        ("Your app has exceeded its compute units per second capacity", "rate_limited"),
        ("header not found", "unavailable"),
        ("missing trie node", "unavailable"),
        ("", "unavailable"),
        ("\x1b[31mred\u202e", "unavailable"),
    ],
)
def test_other_errors_are_told_once(message: str, kind: str) -> None:
    bench = read()
    for _ in range(3):
        bench.poll(eth_getLogs={"code": -32005, "message": message})
    (status,) = bench.said(kind)
    assert "\x1b" not in status.detail
    assert "\u202e" not in status.detail
    assert bench.state.span == 10
    bench.poll()
    bench.poll(eth_getLogs={"code": -32005, "message": message})
    assert len(bench.said(kind)) == 2, "after good answers it is news"


def test_a_node_that_does_not_have_the_last_block_is_not_believed_that_nothing_happened() -> None:
    bench = read()
    bench.logs.append(log(block=HEAD + 1, index=1))
    bench.poll(eth_getBlockByNumber=None, eth_getLogs=[])
    assert len(bench.said("unavailable")) == 1
    bench.poll()
    assert ids(bench.trades()) == ["1:1"]


def test_a_node_that_is_behind_changes_nothing() -> None:
    bench = read()
    bench.poll()
    before = msgspec.msgpack.encode(bench.state)
    bench.head -= 5
    bench.poll()
    bench.head += 5
    assert bench.said("gap_lost", "withdrawn", "unavailable") == []
    assert msgspec.msgpack.decode(before)["next"] == bench.state.next


def test_a_node_that_contradicts_itself_is_asked_again() -> None:
    bench = read()
    bench.logs.append(log(block=HEAD + 1, index=1, fork=3))
    bench.poll()
    assert bench.trades() == []
    assert "contradicts itself" in bench.said("unavailable")[0].detail
    bench.logs = [log(block=HEAD + 1, index=1)]
    bench.poll()
    assert len(bench.trades()) == 1


def test_logs_that_were_not_asked_for() -> None:
    bench = read()
    bench.logs += [
        log(block=HEAD + 1, index=1, address="0x" + "99" * 20),
        log(block=HEAD + 1, index=2),
        log(block=HEAD + 1, index=3, topics=["0x" + "17" * 32, "0x1"]),  # OrdersMatched, say
    ]
    bench.poll(eth_getLogs=[log(block=HEAD - 99, index=1), *bench.logs])
    assert ids(bench.trades()) == ["1:2"]
    details = [one.detail for one in bench.said("invalid")]
    assert len(details) == 2
    assert "not asked for" in details[0]
    assert "a contract that was not asked for" in details[1]


def test_prices_that_are_none_are_told_and_dropped() -> None:
    bench = read()
    bench.logs += [
        log(block=HEAD + 1, index=1, cash=100_000_000),
        log(block=HEAD + 1, index=2, tokens=2**256 - 1, cash=2**256 - 1),
        log(block=HEAD + 1, index=3, cash=0),
        log(block=HEAD + 1, index=4),
        *[log(block=HEAD + 1, index=9 + n, tokens=0, cash=0) for n in range(40)],
    ]
    bench.poll()
    assert ids(bench.trades()) == ["1:4"]
    bad = bench.said("invalid")
    assert len(bad) == 21
    assert bad[-1].value == 23.0


def test_equal_fills_without_end_are_refused() -> None:
    bench = read()
    for n in range(5):
        bench.logs = [log(block=HEAD + 1, index=n * 500 + i, order=5) for i in range(500)]
        bench.poll()
    assert len(bench.trades()) == 64
    assert sum(len(ones) for ones in bench.state.known.values()) == 64


@pytest.mark.parametrize("polls", [1, 2, 9])
def test_a_liar_is_left_behind_as_soon_as_it_is_alone(polls: int) -> None:
    """It invents half a million blocks, for a while."""
    bench = read()
    truth = bench.head
    bench.head += 500_000
    for _ in range(polls):
        bench.poll()
    bench.head = truth
    for _ in range(8):
        bench.grow()
        bench.poll()
    bench.logs.append(log(block=bench.head, index=1))
    bench.poll()
    bench.grow()
    bench.poll()
    assert len(bench.trades()) == 1
    said = 2 if polls > 3 else 0
    assert len(bench.said("gap_lost")) == said, "it was believed, and that was wrong"


def test_after_a_long_pause_it_is_asked_where_the_chain_ends() -> None:
    """Otherwise all at once would be asked for, refused, and asked for again."""
    bench = read()
    bench.poll()
    for n in range(60):
        bench.grow(5)
        bench.logs.append(log(block=bench.head, index=1, tx=n))
        bench.timer()
    assert [call["method"] for call in bench.asked()][1] == "eth_chainId"
    bench.poll()
    (span,) = [c["params"][0] for c in bench.asked() if c["method"] == "eth_getLogs"]
    assert int(span["toBlock"], 16) - int(span["fromBlock"], 16) < 25
    for _ in range(20):
        bench.poll()
    assert len(bench.trades()) == 60


def test_more_than_can_be_caught_up_with_is_given_up_and_told() -> None:
    bench = read()
    bench.poll()
    bench.grow(10_000)
    for _ in range(6):
        bench.poll()
    (lost,) = bench.said("gap_lost")
    assert 9_000 < lost.value < 10_000
    assert bench.state.next == bench.head + 1
    bench.logs.append(log(block=bench.head, index=1))
    bench.poll()
    assert len(bench.trades()) == 1


def test_a_node_of_another_chain_is_refused() -> None:
    bench = Bench()
    for _ in range(3):
        bench.poll(eth_chainId="0x1")
    (status,) = bench.said("rejected")
    assert status.detail == "the node is of chain 1; 137 is due"
    assert bench.state.next == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>blocked</html>",
        b"upstream connect error",
        b"null",
        b"[1]",
        b'"x"',
        b"[" * 5_000,
        b'[{"id":1,"result":' + b"[" * 3_000,
        b"\xff\xfe",
    ],
)
def test_garbage_is_a_frame_that_cannot_be_read(data: bytes) -> None:
    bench = read()
    for stream in ("rest:/?head", "rest:/?logs=1-latest", SOCKET):
        with pytest.raises(DecodeError):
            bench.frame(stream, data)


@pytest.mark.parametrize(
    "reply",
    [
        [],
        {},
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no batches"}},
        {"id": 4, "result": None},
        [{"id": "4"}, {"id": 4.5}, {"id": 2**70}],
        [{"id": 1, "result": "0x1"}, {"id": 2, "result": {}}, {"id": 4, "result": []}],
        [{"id": 1, "result": "0x1"}, {"id": 2, "result": 7}, {"id": 4, "result": "0x1"}],
    ],
)
@pytest.mark.parametrize("stream", ["rest:/?head", "rest:/?logs=998-latest"])
def test_answers_that_are_none_are_statuses(reply: object, stream: str) -> None:
    bench = read()
    events = bench.frame(stream, json.dumps(reply).encode())
    assert [one.kind for one in events if isinstance(one, Status)] in (["unavailable"], ["invalid"])


@pytest.mark.parametrize(
    "stream", ["rest:/?logs=9-1", "rest:/?logs=9999999999999999999-latest", "rest:/", "rest:/?x=1"]
)
def test_streams_that_nobody_asked_for(stream: str) -> None:
    bench = read()
    reply = [
        {"id": 1, "result": hex(bench.head)},
        {"id": 2, "result": []},
        {"id": 4, "result": bench.header(bench.head)},
    ]
    bench.frame(stream, json.dumps(reply).encode())
    assert bench.trades() == []


@pytest.mark.parametrize(
    "result",
    [
        {},
        [],
        None,
        {"number": "0xzz", "hash": "", "timestamp": ""},
        {"number": hex(2**70), "hash": block_hash(1), "timestamp": "0x1"},
        log(logIndex="0x-1"),
        log(data="0x" + "f" * 448),
        log(topics=["0x" + "f" * 64] * 4),
        log(address="0x"),
        {**log(), "topics": None},
    ],
)
def test_hostile_notifications(result: Any) -> None:
    bench = read()
    bench.notice(result)
    assert bench.trades() == []


@settings(max_examples=60)
@given(
    st.recursive(
        st.none()
        | st.integers()
        | st.text(max_size=80)
        | st.sampled_from(["0x1", "0x" + "f" * 64]),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["id", "result", "error", "number", "hash", "timestamp", "topics"]),
                inner,
                max_size=5,
            )
        ),
        max_leaves=15,
    ),
    st.sampled_from(["rest:/?head", "rest:/?logs=998-latest", SOCKET]),
)
def test_no_json_crashes(value: object, stream: str) -> None:
    bench = read()
    with contextlib.suppress(DecodeError):
        bench.frame(stream, json.dumps(value).encode())
    assert msgspec.msgpack.encode(bench.state)


def test_the_contract_of_venues_on_polls_and_the_socket() -> None:
    bench = Bench(ws_url="ws://127.0.0.1:1")
    frames: list[Frame] = []

    def keep(stream: str, data: bytes) -> list[Any]:
        frames.append(Frame(bench.ns(), "polygon", data, stream))
        return []

    decode = bench.frame
    bench.frame = lambda stream, data: (keep(stream, data), decode(stream, data))[1]  # type: ignore[method-assign]
    bench.poll()
    for n in range(1, 30):
        bench.grow()
        bench.logs.append(log(block=bench.head, index=n, tx=n, maker_buys=bool(n % 3)))
        if n % 2:
            bench.notice(bench.logs[-1])
        found = bench.header(bench.head)
        assert found is not None
        bench.notice(found)
        if n % 5 == 0:
            bench.poll()
    assert len([one for one in bench.events if isinstance(one, Trade)]) >= 25
    check_venue(bench.venue, frames)


MARKETS = (MARKET,)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({}, "at least one market"),
        ({"markets": (Market(condition="0x12", yes="1", no="2"),)}, "no condition id"),
        ({"markets": (Market(condition=CONDITION, yes=YES, no=YES),)}, "no two token ids"),
        ({"markets": MARKETS, "rpc_url": "ftp://x"}, "is no address"),
        ({"markets": MARKETS, "ws_url": "https://x"}, "is no address"),
        ({"markets": MARKETS, "contracts": ()}, "contracts must be 1 to 64"),
        (
            {"markets": MARKETS, "contracts": (Contract(address="0x1", layout="v1"),)},
            "not an address",
        ),
        (
            {"markets": MARKETS, "contracts": (Contract(address=CTF_V2, layout="v1"),) * 2},
            "named twice",
        ),
        ({"markets": MARKETS, "topic_v1": "0x1"}, "not 32 bytes"),
    ],
)
def test_settings_that_cannot_work(config: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Polygon(**config)


@pytest.mark.parametrize(
    "other",
    [
        Market(condition="0x" + "dd" * 32, yes=NO, no="9"),
        Market(condition=CONDITION, yes="8", no="9"),
    ],
)
def test_two_markets_of_the_same_ids(other: Market) -> None:
    with pytest.raises(ConfigError, match="share the ids"):
        Polygon(markets=(MARKET, other)).start()


def test_an_address_with_a_key_is_not_shown_in_full() -> None:
    with pytest.raises(ConfigError) as caught:
        Polygon(markets=MARKETS, rpc_url="htp://host.example/v2/SECRETKEY")
    assert "SECRETKEY" not in str(caught.value)


def test_a_log_newer_than_the_last_block_waits_until_that_block_is_read() -> None:
    bench = read()
    early = log(block=HEAD + 2, index=1)
    bench.poll(eth_getLogs=[early, log(block=HEAD + 1, index=1, tx=2)], eth_blockNumber="0x3ea")
    assert ids(bench.trades()) == ["2:1"]
    bench.grow()
    bench.logs.append(early)
    bench.poll()
    assert ids(bench.trades()) == ["2:1", "1:1"]


def test_another_block_than_the_one_asked_for() -> None:
    bench = read()
    bench.poll()
    bench.grow(40)
    bench.poll(eth_getLogs={"message": "no"})  # now it is known where the chain ends
    bench.poll(eth_getBlockByNumber=bench.header(bench.head))
    assert "in place of" in bench.said("invalid")[0].detail
    assert bench.state.next == HEAD + 2
