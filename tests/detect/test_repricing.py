"""`repricing`: settled prices, pulled quotes, forecasts, and what adversaries can do to them."""

from math import exp
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapewatch.detect.repricing import Repricing, persists
from tapewatch.detect.repricing_state import RepricingState
from tapewatch.model.events import Book, Event
from tapewatch.model.inputs import Link, Timer
from tapewatch.model.outputs import Observation
from tapewatch.model.time import NS_PER_MS, NS_PER_S

ID = "polymarket:game/1"
T0 = 1_750_000_000 * NS_PER_S


class Bench:
    """One market; times in ms since the start."""

    def __init__(self, detector: Repricing | None = None) -> None:
        self.detector = detector or Repricing()
        self.state: RepricingState = self.detector.start(ID)
        self.seen: list[Observation] = []

    def put(self, event: Event) -> Observation | None:
        found = self.detector.update(self.state, event)
        if found is not None:
            self.seen.append(found)
        return found

    def book(self, ms: int, bid: float, ask: float, size: float = 100.0) -> Observation | None:
        at = T0 + ms * NS_PER_MS
        bids = ((bid, size),) if bid else ()
        asks = ((ask, size),) if ask else ()
        return self.put(Book(ID, at, at, bids, asks))

    def timer(self, ms: int) -> Observation | None:
        return self.put(Timer(T0 + ms * NS_PER_MS))

    def timers(self, first: int, last: int) -> list[Observation]:
        found = [self.timer(ms) for ms in range(first, last + 1, 1_000)]
        return [one for one in found if one is not None]

    @property
    def price(self) -> float:
        return self.state.prices[-1][1] if self.state.prices else 0.0

    def steady(self, bid: float = 0.49, ask: float = 0.51, until: int = 10_000) -> "Bench":
        self.book(0, bid, ask)
        assert self.timers(1_000, until) == []
        return self


def test_a_quote_counts_after_250_ms() -> None:
    bench = Bench()
    bench.book(0, 0.49, 0.51)
    bench.timer(249)
    assert bench.price == 0.0
    bench.timer(250)
    assert bench.price == pytest.approx(0.5)
    bench.book(300, 0.53, 0.55)
    bench.timer(549)
    assert bench.price == pytest.approx(0.5)
    bench.timer(10_000)  # late timers change nothing: quotes came of age at their own time
    assert bench.price == pytest.approx(0.54)
    assert bench.state.prices[-1][0] == T0 + 550 * NS_PER_MS


def test_a_quote_that_was_gone_is_young_again() -> None:
    bench = Bench().steady()
    bench.book(11_000, 0.49, 0.55)
    bench.book(11_100, 0.49, 0.51)
    bench.timer(11_340)
    assert bench.price == pytest.approx(0.5)
    assert bench.state.young


def test_each_side_comes_of_age_by_itself() -> None:
    bench = Bench().steady()
    bench.book(11_000, 0.55, 0.60)
    bench.book(11_100, 0.55, 0.57)
    bench.timer(11_300)
    assert bench.price == pytest.approx(0.5)  # 0.55 counts, 0.57 does not yet
    bench.timer(11_350)
    assert bench.price == pytest.approx(0.56)


def test_young_levels_are_bounded_by_the_book() -> None:
    bench = Bench().steady()
    for ms in range(11_000, 11_200):
        bench.book(ms, ms / 100_000, 0.51)
        assert len(bench.state.young) <= 2


def test_a_market_on_the_move_is_told_once_a_minute() -> None:
    bench = Bench().steady(0.10, 0.12)
    for index in range(1, 7):
        bench.book(index * 9_000 + 2_000, 0.10 + index / 8, 0.12 + index / 8)
        bench.timers(index * 9_000 + 3_000, index * 9_000 + 10_000)
    assert [one.kind for one in bench.seen].count("repriced") == 1


def test_wide_and_one_sided_books_hold_the_price() -> None:
    bench = Bench().steady()
    for bid, ask in ((0.07, 0.91), (0.49, 0.0), (0.0, 0.51), (0.52, 0.51)):
        bench.book(11_000, bid, ask)
        bench.timer(12_000)
        assert bench.price == pytest.approx(0.5)


def test_a_repriced_market_warns_once_within_a_second() -> None:
    bench = Bench().steady()
    assert bench.book(10_100, 0.62, 0.64) is None
    found = bench.timer(11_000)
    assert found is not None
    assert (found.cause, found.kind, found.severity, found.p) == (
        "price_jump", "repriced", "warn", None,
    )  # fmt: skip
    assert found.ts_event == T0 + 10_350 * NS_PER_MS
    assert found.score == pytest.approx(1.3)
    assert (found.observed, found.expected) == (pytest.approx(0.63), pytest.approx(0.5))
    assert found.flip == pytest.approx(0.6)
    assert found.reason.startswith("repriced from 0.5 to 0.63 within 5 s")
    later = [bench.timer(ms) for ms in range(12_000, 60_000, 1_000)]
    assert [one.kind for one in later if one is not None] == ["swing"]


def test_less_than_the_floor_is_nothing() -> None:
    bench = Bench().steady()
    bench.book(10_100, 0.58, 0.60)
    assert bench.timers(11_000, 20_000) == []


def test_exactly_the_floor_is_enough() -> None:
    bench = Bench().steady(0.5, 0.52)
    bench.book(10_100, 0.6, 0.62)  # 0.61 - 0.51 is 0.09999999999999998
    kinds = [one.kind for one in bench.timers(11_000, 14_000)]
    assert kinds == ["repriced", "swing"]
    assert all(one.score >= one.line for one in bench.seen)


def test_a_pulled_side_is_a_note_with_a_forecast() -> None:
    """The bid goes and comes back: the mid swings by 0.21, nobody has offered another price."""
    bench = Bench().steady()
    bench.book(10_400, 0.07, 0.51)
    assert bench.timers(11_000, 12_000) == []
    (found,) = bench.timers(13_000, 13_000)
    assert (found.cause, found.kind, found.severity) == ("price_jump", "swing", "info")
    assert (found.score, found.line) == (pytest.approx(2.1), 1.0)
    assert found.p is None
    assert found.p_persist is not None
    assert found.p_persist < 0.5
    assert "open after 2 s" in found.reason
    assert found.ts_event == T0 + 10_400 * NS_PER_MS
    bench.book(14_000, 0.49, 0.51)
    assert bench.timers(15_000, 60_000) == []


def test_words_and_forecasts() -> None:
    """`restored`: back and tight; `moved`: tight elsewhere."""
    back = Bench().steady()
    back.book(10_000, 0.07, 0.51)
    back.book(11_000, 0.49, 0.51)
    away = Bench().steady()
    away.book(10_000, 0.30, 0.32)
    texts = []
    for bench in (back, away):
        (found,) = [one for one in bench.timers(12_000, 13_000) if one.kind == "swing"]
        texts.append((found.reason, found.p_persist or 0.0))
    assert "restored after 2 s" in texts[0][0]
    assert "moved after 2 s" in texts[1][0]
    assert texts[0][1] < 0.2
    assert texts[1][1] > 0.95


def test_the_forecast_knows_only_the_first_two_seconds() -> None:
    """A message after the two seconds makes the line, and is not part of it."""
    quiet, busy = Bench().steady(), Bench().steady()
    for bench in (quiet, busy):
        bench.book(10_000, 0.07, 0.51)
    one = quiet.timers(12_000, 13_000)[0]
    other = busy.book(12_001, 0.49, 0.51)
    assert other is not None
    assert other.p_persist == one.p_persist
    assert other.observed == one.observed


def test_silence_does_not_delay_a_forecast() -> None:
    bench = Bench().steady()
    bench.book(10_100, 0.07, 0.51)
    assert bench.state.due_ns <= T0 + 12_100 * NS_PER_MS
    assert bench.timer(12_100) is not None


def test_one_forecast_a_minute() -> None:
    bench = Bench().steady()
    for start in range(10_000, 70_000, 10_000):
        bench.book(start, 0.07, 0.51)
        bench.book(start + 3_000, 0.49, 0.51)
        bench.timer(start + 9_000)
    assert len(bench.seen) == 1
    bench.book(70_000, 0.07, 0.51)
    bench.timer(73_000)
    assert len(bench.seen) == 2


def test_what_moved_while_silent_is_a_note() -> None:
    bench = Bench().steady()
    bench.book(80_000, 0.70, 0.72)
    found = bench.timers(81_000, 83_000)
    assert [(one.kind, one.severity) for one in found] == [("repriced", "info"), ("swing", "info")]
    assert "after 80 s of silence" in found[0].reason


def test_a_new_connection_is_another_time() -> None:
    bench = Bench().steady()
    bench.put(Link(T0 + 11_000 * NS_PER_MS, "polymarket", "down"))
    bench.put(Link(T0 + 12_000 * NS_PER_MS, "kraken", "down"))
    bench.book(12_000, 0.70, 0.72)
    (found,) = bench.timers(13_000, 20_000)
    assert (found.kind, found.severity) == ("repriced", "info")


def test_mirrors_are_not_scored() -> None:
    detector = Repricing()
    assert detector.key(Book("polymarket:game/2", 0, 0, (), (), ID)) is None
    assert detector.key(Book(ID, 0, 0, (), ())) == ID


def test_elsewhere_moves_are_shares_of_the_price() -> None:
    bench = Bench()
    for ms in range(0, 60_000, 500):
        bench.book(ms, 60_000.0 - ms % 1_000 / 500, 60_001.0)
    assert not bench.state.bounded
    bench.book(60_100, 60_100.0, 60_101.0)
    assert bench.timers(61_000, 62_000) == []  # 0.2 %
    bench.book(62_100, 62_500.0, 62_501.0)
    (found,) = [one for one in bench.timers(63_000, 64_000) if one.kind == "repriced"]
    assert found.severity == "warn"
    bench.book(130_000, 50_000.0, 62_501.0)  # the bid is pulled: far more than the usual spread
    assert bench.timers(131_000, 135_000)[0].kind == "swing"
    assert bench.price == pytest.approx(62_500.5)


def test_a_move_says_how_rare_it_is() -> None:
    random, bench = Random(1), Bench()
    price, ms = 0.50, 0
    for _ in range(2_500):  # 5-s samples
        price = min(0.8, max(0.2, price + random.choice((-0.01, 0.0, 0.0, 0.01))))
        bench.book(ms, round(price - 0.01, 2), round(price + 0.01, 2))
        ms += 5_000
        bench.timer(ms - 1)
    bench.seen.clear()
    bench.book(ms, round(price + 0.11, 2), round(price + 0.13, 2))
    found = bench.timer(ms + 1_000)
    assert found is not None
    (part,) = found.contributions
    assert part.p is not None
    assert part.p < 1e-3
    assert found.sigma is not None
    assert found.sigma > 5.0
    assert "of its 5-s moves is as large" in found.reason


def test_quote_stuffing_moves_no_price() -> None:
    """A thousand far quotes a second that live 100 ms each, for a minute."""
    bench = Bench().steady()
    for ms in range(10_000, 70_000, 100):
        at = T0 + ms * NS_PER_MS
        bids = ((0.49, 100.0), (0.3, 1.0))
        asks = ((0.51, 100.0),)
        flicker = ((0.50 + ms % 7 / 1_000, 5_000.0),)
        bench.put(Book(ID, at, at, flicker + bids, asks))
        bench.put(Book(ID, at, at + 50 * NS_PER_MS, bids, asks))
        assert bench.price == pytest.approx(0.5)
    assert bench.seen == []


def test_place_and_cancel_far_away_moves_no_price() -> None:
    """A bid above the ask's neighbourhood that is cancelled before it counts: the naive mid swings,
    the price does not, and nobody is woken."""
    bench = Bench().steady(0.30, 0.60)
    bench.book(11_000, 0.29, 0.31)
    bench.timers(12_000, 18_000)
    bench.seen.clear()
    for ms in range(80_000, 200_000, 500):
        bench.book(ms, 0.29, 0.55)
        bench.book(ms + 200, 0.29, 0.31)
        bench.timer(ms + 499)
    assert bench.price == pytest.approx(0.3)
    assert {one.severity for one in bench.seen} == {"info"}


def test_the_law_of_persistence_by_hand() -> None:
    assert persists(0.0, 0.2, 0.03) == pytest.approx(exp(-0.07 / 0.03))
    assert persists(0.2, 0.2, 0.03) == pytest.approx(1.0 - 0.5 * exp(-0.13 / 0.03), abs=1e-4)
    assert persists(-0.2, 0.2, 0.03) == persists(0.2, 0.2, 0.03)


@given(st.floats(-1.0, 1.0), st.floats(0.01, 1.0), st.floats(0.001, 1.0))
def test_persistence_is_a_probability(gone: float, peak: float, scale: float) -> None:
    p = persists(gone, peak, scale)
    assert 0.0 <= p <= 1.0
    assert persists(gone * 1.5, peak, scale) >= p - 1e-9  # farther away lasts rather


Step = tuple[int, int, int]  # ms since the step before, bid and ask in cents


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 2_000), st.integers(0, 99), st.integers(1, 100)),
                min_size=1, max_size=40))  # fmt: skip
def test_the_settled_price_against_a_slow_reference(steps: list[Step]) -> None:
    """The reference looks at every ms: a side counts when its price stood 250 ms."""
    bench, now = Bench(), 0
    price, since = 0.0, {"bid": 0, "ask": 0}
    book = {"bid": 0, "ask": 0}
    for gap, bid, ask in steps:
        for ms in range(now, now + gap):
            aged = all(book[side] and ms - since[side] >= 250 for side in book)
            if aged and 0 < book["ask"] - book["bid"] <= 10 and book["bid"] > 0:
                price = (book["bid"] + book["ask"]) / 200
        now += gap
        for side, cents in (("bid", bid), ("ask", ask % 100)):
            if cents != book[side]:
                book[side], since[side] = cents, now
        bench.book(now, bid / 100, (ask % 100) / 100)
        settled = [step for step in bench.state.prices if step[0] < T0 + now * NS_PER_MS]
        assert (settled[-1][1] if settled else 0.0) == pytest.approx(price)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 3_000), st.integers(10, 40), st.integers(41, 70)),
                min_size=5, max_size=60))  # fmt: skip
def test_prices_times_two_give_the_same(steps: list[Step]) -> None:
    """Outside of probabilities only shares of the price count."""
    lines = []
    for factor in (10.0, 20.0):
        bench, now = Bench(), 0
        for gap, bid, ask in steps:
            now += gap
            bench.book(now, factor * bid, factor * ask)
            bench.timer(now)
        bench.timer(now + 3_000)
        lines.append([(one.ts_event, one.kind, one.severity, round(one.score, 9))
                      for one in bench.seen])  # fmt: skip
    assert lines[0] == lines[1]
