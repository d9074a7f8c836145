"""The contract of a venue: pure wire formats, nothing else.

A venue is one frozen struct. Its fields are its configuration; all memory lives in the state that
`start` returns and the engine owns. It performs no I/O: it says what to connect to, what to send,
what to fetch, and what the frames mean. `tapewatch.io` moves the bytes.
"""

from collections.abc import Iterable
from typing import ClassVar, Protocol, TypeVar

from msgspec import Struct

from tapewatch.model.events import Event
from tapewatch.model.inputs import Frame, Link
from tapewatch.model.outputs import Fault

S = TypeVar("S")


class Endpoint(Struct, frozen=True):
    """Where to connect and how to tell that the connection is dead.

    `silence_s`: reconnect when no byte arrives for so long. `attempts` in any `attempts_window_s`
    is the budget of connection attempts (the venue bans clients that exceed it).
    """

    url: str
    silence_s: float
    ping: bytes
    ping_every_s: float
    attempts: int
    attempts_window_s: float


class Fetch(Struct, frozen=True):
    """One HTTP GET whose body comes back as a `Frame` with this `stream`."""

    url: str
    stream: str


class Venue(Protocol[S]):
    """Wire format of one venue. All methods are pure; `S` must survive a msgpack round trip.

    `decode` raises `DecodeError` for a frame that cannot be read at all, and nothing else, whatever
    the bytes. A bad row inside a good frame becomes a `Status` of kind `invalid`.
    """

    name: ClassVar[str]
    state_type: ClassVar[type]

    def instruments(self) -> tuple[str, ...]:
        """Ids of what is watched."""
        ...

    def endpoint(self) -> Endpoint:
        """The websocket."""
        ...

    def subscribe(self) -> tuple[bytes, ...]:
        """Messages to send after each connect, in order."""
        ...

    def resubscribe(self, fault: Fault) -> tuple[bytes, ...]:
        """Messages that answer a fault whose `ask` is `resubscribe`."""
        ...

    def fetch(self, fault: Fault) -> Fetch | None:
        """The HTTP request that answers a fault whose `ask` is `backfill` or `probe`."""
        ...

    def start(self) -> S:
        """Fresh memory."""
        ...

    def decode(self, state: S, frame: Frame, /) -> Iterable[Event]:
        """Events of one frame, in order."""
        ...

    def on_link(self, state: S, link: Link, /) -> Iterable[Event]:
        """A connection came up or went down: books are void, acknowledgements are due again."""
        ...

    def on_timer(self, state: S, now: int, /) -> Iterable[Event]:
        """Deadlines that passed: missing acknowledgements, first data, silent subscriptions."""
        ...
