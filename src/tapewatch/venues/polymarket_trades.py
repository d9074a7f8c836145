"""Which rows of Polymarket's Data API are trades that nobody has told of yet.

Theory of operation. Every few seconds the newest page is read, then older ones until a page reaches
back beyond what is known: a sweep. Only its end gives trades, oldest first. Rows have no id, and
many trades of one transaction are equal in all they say, so a row is known by its content and by
how often that occurs in the whole sweep. Pages by offset are asked for with an overlap, since new
trades push older ones on; where they do not fit together, or come again, or there are too many,
trades may be missing, and that is said.

Where a socket brings the trades, rows are a check on it and say which account it was: shares that
the socket has told of are not counted again, by transaction and token, because it is free to tell
one order in several parts. A row is looked at only when the socket has had `HOLD_NS` to tell of it.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct

from tapewatch.model.events import Trade
from tapewatch.model.instrument import Side
from tapewatch.model.limits import TRADE_ID_RING
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.base import Fetch, Poll
from tapewatch.venues.polymarket_books import SCALE
from tapewatch.venues.polymarket_data import (
    FULL,
    OVERLAP,
    PATHS,
    V1,
    Answer,
    Generation,
    Row,
    Sweep,
    ask_trades,
    read_trades,
)
from tapewatch.venues.polymarket_state import Bet, PolymarketState, Reading

__all__ = ["PATHS", "V1", "Desk", "frozen", "hear", "polls"]

PAGES: Final = 6  # v1 answers with errors beyond an offset of 3,000; it is the bound for both
V1_BATCH: Final = 20  # markets of one v1 request: an address of 1.4 kB
HOLD_NS: Final = 60 * NS_PER_S  # a socket may be late, and so may settlement
LATE_NS: Final = 3600 * NS_PER_S  # settlement has been late by half an hour
_SAME: Final = 1e-6  # of a size, in shares: the rounding of its six digits
_MORE_S: Final = 1.0  # between pages of a sweep


class Desk(Struct, frozen=True):
    """What matters of the configuration. `streamed`: a socket brings trades as well; `every_s`: how
    often the newest page is asked for; `per_s`: requests a second at most."""

    data_url: str
    generation: Generation
    streamed: bool
    every_s: float
    per_s: float


def polls(desk: Desk, state: PolymarketState) -> tuple[Poll, ...]:
    """The newest page of all batches, and the next page of sweeps under way. With many markets the
    interval is what the budget allows."""
    newest = _newest(desk, tuple(bet.market.condition for bet in state.bets))
    every_s = max(desk.every_s, len(newest) / desk.per_s)
    more = _more(desk, state)
    found = (Poll("trades", every_s, newest),) if newest else ()
    return (*found, Poll("trades_more", _MORE_S, more)) if more else found


@lru_cache(maxsize=2)  # asked for several times a second, and the same until there is a new market
def _newest(desk: Desk, conditions: tuple[str, ...]) -> tuple[Fetch, ...]:
    size = _size(desk)
    return tuple(
        ask_trades(desk.data_url, desk.generation, conditions[at : at + size], number)
        for number, at in enumerate(range(0, len(conditions), size))
    )


def hear(desk: Desk, reading: Reading, query: str, data: bytes) -> None:
    """Take in one page; `query` is that of its stream. Raises `DecodeError`."""
    state = reading.state
    answer = read_trades(data)
    state.answered_ns = reading.ts_recv
    number, page = _label(query)
    bets = _bets(desk, state, number)
    if not bets:
        reading.say("unknown", "", f"trades of batch {number}", channel="data")
        return
    for problem in answer.problems:
        reading.say("invalid", "", problem, channel="data")
    sweep = state.sweeps.setdefault(str(number), Sweep())
    rows = _ours(reading, bets, answer)
    if page == 0:
        if sweep.page:  # the sweep before has not come to an end
            _finish(desk, reading, sweep, bets, missing=True)
        sweep.rows, fits = rows, True
    elif page == sweep.page:
        fits = _append(sweep, rows, by_offset=desk.generation == "v1")
    else:
        return  # of a sweep that is over
    _advance(desk, reading, sweep, bets, answer, fits=fits, page=page)


def _advance(
    desk: Desk, reading: Reading, sweep: Sweep, bets: Sequence[Bet], answer: Answer, *,
    fits: bool, page: int,
) -> None:  # fmt: skip
    """Another page, or the end of the sweep."""
    last = not answer.cursor if desk.generation == "v2" else answer.given < FULL
    first = not sweep.began
    # The margin is for rows that were settled later than younger ones.
    reached = bool(sweep.rows) and sweep.rows[-1].ts_ns < sweep.newest_ns - HOLD_NS
    if fits and not (last or first or reached) and page + 1 < PAGES:
        sweep.page, sweep.cursor = page + 1, answer.cursor
        return
    missing = not (fits and (last or first or reached))
    _finish(desk, reading, sweep, bets, missing=missing)


def _finish(
    desk: Desk, reading: Reading, sweep: Sweep, bets: Sequence[Bet], *, missing: bool
) -> None:
    """The trades of a sweep, and what is to be said of it."""
    if missing:
        since_ns = sweep.newest_ns
        why = "the venue gives fewer trades than there were"
        for bet in bets:
            reading.say("incomplete", bet.instrument, why, channel="data", since_ns=since_ns)
    _emit(desk, reading, sweep, bets)
    if missing:
        for bet in bets:
            reading.say("complete", bet.instrument, channel="data")
    _is_frozen(reading, sweep, bets)
    sweep.rows, sweep.page, sweep.cursor, sweep.began = [], 0, "", True


def _emit(desk: Desk, reading: Reading, sweep: Sweep, bets: Sequence[Bet]) -> None:
    by_condition = {bet.market.condition: bet for bet in bets}
    told = {key: _told(bet) for key, bet in by_condition.items()} if desk.streamed else None
    until = reading.ts_recv - (HOLD_NS if desk.streamed else 0)
    since = sweep.newest_ns - LATE_NS
    times: dict[str, int] = {}
    for row in reversed(sweep.rows):
        if row.ts_ns < since or (desk.streamed and row.ts_ns > until):
            continue
        key = row.key()
        times[key] = nth = times.get(key, 0) + 1
        if nth <= sweep.known.get(key, 0):
            continue
        sweep.known[key] = nth
        sweep.newest_ns = max(sweep.newest_ns, row.ts_ns)
        bet = by_condition[row.condition]
        bet.traded_ns = max(bet.traded_ns, row.ts_ns)
        size = row.size if told is None else _untold(told[row.condition], bet, row)
        if size > 0.0:
            reading.events.append(_trade(reading, bet, row, size, nth))
    if not sweep.newest_ns and sweep.rows:
        sweep.newest_ns = sweep.rows[-1].ts_ns
    _forget(sweep)


def _forget(sweep: Sweep) -> None:
    """Rows that are too old to be looked at again, and those beyond the bound."""
    known, since_s = sweep.known, (sweep.newest_ns - LATE_NS) // NS_PER_S
    while known:
        key = next(iter(known))
        if len(known) <= TRADE_ID_RING and int(key.partition("/")[0]) >= since_s:
            return
        del known[key]


def _trade(reading: Reading, bet: Bet, row: Row, size: float, nth: int) -> Trade:
    """In terms of outcome 0. It is old news: the price is told by books."""
    no = row.asset == bet.market.no
    side: Side = "buy" if row.buys != no else "sell"
    return Trade(
        bet.instrument,
        row.ts_ns,
        reading.ts_recv,
        (SCALE - row.price if no else row.price) / SCALE,
        size,
        side,
        row.transaction,
        nth - 1,
        backfilled=True,
        taker=row.wallet,
    )


class _Told(Struct):
    """What the socket said of one market: `shares` that no row has claimed yet, by transaction and
    token. `since_ns`: what lies before it is forgotten; `nameless`: it gives no transactions."""

    shares: dict[tuple[str, bool], float]
    since_ns: int
    nameless: bool


def _told(bet: Bet) -> _Told:
    """From the keys of recent trades, which `polymarket_ws` writes."""
    told = _Told({}, 0, nameless=False)
    for at, (key, times) in enumerate(bet.seen.items()):
        transaction, ts_ns, no, _, _, size = key.rsplit("/", 5)
        if at == 0 and len(bet.seen) >= TRADE_ID_RING:
            told.since_ns = int(ts_ns)
        if not transaction:
            told.nameless = True
        name = (transaction.lower(), no == "1")
        told.shares[name] = told.shares.get(name, 0.0) + times * float(size)
    return told


def _untold(told: _Told, bet: Bet, row: Row) -> float:
    """How many shares of a row the socket has not told of."""
    if told.nameless or row.ts_ns < told.since_ns or not row.transaction:
        return 0.0  # nobody can say
    name = (row.transaction, row.asset == bet.market.no)
    claimed = min(row.size, told.shares.get(name, 0.0))
    if claimed:
        told.shares[name] -= claimed
    left = row.size - claimed
    return left if left > _SAME * max(1.0, row.size) else 0.0


def _ours(reading: Reading, bets: Sequence[Bet], answer: Answer) -> list[Row]:
    """The rows of the markets that were asked for. Others are counted: filters have been ignored
    before, and another market's trades are the worst kind of data."""
    tokens = {bet.market.condition: (bet.market.yes, bet.market.no) for bet in bets}
    rows = [row for row in answer.rows if row.asset in tokens.get(row.condition, ())]
    wrong = len(answer.rows) - len(rows)
    if wrong:
        about = bets[0].instrument if len(bets) == 1 else ""
        detail = f"{wrong} of {answer.given} trades are of markets that were not asked for"
        reading.say("invalid", about, detail, channel="data", value=float(wrong))
    return rows


def _append(sweep: Sweep, rows: list[Row], *, by_offset: bool) -> bool:
    """Put a page behind those before; False where it does not follow them, or is a repetition."""
    if not by_offset:
        repeated = bool(rows) and sweep.rows[-len(rows) :] == rows
        if not repeated:
            sweep.rows += rows
        return not repeated
    known = sweep.rows
    for begin in range(max(0, len(known) - OVERLAP), -1, -1):
        shared = known[begin : begin + len(rows)]
        if shared == rows[: len(shared)]:
            new = rows[len(shared) :]
            known += new
            return bool(new) or len(rows) < FULL  # else all of a full page is known
    return not rows


def _is_frozen(reading: Reading, sweep: Sweep, bets: Sequence[Bet]) -> None:
    """A service that was given up answers like one that has nothing to say: with the same old rows,
    or with none where there were some."""
    vanished = bool(sweep.known) and not sweep.rows
    traded_ns = max(bet.traded_ns for bet in bets)
    frozen = vanished or traded_ns - LATE_NS > sweep.newest_ns > 0
    if frozen and not sweep.frozen:
        about = bets[0].instrument if len(bets) == 1 else ""
        detail = "the Data API has no trades any more" if vanished else "its newest trade is old"
        reading.say("mute", about, detail, channel="data")
    sweep.frozen = [bet.instrument for bet in bets] if frozen else []


def frozen(desk: Desk, state: PolymarketState) -> Mapping[str, str]:
    """Instruments of which no trades come any more, and why: where no socket brings them either,
    volume cannot be judged."""
    why = "the Data API brings no trades any more"
    sweeps = () if desk.streamed else state.sweeps.values()
    return {instrument: why for sweep in sweeps for instrument in sweep.frozen}


def _more(desk: Desk, state: PolymarketState) -> tuple[Fetch, ...]:
    return tuple(
        ask_trades(
            desk.data_url,
            desk.generation,
            _conditions(desk, state, int(number)),
            int(number),
            page=sweep.page,
            offset=max(0, len(sweep.rows) - OVERLAP),
            cursor=sweep.cursor,
        )
        for number, sweep in state.sweeps.items()
        if sweep.page
    )


def _size(desk: Desk) -> int:
    return V1_BATCH if desk.generation == "v1" else 1


def _bets(desk: Desk, state: PolymarketState, number: int) -> Sequence[Bet]:
    size = _size(desk)
    return state.bets[number * size : (number + 1) * size]


def _conditions(desk: Desk, state: PolymarketState, number: int) -> list[str]:
    return [bet.market.condition for bet in _bets(desk, state, number)]


def _label(query: str) -> tuple[int, int]:
    """`batch=3&page=0` -> (3, 0); (-1, -1) for anything else."""
    numbers = [part.partition("=")[2] for part in query.split("&")]
    if len(numbers) != 2 or not all(one.isascii() and one.isdigit() for one in numbers):
        return -1, -1
    return int(numbers[0][:9]), int(numbers[1][:9])
