"""Reports and alerts on a bus: the sink between the outbox and one publisher.

It decides nothing about a report but its topic. It publishes nothing while `paused` says so (the
kill switch), leaves to another replica what that one has claimed, and passes the rest on in one
batch. What it could not pass on stays in the outbox (`io.outbox`).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar, Final, Protocol

from msgspec import Struct

from tapewatch.gate.advice import Mode
from tapewatch.io.outbox import Outcome
from tapewatch.io.store import Owed
from tapewatch.model.errors import DeliveryError
from tapewatch.model.outputs import Alert, Output, Report
from tapewatch.sinks.bus_claims import Claims
from tapewatch.sinks.bus_events import Message, message_of
from tapewatch.sinks.bus_settings import BusSettings, address_name, split

PAUSED_S: Final = 1.0  # between two looks at the kill switch


class Publisher(Protocol):
    """A client of one bus. No hidden buffers and no hidden retries: what is not acknowledged when
    `publish` returns has failed, whether it arrives or not."""

    @property
    def name(self) -> str:
        """The address without credentials."""
        ...

    async def connect(self) -> None:
        """Be connected, and have what is published on. Quick if it is so already. Raises
        `DeliveryError`."""
        ...

    async def publish(self, messages: Sequence[Message], /) -> Sequence[Outcome]:
        """Send all at once and wait for the acknowledgements; one outcome each. Raises
        `DeliveryError` when the connection is of no use any more."""
        ...

    async def close(self) -> None:
        """Drop the connection; `connect` may follow."""
        ...


class BusCounters(Struct):
    """Outputs of one bus: acknowledged to us, left to another replica that has published them, and
    published by us after another replica had claimed them and not said more."""

    published: int = 0
    left: int = 0
    taken_over: int = 0


class BusSink:
    """One bus. `paused` is asked before every batch."""

    accepts: ClassVar[tuple[type[Output], ...]] = (Alert, Report)

    def __init__(
        self,
        settings: BusSettings,
        publisher: Publisher,
        *,
        mode: Mode = "shadow_only",
        paused: Callable[[], bool] = lambda: False,
        claims: Claims | None = None,
    ) -> None:
        self.counters = BusCounters()
        self.mode: Mode = mode
        self._settings, self._publisher = settings, publisher
        self._paused, self._claims = paused, claims
        self._held: dict[str, float] = {}  # claims of others: loop time they were first seen

    @property
    def name(self) -> str:
        """The address without credentials; the key of the outbox."""
        return self._publisher.name

    async def publish(self, batch: Sequence[Owed], /) -> Sequence[Outcome]:
        """As `OutboxSink.publish`."""
        self._check_paused()
        await self._publisher.connect()
        messages = [message_of(self._settings, self.mode, owed) for owed in batch]
        outcomes = await self._claim(messages)
        mine = [number for number, outcome in enumerate(outcomes) if outcome is MINE]
        self._check_paused()  # it may have taken a while
        if mine:
            try:
                found = await self._publisher.publish([messages[number] for number in mine])
            except DeliveryError:
                await self._publisher.close()
                raise
            for number, outcome in zip(mine, found, strict=True):
                outcomes[number] = outcome
            arrived = [number for number in mine if outcomes[number] is None]
            self.counters.published += len(arrived)
            if self._claims is not None:
                await self._claims.done([self._key(messages[number]) for number in arrived])
        return outcomes

    async def close(self) -> None:
        """Close the connections."""
        await self._publisher.close()
        if self._claims is not None:
            await self._claims.close()

    def _check_paused(self) -> None:
        if self._paused():
            raise DeliveryError(
                "the kill switch is on", retryable=True, held=True, retry_after_s=PAUSED_S
            )

    async def _claim(self, messages: Sequence[Message]) -> list[Outcome]:
        """`MINE` for what we publish, None for what another replica has, `LATER` for what it may be
        publishing at the moment."""
        if self._claims is None:
            return [MINE] * len(messages)
        keys = [self._key(message) for message in messages]
        states = await self._claims.take(keys)
        now_s = asyncio.get_running_loop().time()
        held: dict[str, float] = {}
        outcomes: list[Outcome] = []
        for key, state in zip(keys, states, strict=True):
            if state == "theirs":
                since_s = held[key] = self._held.get(key, now_s)
                waited = now_s - since_s >= self._settings.claim_grace_s
                self.counters.taken_over += waited
                outcomes.append(MINE if waited else LATER)
            else:
                self.counters.left += state == "done"
                outcomes.append(None if state == "done" else MINE)
        self._held = held
        return outcomes

    def _key(self, message: Message) -> str:
        """What is claimed: this event on this bus and topic. A replica in another mode claims
        something else."""
        return f"claim:{self.name}:{message.topic}:{message.id}"


MINE: Final = DeliveryError("not published yet", retryable=True)
LATER: Final = DeliveryError("another replica is at it", retryable=True, held=True)


def bus_sinks(
    settings: BusSettings,
    *,
    mode: Mode,
    paused: Callable[[], bool],
    claims: Callable[[], Claims] | None = None,
) -> tuple[BusSink, ...]:
    """A sink for every address of `settings`; `claims` makes what each of them claims with. Raises
    `ConfigError` where a client is not installed."""
    return tuple(
        BusSink(
            settings,
            publisher(settings, url, number),
            mode=mode,
            paused=paused,
            claims=claims() if claims is not None else None,
        )
        for number, url in enumerate(settings.publish_to, 1)
    )


def publisher(settings: BusSettings, url: str, number: int = 1) -> Publisher:
    """The client for the address `url`. Raises `ConfigError`."""
    name = address_name(url, number)
    parts = split(url)
    assert parts is not None, "it has a name"
    if parts.scheme in ("nats", "tls"):
        from tapewatch.sinks.bus_nats import NatsPublisher  # noqa: PLC0415  an extra

        return NatsPublisher(settings, url, name)
    if parts.scheme in ("redis", "rediss"):
        from tapewatch.sinks.bus_redis import RedisPublisher  # noqa: PLC0415  an extra

        return RedisPublisher(settings, url, name)
    from tapewatch.sinks.bus_kafka import KafkaPublisher  # noqa: PLC0415  an extra

    return KafkaPublisher(settings, url, name)
