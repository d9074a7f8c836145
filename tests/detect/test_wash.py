"""Rings of any form are found in a made-up market; those who merely trade are not named."""

from itertools import pairwise
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from wash_market import NO, T0, best, circle, crowd, merged, told, trade

from tapewatch.detect.base import LINE, TOLD
from tapewatch.detect.wash import ARBITRAGE, Wash
from tapewatch.detect.wash_memory import ACCOUNTS, PAIRS, RECENT
from tapewatch.model.events import Quote, Trade
from tapewatch.model.inputs import Timer


def ring(size: int) -> list[str]:
    return [f"ring{index}" for index in range(size)]


@pytest.mark.parametrize("size", [2, 3, 5, 6])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_rings_are_found_whole(size: int, noise: float) -> None:
    names = ring(size)
    seen, _ = told(merged(crowd(1), circle(names, 8, noise=noise)))
    last = max(seen, key=lambda one: one.score)
    assert sorted(last.accounts) == names
    assert last.kind == ("pair" if size == 2 else f"ring of {size}")
    assert (last.severity, last.material, last.cause) == ("warn", True, "wash")
    assert last.score > 2 * LINE
    assert set(best(seen)) <= set(names)


def test_a_ring_explains_itself() -> None:
    seen, _ = told(merged(crowd(1), circle(ring(3), 8)))
    last = max(seen, key=lambda one: one.score)
    assert 20 <= last.observed <= 24
    assert 0.0 < last.expected < 1.0
    assert last.flip is not None
    assert 0.0 < last.flip < last.observed
    assert last.onset_ns < last.ts_event
    assert (last.unit, last.deviation_unit, last.p) == ("trades", "quote units", None)
    inside, share, back = last.contributions
    assert inside.score == pytest.approx(1.0)  # all of their trades
    assert 0.001 < share.score < 0.2
    assert back.score == pytest.approx(1.0, abs=0.05)
    assert f"answered each other's trades {last.observed} times" in last.reason


@pytest.mark.parametrize("seed", range(5))
def test_a_crowd_is_not_a_ring(seed: int) -> None:
    seen, _ = told(crowd(seed, trades=3_000))
    assert not seen


def test_few_accounts_in_a_quiet_market_are_not_a_ring() -> None:
    seen, _ = told(crowd(1, trades=1_000, accounts=6))
    assert all(one.score < LINE and len(one.accounts) == 1 for one in seen)


def self_cross(price: float = 0.5, instrument: str | None = None) -> list[Trade]:
    found = []
    for turn in range(8):
        size = 40.0 + 7.13 * turn
        found.append(trade(5_000 + 900 * turn, "alone", "buy", size))
        way_back = trade(5_003 + 900 * turn, "alone", "sell", size, price)
        if instrument:
            way_back = replace(way_back, instrument=instrument, aggressor="buy")
        found.append(way_back)
    return found


def test_a_self_cross_is_found() -> None:
    seen, _ = told(merged(crowd(1), self_cross()))
    assert best(seen)["alone"][0] > LINE
    assert best(seen)["alone"][1] == "self-cross"
    assert max(seen, key=lambda one: one.score).severity == "warn"


def test_a_self_cross_can_hide_in_the_other_outcome() -> None:
    seen, _ = told(merged(crowd(1), self_cross(0.5, NO)))
    assert best(seen)["alone"][1] == "self-cross"


def test_a_round_trip_at_a_loss_is_less_sure() -> None:
    seen, _ = told(merged(crowd(1), self_cross(0.48)))
    assert {one.severity for one in seen} <= {"info", "warn"}
    assert TOLD <= best(seen)["alone"][0] <= LINE


def test_arbitrage_is_told_as_such_and_ranks_below() -> None:
    gains = self_cross(0.52) + [
        replace(one, taker="other", size=one.size * 1.7, ts_event=one.ts_event + 400 * 10**9)
        for one in self_cross(0.53)
    ]
    trades = merged(
        crowd(1), [replace(one, ts_event=one.ts_event // 10**10 * 10**10) for one in gains]
    )
    seen, _ = told(merged(trades, circle(ring(2), 4)))
    found = best(seen)
    assert found["alone"] == found["other"] == (TOLD, ARBITRAGE)
    assert found["ring0"][0] > found["alone"][0]
    assert {one.severity for one in seen if one.kind == ARBITRAGE} == {"info"}


def maker(takers: int, seed: int = 1) -> list[Trade]:
    """One account takes the other side of many, in their amounts."""
    random = Random(seed)
    found = []
    for _ in range(3 * takers):
        second = random.uniform(0.0, 100_000.0)
        side, size = random.choice((0, 1)), round(random.lognormvariate(4.0, 1.0), 2)
        sides = ("buy", "sell") if side else ("sell", "buy")
        found.append(trade(second, f"taker{random.randrange(takers)}", sides[0], size))  # type: ignore[arg-type]
        found.append(trade(second + 2.0, "maker", sides[1], size))  # type: ignore[arg-type]
    return found


def test_a_market_maker_is_not_named_nor_are_its_takers() -> None:
    seen, state = told(merged(crowd(1), maker(200)))
    account = state.accounts[state.serials["maker"]]
    assert len(account.partners) > 100  # it was matched with them, which alone means nothing
    assert not seen


def named(seed: int, parties: list[tuple[str, str]]) -> list[Trade]:
    """Trades of named takers and makers, ten minutes apart, in amounts that say nothing."""
    random = Random(seed)
    return [
        trade(600.0 * index, taker, random.choice(("buy", "sell")), 100.0, maker=made)
        for index, (taker, made) in enumerate(parties)
    ]


def test_named_parties_need_no_amounts() -> None:
    random = Random(1)
    parties = [(f"person{random.randrange(50)}", f"maker{random.randrange(5)}") for _ in range(600)]
    seen, _ = told(named(1, parties))
    assert not seen  # everybody meets the same makers
    for index in range(300, 330):
        parties[index] = ("left", "right") if index % 2 else ("right", "left")
    seen, _ = told(named(1, parties))
    assert set(best(seen)) == {"left", "right"}


def test_a_maker_with_half_of_the_market_is_a_pool() -> None:
    """A fixed counterparty is no evidence, and amounts speak again."""
    pooled = [replace(one, maker="pool") for one in merged(crowd(1), circle(ring(2), 8))]
    seen, _ = told(pooled)
    assert set(best(seen)) == {"ring0", "ring1"}


def test_trading_with_oneself_by_name() -> None:
    selves = [trade(4_000 + 700 * n, "alone", "buy", 100.0, maker="alone") for n in range(6)]
    seen, _ = told(merged(crowd(1), selves))
    assert best(seen)["alone"][1] == "self-cross"


def test_what_everybody_trades_is_no_evidence() -> None:
    everybody = [replace(one, size=100.0) for one in crowd(1)]
    both = [replace(one, size=100.0) for one in circle(ring(2), 4)]
    seen, _ = told(merged(everybody, both))
    assert not seen


def test_a_small_ring_does_not_matter() -> None:
    dust = [replace(one, size=one.size * 1e-4) for one in circle(ring(2), 5)]
    seen, _ = told(merged(crowd(1), dust))
    assert seen
    assert not any(one.material for one in seen)


def test_a_ring_is_told_again_only_when_it_grew() -> None:
    seen, _ = told(merged(crowd(1), circle(ring(2), 40)))
    scores = [one.score for one in seen]
    assert 5 < len(scores) < 30
    assert all(later >= earlier + 0.5 for earlier, later in pairwise(scores))


def test_trades_without_accounts_are_not_its_business() -> None:
    wash = Wash()
    assert wash.key(replace(crowd(1)[0], taker="")) is None
    assert wash.key(Timer(T0)) is None
    assert wash.key(Quote("kraken:BTC/USD", T0, T0, 1.0, 1.0, 2.0, 1.0)) is None
    assert wash.key(crowd(1)[0]) == "polymarket:rain"
    assert wash.key(replace(crowd(1)[0], instrument="ndjson:x")) == "ndjson:x"


@given(st.permutations(range(12)), st.integers(0, 3))
@settings(max_examples=10)
def test_names_do_not_matter(order: list[int], seed: int) -> None:
    trades = merged(crowd(seed, 300, accounts=9), circle(["person9", "person10", "person11"], 4))
    names = {f"person{index}": f"other{other}" for index, other in enumerate(order)}
    renamed = [replace(one, taker=names[one.taker]) for one in trades]
    plain, _ = told(trades)
    other, _ = told(renamed)
    assert [one.score for one in plain] == [one.score for one in other]
    assert [[names[name] for name in one.accounts] for one in plain] == [
        list(one.accounts) for one in other
    ]


@given(st.integers(0, 1_000))
@settings(max_examples=2)
def test_memory_is_bounded_and_losses_are_counted(seed: int) -> None:
    random = Random(seed)
    wash = Wash()
    state = wash.start("polymarket:rain")
    second = 0.0
    for index in range(2_500):
        second += random.expovariate(0.2)
        size = round(random.lognormvariate(4.0, 1.5), 2) + 0.01
        taker, made = f"account{random.randrange(2_000)}", f"account{random.randrange(2_000)}"
        wash.update(state, trade(second, taker, "buy", size, maker=made if index % 2 else ""))
    assert len(state.accounts) == len(state.serials) <= ACCOUNTS
    assert len(state.pairs) <= PAIRS
    assert len(state.recent) <= RECENT
    assert state.evicted > 0
    assert len(msgspec.msgpack.encode(state)) < 1 << 20
    partners = sum(len(account.partners) for account in state.accounts.values())
    assert partners == 2 * len(state.pairs)
    made = sum(account.made for account in state.accounts.values())
    assert made == sum(one.maker >= 0 for one in state.recent)
    assert sum(account.recent for account in state.accounts.values()) == len(state.recent)


def test_hostile_names_are_cut_and_cleaned() -> None:
    hostile = [f"\x1b[2J\u202e{index}" + "x" * 10_000 for index in range(2)]
    seen, state = told(merged(crowd(1), circle(hostile, 8)))
    assert seen
    assert all("\x1b" not in one.reason and len(one.reason) < 300 for one in seen)
    assert max(len(name) for name in state.serials) <= 80
