"""Books of both websocket versions: levels, checksums, resync, numbers beyond floats."""

import json
import random
from decimal import Decimal
from typing import Any

import kraken_wire as wire
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kraken_wire import BTC, T0, Feed, WireBook, kinds, statuses, tops

from tapewatch.model.events import Book, Quote
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.kraken import Kraken


def test_snapshot_and_updates() -> None:
    feed, book = Feed(), WireBook()
    (first,) = feed.ws(book.snapshot())
    assert first == Quote(BTC, T0 + 1_000_000, T0, 100.0, 1.0, 100.1, 3.0)
    events = feed.ws(book.update(bids=[("100.0", "0.50000000")]))
    assert tops(events) == [(100.0, 0.5, 100.1, 3.0)]
    # The same price twice counts in order; a level behind the best is no new quote.
    assert feed.ws(book.update(asks=[("100.2", "5.0"), ("100.2", "6.00000000")])) == []
    # Deleting what is not there does no harm.
    assert feed.ws(book.update(bids=[("1.0", "0.00000000")])) == []
    events = feed.ws(book.update(asks=[("100.1", "0.00000000")]))
    assert tops(events) == [(100.0, 0.5, 100.2, 6.0)]


def test_a_side_may_be_empty() -> None:
    feed, book = Feed(), WireBook()
    feed.ws(book.snapshot())
    bids = [("100.0", "0.00000000"), ("99.9", "0.00000000")]
    assert tops(feed.ws(book.update(bids=bids))) == [(0.0, 0.0, 100.1, 3.0)]


def test_levels_beyond_the_depth_are_forgotten() -> None:
    bids = [(f"{90 - n}.0", "1.00000000") for n in range(10)]
    feed, book = Feed(), WireBook(bids=bids)
    feed.ws(book.snapshot())
    assert kinds(feed.ws(book.update(bids=[("91.0", "1.00000000")]))) == []
    # 81.0 fell out: it does not come back when a better level goes.
    assert kinds(feed.ws(book.update(bids=[("91.0", "0.00000000")]))) == []
    assert len(feed.state.markets["BTC/USD"].book.bids.keys) == 9


def test_a_lost_update_voids_the_book_until_a_snapshot() -> None:
    feed, book = Feed(), WireBook()
    feed.ws(wire.ack("book"), book.snapshot())
    book.update(bids=[("100.0", "7.00000000")])  # never arrives
    (bad,) = statuses(feed.ws(book.update(asks=[("100.1", "9.00000000")])))
    assert (bad.kind, bad.ask, bad.instrument, bad.channel) == (
        "checksum",
        "resubscribe",
        BTC,
        "book",
    )
    assert feed.ws(book.update(asks=[("100.1", "8.00000000")])) == []
    events = feed.ws(wire.ack("book"), book.snapshot())
    assert kinds(events) == ["subscribed", "resynced"]
    assert tops(events) == [(100.0, 7.0, 100.1, 8.0)]


def test_a_checksum_that_never_fits_is_given_up() -> None:
    feed, book = Feed(), WireBook()
    said = [kinds(feed.ws(book.snapshot(crc=1))) for _ in range(6)]
    assert said == [["checksum"]] * 3 + [["unchecked"], ["resynced"], ["resynced"]]
    assert len(tops(feed.ws(book.update(bids=[("100.0", "2.00000000")], crc=1)))) == 1
    feed.link("up")
    assert kinds(feed.ws(book.snapshot(crc=1))) == ["checksum"]


def test_a_healthy_minute_forgives() -> None:
    feed, book = Feed(), WireBook()
    feed.ws(book.snapshot())
    for _ in range(5):
        assert kinds(feed.ws(book.update(crc=1))) == ["checksum"]
        feed.now += 30 * NS_PER_S
        assert kinds(feed.ws(book.snapshot())) == ["resynced"]
        feed.now += 31 * NS_PER_S
        assert kinds(feed.ws(book.update())) == []


def test_quantities_beyond_float_arithmetic() -> None:
    """90 million units with 8 decimals do not fit a double's 53 bits."""
    asks = [("0.00001234", "90071992.54740993"), ("0.00001235", "1.00000000")]
    bids = [("0.00001233", "123456789.12345678")]
    feed, book = Feed(), WireBook(bids, asks)
    assert tops(feed.ws(book.snapshot())) == [book.top()]
    events = feed.ws(book.update(asks=[("0.00001234", "90071992.54740995")]))
    assert kinds(events) == []
    assert feed.state.markets["BTC/USD"].book.asks.sizes[0] == 9007199254740995
    assert kinds(feed.ws(book.update(bids=[("0.00001233", "123456789.12345679")]))) == []


def test_precision_comes_from_instruments_where_the_text_has_lost_it() -> None:
    book = WireBook([("100.0", "1.00000000")], [("101.0", "2.00000000")])
    short = book.snapshot().replace(b"00000000}", b"0}").replace(b'.0,"qty', b',"qty')
    assert b'{"price":100,"qty":1.0}' in short
    assert kinds(Feed().ws(short)) == ["checksum"]
    assert kinds(Feed().ws(wire.instruments(1, 0), short)) == ["checksum"]
    assert kinds(Feed().ws(wire.instruments(0, 8), short)) == ["checksum"]
    assert kinds(Feed().ws(wire.instruments(1, 8), short)) == []


def test_a_new_connection_starts_without_books() -> None:
    feed, book = Feed(), WireBook()
    feed.ws(book.snapshot())
    feed.link("down")
    feed.link("up")
    assert feed.ws(book.update(bids=[("100.0", "4.00000000")])) == []
    assert tops(feed.ws(book.snapshot())) == [(100.0, 4.0, 100.1, 3.0)]
    feed.link("up")
    assert tops(feed.ws(book.snapshot())) == [(100.0, 4.0, 100.1, 3.0)]


def test_book_events_on_request() -> None:
    feed = Feed(Kraken(symbols=("BTC/USD",), books=True))
    quote, book = feed.ws(WireBook().snapshot())
    assert isinstance(quote, Quote)
    assert book == Book(
        BTC, T0 + 1_000_000, T0, ((100.0, 1.0), (99.9, 2.0)), ((100.1, 3.0), (100.2, 1e-8))
    )


@pytest.mark.parametrize("level", ["-1.0", "0", "NaN", "1e400", "1e-400", '"x"', "null", "1e30"])
def test_an_impossible_level(level: str) -> None:
    feed, book = Feed(), WireBook()
    feed.ws(book.snapshot())
    update = book.update(bids=[("98.0", "1.00000000")], crc=5)
    events = feed.ws(update.replace(b'"price":98.0', f'"price":{level}'.encode()))
    assert kinds(events)[0] == "invalid"
    assert tops(events) == []


def test_a_bad_time_does_not_spoil_the_levels() -> None:
    feed, book = Feed(), WireBook()
    feed.ws(book.snapshot())
    update = book.update(bids=[("100.0", "4.00000000")])
    said, quote = feed.ws(update.replace(b'"2025-11-21T04:40:00.002000Z"', b"1763700000"))
    assert kinds([said]) == ["invalid"]
    assert quote == Quote(BTC, T0, T0, 100.0, 4.0, 100.1, 3.0)


def turn(data: bytes) -> bytes:
    """The same frame with its keys the other way round, exact digits kept."""

    def written(value: Any) -> str:
        if isinstance(value, dict):
            parts = (f"{json.dumps(k)}:{written(v)}" for k, v in reversed(value.items()))
            return "{" + ",".join(parts) + "}"
        if isinstance(value, list):
            return "[" + ",".join(written(item) for item in value) + "]"
        return str(value) if isinstance(value, Decimal) else json.dumps(value)

    return written(json.loads(data, parse_float=Decimal)).encode()


def session(seed: int) -> list[bytes]:
    """Sixty messages of a small random market, in exact wire text; some twice, some wrong."""
    dice = random.Random(seed)
    book, number = WireBook(), 1000
    frames = [wire.ack("trade"), wire.ack("book"), wire.trades([wire.trade(number)], "snapshot")]
    frames.append(book.snapshot())
    for _ in range(60):
        kind = dice.choice(("bid", "ask", "ask", "trade", "trade", "skip", "bad", "snapshot"))
        number += kind == "trade"
        price, qty = f"{dice.randint(995, 1005) / 10:.1f}", f"{dice.randint(0, 3)}.00000000"
        match kind:
            case "bid":
                frames.append(book.update(bids=[(price, qty)]))
            case "ask":
                frames.append(book.update(asks=[(price, qty), (price, "1.50000000")]))
            case "trade":
                frames.append(wire.trades([wire.trade(number), wire.trade(number + 1)]))
                number += 1
            case "skip":
                number += dice.randint(1, 3)
            case "bad":
                frames.append(book.update(crc=1))
            case "snapshot":
                frames.append(book.snapshot())
    return frames


@given(st.integers(0, 10_000))
def test_both_ways_of_decoding_agree(seed: int) -> None:
    fast, general = Feed(), Feed()
    for data in session(seed):
        assert fast.ws(data) == general.ws(turn(data))
    assert fast.state == general.state


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_state_survives_bytes_at_any_moment(seed: int, every: int) -> None:
    kept, reloaded = Feed(), Feed()
    for number, data in enumerate(session(seed)):
        if number % every == 0:
            reloaded.reload()
        assert kept.ws(data) == reloaded.ws(data)
        assert kept.wait(1) == reloaded.wait(1)
    assert kept.state == reloaded.state


@given(st.integers(0, 10_000))
def test_a_frame_twice_gives_no_second_event(seed: int) -> None:
    once, twice = Feed(), Feed()
    for data in session(seed):
        events = once.ws(data)
        assert twice.ws(data) == events
        again = twice.ws(data)
        assert wire.of_trades(again) == []
        assert tops(again) == []
        if twice.state != once.state:  # a duplicated bad frame is a second failure
            twice.state.markets["BTC/USD"].failures = once.state.markets["BTC/USD"].failures


V1 = Kraken(symbols=("BTC/USD",), protocol="v1")


def v1_levels(levels: list[tuple[str, str]]) -> list[list[str]]:
    return [[price, qty, "1763700000.000500"] for price, qty in levels]


def test_v1_update_in_two_parts() -> None:
    feed, book = Feed(V1), WireBook([("100.00000", "1.00000000")], [("100.10000", "2.00000000")])
    bids, asks = book.ladders()
    parts = {"as": v1_levels(asks), "bs": v1_levels(bids)}
    assert tops(feed.ws(wire.v1_text(0, parts, "book-10", "XBT/USD"))) == [book.top()]
    bids, asks = [("100.05000", "3.00000000")], [("100.10000", "0.00000000")]
    book.update(bids, asks)
    crc = str(wire.checksum(*reversed(book.ladders())))
    one = {"a": [[*row, "r"] for row in v1_levels(asks)]}
    two = {"b": v1_levels(bids), "c": crc}
    events = feed.ws(wire.v1_text(0, one, two, "book-10", "XBT/USD"))
    assert events == [Quote(BTC, T0 + 500_000, T0, 100.05, 3.0, 0.0, 0.0)]
    two["c"] = "1"
    assert kinds(feed.ws(wire.v1_text(0, two, "book-10", "XBT/USD"))) == ["checksum"]


def v1_trades(*rows: tuple[str, str, str, str]) -> bytes:
    return wire.v1_text(1, [[*row, "m", ""] for row in rows], "trade", "XBT/USD")


def test_v1_equal_trades_are_kept_and_repeated_frames_are_not() -> None:
    feed = Feed(V1, up=False)
    row = ("354.04000000", "0.28245396", "1763700000.826417", "s")
    frame = v1_trades(row, row)
    assert [t.index for t in wire.of_trades(feed.ws(frame))] == [0, 1]
    again = feed.ws(frame)
    assert wire.of_trades(again) == []
    assert kinds(again) == ["duplicate", "duplicate"]
    assert len(wire.of_trades(feed.ws(v1_trades(row, row, row)))) == 1


def test_v1_history_is_flagged() -> None:
    feed = Feed(V1)
    before, after = ("1.0", "1.0", "1763699990.0", "b"), ("1.0", "1.0", "1763700000.5", "b")
    events = feed.ws(v1_trades(before, after))
    assert [t.backfilled for t in wire.of_trades(events)] == [True, False]


def test_v1_history_may_repeat_what_was_seen() -> None:
    feed = Feed(V1)
    row = ("1.0", "1.0", "1763700000.5", "b")
    feed.ws(v1_trades(row))
    feed.link("down")
    feed.link("up")
    assert feed.ws(v1_trades(row)) == []
    assert kinds(feed.ws(v1_trades(row))) == ["duplicate"]


def test_v1_ring_is_bounded() -> None:
    feed = Feed(V1)
    rows = [("1.0", f"{n}.5", "1763700000.5", "b") for n in range(5000)]
    assert len(wire.of_trades(feed.ws(v1_trades(*rows)))) == 5000
    assert len(feed.state.markets["BTC/USD"].seen) == 4096


@pytest.mark.parametrize(
    "row",
    [
        ("0", "1.0", "1763700000.5", "b"),
        ("1.0", "-1.0", "1763700000.5", "b"),
        ("1.0", "nan", "1763700000.5", "b"),
        ("1_0.0", "1.0", "1763700000.5", "b"),
        ("1.0", "1.0", "0.5", "b"),
        ("1.0", "1.0", "99999999999999999", "b"),
        ("1.0", "1.0", "1763700000.5", "x"),
    ],
)
def test_v1_bad_row(row: tuple[str, str, str, str]) -> None:
    good = ("1.0", "1.0", "1763700000.5", "b")
    events = Feed(V1, up=False).ws(v1_trades(row, good))
    assert kinds(events) == ["invalid"]
    assert len(wire.of_trades(events)) == 1
