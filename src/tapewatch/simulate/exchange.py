"""What the simulated venue knows and what it has to say: trades, books, and the faults in both.

Synchronous and without sockets. A `Step` of the market goes in, `News` for subscribers come out; a
connection turns news into text when it wants them.
"""

import bisect
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from tapewatch.model.time import NS_PER_S
from tapewatch.simulate.book import Changes, DepthView, Sides
from tapewatch.simulate.faults import ActiveFaults, Fault, kind_of
from tapewatch.simulate.frames import PLAIN, Executed, Style
from tapewatch.simulate.market import Fill, Flow, Step
from tapewatch.simulate.pairs import Pair
from tapewatch.simulate.truth import Record, Truth

HISTORY: Final = 50_000  # trades kept per pair for snapshots and REST
FIRST_ID: Final = 10_000_001  # any number; ids are consecutive from here
RECENT: Final = 50  # trades in a snapshot


class TradeNews(Struct, frozen=True):
    """Executions to announce, in the order of announcement."""

    pair: Pair
    trades: tuple[Executed, ...]


class BookNews(Struct, frozen=True):
    """A book message for the subscribers of one depth; `view` is the state after it."""

    pair: Pair
    view: DepthView
    ns: int
    changes: Changes


News = TradeNews | BookNews


class _Loss(Struct):
    """Fault F17 at work on one view: which levels the lost message changed, once there was one."""

    fault: Fault
    began_ns: int = 0
    levels: set[tuple[str, int]] = set()


class Exchange:
    """All pairs of the venue. `books` are read, never changed."""

    def __init__(
        self, pairs: Iterable[Pair], flow: Flow, active: ActiveFaults, truth: Truth, base_ns: int
    ) -> None:
        self.pairs = {pair.symbol: pair for pair in pairs}
        self.active = active
        self.truth, self.base_ns, self._flow = truth, base_ns, flow
        self._history: dict[str, list[Executed]] = {symbol: [] for symbol in self.pairs}
        self._next_id = dict.fromkeys(self.pairs, FIRST_ID)
        self._views: dict[tuple[str, int], DepthView] = {}
        self._losing: dict[tuple[str, int], _Loss] = {}
        self._held: dict[int, list[Executed]] = {}  # by id of the fault that keeps them back
        self._now_ns = base_ns

    def style(self) -> Style:
        """How text is written at this moment."""
        floats, unit = self.active.find("F19"), self.active.find("F43")
        if floats is None and unit is None:
            return PLAIN
        return Style(
            floats=str(floats.params["what"]) if floats else "",
            unit=str(unit.params["unit"]) if unit else "",
        )

    def skew_ns(self) -> int:
        """By how much the venue's clock is off (fault F42)."""
        fault = self.active.find("F42")
        return round(float(fault.params["seconds"]) * NS_PER_S) if fault else 0

    def apply(self, step: Step) -> list[News]:
        """Take one step of the market; what subscribers should be told."""
        self._now_ns = self.base_ns + round(step.at_s * NS_PER_S)
        pair = self.pairs[step.symbol]
        news = self._trade(pair, step.fills) if step.fills else []
        return news + self.refresh(step.symbol, step.at_s)

    def refresh(self, symbol: str, at_s: float) -> list[News]:
        """Book messages for whatever changed since the last ones."""
        self._now_ns = self.base_ns + round(at_s * NS_PER_S)
        if self._muted(symbol, "book"):
            return []
        ns = self._now_ns + self.skew_ns()
        sides = self.sides(symbol)
        news: list[News] = []
        for (of, depth), view in self._views.items():
            changes = view.update(sides, self._now_ns) if of == symbol else None
            if changes is not None and not self._lost(symbol, depth, changes):
                news.append(BookNews(self.pairs[symbol], view, ns, changes))
        return news

    def view(self, symbol: str, depth: int) -> DepthView:
        """The state that subscribers of this depth hold; begun at the first request."""
        key = (symbol, depth)
        if key not in self._views:
            self._views[key] = DepthView(depth)
            self._views[key].update(self.sides(symbol), self._now_ns)
        return self._views[key]

    def sides(self, symbol: str) -> Sides:
        """The book as the venue shows it, faults F22 and F26 included."""
        sides = self._flow.books[symbol].sides
        crossed, glitch = self._own("F22", symbol), self._own("F26", symbol)
        if glitch is not None:
            touch = max(sides.bids)
            ticks = round(touch * float(glitch.params["percent"]) / 100)
            sides = Sides(
                {p + ticks: level for p, level in sides.bids.items() if p + ticks > 0},
                {p + ticks: level for p, level in sides.asks.items() if p + ticks > 0},
            )
        if crossed is not None:
            price = min(sides.asks) + int(crossed.params["ticks"])
            sides = Sides({**sides.bids, price: sides.bids[max(sides.bids)]}, sides.asks)
        return sides

    def recent(self, symbol: str, count: int = RECENT) -> tuple[Executed, ...]:
        """The last trades, oldest first."""
        return tuple(self._history[symbol][-count:])

    def since(self, symbol: str, order: int, count: int) -> Sequence[Executed]:
        """At most `count` trades after the cursor `order`, oldest first."""
        history = self._history[symbol]
        start = bisect.bisect_right(history, order, key=lambda trade: trade.order)
        return history[start : start + count]

    def begun(self, fault: Fault) -> None:
        """A fault's time has come: whatever must be prepared."""
        if fault.fault == "F17":
            symbol = self.pair_of(fault).symbol
            self._losing |= {key: _Loss(fault) for key in self._views if key[0] == symbol}

    def ended(self, fault: Fault) -> list[News]:
        """A fault's time is over: release what it held, and write down what it did."""
        news: list[News] = []
        trades = self._held.pop(id(fault), [])
        if fault.fault == "F16" and trades:
            pair = self.pair_of(fault)
            news = [TradeNews(pair, (trade,)) for trade in reversed(trades)]
        if trades:
            self._note(fault, trades[0].ns, trades[-1].ns, _ids(trades))
        return news

    def _trade(self, pair: Pair, fills: Sequence[Fill]) -> list[News]:
        """Execute, remember, and announce as the active faults allow."""
        equal = self._own("F14", pair.symbol)
        if equal is not None:
            fills = [*fills, *[fills[-1]] * (int(equal.params["trades"]) - 1)]
        hidden = self._own("F15", pair.symbol)
        kept = not (hidden and hidden.params["lost"])
        trades = [self._execute(pair, fill, kept=kept) for fill in fills]
        if equal is not None:
            self.active.end(equal)
            same = trades[len(trades) - int(equal.params["trades"]) :]
            self._note(equal, same[0].ns, same[0].ns, _ids(same))
        if self._muted(pair.symbol, "trade"):
            return []
        if hidden is not None:
            self._hold(hidden, trades)
            return []
        held = self._own("F16", pair.symbol)
        if held is not None:
            return self._hold(held, trades)
        return [TradeNews(pair, tuple(trades))]

    def _execute(self, pair: Pair, fill: Fill, *, kept: bool) -> Executed:
        history, symbol = self._history[pair.symbol], pair.symbol
        ns = self._now_ns + self.skew_ns()
        last = history[-1].order if history else 0
        trade = Executed(
            id=self._next_id[symbol],
            ns=ns,
            order=max(ns, last + 1),
            price=fill.price,
            size=fill.size,
            taker=fill.taker,
            limit=fill.limit,
        )
        self._next_id[symbol] += 1
        if kept:
            history.append(trade)
            if len(history) > 2 * HISTORY:
                del history[:HISTORY]
        return trade

    def _hold(self, fault: Fault, trades: Sequence[Executed]) -> list[News]:
        """Keep trades from the socket until the fault has had as many as it wants."""
        held = self._held.setdefault(id(fault), [])
        held.extend(trades)
        if fault.for_s == 0 and len(held) >= int(fault.params["trades"]):
            self.active.end(fault)
            return self.ended(fault)
        return []

    def _lost(self, symbol: str, depth: int, changes: Changes) -> bool:
        """Fault F17: is this message not sent? A message that would repair the loss by chance,
        since it replaces every level of it, is lost too."""
        loss = self._losing.get((symbol, depth))
        if loss is None:
            return False
        if loss.levels <= changes.levels():
            loss.levels = changes.levels()
            loss.began_ns = loss.began_ns or self._now_ns
            return True
        del self._losing[symbol, depth]
        self._note(loss.fault, loss.began_ns, self._now_ns, {"depth": depth})
        return False

    def _muted(self, symbol: str, channel: str) -> bool:
        return any(self.active.find(code, symbol, channel) for code in ("F03", "F32"))

    def _own(self, code: str, symbol: str) -> Fault | None:
        """A fault that acts on one pair only: the one in its scope, or the first listed."""
        fault = self.active.find(code, symbol)
        return fault if fault is not None and self.pair_of(fault).symbol == symbol else None

    def pair_of(self, fault: Fault) -> Pair:
        """The pair that a fault acts on when it acts on one only."""
        return self.pairs[fault.scope.symbol or next(iter(self.pairs))]

    def _note(self, fault: Fault, t_ns: int, end_ns: int, told: dict[str, int]) -> None:
        kind, pair = kind_of(fault), self.pair_of(fault)
        params = {**fault.params, **told}
        self.truth.note(Record(t_ns, end_ns, kind.name, pair.instrument, kind.code, params))


def _ids(trades: Sequence[Executed]) -> dict[str, int]:
    return {"first_id": trades[0].id, "last_id": trades[-1].id}
