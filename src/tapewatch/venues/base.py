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
    """One HTTP request whose body comes back as a `Frame` with this `stream`.

    `surface` is the venue's HTTP service that it goes to (see `Budget`). `body` is JSON to POST;
    without one it is a GET.
    """

    url: str
    stream: str
    surface: str = "rest"
    body: bytes = b""


class Poll(Struct, frozen=True):
    """Requests to repeat at multiples of `every_s` since the epoch, `lead_s` early.

    One that is still out when its turn comes again is not repeated, and is given up after two
    intervals.
    """

    name: str
    every_s: float
    requests: tuple[Fetch, ...]
    lead_s: float = 0.0


class Budget(Struct, frozen=True):
    """How much one HTTP service of a venue may be asked: `requests` in any `per_s` seconds,
    `in_flight` at once, each for `timeout_s` at most. When it fails, and when it answers again, a
    `Link` says so whose stream is the name of the service, if it is to be `told`."""

    surface: str
    requests: int
    per_s: float
    in_flight: int = 1
    timeout_s: float = 8.0
    told: bool = True


class Venue(Protocol[S]):
    """Wire format of one venue. All methods are pure; `S` must survive a msgpack round trip.

    `decode` raises `DecodeError` for a frame that cannot be read at all, and nothing else, whatever
    the bytes. A bad row inside a good frame becomes a `Status` of kind `invalid`. The edge calls
    methods that take a state between two steps of the engine; only `decode`, `on_link` and
    `on_timer` may change it.
    """

    name: ClassVar[str]
    state_type: ClassVar[type]

    def instruments(self) -> tuple[str, ...]:
        """Ids of what is watched."""
        ...

    def endpoint(self) -> Endpoint:
        """The websocket."""
        ...

    def budgets(self) -> tuple[Budget, ...]:
        """Its HTTP services."""
        ...

    def streams(self, state: S, /) -> tuple[str, ...]:
        """The sockets to keep open, by the stream of their frames: `("ws",)` of most venues."""
        ...

    def subscribe(self, state: S, stream: str, /) -> tuple[bytes, ...]:
        """Messages to send after each connect of that socket, in order."""
        ...

    def resubscribe(self, state: S, fault: Fault, /) -> tuple[bytes, ...]:
        """Messages that answer a fault whose `ask` is `resubscribe`, for the socket it names."""
        ...

    def fetch(self, state: S, fault: Fault, /) -> Fetch | None:
        """The HTTP request that answers a fault whose `ask` is `backfill` or `probe`."""
        ...

    def polls(self, state: S, /) -> tuple[Poll, ...]:
        """What to ask regularly, as things stand."""
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
