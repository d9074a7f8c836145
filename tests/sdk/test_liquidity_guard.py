"""S2-INT-1 with the example as it is shipped, and real servers."""

import asyncio
import pathlib
import runpy
from typing import Any

import nats
import pytest
from bus_kit import CONDITION, SPIKE, binary, report, structured
from redis.asyncio import Redis

from servers import nats_server, redis_server
from tapewatch.model.outputs import Report
from tapewatch.sdk.bus_gate import REPORTS

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
GUARD_S = 30.0


def example(name: str) -> Any:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


async def send(kind: str, url: str, told: Report) -> None:
    if kind == "redis":
        client = Redis.from_url(url)
        await client.xadd(REPORTS, {"event": structured(told)})
        await client.aclose()
        return
    link = await nats.connect(url)
    stream = link.jetstream()
    await stream.add_stream(name="tapewatch", subjects=[f"{REPORTS}.>", REPORTS])
    data, headers = binary(told)
    await stream.publish(REPORTS, data, headers=headers)
    await link.close()


@pytest.mark.parametrize("kind", ["nats", "redis"])
def test_s2_int_1_the_guard_receives_the_report_before_the_strategy_enters(kind: str) -> None:
    """S2-INT-1: anomaly detected, emitted, consumed by LiquidityGuard for its pre-trade gate."""
    start = nats_server if kind == "nats" else redis_server

    async def scenario(url: str) -> None:
        entries: list[str] = []
        async with example("liquidity_guard")["LiquidityGuard"](url) as guard:

            async def told(sent: Report) -> None:
                await send(kind, url, sent)
                async with asyncio.timeout(GUARD_S):
                    while sent not in guard.received:
                        guard.news.clear()
                        await guard.news.wait()

            def strategy() -> None:
                if guard.may_enter(CONDITION) is None:
                    entries.append(CONDITION)

            strategy()  # nothing is known yet: the safe side
            assert not entries
            await told(report())
            strategy()
            assert len(entries) == 1
            anomalous = report(anomalous=True)
            await told(anomalous)
            strategy()
            assert len(entries) == 1
            assert guard.received[-1].anomaly_detected is True
            why_not = guard.may_enter(CONDITION)
            assert (why_not.action, why_not.reason) == ("block", SPIKE)
            assert why_not.evidence == anomalous.report_id

    with start() as server:
        asyncio.run(scenario(server.url))
