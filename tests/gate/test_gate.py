"""The gate decides; every decision is an output."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tapewatch.gate.alerts import Candidate
from tapewatch.gate.gate import (
    Gate,
    GateState,
    judge,
    on_forget,
    on_kill,
    on_link,
    on_status,
    on_timer,
)
from tapewatch.gate.reports import sampled
from tapewatch.model.events import Status
from tapewatch.model.inputs import Link
from tapewatch.model.outputs import (
    Alert,
    Contribution,
    Observation,
    Output,
    Report,
    Resolved,
    Suppressed,
)
from tapewatch.model.reasons import REASONS, Reason
from tapewatch.model.time import NS_PER_S

BTC = "kraken:BTC/USD"
T0 = 1_763_700_000 * NS_PER_S


def seen(score: float = 4.0, *, at: float = 0.0, **changes: object) -> Observation:
    base = Observation("zscore", BTC, "price_spike", T0 + int(at * NS_PER_S), score, 3.0)
    return msgspec.structs.replace(base, **changes)


def ask(gate: Gate, state: GateState, item: Observation, at: float = 0.0) -> list[Output]:
    return list(judge(gate, state, Candidate(item, 1, 7, T0 + int(at * NS_PER_S))))


def only_alert(outputs: list[Output]) -> Alert:
    (alert,) = outputs
    assert isinstance(alert, Alert)
    return alert


def reason(outputs: list[Output]) -> str:
    (held,) = outputs
    assert isinstance(held, Suppressed)
    return held.reason


def test_an_observation_below_its_line_is_not_a_candidate() -> None:
    assert ask(Gate(), GateState(), seen(2.99)) == []


def test_the_first_candidate_opens_an_incident_and_alerts() -> None:
    alert = only_alert(ask(Gate(), GateState(), seen(3.0), at=0.5))
    assert (alert.instrument, alert.cause, alert.severity) == (BTC, "price_spike", "warn")
    assert alert.data_verdict.feed == "complete"
    assert alert.data_verdict.lag_ms == 500.0
    assert alert.evidence == {"seq": 7, "detector_version": 1}


def test_a_line_set_by_the_user_replaces_the_detectors_own() -> None:
    gate = Gate(lines={"zscore": 5.0})
    assert ask(gate, GateState(), seen(4.9)) == []
    assert only_alert(ask(gate, GateState(), seen(5.0))).line == 5.0


def test_ids_are_the_same_in_another_process_and_differ_between_incidents() -> None:
    first, again = (only_alert(ask(Gate(), GateState(), seen())) for _ in range(2))
    other = only_alert(ask(Gate(), GateState(), seen(at=1.0)))
    assert first.id == again.id
    assert first.incident != other.incident


def test_an_open_incident_is_not_shown_again_unless_worse_after_the_cooldown() -> None:
    gate, state = Gate(cooldown_s=10, worse=0.2, quiet_s=1000), GateState()
    first = only_alert(ask(gate, state, seen(4.0)))
    assert reason(ask(gate, state, seen(9.0), at=9.9)) == Reason.ALREADY_SHOWN
    assert reason(ask(gate, state, seen(10.0), at=10.1)) == Reason.ALREADY_SHOWN  # < 9.0 x 1.2
    again = only_alert(ask(gate, state, seen(12.0), at=10.2))
    assert again.incident == first.incident
    assert again.id != first.id


def test_a_risen_severity_is_shown_at_once() -> None:
    gate, state = Gate(), GateState()
    ask(gate, state, seen(4.0))
    assert only_alert(ask(gate, state, seen(4.1, severity="page"), at=1)).severity == "page"


def test_another_kind_of_the_same_cause_is_another_incident() -> None:
    gate, state = Gate(), GateState()
    only_alert(ask(gate, state, seen(cause="feed", kind="gap")))
    assert only_alert(ask(gate, state, seen(cause="feed", kind="clock"))).kind == "clock"
    assert reason(ask(gate, state, seen(cause="feed", kind="gap"))) == Reason.ALREADY_SHOWN


def test_a_quiet_incident_resolves_with_its_counts() -> None:
    gate, state = Gate(quiet_s=60), GateState()
    ask(gate, state, seen(4.0))
    ask(gate, state, seen(5.0), at=10)
    assert list(on_timer(gate, state, T0 + 70 * NS_PER_S)) == []
    (over,) = on_timer(gate, state, T0 + 71 * NS_PER_S)
    assert isinstance(over, Resolved)
    assert (over.instrument, over.cause, over.alerts, over.merged, over.peak) == (
        BTC,
        "price_spike",
        1,
        1,
        5.0,
    )
    assert state.incidents == {}


def silence(seconds: float, *, onset: float = 0.0) -> Observation:
    return seen(seconds / 120, at=onset + seconds, cause="silence", line=1.0, onset_ns=T0)


def timers(gate: Gate, state: GateState, start: int, end: int) -> list[Output]:
    return [out for at in range(start, end) for out in on_timer(gate, state, T0 + at * NS_PER_S)]


def test_a_silence_is_one_incident_until_it_has_been_over_for_the_quiet_time() -> None:
    gate, state = Gate(cooldown_s=10_000, quiet_s=300), GateState()
    alert = only_alert(ask(gate, state, silence(120), 120))
    assert timers(gate, state, 120, 600) == []
    assert reason(ask(gate, state, silence(600), 600)) == Reason.ALREADY_SHOWN
    assert timers(gate, state, 600, 1000) == []
    ask(gate, state, seen(8.0, cause="resumed", line=1.0), 1000)
    assert timers(gate, state, 1000, 1200) == []
    # It flaps: still the same incident, and the quiet time begins anew when it is over.
    assert reason(ask(gate, state, silence(120, onset=1080), 1200)) == Reason.ALREADY_SHOWN
    ask(gate, state, seen(1.0, cause="resumed", line=1.0), 1210)
    resolved = timers(gate, state, 1210, 2000)
    silences = [out for out in resolved if isinstance(out, Resolved) and out.cause == "silence"]
    assert [(out.incident, out.alerts) for out in silences] == [(alert.incident, 1)]
    assert silences[0].ts_ns == T0 + 1210 * NS_PER_S


def test_a_silence_ends_with_the_memory_of_the_detector_that_reported_it() -> None:
    gate, state = Gate(quiet_s=300), GateState()
    only_alert(ask(gate, state, silence(120), 120))
    on_forget(state, "driftlock", BTC)
    assert state.stale
    assert timers(gate, state, 120, 1000) == []
    on_forget(state, "zscore", BTC)
    assert not state.stale
    assert len(timers(gate, state, 1000, 1001)) == 1


def test_nothing_is_judged_before_its_baseline_is_ready() -> None:
    outputs = ask(Gate(), GateState(), seen(9.0, ready=False))
    assert reason(outputs) == Reason.ANOMALYDETECTOR_INSUFFICIENT_BASELINE


def test_low_confidence_never_pages() -> None:
    alert = only_alert(ask(Gate(), GateState(), seen(severity="page", low_confidence=True)))
    assert alert.severity == "info"


@pytest.mark.parametrize("how", ["link", "silence", "halt"])
def test_market_causes_are_held_back_while_data_are_stale(how: str) -> None:
    gate, state = Gate(settle_s=0), GateState()
    if how == "link":
        on_link(state, Link(T0, "kraken", "down", "closed"))
    elif how == "silence":
        ask(gate, state, seen(2.0, cause="silence", line=1.0))
    else:
        on_status(state, Status("kraken", "", T0, T0, "halted"), T0)
    assert reason(ask(gate, state, seen())) == Reason.STALE_DATA
    if how == "link":
        on_link(state, Link(T0, "kraken", "up"))
    elif how == "silence":
        ask(gate, state, seen(2.0, cause="resumed", line=1.0))
    else:
        on_status(state, Status("kraken", "", T0, T0, "online"), T0)
    only_alert(ask(gate, state, seen()))


def test_another_venue_is_not_stale_because_one_link_is_down() -> None:
    state = GateState()
    on_link(state, Link(T0, "polymarket", "down"))
    only_alert(ask(Gate(), state, seen()))


def test_feed_causes_are_shown_from_stale_data_and_say_so() -> None:
    state = GateState()
    on_link(state, Link(T0, "kraken", "down"))
    alert = only_alert(ask(Gate(), state, seen(2.0, cause="silence", line=1.0)))
    assert alert.data_verdict.feed == "stale"


def test_a_recent_gap_is_part_of_the_verdict() -> None:
    state = GateState()
    on_status(state, Status("kraken", BTC, T0, T0, "gap"), T0)
    verdict = only_alert(ask(Gate(settle_s=0), state, seen(at=3.2), at=3.2)).data_verdict
    assert (verdict.feed, verdict.gap_before_s) == ("gap", 3.2)
    late = only_alert(ask(Gate(), GateState(last_gap=state.last_gap), seen(at=301), at=301))
    assert late.data_verdict.feed == "complete"


def cycle(score: float, n: int, *, low: bool = False) -> Observation:
    return seen(
        score,
        at=float(n),
        report=True,
        interval_s=1.0,
        cycle_ms=T0 // 1_000_000 + n * 1000,
        low_confidence=low,
        contributions=(Contribution("price", score), Contribution("volume", 0.5)),
    )


def test_every_tenth_normal_report_goes_out_and_every_anomalous_one() -> None:
    gate, state = Gate(sample_rate=10), GateState()
    out = [ask(gate, state, cycle(0.5, n))[0] for n in range(20)]
    told = [n for n, item in enumerate(out) if isinstance(item, Report)]
    assert len(told) == 2
    assert told[1] - told[0] == 10
    assert {item.reason for item in out if isinstance(item, Suppressed)} == {Reason.SAMPLED_OUT}
    anomalous, alert = ask(gate, state, cycle(5.0, 21))
    assert isinstance(anomalous, Report)
    assert isinstance(alert, Alert)
    assert (anomalous.anomaly_detected, anomalous.z_price, anomalous.z_vol) == (True, 5.0, 0.5)
    assert anomalous.warnings == (Reason.ANOMALYDETECTOR_PRICE_SPIKE,)


def test_replicas_tell_the_same_cycles_and_markets_take_turns() -> None:
    cycles = [cycle(0.5, n) for n in range(10)]
    whole = [sampled(one, 10) for one in cycles]
    assert whole[4:] == [sampled(one, 10) for one in cycles[4:]], "wherever one begins"
    turns = {
        next(n for n, one in enumerate(cycles) if sampled(replace(one, instrument=f"a:{k}"), 10))
        for k in range(100)
    }
    assert len(turns) == 10


def test_a_borderline_cycle_is_reported_with_low_confidence_and_does_not_alert() -> None:
    gate, state = Gate(), GateState()
    ask(gate, state, cycle(0.5, 0))
    (borderline,) = ask(gate, state, cycle(2.5, 1, low=True))
    assert isinstance(borderline, Report)
    assert (borderline.low_confidence, borderline.anomaly_detected) == (True, False)


def test_no_report_is_made_from_stale_data() -> None:
    state = GateState()
    on_link(state, Link(T0, "kraken", "down"))
    assert ask(Gate(), state, cycle(0.5, 0)) == []


def test_report_ids_depend_on_market_and_cycle_only() -> None:
    one, two = (ask(Gate(sample_rate=1), GateState(), cycle(z, 0))[0] for z in (0.1, 0.9))
    assert isinstance(one, Report)
    assert isinstance(two, Report)
    assert one.report_id == two.report_id
    assert one.report_id.endswith(f"_{T0 // 1_000_000}")


@given(
    st.lists(
        st.tuples(
            st.floats(0, 50),
            st.sampled_from(["price_spike", "silence", "feed"]),
            st.sampled_from(["info", "warn", "page"]),
            st.booleans(),
            st.floats(0, 2000),
        ),
        max_size=40,
    ),
    st.sampled_from(["on", "unknown", "garbage"]),
)
def test_nothing_leaves_while_the_kill_switch_is_active(
    items: list[tuple[float, str, str, bool, float]], switch: str
) -> None:
    gate, state = Gate(sample_rate=1), GateState()
    assert list(on_kill(state, switch, T0)) == []
    for score, cause, severity, report, at in sorted(items, key=lambda item: item[4]):
        item = seen(score, at=at, cause=cause, severity=severity, report=report)
        outputs = [*ask(gate, state, item, at), *on_timer(gate, state, item.ts_event)]
        assert all(isinstance(out, Suppressed) for out in outputs)


def test_an_incident_still_open_when_the_switch_is_released_is_shown_once() -> None:
    gate, state = Gate(), GateState()
    list(on_kill(state, "on", T0))
    assert reason(ask(gate, state, seen())) == Reason.KILL_SWITCH_ACTIVE
    (shown,) = on_kill(state, "off", T0 + 5)
    assert isinstance(shown, Alert)
    assert shown.ts_alert_ns == T0 + 5
    assert list(on_kill(state, "off", T0 + 6)) == []
    assert reason(ask(gate, state, seen(4.1, at=1))) == Reason.ALREADY_SHOWN


def test_an_incident_that_ended_under_the_switch_is_not_shown_later() -> None:
    gate, state = Gate(quiet_s=10), GateState()
    list(on_kill(state, "on", T0))
    ask(gate, state, seen())
    assert list(on_timer(gate, state, T0 + 11 * NS_PER_S)) == []
    assert list(on_kill(state, "off", T0 + 12 * NS_PER_S)) == []


def test_every_reason_says_what_it_means_and_what_happens() -> None:
    assert set(REASONS) == set(Reason)
    assert all(info.meaning and info.action for info in REASONS.values())
