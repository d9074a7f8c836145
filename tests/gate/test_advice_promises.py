"""What holds of advice in each mode, over a bus, and whatever happens."""

import itertools
from typing import Any

import pytest
from advice_kit import BTC, CONDITION, T0, YES, alert, at, fault, live, report, spike
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.gate.advice import ACTIONS, AdviceSettings, Mode
from tapewatch.gate.advisor import Advisor
from tapewatch.model.reasons import Reason
from tapewatch.model.time import NS_PER_S


@pytest.mark.parametrize(
    ("mode", "action", "shadow"),
    [
        ("shadow_only", "allow", "block"),
        ("limited_live", "widen", "block"),
        ("general_live", "block", None),
    ],
)
def test_the_mode_says_what_of_a_block_a_strategy_is_told(
    mode: Mode, action: str, shadow: str | None
) -> None:
    advisor = live(mode, auto_pause_strategies=("maker",))
    advisor.fold([spike(1)], at(1))
    advice = advisor.check(YES, at(1))
    assert (advice.action, advice.shadow, advice.mode) == (action, shadow, mode)
    assert advice.judged == "block"
    assert bool(advice.pause) == (action == "block")


def test_shadow_is_the_mode_of_one_who_says_nothing() -> None:
    advice = Advisor().check(YES, T0)
    assert (advice.action, advice.shadow) == ("allow", "block")


def test_what_was_published_on_trial_binds_nobody() -> None:
    advisor = Advisor(mode="general_live")
    advisor.fold([spike()], T0, shadow=True)
    assert (advisor.check(YES, T0).action, advisor.check(YES, T0).shadow) == ("allow", "block")
    gone = advisor.check("0x" + "99" * 32, at(1000))
    assert (gone.action, gone.shadow, gone.mode) == ("allow", "block", "shadow_only")
    advisor.fold([spike(1)], at(1))
    assert advisor.check(YES, at(1)).action == "block"
    assert advisor.check("0x" + "99" * 32, at(1)).action == "block"


def test_old_reports_of_a_backlog_are_history() -> None:
    advisor = live()
    advisor.fold([report(200), spike(100)], at(200))
    assert advisor.check(YES, at(200)).action == "allow"
    assert advisor.counters.late == 1


def test_a_backlog_alone_does_not_make_the_service_alive() -> None:
    advisor = Advisor(mode="general_live")
    advisor.fold([report(0)], at(1000))
    assert advisor.check(YES, at(1000)).reason == Reason.SERVICE_SILENT


def test_a_clock_that_is_ahead_does_not_make_data_younger_than_now() -> None:
    advisor = Advisor(mode="general_live")
    advisor.fold([report(500)], T0)
    assert advisor.check(YES, T0).data_age_s == 0.0
    assert advisor.check(YES, at(61)).reason == Reason.SERVICE_SILENT
    advisor.heard(BTC, at(61))
    assert advisor.check(YES, at(61)).reason == Reason.STALE_DATA


def test_standing_names_what_is_not_simply_allowed() -> None:
    advisor = live()
    advisor.fold([report(0, BTC), spike(1)], at(1))
    (one,) = advisor.standing(at(1))
    assert (one.market, one.action) == (CONDITION, "block")


def test_answers_are_counted_by_what_was_judged() -> None:
    advisor = live("shadow_only")
    advisor.check(YES, T0)
    advisor.fold([spike()], T0)
    advisor.check(YES, T0)
    advisor.check(YES, at(20))
    assert advisor.counters.answers == {"allow": 1, "widen": 1, "block": 1}
    assert advisor.counters.folded == 2


def test_order_of_independent_outputs_does_not_matter() -> None:
    items = [spike(1), alert(1, "warn", incident="i2"), fault("stale", 1), report(1, BTC)]
    answers = set()
    for order in itertools.permutations(items):
        advisor = live()
        advisor.fold(order, at(1))
        answers.add((advisor.check(YES, at(2)).action, advisor.check(BTC, at(2)).action))
    assert answers == {("block", "allow")}


MODES: tuple[Mode, ...] = ("shadow_only", "limited_live", "general_live")
KINDS = st.sampled_from(["report", "spike", "alert", "stale", "current", "heard", "on", "off"])


def tell(advisor: Advisor, kind: str, now: float) -> None:
    match kind:
        case "report":
            advisor.fold([report(now)], at(now))
        case "spike":
            advisor.fold([spike(now)], at(now))
        case "alert":
            advisor.fold([alert(now, "warn")], at(now))
        case "stale" | "current":
            advisor.fold([fault(kind, now)], at(now))
        case "heard":
            advisor.heard(YES, at(now))
        case _:
            advisor.on_kill(kind)


@given(
    steps=st.lists(st.tuples(KINDS, st.floats(0.0, 90.0)), max_size=30),
    mode=st.sampled_from(MODES),
    side=st.sampled_from(ACTIONS),
)
def test_whatever_happens_an_answer_keeps_its_promises(
    steps: list[tuple[str, float]], mode: Mode, side: Any
) -> None:
    advisor = Advisor(AdviceSettings(safe_side=side), mode=mode)
    now, spiked = 0.0, -1e9
    for kind, after in steps:
        now += after
        tell(advisor, kind, now)
        spiked = now if kind == "spike" else spiked
        advice = advisor.check(YES, at(now))
        assert advice.at_ns == at(now) < advice.expires_at_ns
        assert ACTIONS.index(advice.action) <= ACTIONS.index(advice.judged)
        if mode == "general_live":
            assert advice.action == advice.judged
        if mode == "shadow_only":
            assert advice.action == "allow"
        if at(now) < at(spiked) + 10 * NS_PER_S:
            assert advice.judged == "block"
        if advice.judged != "allow":
            assert advice.reason
