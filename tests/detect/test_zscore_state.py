"""`zscore`: a baseline that is kept elsewhere and comes back."""

import math
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapewatch.detect.zscore import ZScore
from tapewatch.detect.zscore_state import KEPT, Checkpoint, ZScoreState
from tapewatch.kernels.windows import count, expire, spread
from tapewatch.model.errors import DecodeError
from tapewatch.model.events import Quote, Trade
from tapewatch.model.inputs import Timer
from tapewatch.model.outputs import Observation
from tapewatch.model.time import NS_PER_S

ID = "polymarket:0xab12"
T0 = 1_763_700_000 * NS_PER_S
S2 = ZScore(cycle_s=30.0)  # 120 samples an hour, as bot 4.15's size estimate has them


def run(detector: ZScore, state: ZScoreState, cycles: int, at: int, seed: int) -> int:
    """Feed `cycles` of quotes and trades; the time at the end."""
    chance = random.Random(seed)
    step = int(detector.cycle_s * NS_PER_S)
    for _ in range(cycles):
        at += step
        mid = 0.62 + chance.gauss(0.0, 0.008)
        detector.update(state, Quote(ID, at, at, mid - 0.005, 1.0, mid + 0.005, 1.0))
        traded = Trade(ID, at - 7 * NS_PER_S, at, mid, 10.0 * chance.random(), "buy")
        detector.update(state, traded)
        detector.update(state, Timer(at))
    return at


def lived(detector: ZScore = S2, cycles: int = 200) -> tuple[ZScoreState, int]:
    state = detector.start(ID)
    return state, run(detector, state, cycles, T0, 1)


def saved(detector: ZScore, state: ZScoreState) -> Checkpoint:
    found = detector.checkpoint(state)
    assert found is not None
    return found


def cycle(detector: ZScore, state: ZScoreState, at: int, mid: float) -> Observation:
    detector.update(state, Quote(ID, at, at, mid - 0.005, 1.0, mid + 0.005, 1.0))
    seen = detector.update(state, Timer(at))
    assert seen is not None
    return seen


def test_a_window_of_an_hour_comes_back_whole() -> None:
    state, at = lived()
    found = S2.packed(state)
    assert len(found) < 3_000  # "~3 KB per tracked market"
    back = S2.restore(ID, found, at)
    for name in ("prices", "volumes"):
        one, two = getattr(state, name), getattr(back, name)
        assert two.times == one.times[one.head :]
        assert two.values == one.values[one.head :]
    assert (back.tick, back.cycle_ns, back.source) == (state.tick, state.cycle_ns, "polymarket")
    assert math.fsum(back.seconds) == pytest.approx(math.fsum(state.seconds))
    assert back.price == 0.0  # nobody knows what it is now
    one, two = (cycle(S2, s, at + 30 * NS_PER_S, 0.70) for s in (state, back))
    assert two.ready
    assert two.score == pytest.approx(one.score, rel=1e-9)


def test_it_says_what_the_specification_stores() -> None:
    state, _ = lived()
    found = saved(S2, state)
    anchor, offset, std = spread(state.prices, 0)
    assert found.mean_price == pytest.approx(anchor + offset, rel=1e-12)
    assert found.std_price == pytest.approx(std, rel=1e-9)
    anchor, offset, std = spread(state.volumes, 0)
    assert found.mean_volume == pytest.approx(anchor + offset, rel=1e-12)
    assert found.std_volume == pytest.approx(std, rel=1e-9)
    assert (found.samples, found.updated_ns) == (count(state.prices), state.cycle_ns)
    assert S2.checkpoint(S2.start(ID)) is None


def test_looking_changes_nothing() -> None:
    state, at = lived()
    # An outlier that has left the window: the sums have lost precision and wait to be renewed.
    cycle(S2, state, at + 30 * NS_PER_S, 40.0)
    outlier_ns = state.cycle_ns
    run(S2, state, 100, outlier_ns, 2)
    expire(state.prices, outlier_ns + 1)
    before = msgspec.msgpack.encode(state)
    found = saved(S2, state)
    S2.packed(state)
    assert msgspec.msgpack.encode(state) == before
    assert found.std_price == pytest.approx(spread(state.prices, 0)[2], rel=1e-9)
    assert msgspec.msgpack.encode(state) != before  # so `spread` would have changed it


def test_a_longer_window_is_thinned_evenly_and_stays_ready() -> None:
    detector = ZScore(min_samples=200)
    state, at = lived(detector, 3_000)
    back = detector.restore(ID, detector.packed(state), at)
    assert count(back.prices) == max(KEPT, detector.min_samples)
    assert back.prices.times[0] == state.prices.times[state.prices.head]
    assert back.prices.times[-1] == state.prices.times[-1]
    steps = {b - a for a, b in zip(back.prices.times, back.prices.times[1:], strict=False)}
    assert max(steps) - min(steps) <= NS_PER_S
    assert spread(back.prices, 0)[2] == pytest.approx(spread(state.prices, 0)[2], rel=0.2)
    assert cycle(detector, back, at + NS_PER_S, 0.62).ready


def test_volume_is_not_judged_over_a_hole() -> None:
    state, at = lived()
    data = S2.packed(state)
    here, away = S2.restore(ID, data, at + 20 * NS_PER_S), S2.restore(ID, data, at + 90 * NS_PER_S)
    at += 120 * NS_PER_S
    assert {part.name for part in cycle(S2, here, at, 0.62).contributions} == {"price", "volume"}
    seen = cycle(S2, away, at, 0.62)
    assert [part.name for part in seen.contributions] == ["price"]
    samples = count(away.volumes)
    at = run(S2, away, 20, at, 3)
    assert count(away.volumes) > samples - 20  # judged and learnt from again
    seen = cycle(S2, away, at + 30 * NS_PER_S, 0.62)
    assert [part.name for part in seen.contributions] == ["price", "volume"]


def test_an_old_baseline_comes_back_empty_of_what_has_left_the_window() -> None:
    state, at = lived()
    back = S2.restore(ID, S2.packed(state), at + 2 * 3_600 * NS_PER_S)
    seen = cycle(S2, back, at + 2 * 3_600 * NS_PER_S, 0.62)
    assert (seen.ready, seen.baseline_count) == (False, 0)


def forged(**changes: Any) -> bytes:
    """A checkpoint with fields replaced, by position."""
    state, _ = lived()
    fields = msgspec.msgpack.decode(S2.packed(state))
    for name, value in changes.items():
        fields[int(name[1:])] = value
    return msgspec.msgpack.encode(fields)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 5_000_000,
        forged(_0=2),
        forged(_1=T0 * 2),
        forged(_1=-5),
        forged(_2=0),
        forged(_3=60),
        forged(_4=-1.0),
        forged(_4=math.nan),
        forged(_5=1 << 40),
        forged(_6=[[400, 1.0]]),
        forged(_6=[[1, 1.0]] * 61),
        forged(_7=b"\x00\x00"),
        forged(_9=b"\x00" * 4),
        forged(_8=b"\xff" * 960),
        forged(_8="text"),
        forged(_9=b"\x00" * 480, _7=bytes(range(240)) * 2),
    ],
)
def test_what_others_wrote_is_refused(data: bytes) -> None:
    _, at = lived()
    with pytest.raises(DecodeError):
        S2.restore(ID, data, at)


@settings(max_examples=200)
@given(st.data())
def test_damage_is_refused_or_harmless(data: st.DataObject) -> None:
    state, at = lived()
    raw = bytearray(S2.packed(state))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        back = S2.restore(ID, bytes(raw), at)
    except DecodeError:
        return
    for number in range(3):
        seen = cycle(S2, back, at + 30 * (number + 1) * NS_PER_S, 0.62)
        assert math.isfinite(seen.score)
    assert len(back.prices.times) <= len(raw)


def test_cycles_that_were_missed_stay_missed() -> None:
    state, at = lived(cycles=50)
    at = run(S2, state, 50, at + 300 * NS_PER_S, 5)
    back = S2.restore(ID, S2.packed(state), at)
    assert back.prices.times == state.prices.times[state.prices.head :]
    assert back.volumes.times == back.prices.times


def test_a_busy_volume_window_comes_back_in_parts() -> None:
    detector = ZScore()
    state, at = lived(detector, 400)
    second = at // NS_PER_S
    for number in range(300):
        ts = (second - number) * NS_PER_S
        detector.update(state, Trade(ID, ts, at, 1.0, 1.0 + number, "buy"))
    back = detector.restore(ID, detector.packed(state), at)
    assert math.fsum(back.seconds) == pytest.approx(math.fsum(state.seconds))
    for later in range(0, 300, 5):  # never forgotten early, and not later than a part
        left = math.fsum(state.seconds[(second - age) % 300] for age in range(300 - later))
        kept = math.fsum(back.seconds[(second - age) % 300] for age in range(300 - later))
        assert kept == pytest.approx(left)
