"""The gate from NATS. Needs `pip install 'tapewatch[nats]'`.

Live messages come by a plain subscription, which NATS serves also where a JetStream keeps the
topic. What the stream has kept of the last `stale_s` is fetched after each connection.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from tapewatch.io.reach import host_of
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError, Retryable
from tapewatch.model.time import NS_PER_S, format_rfc3339
from tapewatch.sdk.bus_gate import CONNECT_S, BusGate

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

SCHEMES: Final = ("nats", "tls", "ws", "wss")
BATCH: Final = 100  # kept messages asked for at once
ANSWER_S: Final = 1.0  # the server gets so long for each
PING_S: Final = 2.0  # a server that leaves two pings without an answer is not there


class NatsGate(BusGate):
    """Reads the subjects named by `topics` at `url` (`nats://`, `tls://`)."""

    def __init__(self, url: str = "nats://127.0.0.1:4222", *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if urlsplit(url).scheme not in SCHEMES:
            raise ConfigError(f"{host_of(url) or 'the address'}: write nats://host:port")
        self._url = url

    async def listen(self, ready: asyncio.Event) -> None:
        try:
            import nats  # noqa: PLC0415  an extra
            from nats.errors import Error  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError(
                "NATS is not installed for Python: pip install 'tapewatch[nats]'"
            ) from error
        gone = asyncio.Event()

        async def ended() -> None:
            gone.set()

        async def complain(error: Exception) -> None:
            self.trouble = f"{host_of(self._url)}: {type(error).__name__}"
            if self._broken is not None:
                gone.set()

        client = None
        try:
            client = await nats.connect(
                self._url,
                allow_reconnect=False,  # connecting again is `BusGate`'s, with what was missed
                connect_timeout=CONNECT_S,
                ping_interval=PING_S,
                max_outstanding_pings=2,
                disconnected_cb=ended,
                closed_cb=ended,
                error_cb=complain,
            )
            await self._read(client, ready)
            await gone.wait()
        except (Error, OSError, TimeoutError) as error:
            raise Retryable(f"{host_of(self._url)}: {type(error).__name__}") from error
        finally:
            if client is not None and not client.is_closed:
                await client.close()
        raise Retryable(f"{host_of(self._url)}: the connection was lost")

    async def _read(self, client: "Client", ready: asyncio.Event) -> None:
        async def heard(message: "Msg") -> None:
            self.take(message.subject, message.data, message.headers)

        for topic in self.topics.every:
            await client.subscribe(topic, cb=heard, pending_msgs_limit=limits.GATE_MESSAGES)
        await client.flush(timeout=ANSWER_S)  # type: ignore[arg-type]
        for topic in self.topics.every:
            await self._kept(client, topic)
        ready.set()

    async def _kept(self, client: "Client", topic: str) -> None:
        """What a JetStream has of the last `stale_s`, if one keeps the topic."""
        from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy  # noqa: PLC0415
        from nats.js.errors import NotFoundError, ServiceUnavailableError  # noqa: PLC0415

        now_ns = self._clock.now_ns()
        since_ns = now_ns - int(self.advisor.settings.stale_s * NS_PER_S)
        config = ConsumerConfig(  # which passes the time on as it is
            deliver_policy=DeliverPolicy.BY_START_TIME,
            opt_start_time=format_rfc3339(since_ns),  # type: ignore[arg-type]
            ack_policy=AckPolicy.NONE,
            mem_storage=True,
        )
        try:
            consumer = await client.jetstream(timeout=ANSWER_S).pull_subscribe(topic, config=config)
        except (NotFoundError, ServiceUnavailableError):
            return
        left = (await consumer.consumer_info()).num_pending or 0
        while left > 0:
            batch = await consumer.fetch(min(left, BATCH), timeout=ANSWER_S)
            for message in batch:
                at_ns = int(message.metadata.timestamp.timestamp() * NS_PER_S)
                self.take(topic, message.data, message.headers, at_ns)
            left -= len(batch)
        await consumer.unsubscribe()
