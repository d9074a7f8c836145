"""Messages of the market channel as text, letter by letter as the venue writes them.

`book` is in `polymarket_book`, next to the text that is hashed.
"""

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct, json

from tapewatch.simulate.polymarket_book import (
    FLIP,
    ONE,
    PRICES,
    Change,
    Face,
    MarketBook,
    Side,
    size_text,
)
from tapewatch.simulate.polymarket_listing import Listing

# `new`: since 2025-09-15. `legacy`: before, one message for each token. `fields`: the new one with
# unknown keys and prices without the leading zero. `renamed`: under a key that nobody knows.
Form = Literal["new", "legacy", "fields", "renamed"]
PONG: Final = b"PONG"
NO_NEW_ASSETS: Final = b"NO NEW ASSETS"
INVALID: Final = b"INVALID OPERATION"


class Match(Struct, frozen=True):
    """A taker against one level, as the traded token shows it. `wallets`: taker's and maker's;
    `mint`: the maker traded the other outcome, with the same side."""

    listing: Listing
    on_no: bool
    side: Side
    price: int
    size: int
    ns: int
    tx: str
    wallets: tuple[str, str]
    mint: bool = False


def price_change(
    book: MarketBook, changes: Sequence[Change], form: Form
) -> list[tuple[Face | None, bytes]]:
    """Messages for the changes, with the token whose subscribers get it (None: both tokens')."""
    faces = (book.yes, book.no)
    market, ts_ms = book.listing.condition, book.yes.ts_ms
    if form == "legacy":
        return [(face, _legacy(market, face, changes)) for face in faces]
    rows = ",".join(_entry(face, face.entry(one), form) for one in changes for face in faces)
    key = "level_updates" if form == "renamed" else "price_changes"
    more = ',"sequence":1,"flags":["x"]' if form == "fields" else ""
    text = (
        f'{{"market":"{market}","{key}":[{rows}],"event_type":"price_change",'
        f'"timestamp":"{ts_ms}"{more}}}'
    )
    return [(None, text.encode())]


def _entry(face: Face, change: Change, form: Form) -> str:
    bid, ask = face.best
    price = PRICES[change.price]
    if form == "fields":
        price = price.removeprefix("0")
    return (
        f'{{"asset_id":"{face.token}","price":"{price}","size":"{size_text(change.size)}",'
        f'"side":"{change.side}","hash":"{face.hash}",'
        f'"best_bid":"{PRICES[bid]}","best_ask":"{PRICES[ask]}"}}'
    )


def _legacy(market: str, face: Face, changes: Sequence[Change]) -> bytes:
    own = [face.entry(one) for one in changes]
    rows = ",".join(
        f'{{"price":"{PRICES[one.price]}","side":"{one.side}","size":"{size_text(one.size)}"}}'
        for one in own
    )
    text = (
        f'{{"asset_id":"{face.token}","changes":[{rows}],"event_type":"price_change",'
        f'"hash":"{face.hash}","market":"{market}","timestamp":"{face.ts_ms}"}}'
    )
    return text.encode()


def last_trade(match: Match) -> bytes:
    """`last_trade_price` of the token that the taker traded."""
    listing = match.listing
    token = listing.no if match.on_no else listing.yes
    text = (
        f'{{"market":"{listing.condition}","asset_id":"{token}","price":"{PRICES[match.price]}",'
        f'"size":"{size_text(match.size)}","fee_rate_bps":"0","side":"{match.side}",'
        f'"timestamp":"{match.ns // 1_000_000}","event_type":"last_trade_price",'
        f'"transaction_hash":"{match.tx}"}}'
    )
    return text.encode()


def maker_side(match: Match) -> Side:
    """The side of the maker in the token that the maker traded."""
    return match.side if match.mint else FLIP[match.side]


def best_bid_ask(book: MarketBook, face: Face) -> bytes:
    """The best prices of one token; an empty side is 0 or 1."""
    bid, ask = face.best
    text = (
        f'{{"market":"{book.listing.condition}","asset_id":"{face.token}",'
        f'"best_bid":"{PRICES[bid]}","best_ask":"{PRICES[ask]}",'
        f'"spread":"{PRICES[max(0, min(ONE, ask - bid))]}","timestamp":"{face.ts_ms}",'
        f'"event_type":"best_bid_ask"}}'
    )
    return text.encode()


def tick_size_change(listing: Listing, token: str, old: int, ts_ms: int) -> bytes:
    """The tick of one token has become `listing.tick`."""
    text = (
        f'{{"market":"{listing.condition}","asset_id":"{token}","old_tick_size":"{PRICES[old]}",'
        f'"new_tick_size":"{PRICES[listing.tick]}","timestamp":"{ts_ms}",'
        f'"event_type":"tick_size_change"}}'
    )
    return text.encode()


def new_market(listing: Listing, ts_ms: int) -> bytes:
    """The announcement of a market, for all who asked for custom features."""
    event = listing.event
    tokens = [listing.yes, listing.no]
    return json.encode(
        {
            "id": listing.id,
            "question": listing.question,
            "market": listing.condition,
            "slug": listing.slug,
            "description": f"{listing.question} Simulated: nothing of it is real.",
            "assets_ids": tokens,
            "outcomes": listing.outcomes,
            "event_message": {
                "id": event.id,
                "ticker": event.slug,
                "slug": event.slug,
                "title": event.title,
                "description": event.title,
            },
            "timestamp": str(ts_ms),
            "event_type": "new_market",
            "tags": ["sports"],
            "condition_id": listing.condition,
            "active": listing.active,
            "clob_token_ids": tokens,
            "sports_market_type": "moneyline",
            "line": "",
            "game_start_time": "",
            "order_price_min_tick_size": PRICES[listing.tick],
            "group_item_title": listing.label,
            "taker_base_fee": "0",
            "fees_enabled": False,
            "fee_schedule": {},
        }
    )


def market_resolved(listing: Listing, ts_ms: int) -> bytes:
    """The winner is known."""
    tokens = [listing.yes, listing.no]
    return json.encode(
        {
            "id": listing.id,
            "market": listing.condition,
            "assets_ids": tokens,
            "winning_asset_id": tokens[listing.winner],
            "winning_outcome": listing.outcomes[listing.winner],
            "timestamp": str(ts_ms),
            "event_type": "market_resolved",
            "tags": ["sports"],
        }
    )
