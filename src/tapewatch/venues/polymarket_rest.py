"""Order books over HTTP: the price where nothing else brings one, else a check on the socket.

A book that REST has and the socket has not brought is a suspicion first, since the two ways differ
in length. The venue's REST has two known vices: a book of 0.01 and 0.99 in a market that is full of
orders (a ghost), and books from a cache.
"""

from typing import Final

import msgspec
from msgspec import Struct

from tapewatch.model.time import NS_PER_S
from tapewatch.venues import polymarket_levels as levels
from tapewatch.venues.base import Fetch
from tapewatch.venues.polymarket_books import SCALE, units
from tapewatch.venues.polymarket_state import Bet, Reading, Token, stream_of
from tapewatch.venues.polymarket_wire import Message, load, messages, time_ns

BOOKS: Final = "/books"
MIDPOINT: Final = "/midpoint"
WAIT_NS: Final = 3 * NS_PER_S  # what the socket may take longer than REST, and a book after asking
GHOST: Final = SCALE // 10  # so far from the prices known before
GHOST_BID: Final = SCALE // 100  # the ghost's prices
GHOST_ASK: Final = SCALE - SCALE // 100
CACHED_NS: Final = 60 * NS_PER_S  # a trade so much younger than the book should show in it


class _Asked(Struct, frozen=True):
    token_id: str


def fetch_books(clob_url: str, assets: list[str], label: str) -> Fetch:
    """The request for the books of some tokens; `label` tells requests apart on the tape."""
    body = msgspec.json.encode([_Asked(asset) for asset in assets])
    return Fetch(clob_url + BOOKS, f"rest:{BOOKS}?{label}", "clob", body)


def fetch_midpoint(clob_url: str, asset: str) -> Fetch:
    """The request for the mid price of one token."""
    query = f"{MIDPOINT}?token_id={asset}"
    return Fetch(clob_url + query, f"rest:{query}", "clob")


def decode_books(reading: Reading, data: bytes, *, polled: bool) -> None:
    """Books of some tokens, in any order; `polled`: there is no socket. Raises `DecodeError`."""
    for message in messages(data):
        if isinstance(message, str):
            reading.say("invalid", "", message, channel="rest")
            continue
        token = reading.state.token(message.asset_id)
        if token is None:
            reading.say("unknown", "", f"book of {message.asset_id[:40]}", channel="rest")
            continue
        bet = reading.state.bet(token)
        if message.market.lower() != bet.market.condition:
            detail = f"book of market {message.market[:40]}, which this token is not of"
            reading.say("invalid", token.instrument, detail, channel="rest")
        elif message.bids is None or message.asks is None:
            reading.say("invalid", token.instrument, "a book without a side", channel="rest")
        elif polled:
            _polled(reading, bet, token, message)
        else:
            _probed(reading, bet, token, message)


def _polled(reading: Reading, bet: Bet, token: Token, message: Message) -> None:
    """There is no other source: the book is what REST says, unless that is old or a ghost."""
    ts_ns = time_ns(message.timestamp)
    same = token.valid and ts_ns == token.ts_ns and (message.hash or "") == token.hash
    if token.valid and (ts_ns < token.ts_ns or (same and bet.traded_ns > ts_ns + CACHED_NS)):
        return  # from a cache: no evidence of anything
    if not _ghost(reading, bet, message):
        _install(reading, bet, token, message, ts_ns)


def _install(reading: Reading, bet: Bet, token: Token, message: Message, ts_ns: int) -> None:
    """The book that REST has. One that has not changed is of now."""
    new = not token.fresh and ts_ns > token.ts_ns
    if levels.replace(reading, token, message, ts_ns, ts_ns if new else reading.ts_recv):
        bet.booked_ns = reading.ts_recv


def _ghost(reading: Reading, bet: Bet, message: Message) -> bool:
    """No orders worth the name, where there were some a moment ago, and the mid price has not been
    heard to say the same."""
    best = _best(message)
    if best[0] > GHOST_BID or 0 < best[1] < GHOST_ASK:
        bet.ghost = bet.ghost_real = False
        return False
    bid, _, ask, _ = bet.shown
    moved = max(round(bid * SCALE) - best[0], (best[1] or SCALE) - round(ask * SCALE))
    if bet.ghost_real or not (bid > 0.0 and ask > 0.0) or moved <= GHOST:
        return False
    if not bet.ghost:
        bet.ghost = True
        detail = "its REST book is empty but for 0.01 and 0.99"
        reading.say("ghost", bet.instrument, detail, channel="midpoint", ask="probe")
    return True


def _best(message: Message) -> tuple[int, int]:
    """Best prices of a book that is not taken over."""
    bids, asks = message.bids or (), message.asks or ()
    return (
        max([units(level.price) for level in bids], default=0),
        min([units(level.price) for level in asks], default=0),
    )


def decode_midpoint(reading: Reading, asset: str, data: bytes) -> None:
    """The mid price of one token, which tells a ghost from an empty book. Raises `DecodeError`."""
    token = reading.state.token(asset)
    answer = load(data)
    text = answer.get("mid") if isinstance(answer, dict) else None
    mid = units(text) if isinstance(text, str | int | float) else -1
    if token is None or mid < 0:
        reading.say("invalid", "", f"mid price of {asset[:40]}", channel="rest")
        return
    bet = reading.state.bet(token)
    if bet.ghost:
        bet.ghost = False  # to be said again if the next book is one
        bet.ghost_real = abs(mid - SCALE // 2) <= GHOST


def _probed(reading: Reading, bet: Bet, token: Token, message: Message) -> None:
    """Compare with what the socket brought. The book is taken over only where the socket has none,
    or is known not to bring any."""
    state, now = reading.state, reading.ts_recv
    ts_ns = time_ns(message.timestamp)
    levels.hear_facts(reading, token, message)
    socket = state.sockets.get(stream_of(bet))
    live = socket is not None and socket.up
    if not token.valid:
        if ts_ns >= token.dropped_ns and (not live or now - token.asked_ns >= WAIT_NS):
            _install(reading, bet, token, message, ts_ns)
        return
    if not live or token.frozen:
        if ts_ns >= token.ts_ns:
            _install(reading, bet, token, message, ts_ns)
        return
    hashed = token.hash and message.hash
    if token.hash == message.hash if hashed else token.book.best() == _best(message):
        bet.booked_ns = now
        token.suspect_ns = 0
    elif (token.no or not _ghost(reading, bet, message)) and (
        ts_ns > token.ts_ns and not token.suspect_ns
    ):
        token.suspect_ns, token.suspect_at = ts_ns, now
