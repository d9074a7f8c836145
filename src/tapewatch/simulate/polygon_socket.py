"""Websockets of the simulated node: calls as over HTTP, and subscriptions to heads and logs."""

import asyncio
from typing import Any, Final

from aiohttp import WSMsgType, web
from msgspec import Struct, json

from tapewatch.simulate.polygon_chain import Block
from tapewatch.simulate.polygon_node import LogFilter, Node, RpcFault, filter_of
from tapewatch.simulate.polymarket_listing import identity

WAITING: Final = 10_000  # notifications to one client; it is closed beyond, as by a real node
FRAME_BYTES: Final = 1 << 20
HEADS: Final = LogFilter(frozenset(), ())  # stands for a subscription to new heads


class _Subscription(Struct, frozen=True):
    """`dead`: it was acknowledged while fault F02 was on, so it brings nothing."""

    wanted: LogFilter
    heads: bool
    dead: bool


class NodeSocket:
    """One client."""

    def __init__(self, request: web.Request, node: Node) -> None:
        self.socket = web.WebSocketResponse(max_msg_size=FRAME_BYTES)
        self._request, self._node = request, node
        self._subscriptions: dict[str, _Subscription] = {}
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(WAITING)
        self._count = 0

    async def run(self) -> None:
        """Until it is closed."""
        await self.socket.prepare(self._request)
        sending = asyncio.create_task(self._send())
        try:
            async for message in self.socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    data = message.data
                    self._say(self._answer(data if isinstance(data, bytes) else data.encode()))
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    def block(self, block: Block, *, removed: bool) -> None:
        """A block came, or was taken back."""
        if self._node.active.find("F04"):
            return
        for name, one in self._subscriptions.items():
            if one.dead:
                continue
            if one.heads:
                rows = [] if removed else [block.header()]
            else:
                rows = list(self._node.rows(block, one.wanted, removed=removed))
            for row in rows:
                about = {"subscription": name, "result": row}
                self._say({"jsonrpc": "2.0", "method": "eth_subscription", "params": about})

    def leave(self, code: int) -> None:
        """Close politely; 1006 drops TCP."""
        if code == 1006:
            self.drop()
        else:
            self._closing = asyncio.create_task(self.socket.close(code=code))

    def drop(self) -> None:
        """Without a word."""
        if self._request.transport is not None:
            self._request.transport.abort()

    def _answer(self, data: bytes) -> Any:
        try:
            asked = json.decode(data)
        except (ValueError, RecursionError):
            return self._node.body(data)
        method = asked.get("method") if isinstance(asked, dict) else None
        if method not in {"eth_subscribe", "eth_unsubscribe"}:
            return self._node.body(data)
        params = asked.get("params")
        call = self._subscribe if method == "eth_subscribe" else self._unsubscribe
        try:
            result = call(params if isinstance(params, list) and params else [None])
        except RpcFault as fault:
            error = {"code": fault.code, "message": str(fault)}
            return {"jsonrpc": "2.0", "id": asked.get("id"), "error": error}
        return {"jsonrpc": "2.0", "id": asked.get("id"), "result": result}

    def _subscribe(self, params: list[Any]) -> str:
        dead = self._node.active.find("F02") is not None
        if params[0] == "newHeads":
            one = _Subscription(HEADS, heads=True, dead=dead)
        elif params[0] == "logs":
            about = params[1] if len(params) > 1 and isinstance(params[1], dict) else {}
            one = _Subscription(filter_of(about), heads=False, dead=dead)
        else:
            raise RpcFault(-32601, f"no {str(params[0])[:40]} subscription in eth namespace")
        self._count += 1
        name = "0x" + identity(self._count, "subscription", 32)
        self._subscriptions[name] = one
        return name

    def _unsubscribe(self, params: list[Any]) -> bool:
        if self._subscriptions.pop(str(params[0]), None) is None:
            raise RpcFault(-32000, "subscription not found")
        return True

    def _say(self, what: Any) -> None:
        if self._waiting.full():
            self.drop()
            return
        self._waiting.put_nowait(json.encode(what))

    async def _send(self) -> None:
        while not self.socket.closed:
            data = await self._waiting.get()
            await self.socket.send_str(data.decode())
