"""Polygon: what Polymarket's exchange contracts settle, with the wallets of both sides.

An instrument is a market, `polygon:<condition id>`; prices are those of outcome 0 (YES), what is
traded in outcome 1 counts as the opposite trade. There are no quotes and no books: a chain knows
only what has happened.
"""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct

from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.events import Event
from tapewatch.model.inputs import Frame, Link
from tapewatch.model.limits import FRAME_BYTES, POLYMARKET_MARKETS
from tapewatch.model.outputs import Fault
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S
from tapewatch.venues import polygon_rpc as rpc
from tapewatch.venues import polygon_watch as watch
from tapewatch.venues.addresses import check_url
from tapewatch.venues.base import Budget, Endpoint, Fetch, Poll
from tapewatch.venues.polygon_answers import decode_answer, question
from tapewatch.venues.polygon_fills import TOPIC_V1, TOPIC_V2, Layout, address, bytes32
from tapewatch.venues.polygon_state import SOCKET, Plan, PolygonState, Reading
from tapewatch.venues.polymarket_markets import CONDITION_ID, TOKEN_ID, Market, instrument_of

CHAIN_ID: Final = 137
SILENCE_S: Final = 30.0  # no byte from a socket: fifteen blocks
WINDOW_S: Final = 10.0
CONTRACTS_MAX: Final = 64

Seconds = Annotated[float, Meta(ge=1.0, le=86_400.0)]
Count = Annotated[int, Meta(ge=1, le=10_000)]
KEY_SHOWN: Final = 20  # characters of an address: the key of an RPC service comes later


class Contract(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An exchange contract and how it writes a fill: `v1` names the assets of both sides, `v2` a
    side and a token. `neg_risk` is for people: of markets of which one comes true."""

    address: str
    layout: Layout
    neg_risk: bool = False


CONTRACTS: Final = (  # protocols 2.10
    Contract(address="0x4bFb41d5B3570DeFd03C39a9A4D8dE6Bd8B8982E", layout="v1"),
    Contract(address="0xC5d563A36AE78145C45a50134d48A1215220f80a", layout="v1", neg_risk=True),
    Contract(address="0xE111180000d2663C0091e4f400237545B87B996B", layout="v2"),
    Contract(address="0xe2222d279d744050d28e00520010520000310F59", layout="v2", neg_risk=True),
)


class Polygon(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fills of some Polymarket markets from the chain: who traded with whom, at what price.

    `symbols`: the words that the user wrote for `markets`, which the resolver fills in. `rpc_url`:
    a node's JSON-RPC over HTTP, which must answer batches; `ws_url`: its websocket, empty for none.
    `contracts`, `topic_v1`, `topic_v2`: where fills are written and how they are marked.
    `confirmations`: blocks that must stand on a trade before it goes out. 0: at once; then a trade
    that the chain takes back is told as `withdrawn`. Trades older than 30 s when they go out are
    marked as backfilled, so with 15 or more confirmations they reach `wash`, and no price detector.

    `poll_s`: how often the node is asked; `check_s`: the same while a socket brings all blocks.
    `range_blocks`: asked for at once at most; `overlap_blocks`: asked for again each time;
    `catch_up_blocks`: more than so many that were missed are not read. `stale_s`: age of the newest
    block from which data are not current; `mute_s`: a socket without a block is dropped.
    """

    name: ClassVar[str] = "polygon"
    state_type: ClassVar[type] = PolygonState

    symbols: tuple[str, ...] = ()
    markets: tuple[Market, ...] = ()
    rpc_url: str = "https://polygon-bor-rpc.publicnode.com"
    ws_url: str = ""
    contracts: tuple[Contract, ...] = CONTRACTS
    topic_v1: str = TOPIC_V1
    topic_v2: str = TOPIC_V2
    chain_id: Annotated[int, Meta(ge=1, le=2**53)] = CHAIN_ID
    confirmations: Annotated[int, Meta(ge=0, le=128)] = 0
    poll_s: Seconds = 2.0
    check_s: Seconds = 30.0
    range_blocks: Count = 100
    overlap_blocks: Annotated[int, Meta(ge=0, le=100)] = 3
    catch_up_blocks: Annotated[int, Meta(ge=1, le=1_000_000)] = 3_600
    rpc_per_10s: Count = 20
    timeout_ms: Annotated[int, Meta(ge=1, le=600_000)] = 8_000
    stale_s: Seconds = 60.0
    mute_s: Seconds = 20.0
    attempts: Annotated[int, Meta(ge=1)] = 120
    attempts_window_s: Annotated[float, Meta(gt=0)] = 600.0

    def __post_init__(self) -> None:
        if not self.symbols and not self.markets:
            raise ConfigError("Polygon needs at least one market")
        if len(self.markets) > POLYMARKET_MARKETS:
            raise ConfigError(f"Polygon: more than {POLYMARKET_MARKETS:,} markets")
        for market in self.markets:
            tokens = (market.yes, market.no)
            if not (
                CONDITION_ID.fullmatch(market.condition)
                and all(map(TOKEN_ID.fullmatch, tokens))
                and market.yes != market.no
            ):
                raise ConfigError(f"{clean(market.name, 80)}: no condition id, or no two token ids")
        if not 0 < len(self.contracts) <= CONTRACTS_MAX:
            raise ConfigError(f"contracts must be 1 to {CONTRACTS_MAX}")
        try:
            found = {address(one.address) for one in self.contracts}
            topics = {bytes32(self.topic_v1), bytes32(self.topic_v2)}
        except DecodeError as error:
            raise ConfigError(f"contracts or topics: {error}") from error
        if len(found) < len(self.contracts) or len(topics) < 2:
            raise ConfigError("a contract or topic is named twice")
        check_url("rpc_url", self.rpc_url, ("http", "https"), KEY_SHOWN)
        if self.ws_url:
            check_url("ws_url", self.ws_url, ("ws", "wss"), KEY_SHOWN)

    def instruments(self) -> tuple[str, ...]:
        """`polygon:0x...`."""
        return tuple(instrument_of(market.condition, self.name) for market in self.markets)

    def endpoint(self) -> Endpoint:
        """The websocket, or the HTTP address where there is none."""
        return Endpoint(
            self.ws_url or self.rpc_url,
            SILENCE_S,
            b"",
            SILENCE_S,
            self.attempts,
            self.attempts_window_s,
        )

    def budgets(self) -> tuple[Budget, ...]:
        """One service."""
        return (Budget(rpc.SURFACE, self.rpc_per_10s, WINDOW_S, 1, self.timeout_ms / 1000),)

    def streams(self, state: PolygonState, /) -> tuple[str, ...]:  # noqa: ARG002  the contract's
        """One socket at most. It is `ws:0`: while it is down, polls bring the data."""
        return (SOCKET,) if self.ws_url else ()

    def subscribe(self, state: PolygonState, stream: str, /) -> tuple[bytes, ...]:  # noqa: ARG002
        """New heads and logs."""
        return rpc.subscriptions(self._filter())

    def resubscribe(self, state: PolygonState, fault: Fault, /) -> tuple[bytes, ...]:  # noqa: ARG002
        """Nothing: a socket that fails is dropped, since a second subscription would double it."""
        return ()

    def fetch(self, state: PolygonState, fault: Fault, /) -> Fetch | None:  # noqa: ARG002
        """Nothing: what is missing is asked for by the next poll."""
        return None

    def polls(self, state: PolygonState, /) -> tuple[Poll, ...]:
        """The blocks after those that were read, and the last of these again."""
        every_s = self.check_s if watch.is_live(state) else self.poll_s
        about = question(state, self.overlap_blocks)
        check = state.next - 1 if state.tip else 0
        return (Poll("blocks", every_s, (rpc.fetch(self.rpc_url, about, self._filter(), check),)),)

    def start(self) -> PolygonState:
        """Memory of a chain of which nothing is known."""
        state = PolygonState()
        state.span = min(state.span, self.range_blocks)
        conditions: set[str] = set()
        for market in self.markets:
            if market.condition in conditions or not state.add(market):
                raise ConfigError(f"two markets share the ids of {clean(market.name, 80)}")
            conditions.add(market.condition)
        state.calendar.sort()
        return state

    def decode(self, state: PolygonState, frame: Frame, /) -> Iterable[Event]:
        """Events of a notification, or of the answer to a poll."""
        if len(frame.data) > FRAME_BYTES:
            raise DecodeError(f"a frame of {len(frame.data):,} bytes; the limit is {FRAME_BYTES:,}")
        reading = self._reading(state, frame.ts_recv)
        watch.introduce(reading)
        if frame.stream.startswith("ws"):
            watch.decode_socket(reading, frame.data)
        else:
            about = rpc.question_of(frame.stream)
            if about is None:
                reading.say("unknown", f"answer to {frame.stream}")
            else:
                decode_answer(reading, about, frame.data)
        return reading.finish()

    def on_link(self, state: PolygonState, link: Link, /) -> Iterable[Event]:
        """The socket, or the service."""
        reading = self._reading(state, link.ts_recv)
        watch.introduce(reading)
        watch.on_link(reading, link)
        return reading.events

    def on_timer(self, state: PolygonState, now: int, /) -> Iterable[Event]:
        """Deadlines that passed."""
        reading = self._reading(state, now)
        watch.introduce(reading)
        watch.on_timer(reading)
        return reading.events

    def _reading(self, state: PolygonState, now: int) -> Reading:
        return Reading(self._plan(), state, now, [])

    def _plan(self) -> Plan:
        return Plan(
            {one.address.lower(): one.layout for one in self.contracts},
            {"v1": self.topic_v1.lower(), "v2": self.topic_v2.lower()},
            self.confirmations,
            self.range_blocks,
            self.catch_up_blocks,
            self.chain_id,
            int(self.stale_s * NS_PER_S),
            int(self.mute_s * NS_PER_S),
        )

    def _filter(self) -> rpc.Filter:
        layouts = {one.layout for one in self.contracts}
        topics = (("v1", self.topic_v1), ("v2", self.topic_v2))
        return rpc.Filter(
            tuple(one.address.lower() for one in self.contracts),
            tuple(topic.lower() for layout, topic in topics if layout in layouts),
        )
