"""What the Polymarket venue remembers, and the small steps that every kind of frame takes.

Pure data: it survives a msgpack round trip at any moment. Text of the venue never gets in here
unless it has been checked to be a number, an id, or has been made safe.
"""

from typing import Final, TypedDict, Unpack

from msgspec import Struct, field

from tapewatch.model.events import Ask, Event, Status, StatusKind
from tapewatch.model.text import clean
from tapewatch.venues.polymarket_books import SCALE, Facts, TokenBook
from tapewatch.venues.polymarket_data import Sweep
from tapewatch.venues.polymarket_markets import Market, instrument_of

SOURCE: Final = "polymarket"
SOCKET_MARKETS: Final = 100  # two tokens each: 200 ids, at which known clients cap a socket
ROWS_SAID: Final = 20  # bad rows of one frame that are said one by one


class Token(Struct):
    """One outcome and its book. `at`: place of its market. Times in ns, ours unless said otherwise.

    `valid`: the book may be believed. `fresh`: it was not shown since it became so. `voided_ns`:
    when it ceased to be; `asked_ns`: when one was last asked for, `asks` times in vain. `ts_ns`
    (the venue's): of the newest message that is in the book; `dropped`, `dropped_ns` (the venue's):
    how many are not, because there was no book to put them in, and the time of the newest.

    `hash` and `hash_ts`: what the venue says of the book as it stands; `doubt`: a hash that was not
    found to be right; `verified`: its last complete book had the hash that we find. `apart`,
    `apart_ns`: how many messages, and since when, name another best price than the book.
    `failures`, `failed_ns`: how often the book was wrong lately, and when last; `wrong`: and there
    is no other yet; `checked`: whether that still leads to anything.

    `suspect_ns` (the venue's): REST has a book of that time which the socket did not bring;
    `suspect_at`: seen when; `frozen`: and it never did.
    """

    asset: str
    at: int
    no: bool
    instrument: str
    mirror_of: str
    facts: Facts
    book: TokenBook = field(default_factory=TokenBook)
    valid: bool = False
    fresh: bool = True
    voided_ns: int = 0
    asked_ns: int = 0
    asks: int = 0
    ts_ns: int = 0
    dropped: int = 0
    dropped_ns: int = 0
    hash: str = ""
    hash_ts: str = ""
    doubt: str = ""
    verified: bool = False
    apart: int = 0
    apart_ns: int = 0
    failures: int = 0
    failed_ns: int = 0
    wrong: bool = False
    checked: bool = True
    suspect_ns: int = 0
    suspect_at: int = 0
    frozen: bool = False

    def void(self, now: int) -> None:
        """Nothing of the book is to be believed until there is another one."""
        self.book.clear()
        self.valid = self.verified = False
        self.fresh = True
        self.voided_ns = self.asked_ns = now
        self.hash = self.doubt = ""
        self.dropped = self.dropped_ns = self.apart = self.apart_ns = 0
        self.suspect_ns, self.frozen = 0, False


class Bet(Struct):
    """One market. Its tokens are `tokens[2 * at]` (YES, whose price is shown) and the one after it
    (NO, which is a check).

    `shown`: the last quote. `apart_ns`: since when the two books contradict each other;
    `apart_said`: that was told. `halt`: why it does not trade, empty where it does. `booked_ns`:
    last evidence that the book is current. `ghost_ns`: when REST was last said to have nobody's
    orders; `ghost_real`: and it is right. `seen`: keys of recent trades -> how often, oldest first;
    `traded_ns` (the venue's): of the newest.
    """

    market: Market
    instrument: str
    at: int
    tick: int
    shown: tuple[float, float, float, float] = (-1.0, 0.0, -1.0, 0.0)
    apart_ns: int = 0
    apart_said: bool = False
    halt: str = ""
    booked_ns: int = 0
    ghost_ns: int = 0
    ghost_real: bool = False
    seen: dict[str, int] = field(default_factory=dict)
    traded_ns: int = 0


class SocketState(Struct):
    """One websocket. `since_ns`: when it came up or went down; `heard_ns`: its last market data.
    `asks`, `asked_ns`: how often, and when, data were missed since. `mutes`, `mute_ns`: how often
    it was found mute lately, and when last."""

    up: bool = False
    since_ns: int = 0
    heard_ns: int = 0
    asks: int = 0
    asked_ns: int = 0
    mutes: int = 0
    mute_ns: int = 0


class Told(Struct):
    """What was said of markets, one by one or of all at once: the reason, by instrument."""

    whole: str = ""
    each: dict[str, str] = field(default_factory=dict)


class PolymarketState(Struct):
    """The memory of one source. `places`: of tokens, by asset; `conditions`: of markets.

    `recipe`: which hash recipe fits, `UNKNOWN` or `NONE`; `unmatched`: complete books since then
    that fit none. `changed`: tokens whose hash is to be looked at, oldest first. `named`: how many
    markets were introduced.
    """

    bets: list[Bet] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    conditions: dict[str, int] = field(default_factory=dict)
    sockets: dict[str, SocketState] = field(default_factory=dict)
    recipe: int = -1
    unmatched: int = 0
    changed: dict[int, None] = field(default_factory=dict)
    named: int = 0
    stale: Told = field(default_factory=Told)
    incomplete: Told = field(default_factory=Told)
    events: tuple[str, ...] = ()  # slugs of events whose new markets are watched, too
    started_ns: int = 0
    answered_ns: int = 0  # when the Data API last did
    sweeps: dict[str, Sweep] = field(default_factory=dict)  # of its trades, by number of the batch
    halted: str = ""  # why the whole venue does not trade
    down: dict[str, str] = field(default_factory=dict)  # HTTP services that fail, and why

    def token(self, asset: str) -> Token | None:
        """The token of an asset, if it is one of ours."""
        place = self.places.get(asset)
        return None if place is None else self.tokens[place]

    def bet(self, token: Token) -> Bet:
        """Its market."""
        return self.bets[token.at]

    def is_of(self, token: Token, condition: str) -> bool:
        """Whether a token is of the market that a message says it is of."""
        known = self.bets[token.at].market.condition
        return condition == known or condition.lower() == known

    def add(self, market: Market) -> Bet | None:
        """Watch one more; None if it is watched already or its tokens are not its own."""
        twins = (market.yes, market.no)
        if market.condition in self.conditions or any(one in self.places for one in twins):
            return None
        at, instrument = len(self.bets), instrument_of(market.condition, SOURCE)
        bet = Bet(market, instrument, at, round(market.tick * SCALE))
        self.conditions[market.condition] = at
        self.bets.append(bet)
        facts = (f"{market.tick:.4f}".rstrip("0"), market.neg_risk)
        for no, asset in enumerate(twins):
            self.places[asset] = len(self.tokens)
            about = (f"{instrument}/NO", instrument) if no else (instrument, "")
            self.tokens.append(
                Token(asset, at, bool(no), *about, Facts(tick_size=facts[0], neg_risk=facts[1]))
            )
        return bet


def stream_of(bet: Bet) -> str:
    """The socket that brings a market."""
    return f"ws:{bet.at // SOCKET_MARKETS}"


class StatusFields(TypedDict, total=False):
    """The fields of a `Status` that only some kinds have."""

    channel: str
    ask: Ask | None
    stream: str
    since_ns: int
    value: float


def status(
    kind: StatusKind,
    ts_recv: int,
    instrument: str,
    detail: str = "",
    **fields: Unpack[StatusFields],
) -> Status:
    """A `Status` of this source, its text made safe."""
    return Status(SOURCE, instrument, ts_recv, ts_recv, kind, clean(detail), **fields)


class Reading(Struct, gc=False):
    """One frame being decoded: the memory it changes, the events it has given so far, and the part
    of the configuration that matters. `books` asks for `Book` events. `rejected` counts bad rows.
    """

    state: PolymarketState
    ts_recv: int
    books: bool
    events: list[Event]
    rejected: int = 0

    def say(
        self,
        kind: StatusKind,
        instrument: str,
        detail: str = "",
        **fields: Unpack[StatusFields],
    ) -> None:
        """Add a `Status`."""
        if kind in {"invalid", "unknown"}:
            self.rejected += 1
            if self.rejected > ROWS_SAID:
                return
        self.events.append(status(kind, self.ts_recv, instrument, detail, **fields))

    def finish(self) -> list[Event]:
        """The events; bad rows that were not said one by one are counted in `value`."""
        more = self.rejected - ROWS_SAID
        if more > 0:
            detail = f"{more} more bad rows in this frame"
            self.events.append(status("invalid", self.ts_recv, "", detail, value=float(more)))
        return self.events
