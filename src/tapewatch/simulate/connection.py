"""One websocket to the simulated venue: its subscriptions, its outgoing queue, its breakdowns.

What the client asks is read in `requests`; what the market says arrives by `tell`.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import ClientConnectionResetError, WSMsgType, web
from msgspec import Struct

from tapewatch.simulate import frames
from tapewatch.simulate.exchange import BookNews, Exchange, News, TradeNews

QUEUE: Final = 10_000  # frames waiting for one client; beyond, it is too slow and is dropped
REQUEST_BYTES: Final = 64 << 10  # one message of a client
TOO_SLOW: Final = 1013  # close code "try again later" (IANA WebSocket close code registry)
ABNORMAL: Final = 1006  # never on the wire: TCP ends without a close frame (RFC 6455, 7.4.1)


class Subscription(Struct):
    """`dead`: acknowledged, but nothing is ever sent. `due`: the snapshot has not been sent yet.
    `channel_id` numbers v1 channels."""

    channel: str
    symbol: str
    depth: int = 0
    dead: bool = False
    due: bool = False
    channel_id: int = 0


class Connection:
    """`version` is 1 or 2; `wall_ns` the venue's clock; `started` is called at trade
    subscriptions."""

    def __init__(
        self,
        request: web.Request,
        version: int,
        exchange: Exchange,
        wall_ns: Callable[[], int],
        started: Callable[[], None],
    ) -> None:  # fmt: skip
        self.version, self.exchange = version, exchange
        self.wall_ns, self.started = wall_ns, started
        self.subscriptions: dict[tuple[str, str], Subscription] = {}
        self.number = 0  # the venue's connection id
        self.limit = QUEUE
        self.refused = False  # a subscription was refused: the venue heartbeats all the same
        self.socket = web.WebSocketResponse(
            autoping=False, autoclose=False, compress=False, max_msg_size=REQUEST_BYTES
        )
        self._request = request
        self._queue: asyncio.Queue[bytes | int] = asyncio.Queue(
            QUEUE + 2  # one that is too many, and the close code behind it
        )
        self._reading, self._writing = asyncio.Event(), asyncio.Event()
        self._reading.set()
        self._writing.set()
        self._busy = False  # data was sent since the last heartbeat

    @property
    def waiting(self) -> int:
        """Frames that wait for the client; 0 while it is we who hold them back."""
        return self._queue.qsize() if self._writing.is_set() else 0

    def send(self, data: bytes) -> None:
        """Queue one text frame; a client that is too far behind is closed."""
        self._queue.put_nowait(data)
        self._busy = True
        if self._queue.qsize() > self.limit:
            self.close(TOO_SLOW)

    def close(self, code: int) -> None:
        """Close at once with `code`; what was queued is dropped."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._writing.set()
        self._queue.put_nowait(code)

    def leave(self, code: int) -> None:
        """Close with `code` after what is queued."""
        self._queue.put_nowait(code)

    def drop(self) -> None:
        """End TCP now, whatever is unsent; harmless when it has ended."""
        if self._request.transport is not None:
            self._request.transport.abort()

    def freeze(self) -> None:
        """From now on neither send nor read, for ever (fault F01)."""
        self._reading.clear()
        self._writing.clear()

    def pause(self, limit: int) -> None:
        """Let frames pile up, at most `limit` (fault F46)."""
        self._writing.clear()
        self.limit = limit

    def resume(self) -> None:
        """Send what has piled up, unless the connection is frozen."""
        self.limit = QUEUE
        if self._reading.is_set():
            self._writing.set()

    def heartbeat(self) -> None:
        """Once a second: v2 always while subscribed, v1 when nothing else was sent."""
        if self.version == 2 and (self.subscriptions or self.refused):
            self.send(frames.HEARTBEAT_V2)
        elif self.version == 1 and self.subscriptions and not self._busy:
            self.send(frames.HEARTBEAT_V1)
        self._busy = False

    def subscribe(self, subscription: Subscription, *, snapshot: bool) -> None:
        """Begin to send; the acknowledgement is already queued."""
        key = (subscription.channel, subscription.symbol)
        active = self.exchange.active
        subscription.dead = active.find("F02", subscription.symbol, key[0]) is not None
        self.subscriptions[key] = subscription
        if subscription.channel == "book":
            self.exchange.view(subscription.symbol, subscription.depth)
        subscription.due = snapshot
        if not any(active.find(code, subscription.symbol, key[0]) for code in ("F03", "F32")):
            self._first(subscription)
        if subscription.channel == "trade":
            self.started()

    def tell(self, news: News) -> None:
        """Send news of the market if this client subscribed to it."""
        channel = "trade" if isinstance(news, TradeNews) else "book"
        subscription = self.subscriptions.get((channel, news.pair.symbol))
        if subscription is None or subscription.dead:
            return
        if isinstance(news, BookNews) and news.view.depth != subscription.depth:
            return
        if subscription.due:
            self._first(subscription)  # the snapshot includes the news
        else:
            self.send(self._text(subscription, news))

    def announce(self, system: str) -> None:
        """The venue's state."""
        text = frames.status_v2 if self.version == 2 else frames.status_v1
        self.send(text(self.number, system))

    async def run(self, answer: Callable[["Connection", str], None]) -> None:
        """Serve until the client leaves or the server closes."""
        await self.socket.prepare(self._request)
        writer = asyncio.create_task(self._write())
        self.announce("maintenance" if self.exchange.active.find("F32") else "online")
        try:
            await self._read(answer)
        finally:
            writer.cancel()
            (outcome,) = await asyncio.gather(writer, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise outcome

    async def _read(self, answer: Callable[["Connection", str], None]) -> None:
        while True:
            message = await self.socket.receive()
            await self._reading.wait()
            if message.type is WSMsgType.PING:
                await self.socket.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                answer(self, message.data)
            elif message.type is WSMsgType.BINARY:
                answer(self, message.data.decode("utf-8", "replace"))
            elif message.type is not WSMsgType.PONG:
                await self.socket.close()
                return

    async def _write(self) -> None:
        while True:
            item = await self._queue.get()
            await self._writing.wait()
            try:
                if isinstance(item, bytes):
                    await self.socket.send_frame(item, WSMsgType.TEXT)
                    continue
                if item == ABNORMAL:
                    self.drop()
                else:
                    await self.socket.close(code=item)
            except ClientConnectionResetError:
                pass  # the client has left; the reader sees it too
            return

    def _first(self, subscription: Subscription) -> None:
        """The snapshot, and the repeated trades of fault F13."""
        if subscription.dead:
            return
        due, subscription.due = subscription.due, False
        symbol = subscription.symbol
        pair = self.exchange.pairs.get(symbol)
        if pair is None:  # the instrument and heartbeat channels
            if due and subscription.channel == "instrument":
                self.send(frames.instrument_v2(self.exchange.pairs.values()))
            return
        if subscription.channel == "book" and due:
            self.send(self._book(subscription))
        if subscription.channel != "trade":
            return
        if due:
            recent = TradeNews(pair, self.exchange.recent(symbol))
            self.send(self._text(subscription, recent, "snapshot"))
        again = self.exchange.active.find("F13", symbol)
        if again is not None:
            trades = self.exchange.recent(symbol, int(again.params["trades"]))
            self.send(self._text(subscription, TradeNews(pair, trades)))

    def _book(self, subscription: Subscription) -> bytes:
        pair = self.exchange.pairs[subscription.symbol]
        view = self.exchange.view(subscription.symbol, subscription.depth)
        style = self.exchange.style()
        if self.version == 2:
            return frames.book_v2(pair, view, self.wall_ns(), style, None)
        return frames.book_v1(subscription.channel_id, pair, view, style, None)

    def _text(self, subscription: Subscription, news: News, kind: str = "update") -> bytes:
        pair, style, number = news.pair, self.exchange.style(), subscription.channel_id
        if isinstance(news, TradeNews):
            if self.version == 2:
                return frames.trades_v2(kind, pair, news.trades, style)
            return frames.trades_v1(number, pair, news.trades, style)
        if self.version == 2:
            return frames.book_v2(pair, news.view, news.ns, style, news.changes)
        return frames.book_v1(number, pair, news.view, style, news.changes)
