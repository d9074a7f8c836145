"""Messages of Polymarket's market channel: books, changes, trades, and news of markets."""

from typing import Final

from tapewatch.model.errors import DecodeError
from tapewatch.model.events import Trade
from tapewatch.model.instrument import Side
from tapewatch.model.limits import TRADE_ID_RING
from tapewatch.model.text import clean_bytes
from tapewatch.venues import polymarket_levels as levels
from tapewatch.venues import polymarket_news as news
from tapewatch.venues.polymarket_books import SCALE, SIZE_MAX, units
from tapewatch.venues.polymarket_state import Reading, SocketState, Token
from tapewatch.venues.polymarket_wire import NO_NEW_ASSETS, PONG, Change, Message, messages, time_ns

_SIDES: Final[dict[str, tuple[Side, Side]]] = {"BUY": ("buy", "sell"), "SELL": ("sell", "buy")}
_SHOWN: Final = 40  # characters of foreign words


def decode_ws(reading: Reading, stream: str, data: bytes) -> None:
    """Decode one frame of a socket. Raises `DecodeError`."""
    if data[:1] not in {b"{", b"["}:
        if data.strip() not in {PONG, NO_NEW_ASSETS}:
            raise DecodeError(f"a Polymarket frame is no JSON: {clean_bytes(data, _SHOWN)}")
        return  # alive, which says nothing about data
    socket = reading.state.sockets.get(stream)
    trades: dict[str, int] = {}
    for index, message in enumerate(messages(data)):
        if isinstance(message, str):
            reading.say("invalid", "", message)
        elif (message.event_type or message.kind()) == "price_change":
            _changes(reading, message, socket)
        else:
            _other(reading, message, socket, trades, index)


def _changes(reading: Reading, message: Message, socket: SocketState | None) -> None:
    """New sizes of levels, usually one of each outcome. All are applied before any book is shown:
    between two of them books are in a state that never was."""
    rows = message.price_changes
    if rows is None:
        rows = _old_rows(message)
    ts_ns = time_ns(message.timestamp)
    touched = _apply(reading, rows, ts_ns)
    if not touched:
        return
    state, ts_recv = reading.state, reading.ts_recv
    if socket is not None:
        socket.heard_ns = ts_recv
    for place, row in touched.items():
        token = state.tokens[place]
        token.book.cut()
        token.ts_ns = ts_ns or token.ts_ns
        if token.suspect_ns or token.frozen:
            _caught_up(token)
        if row.hash:
            token.hash, token.hash_ts = row.hash, str(message.timestamp)
            if token.verified:
                state.changed[place] = None
        levels.settle(reading, token, ts_ns or ts_recv)
        if row.best_bid is not None and row.best_ask is not None:
            levels.compare_top(reading, token, row.best_bid, row.best_ask)


def _apply(reading: Reading, rows: list[Change], ts_ns: int) -> dict[int, Change]:
    """The last change of each book that was changed, by place of its token."""
    state = reading.state
    touched: dict[int, Change] = {}
    for row in rows:
        place = state.places.get(row.asset_id)
        if place is None:
            reading.say("unknown", "", f"change of {row.asset_id[:_SHOWN]}", channel="book")
            continue
        token = state.tokens[place]
        if not token.valid:
            token.dropped += 1
            token.dropped_ns = max(token.dropped_ns, ts_ns)
        elif levels.change(reading, token, row):
            touched[place] = row
    return touched


def _old_rows(message: Message) -> list[Change]:
    """The two forms of before September 2025: a list without assets, and a single level."""
    rows = message.changes
    if rows is None:
        if message.price is None or message.size is None:
            return []
        rows = [Change(message.price, message.size, message.side or "")]
    for row in rows:
        row.asset_id, row.hash = message.asset_id, message.hash
    return rows


def _caught_up(token: Token) -> None:
    """The socket speaks of a token again."""
    if token.frozen or token.ts_ns >= token.suspect_ns:
        token.suspect_ns, token.frozen = 0, False


def _other(
    reading: Reading,
    message: Message,
    socket: SocketState | None,
    trades: dict[str, int],
    index: int,
) -> None:
    """All that is not a change of levels."""
    match message.kind():
        case "new_market":
            news.new_market(reading, message)
        case "market_resolved":
            news.resolved(reading, message)
        case kind:
            token = _token(reading, message, kind)
            if token is not None:
                if socket is not None:
                    socket.heard_ns = reading.ts_recv
                _of_token(reading, token, message, trades, index)


def _token(reading: Reading, message: Message, kind: str) -> Token | None:
    """Whom a message is about, if it is one of ours."""
    token = reading.state.token(message.asset_id)
    if token is None:
        about = f"{kind[:_SHOWN] or 'a message'} of {message.asset_id[:_SHOWN]}"
        reading.say("unknown", "", about)
        return None
    if not reading.state.is_of(token, message.market):
        detail = f"{kind} of market {message.market[:_SHOWN]}, which this token is not of"
        reading.say("invalid", token.instrument, detail)
        return None
    return token


def _of_token(
    reading: Reading, token: Token, message: Message, trades: dict[str, int], index: int
) -> None:
    match message.kind():
        case "book":
            _book(reading, token, message)
        case "last_trade_price":
            _trade(reading, token, message, trades, index)
        case "best_bid_ask":
            if token.valid and message.best_bid is not None and message.best_ask is not None:
                levels.compare_top(reading, token, message.best_bid, message.best_ask)
        case "tick_size_change":
            _tick_size(reading, token, message)
        case kind:
            reading.say("unknown", token.instrument, f"event_type {kind[:_SHOWN]}")


def _book(reading: Reading, token: Token, message: Message) -> None:
    """A complete book. The first on a connection is of now, however old its last change is."""
    book = levels.load(reading, token, message)
    if book is None:
        return
    ts_ns = time_ns(message.timestamp)
    ts_event = reading.ts_recv if token.fresh or not ts_ns else ts_ns
    levels.replace(reading, token, book, message, (ts_ns, ts_event))
    reading.state.bet(token).booked_ns = reading.ts_recv
    token.suspect_ns, token.frozen = 0, False


def _tick_size(reading: Reading, token: Token, message: Message) -> None:
    """Another step of prices: the venue sends another book, and until then there is none."""
    new, old = message.new_tick_size, message.old_tick_size
    if new is None or units(new) <= 0:
        reading.say("invalid", token.instrument, f"tick size {new}", channel="book")
        return
    bet = reading.state.bet(token)
    bet.tick = units(new)
    token.facts.tick_size = str(new)
    if old is None or units(old) != bet.tick:
        token.void(reading.ts_recv)


def _trade(
    reading: Reading, token: Token, message: Message, trades: dict[str, int], index: int
) -> None:
    """One match. Equal fills of one transaction are told apart by how often they are in a frame; a
    frame that comes twice brings nothing new."""
    price = units(message.price) if message.price is not None else -1
    try:
        size = float(message.size or 0.0)
    except ValueError:
        size = 0.0
    ts_event = time_ns(message.timestamp)
    if not (price > 0 and 0.0 < size < SIZE_MAX and ts_event):
        detail = f"trade: price {message.price}, size {message.size}, time {message.timestamp}"
        reading.say("invalid", token.instrument, detail, channel="trade")
        return
    token.facts.last = str(message.price)[:20]
    side = message.side or ""
    transaction = message.transaction_hash or ""
    key = f"{transaction[:80]}/{ts_event}/{int(token.no)}/{side[:4]}/{price}/{size!r}"
    trades[key] = nth = trades.get(key, 0) + 1
    bet = reading.state.bet(token)
    known = bet.seen.get(key, 0)
    if nth <= known:
        reading.say("duplicate", bet.instrument, transaction, channel="trade")
        return
    bet.seen[key] = nth
    if len(bet.seen) > TRADE_ID_RING:
        del bet.seen[next(iter(bet.seen))]
    bet.traded_ns = max(bet.traded_ns, ts_event)
    reading.events.append(
        Trade(
            bet.instrument,
            ts_event,
            reading.ts_recv,
            (SCALE - price if token.no else price) / SCALE,
            size,
            _SIDES[side][token.no] if side in _SIDES else "unknown",
            transaction if transaction.isalnum() and len(transaction) <= 80 else "",
            index,
        )
    )
