"""The gate from Redis Streams. Needs `pip install 'tapewatch[redis]'`."""

import asyncio
from typing import Any, Final
from urllib.parse import urlsplit

from tapewatch.io.reach import host_of
from tapewatch.model.errors import ConfigError, Retryable
from tapewatch.model.time import NS_PER_MS
from tapewatch.sdk.bus_gate import CONNECT_S, BusGate

BLOCK_MS: Final = 1_000  # a read waits so long for entries before it asks again
BATCH: Final = 100  # entries of each stream a read
SILENCE_S: Final = 4.0  # a server that does not answer a read by then is not there
SCHEMES: Final = ("redis", "rediss", "unix")

Entries = list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]


class RedisGate(BusGate):
    """Reads the streams named by `topics` at `url` (`redis://`, `rediss://`, `unix://`)."""

    def __init__(self, url: str = "redis://127.0.0.1:6379/0", *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if urlsplit(url).scheme not in SCHEMES:
            raise ConfigError(f"{host_of(url) or 'the address'}: write redis://host:port")
        self._url = url

    async def listen(self, ready: asyncio.Event) -> None:
        try:
            from redis.asyncio import Redis  # noqa: PLC0415  an extra
            from redis.exceptions import RedisError  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError(
                "Redis is not installed for Python: pip install 'tapewatch[redis]'"
            ) from error
        client = Redis.from_url(
            self._url,
            socket_timeout=SILENCE_S,
            socket_connect_timeout=CONNECT_S,
            decode_responses=False,
        )
        try:
            await self._read(client, ready)
        except (RedisError, OSError) as error:
            # The text of an error may quote the address with its password: name its kind only.
            raise Retryable(f"{host_of(self._url)}: {type(error).__name__}") from error
        finally:
            await client.aclose()

    async def _read(self, client: Any, ready: asyncio.Event) -> None:
        seconds, micros = await client.time()
        connected_ms = seconds * 1000 + micros // 1000
        since_ms = max(0, connected_ms - int(self.advisor.settings.stale_s * 1000))
        here_ns = self._clock.now_ns()
        last: dict[bytes, bytes] = {t.encode(): b"%d-0" % since_ms for t in self.topics.every}
        loop = asyncio.get_running_loop()
        while not loop.is_closed():
            wait_ms = BLOCK_MS if ready.is_set() else 1
            found: Entries = await client.xread(dict(last), count=BATCH, block=wait_ms) or []
            for stream, entries in found:
                for entry, fields in entries:
                    last[stream] = entry
                    made_ms = int(entry.partition(b"-")[0])
                    old_ms = connected_ms - made_ms
                    at_ns = here_ns - old_ms * NS_PER_MS if old_ms > 0 else 0
                    self.take(stream.decode(), _message(fields), None, at_ns)
            if not found:
                ready.set()


def _message(fields: dict[bytes, bytes]) -> bytes:
    """The one field of an entry that holds JSON; nothing that can be read if none does."""
    return next((value for value in fields.values() if value.startswith(b"{")), b"")


assert BLOCK_MS < SILENCE_S * 1000
