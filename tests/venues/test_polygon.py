"""The Polygon venue over a hand-made node: polls, confirmations, reorganisations, the socket."""

import json
from typing import Any

import pytest
from polygon_logs import ALICE, BOB, CTF_V1, CTF_V2, GENESIS_S, NO, block_hash, log, word
from polygon_node import HEAD, INSTRUMENT, SOCKET, Bench, ids

from tapewatch.model.events import Status
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.polygon_chain import RETURN, REWIND


def test_a_fill_becomes_a_trade_with_both_wallets() -> None:
    bench = Bench()
    bench.begin()
    bench.grow()
    bench.logs.append(log(block=HEAD + 1, index=4, tx=9))
    bench.now_s += 1.0
    bench.poll()
    (trade,) = bench.trades()
    assert (trade.instrument, trade.price, trade.size) == (INSTRUMENT, 0.52, 100.0)
    assert (trade.aggressor, trade.taker, trade.maker) == ("buy", BOB, ALICE)
    assert trade.trade_id == "0x" + word(9) + ":4"
    assert trade.ts_event == (GENESIS_S + 2 * (HEAD + 1)) * NS_PER_S
    assert trade.ts_recv == bench.ns()
    assert not trade.backfilled
    (listed,) = bench.said("listed")
    assert (listed.instrument, listed.detail) == (INSTRUMENT, "will-it-rain · Yes")


def test_the_takers_own_row_is_not_a_second_fill() -> None:
    bench = Bench()
    bench.begin()
    bench.grow()
    bench.logs += [
        log(block=HEAD + 1, index=1, tokens=60_000_000, cash=31_200_000),
        log(block=HEAD + 1, index=2, token=NO, maker_buys=True, tokens=40_000_000, cash=19_200_000),
        log(block=HEAD + 1, index=3, maker=BOB, taker=CTF_V2, maker_buys=True),
        log(block=HEAD + 1, index=4, maker=BOB, taker=CTF_V1, maker_buys=True),
    ]
    bench.poll()
    assert [(one.price, one.size, one.aggressor) for one in bench.trades()] == [
        (0.52, 60.0, "buy"),
        (0.52, 40.0, "buy"),
    ]


def test_both_generations_of_contracts_in_the_order_of_the_chain() -> None:
    bench = Bench()
    bench.begin()
    bench.grow(2)
    bench.logs += [
        log("v2", block=HEAD + 2, index=9, tx=3),
        log("v1", block=HEAD + 2, index=5, tx=2),
        log("v2", block=HEAD + 1, index=7, tx=1),
        log("v2", block=HEAD + 1, index=8, tx=4, token="77"),  # nobody watches that
    ]
    bench.poll()
    assert ids(bench.trades()) == ["1:7", "2:5", "3:9"]


def test_what_is_asked() -> None:
    bench = Bench(overlap_blocks=3, range_blocks=50)
    assert [call["method"] for call in bench.asked()] == ["eth_getBlockByNumber", "eth_chainId"]
    bench.begin()
    calls = {call["method"]: call["params"] for call in bench.asked()}
    about = calls["eth_getLogs"][0]
    assert about["fromBlock"] == hex(HEAD + 1 - 3)
    assert about["toBlock"] == "latest"
    assert CTF_V2.lower() in about["address"]
    assert len(about["topics"][0]) == 2
    assert calls["eth_getBlockByNumber"] == [hex(HEAD), False], "does what was read still stand?"
    (poll,) = bench.venue.polls(bench.state)
    assert poll.every_s == 2.0
    assert poll.requests[0].stream == f"rest:/?logs={HEAD - 2}-latest"
    assert poll.requests[0].surface == bench.venue.budgets()[0].surface


def test_a_long_pause_is_caught_up_with_in_steps_and_counts_as_backfilled() -> None:
    bench = Bench(range_blocks=40)
    bench.begin()
    bench.grow(100)
    bench.logs += [log(block=HEAD + n, index=1, tx=n) for n in range(1, 101)]
    polls = 0
    while len(bench.trades()) < 100:
        bench.poll()
        polls += 1
        assert polls < 12
    assert [one.trade_id for one in bench.trades()] == [f"0x{word(n)}:1" for n in range(1, 101)]
    old = [one.backfilled for one in bench.trades()]
    assert old == [True] * 84 + [False] * 16, "30 s are sixteen blocks and the present one"


def test_logs_that_a_node_was_late_with_are_found_and_told() -> None:
    bench = Bench()
    bench.begin()
    bench.grow()
    bench.poll()
    bench.logs += [log(block=HEAD + 1, index=1, tx=1), log(block=HEAD + 2, index=1, tx=2)]
    bench.grow()
    bench.poll()
    assert [(one.index, one.backfilled) for one in bench.trades()] == [(1, True), (1, False)]
    (filled,) = bench.said("gap_filled")
    assert filled.value == 1.0


def test_confirmations_hold_trades_back_and_a_reorganisation_leaves_no_trace() -> None:
    bench = Bench(confirmations=20)
    bench.begin()
    bench.grow()
    bench.logs += [log(block=HEAD + 1, index=1, tx=1), log(block=HEAD + 1, index=2, tx=2)]
    bench.poll()
    bench.grow(18)
    bench.poll()
    assert bench.trades() == []
    # Nineteen blocks are replaced: one trade comes again elsewhere, the other does not.
    bench.fork, bench.fork_from = 1, HEAD + 1
    bench.logs = [log(block=HEAD + 3, index=8, tx=1, order=1_001, fork=1)]
    for _ in range(60):
        bench.grow()
        bench.poll()
    assert ids(bench.trades()) == ["1:8"], "at the place where it stands"
    assert bench.trades()[0].backfilled
    assert bench.said("withdrawn") == []
    assert (bench.state.held, bench.state.gone) == (0, 0)


def reorganised(depth: int, *, lost: bool) -> Bench:
    """Trades told at once, then `depth` blocks are replaced; `lost`: one trade is dropped."""
    bench = Bench()
    bench.begin()
    for n in range(1, depth + 1):
        bench.logs.append(log(block=HEAD + n, index=1, tx=n))
        bench.grow()
        bench.poll()
    bench.fork, bench.fork_from = 1, HEAD + 1
    bench.logs = [
        log(block=HEAD + n + 1, index=5, tx=n, order=n * 1_000 + 1, fork=1)
        for n in range(1 + lost, depth + 1)
    ]
    for _ in range(REWIND + RETURN):
        bench.grow()
        bench.poll()
    return bench


@pytest.mark.parametrize("depth", [1, 2, 7, 20])
def test_what_comes_again_in_other_blocks_is_not_told_twice(depth: int) -> None:
    bench = reorganised(depth, lost=False)
    assert ids(bench.trades()) == [f"{n}:1" for n in range(1, depth + 1)]
    assert bench.said("withdrawn", "gap_filled") == []


@pytest.mark.parametrize("depth", [1, 2, 7, 20])
def test_what_does_not_come_again_is_withdrawn(depth: int) -> None:
    bench = reorganised(depth, lost=True)
    assert len(bench.trades()) == depth
    (status,) = bench.said("withdrawn")
    assert (status.instrument, status.value) == (INSTRUMENT, 1.0)
    assert bench.state.gone == 0


def test_equal_fills_of_one_block_are_two() -> None:
    bench = Bench()
    bench.begin()
    bench.grow()
    bench.logs += [log(block=HEAD + 1, index=n, tx=1, order=5) for n in (1, 2)]
    bench.poll()
    bench.poll()
    assert ids(bench.trades()) == ["1:1", "1:2"]


# The socket.


def live(**config: Any) -> Bench:
    bench = Bench(ws_url="ws://127.0.0.1:1", **config)
    assert bench.venue.streams(bench.state) == (SOCKET,)
    bench.begin()
    bench.link("up", SOCKET)
    bench.grow()
    head(bench)
    return bench


def head(bench: Bench) -> list[Any]:
    found = bench.header(bench.head)
    assert found is not None
    return bench.notice(found | {"parentHash": bench.hash(bench.head - 1)})


def test_subscriptions() -> None:
    bench = Bench(ws_url="ws://127.0.0.1:1")
    heads, logs = map(json.loads, bench.venue.subscribe(bench.state, SOCKET))
    assert heads["params"] == ["newHeads"]
    assert logs["params"][0] == "logs"
    assert set(logs["params"][1]) == {"address", "topics"}
    bench.frame(SOCKET, b'{"jsonrpc":"2.0","id":1,"result":"0xabc"}')
    bench.frame(SOCKET, b'{"jsonrpc":"2.0","id":2,"error":{"code":-32601,"message":"no"}}')
    assert [one.kind for one in bench.said("subscribed", "rejected")] == ["subscribed", "rejected"]


def test_the_socket_tells_at_once_and_the_poll_has_nothing_to_add() -> None:
    bench = live()
    assert bench.venue.polls(bench.state)[0].every_s == 30.0
    bench.grow()
    bench.logs.append(log(block=bench.head, index=1, tx=1))
    bench.notice(bench.logs[-1])
    head(bench)
    assert ids(bench.trades()) == ["1:1"]
    bench.poll()
    assert len(bench.trades()) == 1
    assert bench.said("gap_filled") == []


def test_the_poll_fills_what_the_socket_has_missed() -> None:
    bench = live()
    for n in range(1, 6):
        bench.grow()
        bench.logs.append(log(block=bench.head, index=1, tx=n))
        if n != 2:
            bench.notice(bench.logs[-1])
        head(bench)
    bench.poll()
    assert ids(bench.trades()) == ["1:1", "3:1", "4:1", "5:1", "2:1"]
    assert bench.trades()[-1].backfilled
    assert [one.value for one in bench.said("gap_filled")] == [1.0]
    (mute,) = bench.said("mute")
    assert (mute.ask, mute.stream) == ("reconnect", SOCKET)
    assert bench.venue.polls(bench.state)[0].every_s == 2.0


@pytest.mark.parametrize("returns", [True, False])
def test_removed_logs(returns: object) -> None:
    bench = live()
    bench.grow()
    first = log(block=bench.head, index=1, tx=1)
    bench.logs.append(first)
    bench.notice(first)
    head(bench)
    bench.notice(first | {"removed": True})
    bench.notice(first | {"removed": True})
    bench.fork, bench.fork_from, bench.logs = 1, bench.head, []
    if returns:
        bench.logs = [log(block=bench.head, index=3, tx=1, order=1_001, fork=1)]
        bench.notice(bench.logs[0])
    for _ in range(RETURN + 5):
        bench.grow()
        head(bench)
    for _ in range(2):
        bench.poll()
    assert len(bench.trades()) == 1
    assert len(bench.said("withdrawn")) == (not returns)
    assert bench.state.gone == 0


def test_a_held_trade_that_is_removed_was_never_told() -> None:
    bench = live(confirmations=3)
    bench.grow()
    one = log(block=bench.head, index=1, tx=1)
    bench.notice(one)
    bench.notice(one | {"removed": True})
    for _ in range(RETURN + 5):
        bench.grow()
        head(bench)
        bench.poll()
    assert bench.trades() == []
    assert bench.said("withdrawn") == []
    assert bench.state.known == {}


@pytest.mark.parametrize("long_ago", [False, True])
def test_when_the_outcome_becomes_known_nothing_is_an_anomaly(long_ago: object) -> None:
    bench = Bench(end_ns=(GENESIS_S + 2 * HEAD + 200 - 5_000 * bool(long_ago)) * NS_PER_S)
    bench.begin()
    told: list[tuple[int, str]] = []
    for second in range(0, 4_000, 40):
        told += [
            (second, event.kind)
            for event in bench.timer()
            if isinstance(event, Status) and event.instrument == INSTRUMENT
        ]
        bench.now_s += 40.0
    assert told == ([] if long_ago else [(80, "halted"), (3_800, "online")])


def test_hashes_of_blocks_differ_by_fork() -> None:
    assert block_hash(5) != block_hash(5, 1)


def test_a_socket_that_went_down_is_not_relied_on_until_it_brings_blocks_again() -> None:
    bench = live()
    bench.link("down", SOCKET, "closed")
    assert bench.venue.polls(bench.state)[0].every_s == 2.0
    bench.grow(10)
    bench.link("up", SOCKET)
    assert bench.venue.polls(bench.state)[0].every_s == 2.0
    head(bench)
    assert bench.venue.polls(bench.state)[0].every_s == 30.0
    bench.logs.append(log(block=bench.head - 4, index=1))  # while it was down
    bench.poll()
    bench.poll()
    assert [one.backfilled for one in bench.trades()] == [False], "nobody has missed it"
    assert bench.said("gap_filled") == []


def test_a_socket_does_not_hide_that_polls_left_a_hole() -> None:
    bench = live()
    bench.link("down", SOCKET)
    bench.grow(10)
    bench.link("up", SOCKET)
    for _ in range(40):
        bench.grow()
        head(bench)
    assert [one.kind for one in bench.timer() if isinstance(one, Status)] == ["stale"]


def test_an_answer_from_before_a_reorganisation_leaves_no_hole() -> None:
    bench = Bench()
    bench.begin()
    bench.grow(10)
    stream = f"rest:/?logs={HEAD + 8}-latest"
    late = [
        {"id": 1, "result": hex(bench.head)},
        {"id": 2, "result": []},
        {"id": 4, "result": bench.header(bench.head)},
    ]
    bench.frame(stream, json.dumps(late).encode())
    assert bench.state.next == HEAD + 1
    bench.logs.append(log(block=HEAD + 2, index=1))
    bench.poll()
    assert len(bench.trades()) == 1


def test_a_mute_socket_is_dropped_while_polls_go_on() -> None:
    bench = live()
    bench.now_s += 21.0
    (mute,) = [one for one in bench.timer() if isinstance(one, Status)]
    assert (mute.kind, mute.ask, mute.stream) == ("mute", "reconnect", SOCKET)
    assert bench.timer() == [], "once, until it had its chance"
    assert bench.venue.polls(bench.state)[0].every_s == 2.0
    bench.link("down", SOCKET, "we reconnect")
    assert bench.venue.polls(bench.state)[0].every_s == 2.0
