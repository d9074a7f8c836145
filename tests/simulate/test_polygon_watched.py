"""The whole way: a simulated chain, HTTP and sockets, the poller, the engine, detectors."""

import asyncio
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from tapewatch.app.sources import Sources
from tapewatch.detect.divergence import Divergence
from tapewatch.detect.wash import Wash
from tapewatch.engine.engine import Engine
from tapewatch.io.inbox import Inbox
from tapewatch.model.events import Status, Trade
from tapewatch.model.outputs import Fault, Observation, Output
from tapewatch.simulate.polygon import PolygonConfig, PolygonServer
from tapewatch.simulate.polygon_chain import GENESIS
from tapewatch.simulate.polygon_logs import CONTRACTS, FILLED
from tapewatch.simulate.polygon_rings import Ring
from tapewatch.simulate.polymarket import PolymarketConfig
from tapewatch.simulate.polymarket_book import ONE, SHARE
from tapewatch.simulate.polymarket_crowd import PolymarketMarketConfig
from tapewatch.simulate.polymarket_frames import Match
from tapewatch.simulate.polymarket_scenario import PolymarketScenario
from tapewatch.simulate.polymarket_source import Deal, read_wallets
from tapewatch.testing.virtual_time import loop_clock, run
from tapewatch.venues.polygon import Polygon
from tapewatch.venues.polymarket import Polymarket
from tapewatch.venues.polymarket_markets import Market

CALM = PolymarketMarketConfig(
    changes_per_s=0.5, trades_per_s=0.2, plays_every_s=1e9, sigma=0.001, size=40.0
)
EXCHANGES = {address for pair in CONTRACTS.values() for address in pair}


class Watched:
    """A server, what watches it, and everything that came out."""

    def __init__(self, server: PolygonServer) -> None:
        self.server = server
        self.trades: list[Trade] = []
        self.statuses: list[Status] = []
        self.outputs: list[Output] = []

    def markets(self) -> tuple[Market, ...]:
        return tuple(
            Market(condition=one.condition, yes=one.yes, no=one.no, slug=one.slug)
            for one in self.server.market.listings
        )

    async def watch(
        self,
        venues: Sequence[Any],
        detectors: Sequence[Any],
        seconds: float,
        script: dict[int, Callable[[], object]] | None = None,
    ) -> None:
        """So many virtual seconds; `script` is done at its seconds."""
        engine, inbox, clock = Engine(venues, detectors), Inbox(), loop_clock()
        sources = Sources(venues, inbox, clock, state=lambda name: engine.venue_states[name])
        running = asyncio.create_task(sources.run())
        for second in range(int(seconds)):
            (script or {}).get(second, int)()
            await asyncio.sleep(1.0)
            items = await inbox.drain(100_000) if len(inbox) else []
            for item in items:
                found = engine.step(item)
                self.outputs += found
                self.keep(engine.events)
                for fault in found:
                    if isinstance(fault, Fault) and fault.ask:
                        sources.serve(fault)
        await sources.close()
        await running

    def keep(self, events: Iterable[object]) -> None:
        for event in events:
            if isinstance(event, Trade) and event.instrument.startswith("polygon:"):
                self.trades.append(event)
            elif isinstance(event, Status) and event.source == "polygon":
                self.statuses.append(event)

    def kinds(self) -> Counter[str]:
        return Counter(one.kind for one in self.statuses)

    def observations(self) -> list[Observation]:
        return [one for one in self.outputs if isinstance(one, Observation)]

    def on_chain(self) -> list[str]:
        """`tx:index` of every fill in the chain as it stands, but those of the last three blocks,
        which nobody may have heard of."""
        return [
            f"{one.tx}:{one.index}"
            for block in self.server.chain.blocks[GENESIS:-3]
            for one in block.logs
            if one.raw.topics[0] in FILLED.values()
            and "0x" + one.raw.topics[3][-40:] not in EXCHANGES
        ]


def watched(
    body: Callable[[Watched], Any],
    *,
    markets: int = 3,
    config: PolymarketMarketConfig = CALM,
    **more: Any,
) -> Watched:
    """Run `body` beside a server."""

    async def scenario() -> Watched:
        market = PolymarketConfig(
            markets=markets, contests=0, seed=5, scenario=PolymarketScenario(market=config)
        )
        async with PolygonServer(PolygonConfig(market=market, **more), loop_clock()) as server:
            found = Watched(server)
            await body(found)
            return found

    return run(scenario())


def polygon(found: Watched, *, socket: bool = False, **config: Any) -> Polygon:
    ws_url = found.server.ws_url if socket else ""
    return Polygon(markets=found.markets(), rpc_url=found.server.rpc_url, ws_url=ws_url, **config)


def transactions(ids: Iterable[str]) -> Counter[str]:
    return Counter(one.partition(":")[0] for one in ids)


@pytest.mark.parametrize("socket", [False, True])
@pytest.mark.parametrize("layout", ["v1", "v2", "mixed"])
def test_every_fill_of_the_chain_is_a_trade_once(layout: str, socket: object) -> None:
    async def body(found: Watched) -> None:
        await found.watch([polygon(found, socket=bool(socket))], [], 60)

    found = watched(body, layout=layout)
    got, there = [one.trade_id for one in found.trades], found.on_chain()
    assert len(there) > 20
    assert set(there) <= set(got)
    assert len(set(got)) == len(got)
    assert found.kinds().keys() <= {"listed", "subscribed"}
    assert len({one.instrument for one in found.trades}) == 3


@pytest.mark.parametrize("socket", [False, True])
@pytest.mark.parametrize(("depth", "dropped"), [(1, 0), (5, 3), (20, 0), (20, 4)])
def test_reorganisations(depth: int, dropped: int, socket: object) -> None:
    async def body(found: Watched) -> None:
        fault = f"reorg,depth={depth},dropped={dropped}"
        venue = polygon(found, socket=bool(socket), check_s=10.0)
        await found.watch([venue], [], 130, {50: lambda: found.server.fault(fault)})

    found = watched(body)
    got, there = transactions(t.trade_id for t in found.trades), transactions(found.on_chain())
    assert not there - got, "nothing is missing"
    withdrawn = sum(one.value for one in found.statuses if one.kind == "withdrawn")
    (record,) = found.server.market.truth.of("reorg")
    gone = got - transactions(
        f"{one.tx}:" for block in found.server.chain.blocks for one in block.logs
    )
    assert sum(gone.values()) == withdrawn, "and what has not happened was withdrawn"
    assert record.params["transactions"] == dropped
    assert bool(withdrawn) == bool(dropped)


@pytest.mark.parametrize("socket", [False, True])
def test_confirmed_trades_only(socket: object) -> None:
    async def body(found: Watched) -> None:
        script = {60: lambda: found.server.fault("reorg,depth=20,dropped=5")}
        venue = polygon(found, socket=bool(socket), confirmations=20, check_s=10.0)
        await found.watch([venue], [], 140, script)

    found = watched(body)
    there = {one.tx for block in found.server.chain.blocks for one in block.logs}
    assert len(found.trades) > 10
    assert {one.trade_id.partition(":")[0] for one in found.trades} <= there
    assert found.kinds()["withdrawn"] == 0
    assert all(one.backfilled for one in found.trades)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("F33", None),
        ("F33,how=rpc", "rate_limited"),
        ("F35", None),
        ("F41,frame=text", "malformed"),
        ("F41,frame=null", "unavailable"),
        ("F41,frame=hex", "invalid"),
        ("F13", None),
        ("F45", "invalid"),
        ("lag,blocks=12", None),
        ("lag,blocks=12,share=0.5,split=true", None),
        ("missing,share=0.7", "gap_filled"),
        ("range,blocks=2", "unavailable"),
        ("range,blocks=1,words=erigon", "unavailable"),
        ("range,logs=3,words=infura", "unavailable"),
        ("range,logs=3,words=alchemy", "unavailable"),
        ("single", "unavailable"),
        ("halt", None),
        ("liar", None),
    ],
)
def test_nothing_is_lost_or_doubled_through_a_fault_of_half_a_minute(
    fault: str, kind: str | None
) -> None:
    async def body(found: Watched) -> None:
        ends: list[Callable[[], None]] = []
        script = {
            10: lambda: ends.append(found.server.fault(fault)),
            40: lambda: [end() for end in ends],
        }
        overlap = 20 if fault.startswith("missing") else 3
        await found.watch([polygon(found, overlap_blocks=overlap)], [], 90, script)

    found = watched(body)
    got = [one.trade_id for one in found.trades]
    assert len(set(got)) == len(got)
    if fault != "liar":  # it was believed for half a minute, which is told
        assert set(found.on_chain()) <= set(got)
    if kind is not None and kind != "malformed":
        assert found.kinds()[kind] >= 1
    assert found.kinds()["withdrawn"] == 0


@pytest.mark.parametrize("fault", ["F04", "F11,code=1006", "F11,code=1001", "F02"])
def test_polls_bring_what_a_socket_does_not(fault: str) -> None:
    async def body(found: Watched) -> None:
        ends: list[Callable[[], None]] = []
        script = {
            20: lambda: ends.append(found.server.fault(fault)),
            21: lambda: [found.server.fault("F11,code=1001")] if fault == "F02" else None,
            60: lambda: [end() for end in ends],
        }
        await found.watch([polygon(found, socket=True, check_s=10.0)], [], 120, script)

    found = watched(body)
    got = [one.trade_id for one in found.trades]
    assert len(set(got)) == len(got)
    assert set(found.on_chain()) <= set(got)


def test_a_chain_that_stands_still_is_stale_and_then_current() -> None:
    async def body(found: Watched) -> None:
        ends: list[Callable[[], None]] = []
        script = {
            20: lambda: ends.append(found.server.fault("halt")),
            100: lambda: [end() for end in ends],
        }
        await found.watch([polygon(found)], [], 120, script)

    found = watched(body)
    kinds = [one.kind for one in found.statuses if one.kind in ("stale", "current")]
    assert kinds == ["stale", "current"]


RINGS = (
    Ring(at_s=200, kind="self_cross", for_s=900, trades=60, market="1"),
    Ring(at_s=200, kind="ping_pong", for_s=900, trades=60, market="2"),
    Ring(at_s=200, kind="cycle", members=3, for_s=900, trades=60, market="3"),
    Ring(at_s=200, kind="cycle", members=5, for_s=900, trades=80, market="4"),
    Ring(at_s=200, kind="cycle", members=3, for_s=900, trades=60, cross="mint", market="5"),
    Ring(at_s=200, kind="ping_pong", for_s=900, trades=60, cross="mint", market="6"),
)


def test_wash_names_the_planted_rings_and_nobody_else() -> None:
    async def body(found: Watched) -> None:
        await found.watch([polygon(found, poll_s=10.0)], [Wash()], 1_200)

    found = watched(body, markets=6, rings=RINGS, layout="mixed")
    named: dict[str, set[str]] = {}
    for one in found.observations():
        if one.detector == "wash" and one.severity == "warn":
            named.setdefault(one.instrument, set()).update(one.accounts)
    planted = {
        record.instrument: set(record.params["wallets"])
        for record in found.server.market.truth.of("wash")
    }
    assert named == planted


def test_divergence_between_the_feed_and_the_chain() -> None:
    """The feed shows prices fifteen cents from those at which the chain settles."""
    brisk = PolymarketMarketConfig(
        changes_per_s=1.0, trades_per_s=0.25, plays_every_s=1e9, sigma=0.0005, size=20.0
    )

    async def body(found: Watched) -> None:
        server = found.server
        market = found.markets()[0]
        feed = Polymarket(
            markets=(market,),
            ws_url=server.market.ws_url,
            clob_url=server.market.clob_url,
            gamma_url=server.market.gamma_url,
            data_url=server.market.data_url,
        )
        pair = (f"polymarket:{market.condition}", f"polygon:{market.condition}")
        crowd = server.market.planter.crowd("1")

        def lie(second: int) -> None:
            if not lies:
                lies.append(crowd.price)
            shift = 15.0 if second % 2 else 16.0
            crowd.release()
            server.market.planter.shift(crowd, shift)
            listing, now = crowd.book.listing, server.market.now_ns()
            tx = f"0x{second:064x}"
            for side in ("BUY", "SELL"):
                server.market.exchange.ledger.add(
                    Match(listing, False, side, lies[0], 5_000, now, tx, ("0x" + "1" * 40,) * 2), 0
                )

        lies: list[int] = []
        fresh = dict.fromkeys(range(10, 1000, 10), crowd.release)  # a full book again
        script = fresh | {second: (lambda s=second: lie(s)) for second in range(1_000, 1_060, 5)}
        await found.watch([feed, polygon(found)], [Divergence(pairs=(pair,))], 1_070, script)

    found = watched(body, markets=1, config=brisk)
    told = [one for one in found.observations() if one.detector == "divergence"]
    assert told
    assert min(one.ts_event for one in told) >= found.trades[0].ts_event + 950 * 10**9
    assert {one.instrument.partition(":")[0] for one in told} <= {"polymarket", "polygon"}


def test_recorded_trades_with_wallets_are_settled(shared_data: pathlib.Path) -> None:
    """Real trades of 39 markets, through chain, node and decoder."""
    path = shared_data / "polymarket_wallets" / "trades.parquet"
    expected: dict[str, list[Any]] = {}
    for recording in read_wallets(path):
        expected[recording.slug] = [item for item in recording.items if isinstance(item, Deal)]

    async def scenario() -> tuple[Watched, dict[str, str]]:
        market = PolymarketConfig(markets=0, contests=0, wallets=path, speed=float("inf"))
        async with PolygonServer(PolygonConfig(market=market), loop_clock()) as server:
            found = Watched(server)
            await found.watch([polygon(found)], [], 90)
            return found, {one.instrument: one.slug for one in server.market.listings}

    found, slugs = run(scenario())
    assert len(found.trades) > 4_000
    seen: dict[str, list[Trade]] = {}
    for trade in found.trades:
        seen.setdefault(slugs[trade.instrument.replace("polygon", "polymarket")], []).append(trade)
    for slug, trades in seen.items():
        for trade, deal in zip(trades, expected[slug], strict=False):
            named = deal.wallet.startswith("0x") and len(deal.wallet) == 42
            assert not named or trade.taker == deal.wallet, "some accounts are nicknames"
            assert trade.size == pytest.approx(deal.size / SHARE)
            price = ONE - deal.price if deal.outcome else deal.price
            assert trade.price == pytest.approx(price / ONE)
            assert (trade.aggressor == "buy") == ((deal.side == "BUY") != bool(deal.outcome))
