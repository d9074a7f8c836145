"""What the Kraken venue remembers, and the small steps that every kind of frame takes.

Pure data: it survives a msgpack round trip at any moment. Text of the venue never gets in here
unless it has been checked to be a number or one of our own names.
"""

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from json import loads
from typing import Any, Final, TypedDict, Unpack

from msgspec import Struct, field

from tapewatch.model.errors import DecodeError
from tapewatch.model.events import Ask, Event, Status, StatusKind
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S, TS_MAX_NS, TS_MIN_NS, parse_rfc3339
from tapewatch.venues.books import OrderBook
from tapewatch.venues.sequence import Sequence

ROWS_SAID: Final = 20  # bad rows of one frame that are said one by one
CLOCK_S: Final = 1.0  # a smaller difference of clocks is not worth a word
CLOCK_SAMPLES: Final = 3  # their median ignores one answer that was held up

# System and pair states in which nothing trades, so that silence means nothing. In `limit_only` and
# `reduce_only` trades happen.
HALTED: Final = frozenset(
    {"maintenance", "cancel_only", "post_only", "delisted", "work_in_progress"}
)


class Subscription(Struct):
    """One (channel, pair). Times are ours, ns.

    `asked_ns`: when it was last asked for (0: never). `acked`: the venue said yes. `live`: data
    came since then. `refused`: the venue will never say yes. `attempts`: requests since updates
    last flowed. `last_ns`: last data. `probe_ns`: REST last asked instead, next after
    `probe_wait_ns` if silence lasts.
    """

    channel: str
    asked_ns: int = 0
    acked: bool = False
    live: bool = False
    refused: bool = False
    attempts: int = 0
    last_ns: int = 0
    probe_ns: int = 0
    probe_wait_ns: int = 0

    def again(self, now: int) -> None:
        """It is being asked for: the deadlines start anew."""
        self.asked_ns, self.acked, self.live = now, False, False

    def flows(self, ts_recv: int) -> None:
        """An update arrived: everything is well."""
        self.last_ns = ts_recv
        self.acked = self.live = True
        self.attempts = 0


class Market(Struct):
    """One pair. `shown` is the last quote in the book's units; `valid` tells whether the book may
    be shown, `failures` how often its checksum failed lately (the last time at `failed_ns`).

    `seen` are the keys of recent trades without an id (websocket v1), oldest first.
    """

    symbol: str
    instrument: str
    trades: Subscription | None
    levels: Subscription | None
    sequence: Sequence = field(default_factory=Sequence)
    seen: dict[str, None] = field(default_factory=dict)
    book: OrderBook = field(default_factory=OrderBook)
    valid: bool = False
    checked: bool = True
    failures: int = 0
    failed_ns: int = 0
    shown: tuple[int, int, int, int] = (-1, -1, -1, -1)
    price_decimals: int = 0
    size_decimals: int = 0
    halted: bool = False

    def subscriptions(self) -> tuple[Subscription, ...]:
        """Those we asked for."""
        return tuple(one for one in (self.trades, self.levels) if one is not None)

    def subscription(self, channel: str) -> Subscription | None:
        """That of a channel, if we asked for it."""
        return {"trade": self.trades, "book": self.levels}.get(channel)

    def void_book(self) -> None:
        """Nothing of the book is to be believed until a fresh snapshot."""
        self.book.clear()
        self.valid = False
        self.shown = (-1, -1, -1, -1)


class KrakenState(Struct):
    """The memory of one source. `names` maps each spelling of a pair to its key in `markets`.

    `second` caches the last text second and its ns; `clock_ns` are the latest differences of our
    clock to the venue's, `clock_said` what was last said about it; `beat_ns` is the last heartbeat
    on this link (0: none yet).
    """

    markets: dict[str, Market]
    names: dict[str, str]
    link_up: bool = False
    halted: bool = False
    halt_probe_ns: int = 0
    beat_ns: int = 0
    second: str = ""
    second_ns: int = 0
    clock_ns: list[int] = field(default_factory=list)
    clock_said: float = 0.0

    def market(self, name: Any) -> Market | None:
        """The market that the venue calls `name`, if it is one of ours."""
        if not isinstance(name, str):
            return None
        symbol = self.names.get(name)
        return None if symbol is None else self.markets[symbol]


def venue_ns(state: KrakenState, text: str) -> int:
    """RFC 3339 text -> ns, 0 when it is unreadable or out of range. Kraken writes microseconds and
    most times share their second with the time before."""
    if text[:20] == state.second and len(text) == 27 and text[26] == "Z":
        digits = text[20:26]
        if digits.isdecimal() and digits.isascii():
            return state.second_ns + int(digits) * 1000
    try:
        ns = parse_rfc3339(text)
    except DecodeError:
        return 0  # the caller reports the row
    if not TS_MIN_NS <= ns <= TS_MAX_NS:
        return 0
    if len(text) == 27 and text[19] == "." and text[26] == "Z":
        state.second, state.second_ns = text[:20], ns - ns % NS_PER_S
    return ns


def epoch_ns(seconds: Decimal) -> int:
    """Unix seconds -> ns, 0 when out of range."""
    if seconds.is_finite() and TS_MIN_NS // NS_PER_S <= seconds <= TS_MAX_NS // NS_PER_S:
        return int(seconds * NS_PER_S)
    return 0


def load(data: bytes) -> Any:
    """JSON with its numbers exact (`Decimal` unless integer). Raises `DecodeError`.

    NaN and infinities come through, so that the row they are in can be named.
    """
    try:
        return loads(data, parse_float=_decimal, parse_constant=Decimal)
    except (ValueError, RecursionError) as error:
        what = "HTML" if data.lstrip()[:1] == b"<" else "no JSON"
        raise DecodeError(f"a Kraken frame is {what}: {type(error).__name__}") from error


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")  # an exponent of 20 digits: no number that could be meant


def spoken(value: Any) -> str:
    """Any JSON value as words for people. Nested ones are not written out: they may be deeper than
    Python can print."""
    match value:
        case str() | int() | Decimal() | None:
            return str(value)
        case list() if all(isinstance(part, str) for part in value):
            return " ".join(value)
        case _:
            return f"a {type(value).__name__}"


class StatusFields(TypedDict, total=False):
    """The fields of a `Status` that only some kinds have."""

    channel: str
    ask: Ask | None
    first_id: int
    last_id: int
    since_ns: int
    value: float


def status(
    kind: StatusKind,
    ts_recv: int,
    market: Market | None,
    detail: str = "",
    **fields: Unpack[StatusFields],
) -> Status:
    """A `Status` of this source, its text made safe."""
    instrument = "" if market is None else market.instrument
    return Status("kraken", instrument, ts_recv, ts_recv, kind, clean(detail), **fields)


class Reading(Struct, gc=False):
    """One frame being decoded: the memory it changes, the events it has given so far, and the part
    of the configuration that matters. `depth` is that of the book subscription; `books` asks for
    `Book` events; `numbered`: trades have ids (v2). `rejected` counts bad rows.
    """

    state: KrakenState
    ts_recv: int
    depth: int
    books: bool
    numbered: bool
    events: list[Event]
    rejected: int = 0

    def say(
        self,
        kind: StatusKind,
        market: Market | None,
        detail: str = "",
        **fields: Unpack[StatusFields],
    ) -> None:
        """Add a `Status`."""
        if kind in {"invalid", "unknown"}:
            self.rejected += 1
            if self.rejected > ROWS_SAID:
                return
        self.events.append(status(kind, self.ts_recv, market, detail, **fields))

    def finish(self) -> list[Event]:
        """The events; bad rows that were not said one by one are counted in `value`."""
        more = self.rejected - ROWS_SAID
        if more > 0:
            detail = f"{more} more bad rows in this frame"
            self.events.append(status("invalid", self.ts_recv, None, detail, value=float(more)))
        return self.events


def halt(reading: Reading, system: Any) -> None:
    """The venue's own state; said when it changes."""
    state, halted = reading.state, isinstance(system, str) and system in HALTED
    if halted != state.halted:
        state.halted, state.halt_probe_ns = halted, reading.ts_recv
        if not halted:
            rearm(state.markets.values(), reading.ts_recv)
        reading.say("halted" if halted else "online", None, f"system: {spoken(system)}")


def halt_market(reading: Reading, market: Market, pair_status: str) -> None:
    """One pair's state; said when it changes."""
    halted = pair_status in HALTED
    if halted != market.halted:
        market.halted = halted
        if not halted:
            rearm((market,), reading.ts_recv)
        reading.say("halted" if halted else "online", market, f"pair: {pair_status}")


def rearm(markets: Iterable[Market], ts_recv: int) -> None:
    """Silence is measured from now on."""
    for market in markets:
        for subscription in market.subscriptions():
            subscription.last_ns = ts_recv


def hear_clock(reading: Reading, text: Any) -> None:
    """The venue wrote `text` as the time at which it sent this frame. Our clock is ahead by the
    difference less the way here, which is well below `CLOCK_S`."""
    state = reading.state
    theirs = venue_ns(state, text) if isinstance(text, str) else 0
    if not theirs:
        return
    state.clock_ns = [*state.clock_ns[1 - CLOCK_SAMPLES :], reading.ts_recv - theirs]
    ahead_s = clock_ahead_ns(state) / NS_PER_S
    said = ahead_s if abs(ahead_s) > CLOCK_S else 0.0
    if abs(said - state.clock_said) > CLOCK_S:
        state.clock_said = said
        reading.say("clock", None, value=ahead_s)


def clock_ahead_ns(state: KrakenState) -> int:
    """By how much our clock is ahead of the venue's; 0 until it is known."""
    if len(state.clock_ns) < CLOCK_SAMPLES:
        return 0
    return sorted(state.clock_ns)[CLOCK_SAMPLES // 2]
