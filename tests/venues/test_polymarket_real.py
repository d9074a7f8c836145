"""Real frames and recorded books, kept beside the checkout."""

import ast
import csv
import gzip
import itertools
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from polymarket_feed import Feed, books, kinds, statuses, tops, trades

from tapewatch.app.importing_books import Books, messages
from tapewatch.model.inputs import Frame, Link
from tapewatch.model.time import NS_PER_MS
from tapewatch.venues.ndjson import Ndjson
from tapewatch.venues.polymarket import Polymarket
from tapewatch.venues.polymarket_books import RECIPES, Facts, TokenBook
from tapewatch.venues.polymarket_markets import Market

CONDITION = "0x" + "ab" * 32


def real(shared_data: pathlib.Path) -> list[dict[str, Any]]:
    """All objects in the captures that have a hash, as they were written."""
    folder = shared_data / "wire"
    found: list[dict[str, Any]] = []
    for path in sorted((folder / "polymarket_ws").glob("polypy*")):
        for line in path.read_text().splitlines():
            if line[:1] in "[{" and line.strip():
                read = ast.literal_eval if "'" in line else json.loads
                item = read(line)
                found += item if isinstance(item, list) else [item]
    return found


def hashed(message: dict[str, Any], recipe: int) -> bool:
    """Whether a complete book has the hash that it names, by some minimum size, tick and kind."""
    book = TokenBook()
    bids, asks = (
        [[one[key] for one in message[side]] for key in ("price", "size")]
        for side in ("bids", "asks")
    )
    assert book.bids.load(*bids, texts=True) == book.asks.load(*asks, texts=True) == 0
    return any(
        book.digest(
            message["market"],
            message["asset_id"],
            str(message["timestamp"]),
            Facts(message.get("min_order_size", "5"), tick, neg_risk=risk),
            recipe,
        )
        == message["hash"]
        for tick in ("0.01", "0.001")
        for risk in (False, True)
    )


def test_the_hashes_of_real_books(shared_data: pathlib.Path) -> None:
    full = {one["hash"]: one for one in real(shared_data) if one.get("bids") and one.get("hash")}
    matched = {
        name: [recipe for recipe in range(len(RECIPES)) if hashed(one, recipe)]
        for name, one in full.items()
    }
    by_recipe = [sum(recipe in found for found in matched.values()) for recipe in range(3)]
    none = [name for name, found in matched.items() if not found]
    assert by_recipe == [1, 7, 0]
    assert not none


def test_real_changes_lead_from_one_real_book_to_the_next(shared_data: pathlib.Path) -> None:
    lines = (shared_data / "wire/polymarket_ws/polypy_messages_hash.txt").read_text().splitlines()
    frames = [json.loads(line) for line in lines if line.startswith("{")]
    no = frames[0]["asset_id"]
    yes = next(
        row["asset_id"] for row in frames[1]["price_changes"] if row["asset_id"] != no
    )  # only NO's book was captured
    feed = Feed(Polymarket(markets=(Market(condition=frames[0]["market"], yes=yes, no=no),)))
    feed.now = frames[0]["timestamp"] * NS_PER_MS
    feed.up()
    events = feed.ws(frames[0])
    assert (feed.state.recipe, feed.state.tokens[1].verified) == (1, True)
    for frame in frames[1:]:
        feed.now = frame["timestamp"] * NS_PER_MS
        if "price_changes" in frame:
            events += feed.ws(frame)
            token = feed.state.tokens[1]
            digest = token.book.digest(frame["market"], no, token.hash_ts, token.facts, 1)
            assert digest == token.hash  # a change's hash is that of the book after it
        else:
            before = feed.state.tokens[1].book
            events += feed.rest(frame)
            assert [level["price"] for level in frame["bids"]] == [
                str(price) for price, _ in before.bids.levels
            ]
    assert not statuses(events)
    assert [book.bids[0] for book in books(events)] == [(0.33, 152.17)] * 3


def test_captured_sessions_are_understood(shared_data: pathlib.Path) -> None:
    """Captures of both generations: an array of books first, changes, trades, a tick size."""
    expected = {
        "polypy_test_server_messages.txt": 1,
        "polypy_test_server_multi_book.txt": 1,
        "polypy_test_server_multiple_last_trade_price.txt": 3,
    }
    for name, count in expected.items():
        lines = (shared_data / "wire" / "polymarket_ws" / name).read_text().splitlines()
        frames = [(ast.literal_eval if "'" in line else json.loads)(line) for line in lines if line]
        first = frames[0][0]
        market = Market(condition=first["market"], yes=first["asset_id"], no="2")
        feed = Feed(Polymarket(markets=(market,)))
        feed.now = int(first["timestamp"]) * NS_PER_MS
        feed.up()
        events = [
            event
            for frame in frames
            for event in feed.ws(*(frame if isinstance(frame, list) else [frame]))
        ]
        assert len(tops(events)) > 0
        assert len(trades(events)) == count
        assert not statuses(events, "malformed")
        assert not statuses(events, "invalid")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nautilus_py_book.json", "Quote"),
        ("nautilus_ws_market_book_msg.json", "Quote"),
        ("nautilus_ws_market_last_trade_msg.json", "Trade"),
        ("nautilus_py_last_trade_price.json", "Trade"),
        ("nautilus_ws_market_resolved_msg.json", "halted"),
        ("nautilus_ws_market_best_bid_ask_msg.json", ""),
        ("nautilus_ws_market_tick_size_msg.json", ""),
        ("nautilus_py_tick_size_change.json", ""),
        ("nautilus_ws_market_price_change_msg.json", ""),
        ("nautilus_py_price_change.json", ""),
        ("nautilus_ws_market_new_market_msg.json", ""),
    ],
)
def test_documented_messages(shared_data: pathlib.Path, name: str, expected: str) -> None:
    message = json.loads((shared_data / "wire" / "polymarket_ws" / name).read_text())
    changes = message.get("price_changes") or [{}]
    asset = message.get("asset_id") or changes[0].get("asset_id") or "1"
    market = Market(condition=message["market"], yes=asset, no="2")
    feed = Feed(Polymarket(markets=(market,)))
    feed.up()
    found = [type(one).__name__ for one in feed.ws(message) if type(one).__name__ != "Book"]
    if found == ["Status"]:
        feed = Feed(feed.venue)
        feed.up()
        found = kinds(feed.ws(message))
    assert found == ([expected] if expected else [])


def wire(path: pathlib.Path, assets: list[str]) -> Iterator[Frame]:
    """Frames of the socket that would have been recorded as this file."""
    newest = 0
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    for (time, asset, kind, name), run in itertools.groupby(
        rows, key=lambda row: [row[key] for key in ("timestamp", "asset_id", "event_type", "hash")]
    ):
        assert asset in assets
        sides: dict[str, list[dict[str, str]]] = {"bid": [], "ask": []}
        changes = []
        for row in run:
            level = {"price": row["price"], "size": row["size"]}
            sides[row["side"]].append(level)
            side = "BUY" if row["side"] == "bid" else "SELL"
            changes.append({"asset_id": asset, "side": side, "hash": name, **level})
        message: dict[str, Any] = {"event_type": kind, "market": CONDITION, "timestamp": time}
        if kind == "book":
            message |= {"asset_id": asset, "hash": name, "bids": sides["bid"], "asks": sides["ask"]}
        else:
            message["price_changes"] = changes
        newest = max(newest, int(time) * NS_PER_MS)
        yield Frame(newest, "polymarket", msgspec.json.encode(message), "ws:0")


@pytest.mark.parametrize("game", ["mlb-kc-tex-2025-06-19", "mlb-min-cin-2025-06-19"])
def test_recorded_books_over_the_socket_and_imported_are_the_same(
    shared_data: pathlib.Path, game: str
) -> None:
    path = next((shared_data / "polymarket_books").glob(f"*_{game}_polymarket-market-events*"))
    with gzip.open(path, "rt") as file:
        assets = sorted({row["asset_id"] for row in csv.DictReader(file)})
    ids = (f"polymarket:{CONDITION}", f"polymarket:{CONDITION}/NO")
    imported, complaints = [], []
    ndjson = Ndjson(ids=ids)
    state = ndjson.start()
    for _, frame in messages(Books(file=path, ids=ids), lambda *a: complaints.append(a)):
        imported += books(ndjson.decode(state, frame))
    venue = Polymarket(markets=(Market(condition=CONDITION, yes=assets[0], no=assets[1]),))
    memory = venue.start()
    frames = list(wire(path, assets))
    venue.on_link(memory, Link(frames[0].ts_recv, "polymarket", "up", "", "ws:0"))
    decoded = [event for frame in frames for event in books(venue.decode(memory, frame))]
    assert not complaints
    assert len(decoded) > 500
    assert decoded == imported
