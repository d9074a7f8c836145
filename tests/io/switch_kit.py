"""Kill switches of a session, for tests against real servers."""

import asyncio
from collections.abc import Sequence
from typing import Any

from tapewatch.io.control import Switch
from tapewatch.io.control_sources import Reader, Reading
from tapewatch.io.control_switches import KillSwitches, KillSwitchSettings
from tapewatch.model.inputs import Command

NOW = 1_763_700_000_000_000_000
GUARD_S = 30.0  # real seconds; no test waits for it


class StoppedClock:
    """A clock that stands still."""

    def now_ns(self) -> int:
        return NOW


class Watched:
    """The switches, and the commands that they gave."""

    def __init__(
        self, state: Switch = "off", readers: Sequence[Reader] | None = None, **settings: Any
    ) -> None:
        self.given: list[Command] = []
        fitted = KillSwitchSettings(**{"file": ""} | settings)
        self.switches = KillSwitches(fitted, StoppedClock(), self._put, state, readers=readers)

    async def _put(self, command: Command) -> None:
        self.given.append(command)

    async def poll(self) -> tuple[str, str] | None:
        """Who gave which order in this poll, if any."""
        before = len(self.given)
        await self.switches.poll()
        if len(self.given) == before:
            return None
        (command,) = self.given[before:]
        assert (command.op, command.ts_recv) == ("kill", NOW)
        return command.actor, command.argument

    async def until(self, state: Switch) -> str:
        """Poll until the switch says so; the last order."""
        while self.switches.state != state:
            await self.switches.poll()
            await asyncio.sleep(0.01)
        return self.given[-1].argument


class Script:
    """A reader that says what the test wants; None never answers."""

    def __init__(self, name: str, said: Reading | None) -> None:
        self.name, self.said, self.closed = name, said, False

    async def read(self) -> Reading:
        if self.said is None:
            await asyncio.Event().wait()
        assert self.said is not None
        return self.said

    async def close(self) -> None:
        self.closed = True


def guarded(scenario: Any) -> Any:
    """Run a coroutine; if it hangs, fail."""

    async def within() -> Any:
        async with asyncio.timeout(GUARD_S):
            return await scenario

    return asyncio.run(within())
