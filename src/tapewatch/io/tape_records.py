"""The tape's lines: one JSON object for each record, and the way back. No files here.

| `k` | fields |
|---|---|
| `header` | first line of every segment: number, first record, configuration and its hash |
| `chain` | first line of every other frame: `h` names all that was recorded before it |
| `snapshot` | clips only: the engine's state before record `n` |
| `frame` | `s` source, `c` stream unless `ws`, and the data as `d`, `x` or `b` |
| `link`, `timer`, `command` | the other inputs |
| `alert` | an output, literally; not an input, a replay compares itself with it |

`n` is the sequence number, `t` the receive time in ns.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple

from msgspec import UNSET, DecodeError, Meta, Raw, Struct, UnsetType, json

from tapewatch.model import limits
from tapewatch.model.errors import TapeError
from tapewatch.model.inputs import Command, Frame, Input, Link, Timer

FORMAT: Final = 1
_SHALLOW: Final = 64  # brackets that no reader's stack can be too short for
_SNAPSHOT: Final = b'{"k":"snapshot"'  # msgspec writes the tag first
_HEADROOM: Final = 256  # nesting levels kept for a reader whose stack is deeper than the writer's


Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Header(Struct, frozen=True, tag="header", tag_field="k"):
    """First record of a segment. `prev` is the chain hash (hex) of all frames before it."""

    tape: int
    segment: int
    first: int
    prev: Hash
    config_hash: Hash
    tapewatch: str
    config: dict[str, Any]


class ChainRecord(Struct, frozen=True, gc=False, tag="chain", tag_field="k"):
    """SHA-256 (hex) over the previous chain hash and the bytes of the previous frame."""

    h: Hash


class Snapshot(Struct, frozen=True, gc=False, tag="snapshot", tag_field="k"):
    """The engine's state before record `n` was stepped (base64 on the tape)."""

    n: int
    data: bytes


class FrameRecord(Struct, frozen=True, gc=False, tag="frame", tag_field="k"):
    """`d` is a frame that is itself JSON, verbatim; `x` is other text; `b` is base64."""

    n: int
    t: int
    s: str
    c: str | UnsetType = UNSET
    d: Raw | UnsetType = UNSET
    x: str | UnsetType = UNSET
    b: bytes | UnsetType = UNSET


class LinkRecord(Struct, frozen=True, gc=False, tag="link", tag_field="k"):
    """`v` is the new state, `r` the reason, `c` the stream unless `ws`."""

    n: int
    t: int
    s: str
    v: Literal["up", "down"]
    r: str
    c: str | UnsetType = UNSET


class TimerRecord(Struct, frozen=True, gc=False, tag="timer", tag_field="k"):
    """The engine's clock."""

    n: int
    t: int


class CommandRecord(Struct, frozen=True, gc=False, tag="command", tag_field="k"):
    """`s` is the actor, `o` the order, `v` its argument."""

    n: int
    t: int
    s: str
    o: Literal["kill", "reset_baseline", "baseline", "unrecorded"]
    v: str


class AlertRecord(Struct, frozen=True, gc=False, tag="alert", tag_field="k"):
    """An alert or report line as it was emitted."""

    n: int
    a: Raw


InputRecord = FrameRecord | LinkRecord | TimerRecord | CommandRecord
Numbered = InputRecord | AlertRecord
Record = Numbered | Header | ChainRecord | Snapshot


class Content(NamedTuple):
    """One frame: how it begins, and either a snapshot or inputs and alerts."""

    opening: Header | ChainRecord
    snapshot: Snapshot | None
    body: list[Numbered]


_json: Final = json.Decoder(Raw)
_opening: Final = json.Decoder(Header | ChainRecord)
_snapshot: Final = json.Decoder(Snapshot)
_numbered: Final = json.Decoder(Numbered)
_encode: Final = json.Encoder().encode


def header(
    config: Mapping[str, Any], version: str, segment: int, first: int, prev: bytes
) -> Header:
    """The header of a segment whose first record will be `first`. `config` must be JSON data."""
    return Header(FORMAT, segment, first, prev.hex(), config_hash(config), version, dict(config))


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a configuration as JSON with sorted keys."""
    return hashlib.sha256(json.encode(config, order="sorted")).hexdigest()


def line(record: Record) -> bytes:
    """One record as JSON, without the line break. Raises `TapeError` if no frame could hold it."""
    text = _encode(record)
    if len(text) > limits.UNPACKED_BYTES - limits.TAPE_FRAME_BYTES:
        raise TapeError(f"a record of {len(text):,} bytes is too large for a tape")
    return text


def content(data: bytes) -> Content:
    """The records of an unpacked frame. Raises `TapeError`."""
    opening, _, rest = data.partition(b"\n")
    try:
        first = _opening.decode(opening)
        if rest.startswith(_SNAPSHOT):
            return Content(first, _snapshot.decode(rest), [])
        return Content(first, None, _numbered.decode_lines(rest))
    except (DecodeError, RecursionError) as error:
        raise TapeError(f"not a record of tapewatch: {error}") from error


def torn_content(data: bytes) -> Content | None:
    """The records before the first line that is cut off or is no record; None without any."""
    found: list[Numbered] = []
    opening, *rest = data.split(b"\n")[:-1] or [b""]
    try:
        first = _opening.decode(opening)
        for text in rest:
            found.append(_numbered.decode(text))  # noqa: PERF401 - keeps what came before an error
    except (DecodeError, RecursionError):
        return Content(first, None, found) if found else None
    return Content(first, None, found)


def received(record: Numbered) -> int | None:
    """Receive time (ns) of an input; an alert has none."""
    return None if isinstance(record, AlertRecord) else record.t


def record_of(n: int, item: Input) -> InputRecord:
    """An input as the tape holds it under the sequence number `n`."""
    if isinstance(item, Frame):
        return _frame_record(n, item)
    if isinstance(item, Timer):
        return TimerRecord(n, item.ts_recv)
    if isinstance(item, Link):
        stream = UNSET if item.stream == "ws" else item.stream
        return LinkRecord(n, item.ts_recv, item.source, item.state, item.reason, stream)
    return CommandRecord(n, item.ts_recv, item.actor, item.op, item.argument)


def input_of(record: InputRecord) -> Input:
    """The input that was recorded, exactly."""
    if isinstance(record, FrameRecord):
        stream = "ws" if record.c is UNSET else record.c
        if record.d is not UNSET:
            return Frame(record.t, record.s, bytes(record.d), stream)
        data = record.b if record.x is UNSET else record.x.encode()
        return Frame(record.t, record.s, data or b"", stream)
    if isinstance(record, TimerRecord):
        return Timer(record.t)
    if isinstance(record, LinkRecord):
        stream = "ws" if record.c is UNSET else record.c
        return Link(record.t, record.s, record.v, record.r, stream)
    return Command(record.t, record.s, record.o, record.v)


def alert_record(n: int, alert: bytes) -> AlertRecord:
    """`alert` is one line of JSON."""
    value = _verbatim(alert)
    assert value is not None, "an alert is one line of JSON"
    return AlertRecord(n, value)


def _frame_record(n: int, frame: Frame) -> FrameRecord:
    stream = UNSET if frame.stream == "ws" else frame.stream
    value = _verbatim(frame.data)
    if value is not None:
        return FrameRecord(n, frame.ts_recv, frame.source, stream, value)
    try:
        text = frame.data.decode()
    except UnicodeDecodeError:
        return FrameRecord(n, frame.ts_recv, frame.source, stream, b=frame.data)
    return FrameRecord(n, frame.ts_recv, frame.source, stream, x=text)


def _verbatim(data: bytes) -> Raw | None:
    """`data` as a value that can stand in a line as it is; None if it cannot.

    It can if it is exactly one JSON value: UTF-8, no line break, no white space around it, and not
    nested so deeply that a reader could run out of stack.
    """
    if b"\n" in data or b"\r" in data or len(data.strip()) != len(data):
        return None
    try:
        if not data.isascii():
            data.decode()
        if data.count(b"[") + data.count(b"{") > _SHALLOW:
            _json.decode(b"[" * _HEADROOM + data + b"]" * _HEADROOM)
        return _json.decode(data)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None
