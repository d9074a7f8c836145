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
from tapewatch.venues.polymarket_books import SCALE, TokenBook, units
from tapewatch.venues.polymarket_state import Bet, Reading, Token, stream_of
from tapewatch.venues.polymarket_wire import Level, Message, load, messages, time_ns

BOOKS: Final = "/books"
MIDPOINT: Final = "/midpoint"
WAIT_NS: Final = 3 * NS_PER_S  # what the socket may take longer than REST, and a book after asking
GHOST: Final = SCALE // 10  # so far from the prices known before
GHOST_BID: Final = SCALE // 100  # the ghost's prices
GHOST_ASK: Final = SCALE - SCALE // 100
GHOST_MID: Final = SCALE // 200  # the mid price of nobody's orders is a half, give or take so much
ASK_NS: Final = 60 * NS_PER_S  # until a ghost that stays is told, and the mid asked for, again
CACHED_NS: Final = 60 * NS_PER_S  # a trade so much younger than the book should show in it


class _Asked(Struct, frozen=True):
    token_id: str


class _Book(Struct, frozen=True, gc=False):
    """A book whose levels are not looked at yet."""

    market: str
    asset_id: str
    timestamp: str
    bids: msgspec.Raw
    asks: msgspec.Raw
    hash: str = ""
    min_order_size: str | None = None
    tick_size: str | None = None
    neg_risk: bool | None = None
    last_trade_price: str | None = None


_decode = msgspec.json.Decoder(list[_Book]).decode
_decode_levels = msgspec.json.Decoder(list[Level]).decode


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
    try:
        rows = _decode(data)
    except (ValueError, RecursionError):
        for message in messages(data):
            if isinstance(message, str):
                reading.say("invalid", "", message, channel="rest")
            else:
                _decode_book(reading, message, polled=polled)
        return
    for row in rows:
        token = reading.state.token(row.asset_id)
        if token is not None and _is_same(reading, token, row):
            _unchanged(reading, token, polled=polled)
            continue
        try:
            message = _message(row)
        except msgspec.ValidationError as error:
            reading.say("invalid", "", str(error), channel="rest")
        else:
            _decode_book(reading, message, polled=polled)


def _is_same(reading: Reading, token: Token, row: _Book) -> bool:
    """Whether it is the book that is known, by its hash and time."""
    same = token.valid and row.hash != "" and row.hash == token.hash
    return same and row.timestamp == token.hash_ts and reading.state.is_of(token, row.market)


def _message(row: _Book) -> Message:
    """With its levels decoded, too."""
    return Message(
        market=row.market,
        asset_id=row.asset_id,
        timestamp=row.timestamp,
        hash=row.hash,
        bids=_decode_levels(row.bids),
        asks=_decode_levels(row.asks),
        min_order_size=row.min_order_size,
        tick_size=row.tick_size,
        neg_risk=row.neg_risk,
        last_trade_price=row.last_trade_price,
    )


def _decode_book(reading: Reading, message: Message, *, polled: bool) -> None:
    token = reading.state.token(message.asset_id)
    if token is None:
        reading.say("unknown", "", f"book of {message.asset_id[:40]}", channel="rest")
    elif not reading.state.is_of(token, message.market):
        detail = f"book of market {message.market[:40]}, which this token is not of"
        reading.say("invalid", token.instrument, detail, channel="rest")
    else:
        book = levels.load(reading, token, message, texts=not polled)
        if book is not None:
            read = _polled if polled else _probed
            read(reading, token, book, message)


def _unchanged(reading: Reading, token: Token, *, polled: bool) -> None:
    """The book that is known; nearly all are, of most markets. It is of now, unless it comes from a
    cache: a trade should have changed it."""
    bet, now = reading.state.bet(token), reading.ts_recv
    if polled and bet.traded_ns > token.ts_ns + CACHED_NS:
        return
    bet.booked_ns = now
    token.suspect_ns = 0
    if polled:
        levels.settle(reading, token, now)


def _polled(reading: Reading, token: Token, book: TokenBook, message: Message) -> None:
    """There is no other source: the book is what REST says, unless that is old or a ghost."""
    ts_ns, bet = time_ns(message.timestamp), reading.state.bet(token)
    if token.valid and ts_ns < token.ts_ns:
        return  # from a cache: no evidence of anything
    if not _ghost(reading, bet, book.best()):
        _install(reading, token, book, message, ts_ns)


def _install(reading: Reading, token: Token, book: TokenBook, message: Message, ts_ns: int) -> None:
    """The book that REST has. One that has not changed is of now."""
    new = not token.fresh and ts_ns > token.ts_ns
    times = ts_ns, ts_ns if new else reading.ts_recv
    levels.replace(reading, token, book, message, times)
    reading.state.bet(token).booked_ns = reading.ts_recv


def _ghost(reading: Reading, bet: Bet, best: tuple[int, int]) -> bool:
    """No orders worth the name, where there were some a moment ago, and the mid price has not been
    heard to say the same."""
    if best[0] > GHOST_BID or 0 < best[1] < GHOST_ASK:
        bet.ghost_ns, bet.ghost_real = 0, False
        return False
    bid, _, ask, _ = bet.shown
    moved = max(round(bid * SCALE) - best[0], (best[1] or SCALE) - round(ask * SCALE))
    if bet.ghost_real or not (bid > 0.0 and ask > 0.0) or moved <= GHOST:
        return False
    if not bet.ghost_ns or reading.ts_recv - bet.ghost_ns > ASK_NS:
        bet.ghost_ns = reading.ts_recv
        detail = "its REST book is empty but for 0.01 and 0.99"
        reading.say("ghost", bet.instrument, detail, channel="midpoint", ask="probe")
    return True


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
    if bet.ghost_ns:
        bet.ghost_real = abs(mid - SCALE // 2) <= GHOST_MID


def _probed(reading: Reading, token: Token, book: TokenBook, message: Message) -> None:
    """Compare with what the socket brought. The book is taken over only where the socket has none,
    or is known not to bring any."""
    state, now = reading.state, reading.ts_recv
    bet, ts_ns = state.bet(token), time_ns(message.timestamp)
    levels.hear_facts(reading, token, message)
    socket = state.sockets.get(stream_of(bet))
    live = socket is not None and socket.up
    if not token.valid:
        if ts_ns >= token.dropped_ns and (not live or now - token.asked_ns >= WAIT_NS):
            _install(reading, token, book, message, ts_ns)
        return
    if not live or token.frozen:
        if ts_ns >= token.ts_ns:
            _install(reading, token, book, message, ts_ns)
        return
    hashed = token.hash and message.hash
    if token.hash == message.hash if hashed else token.book.best() == book.best():
        bet.booked_ns = now
        token.suspect_ns = 0
    elif (token.no or not _ghost(reading, bet, book.best())) and (
        ts_ns > token.ts_ns and not token.suspect_ns
    ):
        token.suspect_ns, token.suspect_at = ts_ns, now
