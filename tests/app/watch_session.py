"""A whole session as the command line runs it, against the simulator, in virtual time."""

import asyncio
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence

from tapewatch.app.config import Config, assemble, set_option
from tapewatch.app.replay import recorded
from tapewatch.app.watch import Streams, Watch
from tapewatch.model.outputs import Alert
from tapewatch.simulate.kraken import KrakenConfig, KrakenServer
from tapewatch.simulate.scenario import DEMO
from tapewatch.sinks.terminal import Screen
from tapewatch.testing import virtual_time

QUICK = KrakenConfig(symbols=("BTC/USD", "ETH/USD"), scenario=DEMO)


class Told:
    """What a session said."""

    def __init__(self) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.lines: list[str] = []

    @property
    def streams(self) -> Streams:
        return Streams(self.out, self.err, self.lines.append)


def settings(server: KrakenServer, folder: pathlib.Path, *changes: str) -> Config:
    words = [
        "source.kraken.symbols=BTC/USD",
        f"source.kraken.url={server.ws_url}",
        f"source.kraken.rest_url={server.rest_url}",
        f"kill_switch.file={folder / 'killswitch'}",
        "session.duration_s=30",
        "detector.driftlock.enabled=true",  # they speak within the seconds of a test
        "detector.zscore.enabled=true",
        *changes,
    ]
    return assemble([set_option(word) for word in words])[0]


def watched(
    folder: pathlib.Path,
    *changes: str,
    screen: Screen | None = None,
    market: KrakenConfig = QUICK,
    start_ns: int = virtual_time.START_NS,
    at: Mapping[float, Callable[[pathlib.Path], None]] | None = None,
) -> Told:
    """Run one session in `folder / "one"`; what it said."""
    told = Told()
    session = folder / "one"
    session.mkdir(exist_ok=True)

    async def main() -> None:
        clock = virtual_time.loop_clock()
        async with KrakenServer(market, clock) as server:
            config = settings(server, folder, *changes)
            watch = Watch(config, session, clock, screen or Screen(bell=False), told.streams)
            for seconds, action in (at or {}).items():
                asyncio.get_running_loop().call_later(seconds, action, session)
            await watch.run(asyncio.Event())

    virtual_time.run(main(), start_ns=start_ns)
    return told


def alerts_of(folder: pathlib.Path) -> Sequence[Alert]:
    return [one for one in recorded(folder / "one" / "tape") if isinstance(one, Alert)]
