"""`spoof`: large orders that are not meant, and quotes that only flicker."""

from random import Random

import pytest

from tapewatch.detect.repricing import Repricing
from tapewatch.detect.spoof import ADDS, YOUNG, Spoof, SpoofState
from tapewatch.model.events import Book, Event, Trade
from tapewatch.model.inputs import Link, Timer
from tapewatch.model.instrument import Side
from tapewatch.model.outputs import Observation
from tapewatch.model.time import NS_PER_MS, NS_PER_S

ID = "kraken:BTC/USD"
T0 = 1_763_700_000 * NS_PER_S


class Bench:
    """One book of ten levels a side around 100.5; times in ms since the start."""

    def __init__(self, seed: int = 1) -> None:
        self.detector = Spoof()
        self.state: SpoofState = self.detector.start(ID)
        self.random = Random(seed)
        self.bids = {100.0 - index: 10.0 for index in range(10)}
        self.asks = {101.0 + index: 10.0 for index in range(10)}
        self.ms = 0
        self.seen: list[Observation] = []

    def put(self, event: Event) -> None:
        found = self.detector.update(self.state, event)
        if found is not None:
            self.seen.append(found)

    @property
    def ns(self) -> int:
        return T0 + self.ms * NS_PER_MS

    def book(self) -> Book:
        bids = tuple(sorted(self.bids.items(), reverse=True))
        return Book(ID, self.ns, self.ns, bids, tuple(sorted(self.asks.items())))

    def set(self, price: float, size: float) -> None:
        levels = self.bids if price < 100.5 else self.asks
        if size:
            levels[price] = size
        else:
            levels.pop(price, None)
        self.put(self.book())

    def trade(self, price: float, aggressor: Side) -> None:
        self.put(Trade(ID, self.ns, self.ns, price, 1.0, aggressor))

    def usual(self, seconds: int) -> "Bench":
        """Three changes a second of usual size."""
        for _ in range(seconds * 3):
            self.ms += 333
            index = self.random.randrange(5)
            price = self.random.choice((100.0 - index, 101.0 + index))
            self.set(price, round(self.random.uniform(5.0, 15.0), 2))
        return self

    def spoofed(self, *, lasts_ms: int = 2_000, aggressor: Side | None = "buy") -> None:
        """A large bid behind the best one, a trade against the other side, and gone."""
        self.ms += 10
        self.set(98.0, 500.0)
        self.ms += lasts_ms // 2
        if aggressor is not None:
            self.trade(101.0 if aggressor == "buy" else 100.0, aggressor)
        self.ms += lasts_ms // 2
        self.set(98.0, 0.0)
        self.set(98.0, 10.0)


def test_layering_that_repeats_warns() -> None:
    bench = Bench().usual(60)
    assert bench.seen == []
    for _ in range(2):
        bench.spoofed()
        bench.usual(20)
    assert [one for one in bench.seen if one.kind == "layering"] == []
    bench.spoofed()
    (found,) = [one for one in bench.seen if one.kind == "layering"]
    assert (found.cause, found.severity, found.p, found.line) == ("spoof", "warn", None, 1.0)
    assert found.score == 1.0
    assert found.reason.startswith("3 times within minutes a large order vanished unfilled")


@pytest.mark.parametrize("change", [{"lasts_ms": 6_000}, {"aggressor": "sell"}])
def test_an_order_that_stays_or_helps_nobody_is_no_layering(change: dict[str, object]) -> None:
    bench = Bench().usual(60)
    for _ in range(6):
        bench.spoofed(**change)  # type: ignore[arg-type]
        bench.usual(20)
    assert [one for one in bench.seen if one.kind == "layering"] == []


def test_an_order_that_was_filled_is_no_layering() -> None:
    bench = Bench().usual(60)
    for _ in range(6):
        bench.ms += 10
        bench.set(98.0, 500.0)
        bench.trade(98.0, "sell")
        bench.trade(101.0, "buy")
        bench.ms += 500
        bench.set(98.0, 0.0)
        bench.set(98.0, 10.0)
        bench.usual(20)
    assert bench.seen == []


def test_without_trades_many_of_them_are_a_note() -> None:
    bench = Bench().usual(120)
    for _ in range(60):
        bench.spoofed(lasts_ms=400, aggressor=None)
    kinds = {(one.kind, one.severity) for one in bench.seen}
    assert kinds == {("place_cancel", "info")}


def test_the_best_level_may_have_been_filled() -> None:
    bench = Bench().usual(120)
    for _ in range(60):
        bench.ms += 10
        bench.set(100.0, 500.0)
        bench.ms += 300
        bench.set(100.0, 0.0)
        bench.set(100.0, 10.0)
    assert bench.seen == []


def test_quote_stuffing_is_spoof_and_no_price_jump() -> None:
    bench, price = Bench().usual(120), Repricing()
    state, jumps = price.start(ID), []
    for _ in range(600):
        for size in (1.0, 0.0):
            bench.ms += 20
            bench.set(100.25, size)
            jumps.append(price.update(state, bench.book()))
    (found, *more) = bench.seen
    assert (found.kind, found.severity, found.cause) == ("stuffing", "info", "spoof")
    assert found.observed is not None
    assert found.observed >= 50
    assert not more  # once a minute
    assert not any(jumps)


def test_levels_that_stand_are_no_stuffing() -> None:
    bench = Bench().usual(120)
    plain = dict(bench.bids)
    for _ in range(100):
        bench.bids = plain | {100.20 + index / 100: 1.0 for index in range(5)}
        bench.put(bench.book())
        bench.ms += 250
        bench.bids = dict(plain)
        bench.put(bench.book())
        bench.ms += 20
    assert bench.seen == []


def test_counts_are_told_with_a_probability_once_they_are_known() -> None:
    bench = Bench()
    bench.usual(10_200)
    assert bench.seen == []
    for _ in range(300):
        for size in (1.0, 0.0):
            bench.ms += 20
            bench.set(100.25, size)
    found = bench.seen[0]
    assert (found.kind, found.line) == ("stuffing", 3.5)
    assert found.p is not None
    assert found.score >= 3.5


def test_a_usual_book_says_nothing() -> None:
    assert Bench(seed=3).usual(3_000).seen == []


def test_state_is_bounded_under_attack() -> None:
    bench = Bench().usual(60)
    for index in range(1_000):
        bench.ms += 1
        bench.bids = {100.0 - index / 1e5 - level / 10: 900.0 for level in range(5)}
        bench.put(bench.book())
        assert len(bench.state.young) <= YOUNG
        assert len(bench.state.adds) <= ADDS


def test_trades_alone_take_no_memory() -> None:
    bench = Bench()
    for _ in range(100):
        bench.ms += 1_000
        bench.trade(100.0, "buy")
        bench.put(Timer(bench.ns))
    assert bench.state.tails == []
    assert bench.state.due_ns == 0


def test_a_broken_connection_forgets_the_book() -> None:
    bench = Bench().usual(60)
    bench.set(98.0, 500.0)
    bench.put(Link(bench.ns, "kraken", "down"))
    assert bench.state.adds == {}
    bench.put(bench.book())  # a whole book is no large order
    assert bench.state.adds == {}


def test_keys() -> None:
    detector = Spoof()
    assert detector.key(Trade(ID, 0, 0, 1.0, 1.0, "buy")) == ID
    assert detector.key(Book("polymarket:a/2", 0, 0, (), (), "polymarket:a/1")) is None
    assert detector.key(Timer(0)) is None
