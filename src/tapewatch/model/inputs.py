"""Inputs: everything that may influence an output. The tape holds these and nothing else matters.

An input is created at the edge, given a sequence number when it is appended to the tape, and only
then passed to `Engine.step`.
"""

from typing import Final, Literal

from msgspec import Struct


class Frame(Struct, frozen=True, gc=False, tag="frame"):
    """One raw websocket message or HTTP body, verbatim.

    `stream` says where it came from: `ws` for a message of a source's only socket (`ws:0`, `ws:1`
    ... where it has several), `rest:<path?query>` for the body of an HTTP answer. `ts_recv` is ns
    at which the last byte was read.
    """

    ts_recv: int
    source: str
    data: bytes
    stream: str = "ws"


STOPPED: Final = "stopped"  # the reason of a link that we ended ourselves, in good order


class Link(Struct, frozen=True, gc=False, tag="link"):
    """State of a source's connection. `reason` is for people; `up` starts a new decoding epoch.

    `stream` is `ws` where one socket is the source. Of a source with several (`ws:0` ...), and of
    its HTTP services (`clob`, `data` ...), each goes up and down by itself, and what that means for
    the data is the venue's to say.
    """

    ts_recv: int
    source: str
    state: Literal["up", "down"]
    reason: str = ""
    stream: str = "ws"


class Timer(Struct, frozen=True, gc=False, tag="timer"):
    """The engine's clock: one a second (`limits.TIMER_S`)."""

    ts_recv: int


class Command(Struct, frozen=True, gc=False, tag="command"):
    """An operator's or the machine's order.

    | op | argument |
    |---|---|
    | `kill` | `on`, `off` or `unknown` (the switch cannot be read), and `: why` where it is known |
    | `reset_baseline` | instrument id |
    | `baseline` | a `Baseline` as JSON: memory that was kept elsewhere |
    | `unrecorded` | `begin`: frames are not recorded from here on; `n`: so many were not |
    """

    ts_recv: int
    actor: str
    op: Literal["kill", "reset_baseline", "baseline", "unrecorded"]
    argument: str = ""


class Baseline(Struct, frozen=True, gc=False):
    """What a detector is to begin with on one instrument; `packed` is the detector's own form."""

    detector: str
    instrument: str
    packed: bytes


Input = Frame | Link | Timer | Command
