"""`sum_arb`: exact sums of fresh quotes."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.detect.sum_arb import SumArb
from tapewatch.model.errors import ConfigError
from tapewatch.model.events import Event, Quote, Status, StatusKind
from tapewatch.model.inputs import Link
from tapewatch.model.outputs import Observation

YES, NO, MAYBE = "polymarket:1", "polymarket:2", "polymarket:3"
SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND


def quote(name: str, at_s: float, bid: float, ask: float) -> Quote:
    at = T0 + round(at_s * SECOND)
    return Quote(name, at, at, bid, 10.0 if bid else 0.0, ask, 10.0 if ask else 0.0)


def run(detector: SumArb, quotes: list[Quote]) -> list[Observation]:
    state = detector.start("|".join(detector.sets[0]))
    found = [detector.update(state, one) for one in quotes]
    return [one for one in found if one is not None]


PAIR = SumArb(sets=((YES, NO),))


def test_both_outcomes_for_less_than_one() -> None:
    (found,) = run(PAIR, [quote(YES, 0, 0.40, 0.45), quote(NO, 1, 0.50, 0.54)])
    assert (found.cause, found.kind, found.p, found.severity) == ("sum_arb", "buy", None, "warn")
    assert found.observed == pytest.approx(0.99)
    assert found.deviation == -100.0
    assert found.deviation_unit == "ticks"
    assert found.flip == pytest.approx(0.995)
    assert found.score == 2.0 * found.line
    assert found.reason == "asks sum to 0.99: 2 outcomes of which one pays 1, 100 ticks beyond fees"


def test_both_outcomes_bid_for_more_than_one() -> None:
    (found,) = run(PAIR, [quote(YES, 0, 0.48, 0.49), quote(NO, 1, 0.53, 0.54)])
    assert (found.kind, found.deviation) == ("sell", 100.0)


def test_a_sum_of_exactly_one_is_fair() -> None:
    """0.1 + 0.2 + 0.7 is below one in floating point."""
    detector = SumArb(sets=((YES, NO, MAYBE),))
    prices = [(YES, 0.1), (NO, 0.2), (MAYBE, 0.7)]
    assert run(detector, [quote(name, 0, p, p) for name, p in prices]) == []


def test_every_leg_must_be_fresh() -> None:
    stale = [quote(YES, 0, 0.4, 0.45), quote(NO, 2, 0.5, 0.54)]
    assert run(PAIR, stale) == []
    assert len(run(PAIR, [*stale, quote(YES, 3, 0.4, 0.45)])) == 1


def test_a_missing_side_has_no_sum() -> None:
    assert run(PAIR, [quote(YES, 0, 0.4, 0.0), quote(NO, 1, 0.5, 0.54)]) == []
    assert run(PAIR, [quote(NO, 1, 0.5, 0.54)]) == []


def test_fees_come_first() -> None:
    quotes = [quote(YES, 0, 0.40, 0.45), quote(NO, 1, 0.50, 0.54)]
    assert run(SumArb(sets=((YES, NO),), fee=0.01), quotes) == []
    (found,) = run(SumArb(sets=((YES, NO),), fee=0.004), quotes)
    assert found.deviation == -60.0


def test_less_than_the_floor_is_immaterial() -> None:
    (found,) = run(PAIR, [quote(YES, 0, 0.40, 0.45), quote(NO, 1, 0.50, 0.546)])
    assert not found.material
    assert found.score == found.line


def test_told_once_and_again_when_doubled() -> None:
    quotes = [quote(YES, 0, 0.40, 0.45)]
    quotes += [
        quote(NO, 0.1 * n, 0.3, ask) for n, ask in enumerate((0.54, 0.54, 0.535, 0.53, 0.52))
    ]
    assert [one.deviation for one in run(PAIR, quotes)] == [-100.0, -200.0]


def test_an_older_quote_does_not_replace_a_newer_one() -> None:
    late = [quote(YES, 1, 0.5, 0.51), quote(YES, 0.5, 0.1, 0.2), quote(NO, 1.5, 0.5, 0.51)]
    assert run(PAIR, late) == []


@given(st.lists(st.integers(1, 9_999), min_size=2, max_size=8))
def test_sums_are_exact(ticks: list[int]) -> None:
    """Against fractions, for any prices on the tick."""
    names = tuple(f"polymarket:{n}" for n in range(len(ticks)))
    detector = SumArb(sets=(names,), floor=0.0)
    found = run(
        detector,
        [quote(name, 0, n * 1e-4, n / 10_000) for name, n in zip(names, ticks, strict=True)],
    )
    total = sum((Fraction(n, 10_000) for n in ticks), Fraction(0))
    told = [one.deviation for one in found][-1:]
    assert told == ([float(10_000 * (total - 1))] if total != 1 else [])


def test_prices_between_ticks_are_rounded_against_us() -> None:
    coarse = SumArb(sets=((YES, NO),), tick=0.01, floor=0.0)
    assert run(coarse, [quote(YES, 0, 0.4, 0.4512), quote(NO, 1, 0.5, 0.5399)]) == []
    assert len(run(coarse, [quote(YES, 0, 0.4, 0.45), quote(NO, 1, 0.5, 0.5399)])) == 1


def test_without_sets_nothing_is_ours() -> None:
    assert SumArb().key(quote(YES, 0, 0.4, 0.5)) is None
    assert PAIR.key(quote(MAYBE, 0, 0.4, 0.5)) is None


@pytest.mark.parametrize(
    ("sets", "complaint"),
    [
        (((YES, YES),), "one set only"),
        (((YES,),), "at least two"),
        ((("1", NO),), "not a market id"),
    ],
)
def test_sets_are_checked(sets: tuple[tuple[str, ...], ...], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        SumArb(sets=sets)


OPEN = SumArb(open_sets=((YES, NO, MAYBE),))


def told(detector: SumArb, events: list[Event]) -> list[str]:
    state = detector.start("|".join((*detector.sets, *detector.open_sets)[0]))
    found = [detector.update(state, one) for one in events]
    return [one.kind for one in found if one is not None]


def status(name: str, kind: StatusKind, at_s: float = 1) -> Status:
    at = T0 + round(at_s * SECOND)
    return Status("polymarket", name, at, at, kind)


def test_a_list_that_may_lack_an_outcome_proves_nothing_by_its_asks() -> None:
    cheap: list[Event] = [quote(name, 0, 0.1, 0.2) for name in (YES, NO, MAYBE)]
    assert told(OPEN, cheap) == []
    assert told(SumArb(sets=OPEN.open_sets), cheap) == ["buy"]


def test_bids_of_some_outcomes_are_enough_where_only_one_can_pay() -> None:
    dear: list[Event] = [quote(MAYBE, 0, 0.0, 0.2), quote(YES, 0, 0.6, 0.7), quote(NO, 0, 0.5, 0.6)]
    assert told(OPEN, dear) == ["sell"]
    assert told(SumArb(sets=OPEN.open_sets), dear) == []


@pytest.mark.parametrize("kind", ["stale", "halted", "mute"])
@pytest.mark.parametrize("about", [YES, ""])
def test_a_leg_without_current_data_has_no_quote_until_the_next(
    kind: StatusKind, about: str
) -> None:
    first, second = quote(YES, 0, 0.40, 0.45), quote(NO, 1, 0.50, 0.54)
    assert told(PAIR, [first, status(about, kind), second]) == []
    again = [quote(YES, 1.5, 0.40, 0.45), quote(NO, 1.5, 0.50, 0.54)]
    assert told(PAIR, [first, status(about, kind), second, *again]) == ["buy"]


def test_what_is_said_of_others_changes_nothing() -> None:
    first, second = quote(YES, 0, 0.40, 0.45), quote(NO, 1, 0.50, 0.54)
    other = Status("kraken", "", T0, T0, "stale")
    up, ws = Link(T0, "polymarket", "up"), Link(T0, "polymarket", "down", "", "gamma")
    assert told(PAIR, [first, other, up, ws, status(YES, "listed"), second]) == ["buy"]
    assert told(PAIR, [first, Link(T0, "polymarket", "down"), second]) == []
    assert PAIR.key(status(YES, "stale")) == PAIR.key(first)
    assert PAIR.key(status("", "stale")) is None
