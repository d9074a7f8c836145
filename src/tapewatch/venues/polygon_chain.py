"""From logs to trades: each fill once, in the order of the chain, whatever the chain takes back.

Theory of operation. A chain may replace its newest blocks by others (a reorganisation). Nearly all
transactions of the old blocks come again in the new ones, at another place. So a fill is known by
what it says (`_key`), and its place is only where it stands now: seen again elsewhere, it has
moved. With `confirmations` a trade is held until so many blocks stand on it. Without, it goes out
at once; one whose block was taken back and that does not come again within `RETURN` blocks has not
happened, and `withdrawn` says so.
"""

from collections.abc import Iterable
from typing import Final

from tapewatch.model.errors import DecodeError
from tapewatch.model.events import Trade
from tapewatch.model.time import NS_PER_S, TS_MAX_NS, TS_MIN_NS
from tapewatch.venues.polygon_fills import Fill, Layout, Log, Place, fill_of, place_of, terms
from tapewatch.venues.polygon_state import Known, PolygonState, Reading

RETURN: Final = 20  # blocks: deeper reorganisations are practically unheard of (protocols 2.10)
REWIND: Final = 2 * RETURN  # asked for again when one is noticed; and they may be longer than that
EQUAL: Final = 64  # fills of one transaction that say the same; no match has so many
LATE_NS: Final = 30 * NS_PER_S  # a trade that is older is no news for prices


def take(reading: Reading, logs: Iterable[Log], *, missed: bool = False) -> int:
    """Fills of logs become trades, now or when they are confirmed. Returns how many were new.
    `missed`: they should have come before, so they count as backfilled."""
    return sum(_take(reading, log, missed=missed) for log in logs)


def _take(reading: Reading, log: Log, *, missed: bool) -> bool:
    try:
        layout = _layout(reading, log)
        if layout is None:
            return False
        place, fill = place_of(log), fill_of(log, layout)
        found = reading.state.tokens.get(fill.token)
        if found is None or fill.taker in reading.plan.layouts:
            return False  # another market; or the sum of a taker's fills, written as one more
        if log.removed:
            _remove(reading.state, _key(place, fill), place)
            return False
        return _add(reading, place, fill, found, missed=missed)
    except DecodeError as error:
        reading.say("invalid", str(error), channel="logs")
        return False


def _layout(reading: Reading, log: Log) -> Layout | None:
    """How the log's contract writes fills; None for another kind of log. Raises `DecodeError`."""
    layout = reading.plan.layouts.get(log.address.lower())
    if layout is None:
        raise DecodeError("a log of a contract that was not asked for")
    is_fill = bool(log.topics) and log.topics[0].lower() == reading.plan.topics[layout]
    return layout if is_fill else None


def _key(place: Place, fill: Fill) -> str:
    return f"{place.tx}/{fill.order}/{fill.token}/{fill.tokens}/{fill.cash}"


def _add(reading: Reading, place: Place, fill: Fill, found: int, *, missed: bool) -> bool:
    state = reading.state
    key = _key(place, fill)
    if _seen(state, key, place):
        return False
    if len(state.known.get(key, ())) >= EQUAL:
        raise DecodeError(f"more than {EQUAL} equal fills in one transaction")
    at, of_no = divmod(found, 2)
    price, size, side = terms(fill, of_no=bool(of_no))
    if place.ts_s:
        state.learn_time(place.block, place.ts_s)
    ts = state.time_ns(place.block, reading.ts_recv)
    if not TS_MIN_NS <= ts <= TS_MAX_NS:
        raise DecodeError("a time beyond all bounds")
    trade = Trade(
        state.instruments[at],
        ts,
        reading.ts_recv,
        price,
        size,
        side,
        f"{place.tx}:{place.index}",
        place.index,
        backfilled=missed,
        taker=fill.taker,
        maker=fill.maker,
    )
    one = Known(place.block, place.block_hash, place.index, at, trade)
    lost = [old for old in state.remember(key, one) if old.held is not None]
    if lost:  # the next look at these blocks brings them again
        detail = f"{len(lost)} unconfirmed trades were dropped for want of room"
        reading.say("incomplete", detail, channel="logs", value=float(len(lost)))
    return True


def _seen(state: PolygonState, key: str, place: Place) -> bool:
    """Whether the fill is known, here or in a block that this one replaces: then it has moved."""
    ones = state.known.get(key, ())
    for one in ones:
        if one.block_hash == place.block_hash and one.index == place.index:
            _stands(state, one, place)
            return True
    for one in ones:  # equal fills of one block are two; those of two blocks are one that moved
        if one.block_hash != place.block_hash:
            _stands(state, one, place)
            return True
    return False


def _stands(state: PolygonState, one: Known, place: Place) -> None:
    state.gone -= one.gone
    one.gone = False
    one.block, one.block_hash, one.index = place.block, place.block_hash, place.index


def _remove(state: PolygonState, key: str, place: Place) -> None:
    """The chain took a log back."""
    for one in state.known.get(key, ()):
        if one.block_hash == place.block_hash and one.index == place.index and not one.gone:
            one.gone = True
            state.gone += 1


def doubt(state: PolygonState, from_block: int) -> None:
    """Blocks from here on were replaced: what stood there has to be seen again."""
    for ones in state.known.values():
        for one in ones:
            if one.block >= from_block and not one.gone:
                one.gone = True
                state.gone += 1


def settle(reading: Reading) -> None:
    """Let go what is confirmed, and say what has not come again."""
    state = reading.state
    if state.held:
        _release(reading)
    if state.gone:
        _withdraw(reading)


def _release(reading: Reading) -> None:
    state = reading.state
    last = state.head - reading.plan.confirmations
    ready = [
        one
        for ones in state.known.values()
        for one in ones
        if one.held is not None and one.block <= last and not one.gone
    ]
    for one in sorted(ready, key=lambda one: (one.block, one.index)):
        trade = one.held
        assert trade is not None
        one.held = None
        ts = state.time_ns(one.block, reading.ts_recv)
        reading.events.append(
            Trade(
                trade.instrument,
                ts,
                reading.ts_recv,
                trade.price,
                trade.size,
                trade.aggressor,
                f"{trade.trade_id.partition(':')[0]}:{one.index}",
                one.index,
                backfilled=trade.backfilled or reading.ts_recv - ts > LATE_NS,
                taker=trade.taker,
                maker=trade.maker,
            )
        )
    state.held -= len(ready)


def _withdraw(reading: Reading) -> None:
    """Where blocks were read again, and some more, what is gone is gone for good."""
    state = reading.state
    counts: dict[int, int] = {}
    for key, ones in list(state.known.items()):
        over = [one for one in ones if one.gone and one.block + RETURN < state.next]
        if not over:
            continue
        for one in over:
            ones.remove(one)
            state.gone -= 1
            if one.held is None:
                counts[one.at] = counts.get(one.at, 0) + 1
            else:
                state.held -= 1
        if not ones:
            del state.known[key]
    for at, count in sorted(counts.items()):
        reading.say(
            "withdrawn",
            f"{count} trades that were told are not in the chain any more",
            instrument=state.instruments[at],
            channel="logs",
            value=float(count),
        )
