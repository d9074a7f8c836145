"""`peg`: what stands still is watched closely, what floats is left alone."""

import pathlib
from math import exp
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapewatch.app import table_files
from tapewatch.detect.peg import Peg, PegState
from tapewatch.model.events import Sample
from tapewatch.model.outputs import Observation

ID = "venue:STABLE"
MINUTE = 60_000_000_000
T0 = 1_700_000_040 * 1_000_000_000
DAY = 1_440


def sample(
    minute: float, price: float, *, low: float = 0.0, high: float = 0.0, tick: float = 1e-4
) -> Sample:
    at = T0 + round(minute * MINUTE)
    high, low = high or price, low or price
    return Sample(ID, at, at, MINUTE, 0, price, high, low, 0.0, 0.0, tick, 9, 9, 1.0, 1.0, 1.0, 2.0)


class Bench:
    """One market; `minute` is the next one."""

    def __init__(self, unit: float = 1.0, detector: Peg | None = None) -> None:
        self.detector = detector or Peg()
        self.state: PegState = self.detector.start(ID)
        self.minute, self.unit = 0, unit

    def put(self, price: float, **more: float) -> Observation | None:
        unit = self.unit
        more = {name: value * unit for name, value in {"tick": 1e-4, **more}.items()}
        found = self.detector.update(self.state, sample(self.minute, price * unit, **more))
        self.minute += 1
        return found

    def still(self, minutes: int, seed: int = 1) -> "Bench":
        """Ticks around 1."""
        random = Random(seed)
        for _ in range(minutes):
            assert self.put(1.0 + random.choice((-1e-4, 0.0, 0.0, 1e-4))) is None
        return self


def test_a_low_off_the_level_is_told_at_once_with_its_size() -> None:
    found = Bench().still(2 * DAY).put(0.999, low=0.985)
    assert found is not None
    assert (found.cause, found.severity, found.p) == ("divergence", "high", None)
    assert found.score == pytest.approx(1.5 * found.line, rel=0.01)
    assert found.deviation == pytest.approx(-150.0, rel=0.01)
    assert found.flip == pytest.approx(0.99, rel=1e-3)
    assert found.reason == "0.985 is 1.5 % below the level of days, 1"


def test_up_is_as_bad_as_down() -> None:
    bench = Bench().still(2 * DAY)
    found = bench.put(1.0, high=1.02, low=0.995)
    assert found is not None
    assert found.observed == 1.02
    assert found.sigma is not None
    assert found.sigma > 10


def test_less_than_the_floor_is_silence() -> None:
    bench = Bench().still(2 * DAY)
    assert bench.put(0.9905) is None
    assert bench.put(1.0, high=1.0095) is None


def test_one_episode_until_a_quiet_hour_and_again_when_it_has_doubled() -> None:
    bench = Bench().still(2 * DAY)
    found = [bench.put(price) for price in (0.97, 0.95, 0.96, 0.945, 0.939, 0.95, 0.89, 0.87)]
    assert [one is not None for one in found] == [1, 0, 0, 0, 1, 0, 0, 1]
    assert found[7] is not None
    assert found[0] is not None
    assert found[7].onset_ns == found[0].ts_event
    for _ in range(3):
        bench.still(59)
        assert bench.put(0.9) is None
    bench.still(61)
    assert bench.put(0.97) is not None


def test_hours_away_do_not_become_the_level() -> None:
    bench = Bench().still(3 * DAY)
    for _ in range(120):
        bench.put(0.9)
    assert bench.state.level.mean == pytest.approx(1.0, abs=2e-3)
    bench.still(70)
    assert bench.put(0.97) is not None


def test_a_level_moved_on_purpose_is_followed() -> None:
    """As a floating price first, because nothing is known of the new level, then as a level."""
    bench = Bench().still(3 * DAY)
    told = [bench.put(0.8) for _ in range(20 * DAY)]
    assert sum(one is not None for one in told) == 1
    assert bench.state.level.mean == pytest.approx(0.8, abs=1e-3)
    assert bench.put(0.78) is not None


def test_not_before_there_has_been_a_day() -> None:
    assert Bench().still(DAY - 10).put(0.9) is None
    assert Bench().still(DAY + 10).put(0.9) is not None


@pytest.mark.parametrize("volatility", [3e-5, 1e-4, 1e-3])
def test_a_floating_price_is_never_an_anchor(volatility: float) -> None:
    """The calmest of them moves by 10 bps in a quarter of an hour and by 1 % in a day, and nothing
    is told even when it falls by a tenth."""
    random = Random(7)
    bench, price = Bench(), 1.0
    for _ in range(4 * DAY):
        price *= exp(random.gauss(0.0, 8 * volatility))
        assert bench.put(price) is None
    assert bench.put(0.9 * price) is None


def test_a_pool_that_bounces_between_its_fees_is_anchored_all_the_same() -> None:
    """A fee of 0.3 % on either side: no excursion by itself, and a fall of 5 % is one."""
    random = Random(3)
    bench = Bench()
    for _ in range(2 * DAY):
        assert bench.put(random.choice((0.997, 1.003)), tick=1e-9) is None
    assert bench.put(0.975, tick=1e-9) is None
    assert bench.put(0.95, tick=1e-9) is not None


def test_a_coarse_tick_is_no_anchor() -> None:
    bench = Bench()
    for _ in range(2 * DAY):
        bench.put(1.0, tick=0.01)
    assert bench.put(0.97, tick=0.01) is None


@given(st.floats(1e-6, 1e6), st.integers(0, 50))
@settings(max_examples=10)
def test_the_unit_of_the_price_does_not_matter(unit: float, seed: int) -> None:
    plain = Bench().still(DAY + 10, seed).put(0.95)
    other = Bench(unit).still(DAY + 10, seed).put(0.95)
    assert plain is not None
    assert other is not None
    assert other.score == pytest.approx(plain.score, rel=1e-6)
    assert other.sigma == pytest.approx(plain.sigma, rel=1e-4)


def test_a_dollar_token_of_record(shared_data: pathlib.Path) -> None:
    """From weeks before its fall until hours after it: two lines, in its first minute and
    when it had doubled."""
    file = shared_data / "usde_depeg" / "usde_minute_binance.parquet"
    detector, state, told = Peg(), PegState(), []
    for number, row in table_files.rows(file, lambda *_: None):
        if number <= 20_000:
            continue
        end = row["__index_level_0__"] + MINUTE
        found = detector.update(
            state,
            Sample(
                ID, end, end, MINUTE, 0, row["close"], row["high"], row["low"], 0.0, 0.0, 1e-4,
                -1, -1, -1.0, -1.0, -1.0, row["volume"],
            ),
        )  # fmt: skip
        if found is not None:
            told.append((end - 1_760_131_200_000_000_000) // MINUTE)
        if number == 46_000:
            break
    assert told == [1, 20]  # minutes after 21:20 UTC
