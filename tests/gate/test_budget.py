"""The alarm budget keeps to its rate, shows the rarest, and hides nothing great."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.gate.alerts import Candidate
from tapewatch.gate.budget import (
    DAY_NS,
    EVENTS,
    PROFILES,
    Account,
    affordable,
    enter,
    realised,
)
from tapewatch.gate.gate import Gate, GateState, judge, on_timer
from tapewatch.model.outputs import Alert, Observation, Output, Suppressed
from tapewatch.model.reasons import Reason
from tapewatch.model.time import NS_PER_S

T0 = 1_763_700_000 * NS_PER_S
HOUR_NS = 3600 * NS_PER_S


def seen(score: float, instrument: str = "kraken:BTC/USD", **changes: object) -> Observation:
    base = Observation(
        "price_jump", instrument, "price_jump", T0, score, 3.5, severity="page", p=10.0**-score,
        interval_s=3600.0,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def ask(gate: Gate, state: GateState, item: Observation, at_ns: int = 0) -> list[Output]:
    list(on_timer(gate, state, T0 + at_ns))
    dated = msgspec.structs.replace(item, ts_event=T0 + at_ns)
    return list(judge(gate, state, Candidate(dated, 1, 7, T0 + at_ns)))


def shown(outputs: list[Output]) -> Alert | None:
    (one,) = outputs
    if isinstance(one, Alert):
        return one
    assert isinstance(one, Suppressed)
    return None


def test_a_month_of_events_shows_as_many_as_were_asked_for_and_the_rarest() -> None:
    """One event an hour with an exponential law of decades; three a day are wanted."""
    chance = random.Random(1)
    gate, state = Gate(alarms_per_day=3), GateState()
    told: list[float] = []
    held: list[float] = []
    for hour in range(24 * 30):
        score = 3.5 + chance.expovariate(1.0)
        alert = shown(ask(gate, state, seen(score), hour * HOUR_NS))
        (held if alert is None else told).append(score)
    late = told[3 * 7 :]  # after the first week's learning
    assert 1.6 <= len(told) / 30 <= 3.5
    assert min(late) > sorted(held)[len(held) // 2]
    assert max(held) < max(told)


@given(st.lists(st.floats(3.5, 8.0), max_size=80), st.floats(0.5, 12.0))
def test_what_is_rarer_than_everything_before_always_passes(
    scores: list[float], per_day: float
) -> None:
    account = Account(T0)
    for n, score in enumerate(scores):
        enter(account, "x", score, T0 + n * HOUR_NS, shown=True)
    now = T0 + len(scores) * HOUR_NS
    assert affordable(account, per_day, "x", 8.1, 1.0, now)


def test_a_flood_of_small_ones_does_not_hide_a_great_one() -> None:
    gate, state = Gate(alarms_per_day=2, group_alarms_per_day=2), GateState()
    results = [
        shown(ask(gate, state, seen(3.6, f"kraken:{n}/USD"), n * 11 * NS_PER_S)) for n in range(500)
    ]
    assert sum(alert is not None for alert in results) == 2
    great = shown(ask(gate, state, seen(7.0), 5_600 * NS_PER_S))
    assert great is not None
    assert great.severity == "page"


def test_at_first_chance_alone_is_expected() -> None:
    """Of a measurement a second and as many beside it, 17 a day are as rare as four decades."""
    gate = Gate(alarms_per_day=1)
    assert shown(ask(gate, GateState(), seen(5.2, interval_s=1.0))) is None
    assert shown(ask(gate, GateState(), seen(5.3, interval_s=1.0))) is not None
    assert shown(ask(Gate(alarms_per_day=18), GateState(), seen(4.0, interval_s=1.0))) is not None
    quiet_week = GateState()
    ask(gate, quiet_week, seen(3.6, "kraken:BTC/USD", interval_s=1.0))
    assert shown(ask(gate, quiet_week, seen(4.5, interval_s=1.0), 7 * 24 * HOUR_NS)) is not None


def test_what_the_budget_keeps_back_is_said_and_shown_when_it_grows_rarer() -> None:
    gate, state = Gate(alarms_per_day=1, group_alarms_per_day=1), GateState()
    assert shown(ask(gate, state, seen(5.0))) is not None
    (held,) = ask(gate, state, seen(4.0, "kraken:ETH/USD"), HOUR_NS)
    assert isinstance(held, Suppressed)
    assert held.reason == Reason.BUDGET_SPENT
    assert shown(ask(gate, state, seen(5.2, "kraken:ETH/USD"), HOUR_NS + NS_PER_S)) is not None


def test_what_several_detectors_say_of_one_event_costs_once() -> None:
    gate, state = Gate(), GateState()
    assert shown(ask(gate, state, seen(6.0))) is not None
    pump = seen(4.0, cause="pump", detector="pump")
    assert shown(ask(gate, state, pump, 5 * NS_PER_S)) is not None
    assert len(state.accounts["*"].events) == 1
    assert shown(ask(gate, state, pump, HOUR_NS)) is None  # an hour later it is another event


def test_a_group_has_a_budget_of_its_own() -> None:
    gate, state = Gate(alarms_per_day=100, group_alarms_per_day=1), GateState()
    assert shown(ask(gate, state, seen(5.0, "kraken:BTC/USD"))) is not None
    assert shown(ask(gate, state, seen(4.0, "kraken:BTC/EUR"), HOUR_NS)) is None
    assert shown(ask(gate, state, seen(4.0, "kraken:ETH/USD"), HOUR_NS)) is not None


def test_a_broken_rule_is_told_whatever_the_budget_and_counts() -> None:
    gate, state = Gate(alarms_per_day=1), GateState()
    for n in range(5):
        rule = seen(1.0, cause="crossed", line=1.0, p=None, severity="warn", kind=str(n))
        alert = shown(ask(gate, state, rule, n * HOUR_NS))
        assert alert is not None
        assert alert.realised_per_day == n + 1
    assert (
        shown(ask(gate, state, seen(3.6), 5 * HOUR_NS)) is not None
    )  # what is measured ranks above


def test_a_lost_feed_is_told_whatever_the_budget() -> None:
    gate, state = Gate(alarms_per_day=1), GateState()
    for n in range(4):
        silence = seen(4.0, f"kraken:{n}/USD", cause="silence", severity="warn")
        assert shown(ask(gate, state, silence, n * HOUR_NS)) is not None


def test_information_costs_nothing() -> None:
    gate, state = Gate(alarms_per_day=1), GateState()
    for n in range(5):
        alert = shown(ask(gate, state, seen(9.0, f"kraken:{n}/USD", severity="info"), n))
        assert alert is not None
        assert (alert.severity, alert.realised_per_day) == ("info", 0.0)
    assert shown(ask(gate, state, seen(3.6))) is not None


def test_a_profile_stands_for_numbers_that_can_be_replaced() -> None:
    strict, balanced, sensitive = (
        Gate(profile=name).budget
        for name in ("strict", "balanced", "sensitive")  # type: ignore[arg-type]
    )
    assert strict.alarms_per_day < balanced.alarms_per_day < sensitive.alarms_per_day
    assert strict.line > balanced.line > sensitive.line
    assert Gate(profile="strict", alarms_per_day=9).budget.alarms_per_day == 9
    assert Gate(alarms_per_day=9).budget.group_alarms_per_day == 9
    assert Gate(alarms_per_day=9, group_alarms_per_day=2).budget.group_alarms_per_day == 2
    assert Gate().budget.group_alarms_per_day == 1
    assert Gate(alarms_per_day=0).budget == Gate().budget == PROFILES["balanced"]
    item = seen(3.2)
    assert list(judge(Gate(), GateState(), Candidate(item, 1, 7, T0))) == []
    assert shown(ask(Gate(profile="sensitive"), GateState(), item)) is not None


def test_the_realised_rate_is_that_of_the_window() -> None:
    account = Account(T0)
    for day in range(20):
        enter(account, "x", 4.0, T0 + day * DAY_NS, shown=day % 2 == 0)
    assert realised(account, T0 + 19 * DAY_NS) == pytest.approx(0.5, abs=0.08)


def test_an_account_is_bounded() -> None:
    account = Account(T0)
    for n in range(3 * EVENTS):
        enter(account, str(n), 4.0, T0 + n, shown=False)
    assert len(account.events) <= EVENTS + 1
