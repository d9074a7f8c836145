"""Binance spot and futures: configuration, what to send and to fetch, deadlines.

Combined streams over one connection. Binance has no heartbeat, and a quiet symbol is silent, so a
request for the list of subscriptions takes the place of a ping. The decoders are in
`binance_frames`, the memory in `binance_state`.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta, Struct

from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.events import Event
from tapewatch.model.inputs import Frame, Link
from tapewatch.model.limits import FRAME_BYTES
from tapewatch.model.outputs import Fault
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.base import Budget, Endpoint, Fetch, Poll
from tapewatch.venues.binance_frames import decode_frame, decode_rest
from tapewatch.venues.binance_state import BinanceState, Market, lose, status
from tapewatch.venues.binance_symbols import SITES, Site, canonical_symbol, split_symbol

PAGE: Final = 1000  # rows of an answer (Binance's most)
REQUEST_STREAMS: Final = 256  # of one request: four requests, of five messages a second allowed
BACKFILL_NS: Final = 10 * NS_PER_S  # a request for missing trades has failed after this
BACKFILL_TRIES: Final = 5
SUBSCRIBE_TRIES: Final = 3  # then the connection is dropped
_LIST_ID: Final = 1_000_000

Channel = Literal["trade", "aggTrade", "bookTicker"]
Positive = Annotated[float, Meta(gt=0.0, le=31_536_000.0)]


class Binance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Trades and best quotes of some symbols of one market.

    `symbols`: `BTCUSDT` is spot, `usdm/BTCUSDT` and `coinm/BTCUSD_PERP` are futures. `channels`:
    empty for what suits the market: trades and quotes of spot; aggregated trades (without
    liquidations and the like) and quotes of COIN-M; aggregated trades of USD-M, which serves trades
    and quotes at different addresses. The budget of connection attempts stays a third below
    Binance's (300 in five minutes and address).
    """

    name: ClassVar[str] = "binance"
    state_type: ClassVar[type] = BinanceState

    symbols: tuple[str, ...]
    channels: tuple[Channel, ...] = ()
    url: str = ""
    rest_url: str = ""
    silence_s: Positive = 30.0
    ack_s: Positive = 5.0
    ping_s: Annotated[float, Meta(ge=1.0, le=31_536_000.0)] = 10.0
    attempts: Annotated[int, Meta(ge=1)] = 200
    attempts_window_s: Positive = 300.0

    def __post_init__(self) -> None:
        symbols = tuple(dict.fromkeys(canonical_symbol(symbol) for symbol in self.symbols))
        if not symbols:
            raise ConfigError("Binance needs at least one symbol")
        msgspec.structs.force_setattr(self, "symbols", symbols)
        if len({split_symbol(symbol)[0] for symbol in symbols}) > 1:
            raise ConfigError("spot, USD-M and COIN-M symbols need a session each")
        if {"trade", "aggTrade"} <= set(self.channels):
            raise ConfigError("trade and aggTrade are the same trades twice; choose one")
        site = self._site()
        if not self.url and site.public != site.trades and not self._one_address():
            raise ConfigError(
                "Binance serves trades and quotes of USD-M futures at different addresses; choose"
                " one of channels, or give a url that has both"
            )
        if len(self._streams()) > site.streams:
            raise ConfigError(f"one Binance connection takes at most {site.streams:,} streams")

    def _site(self) -> Site:
        return SITES[split_symbol(self.symbols[0])[0]]

    def _chosen(self) -> tuple[Channel, ...]:
        site = self._site()
        if self.channels:
            return self.channels
        if site.public != site.trades:
            return ("aggTrade",)
        return ("aggTrade" if site.aggregated else "trade", "bookTicker")

    def _one_address(self) -> bool:
        chosen = self._chosen()
        return "bookTicker" not in chosen or len(chosen) == 1

    def _streams(self) -> list[str]:
        names = [split_symbol(symbol)[1].lower() for symbol in self.symbols]
        return [f"{name}@{channel}" for name in names for channel in self._chosen()]

    def instruments(self) -> tuple[str, ...]:
        """`binance:BTCUSDT`, `binance:usdm/BTCUSDT` ..."""
        return tuple(f"{self.name}:{symbol}" for symbol in self.symbols)

    def endpoint(self) -> Endpoint:
        """The websocket of the market; what it is asked instead of a ping."""
        site = self._site()
        url = site.public if "bookTicker" in self._chosen() else site.trades
        return Endpoint(
            self.url or url,
            self.silence_s,
            _json({"method": "LIST_SUBSCRIPTIONS", "id": _LIST_ID}),
            self.ping_s,
            self.attempts,
            self.attempts_window_s,
        )

    def budgets(self) -> tuple[Budget, ...]:
        """One request a second, which is far below what Binance allows."""
        return (Budget("rest", 1, 1.0, told=False),)

    def streams(self, state: BinanceState, /) -> tuple[str, ...]:  # noqa: ARG002  the contract's
        """One socket."""
        return ("ws",)

    def subscribe(self, state: BinanceState, stream: str, /) -> tuple[bytes, ...]:  # noqa: ARG002  the contract's
        """At most four requests, numbered from 1."""
        streams = self._streams()
        starts = range(0, len(streams), REQUEST_STREAMS)
        return tuple(
            _json(
                {
                    "method": "SUBSCRIBE",
                    "params": streams[start : start + REQUEST_STREAMS],
                    "id": number,
                }
            )
            for number, start in enumerate(starts, 1)
        )

    def resubscribe(self, state: BinanceState, fault: Fault, /) -> tuple[bytes, ...]:
        """All of it: a subscription that exists is simply confirmed."""
        return self.subscribe(state, fault.stream)

    def fetch(self, state: BinanceState, fault: Fault, /) -> Fetch | None:  # noqa: ARG002  the contract's
        """The missing trades from the fault's `first_id` on."""
        market = self._market(fault.instrument.partition(":")[2])
        if market is None or fault.first_id <= 0:
            return None
        site = self._site()
        path = "aggTrades" if "aggTrade" in self._chosen() else "historicalTrades"
        query = (
            f"{site.path}/{path}?symbol={quote(market.name)}&fromId={fault.first_id}&limit={PAGE}"
        )
        return Fetch((self.rest_url or site.rest) + query, f"rest:{query}")

    def _market(self, symbol: str) -> Market | None:
        if symbol not in self.symbols:
            return None
        return Market(split_symbol(symbol)[1], f"{self.name}:{symbol}")

    def polls(self, state: BinanceState, /) -> tuple[Poll, ...]:  # noqa: ARG002  the contract's
        """None."""
        return ()

    def start(self) -> BinanceState:
        """Memory of all symbols, empty."""
        markets = [Market(split_symbol(one)[1], f"{self.name}:{one}") for one in self.symbols]
        return BinanceState({market.name: market for market in markets})

    def decode(self, state: BinanceState, frame: Frame, /) -> Iterable[Event]:
        """Events of a websocket message or REST answer."""
        data = frame.data
        if len(data) > FRAME_BYTES:
            raise DecodeError(f"a frame of {len(data):,} bytes; the limit is {FRAME_BYTES:,}")
        if frame.stream != "ws":
            return decode_rest(state, frame.stream, data, frame.ts_recv)
        return decode_frame(state, data, frame.ts_recv)

    def on_link(self, state: BinanceState, link: Link, /) -> Iterable[Event]:
        """Acknowledgements are due, and quotes are taken whatever their number."""
        up = link.state == "up"
        state.link_ns = link.ts_recv if up else 0
        state.tries = 0
        for market in state.markets.values():
            market.update = market.data_ns = 0
        self._expect_answers(state, link.ts_recv if up else 0)
        return ()

    def _expect_answers(self, state: BinanceState, now: int) -> None:
        count = -(-len(self._streams()) // REQUEST_STREAMS)
        state.unanswered = dict.fromkeys(range(1, count + 1), now) if now else {}

    def on_timer(self, state: BinanceState, now: int, /) -> Iterable[Event]:
        """Subscriptions without answer, and requests for missing trades that failed."""
        if not state.link_ns:
            return ()
        return [*self._late_answers(state, now), *_late_backfill(state, now)]

    def _late_answers(self, state: BinanceState, now: int) -> Iterator[Event]:
        late = [
            number for number, asked in state.unanswered.items() if _past(asked, now, self.ack_s)
        ]
        if not late:
            return
        if any(market.data_ns for market in state.markets.values()):
            state.unanswered = {}  # data come, so the answer was lost on the way
            return
        state.tries += 1
        again = state.tries < SUBSCRIBE_TRIES
        self._expect_answers(state, now)
        yield status(
            "ack_timeout",
            now,
            None,
            f"attempt {state.tries}",
            ask="resubscribe" if again else "reconnect",
        )


def _past(since: int, now: int, limit_s: float) -> bool:
    return now - since > limit_s * NS_PER_S


def _late_backfill(state: BinanceState, now: int) -> Iterator[Event]:
    """At most one request per timer; what is asked for in vain is given up."""
    for market in state.markets.values():
        for hole in market.sequence.holes:
            if now - hole.asked_ns <= BACKFILL_NS:
                continue
            if hole.tries >= BACKFILL_TRIES:
                market.sequence.holes.remove(hole)
                given_up: list[Event] = []
                lose(given_up, market, [hole], now)
                yield from given_up
                return
            hole.tries += 1
            hole.asked_ns = now
            yield status(
                "no_answer",
                now,
                market,
                channel="rest",
                ask="backfill",
                first_id=hole.first,
                last_id=hole.last,
                since_ns=hole.since_ns,
            )
            return


def _json(message: dict[str, Any]) -> bytes:
    return msgspec.json.encode(message)
