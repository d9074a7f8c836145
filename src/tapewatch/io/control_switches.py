"""The kill switch of a session: one or more places, one answer.

| what the places say | the switch |
|---|---|
| any is on | `on` |
| none is on, and one cannot be read twice running | `unknown`, which counts as on |
| all are off | `off` |

All are read at once every `poll_s`, each for `DEADLINE` of that at most, so that a change holds
within a second by default. Nothing here blocks the event loop, and a place that hangs does not keep
the others waiting.
"""

import asyncio
import pathlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final

from msgspec import Meta, Struct

from tapewatch.io.clock import Clock
from tapewatch.io.control import UNREADABLE_POLLS, Order, Switch
from tapewatch.io.control_bus import BusReader, checked_bus
from tapewatch.io.control_sources import FileReader, Reader, Reading, RedisReader, UrlReader
from tapewatch.io.control_sources import checked_url as checked_http
from tapewatch.io.redis_state_client import checked_url as checked_redis
from tapewatch.model.errors import ConfigError
from tapewatch.model.inputs import Command
from tapewatch.model.text import clean

KILL_SWITCH_FILE: Final = "~/.local/state/tapewatch/killswitch"
DEADLINE: Final = 0.8  # of the time between two polls: a read must end before the next begins


class KillSwitchSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The kill switch, in one place or several; on in any of them is on.

    `file`: one for all sessions of a user, wherever they run. `url`: an HTTP service that answers
    `{"active": true}` or `{"status": "ACTIVE"}`. `redis_url`: a Redis whose key `redis_key` says
    so. `bus_url`: a NATS (`bus_subject`) or Redis (a channel of that name) that tells changes.
    All are read every `poll_s`; one that cannot be read twice counts as on.
    """

    file: str = KILL_SWITCH_FILE
    url: str = ""
    redis_url: str = ""
    redis_key: Annotated[str, Meta(min_length=1, max_length=200)] = "killswitch"
    bus_url: str = ""
    bus_subject: Annotated[str, Meta(pattern=r"^[!-~]{1,200}$")] = "polytraders.killswitch"
    poll_s: Annotated[float, Meta(ge=0.1, le=60.0)] = 1.0

    def __post_init__(self) -> None:
        for name, check in (
            ("url", checked_http),
            ("redis_url", checked_redis),
            ("bus_url", checked_bus),
        ):
            try:
                if getattr(self, name):
                    check(getattr(self, name))
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from error

    @property
    def path(self) -> pathlib.Path:
        """Where the file is."""
        return pathlib.Path(self.file).expanduser()


class _Place(Struct):
    """One place, what it said last, and how often running it could not be read."""

    reader: Reader
    order: Order | None = None
    trouble: str = "has not been read yet"
    unreadable: int = UNREADABLE_POLLS - 1  # nothing is known yet: no second chance

    def take(self, said: Reading) -> None:
        if isinstance(said, Order):
            self.order, self.trouble, self.unreadable = said, "", 0
        else:
            self.trouble = said
            self.unreadable += 1

    @property
    def state(self) -> Switch:
        if self.unreadable >= UNREADABLE_POLLS or self.order is None:
            return "unknown"
        return "on" if self.order.active else "off"


class KillSwitches:
    """Watches all places. `state` is what was last passed on, also by an earlier process of the
    session; the engine begins with `off`. `put` takes the commands."""

    def __init__(
        self,
        settings: KillSwitchSettings,
        clock: Clock,
        put: Callable[[Command], Awaitable[None]],
        state: Switch = "off",
        *,
        readers: Sequence[Reader] | None = None,
    ) -> None:
        self.state = state
        self._poll_s, self._clock, self._put = settings.poll_s, clock, put
        found = readers_of(settings, thrown=state != "off") if readers is None else readers
        self._places = [_Place(reader) for reader in found]

    async def run(self) -> None:
        """Watch until cancelled. Times are read, never counted: polls that were missed are left
        out."""
        loop = asyncio.get_running_loop()
        try:
            while not loop.is_closed():
                began_s = loop.time()
                await self.poll()
                await asyncio.sleep(max(0.0, began_s + self._poll_s - loop.time()))
        finally:
            await self.close()

    async def poll(self) -> None:
        """Read all places once, and pass on a change. Awaited before sources begin, nothing leaves
        on the strength of a switch that nobody has looked at."""
        said = await asyncio.gather(*(self._read(place.reader) for place in self._places))
        for place, one in zip(self._places, said, strict=True):
            place.take(one)
        state, actor, why = self._combined()
        if state != self.state:
            self.state = state
            argument = f"{state}: {why}" if why else state
            await self._put(Command(self._clock.now_ns(), actor, "kill", argument))

    async def close(self) -> None:
        """Let go of all connections."""
        await asyncio.gather(*(place.reader.close() for place in self._places))

    def places(self) -> list[tuple[str, Switch, str]]:
        """Each place by name, what it says, and who said so and why, or why it cannot be read."""
        return [(place.reader.name, place.state, _words(place)) for place in self._places]

    async def _read(self, reader: Reader) -> Reading:
        deadline_s = DEADLINE * self._poll_s
        try:
            async with asyncio.timeout(deadline_s):
                return await reader.read()
        except TimeoutError:
            return f"{reader.name} does not answer within {deadline_s:g} s"

    def _combined(self) -> tuple[Switch, str, str]:
        """The state, who says so, and why."""
        for wanted in ("on", "unknown"):
            for place in self._places:
                if place.state == wanted:
                    order = place.order if wanted == "on" else None
                    if order is None:
                        return wanted, place.reader.name, clean(place.trouble)
                    return wanted, order.actor or place.reader.name, order.reason
        by = next((p.order.actor for p in self._places if p.order and p.order.actor), "")
        return "off", by or ", ".join(place.reader.name for place in self._places), ""


def _words(place: _Place) -> str:
    if place.state == "unknown" or place.order is None:
        return clean(place.trouble)
    return ": ".join(part for part in (place.order.actor, place.order.reason) if part)


def readers_of(settings: KillSwitchSettings, *, thrown: bool) -> list[Reader]:
    """The places that the settings name. `thrown`: the switch was on when an earlier process ended.
    Raises `ConfigError` when a library for one is missing."""
    timeout_s = DEADLINE * settings.poll_s
    found: list[Reader] = [FileReader(settings.path)] if settings.file else []
    if settings.url:
        found.append(UrlReader(settings.url, timeout_s))
    if settings.redis_url:
        redis = RedisReader(settings.redis_url, settings.redis_key, timeout_s, thrown=thrown)
        found.append(redis)
    if settings.bus_url:
        found.append(BusReader(settings.bus_url, settings.bus_subject, timeout_s))
    return found
