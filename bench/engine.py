"""Frames per second through tape, decoding, four detectors and gate: one JSON line.

The tape is what a session against the simulator records: ten simulated minutes of BTC/USD in the
mix that was captured at Kraken (about 15 book messages, 3 trades and a heartbeat a second). The
reference is `tapewatch scan --show-all` on the same machine in the same run.
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
from tapewatch.testing import virtual_time
from tapewatch.venues.kraken import Kraken

MINUTES = 10
ROUNDS = 5
SCAN_LINES = 50_000


async def record(folder: pathlib.Path, minutes: float) -> Kraken:
    """Record a session in virtual time; the venue it was recorded with."""
    clock = virtual_time.loop_clock()
    async with KrakenServer(KrakenConfig(symbols=("BTC/USD",)), clock) as server:
        venue = Kraken(symbols=("BTC/USD",), url=server.ws_url, rest_url=server.rest_url)
        live = Live(
            Engine([venue], []),
            tape=TapeWriter(folder / "tape", config={}, version="bench"),
            store=Store(folder / "alerts.sqlite"),
            sinks=[],
            clock=clock,
            ledger=Ledger(),
            on_events=lambda _: None,
        )
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(minutes * 60, stop.set)
        await live.run(Sources([venue], live.inbox, clock), stop)
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


def main() -> None:
    """Record, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        venue = virtual_time.run(record(folder, minutes))
        tape = folder / "tape"
        items = [item for _, item in TapeReader(tape).inputs()]
        frames = sum(isinstance(item, Frame) for item in items)
        trades = sum(b'"channel":"trade"' in i.data for i in items if isinstance(i, Frame))
        data = "".join(f"{row}\n" for row in rows(SCAN_LINES)).encode()
        scan = per_second(lambda: data.count(b"\n") * bool(scanned(data, algo="zstd", show_all=True)))
        read = per_second(lambda: sum(1 for _ in TapeReader(tape).inputs()))
        three = per_second(lambda: replayed(tape, venue, driftlock=False))
        four = per_second(lambda: replayed(tape, venue, driftlock=True))
    print(
        json.dumps(
            {
                "bench": "engine",
                "inputs": len(items),
                "frames": frames,
                "trade_frames": trades,
                "tape_read_per_s": round(read),
                "without_driftlock_per_s": round(three),
                "four_detectors_per_s": round(four),
                "scan_show_all_lines_per_s": round(scan),
                "four_detectors_to_scan": round(four / scan, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
