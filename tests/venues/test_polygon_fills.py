"""What one log of an exchange contract says: both layouts, three kinds of match, hostile hex."""

from math import inf
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polygon_logs import ALICE, BOB, NO, YES, log

from tapewatch.model.errors import DecodeError
from tapewatch.venues.polygon_fills import Fill, Log, fill_of, place_of, terms

MANY = 2**256 - 1


def fill(layout: str = "v2", **fields: Any) -> Fill:
    return fill_of(msgspec.convert(log(layout, **fields), Log), layout)  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", ["v1", "v2"])
@pytest.mark.parametrize(
    ("token", "maker_buys", "expected"),
    [
        (YES, False, (0.52, 100.0, "buy")),  # complementary: the taker buys what the maker sells
        (YES, True, (0.52, 100.0, "sell")),
        (NO, True, (0.48, 100.0, "buy")),  # mint: both buy; NO at 0.52 is YES at 0.48
        (NO, False, (0.48, 100.0, "sell")),  # merge: both sell
    ],
)
def test_both_layouts_in_terms_of_yes(
    layout: str, token: str, maker_buys: object, expected: tuple[float, float, str]
) -> None:
    found = fill(layout, token=token, maker_buys=bool(maker_buys), fee=31_337)
    assert terms(found, of_no=token == NO) == expected
    assert (found.maker, found.taker, found.token, found.fee) == (ALICE, BOB, token, 31_337)


@pytest.mark.parametrize(
    ("tokens", "cash", "price"),
    [
        (33_330_001, 17_431_590, 0.523),  # a unit is lost in division: still the order's price
        (19_230_769, 10_000_000, 0.52),
        (3, 1, 0.3333),  # of so few units every price is as good
        (1_000_000_000, 123_456_789, 0.123457),  # off the grid
        (1_000_000_000_000, 1_000_000, 1e-6),
        (2, 1, 0.5),
    ],
)
def test_prices_are_those_of_orders(tokens: int, cash: int, price: float) -> None:
    assert terms(fill(tokens=tokens, cash=cash), of_no=False)[0] == pytest.approx(price, abs=1e-9)


def test_yes_and_no_are_worth_one_together() -> None:
    one = fill(tokens=77_000_007, cash=12_345_678)
    yes, no = terms(one, of_no=False)[0], terms(one, of_no=True)[0]
    assert yes + no == pytest.approx(1.0, abs=2e-6)


@pytest.mark.parametrize(
    ("tokens", "cash"),
    [(0, 0), (0, 5), (100, 100), (100, 101), (100, 0), (MANY, 5), (MANY, MANY), (10**22, 10**21)],
)
def test_what_is_no_price(tokens: int, cash: int) -> None:
    with pytest.raises(DecodeError, match=r"no (price|amount)"):
        terms(fill(tokens=tokens, cash=cash), of_no=False)


def test_a_price_that_rounds_to_nothing_is_none() -> None:
    with pytest.raises(DecodeError, match="no price"):
        terms(fill(tokens=10**15, cash=1), of_no=False)


@pytest.mark.parametrize(
    "change",
    [
        {"topics": []},
        {"topics": ["0x" + "1" * 64] * 3},
        {"topics": ["0x" + "1" * 64] * 4},  # no padding: no address
        {"topics": ["0x" + "1" * 63] * 4},
        {"topics": ["0x" + "٣" * 64] * 4},
        {"data": ""},
        {"data": "0x"},
        {"data": "0x" + "0" * 64 * 6},
        {"data": "0x" + "0" * 64 * 8},
        {"data": "0x" + "g" * 64 * 7},
        {"data": "0x" + f"{2:064x}" + "0" * 64 * 6},  # side 2
        {"data": "0x" + f"{MANY:064x}" + "0" * 64 * 6},
    ],
)
def test_hostile_logs_are_no_fills(change: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        fill(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"blockNumber": "12"},
        {"blockNumber": "0x"},
        {"blockNumber": "0x" + "f" * 65},
        {"blockNumber": hex(2**255)},
        {"blockHash": "0x12"},
        {"transactionHash": ""},
        {"logIndex": "-0x1"},
        {"logIndex": hex(2**200)},
        {"blockTimestamp": "soon"},
    ],
)
def test_hostile_places_are_none(change: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        place_of(msgspec.convert(log(**change), Log))


def test_an_order_of_the_first_layout_is_tokens_for_collateral() -> None:
    data = "0x" + "".join(f"{one:064x}" for one in (5, 6, 7, 8, 0))
    with pytest.raises(DecodeError, match="tokens for collateral"):
        fill("v1", data=data)


@given(st.text(alphabet="0123456789abcdefgxX", max_size=600), st.sampled_from(["v1", "v2"]))
def test_no_data_crashes(data: str, layout: str) -> None:
    try:
        found = fill(layout, data="0x" + data)
        price, shares, side = terms(found, of_no=True)
    except DecodeError:
        return
    assert 0.0 < price < 1.0
    assert 0.0 < shares < inf
    assert side in ("buy", "sell")
