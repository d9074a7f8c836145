"""Bot 4.15's acceptance tests by name, against a whole service beside a simulated Polymarket.

S2-UNIT-1, S2-UNIT-2, S2-UNIT-3, S2-INT-2, S2-PROP-2, CLOB_API_DOWN, SYNTHETIC_PRICE_SPIKE,
KILL_SWITCH_ON. Elsewhere: S2-INT-1 in `tests/sdk/test_liquidity_guard.py`, S2-PROP-1 in
`tests/test_read_only.py`.
"""

import pathlib
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from s2_service import CYCLE_S, KILLED, SPIKE, STALE, WARM, Service, emitted_s, serving

from tapewatch.app.self_check import LOW, MARKET, START_NS, USUAL
from tapewatch.detect.zscore import ZScore
from tapewatch.engine.engine import Engine
from tapewatch.gate.gate import Gate
from tapewatch.io import control
from tapewatch.model.inputs import Command, Frame, Timer
from tapewatch.model.outputs import Alert, Observation, Report, Suppressed
from tapewatch.model.time import NS_PER_S
from tapewatch.testing.virtual_time import run
from tapewatch.venues.ndjson import Ndjson, Row, TradeRow

CYCLES = ("tapewatch_observations_total", 'detector="zscore"')

Job = Callable[[Service], Coroutine[Any, Any, None]]


def serve(folder: pathlib.Path, job: Job, *changes: str) -> None:
    """Let a service run in virtual time until its baseline is populated, then do `job`."""

    async def scenario() -> None:
        async with serving(folder, *changes) as service:
            await service.cycles(WARM)
            await job(service)

    run(scenario())


def test_s2_unit_1_a_price_above_the_threshold_is_reported(tmp_path: pathlib.Path) -> None:
    """A price five standard deviations above its mean of an hour: a report with
    anomaly_detected, its z-score and PRICE_SPIKE. This is also SYNTHETIC_PRICE_SPIKE."""

    async def job(service: Service) -> None:
        before = await service.total("tapewatch_anomalies_total", 'type="price_spike"')
        service.server.spike(service.market.slug, 8.0)
        await service.cycles(2)
        told = [one for one in service.reports() if SPIKE in one.warnings]
        assert told
        assert all(one.anomaly_detected and abs(one.z_price or 0.0) >= 5.0 for one in told[:1])
        after = await service.total("tapewatch_anomalies_total", 'type="price_spike"')
        assert after > before

    serve(tmp_path, job)


def test_s2_unit_2_normal_cycles_are_sampled(tmp_path: pathlib.Path) -> None:
    """Within the threshold a report goes out every tenth cycle, with anomaly_detected false."""

    async def job(service: Service) -> None:
        await service.cycles(41)
        normal = [one for one in service.reports() if not one.warnings and not one.low_confidence]
        assert len(normal) >= 3
        assert not any(one.anomaly_detected for one in normal)
        gaps = {
            (later.poll_cycle_ms - earlier.poll_cycle_ms) // (CYCLE_S * 1000)
            for earlier, later in pairwise(normal)
        }
        assert all(gap % 10 == 0 for gap in gaps)

    serve(tmp_path, job)


def test_s2_unit_3_the_kill_switch_suppresses_what_is_emitted(tmp_path: pathlib.Path) -> None:
    """While it is on there is no report, although an anomaly is there and is measured;
    KILL_SWITCH_ACTIVE is logged once. When it is off again, reports go out. KILL_SWITCH_ON."""

    async def job(service: Service) -> None:
        switch = service.folder / "killswitch"
        control.write(switch, "on", actor="risk", reason="drill", now_ns=service.clock.now_ns())
        on_s = service.clock.now_ns() / NS_PER_S
        await service.cycles(1)
        held = len(service.reports())
        service.server.spike(service.market.slug, 8.0)
        await service.cycles(12)
        assert len(service.reports()) == held
        assert all(emitted_s(one) <= on_s + CYCLE_S for one in service.reports())
        assert await service.total("tapewatch_suppressed_total", f'reason="{KILLED}"') > 0
        (line,) = service.log("killswitch.on")
        assert KILLED in line
        assert "risk" in line
        control.write(switch, "off", actor="risk", reason="", now_ns=service.clock.now_ns())
        await service.cycles(21)
        assert len(service.reports()) > held

    serve(tmp_path, job)


def test_s2_int_2_and_clob_api_down_for_ten_minutes(tmp_path: pathlib.Path) -> None:
    """The order books' service is away: STALE_DATA, nothing is detected and nothing reported,
    health is red after five minutes; when it is back, all goes on by itself."""

    async def job(service: Service) -> None:
        assert (await service.health())["status"] == "green"
        service.server.down("clob")
        await service.cycles(3)
        assert service.log("data.stale")
        held, measured = len(service.reports()), await service.total(*CYCLES)
        await service.cycles(20)  # ten minutes
        assert len(service.reports()) == held
        assert await service.total(*CYCLES) == measured
        assert (await service.health())["status"] == "red"
        service.server.down("clob", on=False)
        await service.cycles(14)
        assert len(service.reports()) > held
        assert (await service.health())["status"] == "green"
        assert service.log("data.current")

    serve(tmp_path, job)


Step = tuple[str, float]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("kill"), st.sampled_from([0.0, 1.0, 2.0])),
        st.tuples(st.just("trade"), st.sampled_from([LOW, 0.5, 0.51, 0.6, 0.9])),
    ),
    max_size=80,
)


@given(steps=STEPS)
def test_s2_prop_2_no_report_while_killed(steps: list[Step]) -> None:
    """No ObservationReport is emitted when the kill switch is active: always."""
    detector = ZScore(cycle_s=1.0, min_samples=4)
    engine = Engine([Ndjson(ids=(MARKET,))], [detector], Gate(sample_rate=1))
    now, killed = START_NS, False
    for what, value in steps:
        now += NS_PER_S
        if what == "kill":
            killed = value > 0
            argument = ("off", "on", "unknown")[int(value)]
            outputs = engine.step(Command(now, "test", "kill", argument))
        else:
            row = Row(trade=TradeRow(MARKET, now, value, USUAL))
            outputs = engine.step(Frame(now, Ndjson.name, msgspec.json.encode(row), "rest:import"))
        outputs += engine.step(Timer(now + NS_PER_S // 2))
        told = [one for one in outputs if isinstance(one, Report | Alert)]
        assert not (killed and told)
        measured = [one for one in outputs if isinstance(one, Observation) and one.report]
        held = [one for one in outputs if isinstance(one, Suppressed) and one.what == "report"]
        if killed:
            assert len(held) == len(measured), "detection goes on, and what is held is counted"
            assert all(one.reason in (KILLED, STALE) for one in held)
