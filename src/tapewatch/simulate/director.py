"""Runs a simulated venue in time: market steps and scripted faults on one schedule, in one task.

One schedule for both keeps a run reproducible: at equal times the fault comes first, always.
"""

import asyncio
import math
from collections.abc import Iterable
from typing import Final

from tapewatch.model.time import NS_PER_S
from tapewatch.simulate.connection import ABNORMAL, Connection
from tapewatch.simulate.exchange import Exchange, News
from tapewatch.simulate.faults import Fault, kind_of
from tapewatch.simulate.frames import bad_frames
from tapewatch.simulate.market import Flow
from tapewatch.simulate.source import Player
from tapewatch.simulate.truth import Record

FAIR_STEPS: Final = 20  # market steps without giving way to the sockets, when late
AHEAD: Final = 500  # frames that may wait for a client while a file is played at full speed
HEARTBEAT_S: Final = 1.0
GOING_AWAY: Final = 1001  # close code of a server that leaves (RFC 6455, 7.4.1)

# The exchange writes these to the truth, since it knows what they hit; all others are intervals.
_TOLD_BY_EXCHANGE: Final = frozenset({"F14", "F15", "F16", "F17"})
# These change what a book or the whole feed looks like: say so at once, not at the next step.
_VISIBLE: Final = frozenset({"F03", "F22", "F26", "F32"})


class Director:
    """`start` first, then `run` and `beat` as two tasks. `connections` is the server's live set."""

    def __init__(
        self, flow: Flow, exchange: Exchange, faults: Iterable[Fault], connections: set[Connection]
    ) -> None:
        self._flow, self._exchange, self._connections = flow, exchange, connections
        changes = [(fault.at_s, False, fault) for fault in faults]
        changes += [
            (fault.at_s + fault.for_s, True, fault) for _, _, fault in changes if fault.for_s
        ]
        self._changes = sorted(changes, key=lambda change: change[:2])
        self._start_s = 0.0

    def start(self, loop_s: float) -> None:
        """`loop_s` of the event loop is second 0 of the script. What came before happens now."""
        self._start_s = loop_s
        while self._flow.next_at() < 0:
            self._exchange.apply(self._flow.advance(0.0))

    def play(self) -> None:
        """Somebody listens to trades: a file that waits for that begins."""
        if isinstance(self._flow, Player):
            self._flow.begin(self._now())

    async def run(self) -> None:
        """Until nothing is left to do, which a market never reaches."""
        steps = 0
        while True:
            change_at = self._changes[0][0] if self._changes else math.inf
            due, now = min(self._flow.next_at(), change_at), self._now()
            if math.isinf(due):
                return
            if due > now:
                await asyncio.sleep(due - now)
                continue
            if change_at <= due:
                self._change(*self._changes.pop(0))
            else:
                self._deliver(self._exchange.apply(self._flow.advance(now)))
            steps += 1
            if steps % FAIR_STEPS == 0:
                await self._give_way()

    async def beat(self) -> None:
        """Venue heartbeats, once a second for ever."""
        count = 0
        while True:
            count += 1
            await asyncio.sleep(max(0.0, count * HEARTBEAT_S - self._now()))
            for connection in tuple(self._connections):
                connection.heartbeat()

    async def _give_way(self) -> None:
        await asyncio.sleep(0)
        if isinstance(self._flow, Player) and self._flow.unpaced:
            while any(one.waiting > AHEAD for one in self._connections):  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self._start_s

    def _deliver(self, news: Iterable[News]) -> None:
        for one in news:
            for connection in tuple(self._connections):
                connection.tell(one)

    def _change(self, at_s: float, over: bool, fault: Fault) -> None:  # noqa: FBT001  a sort key
        exchange = self._exchange
        if over:
            exchange.active.end(fault)
            self._deliver(exchange.ended(fault))
            self._undo(fault)
        else:
            exchange.active.begin(fault)
            exchange.begun(fault)
            if fault.fault not in _TOLD_BY_EXCHANGE:
                self._note(fault)
                if fault.for_s == 0:
                    exchange.active.end(fault)
            self._do(fault)
        if fault.fault in _VISIBLE:
            for symbol in exchange.pairs:
                self._deliver(exchange.refresh(symbol, at_s))

    def _do(self, fault: Fault) -> None:
        """What a fault does to connections when it begins."""
        for connection in tuple(self._connections):
            match fault.fault:
                case "F01":
                    connection.freeze()
                case "F11":
                    connection.close(int(fault.params["code"]))
                case "F12":
                    connection.close(ABNORMAL)
                case "F13":
                    connection.close(GOING_AWAY)
                case "F32":
                    connection.announce("maintenance")
                case "F41":
                    pair = self._exchange.pair_of(fault)
                    for frame in bad_frames(str(fault.params["frame"]), connection.version, pair):
                        connection.send(frame)
                case "F46":
                    connection.pause(int(fault.params["queue"]))
                case _:
                    return  # acts elsewhere

    def _undo(self, fault: Fault) -> None:
        for connection in tuple(self._connections):
            if fault.fault == "F32":
                connection.announce("online")
            elif fault.fault == "F46":
                connection.resume()

    def _note(self, fault: Fault) -> None:
        kind, symbol = kind_of(fault), fault.scope.symbol
        start = self._exchange.base_ns + round(fault.at_s * NS_PER_S)
        end = start + round(fault.for_s * NS_PER_S)
        instrument = f"kraken:{symbol}" if symbol else ""
        record = Record(start, end, kind.name, instrument, kind.code, dict(fault.params))
        self._exchange.truth.note(record)
