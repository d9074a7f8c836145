"""A whole `tapewatch serve` beside a simulated Polymarket, in virtual time, and how to look at it.

Nothing is replaced: words become markets by Gamma, books and trades come over HTTP, reports go to
real buses, and a test looks from outside, by HTTP and on the buses. A cycle is 30 s, as bot 4.15
has it; the simulated market hardly moves unless a test says so.
"""

import asyncio
import contextlib
import io
import pathlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import msgspec
import nats
from redis.asyncio import Redis

from servers import free_port
from tapewatch.app.config import DEFAULT_DETECTORS, Config, assemble, set_option
from tapewatch.app.replay import recorded
from tapewatch.app.resolve import resolved
from tapewatch.app.watch import Streams, Watch
from tapewatch.model.outputs import Report
from tapewatch.model.time import NS_PER_MS, NS_PER_S
from tapewatch.sdk.bus_gate import REPORTS
from tapewatch.sdk.envelope import read
from tapewatch.simulate.polymarket import PolymarketConfig, PolymarketServer
from tapewatch.simulate.polymarket_crowd import PolymarketMarketConfig
from tapewatch.simulate.polymarket_listing import Listing
from tapewatch.simulate.polymarket_scenario import PolymarketScenario
from tapewatch.sinks.terminal import Screen
from tapewatch.testing import virtual_time
from tapewatch.testing.virtual_time import VirtualClock

CYCLE_S = 30
WARM = 32  # cycles until a baseline of 30 samples judges
# A smaller baseline, and every cycle told: for tests in which other things take their time.
QUICK = ("detector.zscore.min_samples=10", "gate.sample_rate=1")
QUICK_WARM = 14
CALM = PolymarketMarketConfig(
    sigma=0.001, plays_every_s=1e9, changes_per_s=0.3, trades_per_s=0.05, events_per_s=1_000.0
)
HEALTH = "/internal/health/anomalydetector"
SPIKE, STALE, KILLED = "ANOMALYDETECTOR_PRICE_SPIKE", "STALE_DATA", "KILL_SWITCH_ACTIVE"

Page = dict[str, float]


def settings(server: PolymarketServer, folder: pathlib.Path, port: int, *changes: str) -> Config:
    """Of bot 4.15 and no other detector, at the simulator."""
    words = [
        f"source.polymarket.symbols={','.join(one.slug for one in server.listings)}",
        f"source.polymarket.clob_url={server.clob_url}",
        f"source.polymarket.gamma_url={server.gamma_url}",
        f"source.polymarket.data_url={server.data_url}",
        f"source.polymarket.ws_url={server.ws_url}",
        "source.polymarket.mode=poll",
        f"source.polymarket.poll_s={CYCLE_S}",
        *(f"detector.{name}.enabled=false" for name in DEFAULT_DETECTORS),
        f"detector.zscore.cycle_s={CYCLE_S}",
        "service.mode=general_live",
        f"kill_switch.file={folder / 'killswitch'}",
        f"http.port={port}",
        f"metrics.fresh_s={2 * CYCLE_S}",
        *changes,
    ]
    return assemble([set_option(word) for word in words])[0]


class Service:
    """A running service. `url` is its HTTP interface, `lines` what it told people."""

    def __init__(
        self, folder: pathlib.Path, server: PolymarketServer, url: str, http: aiohttp.ClientSession
    ) -> None:
        self.folder, self.server, self.url, self.http = folder, server, url, http
        self.clock: VirtualClock = virtual_time.loop_clock()
        self.lines: list[str] = []
        self.pages: list[Page] = []

    @property
    def market(self) -> Listing:
        """The first one."""
        return self.server.listings[0]

    async def cycles(self, count: int, after_s: float = 5.0) -> None:
        """Until so long after the cycle that is `count` ahead."""
        now_ns = self.clock.now_ns()
        whole = now_ns // (CYCLE_S * NS_PER_S) + count
        await asyncio.sleep(whole * CYCLE_S + after_s - now_ns / NS_PER_S)

    async def minutes(self, count: int) -> None:
        """Pass minutes and keep the metrics page of each, as a Prometheus would."""
        for _ in range(count):
            await self.cycles(60 // CYCLE_S)
            self.pages.append(await self.page())

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON."""
        async with self.http.get(self.url + path) as answer:
            return answer.status, msgspec.json.decode(await answer.read())

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        """The same of a change, with the token of the session's folder."""
        token = (self.folder / "one" / "http.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        async with self.http.post(self.url + path, json=body, headers=headers) as answer:
            return answer.status, msgspec.json.decode(await answer.read())

    async def health(self) -> Any:
        """The body; its colour is `status`."""
        return (await self.get(HEALTH))[1]

    async def page(self) -> Page:
        """The metrics, by series: `name{labels}` as the page has it."""
        async with self.http.get(f"{self.url}/metrics") as answer:
            assert answer.status == 200
            text = await answer.text()
        rows = (line.rpartition(" ") for line in text.splitlines() if line[:1] not in ("#", ""))
        return {series: float(value) for series, _, value in rows}

    async def sigma(self, redis_url: str) -> tuple[float, float]:
        """Mean and deviation of the first market's price, as the service keeps them in Redis."""
        async with Redis.from_url(redis_url) as client:
            row = await client.hgetall(f"baseline:{self.market.condition}")
        return float(row[b"rolling_mean_price"]), float(row[b"rolling_std_price"])

    async def total(self, name: str, *labels: str) -> float:
        """The sum of the series of a metric that have these labels."""
        page = await self.page()
        return sum(
            value
            for series, value in page.items()
            if series.partition("{")[0] == name and all(label in series for label in labels)
        )

    def log(self, event: str) -> list[str]:
        """Lines of the session's log about an event."""
        text = (self.folder / "one" / "master.log").read_text()
        return [line for line in text.splitlines() if f"event={event}" in line]

    def reports(self) -> list[Report]:
        """Reports that went onto the tape, hence out, so far."""
        return [one for one in recorded(self.folder / "one" / "tape") if isinstance(one, Report)]


@contextlib.asynccontextmanager
async def serving(
    folder: pathlib.Path,
    *changes: str,
    publish_to: Sequence[str] = (),
    markets: int = 1,
    market: PolymarketMarketConfig = CALM,
) -> AsyncIterator[Service]:
    """Start the simulator and the service; end both in good order."""
    if publish_to:
        changes = (f"sink.bus.publish_to={','.join(publish_to)}", *changes)
    clock = virtual_time.loop_clock()
    world = PolymarketConfig(
        markets=markets, contests=0, scenario=PolymarketScenario(market=market)
    )
    session, port = folder / "one", free_port()
    session.mkdir()
    async with PolymarketServer(world, clock) as server, aiohttp.ClientSession() as http:
        service = Service(folder, server, f"http://127.0.0.1:{port}", http)
        config = await resolved(
            settings(server, folder, port, *changes),
            clock,
            folder=folder,
            say=service.lines.append,
            known=None,
        )
        watch = Watch(
            config, session, clock, Screen(bell=False), _streams(service.lines), serve=True
        )
        stop = asyncio.Event()
        running = asyncio.create_task(watch.run(stop))
        try:
            yield service
        finally:
            stop.set()
            await running


async def on_redis(url: str) -> list[Report]:
    """Reports that strategies can see on a Redis."""
    async with Redis.from_url(url) as client:
        rows = await client.xrange(REPORTS)
    told = [read(fields[b"event"]) for _, fields in rows]
    return [one for one in told if isinstance(one, Report)]


async def on_nats(url: str) -> list[Report]:
    """The same of a NATS."""
    client = await nats.connect(url)
    stream = client.jetstream()
    name = await stream.find_stream_name_by_subject(REPORTS)
    state = (await stream.stream_info(name)).state
    told = []
    for number in range(state.first_seq, state.last_seq + 1):
        message = await stream.get_msg(name, number)
        if message.subject == REPORTS:
            assert message.data is not None
            told.append(read(message.data, message.headers))
    await client.close()
    return [one for one in told if isinstance(one, Report)]


def _streams(lines: list[str]) -> Streams:
    return Streams(io.StringIO(), io.StringIO(), lines.append)


def emitted_s(report: Report) -> float:
    """When it was emitted, in seconds since the epoch."""
    return report.emitted_at_ms * NS_PER_MS / NS_PER_S
