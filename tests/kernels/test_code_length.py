"""Code lengths add up to a probability, and a set of symbols settles when nothing new comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.kernels.code_length import SETTLED, code_length, settled


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_what_is_rarer_costs_more(count: int, more: int) -> None:
    total = count + more
    assert code_length(count, total) >= code_length(count + 1, total + 1)
    assert code_length(0, total) >= 0.0


@given(st.lists(st.integers(1, 1000), max_size=1))
def test_probabilities_of_one_known_symbol_and_of_none_sum_to_one(counts: list[int]) -> None:
    total = sum(counts)
    known = sum(2.0 ** -code_length(count, total) for count in counts)
    assert known + 2.0 ** -code_length(0, total) == pytest.approx(1.0 if counts else 0.5)


def test_a_set_settles_after_enough_symbols_without_a_new_one() -> None:
    assert not settled(SETTLED, 1)
    assert settled(SETTLED + 1, 1)
    assert not settled(3_999, 1_000)  # the last came late: others may be on their way
    assert settled(4_000, 1_000)
