"""When the scripted faults of the simulated Polymarket begin and end, and what they do then.

Faults that only change an answer act where the answer is made; these here do something to sockets,
books or listings.
"""

from collections.abc import Callable, Iterable
from typing import Final

from msgspec.structs import replace

from tapewatch.simulate.faults import Fault
from tapewatch.simulate.polymarket_book import ONE, Generation
from tapewatch.simulate.polymarket_crowd import Crowd
from tapewatch.simulate.polymarket_faults import UNHYDRATED, complete, kind_of
from tapewatch.simulate.polymarket_floor import Floor
from tapewatch.simulate.polymarket_frames import Form
from tapewatch.simulate.polymarket_listing import Listing
from tapewatch.simulate.polymarket_planting import Planter
from tapewatch.simulate.polymarket_socket import Sockets

_BAD: Final[dict[str, bytes]] = {
    "text": b"INVALID OPERATION",
    "empty": b"[]",
    "nan": b'{"event_type":"last_trade_price","asset_id":"1","market":"0x0","price":NaN,'
    b'"size":Infinity,"side":"BUY","timestamp":"1"}',
    "truncated": b'{"event_type":"price_change","market":"0x',
    # The last one: a client must end the connection (RFC 6455, 8.1).
    "not_utf8": b'{"event_type":"book","market":"\xff\xfe"}',
}
# These act on one market: that of the scope, or the first.
_SINGLE: Final = frozenset({"F22", "F26", "F28", "F30", "F31"})


class Troubles:
    """`generation` and `form` are what the venue does when no fault changes them."""

    def __init__(
        self, floor: Floor, planter: Planter, sockets: Sockets, generation: Generation, form: Form
    ) -> None:
        self._floor, self._planter, self._sockets = floor, planter, sockets
        self._exchange, self._agenda = floor.exchange, floor.agenda
        self._generation, self._form = generation, form
        self._new: dict[int, Listing] = {}  # by fault, markets that are not hydrated
        self._ticks: dict[int, int] = {}  # by fault, what the tick was

    def script(self, faults: Iterable[Fault]) -> None:
        """Do these at their times. Raises `ConfigError` for an unknown market."""
        for one in faults:
            fault = self._placed(complete(one))
            self._agenda.at(fault.at_s, self._beginning(fault))

    def begin(self, fault: Fault) -> Callable[[], None]:
        """From now on; returns what ends it."""
        fault = self._placed(fault)
        self._exchange.active.begin(fault)
        told = dict(fault.params)
        crowd = self._crowd(fault)
        frozen = self._do(fault, crowd)
        if frozen:
            told["conditions"] = " ".join(frozen)
        kind = kind_of(fault)
        instrument = crowd.book.listing.instrument if crowd else ""
        self._planter.note(kind.name, instrument, told, fault.for_s, kind.code)
        if not fault.for_s:
            self._exchange.active.end(fault)
        return lambda: self.end(fault)

    def end(self, fault: Fault) -> None:
        """No more."""
        self._exchange.active.end(fault)
        crowd = self._crowd(fault)
        match fault.fault:
            case "F06":
                for socket in self._sockets.open:
                    socket.resume()
            case "F21":
                self._exchange.rehash(self._generation)
            case "F25":
                self._sockets.revive()
            case "F29":
                self._planter.hydrate(self._new.pop(id(fault)))
            case "F32":
                for one in self._floor.crowds.values():
                    one.come_back()
            case "F40":
                self._exchange.form = self._form
            case _ if crowd is not None:
                self._calm(fault, crowd)
            case _:
                return  # ends where it acts

    def _calm(self, fault: Fault, crowd: Crowd) -> None:
        """The end of a fault of one book."""
        if fault.fault in {"F22", "F26", "F28"}:
            crowd.release()
        elif fault.fault == "F31":
            crowd.pinned = False
            self._exchange.retick(crowd.book, self._ticks.pop(id(fault)))
            self._exchange.show(crowd.book)

    def _placed(self, fault: Fault) -> Fault:
        """With the condition id of the market in its scope."""
        if not fault.scope.symbol:
            return fault
        condition = self._planter.crowd(fault.scope.symbol).book.listing.condition
        return replace(fault, scope=replace(fault.scope, symbol=condition))

    def _beginning(self, fault: Fault) -> Callable[[float], None]:
        def act(at_s: float) -> None:
            over = self.begin(fault)
            if fault.for_s:
                self._agenda.at(at_s + fault.for_s, lambda _: over())

        return act

    def _crowd(self, fault: Fault) -> Crowd | None:
        named = fault.scope.symbol or ("1" if fault.fault in _SINGLE else "")
        return self._planter.crowd(named) if named else None

    def _do(self, fault: Fault, crowd: Crowd | None) -> list[str]:
        """What a fault does when it begins; F25: which markets it hits."""
        match fault.fault:
            case "F01" | "F06" | "F11" | "F12" | "F41":
                self._shake(fault)
            case "F05":
                self._sockets.expire([fault.scope.symbol] if fault.scope.symbol else ())
            case "F21":
                name = str(fault.params["generation"]).removeprefix("gen")
                self._exchange.rehash(name)  # type: ignore[arg-type]
            case "F25":
                return self._sockets.freeze(float(fault.params["share"]))
            case "F29":
                hidden = UNHYDRATED[str(fault.params["tokens"])]
                self._new[id(fault)] = self._planter.new_market(hidden)
            case "F32":
                for one in self._floor.crowds.values():
                    one.leave()
            case "F40":
                self._exchange.form = fault.params["form"]  # type: ignore[assignment]
            case _ if crowd is not None:
                self._disturb(fault, crowd)
            case _:
                return []  # acts where the answer is made
        return []

    def _disturb(self, fault: Fault, crowd: Crowd) -> None:
        """Faults of one book."""
        params, book = fault.params, crowd.book
        match fault.fault:
            case "F22":
                self._planter.cross(crowd, int(params["ticks"]))
            case "F26":
                self._planter.shift(crowd, float(params["percent"]))
            case "F28":
                side = params["side"]
                bids = {} if side in {"bid", "both"} else dict(book.bids)
                asks = {} if side in {"ask", "both"} else dict(book.asks)
                crowd.hold(bids, asks)
            case "F30":
                self._planter.resolve(
                    book.listing.condition,
                    int(params["winner"]),
                    announced=bool(params["announced"]),
                )
            case "F31":
                self._ticks[id(fault)] = book.listing.tick
                crowd.pinned = True
                self._exchange.retick(book, max(1, round(float(params["tick"]) * ONE)))
                after_s = float(params["after_s"])
                if after_s:
                    later = self._agenda.now() + after_s
                    self._agenda.at(later, lambda _: self._exchange.show(book))
            case _:
                return

    def _shake(self, fault: Fault) -> None:
        """Faults of open sockets."""
        if fault.fault == "F12" and fault.scope.call not in {"", "ws"}:
            return
        for socket in tuple(self._sockets.open):
            match fault.fault:
                case "F01":
                    socket.freeze()
                case "F06":
                    socket.pause()
                case "F11":
                    socket.close(int(fault.params["code"]))
                case "F12":
                    socket.drop()
                case _:
                    wanted = str(fault.params["frame"])
                    for name, frame in _BAD.items():
                        if wanted in {"all", name}:
                            socket.send(frame)
