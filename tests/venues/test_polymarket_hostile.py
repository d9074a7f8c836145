"""Whatever the bytes: events or `DecodeError`, and a memory that can be written."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polymarket_feed import CONDITION, INSTRUMENT, MARKET, YES, Feed, WireBook, live, trade

from tapewatch.model import limits
from tapewatch.model.errors import DecodeError
from tapewatch.model.events import Book, Event, Quote, Status, Trade
from tapewatch.model.inputs import Frame
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S
from tapewatch.testing.conformance import check_venue
from tapewatch.venues.polymarket import Polymarket
from tapewatch.venues.polymarket_books import SCALE
from tapewatch.venues.polymarket_markets import Market

STREAMS = (
    "ws:0",
    "ws:9",
    "rest:/books?batch=0",
    f"rest:/midpoint?token_id={YES}",
    "rest:/markets/keyset?condition_ids=x",
    "rest:/events/keyset?slug=x",
    "rest:/v2/trades?batch=0&page=0",
    "rest:/v2/trades?batch=0&page=1",
    "rest:/trades?batch=0&page=0",
    "rest:/trades?batch=9&page=x",
    "rest:x",
)
YES_BOOK, NO_BOOK = WireBook(), WireBook(no=True)
TOP = {"event_type": "best_bid_ask", "market": CONDITION, "asset_id": YES, "best_bid": "0.4"}
ROW = {
    "token_id": YES, "condition_id": CONDITION, "side": "BUY", "price": 0.5, "size": 2,
    "timestamp": 1763700000, "transaction_hash": "0x1", "proxy_wallet": "0x2",
}  # fmt: skip
VALID: list[dict[str, Any]] = [
    YES_BOOK.book(),
    NO_BOOK.rest(),
    YES_BOOK.update("BUY", "0.50", "3"),
    {**trade(), "side": "SELL"},
    {**TOP, "best_ask": "0.5"},
    {**TOP, "event_type": "tick_size_change", "old_tick_size": "0.01", "new_tick_size": "0.001"},
    {"event_type": "market_resolved", "market": CONDITION, "winning_outcome": "Yes"},
    {
        "event_type": "new_market", "market": "0x" + "cd" * 32, "outcomes": '["A","B"]',
        "clob_token_ids": ["1", "2"], "event_message": {"slug": "league"},
    },
    {"mid": "0.5"},
    {"data": [ROW, ROW], "pagination": {"has_more": True, "next_cursor": "x"}},
    {
        "asset": YES, "conditionId": CONDITION, "side": "BUY", "price": 0.5, "size": 2,
        "timestamp": 1763700000, "transactionHash": "0x1", "proxyWallet": "0x2",
    },
    {
        "conditionId": CONDITION, "slug": "game", "outcomes": '["Yes","No"]', "closed": True,
        "clobTokenIds": f'["{YES}","5211431"]', "endDate": "2026-05-09 02:07:01+00",
        "umaResolutionStatus": "disputed", "events": [{"slug": "league"}],
    },
]  # fmt: skip
WORDS = sorted(
    {YES, CONDITION, "0", "1", "-1", "nan", "1e400", "1_0", "٠.٥", "\x1b[2J", "PONG", "0.5"}
    | {key for piece in VALID for key in piece}
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(WORDS),
    st.sampled_from([2**53, 2**64, -1, 10**30, 10**400, 1763700000, 1e300]),
)
JSON = st.recursive(
    st.one_of(SCALARS, st.sampled_from(VALID)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    ),
    max_leaves=12,
)


def survive(feed: Feed, data: bytes, stream: str) -> None:
    """Decode; check what comes out, and that the memory can be written and read."""
    try:
        events = feed.raw(data, stream)
    except DecodeError:
        return
    for event in events:
        check(event)
    before = feed.state
    feed.reload()
    assert feed.state == before


def check(event: Event) -> None:
    if isinstance(event, Trade):
        assert 0 < event.price < 1
        assert 0 < event.size < math.inf
        assert clean(event.trade_id) == event.trade_id
    elif isinstance(event, Quote):
        numbers = (event.bid, event.bid_size, event.ask, event.ask_size)
        assert all(0 <= number < math.inf for number in numbers)
    elif isinstance(event, Book):
        assert all(0 < price < 1 and size > 0 for price, size in event.bids + event.asks)
    elif isinstance(event, Status):
        for text in (event.detail, event.channel):
            assert clean(text) == text


def feeds() -> list[Feed]:
    """One of each mode, with live books."""
    options: dict[str, Any] = {"markets": (MARKET,), "symbols": ("league",)}
    polled, _, _ = live(Polymarket(mode="poll", **options))
    streamed, _, _ = live(Polymarket(**options))
    return [streamed, polled]


@given(st.binary(max_size=200), st.sampled_from(STREAMS))
def test_any_bytes(data: bytes, stream: str) -> None:
    survive(Feed(), data, stream)


@given(st.lists(JSON, max_size=4), st.sampled_from(STREAMS))
def test_any_json(values: list[Any], stream: str) -> None:
    for feed in feeds():
        for value in values:
            survive(feed, json.dumps(value).encode(), stream)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid frame with some of its parts replaced."""
    piece = json.loads(json.dumps(draw(st.sampled_from(VALID))))
    for _ in range(draw(st.integers(1, 3))):
        holder: Any = piece
        at: Any = None
        while isinstance(holder, list | dict) and holder:
            keys = sorted(holder) if isinstance(holder, dict) else range(len(holder))
            at = draw(st.sampled_from(keys))
            inner = holder[at]
            if not isinstance(inner, list | dict) or not inner or draw(st.booleans()):
                break
            holder = inner
        if at is not None:
            value = draw(SCALARS if draw(st.booleans()) else JSON)
            holder[at] = json.loads(json.dumps(value))  # a copy: values may share their parts
    frame = draw(st.sampled_from([piece, [piece], [piece, piece]]))
    return json.dumps(frame, separators=(",", ":")).encode()


@given(st.lists(mutated(), max_size=5), st.sampled_from(STREAMS))
def test_mutated_frames(frames: list[bytes], stream: str) -> None:
    for feed in feeds():
        for data in frames:
            survive(feed, data, stream)
        for event in feed.wait(3):
            check(event)


@given(st.lists(st.sampled_from(["up", "down", "timer", "book", "rest", "change"]), max_size=30))
def test_connections_and_frames_in_any_order(steps: list[str]) -> None:
    for feed in feeds():
        book = WireBook()
        for step in steps:
            match step:
                case "up" | "down":
                    events = getattr(feed, step)()
                case "timer":
                    events = feed.wait(7)
                case "book":
                    events = feed.ws(book.book())
                case "rest":
                    events = feed.rest(book.rest())
                case _:
                    events = feed.ws(book.update("BUY", "0.50", str(len(steps))))
            for event in events:
                check(event)
            feed.venue.polls(feed.state)
            feed.reload()


LEVELS = st.lists(
    st.tuples(st.sampled_from(["BUY", "SELL"]), st.integers(1, 99), st.sampled_from([0, 1, 2, 50])),
    max_size=60,
)


@given(LEVELS)
def test_a_book_is_what_a_dictionary_would_be(changes: list[tuple[str, int, int]]) -> None:
    feed, yes, _ = live()
    for side, cents, size in changes:
        feed.ws(yes.update(side, f"{cents / 100:.2f}", str(size)))
        feed.state.tokens[0].checked = False  # crossed books are no matter here
    book = feed.state.tokens[0].book
    for ladder, wire in ((book.bids, yes.bids), (book.asks, yes.asks)):
        assert {key * ladder.sign / SCALE: level[1] for key, level in zip(
            ladder.keys, ladder.levels, strict=True
        )} == {float(price): float(size) for price, size in wire.items()}  # fmt: skip
        assert ladder.keys == sorted(ladder.keys)
    full = yes.full()
    digest = book.digest(
        CONDITION, YES, full["timestamp"], feed.state.tokens[0].facts, feed.state.recipe
    )
    assert digest == full["hash"]


def test_frames_are_bounded() -> None:
    with pytest.raises(DecodeError, match="limit"):
        Feed().raw(b"[" + b" " * limits.FRAME_BYTES + b"]")


def test_nesting_is_bounded() -> None:
    deep = b'{"event_message":' * 5000 + b"1" + b"}" * 5000
    with pytest.raises(DecodeError):
        Feed().raw(deep)


def test_books_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BOOK_DEPTH", 3)
    feed, yes, _ = live()
    for cents in range(1, 40):
        feed.ws(yes.update("BUY", f"{cents / 100:.2f}", "1"))
    bids = feed.state.tokens[0].book.bids
    assert [price for price, _ in bids.levels] == [0.39, 0.48, 0.49]  # the best ones
    assert not feed.state.tokens[0].book.whole


@pytest.mark.parametrize("mode", ["stream", "poll"])
def test_conformance(mode: Any) -> None:
    yes, no = WireBook(), WireBook(no=True)
    frames = []
    for n in range(60):
        message: Any = yes.update("BUY", f"0.{40 + n % 10}", str(n % 4))
        if n % 9 == 0:
            message = [yes.book(), no.book()]
        elif n % 5 == 0:
            message = trade(tx=f"0x{n:x}")
        frames.append((json.dumps(message).encode(), "ws:0"))
        if n % 7 == 0:
            frames.append((json.dumps([yes.rest(), no.rest()]).encode(), "rest:/books?batch=0"))
    check_venue(
        Polymarket(markets=(MARKET,), mode=mode),
        [
            Frame(yes.now + n * NS_PER_S // 4, "polymarket", data, stream)
            for n, (data, stream) in enumerate(frames)
        ],
    )


def test_names_of_markets_are_made_safe() -> None:
    evil = Polymarket(markets=(Market(
        condition=CONDITION, yes="1", no="2", slug="a\x1b[2Jb", outcomes=("\u202eYes", "No")),
    ))  # fmt: skip
    (said,) = [one for one in Feed(evil).up() if isinstance(one, Status)]
    assert said.instrument == INSTRUMENT
    check(said)
