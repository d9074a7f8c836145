"""Bot 4.15's other injected failures, against a whole service with a real Redis and a real NATS.

S2-FAIL-SYNTHETIC_PRICE_SPIKE  five deviations above the baseline of a test market
S2-FAIL-KILL_SWITCH_ON         thrown while it detects: in a file, over HTTP, in Redis
S2-INT-1                       LiquidityGuard has the report before its strategy enters
S2-PROP-1                      a whole session asks for public data, and for nothing else
"""

import asyncio
import pathlib
import runpy
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec import structs
from redis.asyncio import Redis
from s2_rules import firing
from s2_service import (
    CALM,
    CYCLE_S,
    KILLED,
    QUICK,
    QUICK_WARM,
    SPIKE,
    Page,
    Service,
    on_nats,
    on_redis,
    serving,
)

from servers import nats_server, redis_server
from tapewatch.io import control
from tapewatch.model.outputs import Report
from tapewatch.model.time import NS_PER_MS
from tapewatch.simulate.polymarket_book import ONE
from tapewatch.testing import virtual_time

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
OBSERVED, ANOMALIES = "tapewatch_observations_total", "tapewatch_anomalies_total"
REQUESTS = "tapewatch_http_requests_total"
MORE = 8  # minutes after a spike
QUIET = structs.replace(CALM, trades_per_s=0.0)  # its volume is no anomaly


def now_ms(service: Service) -> int:
    return service.clock.now_ns() // NS_PER_MS


async def spike_to(service: Service, redis_url: str, sigmas: float) -> float:
    """Move the mid price at least so many deviations from the mean that the service has, by whole
    ticks; returns how many it then are."""
    mean, std = await service.sigma(redis_url)
    crowd = service.server.planter.crowd()
    tick = crowd.book.listing.tick / ONE
    std = max(std, tick / 2)  # the detector's floor
    way = 1 if mean < 0.5 else -1
    target = mean + way * (sigmas * std + tick)
    crowd.jump(round(target * ONE))
    assert crowd.book.mid is not None
    return abs(crowd.book.mid / ONE - mean) / std


def test_s2_fail_synthetic_price_spike(tmp_path: pathlib.Path) -> None:
    """S2: put the mid price five deviations above the baseline of a test market. PRICE_SPIKE is
    said as a warning, an ObservationReport with anomaly_detected is emitted, and the alert
    AnomalyDetectorPriceSpike fires. All is well again when the price is back."""

    async def scenario(redis: str, nats: str) -> tuple[list[Page], int]:
        changes = (*QUICK, f"redis.url={redis}")
        async with serving(tmp_path, *changes, publish_to=[redis, nats], market=QUIET) as service:
            await service.cycles(QUICK_WARM)
            await service.minutes(3)
            began_ms, usual = now_ms(service), service.server.planter.crowd().price
            quiet = len(service.pages)
            z = await spike_to(service, redis, 5.0)
            await service.minutes(1)
            told = [one for one in await on_redis(redis) if one.emitted_at_ms > began_ms]
            first = told[0]
            assert first.anomaly_detected is True
            assert SPIKE in first.warnings
            assert first.z_price is not None
            assert abs(first.z_price) >= 5.0
            assert abs(first.z_price) == pytest.approx(z, rel=0.2)  # the baseline went on a cycle
            assert first.emitted_at_ms - began_ms < CYCLE_S * 1000
            assert first in await on_nats(nats)
            (line,) = service.log("alert.raised")
            assert "cause=price_spike" in line
            advice = (await service.get(f"/v1/gate/{service.market.slug}"))[1]
            assert advice["action"] != "allow"
            service.server.planter.crowd().jump(usual)
            await service.minutes(MORE)
            assert (await on_redis(redis))[-1].anomaly_detected is False
            assert (await service.health())["status"] == "green"
            return service.pages, quiet

    with redis_server() as redis, nats_server() as nats:
        pages, quiet = virtual_time.run(scenario(redis.url, nats.url))
    for alert in ("AnomalyDetectorPriceSpike", "AnomalyDetectorHighZScore"):
        fires = firing(tmp_path, pages, alert)
        assert fires
        assert min(fires) == quiet
        assert max(fires) < len(pages) - 1, "it ends by itself"


async def by_file(service: Service, word: str) -> None:
    state = "on" if word == "on" else "off"
    now_ns = service.clock.now_ns()
    control.write(service.folder / "killswitch", state, actor="risk", reason="", now_ns=now_ns)


async def by_http(service: Service, word: str) -> None:
    body = {"active": word == "on", "actor": "risk", "reason": "a drill"}
    status, said = await service.post("/v1/killswitch", body)
    assert (status, said["state"]) == (200, word)


@pytest.mark.parametrize("way", ["file", "http", "redis"])
def test_s2_fail_kill_switch_on(tmp_path: pathlib.Path, way: str) -> None:
    """S2: throw the kill switch while it detects. Detection goes on inside, nothing is emitted,
    KILL_SWITCH_ACTIVE is logged; when it is released reports go out again by themselves."""

    async def scenario(redis: str, nats: str) -> None:
        async def by_redis(_: Service, word: str) -> None:
            async with Redis.from_url(redis) as client:
                await client.set("killswitch", word)

        ways: dict[str, Callable[[Service, str], Awaitable[None]]]
        ways = {"file": by_file, "http": by_http, "redis": by_redis}
        changes = (*QUICK, f"redis.url={redis}", f"kill_switch.redis_url={redis}")
        async with serving(tmp_path, *changes, publish_to=[redis, nats], market=QUIET) as service:
            await service.cycles(QUICK_WARM)
            await ways[way](service, "on")
            on_ms = now_ms(service)
            seen = await service.total(OBSERVED), await service.total(ANOMALIES)
            before = await on_redis(redis)
            await spike_to(service, redis, 8.0)
            await service.cycles(4)
            assert await on_redis(redis) == await on_nats(nats) == before
            assert before[-1].emitted_at_ms < on_ms
            assert await service.total(OBSERVED) == seen[0] + 4
            assert await service.total(ANOMALIES) > seen[1]
            held = await service.total("tapewatch_suppressed_total", KILLED, 'what="report"')
            assert held == 4
            (line,) = service.log("killswitch.on")
            assert KILLED in line
            assert service.log("alert.raised") == []
            assert (await service.health())["kill_switch"] == "on"
            await ways[way](service, "off")
            off_ms = now_ms(service)
            await service.cycles(3)
            after: list[Report] = (await on_redis(redis))[len(before) :]
            assert len(after) == 3
            assert all(one.poll_cycle_ms > off_ms for one in after)  # what was held is not made up
            assert await on_nats(nats) == [*before, *after]
            assert len(service.log("killswitch.off")) == 1

    with redis_server() as redis, nats_server() as nats:
        virtual_time.run(scenario(redis.url, nats.url))


@pytest.mark.parametrize("bus", ["nats", "redis"])
def test_s2_int_1_liquidity_guard_has_the_report_before_the_entry(
    tmp_path: pathlib.Path, bus: str
) -> None:
    """S2: an anomaly is detected, emitted and consumed by LiquidityGuard, which has the report with
    anomaly_detected before its strategy enters.

    The strategy tries every second, each time by asking the guard, and wants most to enter when the
    price has moved."""
    guard_of: Any = runpy.run_path(str(EXAMPLES / "liquidity_guard.py"))["LiquidityGuard"]

    async def scenario(redis: str, url: str) -> None:
        entries: list[int] = []
        async with (
            serving(
                tmp_path, *QUICK, f"redis.url={redis}", publish_to=[url], market=QUIET
            ) as service,
            guard_of(url, clock=service.clock) as guard,
        ):

            async def strategy() -> None:
                while True:
                    if guard.may_enter(service.market.condition) is None:
                        entries.append(now_ms(service))
                    await asyncio.sleep(1.0)

            await service.cycles(QUICK_WARM)
            trying = asyncio.create_task(strategy())
            await service.cycles(2)
            assert entries
            await spike_to(service, redis, 6.0)
            await service.cycles(1)
            report = next(one for one in guard.received if getattr(one, "anomaly_detected", False))
            assert SPIKE in report.warnings
            cycle_ms = report.poll_cycle_ms
            assert now_ms(service) - cycle_ms == 5_000
            blocked = [at for at in entries if at >= cycle_ms + 1_000]
            assert blocked == [], "it was told within a second, and stayed out"
            assert [at for at in entries if at < cycle_ms]
            why_not = guard.may_enter(service.market.condition)
            assert why_not.action == "block"
            assert why_not.reason in {SPIKE, "price_spike"}  # of the report, or of its alert
            trying.cancel()
            await asyncio.gather(trying, return_exceptions=True)

    with redis_server() as redis, nats_server() as nats:
        virtual_time.run(scenario(redis.url, {"redis": redis.url, "nats": nats.url}[bus]))


def test_s2_prop_1_a_session_asks_for_public_data_only(tmp_path: pathlib.Path) -> None:
    """S2: it never submits or signs orders. Here: what a venue is really asked, from words for
    markets to ten minutes of books and trades, in both modes."""
    reads = {f"clob/{call}" for call in ("books", "midpoint", "time")}
    reads |= {f"data/{call}" for call in ("trades", "v2/trades")}
    reads |= {f"gamma/{call}" for call in ("markets", "markets/keyset", "events/keyset")}
    reads |= {"ws/market"}

    async def scenario(folder: pathlib.Path, mode: str) -> tuple[dict[str, int], int, Page]:
        async with serving(folder, f"source.polymarket.mode={mode}") as service:
            resolving = sum(service.server.requests.values())
            await service.cycles(20)
            service.server.spike()
            await service.cycles(2)
            return dict(service.server.requests), resolving, await service.page()

    for mode in ("poll", "stream"):
        (tmp_path / mode).mkdir()
        asked, resolving, page = virtual_time.run(scenario(tmp_path / mode, mode))
        assert set(asked) <= reads, asked
        assert asked["clob/books"] > 10
        sockets = asked.get("ws/market", 0)
        assert bool(sockets) == (mode == "stream")
        # The simulator counts calls that it has; so many were asked for, hence no others.
        sent = {series: n for series, n in page.items() if series.startswith(REQUESTS) and n}
        assert sent == {
            f'{REQUESTS}{{result="fetched"}}': sum(asked.values()) - sockets - resolving
        }
