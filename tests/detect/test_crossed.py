"""`crossed`: one rule, on quotes and books, told once for a market."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.detect.crossed import Crossed, CrossedState
from tapewatch.model.events import Book, Event, Quote, Status
from tapewatch.model.inputs import Link, Timer
from tapewatch.model.outputs import Observation
from tapewatch.model.time import NS_PER_MS, NS_PER_S

ID = "kraken:BTC/USD"
T0 = 1_763_700_000 * NS_PER_S


class Bench:
    """One market; times in ms since the start."""

    def __init__(self) -> None:
        self.detector = Crossed()
        self.state: CrossedState = self.detector.start(ID)

    def put(self, event: Event) -> Observation | None:
        return self.detector.update(self.state, event)

    def quote(self, ms: int, bid: float, ask: float) -> Observation | None:
        at = T0 + ms * NS_PER_MS
        return self.put(Quote(ID, at, at, bid, 1.0, ask, 1.0))

    def book(self, ms: int, bid: float, ask: float, mirror_of: str = "") -> Observation | None:
        at = T0 + ms * NS_PER_MS
        bids, asks = ((bid, 1.0),) if bid else (), ((ask, 1.0),) if ask else ()
        return self.put(Book("kraken:other" if mirror_of else ID, at, at, bids, asks, mirror_of))

    def timer(self, ms: int) -> Observation | None:
        return self.put(Timer(T0 + ms * NS_PER_MS))


@pytest.mark.parametrize(("ask", "word"), [(100.0, "locked"), (99.0, "crossed")])
def test_told_after_a_second_and_once(ask: float, word: str) -> None:
    bench = Bench()
    assert bench.quote(0, 100.0, ask) is None
    assert bench.timer(900) is None
    found = bench.timer(1_900)
    assert found is not None
    assert (found.cause, found.observed, found.onset_ns) == ("crossed", 1.9, T0)
    assert (found.severity, found.score, found.line, found.p) == ("warn", 1.9, 1.0, None)
    assert found.reason.startswith(f"the book is {word}: bid 100, ask {ask:g}, for 1.9 s")
    assert bench.timer(2_900) is None
    assert bench.quote(3_000, 100.0, ask) is None
    assert bench.timer(90_000) is None


def test_timed_from_the_message_that_crossed_it() -> None:
    bench = Bench()
    found = [bench.book(ms, 100.0, 99.0 - ms / 1e6) for ms in range(0, 2_000, 400)]
    assert [one.observed for one in found if one is not None] == [1.2]


def test_what_heals_within_a_second_is_nothing() -> None:
    bench = Bench()
    for start in range(0, 60_000, 2_000):
        assert bench.quote(start, 100.0, 99.0) is None
        assert bench.quote(start + 990, 100.0, 101.0) is None
        assert bench.timer(start + 1_500) is None


def test_found_by_the_message_that_heals_it() -> None:
    bench = Bench()
    bench.quote(0, 100.0, 99.0)
    found = bench.quote(1_200, 100.0, 101.0)
    assert found is not None
    assert found.cause == "crossed"
    assert bench.timer(3_000) is None


def test_crossed_again_soon_is_worse_and_later_is_not() -> None:
    bench = Bench()
    seen = []
    for start in (0, 5_000, 400_000):
        bench.book(start, 100.0, 99.0)
        seen.append(bench.book(start + 2_000, 100.0, 101.0))
    assert [one and one.severity for one in seen] == ["warn", "high", "warn"]


def test_two_outcomes_are_one_market() -> None:
    detector = Crossed()
    at = T0
    mirror = Book("kraken:other", at, at, ((0.4, 1.0),), ((0.3, 1.0),), ID)
    assert detector.key(mirror) == ID
    bench = Bench()
    bench.book(0, 0.7, 0.6)
    bench.book(1, 0.4, 0.3, mirror_of=ID)
    found = bench.timer(1_500)
    assert found is not None
    assert (found.instrument, found.observed) == (ID, 1.5)
    assert bench.book(2_000, 0.6, 0.7) is None  # one has healed: it is the same incident still
    assert bench.timer(5_000) is None
    bench.book(6_000, 0.3, 0.4, mirror_of=ID)
    assert bench.state.told is False


def test_the_mirror_alone_is_enough() -> None:
    bench = Bench()
    bench.book(0, 0.6, 0.7)
    bench.book(1, 0.4, 0.3, mirror_of=ID)
    for ms in range(100, 1_000, 100):
        assert bench.book(ms, 0.6, 0.7) is None
    assert bench.timer(1_001) is not None


@pytest.mark.parametrize(("bid", "ask"), [(0.0, 0.0), (5.0, 0.0), (0.0, 5.0)])
def test_a_missing_side_is_not_crossed(bid: float, ask: float) -> None:
    bench = Bench()
    bench.quote(0, bid, ask)
    bench.book(1, bid, ask)
    assert bench.timer(5_000) is None


def test_a_void_book_is_not_crossed() -> None:
    bench = Bench()
    bench.quote(0, 100.0, 99.0)
    bench.put(Link(T0, "kraken", "down"))
    assert bench.timer(5_000) is None
    bench.quote(6_000, 100.0, 99.0)
    at = T0 + 6_500 * NS_PER_MS
    assert bench.put(Status("kraken", ID, at, at, "checksum")) is None
    assert bench.timer(9_000) is None


def test_another_sources_link_does_not_void_the_book() -> None:
    bench = Bench()
    bench.quote(0, 100.0, 99.0)
    bench.put(Link(T0, "polymarket", "down"))
    assert bench.timer(5_000) is not None


@given(
    st.lists(
        st.tuples(st.integers(1, 3_000), st.booleans(), st.booleans()), min_size=1, max_size=40
    )
)
def test_told_exactly_when_some_book_was_crossed_for_a_second(
    steps: list[tuple[int, bool, bool]],
) -> None:
    """Against a plain reading of the rule: each stretch in which any book is crossed is told once
    if one of them stayed crossed for a second."""
    bench = Bench()
    now, since, told, wanted, seen = 0, {False: None, True: None}, False, 0, 0
    for gap, mirror, crossed in steps:
        now += gap
        open_ = [at for at in since.values() if at is not None]
        if open_ and not told and now - min(open_) >= 1_000:
            wanted, told = wanted + 1, True
        if crossed:
            since[mirror] = now if since[mirror] is None else since[mirror]
        else:
            since[mirror] = None
        if since == {False: None, True: None}:
            told = False
        found = bench.book(now, 2.0, 1.0 if crossed else 3.0, ID if mirror else "")
        seen += found is not None
        assert seen == wanted
