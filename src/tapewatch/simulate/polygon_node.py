"""JSON-RPC over the simulated chain: what a node answers, and the faults in that. No sockets.

One call in, one answer out; `Node.batch` reads a whole body. Errors are worded as those of nodes
and providers in use.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from msgspec import DecodeError, Struct, json

from tapewatch.simulate.faults import ActiveFaults, Fault
from tapewatch.simulate.polygon_chain import Block, Chain, Placed

CHAIN_ID: Final = 137
BATCH_MAX: Final = 100
SPAN_MAX: Final = 10_000  # blocks of one eth_getLogs
LOGS_MAX: Final = 10_000  # logs of one
STRANGE: Final = "0x" + "99" * 20  # a contract that nobody asks for

Call = Callable[[Sequence[Any], "View"], Any]

# What is said of a request for too much; {0} blocks or logs were asked for, {1} are allowed.
_TOO_MANY_BLOCKS: Final = {
    "geth": (-32000, "exceed maximum block range: {1}"),
    "infura": (-32602, "range {0} exceeds limit of {1}"),
    "alchemy": (-32600, "You can make eth_getLogs requests with up to a {1} block range"),
    "erigon": (-32005, "block range too large, max range: {1}"),
}
_TOO_MANY_LOGS: Final = {
    "geth": (-32000, "query returned more than {1} results"),
    "infura": (-32005, "query returned more than {1} results"),
    "alchemy": (-32602, "Log response size exceeded. Please reduce query block range."),
    "erigon": (-32000, "query exceeds limit: more than {1} logs"),
}


class RpcFault(Exception):
    """An answer that is an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class LogFilter(Struct, frozen=True):
    """`addresses` empty: all; `topics`: by position, an empty set for any."""

    addresses: frozenset[str]
    topics: tuple[frozenset[str], ...]

    def wants(self, one: Placed) -> bool:
        """Whether a log is asked for."""
        raw = one.raw
        if self.addresses and raw.address not in self.addresses:
            return False
        if len(raw.topics) < len(self.topics):
            return False
        pairs = zip(self.topics, raw.topics, strict=False)
        return all(not wanted or topic in wanted for wanted, topic in pairs)


class View(Struct, frozen=True):
    """What one node knows: the chain up to block `head`."""

    head: int


class Node:
    """Answers calls. `rng` decides what shares of answers faults hit."""

    def __init__(self, chain: Chain, active: ActiveFaults, rng: random.Random) -> None:
        self.chain, self.active, self._rng = chain, active, rng
        self.calls: dict[str, int] = {}
        self._methods: dict[str, Call] = {
            "eth_chainId": lambda _, __: hex(CHAIN_ID),
            "net_version": lambda _, __: str(CHAIN_ID),
            "web3_clientVersion": lambda _, __: "simulated/v1",
            "eth_blockNumber": lambda _, view: hex(view.head),
            "eth_getBlockByNumber": self._block,
            "eth_getLogs": self._logs,
        }

    def body(self, data: bytes) -> Any:
        """The answer to a body: one object, or a list for a list."""
        try:
            asked = json.decode(data)
        except (DecodeError, RecursionError):
            return _error(None, -32700, "parse error")
        if not isinstance(asked, list):
            return self.one(asked, self.view())
        if not asked or self.active.find("single"):
            return _error(None, -32600, "batch requests are not supported" if asked else "empty")
        if len(asked) > BATCH_MAX:
            return _error(None, -32600, f"batch too large, at most {BATCH_MAX}")
        view = self.view()
        lag = self.active.find("lag")
        split = lag is not None and bool(lag.params["split"])
        return [self.one(call, self.view() if split else view) for call in asked]

    def view(self) -> View:
        """Which node answers: all know everything, unless some are behind."""
        head = self.chain.head.number
        lag = self.active.find("lag")
        if lag is not None and self._rng.random() < float(lag.params["share"]):
            head -= int(lag.params["blocks"])
        liar = self.active.find("liar")
        return View(head + int(liar.params["blocks"]) if liar else head)

    def one(self, asked: Any, view: View) -> dict[str, Any]:
        """One call."""
        if not isinstance(asked, dict):
            return _error(None, -32600, "invalid request")
        number, method, params = asked.get("id"), asked.get("method"), asked.get("params", [])
        if not isinstance(method, str) or not isinstance(params, list):
            return _error(number, -32600, "invalid request")
        self.calls[method] = self.calls.get(method, 0) + 1
        busy = self.active.find("F33")
        if busy is not None and busy.params["how"] == "rpc":
            return _error(number, -32005, "Too Many Requests: compute units per second capacity")
        call = self._methods.get(method)
        if call is None:
            return _error(number, -32601, f"the method {method[:60]} does not exist")
        try:
            return {"jsonrpc": "2.0", "id": number, "result": self._spoilt(call(params, view))}
        except RpcFault as fault:
            return _error(number, fault.code, str(fault))

    def _spoilt(self, result: Any) -> Any:
        """Fault F41: hostile values in place of good ones."""
        fault = self.active.find("F41")
        if fault is None or fault.params["frame"] not in {"hex", "null"}:
            return result
        if fault.params["frame"] == "null":
            return None
        if isinstance(result, list):
            return [{**row, "data": "0x" + "f" * 448, "logIndex": "0x-1"} for row in result]
        return {**result, "number": "0xzz"} if isinstance(result, dict) else "0x" + "f" * 65

    def _block(self, params: Sequence[Any], view: View) -> Any:
        at = self._height(params[0] if params else None, view)
        block = self.chain.block(min(at, self.chain.head.number))
        if block is None or at > view.head:
            return None
        header = block.header()
        return header if at == block.number else {**header, "number": hex(at)}

    def _height(self, word: Any, view: View) -> int:
        if word in {"latest", "pending", "safe", "finalized"}:
            return view.head
        if word == "earliest":
            return self.chain.blocks[0].number
        try:
            return int(str(word)[:20], 16)
        except ValueError as error:
            raise RpcFault(-32602, "invalid argument 0: hex string expected") from error

    def _logs(self, params: Sequence[Any], view: View) -> Any:
        asked = params[0] if params and isinstance(params[0], dict) else {}
        first = self._height(asked.get("fromBlock", "latest"), view)
        last = self._height(asked.get("toBlock", "latest"), view)
        wanted = filter_of(asked)
        limit = self.active.find("range")
        words = str(limit.params["words"]) if limit else "geth"
        blocks = int(limit.params["blocks"]) if limit else SPAN_MAX
        if last - first + 1 > blocks:
            raise _too_much(_TOO_MANY_BLOCKS[words], last - first + 1, blocks)
        found = list(self._found(wanted, first, min(last, view.head)))
        most = int(limit.params["logs"]) if limit else LOGS_MAX
        if len(found) > most:
            raise _too_much(_TOO_MANY_LOGS[words], len(found), most)
        return found

    def _found(self, wanted: LogFilter, first: int, last: int) -> Iterator[dict[str, Any]]:
        missing = self.active.find("missing")
        for block in self.chain.span(first, last):
            for row in self.rows(block, wanted):
                if missing is None or self._rng.random() >= float(missing.params["share"]):
                    yield row

    def rows(
        self, block: Block, wanted: LogFilter, *, removed: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Logs of a block that a filter wants, in the form and the number that faults give them."""
        ignored = self.active.find("F45") is not None
        twice = self.active.find("F13") is not None
        for one in block.logs:
            if wanted.wants(one):
                row = block.shown(one, removed=removed)
                yield row
                if twice:
                    yield row
            elif ignored:
                yield {**block.shown(one, removed=removed), "address": STRANGE}


def filter_of(asked: dict[str, Any]) -> LogFilter:
    """As JSON-RPC writes it: one or several. Raises `RpcFault`."""
    try:
        topics = asked.get("topics") or []
        return LogFilter(_words(asked.get("address")), tuple(_words(one) for one in topics))
    except (AttributeError, TypeError) as error:
        raise RpcFault(-32602, "invalid filter") from error


def _words(value: Any) -> frozenset[str]:
    if value is None:
        return frozenset()
    return frozenset(one.lower() for one in ([value] if isinstance(value, str) else value))


def _too_much(words: tuple[int, str], asked: int, allowed: int) -> RpcFault:
    return RpcFault(words[0], words[1].format(asked, allowed))


def _error(number: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}


def limited(fault: Fault | None) -> bool:
    """Whether HTTP itself refuses."""
    return fault is not None and fault.params["how"] == "http"
