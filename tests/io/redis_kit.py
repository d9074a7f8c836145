"""A session's memory and its mirror, for tests against a real Redis."""

import asyncio
from typing import Any

import redis

from tapewatch.detect.zscore import ZScore
from tapewatch.detect.zscore_state import ZScoreState
from tapewatch.io.inbox import Inbox
from tapewatch.io.redis_state import RedisSettings, RedisState
from tapewatch.model.events import Quote
from tapewatch.model.inputs import Command, Input, Link, Timer
from tapewatch.model.time import NS_PER_S

S2 = ZScore(cycle_s=30.0)
T0 = 1_763_700_000 * NS_PER_S
GUARD_S = 30.0  # real seconds; no test waits for it


class StoppedClock:
    """A clock that shows what it is told."""

    ns = T0

    def now_ns(self) -> int:
        return self.ns


class Session:
    """One process: states of the detector, an inbox that only collects, and the mirror."""

    def __init__(self, url: str, **options: Any) -> None:
        self.states: dict[str, ZScoreState] = {}
        self.inbox, self.clock = Inbox(), StoppedClock()
        settings = RedisSettings(url=url, **{"timeout_s": 5.0, "window_every_s": 1.0} | options)
        self.mirror = RedisState(settings, S2, self.states, self.inbox, self.clock)

    def live(self, *conditions: str, cycles: int = 1) -> None:
        """Cycles of the markets with these condition ids."""
        for _ in range(cycles):
            self.clock.ns += 30 * NS_PER_S
            for condition in conditions:
                name = f"polymarket:{condition}"
                if name not in self.states:
                    self.states[name] = S2.start(name)
                mid = 0.62 + 0.01 * (self.clock.ns // (30 * NS_PER_S) % 3)
                now = self.clock.ns
                S2.update(self.states[name], Quote(name, now, now, mid, 1.0, mid, 1.0))
                S2.update(self.states[name], Timer(now))

    async def told(self) -> list[Input]:
        """What the mirror put into the inbox since the last time; resets are carried out."""
        found = await self.inbox.drain() if len(self.inbox) else []
        for item in found:
            if isinstance(item, Command) and item.op == "reset_baseline":
                self.states.pop(item.argument, None)
        return found

    async def orders(self) -> list[str]:
        """The resets among them, by condition id."""
        return [
            item.argument.removeprefix("polymarket:")
            for item in await self.told()
            if isinstance(item, Command) and item.op == "reset_baseline"
        ]

    async def links(self) -> list[tuple[str, str]]:
        """The links among them."""
        return [(i.state, i.reason) for i in await self.told() if isinstance(i, Link)]


def client(url: str) -> "redis.Redis":
    """An operator's own connection."""
    return redis.Redis.from_url(url, decode_responses=False)


def guarded(scenario: Any) -> Any:
    """Run a coroutine; if it hangs, fail."""

    async def within() -> Any:
        async with asyncio.timeout(GUARD_S):
            return await scenario

    return asyncio.run(within())
