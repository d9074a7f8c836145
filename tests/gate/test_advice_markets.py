"""Which market is meant, by which name, and how many are remembered."""

import pytest
from advice_kit import CONDITION, T0, YES, alert, at, fault, live, report, spike, told

from tapewatch.gate.advisor import Advisor
from tapewatch.model.outputs import Fault
from tapewatch.model.reasons import Reason


def test_both_outcomes_and_the_chain_are_one_market() -> None:
    advisor = live()
    advisor.fold([alert(1, instrument=f"{YES}/NO")], at(1))
    assert advisor.check(YES, at(1)).action == "block"
    other = live()
    other.fold([alert(1, instrument=f"polygon:{CONDITION}", cause="wash")], at(1))
    assert told(other.check(YES, at(1))) == ("block", "wash")


def test_the_chain_does_not_make_a_book_current() -> None:
    advisor = live()
    advisor.heard(f"polygon:{CONDITION}", at(100))
    assert advisor.check(YES, at(100)).reason == Reason.STALE_DATA
    early = Advisor(mode="general_live")
    early.heard(f"polygon:{CONDITION}", at(100))
    early.fold([fault("listed", detail="rain · Yes")], at(100))
    assert early.check("rain", at(100)).reason == Reason.STALE_DATA
    alone = Advisor(mode="general_live")
    alone.heard(f"polygon:{CONDITION}", T0)
    assert alone.check(CONDITION, T0).reason == Reason.UNKNOWN_MARKET


@pytest.mark.parametrize(
    "asked",
    [
        YES,
        CONDITION,
        CONDITION.upper().replace("0X", "0x"),
        f"{YES}/NO",
        f" {YES} ",
        "will-it-rain",
        "Will-It-Rain",
        "will-it-rain · Yes",
    ],
)
def test_a_market_goes_by_many_names(asked: str) -> None:
    advisor = live()
    advisor.fold([fault("listed", detail="will-it-rain · Yes")], T0)
    advice = advisor.check(asked, T0)
    assert advice.action == "allow"
    assert advice.market == CONDITION
    assert advice.name == "will-it-rain · Yes"


def test_names_come_with_reports_and_alerts_too() -> None:
    advisor = live()
    advisor.fold([report(market="rain · Yes")], T0)
    assert advisor.check("rain", T0).market == CONDITION
    advisor.fold([alert(market="snow · Yes")], T0)
    assert advisor.check("snow", T0).market == CONDITION
    assert advisor.check("rain", T0).reason == Reason.UNKNOWN_MARKET


def test_a_name_of_two_markets_means_neither() -> None:
    advisor = live()
    other = "polymarket:0x" + "cd" * 32
    advisor.fold([report(market="rain · Yes"), report(0, other, market="rain · Yes")], T0)
    assert advisor.check("rain", T0).reason == Reason.UNKNOWN_MARKET
    assert advisor.check(other, T0).action == "allow"


def test_a_market_that_calls_itself_by_the_id_of_another_does_not_take_its_place() -> None:
    advisor = live()
    other = "polymarket:0x" + "cd" * 32
    advisor.fold([report(0, other, market=CONDITION), spike(1)], at(1))
    assert advisor.check(CONDITION, at(1)).action == "block"


def test_texts_of_others_are_safe_to_print() -> None:
    advisor = live()
    advisor.fold(
        [spike(1, market="\x1b]0;x\x07", report_id="\x1b[2J", warnings=("\x1b[2J",))], at(1)
    )
    advice = advisor.check(YES, at(1))
    assert "\x1b" not in f"{advice.name}{advice.evidence}{advice.reason}{advice.detail}"
    assert "\x1b" not in advisor.check("\x1b[2J", at(1)).market


@pytest.mark.parametrize("name", [YES, CONDITION, "rain", CONDITION.upper()])
def test_blocks_are_live_in_the_markets_that_were_named(name: str) -> None:
    advisor = Advisor(mode="limited_live", limited_markets=(name,))
    advisor.fold([spike(market="rain · Yes")], T0)
    assert advisor.check(YES, T0).action == "block"


def test_memory_is_bounded_and_the_oldest_market_goes() -> None:
    advisor = Advisor(mode="general_live", most_markets=10)
    advisor.fold([Fault("link_up", "kraken", "", T0)], T0)
    for number in range(1000):
        name = f"kraken:C{number}/USD"
        advisor.fold([report(0, name, market=f"name {number} · Yes")], T0)
    assert len(advisor.markets) == 10
    assert advisor.markets.evicted == 991
    assert advisor.check("kraken:C0/USD", T0).reason == Reason.UNKNOWN_MARKET
    assert advisor.check("name 0", T0).reason == Reason.UNKNOWN_MARKET
    assert advisor.check("name 999", T0).action == "allow"
    assert len(advisor.markets._keys) <= 10
    assert len(advisor.markets._aliases) <= 40


def test_contested_names_are_bounded_as_well() -> None:
    advisor = Advisor(mode="general_live", most_markets=4)
    for number in range(1000):
        for half in ("A", "B"):
            name = f"kraken:{half}{number}/USD"
            advisor.fold([report(0, name, market=f"name {number}")], T0)
    assert len(advisor.markets._aliases) <= 16
