"""Publishing on Kafka. Needs `pip install 'tapewatch[kafka]'`.

The producer is idempotent (the broker drops what the client itself sends twice); the key is the
market, so that events of one market stay in order on one partition. `kafkas://` is TLS, a user and
a password in the address are SASL PLAIN. Topics are the broker's to create.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from tapewatch.io.outbox import Outcome
from tapewatch.model.errors import ConfigError, DeliveryError
from tapewatch.sinks.bus_events import Message, headers
from tapewatch.sinks.bus_settings import BusSettings, hosts_of

if TYPE_CHECKING:
    from confluent_kafka import Producer

ACK_S: Final = 5.0  # for a whole batch; the worker gives up later than that


class KafkaPublisher:
    """The client. Its library works in threads of its own; one of ours waits for it."""

    def __init__(self, settings: BusSettings, url: str, name: str) -> None:
        try:
            import confluent_kafka  # noqa: F401, PLC0415  an extra
        except ImportError as error:
            raise ConfigError(
                "Kafka is not installed for Python: pip install 'tapewatch[kafka]'"
            ) from error
        self.name = name
        self._config = _config(settings, url)
        self._producer: Producer | None = None
        self._thread = ThreadPoolExecutor(1, "kafka")

    async def connect(self) -> None:
        """As `Publisher.connect`; it is the first batch that finds out."""
        if self._producer is None:
            from confluent_kafka import Producer  # noqa: PLC0415  an extra

            quiet = logging.getLogger("tapewatch.kafka")
            quiet.setLevel(logging.CRITICAL + 1)  # it would print what shows in the outcomes
            self._producer = Producer(self._config, logger=quiet)

    async def publish(self, messages: Sequence[Message], /) -> Sequence[Outcome]:
        """As `Publisher.publish`."""
        assert self._producer is not None, "connect() comes first"
        loop = asyncio.get_running_loop()
        outcomes = await loop.run_in_executor(self._thread, self._send, self._producer, messages)
        failed = [outcome for outcome in outcomes if outcome is not None and outcome.retryable]
        if len(failed) == len(messages) and failed:
            raise failed[0]
        return outcomes

    async def close(self) -> None:
        """As `Publisher.close`."""
        producer, self._producer = self._producer, None
        if producer is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, producer.purge)
            await loop.run_in_executor(self._thread, producer.flush, 0.1)

    def _send(self, producer: "Producer", messages: Sequence[Message]) -> list[Outcome]:
        """Hand everything over and wait until it is acknowledged or given up."""
        from confluent_kafka import KafkaException  # noqa: PLC0415  an extra

        late = DeliveryError(f"{self.name} does not acknowledge", retryable=True)
        outcomes: list[Outcome] = [late] * len(messages)
        for number, message in enumerate(messages):
            try:
                producer.produce(
                    message.topic,
                    value=message.data,
                    key=message.key,
                    headers=list(headers(message, "ce_", escaped=False).items()),
                    on_delivery=self._noting(outcomes, number),
                )
            except KafkaException as error:
                outcomes[number] = self._outcome(error.args[0])
            except BufferError:
                outcomes[number] = DeliveryError(f"{self.name} is too slow", retryable=True)
        if producer.flush(ACK_S):
            producer.purge()  # or it would go on trying, out of our sight
            producer.flush(0.1)
        return outcomes

    def _noting(self, outcomes: list[Outcome], number: int) -> Callable[[Any, Any], None]:
        def note(error: Any, _: Any) -> None:
            outcomes[number] = self._outcome(error)

        return note

    def _outcome(self, error: Any) -> Outcome:
        """Of librdkafka's error; None if there was none."""
        from confluent_kafka import KafkaError  # noqa: PLC0415  an extra

        if error is None:
            return None
        own_fault = error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD)
        if error.code() in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT):  # noqa: SLF001
            return DeliveryError(f"{self.name} does not acknowledge", retryable=True)
        return DeliveryError(f"{self.name} refuses ({error.name()})", retryable=not own_fault)


def _config(settings: BusSettings, url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    config: dict[str, Any] = {
        "bootstrap.servers": hosts_of(parts),
        "client.id": f"tapewatch-{settings.instance}",
        "enable.idempotence": True,
        "message.timeout.ms": int(ACK_S * 1000) - 500,
        "linger.ms": 5,  # librdkafka's default; batches are handed over whole anyway
        "log_level": 0,
    }
    secure = "SSL" if parts.scheme == "kafkas" else "PLAINTEXT"
    config["security.protocol"] = secure
    if parts.username is not None:
        config |= {
            "security.protocol": f"SASL_{secure}",
            "sasl.mechanism": "PLAIN",
            "sasl.username": unquote(parts.username),
            "sasl.password": unquote(parts.password or ""),
        }
    return config
