"""`regime`: how much a market moves, against what it did in the last hour."""

from math import exp, sqrt
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from price_tapes import COIN, ODDS, sample, told, walk

from tapewatch.detect.base import LINE
from tapewatch.detect.regime import Regime, RegimeState
from tapewatch.kernels.tails import READY
from tapewatch.model.outputs import Observation

BASE = 6_000


def stepped(factor: float, seed: int = 1, count: int = 200) -> list[float]:
    """A walk whose sd is another after BASE samples."""
    random, x, prices = Random(seed), 0.0, []
    for index in range(BASE + count):
        x += random.gauss(0.0, 1e-4 * (factor if index >= BASE else 1.0))
        prices.append(100.0 * exp(x))
    return prices


def alarms(prices: list[float], key: str = COIN) -> list[tuple[int, Observation]]:
    detector, state, seen = Regime(), Regime().start(key), []
    for index, price in enumerate(prices):
        one = detector.update(state, sample(index, price, key))
        if one is not None and one.score >= LINE and one.ready:
            seen.append((index, one))
    return seen


def test_five_times_the_volatility_is_found_within_a_minute() -> None:
    for seed in range(5):
        index, seen = next(item for item in alarms(stepped(5.0, seed)) if item[0] >= BASE)
        assert 5 * (index - BASE + 1) < 60
        assert seen.kind == "wilder"
        assert seen.material
        assert seen.severity == "info"


def test_a_market_that_calms_down_is_found_as_well() -> None:
    seen = [one for index, one in alarms(stepped(0.1)) if index >= BASE]
    assert seen
    assert {one.kind for one in seen} == {"calmer"}
    assert seen[0].deviation is not None
    assert seen[0].deviation < 0.5


def test_it_explains_itself() -> None:
    _, seen = next(item for item in alarms(stepped(5.0)) if item[0] >= BASE)
    assert seen.observed is not None
    assert seen.expected is not None
    assert seen.expected_high is not None
    assert seen.expected == pytest.approx(1.0, rel=0.3)  # bps
    assert seen.flip == pytest.approx(seen.expected_high)
    assert seen.expected_high < seen.observed
    assert seen.baseline_count > READY
    assert seen.unit == "bps"
    assert len(seen.contributions) == 2


def test_p_is_never_rarer_than_the_record_can_show() -> None:
    index, seen = alarms(stepped(400.0))[-1]
    assert index >= BASE
    assert seen.p is not None
    assert seen.p >= 0.1 / (BASE + 200)


def test_one_excursion_is_told_once_and_not_all_the_time() -> None:
    seen = [item for item in alarms(stepped(5.0)) if item[0] >= BASE]
    assert 1 <= len(seen) <= 8


def test_few_alarms_where_nothing_changes() -> None:
    assert len(alarms(walk(60_000))) <= 3


def test_a_lattice_that_stands_still_for_minutes_is_no_regime() -> None:
    random, price, prices = Random(2), 0.62, []
    for index in range(20_000):
        if index % 40 == 0:
            price = round(min(max(price + random.choice((-0.01, 0.01)), 0.5), 0.7), 2)
        prices.append(price)
    detector = Regime()
    tape = (sample(n, p, ODDS, tick=0.01) for n, p in enumerate(prices))
    assert not [one for one in told(detector, tape) if one.score >= LINE and one.material]


def test_it_is_not_ready_before_its_record_is() -> None:
    detector, state = Regime(), Regime().start(COIN)
    for index, price in enumerate(walk(1_000)):
        seen = detector.update(state, sample(index, price))
        assert seen is None or not seen.ready


@given(st.integers(0, 100), st.sampled_from((0.5, 64.0)))
@settings(max_examples=3)
def test_the_unit_of_prices_does_not_matter(seed: int, factor: float) -> None:
    prices = walk(1_500, seed)
    prices += [price * 1.01 for price in walk(60, seed, sd=1e-3, start=prices[-1])]
    plain, scaled = (
        list(told(Regime(), (sample(n, by * p) for n, p in enumerate(prices))))
        for by in (1.0, factor)
    )
    assert plain
    assert [one.score for one in plain] == pytest.approx([one.score for one in scaled], rel=1e-6)


@given(st.integers(0, 100))
@settings(max_examples=3)
def test_a_state_may_be_packed_at_any_moment(seed: int) -> None:
    detector, plain, packed = Regime(), Regime().start(COIN), Regime().start(COIN)
    for index, price in enumerate(walk(900, seed)):
        event = sample(index, price)
        packed = msgspec.msgpack.decode(msgspec.msgpack.encode(packed), type=RegimeState)
        assert detector.update(plain, event) == detector.update(packed, event)


def test_the_statistic_is_the_ratio_of_the_scales() -> None:
    _, seen = next(item for item in alarms(stepped(5.0)) if item[0] >= BASE)
    state = Regime().start(COIN)
    for index, price in enumerate(stepped(5.0)):
        event = sample(index, price)
        Regime().update(state, event)
        if event.ts_event == seen.ts_event:
            break
    scales = state.track.scales
    assert seen.deviation == pytest.approx(sqrt(scales.short / scales.long))
