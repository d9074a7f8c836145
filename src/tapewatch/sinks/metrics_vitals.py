"""How the process is, read at the moment of a scrape: queues, tape, sockets, deliveries.

`take` reads it from the parts of a session; nothing is stored here. What the engine said is the
business of `metrics.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct, field

from tapewatch.engine.engine import Engine
from tapewatch.gate.budget import realised
from tapewatch.io.inbox import Inbox
from tapewatch.io.poller import Counters as PollCounters
from tapewatch.io.tape_write import TapeWriter
from tapewatch.io.websocket import Counters as SocketCounters
from tapewatch.io.worker import Counters as SinkCounters
from tapewatch.io.worker import Worker

EVENTS: Final = ("Trade", "Quote", "Book", "Bar", "Status")
_SOCKET: Final = (
    "attempts",
    "connects",
    "disconnects",
    "frames",
    "bytes",
    "waits",
    "sent",
    "unsent",
)


class SinkVitals(Struct, frozen=True):
    """One sink's worker: its counters and how many outputs wait."""

    name: str
    counters: SinkCounters
    queued: int


class Vitals(Struct, frozen=True, kw_only=True):
    """A moment of the process. What is not known is left at its default.

    `names` are of markets, for people, by instrument; `components` whether a server that we use
    answers; `outbox` rows by sink and state; `alarms_shown` and `alarms_budget` a day, over all
    markets; `lag_s` None before the first trade.
    """

    version: str = ""
    mode: str = "shadow_only"
    kill: str = "off"
    inputs: int = 0
    events: Mapping[str, int] = field(default_factory=dict)
    inbox: int = 0
    inbox_waits: int = 0
    waiting: int = 0
    recording: bool = True
    tape_bytes: int = 0
    lag_s: float | None = None
    coverage: float | None = None
    alarms_budget: float = 0.0
    alarms_shown: float = 0.0
    states: Mapping[str, int] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    sinks: tuple[SinkVitals, ...] = ()
    outbox: Mapping[tuple[str, str], int] = field(default_factory=dict)
    sockets: Mapping[str, int] = field(default_factory=dict)
    polls: PollCounters = field(default_factory=PollCounters)
    components: Mapping[str, bool] = field(default_factory=dict)


def take(  # noqa: PLR0913  it looks at everything, once
    engine: Engine,
    *,
    inbox: Inbox,
    tape: TapeWriter,
    workers: Sequence[Worker],
    sockets: Iterable[SocketCounters] = (),
    polls: PollCounters | None = None,
    waiting: int = 0,
    lag_s: float | None = None,
    coverage: float | None = None,
    version: str = "",
    mode: str = "shadow_only",
    components: Mapping[str, bool] | None = None,
    outbox: Mapping[tuple[str, str], int] | None = None,
) -> Vitals:
    """Read the parts of a session; quick, and nothing is changed."""
    gate = engine.gate_state
    account = gate.accounts.get("*")
    return Vitals(
        version=version,
        mode=mode,
        kill=gate.kill,
        inputs=engine.seq,
        events=engine.counts,
        inbox=len(inbox),
        inbox_waits=inbox.waits,
        waiting=waiting,
        recording=not tape.paused,
        tape_bytes=tape.bytes_written,
        lag_s=lag_s,
        coverage=coverage,
        alarms_budget=engine.gate.budget.alarms_per_day,
        alarms_shown=0.0 if account is None else realised(account, engine.now),
        states={name: len(keyed.states) for name, keyed in engine.detectors.items()},
        names=gate.names,
        sinks=tuple([SinkVitals(w.sink.name, w.counters, len(w)) for w in workers]),
        outbox=outbox or {},
        sockets=total(sockets),
        polls=polls or PollCounters(),
        components=components or {},
    )


def total(sockets: Iterable[SocketCounters]) -> dict[str, int]:
    """The counters of all sockets together, by name."""
    together = dict.fromkeys(_SOCKET, 0)
    for counters in sockets:
        for name in _SOCKET:
            together[name] += getattr(counters, name)
    return together
