"""Baselines that come back from elsewhere, as inputs; and what the engine says of the switch."""

import msgspec
import pytest

from tapewatch.detect.feed import Feed
from tapewatch.detect.zscore import ZScore
from tapewatch.engine.engine import Engine
from tapewatch.engine.snapshot import restore, snapshot
from tapewatch.model.inputs import Baseline, Command, Frame, Input, Timer
from tapewatch.model.outputs import Fault, Observation, Output
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.ndjson import Ndjson, Row, TradeRow

MARKET = "ndjson:A"
T0 = 1_763_700_000 * NS_PER_S
VENUE = Ndjson(ids=(MARKET,))


def engine(shard: tuple[int, int] = (0, 1)) -> Engine:
    return Engine([VENUE], [ZScore(cycle_s=30.0), Feed()], shard=shard)


def trading(cycles: int, at: int = T0) -> list[Input]:
    inputs: list[Input] = []
    for number in range(cycles):
        at += 30 * NS_PER_S
        price = 0.62 if number % 2 else 0.61
        row = Row(trade=TradeRow(MARKET, at, price, 1.0))
        inputs += [Frame(at, "ndjson", msgspec.json.encode(row)), Timer(at)]
    return inputs


def run(one: Engine, inputs: list[Input]) -> list[Output]:
    return [output for item in inputs for output in one.step(item)]


def lived() -> tuple[Engine, Command]:
    """An engine after an hour, and the command that gives another one its baseline."""
    one = engine()
    run(one, trading(120))
    keyed = one.detectors["zscore"]
    packed = keyed.detector.packed(keyed.states[MARKET])  # type: ignore[attr-defined]
    given = Baseline("zscore", MARKET, packed)
    return one, Command(one.now, "redis", "baseline", msgspec.json.encode(given).decode())


def first_cycle(one: Engine, at: int) -> Observation:
    seen = [o for o in run(one, trading(1, at)) if isinstance(o, Observation)]
    return next(o for o in seen if o.detector == "zscore")


def test_a_baseline_from_elsewhere_leaves_no_blind_hour() -> None:
    before, command = lived()
    after = engine()
    assert run(after, [command]) == []
    assert first_cycle(after, command.ts_recv).ready
    assert not first_cycle(engine(), command.ts_recv).ready
    assert before.detectors["zscore"].states.keys() == after.detectors["zscore"].states.keys()


def test_a_replay_and_a_snapshot_know_it_too() -> None:
    _, command = lived()
    tape = [command, *trading(40, command.ts_recv)]
    straight = run(engine(), tape)
    assert run(engine(), tape) == straight
    first, second = engine(), engine()
    head = run(first, tape[:2])
    restore(second, snapshot(first))
    assert head + run(second, tape[2:]) == straight


def test_only_the_shard_of_the_market_takes_it() -> None:
    _, command = lived()
    shards = [engine((number, 3)) for number in range(3)]
    assert [run(one, [command]) for one in shards] == [[], [], []]
    assert sum(MARKET in one.detectors["zscore"].states for one in shards) == 1


@pytest.mark.parametrize(
    ("argument", "why"),
    [
        ("", "truncated"),
        ("{}", "missing"),
        ('{"detector":"zscore","instrument":"a:b","packed":"&"}', "base64"),
        ('{"detector":"zscore","instrument":"a:b","packed":""}', "no baseline"),
        ('{"detector":"zs\\u001b","instrument":"a:b","packed":""}', "does not run"),
        ('{"detector":"feed","instrument":"a:b","packed":""}', "keeps no baselines"),
        ("[" * 100_000, "array"),
    ],
)
def test_what_cannot_be_adopted_is_told(argument: str, why: str) -> None:
    one = engine()
    (fault,) = run(one, [Command(T0, "redis", "baseline", argument)])
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.source) == ("baseline_refused", "redis")
    assert why in fault.detail
    assert "\x1b" not in fault.detail
    assert not one.detectors["zscore"].states


def test_what_was_measured_here_is_not_replaced() -> None:
    one, command = lived()
    state = msgspec.msgpack.encode(one.detectors["zscore"].states[MARKET])
    (fault,) = run(one, [command])
    assert isinstance(fault, Fault)
    assert "measured already" in fault.detail
    assert msgspec.msgpack.encode(one.detectors["zscore"].states[MARKET]) == state


def test_the_switch_is_told_once_with_who_and_why() -> None:
    words = ["on: too loud", "on: again", "unknown: no answer", "off"]
    told = run(engine(), [Command(T0, "ops", "kill", word) for word in words])
    assert [(o.kind, o.source, o.detail) for o in told if isinstance(o, Fault)] == [
        ("killswitch_on", "killswitch", "ops: too loud (KILL_SWITCH_ACTIVE)"),
        ("killswitch_unreadable", "killswitch", "ops: no answer (KILL_SWITCH_ACTIVE)"),
        ("killswitch_off", "killswitch", "ops"),
    ]
    assert engine().step(Command(T0, "ops", "kill", "off")) == []


def test_the_switch_is_told_by_one_shard() -> None:
    told = [engine((n, 3)).step(Command(T0, "ops", "kill", "on: why")) for n in range(3)]
    assert sum(map(len, told)) == 1
