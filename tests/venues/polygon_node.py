"""A node in a few lines, for tests of the decoder: it shares no code with the simulator."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from polygon_logs import CONDITION, GENESIS_S, NO, YES, block_hash

from tapewatch.model.events import Event, Status, Trade
from tapewatch.model.inputs import Frame, Link
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.polygon import Polygon
from tapewatch.venues.polygon_state import PolygonState
from tapewatch.venues.polymarket_markets import Market

INSTRUMENT = f"polygon:{CONDITION}"
MARKET = Market(condition=CONDITION, yes=YES, no=NO, slug="will-it-rain")
HEAD = 1_000  # where the chain ends when a test begins
SOCKET = "ws:0"


class Bench:
    """A decoder, a chain of `logs` up to `head`, and what the decoder has said.

    `fork`: blocks from `fork_from` on are of this fork. `null`: blocks the node does not have.
    """

    def __init__(self, *, end_ns: int = 0, **config: Any) -> None:
        market = msgspec.structs.replace(MARKET, end_ns=end_ns)
        self.venue = Polygon(markets=(market,), rpc_url="http://127.0.0.1:1", **config)
        self.state: PolygonState = self.venue.start()
        self.head, self.fork, self.fork_from = HEAD, 0, HEAD + 1_000_000
        self.logs: list[dict[str, Any]] = []
        self.null: set[int] = set()
        self.now_s = float(GENESIS_S + 2 * HEAD)
        self.events: list[Event] = []

    def hash(self, number: int) -> str:
        return block_hash(number, self.fork if number >= self.fork_from else 0)

    def ns(self) -> int:
        return round(self.now_s * NS_PER_S)

    def asked(self) -> list[dict[str, Any]]:
        """The calls of the next poll."""
        return json.loads(self.venue.polls(self.state)[0].requests[0].body)

    def header(self, number: int) -> dict[str, Any] | None:
        if number > self.head or number in self.null:
            return None
        ts = hex(GENESIS_S + 2 * number)
        return {"number": hex(number), "hash": self.hash(number), "timestamp": ts}

    def answer(self, call: dict[str, Any]) -> Any:
        params = call["params"]
        match call["method"]:
            case "eth_chainId":
                return "0x89"
            case "eth_blockNumber":
                return hex(self.head)
            case "eth_getBlockByNumber":
                at = self.head if params[0] == "latest" else int(params[0], 16)
                return self.header(at)
            case "eth_getLogs":
                about = params[0]
                last = about["toBlock"]
                high = self.head if last == "latest" else int(last, 16)
                low = int(about["fromBlock"], 16)
                return [row for row in self.logs if low <= int(row["blockNumber"], 16) <= high]
        raise AssertionError(call)

    def poll(self, **instead: Any) -> list[Event]:
        """One poll; `instead` replaces the result of a method, or gives an error as a dict with
        a message."""
        fetch = self.venue.polls(self.state)[0].requests[0]
        replies = []
        for call in reversed(self.asked()):  # in whatever order
            found = instead.get(call["method"], self.answer(call))
            about = {"jsonrpc": "2.0", "id": call["id"]}
            failed = isinstance(found, dict) and "message" in found
            replies.append(about | ({"error": found} if failed else {"result": found}))
        return self.frame(fetch.stream, json.dumps(replies).encode())

    def frame(self, stream: str, data: bytes) -> list[Event]:
        frame = Frame(self.ns(), "polygon", data, stream)
        return self.keep(self.venue.decode(self.state, frame))

    def keep(self, events: Iterable[Event]) -> list[Event]:
        found = list(events)
        self.events += found
        return found

    def link(self, state: Any, stream: str, reason: str = "") -> list[Event]:
        return self.keep(
            self.venue.on_link(self.state, Link(self.ns(), "polygon", state, reason, stream))
        )

    def timer(self) -> list[Event]:
        return self.keep(self.venue.on_timer(self.state, self.ns()))

    def grow(self, blocks: int = 1) -> None:
        """So many blocks later."""
        self.head += blocks
        self.now_s += 2.0 * blocks

    def begin(self) -> None:
        """Two polls: where the chain ends, and what is there."""
        self.timer()
        self.poll()
        self.poll()

    def notice(self, what: dict[str, Any]) -> list[Event]:
        """A notification of the socket."""
        about = {"subscription": "0x1", "result": what}
        message = {"jsonrpc": "2.0", "method": "eth_subscription", "params": about}
        return self.frame(SOCKET, json.dumps(message).encode())

    def trades(self) -> list[Trade]:
        return [event for event in self.events if isinstance(event, Trade)]

    def said(self, *kinds: str) -> list[Status]:
        return [
            event
            for event in self.events
            if isinstance(event, Status) and (event.kind in kinds or not kinds)
        ]


def ids(trades: Sequence[Trade]) -> list[str]:
    """Transaction and log of each, short."""
    return [f"{int(one.trade_id[2:66], 16)}:{one.trade_id[67:]}" for one in trades]
