"""Events: what a venue's frames mean. Detectors see these, plus `Link`, `Timer` and raw `Frame`s.

Prices and sizes are float64 (the exact text stays in the raw frame on the tape); a non-finite or
non-positive price never becomes an event. `ts_event` is the venue's time, `ts_recv` ours, both ns.
"""

from typing import Literal

from msgspec import Struct

from tapewatch.model.inputs import Frame, Link, Timer
from tapewatch.model.instrument import Side


class Trade(Struct, frozen=True, gc=False, tag="trade"):
    """One execution: `price` in quote units, `size` in base units, `aggressor` = taker's side.

    `taker` and `maker` are accounts, where the venue names them; the maker may be a pool.
    """

    instrument: str
    ts_event: int
    ts_recv: int
    price: float
    size: float
    aggressor: Side
    trade_id: str = ""  # the venue's id; empty where it gives none
    index: int = 0  # position in its frame
    backfilled: bool = False  # fetched over HTTP after a gap, or part of a reconnect snapshot
    taker: str = ""
    maker: str = ""


class Quote(Struct, frozen=True, gc=False, tag="quote"):
    """Best bid and ask changed. A missing side has price 0.0 and size 0.0."""

    instrument: str
    ts_event: int
    ts_recv: int
    bid: float
    bid_size: float
    ask: float
    ask_size: float


class Book(Struct, frozen=True, gc=False, tag="book"):
    """Depth after one message, best level first, as (price, size) pairs.

    `mirror_of`: the instrument whose book this one repeats. The two outcomes of a bet are worth 1
    together, so a bid for one is an offer of the other: a check, and no second witness.
    """

    instrument: str
    ts_event: int
    ts_recv: int
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]
    mirror_of: str = ""


class Bar(Struct, frozen=True, gc=False, tag="bar"):
    """One OHLCV candle; `ts_event` is the end of its interval, `trades` is -1 where unknown."""

    instrument: str
    ts_event: int
    ts_recv: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    interval_ns: int
    trades: int = -1


class Sample(Struct, frozen=True, gc=False, tag="sample"):
    """What one stretch of time held for one instrument: five seconds of trades and quotes, or one
    bar. The engine makes it when the stretch is over (`engine/sampling.py`), so that features are
    computed once; no venue decodes one. A stretch without any event gives none: see `idle_ns`.

    `price` is the valid price at the end: the settled mid of quotes where there are quotes, else
    the micro-mid of trades (the geometric mean of the last price bought and the last price sold),
    else the close. `bid` and `ask` are what it was made of, 0.0 where there is none. `high` and
    `low` are extremes of what was traded. Amounts are notional, in quote units; -1 is unknown. An
    order is what one taker did in one millisecond on one side.
    """

    instrument: str
    ts_event: int  # end of the stretch
    ts_recv: int  # when that was known
    interval_ns: int  # its length
    idle_ns: int  # time without events between the stretch before and this one; -1: the first
    price: float
    high: float
    low: float
    bid: float
    ask: float
    tick: float  # smallest price step seen so far, 0.0: none yet
    trades: int
    orders: int
    bought: float
    sold: float
    largest: float  # of one order
    volume: float  # all of it, also where the aggressor is unknown


StatusKind = Literal[
    "subscribed",  # the venue acknowledged a subscription
    "rejected",  # the venue refused one; `value` 1: for good
    "ack_timeout",  # no answer to a subscription in time
    "no_data",  # acknowledged, but no first data in time
    "mute",  # the feed is silent although the venue's REST interface shows progress
    "quiet",  # the feed is silent and so is the venue: nothing is wrong
    "halted",  # the venue does not trade (maintenance, cancel only, post only); `value` 1: for good
    "online",  # it trades again
    "listed",  # a market that is watched; `detail` is its name for people
    "stale",  # there are no current data of it; `detail` says why
    "current",  # there are again
    "incomplete",  # trades since `since_ns` may be missing: volume cannot be judged
    "complete",  # ... and nothing is missing from here on
    "mirror",  # the books of the two outcomes contradict each other
    "ghost",  # the REST book is empty where the socket's is not; the socket is believed
    "gap",  # trade ids jump: `first_id`..`last_id` are missing
    "gap_filled",  # ... and were fetched
    "gap_lost",  # ... and the venue does not have them either
    "withdrawn",  # trades that were told have not happened: a chain took their block back
    "duplicate",  # a trade delivered again outside a snapshot; it was dropped
    "reordered",  # a late trade that fills a hole
    "checksum",  # the book does not match the venue's checksum; it is invalid until a snapshot
    "resynced",  # ... and valid again
    "unchecked",  # the checksum kept failing after fresh snapshots; checking is off for this book
    "malformed",  # a frame that cannot be read
    "invalid",  # a row with an impossible value; it was dropped
    "unknown",  # a well-formed frame of a kind we do not know
    "lag",  # `value` seconds between the venue's time and ours
    "clock",  # ours is `value` seconds ahead of the venue's, or was set back by so much
    "no_heartbeat",  # the venue's heartbeat is overdue
    "no_answer",  # so is its answer to a request for missing trades
    "unavailable",  # the venue refuses a request for now
    "rate_limited",  # the venue says we ask too much
    "unrecorded",  # inputs were received but not written (disk full)
]

Ask = Literal["resubscribe", "reconnect", "backfill", "probe"]


class Status(Struct, frozen=True, gc=False, tag="status"):
    """Something about the feed rather than the market. `instrument` is empty for the whole source.

    `ask` is what the edge should do about it; the engine passes it on as a `Fault`.
    """

    source: str
    instrument: str
    ts_event: int
    ts_recv: int
    kind: StatusKind
    detail: str = ""
    channel: str = ""
    first_id: int = 0
    last_id: int = 0
    since_ns: int = 0  # start of the affected interval, 0 where there is none
    value: float = 0.0
    ask: Ask | None = None
    stream: str = "ws"  # the socket that an ask is about


Event = Trade | Quote | Book | Bar | Sample | Status | Link | Timer | Frame
MarketEvent = Trade | Quote | Book | Bar
