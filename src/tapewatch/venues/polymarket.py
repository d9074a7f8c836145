"""Polymarket: configuration, what to send and to ask, and which decoder reads a frame.

An instrument is a market, `polymarket:<condition id>`; its price is that of outcome 0 (YES). The
book of outcome 1 repeats that of outcome 0, so it goes out as a mirror, and what is traded in it
counts as the opposite trade of outcome 0.

Sockets are `ws:0`, `ws:1` ... even if there is one only: that a socket is down does not make the
source stale here, as REST takes over.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import Meta, Struct

from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.events import Event
from tapewatch.model.inputs import Frame, Link
from tapewatch.model.limits import FRAME_BYTES, POLYMARKET_MARKETS
from tapewatch.model.outputs import Fault
from tapewatch.model.text import clean
from tapewatch.venues import polymarket_refresh as catalogue
from tapewatch.venues import polymarket_rest as rest
from tapewatch.venues import polymarket_trades as rows
from tapewatch.venues import polymarket_watch as watch
from tapewatch.venues.addresses import check_url
from tapewatch.venues.base import Budget, Endpoint, Fetch, Poll
from tapewatch.venues.polymarket_markets import CONDITION_ID, TOKEN_ID, Market, instrument_of
from tapewatch.venues.polymarket_state import PolymarketState, Reading, Token
from tapewatch.venues.polymarket_watch import Deadlines, Plan
from tapewatch.venues.polymarket_words import word_of
from tapewatch.venues.polymarket_ws import decode_ws

FRAME_IDS: Final = 100  # ids of one message; a larger one makes the venue hang up (protocols 2.4)
WINDOW_S: Final = 10.0  # of the venue's rate limits
TRADES_SHARE: Final = 0.8  # of the Data API's budget; the rest is for the pages before the newest

Seconds = Annotated[float, Meta(ge=1.0, le=86_400.0)]
Count = Annotated[int, Meta(ge=1, le=10_000)]


class Polymarket(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Trades and books of some markets.

    `symbols`: the words that the user wrote for `markets`, which the resolver fills in. `mode`:
    `stream` has books and trades from sockets, and asks REST every `probe_s` whether they are
    right; `poll` asks REST for all books every `poll_s`, `lead_s` before the cycle. `takeover_s`:
    how often REST is asked about what a socket fails to bring. `refresh_s`: how often the markets'
    own state is asked for. `batch`: tokens in a request for books; of 500, which the venue allows,
    the books of busy markets would not fit in a frame. `trades`: which of the Data API is asked for
    trades. `books` adds a `Book` event after each message.

    Requests in ten seconds are a quarter of what the venue documents.
    """

    name: ClassVar[str] = "polymarket"
    state_type: ClassVar[type] = PolymarketState

    symbols: tuple[str, ...] = ()
    markets: tuple[Market, ...] = ()
    mode: Literal["stream", "poll"] = "stream"
    trades: Literal["v2", "v1", "off"] = "v2"
    poll_s: Seconds = 30.0
    lead_s: Annotated[float, Meta(ge=0.0, le=60.0)] = 2.0
    probe_s: Seconds = 45.0
    takeover_s: Seconds = 5.0
    refresh_s: Seconds = 60.0
    batch: Annotated[int, Meta(ge=1, le=500)] = 100
    max_in_flight: Annotated[int, Meta(ge=1, le=1_000)] = 30
    timeout_ms: Annotated[int, Meta(ge=1, le=600_000)] = 8000
    clob_per_10s: Count = 125
    data_per_10s: Count = 50
    gamma_per_10s: Count = 75
    ws_url: str = "wss://ws-subscriptions-clob.polymarket.com/ws/market"
    clob_url: str = "https://clob.polymarket.com"
    gamma_url: str = "https://gamma-api.polymarket.com"
    data_url: str = "https://data-api.polymarket.com"
    books: bool = True
    deadlines: Deadlines = Deadlines()
    attempts: Annotated[int, Meta(ge=1)] = 120
    attempts_window_s: Annotated[float, Meta(gt=0)] = 600.0

    def __post_init__(self) -> None:
        if not self.symbols and not self.markets:
            raise ConfigError("Polymarket needs at least one market")
        if len(self.markets) > POLYMARKET_MARKETS:
            raise ConfigError(f"Polymarket: more than {POLYMARKET_MARKETS:,} markets")
        for word in self.symbols:
            word_of(word)
        for market in self.markets:
            _check_market(market)
        check_url("ws_url", self.ws_url, ("ws", "wss"))
        for name in ("clob_url", "gamma_url", "data_url"):
            check_url(name, getattr(self, name), ("http", "https"))

    def instruments(self) -> tuple[str, ...]:
        """`polymarket:0x...`, the books of the other outcomes not counted."""
        return tuple(instrument_of(market.condition) for market in self.markets)

    def endpoint(self) -> Endpoint:
        """The market channel. It answers a text PING with a text PONG."""
        return Endpoint(
            self.ws_url,
            self.deadlines.silence_s,
            b"PING",
            self.deadlines.ping_s,
            self.attempts,
            self.attempts_window_s,
        )

    def budgets(self) -> tuple[Budget, ...]:
        """Three services."""
        timeout_s = self.timeout_ms / 1000
        return (
            Budget("clob", self.clob_per_10s, WINDOW_S, self.max_in_flight, timeout_s),
            Budget("data", self.data_per_10s, WINDOW_S, self.max_in_flight, timeout_s),
            Budget("gamma", self.gamma_per_10s, WINDOW_S, 4, timeout_s),
        )

    def streams(self, state: PolymarketState, /) -> tuple[str, ...]:
        """A socket for each hundred markets."""
        return () if self.mode == "poll" else watch.streams_of(state)

    def subscribe(self, state: PolymarketState, stream: str, /) -> tuple[bytes, ...]:
        """The first message is of a form of its own, also after a reconnect."""
        ids = [token.asset for token in watch.tokens_of(state, stream)]
        first = {"type": "market", "assets_ids": ids[:FRAME_IDS], "custom_feature_enabled": True}
        return (msgspec.json.encode(first), *_operation("subscribe", ids[FRAME_IDS:]))

    def resubscribe(self, state: PolymarketState, fault: Fault, /) -> tuple[bytes, ...]:
        """A token that is subscribed to already is not sent again, so it is given up first."""
        at = state.conditions.get(_condition(fault.instrument))
        if at is not None:
            tokens = state.tokens[2 * at : 2 * at + 2]
        else:
            tokens = watch.tokens_of(state, fault.stream)
        ids = [token.asset for token in tokens]
        leave = () if fault.kind == "listed" else _operation("unsubscribe", ids)
        return (*leave, *_operation("subscribe", ids))

    def fetch(self, state: PolymarketState, fault: Fault, /) -> Fetch | None:
        """Both books of a market, or its mid price."""
        condition = _condition(fault.instrument)
        at = state.conditions.get(condition)
        if at is None:
            return None
        assets = [token.asset for token in state.tokens[2 * at : 2 * at + 2]]
        if fault.channel == "midpoint":
            return rest.fetch_midpoint(self.clob_url, assets[0])
        return rest.fetch_books(self.clob_url, assets, f"market={condition}")

    def polls(self, state: PolymarketState, /) -> tuple[Poll, ...]:
        """Books of all markets that trade, and more often of those that no socket brings; what the
        catalogue says of all, and their trades."""
        live = [state.tokens[2 * bet.at] for bet in state.bets if not bet.halt]
        others = [*catalogue.polls(state, self.gamma_url, self.refresh_s)]
        if self.trades != "off":
            others += rows.polls(self._desk(self.trades), state)
        if self.mode == "poll":
            return (Poll("books", self.poll_s, self._batches(live, "batch"), self.lead_s), *others)
        polls = [Poll("books", self.probe_s, self._batches(live, "batch"))]
        needy = watch.needy(state)
        if needy:
            polls.append(Poll("takeover", self.takeover_s, self._batches(needy, "takeover")))
        return (*polls, *others)

    def _desk(self, generation: Literal["v2", "v1"]) -> rows.Desk:
        streamed = self.mode == "stream"
        every_s = self.refresh_s if streamed else self.poll_s
        per_s = TRADES_SHARE * self.data_per_10s / WINDOW_S
        return rows.Desk(self.data_url, generation, streamed, every_s, per_s)

    def _batches(self, tokens: Sequence[Token], label: str) -> tuple[Fetch, ...]:
        assets = [token.asset for token in tokens]
        return tuple(
            rest.fetch_books(self.clob_url, assets[at : at + self.batch], f"{label}={number}")
            for number, at in enumerate(range(0, len(assets), self.batch))
        )

    def start(self) -> PolymarketState:
        """Memory of all markets, empty."""
        state = PolymarketState()
        for market in self.markets:
            if state.add(market) is None:
                raise ConfigError(f"two markets share the ids of {clean(market.name, 80)}")
        events = {market.event for market in self.markets if market.event}
        asked = (pair for word in self.symbols for pair in word_of(word).keys)
        state.events = tuple(value for key, value in asked if key == "event" and value in events)
        return state

    def decode(self, state: PolymarketState, frame: Frame, /) -> Iterable[Event]:
        """Events of a websocket message or HTTP answer."""
        data = frame.data
        if len(data) > FRAME_BYTES:
            raise DecodeError(f"a frame of {len(data):,} bytes; the limit is {FRAME_BYTES:,}")
        reading = Reading(state, frame.ts_recv, self.books, [])
        if frame.stream.startswith("ws"):
            decode_ws(reading, frame.stream, data)
        else:
            self._decode_rest(reading, frame.stream.removeprefix("rest:"), data)
        return reading.finish()

    def _decode_rest(self, reading: Reading, path: str, data: bytes) -> None:
        name, _, query = path.partition("?")
        if name == rest.BOOKS:
            rest.decode_books(reading, data, polled=self.mode == "poll")
        elif name == rest.MIDPOINT:
            rest.decode_midpoint(reading, query.removeprefix("token_id="), data)
        elif name in catalogue.PATHS:
            catalogue.hear(reading, data)
        elif name in rows.PATHS:
            rows.hear(self._desk("v1" if name == rows.V1 else "v2"), reading, query, data)
        else:
            reading.say("unknown", "", f"answer to {path}", channel="rest")

    def on_link(self, state: PolymarketState, link: Link, /) -> Iterable[Event]:
        """Books of a socket are void; a service that fails is one less to be believed."""
        return watch.on_link(self._plan(), state, link)

    def on_timer(self, state: PolymarketState, now: int, /) -> Iterable[Event]:
        """Deadlines that passed."""
        return watch.on_timer(self._plan(), state, now)

    def _plan(self) -> Plan:
        desk = None if self.trades == "off" else self._desk(self.trades)
        return Plan(self.deadlines, self.mode == "poll", self.poll_s, self.books, desk)


def _condition(instrument: str) -> str:
    """`0x...` of `polymarket:0x...` and of `polymarket:0x.../NO`."""
    return instrument.partition(":")[2].partition("/")[0]


def _operation(name: str, ids: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(
        msgspec.json.encode(
            {
                "operation": name,
                "assets_ids": ids[at : at + FRAME_IDS],
                "custom_feature_enabled": True,
            }
        )
        for at in range(0, len(ids), FRAME_IDS)
    )


def _check_market(market: Market) -> None:
    """Raises `ConfigError` for ids that the venue cannot have given."""
    sound: Any = CONDITION_ID.fullmatch(market.condition)
    sound = sound and all(TOKEN_ID.fullmatch(token) for token in (market.yes, market.no))
    if not sound or market.yes == market.no:
        raise ConfigError(
            f"{clean(market.name, 80)}: a market has a condition id (0x and 64 or 62 hexadecimal"
            " digits) and two token ids (decimal)"
        )
    if not 0.0 < market.tick < 1.0:
        raise ConfigError(f"{clean(market.name, 80)}: tick = {market.tick:g} is no step of prices")
