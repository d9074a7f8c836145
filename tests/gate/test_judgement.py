"""How bad, whether it matters, what stands beside it, and storms."""

import msgspec
import pytest

from tapewatch.gate.alerts import Candidate
from tapewatch.gate.gate import Gate, GateState, judge, on_link, on_status, on_timer
from tapewatch.gate.storms import MEMBERS, TOGETHER_NS
from tapewatch.model.events import Status
from tapewatch.model.inputs import Link
from tapewatch.model.outputs import Alert, Observation, Output, Resolved, Severity, Suppressed
from tapewatch.model.reasons import Reason
from tapewatch.model.time import NS_PER_S

BTC = "kraken:BTC/USD"
T0 = 1_763_700_000 * NS_PER_S


def seen(score: float, cause: str = "price_jump", **changes: object) -> Observation:
    base = Observation(
        cause, BTC, cause, T0, score, 3.5, severity="page", p=10.0**-score, interval_s=3600.0
    )
    return msgspec.structs.replace(base, **changes)


def ask(state: GateState, item: Observation, at: float = 0.0, gate: Gate | None = None) -> Output:
    now = T0 + int(at * NS_PER_S)
    (out,) = judge(gate or Gate(), state, Candidate(item, 1, 7, now))
    return out


def alert_of(out: Output) -> Alert:
    assert isinstance(out, Alert)
    return out


def reason_of(out: Output) -> str:
    assert isinstance(out, Suppressed)
    return out.reason


@pytest.mark.parametrize(
    ("score", "cap", "severity"),
    [
        (3.5, "page", "warn"),
        (4.9, "page", "warn"),
        (5.0, "page", "high"),
        (6.4, "page", "high"),
        (6.5, "page", "page"),
        (9.0, "high", "high"),
        (9.0, "warn", "warn"),
        (9.0, "info", "info"),
    ],
)
def test_severity_is_decades_beyond_the_line_up_to_the_cap(
    score: float, cap: Severity, severity: Severity
) -> None:
    assert alert_of(ask(GateState(), seen(score, severity=cap))).severity == severity


def test_a_rule_without_p_is_as_bad_as_it_says() -> None:
    rule = seen(1.0, "crossed", p=None, line=1.0, severity="high")
    assert alert_of(ask(GateState(), rule)).severity == "high"


def test_what_is_rare_but_does_not_matter_is_kept_and_not_shown() -> None:
    state = GateState()
    assert reason_of(ask(state, seen(9.0, material=False))) == Reason.IMMATERIAL
    assert not state.incidents
    shown = alert_of(ask(state, seen(4.0, "pump"), at=1.0))
    assert [(part.name, part.p) for part in shown.contributions] == [("price_jump", 1e-9)]


def test_one_thing_in_several_causes_is_one_incident_until_it_is_told_apart() -> None:
    state = GateState()
    first = alert_of(ask(state, seen(4.0)))
    assert reason_of(ask(state, seen(4.2, "drift"), at=1.0)) == Reason.ALREADY_SHOWN
    typed = alert_of(ask(state, seen(4.0, "bad_print"), at=2.0))
    assert (typed.cause, typed.incident) == ("bad_print", first.incident)
    assert reason_of(ask(state, seen(4.0, "bad_print"), at=3.0)) == Reason.ALREADY_SHOWN
    other = alert_of(ask(state, seen(4.0, "pump"), at=4.0))
    assert other.incident != first.incident


def test_ten_times_rarer_is_shown_again_at_once() -> None:
    state = GateState()
    ask(state, seen(4.0, severity="warn"))
    assert reason_of(ask(state, seen(4.9, severity="warn"), at=1.0)) == Reason.ALREADY_SHOWN
    assert alert_of(ask(state, seen(5.1, severity="warn"), at=2.0)).score == 5.1
    assert reason_of(ask(state, seen(5.9, severity="warn"), at=3.0)) == Reason.ALREADY_SHOWN


def test_what_others_saw_in_the_last_minute_stands_beside_an_alert() -> None:
    state = GateState()
    assert list(judge(Gate(), state, Candidate(seen(2.5, "flow"), 1, 7, T0))) == []
    list(judge(Gate(), state, Candidate(seen(2.1, "book", kind="spread"), 1, 7, T0)))
    shown = alert_of(ask(state, seen(4.0), at=5.0))
    assert [(part.name, part.score) for part in shown.contributions] == [
        ("flow", 2.5),
        ("book", 2.1),
    ]
    assert shown.data_verdict.book == "thin"
    list(on_timer(Gate(), state, T0 + 70 * NS_PER_S))
    later = alert_of(ask(state, seen(4.0, "pump"), at=70.0))
    assert [part.name for part in later.contributions] == []
    assert later.data_verdict.book is None


@pytest.mark.parametrize(("kind", "word"), [("agrees", "agrees"), ("", "differs")])
def test_the_verdict_says_what_the_other_venue_does(kind: str, word: str) -> None:
    state = GateState()
    list(judge(Gate(), state, Candidate(seen(2.5, "divergence", kind=kind), 1, 7, T0)))
    assert alert_of(ask(state, seen(4.0), at=1.0)).data_verdict.other_venue == word


@pytest.mark.parametrize("how", ["gap", "reconnect"])
def test_a_price_that_jumps_over_a_gap_or_a_reconnect_is_held_back(how: str) -> None:
    state = GateState()
    if how == "gap":
        on_status(state, Status("kraken", BTC, T0, T0, "gap"), T0)
    else:
        on_link(state, Link(T0 - NS_PER_S, "kraken", "down", "closed"))
        on_link(state, Link(T0, "kraken", "up"))
    assert reason_of(ask(state, seen(9.0), at=4.9)) == Reason.STALE_DATA
    feed = seen(1.0, "feed", p=None, line=1.0)
    assert alert_of(ask(state, feed, at=4.9)).cause == "feed"
    assert alert_of(ask(state, seen(9.0), at=5.0)).data_verdict.feed == "gap"


def test_the_first_connection_holds_nothing_back() -> None:
    state = GateState()
    on_link(state, Link(T0, "kraken", "up"))
    assert alert_of(ask(state, seen(9.0), at=1.0)).severity == "page"


def move(n: int, score: float = 4.0) -> Observation:
    return seen(score, instrument=f"kraken:{n:02}/USD")


def test_many_instruments_at_once_are_one_storm_with_a_leader() -> None:
    state, gate = GateState(), Gate(alarms_per_day=1000)
    alone = [ask(state, move(n), n * 0.1, gate) for n in range(MEMBERS - 1)]
    assert all(isinstance(out, Alert) for out in alone)
    storm = alert_of(ask(state, move(MEMBERS, 6.0), 1.0, gate))
    assert (storm.instrument, storm.kind, storm.cause) == ("kraken:*", "storm", "price_jump")
    assert isinstance(storm.members, tuple)
    assert storm.members[0] == f"kraken:{MEMBERS:02}/USD"  # the rarest leads
    assert len(storm.members) == MEMBERS
    rest = [ask(state, move(n), 2.0, gate) for n in range(20, 20 + 2 * MEMBERS)]
    told = [out for out in rest if isinstance(out, Alert)]
    assert [alert.kind for alert in told] == ["storm"]  # once, when the members had doubled
    assert told[0].incident == storm.incident
    again = ask(state, move(20, 9.0), 3.0, gate)
    assert reason_of(again) == Reason.ALREADY_SHOWN
    over = list(on_timer(gate, state, T0 + 400 * NS_PER_S))
    assert {out.instrument for out in over if isinstance(out, Resolved)} >= {"kraken:*"}
    assert not state.storms


def test_the_same_number_of_moves_far_apart_is_no_storm() -> None:
    state, gate = GateState(), Gate(alarms_per_day=1000)
    apart = 2.0 * TOGETHER_NS / NS_PER_S
    outs = [ask(state, move(n), n * apart, gate) for n in range(3 * MEMBERS)]
    assert [alert_of(out).kind for out in outs] == [""] * len(outs)


@pytest.mark.parametrize("kind", ["imbalance", "micro_gap"])
def test_a_lopsided_book_is_not_thin(kind: str) -> None:
    state = GateState()
    list(judge(Gate(), state, Candidate(seen(2.1, "book", kind=kind), 1, 7, T0)))
    assert alert_of(ask(state, seen(4.0), at=5.0)).data_verdict.book is None


def test_each_forecast_is_a_line_of_its_own() -> None:
    """It can be right or wrong by itself, so it joins no incident, not even one of the price."""
    state = GateState()
    alert_of(ask(state, seen(5.0)))
    for start in (60, 120):
        forecast = seen(
            1.0, line=1.0, p=None, severity="info", kind="swing", p_persist=0.5,
            onset_ns=T0 + start * NS_PER_S,
        )  # fmt: skip
        told = alert_of(ask(state, forecast, at=start + 2.0))
        assert (told.severity, told.p_persist) == ("info", 0.5)
        assert reason_of(ask(state, forecast, at=start + 3.0)) == Reason.ALREADY_SHOWN
