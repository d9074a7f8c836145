"""Kraken spot: configuration, what to send and to fetch, and which decoder reads a frame.

Websocket v2 by default; v1, the form of older recordings, is understood as well: v1 data are lists
and v1 objects have an `event`, so the two are told apart by shape.
"""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import Meta, Struct

from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.events import Event
from tapewatch.model.inputs import Frame, Link
from tapewatch.model.limits import BOOK_DEPTH, FRAME_BYTES
from tapewatch.model.outputs import Fault
from tapewatch.venues import kraken_watch
from tapewatch.venues.addresses import check_url
from tapewatch.venues.base import Budget, Endpoint, Fetch, Poll
from tapewatch.venues.kraken_replies import REQUEST_IDS
from tapewatch.venues.kraken_rest import decode_rest, fetch_system, fetch_trades
from tapewatch.venues.kraken_state import KrakenState, Market, Reading, Subscription, load
from tapewatch.venues.kraken_symbols import canonical_symbol, rest_name, v1_name
from tapewatch.venues.kraken_v1 import decode_event, decode_list
from tapewatch.venues.kraken_v2 import decode_any, decode_frequent
from tapewatch.venues.kraken_watch import Deadlines

_URLS: Final = {"v2": "wss://ws.kraken.com/v2", "v1": "wss://ws.kraken.com"}
_PING_ID: Final = 9

Channel = Literal["trade", "book"]


class Kraken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Trades and order books of some pairs.

    `symbols` in any of Kraken's spellings; they become `BTC/USD`. `url`: empty for the real one.
    `books` adds a `Book` event after each book message; quotes come in any case. The budget of
    connection attempts stays a third below Kraken's (about 150 in ten minutes and address).
    """

    name: ClassVar[str] = "kraken"
    state_type: ClassVar[type] = KrakenState

    symbols: tuple[str, ...]
    channels: tuple[Channel, ...] = ("trade", "book")
    depth: Literal[10, 25, 100, 500, 1000] = 10
    protocol: Literal["v2", "v1"] = "v2"
    url: str = ""
    rest_url: str = "https://api.kraken.com"
    books: bool = False
    deadlines: Deadlines = Deadlines()
    attempts: Annotated[int, Meta(ge=1)] = 100
    attempts_window_s: Annotated[float, Meta(gt=0)] = 600.0

    def __post_init__(self) -> None:
        symbols = tuple(dict.fromkeys(canonical_symbol(symbol) for symbol in self.symbols))
        if not symbols or not self.channels:
            raise ConfigError("Kraken needs at least one pair and one channel")
        msgspec.structs.force_setattr(self, "symbols", symbols)
        if self.url:
            check_url("url", self.url, ("ws", "wss"))
        check_url("rest_url", self.rest_url, ("http", "https"))

    def instruments(self) -> tuple[str, ...]:
        """`kraken:BTC/USD` ..."""
        return tuple(f"{self.name}:{symbol}" for symbol in self.symbols)

    def endpoint(self) -> Endpoint:
        """The websocket; pings also tell the venue's time."""
        v2 = {"method": "ping", "req_id": _PING_ID}
        v1 = {"event": "ping", "reqid": _PING_ID}
        return Endpoint(
            self.url or _URLS[self.protocol],
            self.deadlines.silence_s,
            _json(v2 if self.protocol == "v2" else v1),
            self.deadlines.ping_s,
            self.attempts,
            self.attempts_window_s,
        )

    def budgets(self) -> tuple[Budget, ...]:
        """One request a second, Kraken's sustained public rate."""
        return (Budget("rest", 1, 1.0, told=False),)

    def streams(self, state: KrakenState, /) -> tuple[str, ...]:  # noqa: ARG002  the contract's
        """One socket."""
        return ("ws",)

    def subscribe(self, state: KrakenState, stream: str, /) -> tuple[bytes, ...]:  # noqa: ARG002  the contract's
        """One message per channel. The list of instruments comes first: it has the precisions."""
        messages = [self._request("subscribe", name, self.symbols) for name in self.channels]
        if self.protocol == "v2":
            params = {"channel": "instrument", "snapshot": True}
            listing = {"method": "subscribe", "params": params}
            messages.insert(0, _json({**listing, "req_id": REQUEST_IDS["instrument"]}))
        return tuple(messages)

    def resubscribe(self, state: KrakenState, fault: Fault, /) -> tuple[bytes, ...]:
        """End and renew one subscription; all are asked for when the fault names none."""
        _, _, symbol = fault.instrument.partition(":")
        if symbol not in self.symbols or fault.channel not in self.channels:
            return self.subscribe(state, fault.stream)
        return tuple(
            self._request(method, fault.channel, (symbol,))
            for method in ("unsubscribe", "subscribe")
        )

    def _request(self, method: str, channel: str, symbols: tuple[str, ...]) -> bytes:
        number = REQUEST_IDS[channel]
        if self.protocol == "v1":
            about: dict[str, Any] = {"name": channel}
            if channel == "book":
                about["depth"] = self.depth
            pairs = [v1_name(symbol) for symbol in symbols]
            return _json({"event": method, "pair": pairs, "subscription": about, "reqid": number})
        params: dict[str, Any] = {"channel": channel, "symbol": symbols}
        if channel == "book":
            params["depth"] = self.depth
        if method == "subscribe":
            params["snapshot"] = True  # its default for trades differs between Kraken's documents
        return _json({"method": method, "params": params, "req_id": number})

    def fetch(self, state: KrakenState, fault: Fault, /) -> Fetch | None:  # noqa: ARG002  the contract's
        """Trades since the fault's `since_ns`, or the system's state for a fault of the source."""
        if not fault.instrument:
            return fetch_system(self.rest_url)
        _, _, symbol = fault.instrument.partition(":")
        if symbol not in self.symbols:
            return None
        return fetch_trades(self.rest_url, symbol, fault.since_ns)

    def polls(self, state: KrakenState, /) -> tuple[Poll, ...]:  # noqa: ARG002  the contract's
        """None."""
        return ()

    def start(self) -> KrakenState:
        """Memory of all pairs, empty."""
        markets = {symbol: self._market(symbol) for symbol in self.symbols}
        names = {
            name: symbol
            for symbol in self.symbols
            for name in (symbol, v1_name(symbol), rest_name(symbol))
        }
        return KrakenState(markets, names)

    def _market(self, symbol: str) -> Market:
        trades = Subscription("trade") if "trade" in self.channels else None
        levels = Subscription("book") if "book" in self.channels else None
        return Market(symbol, f"{self.name}:{symbol}", trades, levels)

    def decode(self, state: KrakenState, frame: Frame, /) -> Iterable[Event]:
        """Events of a websocket message or REST answer."""
        data = frame.data
        if len(data) > FRAME_BYTES:
            raise DecodeError(f"a frame of {len(data):,} bytes; the limit is {FRAME_BYTES:,}")
        reading = Reading(state, frame.ts_recv, self.depth, self.books, self.protocol == "v2", [])
        if frame.stream != "ws":
            decode_rest(reading, frame.stream, data)
        elif not decode_frequent(reading, data):
            message = load(data)
            if isinstance(message, list):
                decode_list(reading, message)
            elif not isinstance(message, dict):
                raise DecodeError("a Kraken frame is neither an object nor a list")
            elif "event" in message:
                decode_event(reading, message)
            else:
                decode_any(reading, message)
        return reading.finish()

    def on_link(self, state: KrakenState, link: Link, /) -> Iterable[Event]:
        """Books are void and acknowledgements due; that itself is no event."""
        kraken_watch.on_link(state, link)
        return ()

    def on_timer(self, state: KrakenState, now: int, /) -> Iterable[Event]:
        """Deadlines that passed."""
        return kraken_watch.on_timer(self.deadlines, self.protocol, state, now)


def _json(message: dict[str, Any]) -> bytes:
    return msgspec.json.encode(message)


assert BOOK_DEPTH >= 1000
