"""The whole path of trades: simulated venue, sockets, poller, engine. Each trade counts once."""

import asyncio
import pathlib
from collections import Counter

import pytest
from catalogue_desk import Desk, game, with_venue

from tapewatch.app.build import engine_of
from tapewatch.app.config import assemble
from tapewatch.app.environment import Setting
from tapewatch.app.resolve import resolved
from tapewatch.app.sources import Sources
from tapewatch.io.inbox import Inbox
from tapewatch.model.events import Event, Status, Trade
from tapewatch.model.outputs import Fault
from tapewatch.model.time import NS_PER_S

LASTS_S = 330.0
DOWN_S = (80.0, 130.0)  # when no socket can be had
SETTLED_S = 180.0  # what is older has been told by the end


async def watched(desk: Desk, folder: pathlib.Path, mode: str, trades: str) -> list[Event]:
    """What a session decodes while the socket is away for a minute and a resolution is not told."""
    server, loop = desk.server, asyncio.get_running_loop()
    table = {
        "symbols": [one.condition for one in server.listings],
        "mode": mode,
        "trades": trades,
        **{
            f"{name}_url": getattr(server, f"{name}_url")
            for name in ("ws", "clob", "gamma", "data")
        },
    }
    said = [Setting(("source", "polymarket", key), value, "x") for key, value in table.items()]
    config = await resolved(assemble(said)[0], desk.clock, folder=folder)
    engine, inbox, events = engine_of(config), Inbox(), list[Event]()
    sources = Sources(config.venues, inbox, desk.clock, state=engine.venue_states.__getitem__)
    running = asyncio.create_task(sources.run())
    loop.call_later(DOWN_S[0], server.down, "ws")
    loop.call_later(DOWN_S[1], lambda: server.down("ws", on=False))
    loop.call_later(190.0, lambda: server.planter.resolve(game(server).slug, announced=False))
    end, sequence = loop.time() + LASTS_S, 0
    while loop.time() < end:
        for item in await inbox.drain():
            sequence += 1
            outputs = engine.step(item, sequence)
            events += engine.events
            for output in outputs:
                if isinstance(output, Fault) and output.ask:
                    sources.serve(output)
    await sources.close()
    running.cancel()
    return events


@pytest.mark.parametrize(
    ("mode", "trades"), [("stream", "v2"), ("stream", "v1"), ("poll", "v2"), ("poll", "v1")]
)
def test_every_trade_counts_once_whatever_brings_it(
    tmp_path: pathlib.Path, mode: str, trades: str
) -> None:
    async def scenario(desk: Desk) -> None:
        began = desk.clock.now_ns()
        events = await watched(desk, tmp_path, mode, trades)
        until = began + round(SETTLED_S * NS_PER_S)
        theirs, ours = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for row in desk.server.exchange.ledger.rows():
            if row.taker and began <= row.ns < until:
                theirs[row.listing.instrument, row.tx] += round(row.size * 100)
        for one in events:
            if isinstance(one, Trade) and (one.instrument, one.trade_id) in theirs:
                ours[one.instrument, one.trade_id] += round(one.size * 100)
        assert len(theirs) > 100
        assert ours == theirs
        statuses = [one for one in events if isinstance(one, Status)]
        resolution = [one.detail for one in statuses if one.kind == "halted"]
        assert len(resolution) == 1
        assert resolution[0].startswith("resolved: ")

    with_venue(scenario, markets=5)
