"""The market channel: one client's socket, and the audience that all sockets are.

A client's first frame says `type: market`; later ones subscribe and unsubscribe; `PING` is answered
`PONG`. There are no acknowledgements. The first books come as one list. Faults that belong to
sockets act here.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from aiohttp import ClientConnectionResetError, WSMsgType, web
from msgspec import Struct

from tapewatch.simulate.polymarket_exchange import PolymarketExchange
from tapewatch.simulate.polymarket_frames import INVALID, NO_NEW_ASSETS, PONG
from tapewatch.simulate.polymarket_listing import Listing

QUEUE: Final = 20_000  # frames waiting for one client; beyond, it is too slow and is dropped
REQUEST_BYTES: Final = 1 << 20  # one message of a client
TOO_SLOW: Final = 1013  # close code "try again later" (IANA registry of WebSocket close codes)
ABNORMAL: Final = 1006  # never on the wire: TCP ends without a close frame (RFC 6455, 7.4.1)
HANG_UP_S: Final = (0.1, 0.2)  # from a frame with too many ids to the close (protocols 2.4)
CUSTOM: Final = frozenset({"best_bid_ask", "new_market", "market_resolved"})


class Limits(Struct, frozen=True):
    """`frame_ids` in one subscription, `socket_ids` in all of one socket."""

    frame_ids: int = 500
    socket_ids: int = 500


class _Request(Struct):
    """What clients write. `type` in the first frame, `operation` in the others."""

    type: str = ""
    operation: str = ""
    assets_ids: list[str] = []
    custom_feature_enabled: bool | None = None


_decode = msgspec.json.Decoder(_Request).decode


class Socket:
    """One client. `dead`: tokens that it believes to be subscribed to, but nothing comes."""

    def __init__(self, request: web.Request, limits: Limits) -> None:
        self.tokens: dict[str, bool] = {}  # value: does it live?
        self.custom = self.begun = self.closing = False
        self.frozen = False
        self.sent = 0
        self.socket = web.WebSocketResponse(
            autoping=False, autoclose=False, compress=False, max_msg_size=REQUEST_BYTES
        )
        self.limits = limits
        self._request = request
        self._queue: asyncio.Queue[bytes | int] = asyncio.Queue(
            QUEUE + 2  # one that is too many, and the close code behind it
        )
        self._held: list[bytes] | None = None  # what piles up while fault F06 lasts

    def send(self, data: bytes) -> None:
        """Queue one text frame; a client that is too far behind is closed."""
        if self.frozen or self.closing:
            return
        if self._held is not None and data != PONG:
            self._held.append(data)
        else:
            self._queue.put_nowait(data)
        if self._queue.qsize() + len(self._held or ()) > QUEUE:
            self.close(TOO_SLOW)

    def close(self, code: int) -> None:
        """Close with `code`; what was queued is dropped."""
        self.closing = True
        while not self._queue.empty():
            self._queue.get_nowait()
        self._held = None
        self._queue.put_nowait(code)

    def leave(self, code: int) -> None:
        """Close with `code` after what is queued."""
        self.resume()
        self._queue.put_nowait(code)

    def drop(self) -> None:
        """End TCP now, whatever is unsent; harmless when it has ended."""
        if self._request.transport is not None:
            self._request.transport.abort()

    def freeze(self) -> None:
        """From now on neither send nor answer, for ever (fault F01)."""
        self.frozen = True

    @property
    def waiting(self) -> int:
        """Frames that wait for the client; 0 while it is we who hold them back."""
        return 0 if self.frozen else self._queue.qsize()

    def pause(self) -> None:
        """Let data pile up; PONG goes on (fault F06)."""
        self._held = [] if self._held is None else self._held

    def resume(self) -> None:
        """Send what has piled up."""
        held, self._held = self._held, None
        for data in held or ():
            self.send(data)

    async def run(self, answer: Callable[["Socket", str], None]) -> None:
        """Serve until the client leaves or the server closes."""
        await self.socket.prepare(self._request)
        writer = asyncio.create_task(self._write())
        try:
            async for message in self.socket:
                if self.frozen:
                    continue
                if message.type is WSMsgType.PING:
                    await self.socket.pong(message.data)
                elif message.type is WSMsgType.TEXT:
                    answer(self, message.data)
                elif message.type is WSMsgType.BINARY:
                    answer(self, message.data.decode("utf-8", "replace"))
            await self.socket.close()
        finally:
            writer.cancel()
            (outcome,) = await asyncio.gather(writer, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise outcome

    async def _write(self) -> None:
        over = False
        while not over:
            item = await self._queue.get()
            try:
                if isinstance(item, bytes):
                    await self.socket.send_frame(item, WSMsgType.TEXT)
                    self.sent += 1
                    continue
                if item == ABNORMAL:
                    self.drop()
                else:
                    await self.socket.close(code=item)
            except ClientConnectionResetError:
                pass  # the client has left; the reader sees it too
            over = True


class Sockets:
    """All sockets, as the exchange's audience. `later` calls after some seconds."""

    def __init__(
        self,
        exchange: PolymarketExchange,
        limits: Limits,
        later: Callable[[float, Callable[[], None]], None],
        rng: random.Random,
    ) -> None:
        self.open: dict[Socket, None] = {}
        self.opened = 0  # since the start
        self._exchange, self._limits, self._later, self._rng = exchange, limits, later, rng
        self._listeners: dict[str, dict[Socket, None]] = {}  # by token

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One websocket, from handshake to close."""
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.Response(status=426, text="this is a websocket")
        socket = Socket(request, self._limits)
        self.open[socket] = None
        self.opened += 1
        if self._exchange.active.find("F06") is not None:
            socket.pause()
        try:
            await socket.run(self._answer)
        finally:
            del self.open[socket]
            self._forget(socket, tuple(socket.tokens))
        return socket.socket

    def wanted(self, listing: Listing) -> bool:
        """True when somebody subscribes to a token of it."""
        return listing.yes in self._listeners or listing.no in self._listeners

    def tell(self, listing: Listing, token: str, topic: str, data: bytes) -> None:
        """To the subscribers of the token; an empty one: of either token, once."""
        if self.muted(listing, topic):
            return
        names = (token,) if token else (listing.yes, listing.no)
        told: dict[Socket, None] = {}
        for name in names:
            for socket in self._listeners.get(name, ()):
                if socket.tokens.get(name) and (socket.custom or topic not in CUSTOM):
                    told[socket] = None
        for socket in told:
            socket.send(data)

    def announce(self, listing: Listing, topic: str, data: bytes) -> None:
        """To all who asked for custom features."""
        if not self.muted(listing, topic):
            for socket in self.open:
                if socket.begun and socket.custom:
                    socket.send(data)

    def muted(self, listing: Listing, topic: str) -> bool:
        """Faults under which nothing is said."""
        active = self._exchange.active
        removed = active.find("F10", listing.condition)
        if removed is not None and removed.params["topic"] in {"all", topic}:
            return True
        return any(active.find(code, listing.condition, topic) for code in ("F04", "F32"))

    def waiting(self) -> int:
        """Frames that wait for the slowest client."""
        return max((socket.waiting for socket in self.open), default=0)

    def expire(self, conditions: Iterable[str] = ()) -> None:
        """Subscriptions made so far bring nothing any more (fault F05)."""
        named = frozenset(conditions)
        for socket in self.open:
            for token in socket.tokens:
                listing = self._exchange.catalogue.by_token[token]
                if not named or listing.condition in named:
                    socket.tokens[token] = False

    def freeze(self, share: float) -> list[str]:
        """Subscriptions to this share of markets bring nothing on the sockets that are open now
        (fault F25); the markets' conditions, in the order of their ids."""
        frozen: dict[str, None] = {}
        for socket in self.open:
            for token in socket.tokens:
                listing = self._exchange.catalogue.by_token[token]
                draw = hashlib.sha256(listing.condition.encode()).digest()[0] / 256
                if draw < share:
                    socket.tokens[token] = False
                    frozen[listing.condition] = None
        return sorted(frozen)

    def revive(self) -> None:
        """All subscriptions bring data again."""
        for socket in self.open:
            socket.tokens = dict.fromkeys(socket.tokens, True)

    def _answer(self, socket: Socket, text: str) -> None:
        if text == "PING":
            socket.send(PONG)
            return
        try:
            request = _decode(text.encode())
        except (msgspec.DecodeError, UnicodeEncodeError):
            socket.send(INVALID)
            return
        if not socket.begun:
            if request.type.lower() != "market":
                return  # the venue says nothing, and sends nothing
            socket.begun = True
        elif request.operation == "unsubscribe":
            self._forget(socket, request.assets_ids)
            return
        elif request.operation != "subscribe" and request.type.lower() != "market":
            socket.send(INVALID)
            return
        if request.custom_feature_enabled is not None:
            socket.custom = request.custom_feature_enabled
        self._subscribe(socket, request.assets_ids)

    def _subscribe(self, socket: Socket, tokens: list[str]) -> None:
        active, catalogue = self._exchange.active, self._exchange.catalogue
        loop, partial = active.find("F09"), active.find("F08")
        most = int(loop.params["ids"]) if loop else socket.limits.frame_ids
        if len(tokens) > most or len(tokens) + len(socket.tokens) > socket.limits.socket_ids:
            self._later(self._rng.uniform(*HANG_UP_S), lambda: socket.close(ABNORMAL))
            return
        if partial is not None:
            tokens = tokens[: int(partial.params["ids"])]
        known = [token for token in dict.fromkeys(tokens) if token in catalogue.by_token]
        fresh = [token for token in known if not socket.tokens.get(token)]
        if tokens and not fresh:
            socket.send(NO_NEW_ASSETS)
            return
        for token in fresh:
            self._exchange.want(catalogue.by_token[token])
            socket.tokens[token] = True
            self._listeners.setdefault(token, {})[socket] = None
        faces = [
            face
            for token in fresh
            if not self.muted(catalogue.by_token[token], "book")
            and (face := self._exchange.book(token)) is not None
        ]
        if faces:
            socket.send(b"[" + b",".join(face.message() for face in faces) + b"]")

    def _forget(self, socket: Socket, tokens: Iterable[str]) -> None:
        for token in tokens:
            socket.tokens.pop(token, None)
            listeners = self._listeners.get(token)
            if listeners is not None:
                listeners.pop(socket, None)
                if not listeners:
                    del self._listeners[token]
