"""The advisor: what a strategy is told, when, for how long, and what it is told in doubt."""

from typing import Any

import pytest
from advice_kit import BTC, SPIKE, T0, YES, alert, at, fault, live, report, spike, told

from tapewatch.gate.advice import ACTIONS, AdviceSettings
from tapewatch.gate.advisor import Advisor
from tapewatch.model.outputs import Fault, Resolved, Suppressed
from tapewatch.model.reasons import Reason


def test_a_market_with_current_data_and_nothing_wrong_is_allowed() -> None:
    advice = live().check(YES, at(2))
    assert told(advice) == ("allow", "")
    assert advice.data_age_s == 2.0
    assert advice.shadow is None
    assert advice.holds(at(2.9))
    assert not advice.holds(at(3))
    assert not advice.holds(at(1))


def test_an_anomalous_report_blocks_for_ten_seconds_and_widens_for_a_minute() -> None:
    advisor = live(auto_pause_strategies=("maker",))
    advisor.fold([spike(1)], at(1))
    advice = advisor.check(YES, at(1))
    assert told(advice) == ("block", SPIKE)
    assert advice.score == 8.4
    assert advice.evidence == "rep_ad_0xab12_1763700000000"
    assert advice.expires_at_ns == at(11)
    assert advice.pause == ("maker",)
    assert advisor.check(YES, at(10.99)).action == "block"
    after = advisor.check(YES, at(11))
    assert told(after) == ("widen", SPIKE)
    assert after.pause == ()
    advisor.fold([report(60.9)], at(60.9))
    assert advisor.check(YES, at(60.9)).action == "widen"
    assert advisor.check(YES, at(61)).action == "allow"


def test_a_borderline_report_widens() -> None:
    advisor = live()
    advisor.fold([report(1, low_confidence=True, z_price=2.4)], at(1))
    assert told(advisor.check(YES, at(1))) == ("widen", "low_confidence")


@pytest.mark.parametrize(
    ("severity", "changes", "action"),
    [
        ("page", {}, "block"),
        ("high", {}, "block"),
        ("high", {"low_confidence": True}, "widen"),
        ("warn", {}, "widen"),
        ("info", {}, "allow"),
    ],
)
def test_severity_of_an_alert_decides(severity: str, changes: dict[str, Any], action: str) -> None:
    advisor = live()
    advisor.fold([alert(1, severity, **changes)], at(1))
    assert advisor.check(YES, at(1)).action == action


def test_a_milder_alert_does_not_end_a_block() -> None:
    advisor = live()
    advisor.fold([alert(1), alert(2, "warn")], at(2))
    assert advisor.check(YES, at(5)).action == "block"


def test_a_resolved_incident_takes_its_marks_with_it_and_no_others() -> None:
    advisor = live(block_s=300.0, widen_s=600.0)
    advisor.fold([alert(1)], at(1))
    over = Resolved("other", YES, "price_jump", at(1), at(2), 1, 0, 6.0)
    advisor.fold([over], at(2))
    assert advisor.check(YES, at(2)).action == "block"
    advisor.fold([Resolved("i1", YES, "price_jump", at(1), at(3), 1, 0, 6.0)], at(3))
    assert advisor.check(YES, at(3)).action == "allow"


def test_an_incident_that_goes_on_keeps_widening() -> None:
    advisor = live()
    advisor.fold([alert(1)], at(1))
    again = Suppressed(str(Reason.ALREADY_SHOWN), YES, "price_jump", at(50), 5.0)
    advisor.fold([again, report(100)], at(50))
    advisor.fold([report(100)], at(100))
    advice = advisor.check(YES, at(100))
    assert told(advice) == ("widen", "price_jump")
    assert advice.evidence == "a1"


def test_another_thing_that_goes_on_does_not_keep_it_widened() -> None:
    advisor = live()
    advisor.fold([alert(1)], at(1))
    advisor.fold([Suppressed(str(Reason.ALREADY_SHOWN), YES, "book", at(50), 5.0)], at(50))
    advisor.fold([report(100)], at(100))
    assert advisor.check(YES, at(100)).action == "allow"


def test_what_goes_on_without_having_mattered_marks_nothing() -> None:
    """An open incident of severity info never widened, so its continuation does not either."""
    advisor = live()
    advisor.fold([alert(1, "info")], at(1))
    advisor.fold([Suppressed(str(Reason.ALREADY_SHOWN), YES, "price_jump", at(2), 5.0)], at(2))
    assert advisor.check(YES, at(2)).action == "allow"


@pytest.mark.parametrize(("what", "action"), [("alert", "widen"), ("report", "allow")])
def test_what_only_the_alarm_budget_held_back_widens(what: Any, action: str) -> None:
    advisor = live()
    held = Suppressed(str(Reason.BUDGET_SPENT), YES, "price_jump", at(1), 4.0, what)
    advisor.fold([held], at(1))
    assert advisor.check(YES, at(1)).action == action


def test_no_baseline_widens_until_there_is_one() -> None:
    advisor = live()
    why = str(Reason.ANOMALYDETECTOR_INSUFFICIENT_BASELINE)
    advisor.fold([report(1, warnings=(why,), z_price=None, z_vol=None)], at(1))
    assert told(advisor.check(YES, at(1))) == ("widen", why)
    advisor.fold([report(2)], at(2))
    assert advisor.check(YES, at(2)).action == "allow"


@pytest.mark.parametrize("side", ACTIONS)
def test_whatever_cannot_be_seen_is_answered_with_the_safe_side(side: Any) -> None:
    advisor = Advisor(AdviceSettings(safe_side=side), mode="general_live")
    assert told(advisor.check(YES, T0)) == (side, Reason.SERVICE_SILENT)
    advisor.fold([report()], T0)
    assert told(advisor.check("0x" + "99" * 32, T0)) == (side, Reason.UNKNOWN_MARKET)
    assert told(advisor.check(YES, at(61))) == (side, Reason.SERVICE_SILENT)
    advisor.heard(BTC, at(61))
    assert told(advisor.check(YES, at(61))) == (side, Reason.STALE_DATA)
    advisor.on_kill("on")
    assert told(advisor.check(BTC, at(61))) == (side, Reason.KILL_SWITCH_ACTIVE)
    advisor.on_kill("gibberish")
    unreadable = advisor.check(BTC, at(61))
    assert told(unreadable) == (side, Reason.KILL_SWITCH_ACTIVE)
    assert "cannot be read" in unreadable.detail
    advisor.on_kill("off")
    assert told(advisor.check(BTC, at(61))) == ("allow", "")


def test_an_anomaly_is_stricter_than_a_lenient_safe_side() -> None:
    advisor = live(safe_side="allow")
    advisor.fold([spike(1)], at(1))
    advisor.on_kill("on")
    assert told(advisor.check(YES, at(1))) == ("block", SPIKE)


def test_the_safe_side_is_block_unless_the_user_says_otherwise() -> None:
    assert Advisor(mode="general_live").check(YES, T0).action == "block"


@pytest.mark.parametrize(
    ("bad", "good"), [("stale", "current"), ("halted", "online"), ("link_down", "link_up")]
)
@pytest.mark.parametrize("whole", [True, False])
def test_data_are_stale_from_when_it_is_said_until_it_is_said(
    bad: str, good: str, *, whole: bool
) -> None:
    advisor = live()
    about = {"source": "polymarket", "instrument": "" if whole else YES}
    advisor.fold([Fault(bad, **about, ts_ns=at(1), detail="books do not come")], at(1))
    advisor.heard(YES, at(2))
    advice = advisor.check(YES, at(2))
    assert told(advice) == ("block", Reason.STALE_DATA)
    assert advice.detail == "books do not come"
    advisor.fold([Fault(good, **about, ts_ns=at(3))], at(3))
    assert advisor.check(YES, at(3)).action == "allow"


def test_one_of_several_services_down_is_not_the_source_down() -> None:
    advisor = live()
    advisor.fold([Fault("link_down", "polymarket", "", at(1), stream="data")], at(1))
    assert advisor.check(YES, at(1)).action == "allow"


def test_a_silence_ends_with_data_and_not_before() -> None:
    advisor = live()
    advisor.fold([alert(1, "warn", cause="silence")], at(1))
    assert told(advisor.check(YES, at(2))) == ("block", Reason.STALE_DATA)
    advisor.heard(YES, at(3))
    assert advisor.check(YES, at(3)).action == "widen"


def test_other_markets_and_sources_are_not_touched() -> None:
    advisor = live()
    advisor.fold([report(0, BTC), spike(1), fault("stale", 1, BTC)], at(1))
    assert advisor.check(BTC, at(1)).reason == Reason.STALE_DATA
    assert advisor.check(YES, at(1)).reason == SPIKE
    advisor.fold([report(1, BTC), fault("current", 2, BTC)], at(2))
    assert advisor.check(BTC, at(2)).action == "allow"


def test_a_storm_blocks_every_market_of_its_source() -> None:
    advisor = live()
    advisor.fold([report(0, BTC), alert(1, instrument="polymarket:*")], at(1))
    assert advisor.check(YES, at(1)).action == "block"
    assert advisor.check(BTC, at(1)).action == "allow"
    assert advisor.check("polymarket:*", at(1)).reason == Reason.UNKNOWN_MARKET
