"""Trades that both the socket and the Data API tell of."""

from polymarket_feed import (
    MARKET,
    NO,
    T0,
    live,
    trade,
    trades,
)
from polymarket_rows import WALLET, Data, row

from tapewatch.model.time import NS_PER_S
from tapewatch.venues.polymarket import Polymarket
from tapewatch.venues.polymarket_trades import HOLD_NS


def streamed() -> Data:
    """Connected, and nothing traded yet."""
    data = Data(Polymarket(markets=(MARKET,), trades="v1"))
    feed, _, _ = live(data.feed.venue)
    data.feed = feed
    return data


def later(data: Data) -> None:
    data.feed.now = max(data.feed.now, T0) + HOLD_NS + 2 * NS_PER_S


def test_what_the_socket_told_is_no_second_trade() -> None:
    data = streamed()
    data.feed.ws(trade(price="0.55", size="5.4", tx="0xAB"))
    data.add(row(transactionHash="0xab"))
    later(data)
    assert trades(data.sweep()) == []


def test_equal_fills_beside_a_socket_count_with_their_number() -> None:
    data = streamed()
    fill = trade(price="0.55", size="5.4", tx="0xab")
    data.feed.ws(fill, fill)
    data.add(*(row(transactionHash="0xab") for _ in range(3)))
    later(data)
    assert [one.index for one in trades(data.sweep())] == [2]


def test_an_order_that_the_socket_told_in_parts_is_one_row() -> None:
    data = streamed()
    data.feed.ws(trade(price="0.55", size="2", tx="0xab"), trade(price="0.56", size="3", tx="0xab"))
    data.add(row(transactionHash="0xab", price=0.556, size=5.0))
    later(data)
    assert trades(data.sweep()) == []


def test_what_the_socket_missed_is_told_with_its_account() -> None:
    data = streamed()
    data.feed.ws(trade(tx="0xab", size="5.4", asset_id=NO))
    data.add(row(1, transactionHash="0xcd"), row(transactionHash="0xab"))
    later(data)
    found = trades(data.sweep())  # the other outcome of the same transaction is another trade
    assert [(one.trade_id, one.taker) for one in found] == [("0xab", WALLET), ("0xcd", WALLET)]


def test_the_socket_has_time_to_tell_first() -> None:
    data = streamed()
    data.add(row(transactionHash="0xab"))
    assert trades(data.sweep()) == []
    data.feed.now += HOLD_NS - NS_PER_S
    assert trades(data.sweep()) == []
    data.feed.now += NS_PER_S
    assert len(trades(data.sweep())) == 1


def test_rows_are_not_compared_with_a_socket_that_names_no_transactions() -> None:
    data = streamed()
    data.feed.ws(trade(tx=""))
    data.add(row(transactionHash="0xab"))
    later(data)
    assert trades(data.sweep()) == []
