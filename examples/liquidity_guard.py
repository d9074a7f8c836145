"""LiquidityGuard: the reference consumer of tapewatch's reports, before a strategy enters.

    python examples/liquidity_guard.py nats://127.0.0.1:4222 will-it-rain-tomorrow

It receives each report as it is published (`received`), and `may_enter` is asked before each new
entry. It never waits, and it has a safe side: when nothing is known, no entry. It trades nothing.
"""

import asyncio
import sys
from collections import deque
from typing import Any, Self

from tapewatch.gate import Advice, NatsGate, RedisGate
from tapewatch.model.outputs import Alert, Report

KEPT = 1_000  # reports that are remembered for those who review


class LiquidityGuard:
    """Stands before the entries of one or more strategies. `refused` counts."""

    def __init__(self, url: str, **options: Any) -> None:
        make = RedisGate if url.startswith(("redis", "unix")) else NatsGate
        self.gate = make(url, on_told=self._receive, **options)
        self.received: deque[Report | Alert] = deque(maxlen=KEPT)
        self.news = asyncio.Event()
        self.refused = 0

    async def __aenter__(self) -> Self:
        await self.gate.__aenter__()
        return self

    async def __aexit__(self, *exit_: object) -> None:
        await self.gate.__aexit__(*exit_)

    def _receive(self, told: Report | Alert) -> None:
        self.received.append(told)
        self.news.set()

    def may_enter(self, market: str) -> Advice | None:
        """None: enter. Otherwise why not, and until when."""
        advice = self.gate.check(market)
        if advice.action == "allow":
            return None
        self.refused += 1
        return advice


async def main(url: str, market: str) -> None:
    """Say what a strategy would be told, at each report."""
    async with LiquidityGuard(url) as guard:
        for _ in range(KEPT):
            await guard.news.wait()
            guard.news.clear()
            why_not = guard.may_enter(market)
            print("enter" if why_not is None else f"{why_not.action}: {why_not.reason}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
