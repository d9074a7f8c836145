"""Sequences of trade ids against a plain set of what is missing."""

from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model.limits import GAP_RANGES
from tapewatch.venues.sequence import RENUMBERED_IDS, Sequence


def missing(sequence: Sequence) -> set[int]:
    return {n for hole in sequence.holes for n in range(hole.first, hole.last + 1)}


@given(st.lists(st.integers(1, 60), max_size=120))
def test_every_id_is_new_once(numbers: list[int]) -> None:
    sequence, model, last = Sequence(), set[int](), 0
    for number in numbers:
        match sequence.place(number, 0):
            case "next":
                assert last in (0, number - 1)
                sequence.advance(number, 0)
                last = number
            case "jump":
                assert number > last + 1
                model |= set(range(last + 1, number))
                sequence.open(number)
                sequence.advance(number, 0)
                last = number
            case "late":
                model.remove(number)
                gap = sequence.fill(number)
                if gap is not None:
                    assert not model & set(range(gap.gap_first, gap.gap_last + 1))
            case place:
                assert place == "again"
                assert number <= last
                assert number not in model
        assert missing(sequence) == model


@given(st.integers(1, 20), st.integers(0, 40), st.integers(0, 40))
def test_cut_gives_up_what_lies_between(start: int, low: int, high: int) -> None:
    sequence = Sequence(last_id=start)
    sequence.open(start + 10)
    sequence.advance(start + 10, 0)
    sequence.open(start + 15)
    before = missing(sequence)
    lost = {n for hole in sequence.cut(low, high) for n in range(hole.first, hole.last + 1)}
    assert lost == {n for n in before if low < n < high}
    assert missing(sequence) == before - lost


def test_limits() -> None:
    sequence = Sequence(last_id=1)
    for n in range(2, GAP_RANGES + 5):
        sequence.open(2 * n)
        sequence.advance(2 * n, 0)
    assert [hole.first for hole in sequence.overflow()] == [2, 5, 7]
    assert len(sequence.holes) == GAP_RANGES
    assert Sequence(last_id=1).place(2 + RENUMBERED_IDS, 0) == "restart"
    assert Sequence(last_id=1).place(1 + RENUMBERED_IDS, 0) == "jump"
    assert Sequence(last_id=9, last_ns=5).place(3, 6) == "restart"
    assert Sequence(last_id=9, last_ns=5).place(3, 5) == "again"
