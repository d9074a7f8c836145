"""Speed and size of the default detectors: one JSON line.

NDJSON in, alerts out, one core: trades as `tapewatch import` writes them, a timer a second, every
default detector, gate and alert lines; the reference is `tapewatch scan --show-all` on the same
trades in the same run. Then the memory of one instrument, and the cost of an event with few and
with many instruments.
"""

import argparse
import functools
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
ROUNDS = 5
RATES = (3, 50)  # trades a second: a usual and a busy market
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


def compared(lines: int, rounds: int) -> dict[str, dict[str, float]]:
    """Lines per second of processor time and the ratio to `scan`, by rate of trades."""
    data = "".join(f"{row}\n" for row in rows(lines)).encode()
    inputs = {rate: list(frames(lines, rate=rate)) for rate in RATES}
    best = dict.fromkeys((*RATES, 0), float("inf"))
    for _ in range(rounds):  # interleaved, so that a busy machine slows all of them
        best[0] = min(best[0], seconds(lambda: scanned(data, algo="zstd", show_all=True)))
        for rate in RATES:
            engine = engine_of(configured(["kraken:0"]))
            work = functools.partial(stepped, engine, inputs[rate])
            best[rate] = min(best[rate], seconds(work))
    found = {
        f"{rate}_a_second": {
            "lines_per_cpu_s": round(lines / best[rate]),
            "to_scan": round(best[0] / best[rate], 2),
        }
        for rate in RATES
    }
    return {**found, "scan_show_all": {"lines_per_cpu_s": round(lines / best[0])}}


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
    """Microseconds an input by number of instruments, each of which trades once a second and has
    traded before."""
    found = {}
    for size in sizes:
        engine = engine_of(configured([f"kraken:{n}" for n in range(size)]))
        for item in frames(2 * size, size, rate=1e6):
            engine.step(item)
        later = list(frames(max(lines, 6 * size), size, rate=size))
        took = seconds(functools.partial(stepped, engine, later))
        found[str(size)] = round(took / len(later) * 1e6, 2)
    return found


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 1_000, 100_000])
    options = parser.parse_args()
    packed, resident = state_bytes(50, 3_000)
    result = {
        "bench": "suite",
        "detectors": len(engine_of(configured(["kraken:0"])).detectors),
        **compared(options.lines, options.rounds),
        "packed_bytes_per_instrument": round(packed),
        "resident_bytes_per_instrument": round(resident),
        "us_per_input_by_instruments": cost_by_instruments(options.sizes, options.lines),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
