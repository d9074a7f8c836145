"""The Polygon venue's deadlines over a hand-made node: mute sockets, stale chains, bounds."""

from polygon_logs import GENESIS_S, log
from polygon_node import HEAD, Bench

from tapewatch.model.events import Status
from tapewatch.model.limits import TRADE_ID_RING
from tapewatch.model.time import NS_PER_S


def test_stale_and_current_by_the_time_of_the_chain() -> None:
    bench = Bench()
    bench.begin()
    bench.now_s += 61.0
    bench.poll()  # the node answers, but the chain stands still
    (stale,) = bench.timer()
    assert isinstance(stale, Status)
    assert (stale.kind, stale.instrument) == ("stale", "")
    assert "61 s old" in stale.detail
    assert bench.timer() == []
    bench.head += 31
    bench.poll()
    bench.poll()
    assert [one.kind for one in bench.timer() if isinstance(one, Status)] == ["current"]


def test_a_node_that_never_answers_is_stale_and_why() -> None:
    bench = Bench()
    bench.timer()
    bench.link("down", "rpc", "the node answers 502")
    bench.now_s += 61.0
    (stale,) = bench.timer()
    assert isinstance(stale, Status)
    assert stale.detail == "no block was read in 61 s: the node answers 502"


def test_while_the_service_fails_less_is_asked_for() -> None:
    bench = Bench()
    bench.begin()
    bench.link("down", "rpc", "it sent more than 1,048,576 bytes in one answer")
    for _ in range(6):
        bench.now_s += 5.0
        bench.timer()
    assert bench.state.span == 1
    bench.link("up", "rpc")
    bench.grow(40)
    bench.poll()
    (about,) = [c["params"][0] for c in bench.asked() if c["method"] == "eth_getLogs"]
    assert about["fromBlock"] == about["toBlock"] == hex(HEAD + 1), "not a block too many"
    for _ in range(8):
        bench.poll()
    assert bench.state.next == bench.head + 1
    assert bench.state.span > 1


def test_the_memory_of_fills_is_bounded() -> None:
    bench = Bench(confirmations=128)
    bench.begin()
    for n in range(9):
        bench.grow()
        bench.logs = [log(block=bench.head, index=i, tx=n * 1_000 + i) for i in range(500)]
        bench.poll()
    assert len(bench.state.known) == bench.state.held == TRADE_ID_RING
    assert sum(one.value for one in bench.said("incomplete")) == 9 * 500 - TRADE_ID_RING


def test_a_missing_time_is_that_of_neighbours() -> None:
    bench = Bench()
    bench.begin()
    bench.grow(4)
    bench.logs.append(log(block=HEAD + 2, index=1, blockTimestamp=None))
    bench.poll()
    assert bench.trades()[0].ts_event == (GENESIS_S + 2 * (HEAD + 2)) * NS_PER_S
