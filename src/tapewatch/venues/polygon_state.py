"""What the Polygon venue remembers, and the small steps that every kind of frame takes.

Pure data: it survives a msgpack round trip at any moment. Nothing of a node's text gets in here
unless it was checked to be a number, a hash, or has been made safe.
"""

from typing import Final

from msgspec import Struct, field

from tapewatch.model.events import Ask, Event, Status, StatusKind, Trade
from tapewatch.model.limits import TRADE_ID_RING
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.polygon_fills import Layout
from tapewatch.venues.polymarket_markets import Market, instrument_of
from tapewatch.venues.polymarket_status import ENDED_NS, ENDING_NS

SOURCE: Final = "polygon"
SOCKET: Final = "ws:0"
BLOCK_S: Final = 2  # of Polygon, nearly always
TIMES: Final = 512  # blocks whose time is remembered
ROWS_SAID: Final = 20  # bad rows of one frame that are said one by one
FIRST_SPAN: Final = 10  # blocks in the first request for logs


class Known(Struct):
    """A fill that was seen, where it stands, and of which market (its place) it is.

    `held`: the trade, until it is confirmed. `gone`: its block was taken back and it has not been
    seen in another since.
    """

    block: int
    block_hash: str
    index: int
    at: int
    held: Trade | None = None
    gone: bool = False


class PolygonState(Struct):
    """Memory of a chain.

    `tokens`: token -> twice the place of its market, one more for NO. `next`: the first block whose
    logs were not asked for, 0 before the first answer; `tip` is the hash of the one before, empty
    where it does not matter. `head`: the newest block, by whoever spoke last. `span`: how many
    blocks are asked for at once. `known` by what a fill says, without its place: a transaction of a
    block that was taken back comes again in another. `gone` counts those that have not.

    `calendar`: when (ns) which market (its place) ceases to trade as usual, or does again; `halted`
    those that do not.

    `tip_ns`: time of the newest block that was read, ours where it is later. `trouble`: why the
    last request failed; `down` that the service does not answer; `back`: answers in a row that end
    long before `next`, `far` such that end too far after it. `heard_ns`: time of the last good
    answer; `lost`: that was so long ago that nobody knows where the chain ends. `live_from`: from
    this block on the socket brings all logs, 0: it does not.
    """

    tokens: dict[str, int] = field(default_factory=dict)
    instruments: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # for people; said and forgotten
    calendar: list[tuple[int, int, bool]] = field(default_factory=list)
    halted: list[int] = field(default_factory=list)
    next: int = 0
    tip: str = ""
    head: int = 0
    span: int = FIRST_SPAN
    known: dict[str, list[Known]] = field(default_factory=dict)
    held: int = 0
    gone: int = 0
    times: dict[int, int] = field(default_factory=dict)  # block -> s
    tip_ns: int = 0
    trouble: str = ""
    down: str = ""
    down_ns: int = 0
    back: int = 0
    far: int = 0
    heard_ns: int = 0
    lost: bool = False
    stale: bool = False
    began_ns: int = 0
    socket_up: bool = False
    beat_ns: int = 0  # when the socket last brought a block
    live_from: int = 0

    def add(self, market: Market) -> bool:
        """Watch one; False if a token of it is watched already. The calendar is to be sorted."""
        if market.yes in self.tokens or market.no in self.tokens:
            return False
        place = 2 * len(self.instruments)
        self.tokens[market.yes], self.tokens[market.no] = place, place + 1
        self.instruments.append(instrument_of(market.condition, SOURCE))
        self.names.append(market.name)
        if market.end_ns:
            at = place // 2
            self.calendar.append((market.end_ns - ENDING_NS, at, True))
            self.calendar.append((market.end_ns + ENDED_NS, at, False))
        return True

    def learn_time(self, block: int, ts_s: int) -> None:
        """A block's own time."""
        self.times[block] = ts_s
        while len(self.times) > TIMES:
            del self.times[next(iter(self.times))]

    def time_ns(self, block: int, ts_recv: int) -> int:
        """The time of a block: its own, else by the nearest that is known, at two seconds each."""
        known = self.times.get(block)
        if known is not None:
            return known * NS_PER_S
        if not self.times:
            return ts_recv
        near = min(self.times, key=lambda one: (abs(one - block), one))
        return min(ts_recv, (self.times[near] + BLOCK_S * (block - near)) * NS_PER_S)

    def remember(self, key: str, one: Known) -> list[Known]:
        """Keep a fill; returns those that were forgotten for it."""
        self.known.setdefault(key, []).append(one)
        self.held += one.held is not None
        lost: list[Known] = []
        while len(self.known) > TRADE_ID_RING:
            lost += self.known.pop(next(iter(self.known)))
        self.held -= sum(old.held is not None for old in lost)
        self.gone -= sum(old.gone for old in lost)
        return lost


class Plan(Struct, frozen=True):
    """What matters of the configuration. `layouts`: contract -> how it writes fills; `topics`: the
    first topic of those."""

    layouts: dict[str, Layout]
    topics: dict[Layout, str]
    confirmations: int
    range_blocks: int
    catch_up_blocks: int
    chain_id: int
    stale_ns: int
    mute_ns: int


class Reading(Struct, gc=False):
    """One input being read: the memory that it changes and the events it has given so far."""

    plan: Plan
    state: PolygonState
    ts_recv: int
    events: list[Event]
    rejected: int = 0

    def say(
        self,
        kind: StatusKind,
        detail: str = "",
        *,
        instrument: str = "",
        channel: str = "rpc",
        value: float = 0.0,
        since_ns: int = 0,
        ask: Ask | None = None,
        stream: str = "ws",
    ) -> None:
        """Add a `Status`, its text made safe."""
        if kind in ("invalid", "unknown"):
            self.rejected += 1
            if self.rejected > ROWS_SAID:
                return
        self.events.append(
            Status(
                SOURCE,
                instrument,
                self.ts_recv,
                self.ts_recv,
                kind,
                clean(detail),
                channel,
                value=value,
                since_ns=since_ns,
                ask=ask,
                stream=stream,
            )
        )

    def finish(self) -> list[Event]:
        """The events; bad rows that were not said one by one are counted in `value`."""
        more = self.rejected - ROWS_SAID
        if more > 0:
            self.rejected = 0
            self.say("invalid", f"{more} more bad rows in this frame", value=float(more))
        return self.events
