"""Claims in Redis: replicas tell each other what they are publishing, to save work and no more.

Correctness never depends on them: a consumer that drops duplicates by id sees each event once,
whatever a Redis that was flushed, paused or lost says. So every doubt ends in publishing.

Theory of operation. Before a batch a replica takes all of its keys in one call: a key nobody has
becomes its own for `ttl_s`; of a taken one it learns whether the other replica is done. Afterwards
it marks its keys done. An answer that does not come within `ANSWER_S` counts as "ours", and Redis
is then left alone for `AWAY_S`, so that a slow one does not slow down the bus.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

from tapewatch.io.reach import host_of
from tapewatch.model.errors import ConfigError

State = Literal["ours", "theirs", "done"]

ANSWER_S: Final = 0.25
AWAY_S: Final = 1.0
DONE: Final = b"done"
_STATES: Final[tuple[State, ...]] = ("theirs", "ours", "done")
_TAKE: Final = """
local found = {}
for number, key in ipairs(KEYS) do
  local holder = redis.call('GET', key)
  if not holder then
    redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
    found[number] = 1
  elseif holder == ARGV[1] then
    found[number] = 1
  elseif holder == 'done' then
    found[number] = 2
  else
    found[number] = 0
  end
end
return found
"""


class Claims(Protocol):
    """Who publishes what, among replicas. Never raises for trouble with where claims are kept."""

    async def take(self, keys: Sequence[str], /) -> Sequence[State]:
        """Claim what nobody has, and tell how things stand; "ours" in doubt."""
        ...

    async def done(self, keys: Sequence[str], /) -> None:
        """Tell the others that these are published."""
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


class RedisClaims:
    """Claims of the replica named `replica` in the Redis at `url`. `failures` counts calls without
    an answer; `trouble` is the last one's reason, empty when all is well."""

    def __init__(self, url: str, replica: str, ttl_s: float) -> None:
        assert replica.encode() != DONE
        try:
            from redis.asyncio import Redis  # noqa: PLC0415  an extra
            from redis.asyncio.retry import Retry  # noqa: PLC0415
            from redis.backoff import NoBackoff  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError(
                "Redis is not installed for Python: pip install 'tapewatch[redis]'"
            ) from error
        self.failures = 0
        self.trouble = ""
        self._host = host_of(url)
        self._replica, self._ttl_ms = replica, int(ttl_s * 1000)
        self._redis: Any = Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S,
        )
        self._away_until_s = 0.0

    async def take(self, keys: Sequence[str], /) -> Sequence[State]:
        """As `Claims.take`, in one call."""
        found = await self._call("EVAL", _TAKE, len(keys), *keys, self._replica, self._ttl_ms)
        if not isinstance(found, list) or len(found) != len(keys):
            return ["ours"] * len(keys)
        return [_STATES[code] for code in found]

    async def done(self, keys: Sequence[str], /) -> None:
        """As `Claims.done`, in one call."""
        if keys:
            await self._call("EVAL", _DONE, len(keys), *keys, self._ttl_ms)

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()

    async def _call(self, *words: str | int) -> object:
        """Redis's answer; None if there was none."""
        from redis.exceptions import RedisError  # noqa: PLC0415  an extra

        loop = asyncio.get_running_loop()
        if loop.time() < self._away_until_s:
            return None
        try:
            async with asyncio.timeout(ANSWER_S):
                answer: object = await self._redis.execute_command(*words)
        except (RedisError, OSError, TimeoutError) as error:
            # The text may quote the address with its password: its kind must do.
            self.trouble = f"{self._host}: {type(error).__name__}"
            self.failures += 1
            self._away_until_s = loop.time() + AWAY_S
            return None
        self.trouble = ""
        return answer


_DONE: Final = """
for _, key in ipairs(KEYS) do
  redis.call('SET', key, 'done', 'PX', ARGV[1])
end
return #KEYS
"""
