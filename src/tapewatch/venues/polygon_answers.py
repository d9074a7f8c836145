"""Answers of a node to polls: which blocks have been read, how far, and whether they still stand.

A node is not trusted to be in step with itself: behind one address there may be several, some of
them behind. An answer counts only if the last block it is about exists and, where logs stand in
that block, has their hash. A few blocks are asked for again each time, since a node may be late
with some logs only. The hash of the last block read tells whether the chain was replaced since.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import msgspec

from tapewatch.model.errors import DecodeError
from tapewatch.model.limits import FRAME_BYTES
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S
from tapewatch.venues import polygon_rpc as rpc
from tapewatch.venues.polygon_chain import REWIND, doubt, settle, take
from tapewatch.venues.polygon_fills import Log, number
from tapewatch.venues.polygon_rpc import Block, Question, Reply
from tapewatch.venues.polygon_state import SOCKET, PolygonState, Reading

TRIES: Final = 3  # answers in a row until something is believed that means to give up blocks
BACK_BLOCKS: Final = 1_000  # so long
LOGS_MAX: Final = 20_000  # of one answer; nodes stop at 10,000

_decode_logs = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_log = msgspec.json.Decoder(Log).decode


def question(state: PolygonState, overlap: int) -> Question:
    """What to ask next; `overlap`: so many of the blocks that were read, once more."""
    if not state.next or state.lost:
        return Question("head")
    span = state.span
    first = max(1, state.next - min(overlap, span - 1))  # one block alone may fill a frame
    last = state.next + span - 1
    return Question("logs", first, last if last < state.head else 0)


def decode_answer(reading: Reading, about: Question, data: bytes) -> None:
    """One batch. Raises `DecodeError` for what is no JSON-RPC."""
    replies = rpc.replies_of(data)
    _hear(reading.state, replies)
    wanted = (rpc.LAST, rpc.CHAIN) if about.kind == "head" else (rpc.LAST, rpc.HEAD, rpc.LOGS)
    error = rpc.error_of(replies, wanted)
    if error is not None:
        _refused(reading, error)
        return
    try:
        block = rpc.block_of(replies[rpc.LAST].result)
        if block is None:
            _trouble(reading, "unavailable", "the node does not have the block that was asked for")
        elif about.kind == "head":
            _begin(reading, block, replies)
        else:
            _advance(reading, about, block, replies, len(data))
    except DecodeError as wrong:
        _trouble(reading, "invalid", f"an answer of the node: {wrong}")


def _hear(state: PolygonState, replies: Mapping[int, Reply]) -> None:
    """Where the chain ends is worth knowing, also if everything else is refused."""
    reply = replies.get(rpc.HEAD)
    if reply is None or reply.error is not None:
        return
    with suppress(DecodeError):  # told where it matters
        state.head = rpc.quantity_of(reply.result)


def _begin(reading: Reading, block: Block, replies: Mapping[int, Reply]) -> None:
    """Where the chain ends. The first block that is read is the newest that there is."""
    state = reading.state
    chain = rpc.quantity_of(replies[rpc.CHAIN].result)
    if chain != reading.plan.chain_id:
        detail = f"the node is of chain {chain}; {reading.plan.chain_id} is due"
        _trouble(reading, "rejected", detail)
        return
    state.head, state.lost, state.heard_ns = block.number, False, reading.ts_recv
    if not state.next:
        state.next, state.tip = max(1, block.number), ""
        state.learn_time(block.number, block.ts_s)
        state.tip_ns = min(block.ts_s * NS_PER_S, reading.ts_recv)


def _advance(
    reading: Reading, about: Question, block: Block, replies: Mapping[int, Reply], size: int
) -> None:
    """Blocks `about.first` to `block` were read."""
    state = reading.state
    last, head = block.number, rpc.quantity_of(replies[rpc.HEAD].result)
    if about.last and last != about.last:
        raise DecodeError(f"block {last:,} in place of {about.last:,}")
    if not about.last and last - about.first >= 2 * state.span:
        state.head = last  # more than was expected: it is read step by step
        return
    if _is_replaced(reading, replies) or about.first > state.next:
        return
    if _is_other_chain(reading, max(head, last)) or last < about.first:
        return
    logs = _logs(reading, replies[rpc.LOGS].result, about.first, block)
    if logs is None:
        _trouble(reading, "unavailable", "the node contradicts itself; it is asked again")
        return
    state.head, state.heard_ns = max(head, last), reading.ts_recv
    state.learn_time(last, block.ts_s)
    _read(reading, logs)
    if last >= state.next:
        state.next, state.tip = last + 1, block.hash
    state.tip_ns = max(state.tip_ns, min(state.times[last] * NS_PER_S, reading.ts_recv))
    state.trouble = ""
    _adapt(reading, last - about.first + 1, size)
    settle(reading)
    _skip(reading)


def _logs(reading: Reading, raw: msgspec.Raw, first: int, last: Block) -> list[Log] | None:
    """Those of blocks `first` to `last`; None where one is of another block `last`. Raises
    `DecodeError`."""
    try:
        rows = _decode_logs(raw)
    except (ValueError, RecursionError) as error:
        raise DecodeError("logs were due") from error
    if len(rows) > LOGS_MAX:
        raise DecodeError(f"{len(rows):,} logs")
    found = []
    for row in rows:
        try:
            log = _decode_log(row)
            at = number(log.block_number)
        except (ValueError, RecursionError, DecodeError) as error:
            reading.say("invalid", f"a log: {error}", channel="logs")
            continue
        if at < first:
            reading.say("invalid", f"a log of block {at:,}, not asked for", channel="logs")
        elif at <= last.number:  # else it came in between, and is asked for next time
            if at == last.number and log.block_hash.lower() != last.hash:
                return None
            found.append(log)
    return found


def _read(reading: Reading, logs: list[Log]) -> None:
    """News first, then what an earlier look at the same blocks, or the socket, has missed."""
    state = reading.state
    seen_to = max(state.next, state.live_from and state.head - 1)  # a socket may be about to tell
    news: list[Log] = []
    old: list[Log] = []
    for log in logs:
        missed_one = _is_missed(state, number(log.block_number), seen_to)
        (old if missed_one else news).append(log)
    missed = take(reading, old, missed=True)
    take(reading, news)
    if missed:
        detail = f"{missed} trades had not been brought"
        reading.say("gap_filled", detail, channel="logs", value=float(missed))
        if state.live_from:
            state.live_from = 0
            detail = "it brings blocks, but not all logs"
            reading.say("mute", detail, channel="socket", ask="reconnect", stream=SOCKET)


def _is_missed(state: PolygonState, block: int, seen_to: int) -> bool:
    if block < state.next:
        return True
    return bool(state.live_from) and state.live_from <= block < seen_to


def _is_replaced(reading: Reading, replies: Mapping[int, Reply]) -> bool:
    """Whether the last block that was read is no longer in the chain; then it is read again from
    far enough before it."""
    state = reading.state
    check = replies.get(rpc.CHECK)
    if check is None or check.error is not None or not state.tip:
        return False
    block = rpc.block_of(check.result)
    if block is None or block.number != state.next - 1 or block.hash == state.tip:
        return False
    back = max(1, state.next - REWIND)
    state.next, state.tip = back, ""
    doubt(state, back)
    state.span = max(state.span, min(REWIND, reading.plan.range_blocks))
    return True


def _is_other_chain(reading: Reading, head: int) -> bool:
    """Whether the chain ends so long before what was read, time and again, that it is another, or
    that what was read was a lie."""
    state = reading.state
    if head > state.next - BACK_BLOCKS:
        state.back = 0
        return False
    state.back += 1
    if state.back >= TRIES:
        detail = f"the chain ends at block {head:,}, not at {state.next - 1:,}; begun anew"
        reading.say("gap_lost", detail, channel="logs")
        state.next, state.tip, state.head, state.back = 0, "", 0, 0
        state.times.clear()
        state.known.clear()
        state.held = state.gone = state.tip_ns = 0
    return True


def _adapt(reading: Reading, blocks: int, size: int) -> None:
    """Ask for as many blocks at once as fit into a frame with room to spare."""
    state = reading.state
    if size > FRAME_BYTES // 2:
        state.span = max(1, blocks // 2)
    elif size < FRAME_BYTES // 4 and blocks >= state.span:
        state.span = min(reading.plan.range_blocks, 2 * state.span)


def _skip(reading: Reading) -> None:
    """What lies too far back is not read any more, if that is sure."""
    state, plan = reading.state, reading.plan
    behind = state.head - state.next
    state.far = state.far + 1 if behind > plan.catch_up_blocks else 0
    if state.far < TRIES:
        return
    state.far = 0
    since = state.tip_ns
    detail = f"{behind:,} blocks are not read: they are too many to catch up with"
    reading.say("gap_lost", detail, channel="logs", value=float(behind), since_ns=since)
    state.next, state.tip = state.head, ""


def _refused(reading: Reading, error: rpc.RpcError) -> None:
    state = reading.state
    trouble, text = rpc.trouble_of(error), rpc.shown(error)
    if trouble == "range":
        state.span = max(1, state.span // 2)
        _trouble(reading, "unavailable", f"too much at once: {text}")
    elif trouble == "busy":
        _trouble(reading, "rate_limited", text)
    else:
        _trouble(reading, "unavailable", text)


def _trouble(reading: Reading, kind: rpc.TroubleKind, detail: str) -> None:
    """Said once until an answer is good again, or the trouble is another."""
    detail = clean(detail)
    if detail != reading.state.trouble:
        reading.state.trouble = detail
        reading.say(kind, detail)
