"""Bot 4.15 while the CLOB is down: ten minutes in virtual time, with a real Redis and a real NATS.

S2-INT-2               CLOB down: STALE_DATA is said, and nothing is judged or reported
S2-FAIL-CLOB_API_DOWN  ten minutes of it: health, the alert rule, and recovery by itself
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import Struct
from s2_rules import firing
from s2_service import QUICK, QUICK_WARM, SPIKE, STALE, Page, Service, on_nats, on_redis, serving

from servers import nats_server, redis_server
from tapewatch.model.outputs import Report
from tapewatch.model.time import NS_PER_MS, NS_PER_S
from tapewatch.testing import virtual_time

JUDGED = "tapewatch_observations_total", 'detector="zscore"'
BEFORE, DOWN, AFTER = 3, 10, 3  # minutes


class Minute(Struct):
    """What can be seen of the service from outside."""

    health: dict[str, Any]
    advice: dict[str, Any]
    judged: float  # cycles, told or not


class Outage(Struct):
    """What happened, minute by minute; times in ms."""

    minutes: list[Minute]
    pages: list[Page]
    began_ms: int
    ended_ms: int
    redis: Sequence[Report]
    nats: Sequence[Report]
    stale: list[str]
    current: list[str]

    @property
    def during(self) -> list[Minute]:
        return self.minutes[BEFORE : BEFORE + DOWN]

    @property
    def afterwards(self) -> list[Minute]:
        return self.minutes[BEFORE + DOWN :]


async def look(service: Service) -> Minute:
    advice = await service.get(f"/v1/gate/{service.market.slug}")
    return Minute(await service.health(), advice[1], await service.total(*JUDGED))


async def scenario(folder: pathlib.Path, redis: str, nats: str) -> Outage:
    """The CLOB goes down just after a cycle, and the price moves by 20 deviations meanwhile."""
    minutes: list[Minute] = []
    async with serving(folder, *QUICK, f"redis.url={redis}", publish_to=[redis, nats]) as service:

        async def pass_minutes(count: int) -> None:
            for _ in range(count):
                await service.minutes(1)
                minutes.append(await look(service))

        await service.cycles(QUICK_WARM)
        await pass_minutes(BEFORE)
        began_ms = service.clock.now_ns() // NS_PER_MS
        service.server.down("clob")
        await pass_minutes(DOWN // 2)
        service.server.spike(sigmas=20.0)
        await pass_minutes(DOWN - DOWN // 2)
        ended_ms = service.clock.now_ns() // NS_PER_MS
        service.server.down("clob", on=False)
        await pass_minutes(AFTER)
        return Outage(
            minutes,
            service.pages,
            began_ms,
            ended_ms,
            await on_redis(redis),
            await on_nats(nats),
            service.log("data.stale"),
            service.log("data.current"),
        )


@pytest.fixture(scope="module")
def outage(tmp_path_factory: pytest.TempPathFactory) -> Outage:
    """One run for all tests."""
    with redis_server() as redis, nats_server() as nats:
        folder = tmp_path_factory.mktemp("outage")
        return virtual_time.run(scenario(folder, redis.url, nats.url))


def test_s2_int_2_clob_down_stale_data_and_no_checks(outage: Outage) -> None:
    """S2: with the CLOB's API down STALE_DATA is said as a warning, no anomaly checks run, and no
    ObservationReports go out."""
    assert [minute.advice["reason"] for minute in outage.during] == [STALE] * DOWN
    assert {minute.advice["action"] for minute in outage.during} == {"block"}
    (line,) = outage.stale
    assert "level=warning" in line
    assert STALE in line
    assert {minute.judged for minute in outage.during} == {outage.minutes[BEFORE - 1].judged}
    for told in (outage.redis, outage.nats):
        assert [
            one for one in told if outage.began_ms <= one.emitted_at_ms <= outage.ended_ms
        ] == []
        assert [
            one for one in told if outage.began_ms <= one.poll_cycle_ms <= outage.ended_ms
        ] == []


def test_s2_fail_clob_api_down(outage: Outage) -> None:
    """S2: block the CLOB's public API for ten minutes. Nothing is judged from what was known before
    (nor is the spike seen that happens meanwhile); health is red when it has been down for more
    than five minutes. On recovery polls, checks and reports go on by themselves."""
    colours = [minute.health["status"] for minute in outage.minutes]
    assert colours == ["green"] * BEFORE + ["yellow"] * 5 + ["red"] * 5 + ["green"] * AFTER
    assert all("clob has been down" in str(one.health["reasons"]) for one in outage.during)
    assert len(outage.current) == 1
    assert [one.judged - outage.during[-1].judged for one in outage.afterwards] == [2, 4, 6]
    assert outage.redis == outage.nats
    seen_ms = [one.poll_cycle_ms for one in outage.redis if one.poll_cycle_ms > outage.ended_ms]
    assert len(seen_ms) == 2 * AFTER
    assert seen_ms[0] - outage.ended_ms <= 30 * NS_PER_S // NS_PER_MS
    first = next(one for one in outage.redis if one.poll_cycle_ms == seen_ms[0])
    assert SPIKE in first.warnings  # against the baseline from before: it has not been lost


def test_s2_fail_clob_api_down_fires_anomaly_detector_stale(
    outage: Outage, tmp_path: pathlib.Path
) -> None:
    """S2: the alert AnomalyDetectorStale fires while it is down, neither before nor for good."""
    fires = firing(tmp_path, outage.pages, "AnomalyDetectorStale")
    assert fires
    assert min(fires) in range(BEFORE + 5, BEFORE + DOWN)
    assert max(fires) < BEFORE + DOWN
