"""The mirror of bot 4.15's baselines in Redis: a copy of what the session has in memory.

Theory of operation. Every `every_s` the markets that have new samples are written, and all are
looked at. The memory of a market is packed on the event loop, `SLICE` markets at a time, because it
changes there; everything that waits for Redis does so in a thread of its own. Nothing waits for the
mirror: while Redis is away, slow, full or read-only the session goes on, and says so once by a
`Link` of the source `redis`. When it is back everything is written again.

A key that somebody deleted is an order: the baseline is reset, by a `Command` on the tape, and not
written again for `HOLD` rounds, so that another replica notices too. No order is seen in keys that
are gone because the database was emptied or replaced (its sentinel is another one), because Redis
threw keys away to save memory, or because they expired; nor in what happened while we were not
connected.

`restore` gives a session that begins without a tape the baselines of another one, as `Command`s, so
that a replay knows them too.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Final, TypeVar
from zlib import crc32

import msgspec
from msgspec import Meta, Struct

from tapewatch.detect.zscore import ZScore
from tapewatch.detect.zscore_state import ZScoreState
from tapewatch.io.clock import Clock
from tapewatch.io.inbox import Inbox
from tapewatch.io.redis_state_client import CHUNK, RedisBaselines, Row, checked_url
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError, Retryable
from tapewatch.model.inputs import STOPPED, Baseline, Command, Link

T = TypeVar("T")

SOURCE: Final = "redis"  # of the links that say whether the mirror works
STREAM: Final = "state"
SLICE: Final = 100  # markets packed before others have their turn on the loop: 2 ms
CLOSE_S: Final = 5.0  # for the last round
HOLD: Final = 3  # rounds for which a baseline that was reset is not written again


class RedisSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The mirror of baselines in Redis.

    `url`: `redis://host:6379/0`, `rediss://` or `unix://`; empty: none. Markets with new samples
    are written every `every_s`, their windows every `window_every_s`; a baseline expires `ttl_s`
    after its window was written last. Redis gets `timeout_s` for each answer.
    """

    url: str = ""
    every_s: Annotated[float, Meta(ge=1.0, le=3600.0)] = 5.0
    window_every_s: Annotated[float, Meta(ge=1.0, le=3600.0)] = 60.0
    ttl_s: Annotated[float, Meta(ge=60.0, le=1e9)] = 86_400.0
    timeout_s: Annotated[float, Meta(gt=0.0, le=60.0)] = 2.0

    def __post_init__(self) -> None:
        if self.ttl_s < 2 * self.window_every_s:
            raise ConfigError(
                f"ttl_s = {self.ttl_s:g} is less than two times window_every_s: baselines would"
                " expire between two writes"
            )
        if self.url:
            try:
                checked_url(self.url)
            except ConfigError as error:
                raise ConfigError(f"url: {error}") from error


class Mirrored(Struct):
    """What the mirror did. `failures`: rounds that Redis spoilt; `rebuilt`: times all was written
    again; `evicted`: baselines that Redis threw away; `refused`: of those it had, not read back."""

    rounds: int = 0
    written: int = 0
    windows: int = 0
    failures: int = 0
    rebuilt: int = 0
    resets: int = 0
    evicted: int = 0
    restored: int = 0
    refused: int = 0
    loop_s: float = 0.0  # for which the last round held the event loop, all its turns together


class _Kept(Struct):
    """What Redis has of one market. `window_due_s`: loop time; `written_s`: of its last window."""

    state: ZScoreState
    updated_ns: int
    window_due_s: float
    written_s: float


class _Held(Struct):
    """A reset that is on its way: `state` is to be forgotten."""

    state: ZScoreState | None
    rounds: int = HOLD


class RedisState:
    """The mirror of one session. `states` are the detector's, by instrument, read on the loop.

    `trouble` says what is wrong, empty when nothing is; `reachable` whether the last round worked,
    None before the first.
    """

    def __init__(
        self,
        settings: RedisSettings,
        detector: ZScore,
        states: Mapping[str, ZScoreState],
        inbox: Inbox,
        clock: Clock,
    ) -> None:
        self.counters = Mirrored()
        self.trouble = ""
        self.reachable: bool | None = None
        self._settings, self._detector, self._states = settings, detector, states
        self._inbox, self._clock = inbox, clock
        self._redis = RedisBaselines(settings.url, settings.ttl_s, settings.timeout_s)
        self._thread = ThreadPoolExecutor(1, "redis")
        self._epoch = b""  # empty: what Redis has is not known
        self._evicted = -1
        self._kept: dict[str, _Kept] = {}
        self._held: dict[str, _Held] = {}

    async def run(self) -> None:
        """Mirror until cancelled."""
        loop = asyncio.get_running_loop()
        while not loop.is_closed():
            await asyncio.sleep(self._settings.every_s)
            await self.checkpoint()

    async def close(self) -> None:
        """Write what is new once more, if that is quick, and close. The baselines stay there."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.checkpoint()
        except TimeoutError:
            self.counters.failures += 1
        if self.reachable:
            await self._say(up=False, reason=STOPPED)
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._redis.close()

    async def checkpoint(self) -> None:
        """One round. Never raises for what Redis does."""
        self.counters.rounds += 1
        self.counters.loop_s = 0.0
        try:
            await self._round()
        except Retryable as error:
            await self._failed(error)
            return
        self.trouble = ""
        if not self.reachable:
            self.reachable = True
            await self._say(up=True, reason="")

    async def restore(self, wanted: Callable[[str], bool] = bool) -> int:
        """Put the baselines that Redis has into the inbox, of `wanted` instruments; how many. To be
        called before anything is measured. What cannot be read is left out and counted."""
        size, found = 0, 0
        try:
            names = await self._ask(self._redis.names, limits.BASELINES)
            names = [name for name in names if wanted(name)]
            for start in range(0, len(names), SLICE):
                some = names[start : start + SLICE]
                for name, packed in zip(some, await self._ask(self._redis.load, some), strict=True):
                    size += len(packed or b"")
                    if packed is None or size > limits.BASELINES_BYTES:
                        self.counters.refused += 1
                        continue
                    found += 1
                    await self._inbox.put(self._baseline(name, packed))
        except Retryable as error:
            await self._failed(error)
        self.counters.restored += found
        return found

    def _baseline(self, instrument: str, packed: bytes) -> Command:
        given = msgspec.json.encode(Baseline(self._detector.name, instrument, packed))
        return Command(self._clock.now_ns(), SOURCE, "baseline", given.decode())

    async def _round(self) -> None:
        if not self._epoch:
            await self._rebuild()
        known = [name for name, kept in self._kept.items() if not self._is_new(name, kept)]
        gone = await self._ask(self._redis.look, known, self._epoch)
        more = None if gone is None else await self._write()
        if gone is None or more is None:  # another database, or an empty one
            await self._rebuild()
            gone, more = [], await self._write()
            if more is None:
                raise Retryable("Redis is being emptied again and again")
        self._let_go()
        await self._lost([*gone, *more])
        await self._forget()

    async def _rebuild(self) -> None:
        """Begin anew with what Redis is now: everything is to be written, and nothing there is an
        order."""
        self._kept.clear()
        self._evicted = await self._ask(self._redis.evicted)
        self._epoch = await self._ask(self._redis.adopt, b"%d" % self._clock.now_ns())
        self.counters.rebuilt += 1

    def _is_new(self, instrument: str, kept: _Kept) -> bool:
        """Whether the market is to be written in this round: then the script looks, too."""
        state = self._states.get(instrument)
        return state is None or state is not kept.state or _newest(state) != kept.updated_ns

    async def _write(self) -> list[str] | None:
        """Write what is new; those that are gone. None when Redis is not what it was. One batch is
        packed while another is on its way."""
        loop = asyncio.get_running_loop()
        names, batch, sent = list(self._states), list[Row](), list[Row]()
        gone: list[str] = []
        answer: asyncio.Future[list[str] | None] | None = None
        for start in range(0, max(len(names), 1), SLICE):
            began_s = loop.time()
            rows = (self._row(name, began_s) for name in names[start : start + SLICE])
            batch += [row for row in rows if row is not None]
            self.counters.loop_s += loop.time() - began_s
            await asyncio.sleep(0)
            last = start + SLICE >= len(names)
            if len(batch) < CHUNK and not last:
                continue
            if answer is not None:
                found = await answer
                if found is None:
                    return None
                gone += self._remember(sent, found)
            sent, batch = batch, []
            answer = loop.run_in_executor(self._thread, self._redis.write, sent, self._epoch)
        assert answer is not None
        found = await answer
        return None if found is None else gone + self._remember(sent, found)

    def _row(self, instrument: str, now_s: float) -> Row | None:
        state = self._states.get(instrument)
        if state is None or self._is_held(instrument, state):
            return None
        kept = self._kept.get(instrument)
        same = kept is not None and kept.state is state
        if kept is not None and same and _newest(state) == kept.updated_ns:
            return None
        found = self._detector.checkpoint(state)
        if found is None:
            return None
        whole = kept is None or not same or now_s >= kept.window_due_s
        packed = self._detector.packed(state) if whole else None
        return Row(instrument, same, found, packed, state)

    def _is_held(self, instrument: str, state: ZScoreState) -> bool:
        held = self._held.get(instrument)
        return held is not None and (held.rounds > 0 or held.state is state)

    def _remember(self, rows: Sequence[Row], gone: list[str]) -> list[str]:
        """Take note of what was written."""
        now_s = asyncio.get_running_loop().time()
        missing = set(gone)
        for row in rows:
            if row.instrument in missing:
                continue
            self.counters.written += 1
            kept = self._kept.get(row.instrument)
            if row.packed is None and kept is not None:
                kept.updated_ns = row.checkpoint.updated_ns
                continue
            self.counters.windows += 1
            due_s = self._window_due_s(row.instrument, now_s)
            self._kept[row.instrument] = _Kept(row.state, row.checkpoint.updated_ns, due_s, now_s)
        return gone

    def _let_go(self) -> None:
        """Write again what was reset some rounds ago, if it is forgotten by now."""
        for name, held in list(self._held.items()):
            held.rounds -= 1
            forgotten = held.state is None or self._states.get(name) is not held.state
            if held.rounds <= 0 and forgotten:
                del self._held[name]

    def _window_due_s(self, instrument: str, now_s: float) -> float:
        """The windows of many markets are not all due in the same round."""
        every_s = self._settings.window_every_s
        return now_s + every_s * (0.5 + crc32(instrument.encode()) / (1 << 33))

    async def _lost(self, gone: Sequence[str]) -> None:
        """Keys that were there and are not: the orders among them are passed on."""
        now_s = asyncio.get_running_loop().time()
        lost = {name: self._kept.pop(name) for name in gone if name in self._kept}
        ordered = [n for n, k in lost.items() if now_s - k.written_s < self._settings.ttl_s]
        if not ordered:
            return
        evicted = await self._ask(self._redis.evicted)
        if evicted != self._evicted:
            self._evicted = evicted
            self.counters.evicted += len(ordered)
            return
        for name in ordered:
            self.counters.resets += 1
            self._held[name] = _Held(self._states.get(name))
            now = self._clock.now_ns()
            await self._inbox.put(Command(now, SOURCE, "reset_baseline", name))

    async def _forget(self) -> None:
        """Delete what was reset or forgotten here, for the other replicas to do the same."""
        states = self._states
        over = [name for name in self._kept if name not in states or not _newest(states[name])]
        if over:
            await self._ask(self._redis.drop, over)
        for name in over:
            del self._kept[name]

    async def _ask(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    async def _failed(self, error: Retryable) -> None:
        self.counters.failures += 1
        self._epoch = b""
        self.trouble = str(error)
        if self.reachable is not False:
            self.reachable = False
            await self._say(
                up=False, reason=f"{error}; baselines stay in memory and are written later"
            )

    async def _say(self, *, up: bool, reason: str) -> None:
        now = self._clock.now_ns()
        await self._inbox.put(Link(now, SOURCE, "up" if up else "down", reason, STREAM))


def _newest(state: ZScoreState) -> int:
    """When its newest sample was taken, 0 without one."""
    return state.prices.times[-1] if state.prices.times else 0
