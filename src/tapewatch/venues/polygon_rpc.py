"""JSON-RPC of a Polygon node: what is asked, what the answers and notifications look like.

Requests go out in batches, so that one node answers all of a batch: behind one address there are
often several, and some of them are behind. A batch says in its stream which blocks it is about.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from tapewatch.model.errors import DecodeError
from tapewatch.model.text import clean
from tapewatch.venues.base import Fetch
from tapewatch.venues.polygon_fills import bytes32, number

SURFACE: Final = "rpc"
HEAD, LOGS, CHECK, LAST, CHAIN = 1, 2, 3, 4, 5  # ids of the requests of a batch
_STREAM: Final = re.compile(r"/\?(?:head|logs=([0-9]{1,19})-([0-9]{1,19}|latest))", re.ASCII)

Trouble = Literal["range", "busy", "refused"]
TroubleKind = Literal["unavailable", "rate_limited", "rejected", "invalid"]  # of statuses
# What nodes say, in the words of half a dozen providers; there is no agreement on codes.
_BUSY: Final = re.compile(r"rate|too many requests|capacity|throughput|credits|quota", re.ASCII)
_RANGE: Final = re.compile(
    r"range|more than [0-9]+ (?:results|logs)|response size|limit exceeded|too large|too many"
    r"|timed? ?out|timeout",
    re.ASCII,
)


class RpcError(Struct, gc=False):
    """Why a request failed."""

    code: int = 0
    message: str = ""


class Reply(Struct, gc=False):
    """The answer to one request. Of a batch that was refused as a whole, `id` is null."""

    id: Any = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: RpcError | None = None


class Header(Struct, gc=False):
    """The part of a block that we read."""

    number: str
    hash: str
    timestamp: str


class _Notice(Struct, gc=False):
    result: msgspec.Raw = msgspec.Raw(b"null")


class Message(Struct, gc=False):
    """Anything that a socket says."""

    method: str = ""
    params: _Notice | None = None
    id: Any = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: RpcError | None = None


class Block(Struct, frozen=True, gc=False):
    """A header that makes sense."""

    number: int
    hash: str
    ts_s: int


class Filter(Struct, frozen=True):
    """Which logs are asked for: of these contracts, of one of these kinds."""

    addresses: tuple[str, ...]
    topics: tuple[str, ...]

    def params(self) -> dict[str, Any]:
        """As JSON-RPC writes it."""
        return {"address": self.addresses, "topics": [self.topics]}


class Question(Struct, frozen=True):
    """What a batch is about: where the chain ends, or the logs of blocks `first`..`last`, to the
    end of the chain where `last` is 0."""

    kind: Literal["head", "logs"]
    first: int = 0
    last: int = 0

    @property
    def stream(self) -> str:
        """`rest:/?head`, `rest:/?logs=1-9` or `rest:/?logs=1-latest`."""
        if self.kind == "head":
            return "rest:/?head"
        return f"rest:/?logs={self.first}-{self.last or 'latest'}"


_decode_replies = msgspec.json.Decoder(list[Reply] | Reply).decode
_decode_header = msgspec.json.Decoder(Header | None).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_message = msgspec.json.Decoder(Message).decode


def question_of(stream: str) -> Question | None:
    """What a frame of this stream answers; None for another's."""
    match = _STREAM.fullmatch(stream.removeprefix("rest:"))
    if match is None:
        return None
    first, last = match.groups()
    if first is None:
        return Question("head")
    return Question("logs", int(first), 0 if last == "latest" else int(last))


def fetch(url: str, about: Question, wanted: Filter, check: int) -> Fetch:
    """The batch of a question. `check`: a block whose hash is known, 0 for none.

    The last block is asked for before the logs: a block that comes in between may be in the logs
    without being the last, but none that is the last can be missing there.
    """
    last = hex(about.last) if about.last else "latest"
    calls: list[dict[str, Any]] = [_call(LAST, "eth_getBlockByNumber", [last, False])]
    if about.kind == "logs":
        span = {"fromBlock": hex(about.first), "toBlock": last}
        calls.append(_call(HEAD, "eth_blockNumber", []))
        calls.append(_call(LOGS, "eth_getLogs", [span | wanted.params()]))
    else:
        calls.append(_call(CHAIN, "eth_chainId", []))
    if check:
        calls.append(_call(CHECK, "eth_getBlockByNumber", [hex(check), False]))
    return Fetch(url, about.stream, SURFACE, msgspec.json.encode(calls))


def subscriptions(wanted: Filter) -> tuple[bytes, ...]:
    """What to send over a socket: new heads, and logs as they come."""
    return (
        msgspec.json.encode(_call(HEAD, "eth_subscribe", ["newHeads"])),
        msgspec.json.encode(_call(LOGS, "eth_subscribe", ["logs", wanted.params()])),
    )


def _call(number_of: int, method: str, params: Sequence[Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number_of, "method": method, "params": params}


def replies_of(data: bytes) -> dict[int, Reply]:
    """Answers by id, in whatever order they came; a refusal of the whole has the id 0. Raises
    `DecodeError`."""
    try:
        found = _decode_replies(data)
    except (ValueError, RecursionError) as error:
        raise _none(data, error) from error
    replies = found if isinstance(found, list) else [found]
    return {reply.id if type(reply.id) is int else 0: reply for reply in replies}


def message_of(data: bytes) -> Message:
    """What a socket said. Raises `DecodeError`."""
    try:
        return _decode_message(data)
    except (ValueError, RecursionError) as error:
        raise _none(data, error) from error


def error_of(replies: Mapping[int, Reply], wanted: Sequence[int]) -> RpcError | None:
    """Why one of the wanted answers is none; None if all are there."""
    for one in wanted:
        reply = replies.get(one) or replies.get(0)
        if reply is None:
            return RpcError(message="the node left a request of the batch unanswered")
        if reply.error is not None:
            return reply.error
        if one not in replies:
            return RpcError(message="the node does not answer batches")
    return None


def quantity_of(raw: msgspec.Raw) -> int:
    """A number, below 2^62. Raises `DecodeError`."""
    try:
        found = number(_decode_text(raw))
    except (ValueError, RecursionError) as error:
        raise DecodeError("a number was due") from error
    if found >= 1 << 62:
        raise DecodeError("a number beyond all bounds")
    return found


def block_of(raw: msgspec.Raw) -> Block | None:
    """A header; None where the node has no such block. Raises `DecodeError`."""
    try:
        found = _decode_header(raw)
    except (ValueError, RecursionError) as error:
        raise DecodeError("a block was due") from error
    if found is None:
        return None
    at, ts_s = number(found.number), number(found.timestamp)
    if max(at, ts_s) >= 1 << 62:
        raise DecodeError("a block beyond all bounds")
    return Block(at, bytes32(found.hash), ts_s)


def trouble_of(error: RpcError) -> Trouble:
    """What it is about: too many blocks or logs at once, too many requests, or something else."""
    text = error.message.lower()[:1_000]
    if _BUSY.search(text) and "results" not in text:
        return "busy"
    return "range" if _RANGE.search(text) else "refused"


def shown(error: RpcError) -> str:
    """For people."""
    return clean(error.message) or f"error {error.code}"


def _none(data: bytes, error: Exception) -> DecodeError:
    what = "HTML" if data.lstrip()[:1] == b"<" else "no JSON-RPC"
    return DecodeError(f"an answer of the node is {what}: {type(error).__name__}")
