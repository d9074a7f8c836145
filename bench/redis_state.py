"""A checkpoint of 3,000 markets to a real Redis on this machine: one JSON line.

An hour of 30-second cycles, all markets with new samples. `whole`: with all windows, as after a
start or a flush; `usual`: with a twelfth of them, as every five seconds where each is written once
a minute. References in the same run: the same fields by a plain redis-py pipeline (`hset` and
`expire` of each market), with and without windows, and without the time to pack them. `loop_ms` is
what the event loop was held for in all, `slice_ms` at once.
"""

import asyncio
import json
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from tapewatch.detect.zscore import ZScore
from tapewatch.detect.zscore_state import ZScoreState
from tapewatch.io.clock import SystemClock
from tapewatch.io.inbox import Inbox
from tapewatch.io.redis_state import SLICE, RedisSettings, RedisState
from tapewatch.io.redis_state_client import FIELDS, PREFIX, Row, _plain
from tapewatch.model.events import Quote, Trade
from tapewatch.model.inputs import Timer
from tapewatch.model.time import NS_PER_S

MARKETS = 3_000
SAMPLES = 120
ROUNDS = 7
DETECTOR = ZScore(cycle_s=30.0)


@contextmanager
def server() -> Iterator[str]:
    """URL of a Redis with append-only persistence, as people run it."""
    beside = pathlib.Path(sys.executable).parent / "redis-server"
    binary = str(beside) if beside.exists() else shutil.which("redis-server")
    assert binary is not None, "no redis-server on this machine"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        process = subprocess.Popen(
            [*command, "--save", "", "--appendonly", "yes"], stdout=subprocess.DEVNULL
        )
        try:
            client = redis.Redis(port=port)
            while True:
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    assert process.poll() is None, "redis-server ended"
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()
            process.wait()


def cycle(states: dict[str, ZScoreState], at: int, chance: random.Random) -> None:
    """One cycle of every market."""
    for name, state in states.items():
        mid = round(0.5 + 0.01 * chance.gauss(0.0, 1.0), 3)
        DETECTOR.update(state, Quote(name, at, at, mid - 0.005, 1.0, mid + 0.005, 1.0))
        if chance.random() < 0.5:
            DETECTOR.update(state, Trade(name, at, at, mid, 100.0 * chance.random(), "buy"))
        DETECTOR.update(state, Timer(at))


def plain_ms(client: "redis.Redis", states: dict[str, ZScoreState], *, windows: bool) -> float:
    """The same by a plain pipeline."""
    rows = []
    for name, state in states.items():
        found = DETECTOR.checkpoint(state)
        assert found is not None
        packed = DETECTOR.packed(state)
        rows.append((_plain(Row(name, False, found, packed, state)), packed))
    began = time.perf_counter()
    pipe = client.pipeline(transaction=False)
    for (key, _, *numbers, _), packed in rows:
        fields: dict[str, Any] = dict(zip(FIELDS, numbers, strict=True))
        pipe.hset(f"plain:{key}", mapping=fields | ({"window": packed} if windows else {}))
        pipe.expire(f"plain:{key}", 86_400)
    pipe.execute()
    return 1000 * (time.perf_counter() - began)


async def measured(url: str) -> dict[str, Any]:
    """Best of several rounds, interleaved."""
    chance, clock = random.Random(1), SystemClock()
    states = {f"polymarket:0x{n:064x}": DETECTOR.start(f"polymarket:0x{n}") for n in range(MARKETS)}
    at = clock.now_ns() - SAMPLES * 30 * NS_PER_S
    for _ in range(SAMPLES):
        at += 30 * NS_PER_S
        cycle(states, at, chance)
    whole, usual, plain, heads = [], [], [], []
    client = redis.Redis.from_url(url)
    for _ in range(ROUNDS):
        mirror = RedisState(RedisSettings(url=url), DETECTOR, states, Inbox(), clock)
        for kept in (whole, usual):
            at += 30 * NS_PER_S
            cycle(states, at, chance)
            for one in list(mirror._kept.values())[::12]:
                one.window_due_s = 0.0
            began = time.perf_counter()
            await mirror.checkpoint()
            took = 1000 * (time.perf_counter() - began)
            kept.append((took, mirror.counters.loop_s * 1000))
            assert not mirror.trouble, mirror.trouble
        plain.append(plain_ms(client, states, windows=True))
        heads.append(plain_ms(client, states, windows=False))
    key = f"{PREFIX}0x{1:064x}"
    return {
        "bench": "redis_state",
        "markets": MARKETS,
        "whole": figures(whole),
        "usual": figures(usual),
        "plain_pipeline_ms": {"whole": round(min(plain), 1), "heads": round(min(heads), 1)},
        "usual_to_plain_heads": round(min(usual)[0] / min(heads), 2),
        "whole_to_plain_whole": round(min(whole)[0] / min(plain), 2),
        "slice_ms": round(max(one[1] for one in whole) * SLICE / MARKETS, 1),
        "bytes_per_market_in_redis": client.memory_usage(key, samples=0),
    }


def figures(rounds: list[tuple[float, float]]) -> dict[str, float]:
    """The best round: all of it, and on the loop."""
    names = ("ms", "loop_ms")
    return {name: round(value, 1) for name, value in zip(names, min(rounds), strict=True)}


def main() -> None:
    """Start a Redis, measure, print."""
    with server() as url:
        print(json.dumps(asyncio.run(measured(url))))


if __name__ == "__main__":
    main()
