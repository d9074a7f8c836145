"""The venue's exact wire text, websocket v2 and v1: numbers at full precision, checksums, times.

Bytes in, bytes out would be the client's half; this is the other one, and shares no code with it.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from tapewatch.model.time import NS_PER_S, NS_PER_US, format_rfc3339
from tapewatch.simulate.book import Change, Changes, DepthView
from tapewatch.simulate.book import Side as BookSide
from tapewatch.simulate.pairs import V1_DIGITS, Pair

CHECKED: Final = 10  # levels a side that the checksum covers
HEARTBEAT_V2: Final = b'{"channel":"heartbeat"}'
HEARTBEAT_V1: Final = b'{"event":"heartbeat"}'
_UNIT_NS: Final = {"s": NS_PER_S, "ms": 1_000_000, "ns": 1}


class Executed(Struct, frozen=True):
    """A trade as the venue keeps it. `order` is its unique position in time (ns), the REST cursor;
    `ns` is the time it is stamped with."""

    id: int
    ns: int
    order: int
    price: int
    size: int
    taker: str
    limit: bool


class Style(Struct, frozen=True):
    """Deliberate mistakes in the text (faults F19 and F43); the default makes none."""

    floats: str = ""  # `numbers`: shortest float text; `checksum`: computed over that text
    unit: str = ""  # times as integers of this unit


PLAIN: Final = Style()


def decimal(value: int, digits: int) -> str:
    """An integer of 10^-digits as fixed-point text: (294302, 1) -> `29430.2`."""
    whole, part = divmod(value, 10**digits)
    return f"{whole}.{part:0{digits}d}" if digits else str(whole)


def checksum(asks: Iterable[tuple[str, str]], bids: Iterable[tuple[str, str]]) -> int:
    """CRC-32 over the (price, size) texts of the best ten levels a side, best first, asks before
    bids, each text without its point and leading zeros (Kraken's book checksum guide)."""
    digits = (
        text.replace(".", "").lstrip("0")
        for side in (asks, bids)
        for level in side
        for text in level
    )
    return zlib.crc32("".join(digits).encode("ascii"))


def encode(value: Any) -> bytes:
    """Compact JSON for messages without exact numbers."""
    return msgspec.json.encode(value)


def time_v2(ns: int, style: Style = PLAIN) -> str:
    """A JSON value: an RFC 3339 text with microseconds, or what fault F43 makes of it."""
    return str(ns // _UNIT_NS[style.unit]) if style.unit else f'"{format_rfc3339(ns)}"'


def time_v1(ns: int, style: Style = PLAIN) -> str:
    """`1618678150.826417`, without quotes."""
    if style.unit:
        return str(ns // _UNIT_NS[style.unit])
    return f"{ns // NS_PER_S}.{ns % NS_PER_S // NS_PER_US:06d}"


def _number(value: int, digits: int, style: Style) -> str:
    text = decimal(value, digits)
    return repr(float(text)) if style.floats == "numbers" else text


def trades_v2(kind: str, pair: Pair, trades: Sequence[Executed], style: Style) -> bytes:
    """The `trade` channel; `kind` is `snapshot` or `update`."""
    rows = ",".join(
        f'{{"symbol":"{pair.symbol}","side":"{trade.taker}",'
        f'"price":{price_v2(pair, trade.price)},'
        f'"qty":{decimal(trade.size, pair.size_digits)},'
        f'"ord_type":"{"limit" if trade.limit else "market"}","trade_id":{trade.id},'
        f'"timestamp":{time_v2(trade.ns, style)}}}'
        for trade in trades
    )
    return f'{{"channel":"trade","type":"{kind}","data":[{rows}]}}'.encode()


def book_v2(pair: Pair, view: DepthView, ns: int, style: Style, changes: Changes | None) -> bytes:
    """The `book` channel: a snapshot of `view`, or an update with `changes` that lead to it."""

    def level(price: int, size: int) -> str:
        return (
            f'{{"price":{_number(price, pair.price_digits, style)},'
            f'"qty":{_number(size, pair.size_digits, style)}}}'
        )

    def side(levels: BookSide) -> str:
        return ",".join(level(price, size) for price, (size, _) in levels.items())

    def changed(levels: Iterable[Change]) -> str:
        return ",".join(level(change.price, change.size) for change in levels)

    kind = "snapshot" if changes is None else "update"
    bids = side(view.bids) if changes is None else changed(changes.bids)
    asks = side(view.asks) if changes is None else changed(changes.asks)
    check = _check(pair, view, style, price_v2)
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{pair.symbol}",'
        f'"bids":[{bids}],"asks":[{asks}],"checksum":{check},'
        f'"timestamp":{time_v2(ns, style)}}}]}}'
    ).encode()


def _check(
    pair: Pair, view: DepthView, style: Style, price_text: Callable[[Pair, int], str]
) -> int:
    def texts(side: BookSide) -> Iterable[tuple[str, str]]:
        for price, (size, _) in list(side.items())[:CHECKED]:
            level = price_text(pair, price), decimal(size, pair.size_digits)
            yield (
                (repr(float(level[0])), repr(float(level[1])))
                if style.floats == "checksum"
                else level
            )

    return checksum(texts(view.asks), texts(view.bids))


def status_v2(connection_id: int, system: str = "online") -> bytes:
    """Sent on connect and when the engine's state changes."""
    data = {
        "version": "2.0.10",
        "system": system,
        "api_version": "v2",
        "connection_id": connection_id,
    }
    return encode({"channel": "status", "type": "update", "data": [data]})


def instrument_v2(pairs: Iterable[Pair]) -> bytes:
    """The `instrument` snapshot: every asset and pair."""
    pairs = list(pairs)
    codes = dict.fromkeys(code for pair in pairs for code in pair.symbol.split("/"))
    assets = [
        {
            "id": code,
            "status": "enabled",
            "precision": 10,
            "precision_display": 5,
            "borrowable": True,
            "collateral_value": 1.0,
            "margin_rate": 0.02,
        }
        for code in codes
    ]
    data = {"assets": assets, "pairs": [_listing(pair) for pair in pairs]}
    return encode({"channel": "instrument", "type": "snapshot", "data": data})


def _listing(pair: Pair) -> dict[str, Any]:
    base, quote = pair.symbol.split("/")
    return {
        "symbol": pair.symbol,
        "base": base,
        "quote": quote,
        "status": "online",
        "qty_precision": pair.size_digits,
        "qty_increment": 10**-pair.size_digits,
        "price_precision": pair.price_digits,
        "cost_precision": 5,
        "marginable": True,
        "has_index": True,
        "cost_min": 0.5,
        "tick_size": 10**-pair.price_digits,
        "price_increment": 10**-pair.price_digits,
        "qty_min": pair.size / 4000,
    }


def status_v1(connection_id: int, status: str = "online") -> bytes:
    """`systemStatus`."""
    return encode(
        {
            "connectionID": connection_id,
            "event": "systemStatus",
            "status": status,
            "version": "1.9.1",
        }
    )


def price_v2(pair: Pair, price: int) -> str:
    """`29430.2`."""
    return decimal(price, pair.price_digits)


def price_v1(pair: Pair, price: int) -> str:
    """v1 and REST pad prices: `29430.20000`."""
    digits = max(V1_DIGITS, pair.price_digits)
    return decimal(price * 10 ** (digits - pair.price_digits), digits)


def trades_v1(channel_id: int, pair: Pair, trades: Sequence[Executed], style: Style) -> bytes:
    """A v1 `trade` list: price, size, time, side, order type, misc; all texts, no id."""
    rows = ",".join(
        f'["{price_v1(pair, trade.price)}","{decimal(trade.size, pair.size_digits)}",'
        f'"{time_v1(trade.ns, style)}","{trade.taker[0]}","{"l" if trade.limit else "m"}",""]'
        for trade in trades
    )
    return f'[{channel_id},[{rows}],"trade","{pair.v1_name}"]'.encode()


def book_v1(
    channel_id: int, pair: Pair, view: DepthView, style: Style, changes: Changes | None
) -> bytes:
    """A v1 book list: `as`/`bs` snapshot, or `a`/`b` with the checksum in the last object. Two
    objects when both sides changed."""

    def level(price: int, size: int, ns: int, tail: str = "") -> str:
        sized = _number(size, pair.size_digits, style)
        return f'["{price_v1(pair, price)}","{sized}","{time_v1(ns, style)}"{tail}]'

    def side(levels: BookSide) -> str:
        return ",".join(level(price, size, ns) for price, (size, ns) in levels.items())

    def changed(levels: Iterable[Change]) -> str:
        return ",".join(
            level(change.price, change.size, change.ns, ',"r"' if change.revealed else "")
            for change in levels
        )

    tail = f'"book-{view.depth}","{pair.v1_name}"]'
    if changes is None:
        return (
            f'[{channel_id},{{"as":[{side(view.asks)}],"bs":[{side(view.bids)}]}},{tail}'.encode()
        )
    check = f',"c":"{_check(pair, view, style, price_v1)}"}}'
    parts = [
        f'{{"{key}":[{changed(levels)}]'
        for key, levels in (("a", changes.asks), ("b", changes.bids))
        if levels
    ]
    return f"[{channel_id},{'},'.join(parts)}{check},{tail}".encode()


def bad_frames(which: str, version: int, pair: Pair) -> list[bytes]:
    """What no client should choke on (fault F41); `which` names one of them, or `all`."""
    name = pair.symbol if version == 2 else pair.v1_name
    row = f'"symbol":"{name}","side":"buy","price":%s,"qty":1.0,"ord_type":"market"'
    if version == 2:
        shape = f'{{"channel":"trade","type":"update","data":[{{{row},"trade_id":1}}]}}'
    else:
        shape = f'[1,[["%s","1.0","1.0","b","m",""]],"trade","{name}"]'
    whole = (shape % "1.0").encode()
    bad = {
        "text": b"NO NEW ASSETS",
        "empty": b"[]",
        "nan": (shape % "NaN").encode(),
        "not_utf8": whole.replace(b"buy", b"b\xff\xfey").replace(b'"b"', b'"\xff"'),
        "truncated": whole[: len(whole) // 2],
        "huge": whole + b" " * (2 << 20),
    }
    return list(bad.values()) if which == "all" else [bad[which]]
