"""`flow`: takers on one side, on balanced tape, on tape with persistent sides, and on a run."""

import pathlib
from random import Random

import pytest
from flow_tapes import KEY, REAL, SLICE_NS, START, alarms, drive, packed_size, real_samples, sample
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tapewatch.detect.flow import Flow
from tapewatch.model.events import Sample

FIRST = START - START % SLICE_NS


def tape_of(slices: int, orders: int = 10, *, stay: float = 0.5, seed: int = 1) -> list[Sample]:
    """Orders of amount 100, each on the side of the one before with probability `stay`."""
    random, tape, buys = Random(seed), [], True
    for index in range(1, slices + 1):
        bought = 0
        count = random.randint(1, 2 * orders - 1)
        for _ in range(count):
            buys = buys if random.random() < stay else not buys
            bought += buys
        end = FIRST + index * SLICE_NS
        tape.append(sided(end, count, bought))
    return tape


def sided(end: int, orders: int, bought: int) -> Sample:
    sides = {"bought": 100.0 * bought, "sold": 100.0 * (orders - bought)}
    return sample(end, orders, end - SLICE_NS, **sides)


def run(tape: list[Sample], slices: int, share: float = 1.0) -> list[Sample]:
    """Then so many slices of twenty orders, of which `share` buy."""
    last = tape[-1].ts_event
    return [sided(last + i * SLICE_NS, 20, round(20 * share)) for i in range(1, slices + 1)]


TAPE = tape_of(6_000)


@pytest.mark.parametrize("stay", [0.5, 0.8])
def test_p_is_calibrated(stay: float) -> None:
    """Also where sides persist, so that a coin toss would see runs everywhere."""
    tape = tape_of(60_000, 4, stay=stay, seed=3)
    seen = [one for at, one in drive(Flow(), tape) if at > tape[10_000].ts_event]
    for level in (1e-2, 1e-3):
        hits = sum(one.p is not None and one.p <= level for one in seen)
        assert 0.5 <= hits / (level * 50_000) <= 2.0


def test_persistent_sides_are_learnt() -> None:
    """Sides that stay the same with 0.8 have a correlation of 0.6 from one order to the next."""
    learnt = {}
    for stay in (0.5, 0.8):
        detector = Flow()
        state = detector.start(KEY)
        for one in tape_of(6_000, 4, stay=stay, seed=5):
            detector.update(state, one)
        learnt[stay] = state.campaign.alike
    # Of about fifty orders the mean correlation is (1 + c) / (1 - c) / 50 at most, c = 0.6.
    assert learnt[0.5] < 0.02
    assert 0.02 < learnt[0.8] < 0.08


def test_a_run_of_two_hundred_orders_four_to_one_is_found() -> None:
    seen = alarms(drive(Flow(), [*TAPE, *run(TAPE, 10, 0.9)]))
    assert seen
    one = seen[-1][1]
    assert (one.cause, one.kind, one.severity) == ("flow", "buying", "warn")
    assert one.observed is not None
    assert one.flip is not None
    assert 0.0 < one.flip < one.observed <= 1.0
    assert "was buying" in one.reason
    assert len(one.contributions) == 2


def test_selling_is_the_mirror_image() -> None:
    tape = [*TAPE, *run(TAPE, 10, 0.95)]
    other = [replace(one, bought=one.sold, sold=one.bought) for one in tape]
    up, down = drive(Flow(), tape), drive(Flow(), other)
    assert [one.score for _, one in up] == pytest.approx([one.score for _, one in down])
    assert {one.kind for _, one in alarms(up)} == {"buying"}
    assert {one.kind for _, one in alarms(down)} == {"selling"}


def test_in_a_thin_market_it_is_a_note() -> None:
    thin = tape_of(20_000, 1)
    thin = [
        replace(one, ts_event=FIRST + i * 4 * SLICE_NS, ts_recv=FIRST + i * 4 * SLICE_NS)
        for i, one in enumerate(thin)
    ]
    seen = drive(Flow(), [*thin, *run(thin, 12)])
    assert seen[-1][1].score >= seen[-1][1].line
    assert {one.severity for _, one in seen} == {"info"}


def test_few_orders_do_not_matter() -> None:
    """A handful on one side, after a long pause: a window of less than thirty orders."""
    seen = drive(Flow(), [*TAPE, *run(TAPE, 1)])
    assert not alarms(seen)


def test_unknown_sides_are_passed_over() -> None:
    detector = Flow()
    state = detector.start(KEY)
    assert detector.update(state, sample(FIRST, 5, bought=0.0, sold=0.0)) is None
    assert detector.update(state, sample(FIRST, -1, bought=-1.0, sold=-1.0)) is None
    assert state == detector.start(KEY)


def test_dust_on_the_other_side_hides_no_run() -> None:
    """It is amounts that count: ten thousand tiny sales a minute beside real buying."""
    masked = [
        replace(one, orders=833, trades=833, sold=one.sold + 813 * 1e-6)
        for one in run(TAPE, 10, 0.95)
    ]
    assert alarms(drive(Flow(), [*TAPE, *masked]))


@settings(max_examples=10)
@given(st.floats(1e-6, 1e6))
def test_the_unit_of_amounts_does_not_matter(factor: float) -> None:
    tape = [*TAPE[:2_500], *run(TAPE[:2_500], 10)]
    scaled = [replace(one, bought=one.bought * factor, sold=one.sold * factor) for one in tape]
    plain, other = drive(Flow(), tape), drive(Flow(), scaled)
    assert [one.score for _, one in other] == pytest.approx([one.score for _, one in plain])


def test_its_memory_is_small() -> None:
    detector = Flow()
    state = detector.start(KEY)
    for one in TAPE:
        detector.update(state, one)
    assert packed_size(state) < 900


def test_p_is_calibrated_on_quiet_real_tape(shared_data: pathlib.Path) -> None:
    """At one in a hundred only: windows overlap, so rarer ones are a handful of episodes."""
    hits = measured = 0
    for stem in REAL:
        detector = Flow()
        state = detector.start(KEY)
        for one in real_samples(shared_data / "pumps", stem):
            known = state.tail.seen
            found = detector.update(state, one)
            measured += known >= 2_000 and state.tail.seen > known
            hits += known >= 2_000 and found is not None and found.score >= 2.0
    assert measured > 10_000
    assert 0.5 <= hits / (0.01 * measured) <= 2.0
