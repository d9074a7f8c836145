"""The life of one book: complete books, changes, what is shown of them, and what shows them wrong.

Three things tell of a lost change: the best prices that a change names, the hash, and the other
outcome's book, which must repeat this one. The first two lead to a fresh book, since nothing else
is between the venue and us; the hash only after it has been seen to fit. The third is told, and is
no reason to doubt a price.
"""

from collections.abc import Iterable
from typing import Final

from tapewatch.model.events import Book, Quote
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.polymarket_books import RECIPES, SCALE, TokenBook, units
from tapewatch.venues.polymarket_state import Bet, Reading, Token, stream_of
from tapewatch.venues.polymarket_wire import Change, Message

APART: Final = 3  # messages that may name another best price (protocols 2.4)
APART_NS: Final = NS_PER_S  # ... and for how long
FAILURES: Final = 3  # wrong books after which the venue is right in some way unknown to us
HEALTHY_NS: Final = 600 * NS_PER_S  # a book that was right for so long has no failures to its name
UNMATCHED: Final = 20  # complete books that fit no recipe, until the hash is given up
UNKNOWN: Final = -1  # recipe
NONE: Final = -2
MANY: Final = 3  # books that are wrong at once, and none right: the recipe is
DIGITS: Final = 40  # hexadecimal digits of a hash


def load(
    reading: Reading, token: Token, message: Message, *, texts: bool = True
) -> TokenBook | None:
    """The complete book of a message; None, and said, when it is none."""
    bids, asks = message.bids, message.asks
    if bids is None or asks is None:
        reading.say("invalid", token.instrument, "a book without a side", channel="book")
        return None
    book, wrong = TokenBook(), 0
    for ladder, side in ((book.bids, bids), (book.asks, asks)):
        prices, sizes = [level.price for level in side], [level.size for level in side]
        wrong += ladder.load(prices, sizes, texts=texts)
    book.cut()
    book.whole = book.whole and texts
    if wrong:
        reading.say("invalid", token.instrument, f"levels of a book: {wrong}", channel="book")
    return book


def replace(
    reading: Reading, token: Token, book: TokenBook, message: Message, times: tuple[int, int]
) -> None:
    """A complete book of the venue's time `times[0]`; its event is dated `times[1]`."""
    hear_facts(reading, token, message)
    token.book, token.valid, token.asks = book, True, 0
    token.ts_ns, token.dropped, token.dropped_ns = times[0], 0, 0
    token.apart = token.apart_ns = 0
    token.hash, token.hash_ts = message.hash or "", str(message.timestamp)
    _verify(reading, token)
    if token.wrong:
        token.wrong = False
        reading.say("resynced", token.instrument, channel="book")
    settle(reading, token, times[1])


def hear_facts(reading: Reading, token: Token, message: Message) -> None:
    """What else a complete book says. A tick is the market's."""
    facts, bet = token.facts, reading.state.bet(token)
    if message.min_order_size is not None:
        facts.min_order_size = str(message.min_order_size)[:20]
    if message.neg_risk is not None:
        facts.neg_risk = message.neg_risk
    if message.last_trade_price is not None:
        facts.last = str(message.last_trade_price)[:20]
    if message.tick_size is not None and units(message.tick_size) > 0:
        facts.tick_size = str(message.tick_size)[:20]
        bet.tick = units(message.tick_size)


def change(reading: Reading, token: Token, row: Change) -> bool:
    """New size of one level; whether it was one."""
    side = row.side
    ladder = token.book.bids if side == "BUY" else token.book.asks
    if side not in {"BUY", "SELL"} or not ladder.put(row.price, row.size):
        detail = f"level {row.side} {row.price} {row.size}"
        reading.say("invalid", token.instrument, detail, channel="book")
        return False
    return True


def settle(reading: Reading, token: Token, ts_event: int) -> None:
    """After all changes of one message: show the book, and compare it with the other outcome's."""
    state, book, ts_recv = reading.state, token.book, reading.ts_recv
    bet = state.bets[token.at]
    if not token.no:
        quote = (*book.bids.top(), *book.asks.top())
        if quote != bet.shown or token.fresh:
            bet.shown = quote
            reading.events.append(Quote(bet.instrument, ts_event, ts_recv, *quote))
    token.fresh = False
    if reading.books:
        sides = book.bids.shown(), book.asks.shown()
        reading.events.append(Book(token.instrument, ts_event, ts_recv, *sides, token.mirror_of))
    twin = state.tokens[2 * token.at + (not token.no)]
    if twin.valid:
        (bid, ask), (low, high) = book.best(), twin.book.best()
        _compare(bet, (bid + high, ask + low), ts_recv)


def _compare(bet: Bet, sums: tuple[int, int], ts_recv: int) -> None:
    """Best bid of one outcome and best ask of the other sum to 1, or neither is there. One may come
    a moment before the other."""
    one, other = sums
    tick = bet.tick
    if (one and abs(one - SCALE) > tick) or (other and abs(other - SCALE) > tick):
        if not bet.apart_ns:
            bet.apart_ns = ts_recv
    elif bet.apart_ns:
        bet.apart_ns, bet.apart_said = 0, False


def compare_top(reading: Reading, token: Token, bid: str | float, ask: str | float) -> None:
    """The venue names its best prices: is the book of the same opinion?"""
    theirs, ours = (units(bid), units(ask)), token.book.best()
    if theirs == ours:
        if token.apart:
            token.apart = token.apart_ns = 0
        return
    if -1 in theirs or not token.checked:
        return
    token.apart += 1
    token.apart_ns = token.apart_ns or reading.ts_recv
    if token.apart > APART or reading.ts_recv - token.apart_ns > APART_NS:
        fail(reading, token, f"the venue's best are {bid}/{ask}, ours {_said(ours)}")


def _said(best: tuple[int, int]) -> str:
    return "/".join(f"{price / SCALE:g}" for price in best)


def fail(reading: Reading, token: Token, why: str) -> None:
    """The book is wrong: it is void until the venue sends another. One that is wrong again and
    again goes on unchecked."""
    now = reading.ts_recv
    if now - token.failed_ns > HEALTHY_NS:
        token.failures = 0
    token.failures += 1
    token.failed_ns = now
    if token.failures > FAILURES:
        token.checked = False
        token.apart = token.apart_ns = 0
        reading.say("unchecked", token.instrument, why, channel="book")
        return
    token.wrong = True
    token.void(now)
    stream = stream_of(reading.state.bet(token))
    reading.say("checksum", token.instrument, why, channel="book", ask="resubscribe", stream=stream)


def _verify(reading: Reading, token: Token) -> None:
    """Which recipe gives the hash of this complete book?"""
    state = reading.state
    token.verified = False
    if state.recipe == NONE or len(token.hash) != DIGITS or not token.book.whole:
        return
    for recipe in _likeliest(state.recipe):
        if _digest(reading, token, recipe) == token.hash:
            state.recipe, state.unmatched, token.verified = recipe, 0, True
            return
    state.unmatched += 1
    if state.unmatched >= UNMATCHED:
        state.recipe = NONE
        state.changed.clear()
        detail = "no recipe known to us gives the hashes of its books; they go unchecked"
        reading.say("unknown", "", detail, channel="book")


def _likeliest(recipe: int) -> tuple[int, ...]:
    every = tuple(reversed(range(len(RECIPES))))
    return every if recipe == UNKNOWN else (recipe, *(one for one in every if one != recipe))


def _digest(reading: Reading, token: Token, recipe: int) -> str:
    market = reading.state.bet(token).market.condition
    return token.book.digest(market, token.asset, token.hash_ts, token.facts, recipe)


def check_hashes(reading: Reading, tokens: Iterable[Token]) -> None:
    """Do books still have the hashes that their last changes named?

    Two changes in a row say no before it is believed: those of one moment may have come in another
    order. If all say no, it is the recipe that has changed, and no book is blamed.
    """
    state, fits = reading.state, 0
    doubtful: list[tuple[Token, bool]] = []
    for token in tokens:
        if not (token.valid and token.verified and token.checked and token.book.whole):
            continue
        if state.recipe < 0 or len(token.hash) != DIGITS or token.hash == token.doubt:
            continue
        if _digest(reading, token, state.recipe) == token.hash:
            fits, token.doubt = fits + 1, ""
        else:
            doubtful.append((token, token.doubt != ""))
            token.doubt = token.hash
    if len(doubtful) >= MANY and not fits:
        state.recipe, state.unmatched = UNKNOWN, 0
        for token in state.tokens:
            token.verified, token.doubt = False, ""
        return
    for token, again in doubtful:
        if again:
            fail(reading, token, "its hash is another than that of its last changes")
