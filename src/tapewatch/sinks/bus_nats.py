"""Publishing on NATS JetStream. Needs `pip install 'tapewatch[nats]'`.

Messages of a batch go out together, each acknowledged by the stream. `Nats-Msg-Id` is the event's
id, so that within its duplicate window the server itself drops what a retry or another replica
sends twice; with `.shadow` on shadow topics, lest what is on trial hides what is live where both
share a stream. A topic that no stream keeps yet gets one of its own; what an operator has set up is
used as it is.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from tapewatch.io.outbox import Outcome
from tapewatch.model.errors import ConfigError, DeliveryError
from tapewatch.sinks.bus_events import Message, headers
from tapewatch.sinks.bus_settings import SHADOW, BusSettings

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

CONNECT_S: Final = 2
ANSWER_S: Final = 2.0  # of the stream's management
ACK_S: Final = 5.0  # for a whole batch; the worker gives up later than that
PING_S: Final = 2  # a server that leaves two pings without an answer is not there


class NatsPublisher:
    """The client. `duplicates` counts what the server had already."""

    def __init__(self, settings: BusSettings, url: str, name: str) -> None:
        try:
            import nats  # noqa: F401, PLC0415  an extra
        except ImportError as error:
            raise ConfigError(
                "NATS is not installed for Python: pip install 'tapewatch[nats]'"
            ) from error
        self.name = name
        self.duplicates = 0
        self._settings, self._url = settings, url
        self._client: Client | None = None
        self._stream: JetStreamContext | None = None
        self._sent: list[tuple[int, asyncio.Future[Any]]] = []  # of the batch under way

    async def connect(self) -> None:
        """As `Publisher.connect`."""
        if self._client is not None and self._client.is_connected:
            return
        await self.close()
        import nats  # noqa: PLC0415  an extra
        from nats.errors import Error  # noqa: PLC0415

        causes: list[Exception] = []

        async def note(error: Exception) -> None:
            """The client would print it. What goes wrong later shows in the calls."""
            causes[:] = [error]

        async def lost() -> None:
            """Nobody acknowledges any more; the client would wait for ever."""
            self._give_up()

        try:
            self._client = await nats.connect(
                self._url,
                allow_reconnect=False,  # it would keep messages meanwhile, out of our sight
                connect_timeout=CONNECT_S,
                ping_interval=PING_S,
                max_outstanding_pings=2,
                max_reconnect_attempts=1,  # also of the first connection; 0 would be without end
                reconnect_time_wait=0,
                error_cb=note,
                disconnected_cb=lost,
                closed_cb=lost,
            )
            self._stream = self._client.jetstream(
                timeout=ANSWER_S, publish_async_max_pending=len(self._settings.topics) + 100_000
            )
            await self._keep_topics(self._stream)
        except (Error, OSError, TimeoutError) as error:
            await self.close()
            raise self._trouble(causes[0] if causes else error) from error

    async def publish(self, messages: Sequence[Message], /) -> Sequence[Outcome]:
        """As `Publisher.publish`."""
        assert self._stream is not None, "connect() comes first"
        from nats.errors import Error, MaxPayloadError  # noqa: PLC0415  an extra

        outcomes: list[Outcome] = [None] * len(messages)
        self._sent = sent = []
        try:
            for number, message in enumerate(messages):
                try:
                    future = await self._stream.publish_async(
                        message.topic, message.data, headers=_headers(message)
                    )
                except MaxPayloadError:
                    size = f"{len(message.data):,} bytes"
                    outcomes[number] = DeliveryError(
                        f"{self.name}: {size} are more than it takes", retryable=False
                    )
                else:
                    sent.append((number, future))
            if sent:
                await asyncio.wait([future for _, future in sent], timeout=ACK_S)
        except (Error, OSError) as error:
            raise self._trouble(error) from error
        finally:
            self._give_up()
        for number, future in sent:
            outcomes[number] = self._outcome(future)
        if sent and all(future.cancelled() for _, future in sent):
            raise DeliveryError(f"{self.name} does not acknowledge", retryable=True)
        return outcomes

    async def close(self) -> None:
        """As `Publisher.close`."""
        client, self._client, self._stream = self._client, None, None
        if client is not None and not client.is_closed:
            await client.close()

    def _give_up(self) -> None:
        """Wait no longer for what is not acknowledged yet."""
        for _, future in self._sent:
            future.cancel()

    def _outcome(self, future: "asyncio.Future[Any]") -> Outcome:
        if future.cancelled():
            return DeliveryError(f"{self.name} does not acknowledge", retryable=True)
        error = future.exception()
        if error is not None:
            return self._trouble(error)
        self.duplicates += bool(future.result().duplicate)
        return None

    async def _keep_topics(self, stream: "JetStreamContext") -> None:
        """See to it that a stream keeps every topic."""
        from nats.js.errors import BadRequestError, NotFoundError  # noqa: PLC0415  an extra

        settings = self._settings
        for topic in settings.topics:
            try:
                await stream.find_stream_name_by_subject(topic)
            except NotFoundError:
                wanted: dict[str, Any] = {
                    "name": topic.replace(".", "_"),  # a dot is not allowed there
                    "subjects": [topic],
                    "max_msgs": settings.keep_messages,
                    "max_age": settings.keep_s,
                    "duplicate_window": min(settings.duplicate_window_s, settings.keep_s),
                }
                try:
                    await stream.add_stream(**wanted)
                except BadRequestError:  # a replica was quicker, or the name is taken
                    await stream.find_stream_name_by_subject(topic)

    def _trouble(self, error: BaseException) -> DeliveryError:
        """In words, and without the error's own, which may hold what is in the address."""
        from nats.errors import AuthorizationError, NoRespondersError  # noqa: PLC0415  an extra
        from nats.js.errors import (  # noqa: PLC0415
            APIError,
            NoStreamResponseError,
            ServiceUnavailableError,
        )

        if isinstance(error, ConnectionRefusedError):
            why = "cannot be reached (connection refused)"
        elif isinstance(error, (NoRespondersError, ServiceUnavailableError)):
            why = "has no JetStream: start it with -js"
        elif isinstance(error, AuthorizationError):
            why = "does not accept the user or the password"
        elif isinstance(error, NoStreamResponseError):
            why = "has no stream for the topic any more"
        elif isinstance(error, APIError):
            why = f"says: {error.description}"
        elif isinstance(error, TimeoutError):
            why = "does not answer"
        else:
            why = f"cannot be reached ({type(error).__name__})"
        return DeliveryError(f"{self.name} {why}", retryable=True)


def _headers(message: Message) -> dict[str, str]:
    shadow = SHADOW if message.topic.endswith(SHADOW) else ""
    return {
        **headers(message, "ce-", escaped=True),
        "Nats-Msg-Id": f"{message.attributes['id']}{shadow}",
    }
