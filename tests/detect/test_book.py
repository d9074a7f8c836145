"""`book`: thin, wide, lopsided books, by their own record."""

import itertools
from math import isfinite
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.detect.book import LEARNT, BookHealth, BookState, measure
from tapewatch.model.events import Book, Event
from tapewatch.model.inputs import Link, Timer
from tapewatch.model.outputs import Observation
from tapewatch.model.time import NS_PER_S

ID = "kraken:BTC/USD"
T0 = 1_763_700_000 * NS_PER_S
Side = tuple[tuple[float, float], ...]


def side(best: float, step: float, size: float, levels: int = 8) -> Side:
    return tuple((round(best + step * index, 4), size) for index in range(levels))


class Bench:
    """One book; `now` in seconds since the start."""

    def __init__(self, seed: int = 1) -> None:
        self.detector = BookHealth()
        self.state: BookState = self.detector.start(ID)
        self.random = Random(seed)
        self.now = 0.0

    def put(self, event: Event) -> Observation | None:
        return self.detector.update(self.state, event)

    @property
    def ns(self) -> int:
        return T0 + int(self.now * NS_PER_S)

    def book(self, bids: Side, asks: Side) -> Observation | None:
        return self.put(Book(ID, self.ns, self.ns, bids, asks))

    def usual(self, count: int, factor: float = 1.0) -> list[Observation]:
        """Books of about 80 a side, one every 5 s, with a little noise."""
        found = []
        for _ in range(count):
            self.now += 5.0
            size = factor * 10.0 * self.random.lognormvariate(0.0, 0.2)
            gap = 0.1 * self.random.choice((1, 1, 1, 2))
            one = self.book(side(100.0, -0.1, size), side(100.0 + gap, 0.1, size * 1.1))
            found += [one] if one else []
        return found


def test_ninety_percent_of_the_depth_gone_is_told_at_once() -> None:
    bench = Bench()
    assert bench.usual(200) == []
    bench.now += 0.1
    assert bench.book(side(100.0, -0.1, 2.0), side(100.1, 0.1, 2.0)) is None  # a fifth is left
    found = bench.book(side(100.0, -0.1, 0.9), side(100.1, 0.1, 0.9))
    assert found is not None
    assert (found.cause, found.kind, found.severity) == ("book", "thin", "info")
    assert (found.low_confidence, found.p, found.line) == (True, None, 1.0)
    assert found.score >= 1.0
    assert found.observed == pytest.approx(0.9 * 16)
    assert found.expected == pytest.approx(10 * 8 * 2.1, rel=0.2)
    assert found.reason.startswith("the book is thin: 9 % of its usual depth")


def test_a_thin_book_is_told_again_while_it_lasts_and_not_after() -> None:
    bench = Bench()
    bench.usual(200)
    times = []
    for _ in range(100):
        bench.now += 1.0
        one = bench.book(side(100.0, -0.1, 0.5), side(100.1, 0.1, 0.5))
        times += [bench.now] if one else []
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(times) == 4
    assert min(gaps) >= 30.0
    assert [one for one in bench.usual(20) if one.kind == "thin"] == []


def test_a_book_that_stays_thin_is_told_by_the_clock() -> None:
    bench = Bench()
    bench.usual(200)
    bench.book((), ())
    told = 0
    for _ in range(59):
        bench.now += 1.0
        told += bench.put(Timer(bench.ns)) is not None
    assert told == 1


def test_nothing_is_thin_before_anything_is_usual() -> None:
    bench = Bench()
    bench.usual(LEARNT - 2)
    assert bench.book(side(100.0, -0.1, 0.01), side(100.1, 0.1, 0.01)) is None


def test_a_rare_spread_is_told_with_its_probability() -> None:
    bench = Bench()
    bench.usual(2_200)
    bench.now += 1.0
    bench.book(side(100.0, -0.1, 10.0), side(103.0, 0.1, 11.0))
    bench.now += 5.0
    found = bench.put(Timer(bench.ns))
    assert found is not None
    assert (found.kind, found.severity, found.line) == ("spread", "info", 3.5)
    assert found.p is not None
    assert found.score > 3.0
    assert found.observed == pytest.approx(3.0)
    assert {part.name for part in found.contributions} <= {
        "spread", "depth", "imbalance", "micro_gap",
    }  # fmt: skip


def test_how_often_it_speaks_of_a_usual_book() -> None:
    """At most one slice in a hundred for each of four quantities."""
    bench = Bench()
    bench.usual(2_000)
    assert len(bench.usual(3_000)) <= 3_000 * 4 * 0.01 * 1.5


def test_an_idle_book_wants_no_timer() -> None:
    bench = Bench()
    bench.usual(5)
    assert bench.state.due_ns > 0
    bench.now += 61.0
    bench.put(Timer(bench.ns))
    assert bench.state.due_ns == 0


def test_a_broken_connection_voids_the_book() -> None:
    bench = Bench()
    bench.usual(200)
    bench.put(Link(bench.ns, "kraken", "down"))
    assert bench.state.bids == ()


def test_measures_by_hand() -> None:
    bids, asks = ((0.50, 10.0), (0.45, 5.0), (0.44, 99.0)), ((0.52, 30.0), (0.58, 7.0))
    shape = measure(bids, asks, bounded=True)
    assert shape.spread == pytest.approx(0.02)
    assert shape.depth == pytest.approx(45.0)  # within five cents of either best price
    assert shape.imbalance == pytest.approx(-0.6931, abs=1e-4)
    assert shape.micro_gap == pytest.approx(-0.5)
    assert measure(bids, (), bounded=True).spread == 0.0
    assert measure(asks, bids, bounded=True).spread == 0.0


Levels = st.lists(
    st.tuples(st.floats(5e-324, 1e308), st.floats(0.0, 1e308)), max_size=5
).map(tuple)  # fmt: skip


@given(Levels, Levels, st.sampled_from([{"bounded": True}, {"bounded": False}]))
def test_no_book_gives_anything_but_numbers(bids: Side, asks: Side, how: dict[str, bool]) -> None:
    shape = measure(bids, asks, **how)
    assert all(map(isfinite, (shape.spread, shape.depth, shape.imbalance, shape.micro_gap)))
    assert abs(shape.micro_gap) <= 1.0
