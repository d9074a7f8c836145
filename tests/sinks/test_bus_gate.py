"""What is published is what the gate of a strategy reads: the two ends were written apart."""

import pathlib
from typing import Any

import pytest
from publishing_kit import CONDITION, Box, make_alert, make_report, run, until

from servers import nats_server, redis_server
from tapewatch.gate.advice import Mode
from tapewatch.io.clock import SystemClock
from tapewatch.model.time import NS_PER_MS
from tapewatch.sdk.nats_gate import NatsGate
from tapewatch.sdk.redis_gate import RedisGate
from tapewatch.sinks.bus import BusSink, publisher
from tapewatch.sinks.bus_settings import BusSettings


@pytest.mark.parametrize("scheme", ["nats", "redis"])
@pytest.mark.parametrize(("mode", "action"), [("general_live", "block"), ("shadow_only", "allow")])
def test_a_report_on_the_bus_blocks_a_strategy_unless_it_is_on_trial(
    scheme: str, mode: Mode, action: str, tmp_path: pathlib.Path
) -> None:
    async def scenario(url: str) -> None:
        told: list[Any] = []
        gate = (NatsGate if scheme == "nats" else RedisGate)(url, on_told=told.append)
        sink = BusSink(BusSettings(), publisher(BusSettings(), url), mode=mode)
        now_ms = SystemClock().now_ns() // NS_PER_MS
        report = make_report(1, anomalous=True, emitted_at_ms=now_ms, poll_cycle_ms=now_ms)
        alert = make_alert(1, ts_event_ns=now_ms * NS_PER_MS, ts_alert_ns=now_ms * NS_PER_MS)
        async with Box(tmp_path, sink) as box, gate:
            await box.say(report, alert, mode=mode)
            await until(lambda: len(told) == 2)
            advice = gate.check(CONDITION)
        assert gate.counters.malformed == 0
        assert advice.action == action
        assert report in told
        assert alert in told

    with nats_server() if scheme == "nats" else redis_server() as server:
        run(lambda: scenario(server.url))
