"""Publishing on Redis Streams. Needs `pip install 'tapewatch[redis]'`.

A topic is a stream, an event one entry with the field `event`: a CloudEvent as JSON. A batch is one
pipeline. Redis cannot tell duplicates; consumers drop them by the event's id.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from tapewatch.io.outbox import Outcome
from tapewatch.model.errors import ConfigError, DeliveryError
from tapewatch.sinks.bus_events import Message, structured
from tapewatch.sinks.bus_settings import BusSettings

CONNECT_S: Final = 2.0
ANSWER_S: Final = 5.0  # for a whole batch; the worker gives up later than that
FIELD: Final = "event"


class RedisPublisher:
    """The client."""

    def __init__(self, settings: BusSettings, url: str, name: str) -> None:
        try:
            import redis  # noqa: F401, PLC0415  an extra
        except ImportError as error:
            raise ConfigError(
                "Redis is not installed for Python: pip install 'tapewatch[redis]'"
            ) from error
        self.name = name
        self._url, self._most = url, settings.keep_messages
        self._redis: Any = None

    async def connect(self) -> None:
        """As `Publisher.connect`; it is the first batch that finds out."""
        if self._redis is not None:
            return
        from redis.asyncio import Redis  # noqa: PLC0415  an extra
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415

        self._redis = Redis.from_url(
            self._url,
            retry=Retry(NoBackoff(), 0),  # a hidden retry would write entries twice
            socket_timeout=ANSWER_S,
            socket_connect_timeout=CONNECT_S,
            decode_responses=False,
        )

    async def publish(self, messages: Sequence[Message], /) -> Sequence[Outcome]:
        """As `Publisher.publish`."""
        assert self._redis is not None, "connect() comes first"
        from redis.exceptions import RedisError  # noqa: PLC0415  an extra

        pipeline = self._redis.pipeline(transaction=False)
        for message in messages:
            event = structured(message)
            pipeline.xadd(message.topic, {FIELD: event}, maxlen=self._most, approximate=True)
        try:
            async with asyncio.timeout(ANSWER_S):
                answers = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError, TimeoutError) as error:
            raise self._trouble(error) from error
        outcomes = [
            self._trouble(answer) if isinstance(answer, Exception) else None for answer in answers
        ]
        if outcomes and outcomes[0] is not None and None not in outcomes:
            raise outcomes[0]  # Redis takes nothing: it is read-only, full, or still loading
        return outcomes

    async def close(self) -> None:
        """As `Publisher.close`."""
        redis, self._redis = self._redis, None
        if redis is not None:
            await redis.aclose()

    def _trouble(self, error: BaseException) -> DeliveryError:
        """In words, and without the error's own, which may hold what is in the address."""
        from redis import exceptions  # noqa: PLC0415  an extra

        if isinstance(error, exceptions.AuthenticationError):
            why = "does not accept the password"
        elif isinstance(error, exceptions.ReadOnlyError):
            why = "is read-only: another one leads"
        elif isinstance(error, exceptions.OutOfMemoryError):
            why = "has no memory left"
        elif isinstance(error, exceptions.BusyLoadingError):
            why = "is loading its data"
        elif isinstance(error, (TimeoutError, exceptions.TimeoutError)):
            why = "does not answer"
        elif isinstance(error, exceptions.ResponseError):
            why = f"refuses ({str(error).partition(' ')[0]})"  # its code: WRONGTYPE, NOPERM ...
        else:
            why = f"cannot be reached ({type(error).__name__})"
        return DeliveryError(f"{self.name} {why}", retryable=True)
