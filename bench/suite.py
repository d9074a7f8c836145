"""Speed and size of the default detectors: one JSON line.

NDJSON in, alerts out, one core: trades as `tapewatch import` writes them, a timer a second, every
default detector, gate and alert lines; the reference is `tapewatch scan --show-all` on the same
trades in the same run. Then the memory of one instrument, and the cost of an event with few and
with many instruments.
"""

import argparse
import gc
import json
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator

import msgspec

from scan import rows, scanned
from tapewatch.app.build import engine_of
from tapewatch.app.evaluate.runner import configured
from tapewatch.engine.engine import Engine
from tapewatch.model.inputs import Frame, Input, Timer
from tapewatch.model.outputs import Alert
from tapewatch.model.time import NS_PER_S

LINES = 60_000
ROUNDS = 3
encode = msgspec.json.Encoder().encode


def frames(count: int, instruments: int = 1, rate: float = 3.0) -> Iterator[Input]:
    """The trades of `scan.rows`, `rate` a second, dealt out to instruments, with timers."""
    now, chance = 1_763_870_503 * NS_PER_S, random.Random(2)
    for row in map(json.loads, rows(count)):
        later = now + int(chance.expovariate(rate) * NS_PER_S)
        for second in range(now // NS_PER_S + 1, later // NS_PER_S + 1):
            yield Timer(second * NS_PER_S)
        now = later
        trade = {
            "instrument": f"kraken:{chance.randrange(instruments)}",
            "ts_event": now,
            "price": row["price"],
            "size": row["qty"],
            "aggressor": row["side"],
            "trade_id": row["id"],
        }
        yield Frame(now, "ndjson", encode({"trade": trade}))


def stepped(engine: Engine, inputs: list[Input]) -> int:
    """Bytes of alert lines."""
    step, size = engine.step, 0
    for item in inputs:
        for out in step(item):
            if isinstance(out, Alert):
                size += len(encode(out))
    return size


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one run."""
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


def state_bytes(count: int, trades: int) -> tuple[float, float]:
    """`(packed, resident)` bytes of one instrument's states after `trades` trades each."""
    ids = [f"kraken:{n}" for n in range(count)]
    inputs = list(frames(count * trades, count, rate=3.0 * count))
    engine = engine_of(configured(ids))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for item in inputs:
        engine.step(item)
    gc.collect()
    resident = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    packed = sum(
        len(msgspec.msgpack.encode(state))
        for keyed in engine.detectors.values()
        for state in keyed.states.values()
    ) + len(msgspec.msgpack.encode(engine.sampler))
    return packed / count, resident / count


def cost_by_instruments(sizes: list[int], lines: int) -> dict[str, float]:
    """Microseconds an input at one rate of events, by number of instruments, all of them known."""
    found = {}
    for size in sizes:
        ids = [f"kraken:{n}" for n in range(size)]
        engine = engine_of(configured(ids))
        warm = [i for i in frames(size, size, rate=1e6) if isinstance(i, Frame)]
        for item in warm:
            engine.step(item)
        later = list(frames(lines, size, rate=1_000.0))
        took = seconds(lambda engine=engine, later=later: [engine.step(i) for i in later])
        found[str(size)] = round(took / len(later) * 1e6, 2)
    return found


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 1_000, 100_000])
    options = parser.parse_args()
    inputs = list(frames(options.lines))
    ids = ["kraken:0"]
    data = "".join(f"{row}\n" for row in rows(options.lines)).encode()
    suite = scan = float("inf")
    for _ in range(options.rounds):  # interleaved, so that a busy machine slows both
        engine = engine_of(configured(ids))
        suite = min(suite, seconds(lambda engine=engine: stepped(engine, inputs)))
        scan = min(scan, seconds(lambda: scanned(data, algo="zstd", show_all=True)))
    packed, resident = state_bytes(200, 300)
    result = {
        "bench": "suite",
        "detectors": len(engine_of(configured(ids)).detectors),
        "lines_per_cpu_s": round(options.lines / suite),
        "scan_show_all_lines_per_cpu_s": round(options.lines / scan),
        "ratio": round(scan / suite, 2),
        "packed_bytes_per_instrument": round(packed),
        "resident_bytes_per_instrument": round(resident),
        "us_per_input_by_instruments": cost_by_instruments(options.sizes, options.lines),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
