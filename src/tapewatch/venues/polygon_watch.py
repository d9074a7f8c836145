"""The socket of a node, and deadlines: what should have come by now, and what to do about it.

The socket is a way to know sooner. Polls go on beside it, more seldom, and bring what it has not.
Whether data are current is told by the chain's own time: how old the newest block is that was read.
That is one rule for a node that is silent, one that lags, and a chain that stands still.
"""

from typing import Final

import msgspec

from tapewatch.model.errors import DecodeError
from tapewatch.model.inputs import Link
from tapewatch.model.time import NS_PER_S
from tapewatch.venues import polygon_rpc as rpc
from tapewatch.venues.polygon_chain import settle, take
from tapewatch.venues.polygon_fills import Log
from tapewatch.venues.polygon_state import SOCKET, PolygonState, Reading

LOST_NS: Final = 20 * NS_PER_S  # without an answer; ten blocks, as many as are asked for at first
SHRINK_NS: Final = 5 * NS_PER_S  # while a service fails, it is asked for less so often

_decode_log = msgspec.json.Decoder(Log).decode


def introduce(reading: Reading) -> None:
    """Names of the markets, once."""
    state = reading.state
    for at, name in enumerate(state.names):
        reading.say("listed", name, instrument=state.instruments[at])
    state.names.clear()


def decode_socket(reading: Reading, data: bytes) -> None:
    """A block, a log, or the answer to a subscription. Raises `DecodeError`."""
    message = rpc.message_of(data)
    if message.method == "eth_subscription" and message.params is not None:
        _notice(reading, message.params.result)
    elif message.error is not None:
        reading.say("rejected", rpc.shown(message.error), channel="socket")
    elif message.id in (rpc.HEAD, rpc.LOGS):
        what = "blocks" if message.id == rpc.HEAD else "logs"
        reading.say("subscribed", what, channel="socket")
    else:
        reading.say("unknown", message.method or "a message without method", channel="socket")


def _notice(reading: Reading, raw: msgspec.Raw) -> None:
    """Only logs have topics."""
    try:
        log = _decode_log(raw)
    except (ValueError, RecursionError):
        _block(reading, raw)
        return
    take(reading, [log])
    settle(reading)


def _block(reading: Reading, raw: msgspec.Raw) -> None:
    state = reading.state
    try:
        block = rpc.block_of(raw)
    except DecodeError as error:
        reading.say("invalid", f"a notification: {error}", channel="socket")
        return
    if block is None or not state.next:
        return
    state.beat_ns = reading.ts_recv
    state.head = block.number
    state.learn_time(block.number, block.ts_s)
    state.live_from = state.live_from or block.number + 1
    if state.next >= state.live_from:  # nothing lies between what polls and what the socket brings
        state.tip_ns = max(state.tip_ns, min(block.ts_s * NS_PER_S, reading.ts_recv))
    settle(reading)


def on_link(reading: Reading, link: Link) -> None:
    """The socket or the service came up or went down."""
    state = reading.state
    if link.stream == SOCKET:
        state.socket_up, state.live_from = link.state == "up", 0
        state.beat_ns = link.ts_recv
    elif link.stream == rpc.SURFACE:
        state.down = "" if link.state == "up" else link.reason or "no answer"
        state.down_ns = link.ts_recv
        if state.down:
            state.span = max(1, state.span // 2)


def on_timer(reading: Reading) -> None:
    """Deadlines that passed."""
    state, plan, now = reading.state, reading.plan, reading.ts_recv
    state.began_ns = state.began_ns or now
    if state.down and now - state.down_ns >= SHRINK_NS:
        state.down_ns = now
        state.span = max(1, state.span // 2)  # it may be too much that is asked for
    if state.heard_ns and now - state.heard_ns > LOST_NS and not state.live_from:
        state.lost = True
    if state.socket_up and state.next and now - state.beat_ns > plan.mute_ns:
        quiet_s = (now - state.beat_ns) // NS_PER_S
        state.beat_ns, state.live_from = now, 0
        detail = f"no block for {quiet_s} s"
        reading.say("mute", detail, channel="socket", ask="reconnect", stream=SOCKET)
    _endings(reading)
    _currency(reading)


def _endings(reading: Reading) -> None:
    """A price that runs to 0 or 1 because the outcome becomes known is no anomaly. The chain does
    not say when that is; the market's planned end is what is known."""
    state = reading.state
    due: dict[int, bool] = {}
    while state.calendar and state.calendar[0][0] <= reading.ts_recv:
        _, at, halts = state.calendar.pop(0)
        due[at] = halts
    for at, halts in due.items():
        if halts:
            state.halted.append(at)
            detail = "its end is reached; the outcome becomes known"
            reading.say("halted", detail, instrument=state.instruments[at])
        elif at in state.halted:
            state.halted.remove(at)
            reading.say("online", "an hour after its end", instrument=state.instruments[at])


def _currency(reading: Reading) -> None:
    """Say when the blocks that were read become old, and when they are new again."""
    state, now = reading.state, reading.ts_recv
    age_ns = now - (state.tip_ns or state.began_ns)
    stale = age_ns > reading.plan.stale_ns
    if stale and not state.stale:
        state.stale = True
        why = state.down or state.trouble
        detail = f"the newest block that was read is {age_ns // NS_PER_S} s old"
        if not state.tip_ns:
            detail = f"no block was read in {age_ns // NS_PER_S} s"
        reading.say("stale", f"{detail}: {why}" if why else detail, since_ns=state.tip_ns)
    elif state.stale and not stale:
        state.stale = False
        reading.say("current", "blocks are new again")


def is_live(state: PolygonState) -> bool:
    """Whether the socket brings everything."""
    return state.socket_up and state.live_from > 0
