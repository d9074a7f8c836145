"""Speed of `tapewatch scan` on generated Kraken rows: one JSON line on standard output.

Lines per second of processor time, with every line printed and with anomalies only, and the ratio
of each to a plain `json.loads` of the same rows in the same run. The input is the same each time.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator

from tapewatch.app.scan import CHUNK_BYTES, Scan
from tapewatch.detect.driftlock import Driftlock

ROUNDS = 5


def rows(count: int, seed: int = 1) -> Iterator[str]:
    """Trades in the shape of the Kraken session's streamer."""
    chance = random.Random(seed)
    now, price = 1_763_870_503.0, 87_456.0
    for _ in range(count):
        now = round(now + chance.expovariate(3.0), 6)
        price = round(price + chance.gauss(0.0, 2.0), 1)
        yield json.dumps(
            {
                "ts": now,
                "price": price,
                "qty": round(chance.lognormvariate(-5.0, 2.0) + 1e-8, 8),
                "side": chance.choice(("buy", "sell")),
                "pair": "XBT/USD",
                "id": f"kraken-{int(now * 1000)}-{chance.randrange(3)}",
                "source": "kraken",
            }
        )


def scanned(data: bytes, *, algo: str, show_all: bool) -> int:
    """All of `data` through one scan; the size of its output."""
    work = Scan(
        Driftlock(algo="gzip" if algo == "gzip" else "zstd"),
        print,
        form="ndjson",
        show_all=show_all,
    )
    chunks = (data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))
    return sum(map(len, work.outputs(chunks)))


def loaded(data: bytes) -> int:
    """The reference: every row through `json.loads`."""
    return sum(len(json.loads(line)) for line in data.splitlines())


def seconds(work: Callable[[], int]) -> float:
    """Processor time of one run."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--algo", choices=("zstd", "gzip"), default="zstd")
    options = parser.parse_args()
    data = "\n".join(rows(options.lines)).encode()
    best = dict.fromkeys(("json_loads", "show_all", "quiet"), float("inf"))
    for _ in range(options.rounds):  # interleaved, so that a busy machine slows all of them
        for name, work in (
            ("json_loads", lambda: loaded(data)),
            ("show_all", lambda: scanned(data, algo=options.algo, show_all=True)),
            ("quiet", lambda: scanned(data, algo=options.algo, show_all=False)),
        ):
            best[name] = min(best[name], seconds(work))
    result: dict[str, object] = {"bench": "scan", "algo": options.algo, "lines": options.lines}
    for name, taken in best.items():
        result[f"{name}_lines_per_cpu_s"] = round(options.lines / taken)
    for name in ("show_all", "quiet"):
        result[f"{name}_vs_json_loads"] = round(best["json_loads"] / best[name], 3)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
