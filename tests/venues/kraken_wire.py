"""Kraken's wire text, written independently of the decoder: plain dicts, `Decimal`, `zlib`."""

import json
import zlib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from tapewatch.model.events import Event, Quote, Status, Trade
from tapewatch.model.inputs import Frame, Link
from tapewatch.model.time import NS_PER_S, format_rfc3339
from tapewatch.venues.kraken import Kraken
from tapewatch.venues.kraken_state import KrakenState

T0 = 1_763_700_000 * NS_PER_S
BTC = "kraken:BTC/USD"
Levels = Iterable[tuple[str, str]]


class Feed:
    """A venue with its memory, and a clock that moves with what arrives."""

    def __init__(self, kraken: Kraken | None = None, *, up: bool = True) -> None:
        self.kraken = kraken or Kraken(symbols=("BTC/USD",))
        self.state: KrakenState = self.kraken.start()
        self.now = T0
        if up:
            self.link("up")

    def link(self, state: Any) -> list[Event]:
        return list(self.kraken.on_link(self.state, Link(self.now, "kraken", state)))

    def ws(self, *frames: bytes) -> list[Event]:
        found: list[Event] = []
        for data in frames:
            found.extend(self.kraken.decode(self.state, Frame(self.now, "kraken", data)))
        return found

    def rest(self, body: Any, stream: str = "rest:/0/public/Trades?pair=XBTUSD") -> list[Event]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return list(self.kraken.decode(self.state, Frame(self.now, "kraken", data, stream)))

    def wait(self, seconds: float, *, beat: bool = True) -> list[Event]:
        """Let time pass, one timer a second, with the venue's heartbeats."""
        found: list[Event] = []
        for _ in range(int(seconds)):
            self.now += NS_PER_S
            if beat:
                self.ws(b'{"channel":"heartbeat"}')
            found.extend(self.kraken.on_timer(self.state, self.now))
        return found

    def reload(self) -> None:
        """Write the memory to bytes and read it back."""
        data = msgspec.msgpack.encode(self.state)
        self.state = msgspec.msgpack.decode(data, type=self.kraken.state_type)

    def live(self, first_id: int = 1000) -> None:
        """Acknowledge both channels and send a trade and a book."""
        self.ws(ack("trade"), ack("book"), trades([trade(first_id)], "snapshot"))
        self.ws(WireBook().snapshot())


def trade(
    number: int,
    price: str = "105944.2",
    qty: str = "0.00027625",
    side: str = "buy",
    ts_ns: int | None = None,
    symbol: str = "BTC/USD",
) -> str:
    """One item; trades are a millisecond apart, shortly before `T0`."""
    time = format_rfc3339(T0 - NS_PER_S + number * 1_000_000 if ts_ns is None else ts_ns)
    return (
        f'{{"symbol":"{symbol}","side":"{side}","price":{price},"qty":{qty},'
        f'"ord_type":"limit","trade_id":{number},"timestamp":"{time}"}}'
    )


def trades(rows: Iterable[str], kind: str = "update") -> bytes:
    return f'{{"channel":"trade","type":"{kind}","data":[{",".join(rows)}]}}'.encode()


def ack(channel: str, symbol: str = "BTC/USD", time_out: str = "") -> bytes:
    result = {"channel": channel, "symbol": symbol, "snapshot": True}
    answer = {"method": "subscribe", "result": result, "success": True, "time_out": time_out}
    return json.dumps(answer).encode()


def v1_text(*parts: Any) -> bytes:
    return json.dumps(parts).encode()


def checksum(asks: Levels, bids: Levels) -> int:
    """CRC-32 over the digits of the best ten levels, from the venue's description."""
    digits = ""
    for side in (asks, bids):
        for price, qty in list(side)[:10]:
            for text in (price, qty):
                digits += text.replace(".", "").lstrip("0")
    return zlib.crc32(digits.encode())


class WireBook:
    """A book as text, best first by sorting each time."""

    def __init__(
        self,
        bids: Levels = (("100.0", "1.00000000"), ("99.9", "2.00000000")),
        asks: Levels = (("100.1", "3.00000000"), ("100.2", "0.00000001")),
        depth: int = 10,
        symbol: str = "BTC/USD",
    ) -> None:
        self.bids, self.asks = dict(bids), dict(asks)
        self.depth, self.symbol = depth, symbol
        self.now = T0

    def best(self, side: dict[str, str], *, reverse: bool) -> list[tuple[str, str]]:
        order = sorted(side.items(), key=lambda level: Decimal(level[0]), reverse=reverse)
        return order[: self.depth]

    def ladders(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        return self.best(self.bids, reverse=True), self.best(self.asks, reverse=False)

    def snapshot(self, crc: int | None = None) -> bytes:
        bids, asks = self.ladders()
        return self._frame("snapshot", bids, asks, crc)

    def update(self, bids: Levels = (), asks: Levels = (), crc: int | None = None) -> bytes:
        bids, asks = list(bids), list(asks)
        for side, levels, reverse in ((self.bids, bids, True), (self.asks, asks, False)):
            for price, qty in levels:
                if Decimal(qty):
                    side[price] = qty
                else:
                    side.pop(price, None)
            kept = dict(self.best(side, reverse=reverse))
            side.clear()
            side.update(kept)
        return self._frame("update", bids, asks, crc)

    def _frame(
        self,
        kind: str,
        bids: Sequence[tuple[str, str]],
        asks: Sequence[tuple[str, str]],
        crc: int | None,
    ) -> bytes:
        best_bids, best_asks = self.ladders()
        if crc is None:
            crc = checksum(best_asks, best_bids)
        self.now += 1_000_000

        def levels(side: Sequence[tuple[str, str]]) -> str:
            return ",".join(f'{{"price":{price},"qty":{qty}}}' for price, qty in side)

        return (
            f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{self.symbol}",'
            f'"bids":[{levels(bids)}],"asks":[{levels(asks)}],"checksum":{crc},'
            f'"timestamp":"{format_rfc3339(self.now)}"}}]}}'
        ).encode()

    def top(self) -> tuple[float, float, float, float]:
        bids, asks = self.ladders()
        bid = bids[0] if bids else ("0", "0")
        ask = asks[0] if asks else ("0", "0")
        return float(bid[0]), float(bid[1]), float(ask[0]), float(ask[1])


def instruments(price: int, qty: int, status: str = "online", symbol: str = "BTC/USD") -> bytes:
    pair = {
        "symbol": symbol,
        "status": status,
        "qty_precision": qty,
        "price_precision": price,
        "qty_increment": 1e-08,
    }
    data = {"assets": [{"id": "BTC", "status": "enabled"}], "pairs": [pair]}
    return json.dumps({"channel": "instrument", "type": "snapshot", "data": data}).encode()


def statuses(events: Iterable[Event]) -> list[Status]:
    return [event for event in events if isinstance(event, Status)]


def kinds(events: Iterable[Event]) -> list[str]:
    return [status.kind for status in statuses(events)]


def of_trades(events: Iterable[Event]) -> list[Trade]:
    return [event for event in events if isinstance(event, Trade)]


def ids(events: Iterable[Event]) -> list[int]:
    return [int(trade.trade_id) for trade in of_trades(events)]


def tops(events: Iterable[Event]) -> list[tuple[float, float, float, float]]:
    return [(e.bid, e.bid_size, e.ask, e.ask_size) for e in events if isinstance(e, Quote)]
