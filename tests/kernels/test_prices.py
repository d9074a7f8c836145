"""Which price is valid."""

from math import isclose, log

from hypothesis import given
from hypothesis import strategies as st

from tapewatch.kernels.prices import faded, half_spread, half_tick, micro

PRICES = st.floats(1e-8, 1e8)


def test_a_purchase_shows_the_ask_and_a_sale_the_bid() -> None:
    assert micro(99.0, 100.0, 101.0, "buy") == (99.0, 101.0)
    assert micro(99.0, 101.0, 98.0, "sell") == (98.0, 101.0)
    assert micro(99.0, 101.0, 100.0, "unknown") == (100.0, 100.0)


def test_a_trade_through_the_other_side_drags_it_along() -> None:
    assert micro(99.0, 101.0, 95.0, "buy") == (95.0, 95.0)
    assert micro(99.0, 101.0, 105.0, "sell") == (105.0, 105.0)


def test_the_first_trade_sets_both() -> None:
    for side in ("buy", "sell", "unknown"):
        assert micro(0.0, 0.0, 7.0, side) == (7.0, 7.0)


@given(st.lists(st.tuples(PRICES, st.sampled_from(("buy", "sell", "unknown"))), min_size=1))
def test_bid_never_exceeds_ask_and_each_is_a_price_that_was_traded(
    tape: list[tuple[float, str]],
) -> None:
    bid = ask = 0.0
    for price, side in tape:
        bid, ask = micro(bid, ask, price, side)
        assert 0.0 < bid <= ask
        assert price in {bid, ask}
    assert {bid, ask} <= {price for price, _ in tape}


@given(PRICES, PRICES, PRICES, st.sampled_from(("buy", "sell", "unknown")))
def test_the_unit_of_prices_does_not_matter(a: float, b: float, price: float, side: str) -> None:
    bid, ask = sorted((a, b))
    one = micro(bid, ask, price, side)
    assert micro(2 * bid, 2 * ask, 2 * price, side) == (2 * one[0], 2 * one[1])


def test_floors() -> None:
    assert isclose(half_spread(99.0, 101.0), 0.5 * log(101 / 99))
    assert half_spread(0.0, 101.0) == half_spread(101.0, 99.0) == half_spread(5.0, 5.0) == 0.0
    assert half_tick(0.01, 0.5) == 0.01
    assert faded(1.0, 3.0, 0.25) == 2.5
