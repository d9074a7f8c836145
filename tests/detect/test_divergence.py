"""`divergence`: what lags is quiet, what parts is told, and a peg needs two witnesses."""

from collections.abc import Iterator
from math import exp
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapewatch.detect.divergence import Divergence
from tapewatch.model.errors import ConfigError
from tapewatch.model.events import Sample
from tapewatch.model.outputs import Observation

A, B = "one:COIN/USD", "two:COIN/USD"
SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND
STEP = 5


def sample(
    name: str, second: float, price: float, spread: float = 1e-3, low: float = 0.0
) -> Sample:
    """`spread` as a fraction of the price."""
    at = T0 + round(second * SECOND)
    bid, ask = price * (1.0 - spread / 2), price * (1.0 + spread / 2)
    return Sample(
        name, at, at, STEP * SECOND, 0, price, price, low or price, bid, ask, 1e-9 * price,
        3, 2, 1.0, 1.0, 1.0, 2.0,
    )  # fmt: skip


class Bench:
    """One pair; `second` is that of the next samples."""

    def __init__(self, pair: tuple[str, str] = (A, B), unit: float = 1.0) -> None:
        self.detector = Divergence(pairs=(pair,))
        self.state = self.detector.start(f"{pair[0]}|{pair[1]}")
        self.second, self.unit = 0.0, unit
        self.walk = self.path()

    def path(self, seed: int = 1) -> Iterator[tuple[float, float]]:
        """A price, and that of a copy which is 0 to 2 s behind (of 5)."""
        random, price = Random(seed), 100.0
        while self.second >= 0.0:
            before, price = price, price * exp(random.gauss(0.0, 3e-4))
            lag = random.random() * 2.0 / STEP
            yield price, price * (before / price) ** lag

    def put(
        self, name: str, price: float, spread: float = 1e-3, low: float = 0.0
    ) -> Observation | None:
        one = sample(name, self.second, price * self.unit, spread, low * self.unit)
        assert self.detector.key(one) is not None
        return self.detector.update(self.state, one)

    def step(self, split: float = 1.0, spread: float = 1e-3) -> list[Observation]:
        """Both legs, the second `split` times what it should be."""
        first, second = next(self.walk)
        self.second += STEP
        found = [self.put(A, first, spread), self.put(B, second * split, spread)]
        return [one for one in found if one and one.material and one.score >= one.line]

    def run(self, steps: int, spread: float = 1e-3) -> list[Observation]:
        return [one for _ in range(steps) for one in self.step(spread=spread)]


def test_a_lagged_copy_is_quiet_for_a_day() -> None:
    assert Bench().run(17_280) == []
    assert Bench().run(17_280, spread=1e-5) == []


def test_a_split_of_three_spreads_is_found_when_two_samples_of_both_say_so() -> None:
    bench = Bench()
    bench.run(2_000)
    assert bench.step(split=1.003) + bench.step(split=1.003) == []
    (found,) = bench.step(split=1.003)
    assert (found.cause, found.instrument, found.severity) == ("divergence", B, "warn")
    assert found.ts_event == T0 + 2_003 * STEP * SECOND
    assert found.p is not None
    assert found.p < 1e-4
    assert found.deviation == pytest.approx(30.0, rel=0.25)
    assert found.reason.endswith("bps above what its pair says")
    assert found.flip is not None
    assert found.expected is not None
    assert found.observed is not None
    assert found.expected < found.flip < found.observed


def test_one_odd_sample_is_not_enough() -> None:
    bench = Bench()
    bench.run(2_000)
    assert [bench.step(split=split) for split in (1.05, 1.0, 0.95, 1.05, 1.0)] == [[]] * 5


def test_it_is_told_once_and_again_when_doubled() -> None:
    bench = Bench()
    bench.run(2_000)
    splits = (1.003, 1.003, 1.003, 1.003, 1.008, 1.008, 1.008, 1.008, 1.003, 1.0)
    told = [index for index, split in enumerate(splits) if bench.step(split=split)]
    assert told == [2, 6]
    bench.second += 2 * 3600.0
    bench.run(20)
    assert [bool(bench.step(split=1.003)) for _ in range(4)] == [False, False, True, False]


def test_what_trading_leaves_open_is_immaterial() -> None:
    """Rare, because spreads were narrow until now, but nobody could use it."""
    bench = Bench()
    bench.run(2_000, spread=2e-4)
    assert [bench.step(split=1.003, spread=8e-3) for _ in range(3)] == [[]] * 3
    assert any(bench.step(split=1.003, spread=2e-4) for _ in range(3))


def test_a_premium_that_always_was_there_is_the_usual_basis() -> None:
    bench = Bench()
    random = Random(3)
    for _ in range(3_000):
        assert bench.step(split=1.02 * exp(random.gauss(0.0, 1e-4))) == []


def test_a_stale_leg_is_not_compared() -> None:
    bench = Bench()
    bench.run(2_000)
    bench.second += 121.0
    assert bench.put(A, 150.0) is None
    bench.second += 5.0
    assert bench.put(B, 150.0) is None


def test_an_older_price_allows_more() -> None:
    def sigma(age: float) -> float:
        bench = Bench()
        bench.run(2_000)
        price = next(bench.walk)[0]
        bench.second += 5
        for name, split in ((A, 1.02), (B, 1.0), (A, 1.02)):
            assert bench.put(name, price * split) is None
            bench.second += 1
        bench.second += age
        found = bench.put(B, price)
        assert found is not None
        assert found.sigma is not None
        return found.sigma

    assert sigma(5.0) > 1.2 * sigma(100.0)


def test_before_there_is_a_record_only_the_obvious_is_told() -> None:
    bench = Bench()
    bench.run(200)
    assert [bench.step(split=1.003) for _ in range(4)] == [[]] * 4
    (found,) = [one for _ in range(4) for one in bench.step(split=1.05)]
    assert found.p is None


@given(st.sampled_from([1e-6, 0.5, 2.0, 1e6]))
@settings(max_examples=4)
def test_the_unit_of_the_price_does_not_matter(unit: float) -> None:
    plain, other = Bench(), Bench(unit=unit)
    for bench in (plain, other):
        bench.run(2_000)
    (one,), (two,) = (
        [found for _ in range(4) for found in bench.step(split=0.99)] for bench in (plain, other)
    )
    assert two.score == pytest.approx(one.score, rel=1e-6)
    assert two.sigma == pytest.approx(one.sigma, rel=1e-6)


def test_the_order_of_the_pair_does_not_matter() -> None:
    plain, other = Bench((A, B)), Bench((B, A))
    for bench in (plain, other):
        bench.run(2_000)
    (one,), (two,) = (
        [found for _ in range(4) for found in bench.step(split=0.99)] for bench in (plain, other)
    )
    assert two.score == pytest.approx(one.score, rel=1e-9)
    assert two.sigma == pytest.approx(one.sigma, rel=1e-9)
    assert (two.instrument, two.reason) == (one.instrument, one.reason)


class Pegged(Bench):
    """Two venues on which a price has stood still for a day and a half, in minutes."""

    def __init__(self) -> None:
        super().__init__()
        random = Random(5)
        for _ in range(2_200):
            self.second += 60.0
            for name in (A, B):
                found = self.put(name, 1.0 + random.choice((-1e-4, 0.0, 1e-4)), 2e-4)
                assert found is None or not found.material

    def both(self, first: float, second: float) -> list[Observation]:
        """The second leg first, so that the first one can be compared with it."""
        self.second += 60.0
        found = [self.put(B, second, 2e-4), self.put(A, 1.0, 2e-4, low=first)]
        return [one for one in found if one and one.material and one.score >= one.line]


def test_a_peg_that_breaks_on_one_venue_only_is_told_from_half_a_percent() -> None:
    (found,) = Pegged().both(0.994, 1.0)
    assert (found.instrument, found.severity) == (A, "high")
    assert found.deviation == pytest.approx(-60.0, rel=0.05)
    assert Pegged().both(0.9955, 1.0) == []


def test_the_smaller_of_two_excursions_counts() -> None:
    """0.8 % from its level, of which the other venue shares a half."""
    assert Pegged().both(0.992, 0.996) == []
    assert len(Pegged().both(0.992, 0.999)) == 1


def test_without_pairs_nothing_is_ours() -> None:
    assert Divergence().key(sample(A, 0, 1.0)) is None
    assert Divergence(pairs=((A, B),)).key(sample("three:COIN/USD", 0, 1.0)) is None


@pytest.mark.parametrize("pairs", [((A, A),), ((A, B), (B, "three:COIN/USD"))])
def test_an_instrument_is_in_one_pair_only(pairs: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(ConfigError, match="one pair only"):
        Divergence(pairs=pairs)


def test_a_pair_needs_market_ids() -> None:
    with pytest.raises(ConfigError, match="not a market id"):
        Divergence(pairs=(("BTC", B),))
