"""Frames per second through tape, decoding, detectors and gate: one JSON line.

The tapes are what sessions against the simulator record: ten simulated minutes of a quiet BTC/USD,
once in the mix of a live session (about 15 book messages, 3 trades and a heartbeat a second; 1.8
levels a book message, where 1.3 were captured at Kraken), once trades only. References in the same
run: `tapewatch scan --show-all`, and `json.loads` of the same frames.
"""

import argparse
import asyncio
import json
import pathlib
import tempfile
import time
from collections.abc import Callable

from scan import rows, scanned
from tapewatch.app.ledger import Ledger
from tapewatch.app.live import Live
from tapewatch.app.sources import Sources
from tapewatch.detect.driftlock import Driftlock
from tapewatch.detect.feed import Feed
from tapewatch.detect.staleness import Staleness
from tapewatch.detect.zscore import ZScore
from tapewatch.engine.engine import Engine
from tapewatch.io.store import Store
from tapewatch.io.tape_read import TapeReader
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model.inputs import Frame
from tapewatch.simulate.kraken import KrakenConfig, KrakenServer
from tapewatch.simulate.scenario import MarketConfig, Scenario
from tapewatch.testing import virtual_time
from tapewatch.venues.kraken import Kraken

MINUTES = 10
ROUNDS = 5
SCAN_LINES = 50_000
QUIET = MarketConfig(sigma_1s=1e-6)


async def record(folder: pathlib.Path, minutes: float, channels: tuple[str, ...]) -> Kraken:
    """Record a session in virtual time; the venue it was recorded with."""
    clock = virtual_time.loop_clock()
    market = KrakenConfig(symbols=("BTC/USD",), scenario=Scenario(market=QUIET))
    async with KrakenServer(market, clock) as server:
        venue = Kraken(
            symbols=("BTC/USD",), channels=channels, url=server.ws_url, rest_url=server.rest_url
        )
        live = Live(
            Engine([venue], []),
            tape=TapeWriter(folder / "tape", config={}, version="bench"),
            store=Store(folder / "alerts.sqlite"),
            sinks=[],
            clock=clock,
            ledger=Ledger(),
        )
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(minutes * 60, stop.set)
        await live.run(
            Sources([venue], live.inbox, clock, state=live.engine.venue_states.__getitem__), stop
        )
        return venue


def replayed(tape: pathlib.Path, venue: Kraken, *, driftlock: bool) -> int:
    """Inputs of the tape, all through a fresh engine."""
    detectors = [Feed(), Staleness(), ZScore(), *([Driftlock()] if driftlock else [])]
    engine, count = Engine([venue], detectors), 0
    for seq, item in TapeReader(tape).inputs():
        engine.step(item, seq)
        count += 1
    return count


def per_second(work: Callable[[], int], rounds: int = ROUNDS) -> float:
    """Things per second of processor time, best of several rounds."""
    best = 0.0
    for _ in range(rounds):
        start = time.process_time()
        count = work()
        best = max(best, count / (time.process_time() - start))
    return best


def measured(folder: pathlib.Path, minutes: float, channels: tuple[str, ...]) -> dict[str, int]:
    """Figures of one tape."""
    folder.mkdir()
    venue = virtual_time.run(record(folder, minutes, channels))
    tape = folder / "tape"
    frames = [i.data for _, i in TapeReader(tape).inputs() if isinstance(i, Frame)]
    return {
        "inputs": sum(1 for _ in TapeReader(tape).inputs()),
        "trade_frames": sum(b'"channel":"trade"' in data for data in frames),
        "read_per_s": round(per_second(lambda: sum(1 for _ in TapeReader(tape).inputs()))),
        "json_loads_per_s": round(per_second(lambda: len([json.loads(data) for data in frames]))),
        "feed_staleness_zscore_per_s": round(
            per_second(lambda: replayed(tape, venue, driftlock=False))
        ),
        "with_driftlock_per_s": round(per_second(lambda: replayed(tape, venue, driftlock=True))),
    }


def main() -> None:
    """Record, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    minutes = parser.parse_args().minutes
    data = "".join(f"{row}\n" for row in rows(SCAN_LINES)).encode()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        session = measured(folder / "session", minutes, ("trade", "book"))
        trades = measured(folder / "trades", minutes, ("trade",))
    scan = per_second(lambda: SCAN_LINES * bool(scanned(data, algo="zstd", show_all=True)))
    result = {
        "bench": "engine",
        "session": session,
        "trades_only": trades,
        "scan_show_all_lines_per_s": round(scan),
        "session_to_scan": round(session["with_driftlock_per_s"] / scan, 2),
        "session_to_json_loads": round(
            session["with_driftlock_per_s"] / session["json_loads_per_s"], 2
        ),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
