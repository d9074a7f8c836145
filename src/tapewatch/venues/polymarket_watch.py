"""Deadlines of Polymarket's sockets and HTTP services: what should have come by now, what to do.

A socket that answers pings may have stopped to bring data, for all of its tokens or for some. That
a market is quiet proves nothing, so silence leads to no action by itself: REST is asked for all
books regularly, and what it has and the socket has not is the proof (`polymarket_rest`). Then the
token, or the whole socket, is mute; REST brings the price until it speaks again.

Of data that are not current the gate must know; that is said of markets one by one, or once of the
whole source when it holds for all of them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Annotated, Final

from msgspec import Meta, Struct

from tapewatch.model.events import Ask, Event, StatusKind
from tapewatch.model.inputs import STOPPED, Link
from tapewatch.model.time import NS_PER_S
from tapewatch.venues import polymarket_levels as levels
from tapewatch.venues import polymarket_trades as rows
from tapewatch.venues.polymarket_books import SCALE
from tapewatch.venues.polymarket_news import introduce
from tapewatch.venues.polymarket_rest import WAIT_NS
from tapewatch.venues.polymarket_state import (
    SOCKET_MARKETS,
    Bet,
    PolymarketState,
    Reading,
    SocketState,
    Token,
    Told,
    status,
    stream_of,
)
from tapewatch.venues.polymarket_trades import Desk

ASKS_PER_TIMER: Final = 5
HASHES_PER_TIMER: Final = 100  # 15 us each
MIRROR_NS: Final = 2 * NS_PER_S  # one outcome's change may come before the other's
PATIENCE_NS: Final = 60 * NS_PER_S  # between requests for the same thing
PATIENCE_MAX_NS: Final = 600 * NS_PER_S
RESUBSCRIBES: Final = 2  # afterwards a socket without data is dropped
SUBSET: Final = 0.25  # of the tokens that are frozen: then it is the socket
LATE_POLLS: Final = 2.5  # intervals after which a polled book is old
SERVICES: Final = frozenset({"clob", "data", "gamma"})
_RESTART: Final = re.compile(r"\b(425|503)\b", re.ASCII)  # the matching engine is away

Positive = Annotated[float, Meta(gt=0.0, le=31_536_000.0)]


class Deadlines(Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds. `silence_s`: no byte from a socket, not even PONG; `ping_s`: how often it is asked
    for one; `first_data_s`: no data after subscribing; `mute_s`: a socket without data for so long
    is mute as a whole when one of its tokens is; `stale_s`: a market without a current book."""

    silence_s: Positive = 20.0
    ping_s: Annotated[float, Meta(ge=1.0, le=31_536_000.0)] = 10.0
    first_data_s: Positive = 10.0
    mute_s: Positive = 15.0
    stale_s: Positive = 15.0


class Plan(Struct, frozen=True):
    """What matters of the configuration. `polled`: REST brings the prices, every `poll_s`; else
    sockets do. `books` asks for `Book` events. `desk`: how trades are asked for, if they are."""

    deadlines: Deadlines
    polled: bool
    poll_s: float
    books: bool
    desk: Desk | None = None


def on_link(plan: Plan, state: PolymarketState, link: Link) -> list[Event]:
    """A socket or a service came up or went down."""
    now, stream = link.ts_recv, link.stream
    events = introduce(state, now)
    if stream.startswith("ws"):
        if bets_of(state, stream):
            _on_socket(state, link)
    elif link.state == "up":
        state.down.pop(stream, None)
    elif stream in SERVICES:
        state.down[stream] = link.reason or "no answer"
    if stream == "clob":
        events += _exchange(state, link)
    if link.reason != STOPPED:  # our own end is nobody's fault
        events += _incomplete(plan, state, now)
    return events


def _on_socket(state: PolymarketState, link: Link) -> None:
    """All books of a socket begin anew, and so does the patience with it."""
    socket = state.sockets.setdefault(link.stream, SocketState())
    socket.up, socket.since_ns = link.state == "up", link.ts_recv
    for token in tokens_of(state, link.stream):
        token.void(link.ts_recv)
        token.asks = token.failures = 0
        token.checked, token.wrong = True, False
    if state.recipe == levels.NONE:
        state.recipe, state.unmatched = levels.UNKNOWN, 0


def _exchange(state: PolymarketState, link: Link) -> Iterator[Event]:
    """The exchange restarts once a week, and says so to everybody who asks."""
    why = link.reason if link.state == "down" and _RESTART.search(link.reason) else ""
    if bool(why) != bool(state.halted):
        kind: StatusKind = "halted" if why else "online"
        yield status(kind, link.ts_recv, "", why or "the exchange answers")
    state.halted = why


def streams_of(state: PolymarketState) -> tuple[str, ...]:
    """Sockets that the markets need."""
    return tuple(f"ws:{at}" for at in range(-(-len(state.bets) // SOCKET_MARKETS)))


def bets_of(state: PolymarketState, stream: str) -> list[Bet]:
    """Markets of a socket."""
    number = stream.removeprefix("ws:")
    if not (number.isascii() and number.isdecimal() and len(number) < 6):
        return []
    at = int(number) * SOCKET_MARKETS
    return state.bets[at : at + SOCKET_MARKETS]


def tokens_of(state: PolymarketState, stream: str) -> list[Token]:
    """Tokens of a socket."""
    bets = bets_of(state, stream)
    return state.tokens[2 * bets[0].at : 2 * bets[-1].at + 2] if bets else []


def needy(state: PolymarketState) -> list[Token]:
    """Tokens (YES) whose price must come from REST, as no socket brings it."""
    found = []
    for bet in state.bets:
        token = state.tokens[2 * bet.at]
        if bet.halt:
            continue
        socket = state.sockets.get(stream_of(bet))
        if token.frozen or token.asks or (socket is not None and not socket.up):
            found.append(token)
    return found


def on_timer(plan: Plan, state: PolymarketState, now: int) -> list[Event]:
    """Deadlines that passed."""
    state.started_ns = state.started_ns or now
    reading = Reading(state, now, plan.books, introduce(state, now))
    if plan.polled:
        reading.events += _incomplete(plan, state, now)  # the Data API may stop without a word
    else:
        _check_books(reading)
        for stream, socket in state.sockets.items():
            if socket.up:
                _check_socket(plan.deadlines, reading, stream, socket)
    reading.events += _stale(plan, state, now)
    return reading.events


def _check_books(reading: Reading) -> None:
    """What a moment's difference does not explain any more."""
    state, now = reading.state, reading.ts_recv
    for bet in state.bets:
        if bet.apart_ns and not bet.apart_said and now - bet.apart_ns > MIRROR_NS:
            yes, no = state.tokens[2 * bet.at : 2 * bet.at + 2]
            if yes.valid and no.valid and not (yes.frozen or no.frozen):
                bet.apart_said = True
                reading.say("mirror", bet.instrument, _apart(yes, no), channel="book")
    for token in state.tokens:
        if token.apart_ns and now - token.apart_ns > levels.APART_NS:
            levels.fail(reading, token, "its best prices are not those that the venue names")
    places = tuple(islice(state.changed, HASHES_PER_TIMER))
    for place in places:
        del state.changed[place]
    levels.check_hashes(reading, [state.tokens[place] for place in places])


def _apart(yes: Token, no: Token) -> str:
    parts = [[f"{price / SCALE:g}" for price in token.book.best()] for token in (yes, no)]
    return f"{'/'.join(parts[0])} against {'/'.join(parts[1])} of the other outcome"


def _check_socket(deadlines: Deadlines, reading: Reading, stream: str, socket: SocketState) -> None:
    """Does it bring anything, and all that it should?"""
    now = reading.ts_recv
    if socket.heard_ns < socket.since_ns:
        wait_ns = int(deadlines.first_data_s * NS_PER_S) << min(socket.asks, 6)
        if now - max(socket.since_ns, socket.asked_ns) > min(wait_ns, PATIENCE_MAX_NS):
            ask: Ask = "resubscribe" if socket.asks < RESUBSCRIBES else "reconnect"
            socket.asks, socket.asked_ns = socket.asks + 1, now
            detail = f"{stream}: nothing since it was asked for, attempt {socket.asks}"
            reading.say("no_data", "", detail, channel="book", ask=ask, stream=stream)
        return
    socket.asks = 0
    tokens = [
        token for token in tokens_of(reading.state, stream) if not reading.state.bet(token).halt
    ]
    still = _frozen(deadlines, reading, tokens, stream)
    live = len(tokens)
    if not still:
        return
    silent = now - socket.heard_ns > deadlines.mute_s * NS_PER_S
    if silent or len(still) > max(ASKS_PER_TIMER, SUBSET * live):
        _mute(reading, stream, socket, len(still), live)
        return
    for token in still[:ASKS_PER_TIMER]:
        if now - token.asked_ns > PATIENCE_NS:
            token.asked_ns = now
            detail = "REST has a younger book than the socket brought"
            about = token.instrument
            reading.say("mute", about, detail, channel="book", ask="resubscribe", stream=stream)


def _frozen(
    deadlines: Deadlines, reading: Reading, tokens: Iterable[Token], stream: str
) -> list[Token]:
    """Tokens of which REST has had younger books for too long; others may lack one altogether."""
    now, left = reading.ts_recv, ASKS_PER_TIMER
    frozen: list[Token] = []
    for token in tokens:
        if token.suspect_ns and not token.frozen and now - token.suspect_at > WAIT_NS:
            token.frozen, token.asked_ns = True, 0
        if token.frozen:
            frozen.append(token)
        elif not token.valid and left:
            left -= _missed(deadlines, reading, token, stream)
    return frozen


def _mute(reading: Reading, stream: str, socket: SocketState, frozen: int, live: int) -> None:
    """The socket as a whole does not bring what REST has; the wait for another try doubles."""
    now = reading.ts_recv
    if now - socket.mute_ns > 2 * PATIENCE_MAX_NS:
        socket.mutes = 0
    wait_ns = min(PATIENCE_NS << min(socket.mutes, 6), PATIENCE_MAX_NS) if socket.mutes else 0
    if now - socket.mute_ns <= wait_ns:
        return
    socket.mutes, socket.mute_ns = socket.mutes + 1, now
    detail = f"{stream} answers, but REST has younger books of {frozen} of {live} tokens"
    reading.say(
        "mute", "", detail, channel="book", ask="reconnect", stream=stream, value=float(frozen)
    )


def _missed(deadlines: Deadlines, reading: Reading, token: Token, stream: str) -> bool:
    """A token without a book: REST is asked soon, the socket again later. Whether anything was."""
    waited = reading.ts_recv - token.asked_ns
    if token.asks == 0 and waited > WAIT_NS:
        token.asks = 1
        detail = f"no book yet; {token.dropped} changes were dropped"
        reading.say("no_data", token.instrument, detail, channel="book", ask="probe")
        return True
    patience = deadlines.first_data_s * NS_PER_S if token.asks == 1 else PATIENCE_NS
    if waited > patience:
        token.asks, token.asked_ns = token.asks + 1, reading.ts_recv
        detail = f"no book, attempt {token.asks}"
        about = token.instrument
        reading.say("no_data", about, detail, channel="book", ask="resubscribe", stream=stream)
        return True
    return False


def _stale(plan: Plan, state: PolymarketState, now: int) -> Iterator[Event]:
    """Markets without a current book."""
    live = [bet for bet in state.bets if not bet.halt]
    down = state.down.get("clob", "") if plan.polled else ""
    old = _unpolled(plan, state, now, live) if plan.polled else _unbooked(plan, state, now, live)
    whole = ""
    if len(old) == len(live) > 0 and (len(live) > 1 or down or state.stale.whole):
        whole = down or next(iter(old.values()))
    # When the last of them was current: nobody could have been warned since.
    since_ns = max((bet.booked_ns for bet in live if bet.instrument in old), default=0)
    return tell(state.stale, old, whole, ("stale", "current"), now, since_ns)


def _unpolled(plan: Plan, state: PolymarketState, now: int, live: Iterable[Bet]) -> dict[str, str]:
    """Why polled markets have no current book. While REST fails, that is so as soon as a poll has
    brought none; one of many requests may fail."""
    down = state.down.get("clob", "")
    limit_ns = int((1.0 if down else LATE_POLLS) * plan.poll_s * NS_PER_S)
    old: dict[str, str] = {}
    for bet in live:
        since_ns = bet.booked_ns or (0 if down else state.started_ns)
        if now - since_ns > limit_ns:
            old[bet.instrument] = down or "REST has no current book"
    return old


def _unbooked(plan: Plan, state: PolymarketState, now: int, live: Iterable[Bet]) -> dict[str, str]:
    """Why markets of sockets have no current book."""
    limit_ns = int(plan.deadlines.stale_s * NS_PER_S)
    old: dict[str, str] = {}
    for bet in live:
        token, socket = state.tokens[2 * bet.at], state.sockets.get(stream_of(bet))
        if socket is None or (socket.up and token.valid and not token.frozen):
            continue
        since_ns = max(bet.booked_ns, socket.since_ns, token.voided_ns, token.suspect_at)
        if now - since_ns > limit_ns:
            why = "the socket brings no book" if socket.up else "there is no connection"
            old[bet.instrument] = f"{why}, and REST brings none either"
    return old


def _incomplete(plan: Plan, state: PolymarketState, now: int) -> Iterator[Event]:
    """Markets of which trades may be missing, since they would have come over what is down."""
    deaf: dict[str, str] = {}
    whole, since_ns = "", now
    if plan.polled:
        whole = state.down.get("data", "")
        since_ns = state.answered_ns or now
        if plan.desk is not None:
            deaf |= rows.frozen(plan.desk, state)
    else:
        for stream, socket in state.sockets.items():
            if not socket.up:
                bets = bets_of(state, stream)
                deaf |= {bet.instrument: "its socket is down" for bet in bets}
                since_ns = min(since_ns, socket.heard_ns or now)
        if len(deaf) == len(state.bets) > 1:
            whole = "no socket is up"
    return tell(state.incomplete, deaf, whole, ("incomplete", "complete"), now, since_ns)


def tell(
    told: Told,
    wanted: Mapping[str, str],
    whole: str,
    kinds: tuple[StatusKind, StatusKind],
    now: int,
    since_ns: int = 0,
) -> Iterator[Event]:
    """Say what is bad, or good again: `wanted` by instrument, or, if `whole` says why, of the
    source. While that holds nothing is said of single markets."""
    bad, good = kinds
    if whole and not told.whole:
        yield status(bad, now, "", whole, since_ns=since_ns)
    elif told.whole and not whole:
        yield status(good, now, "")
    told.whole = whole
    for instrument in [one for one in told.each if one not in wanted and not whole]:
        del told.each[instrument]
        yield status(good, now, instrument)
    if not whole:
        for instrument, why in wanted.items():
            if instrument not in told.each:
                told.each[instrument] = why
                yield status(bad, now, instrument, why, since_ns=since_ns)
