"""The venue half of the suite: a sound toy passes, and every check can fail."""

import pathlib
from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec
import pytest

from tapewatch.model.errors import DecodeError
from tapewatch.model.events import Event, Status, Trade
from tapewatch.model.inputs import Frame, Link
from tapewatch.model.outputs import Fault
from tapewatch.model.time import NS_PER_MS, NS_PER_S
from tapewatch.testing.conformance import check_venue
from tapewatch.venues.base import Budget, Endpoint, Fetch, Poll
from tapewatch.venues.kraken import Kraken
from tapewatch.venues.polymarket import Polymarket
from tapewatch.venues.polymarket_markets import Market

T0 = 1_763_700_000 * NS_PER_S
FRAMES = [
    Frame(
        T0 + n * NS_PER_S // 3, "toy", b'{"id":%d,"pair":"A/B","price":"%d.5"}' % (n, 100 + n % 7)
    )
    for n in range(50)
]


class Row(msgspec.Struct):
    id: int
    pair: str
    price: str


class Memory(msgspec.Struct):
    last_id: int = -1
    calls: int = 0


class ToyVenue(msgspec.Struct, frozen=True):
    """Sound, and the base of everything broken below."""

    name: ClassVar[str] = "toy"
    state_type: ClassVar[type] = Memory

    def instruments(self) -> tuple[str, ...]:
        return ("toy:A/B",)

    def endpoint(self) -> Endpoint:
        return Endpoint("ws://toy", 5.0, b"", 30.0, 1, 1.0)

    def budgets(self) -> tuple[Budget, ...]:
        return ()

    def streams(self, state: Any, /) -> tuple[str, ...]:
        return ("ws",)

    def subscribe(self, state: Any, stream: str, /) -> tuple[bytes, ...]:
        return ()

    def resubscribe(self, state: Any, fault: Fault, /) -> tuple[bytes, ...]:
        return ()

    def fetch(self, state: Any, fault: Fault, /) -> Fetch | None:
        return None

    def polls(self, state: Any, /) -> tuple[Poll, ...]:
        return ()

    def start(self) -> Any:
        return Memory()

    def decode(self, state: Any, frame: Frame, /) -> Iterable[Event]:
        try:
            row = msgspec.json.decode(frame.data, type=Row)
            price = float(row.price)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise DecodeError(str(error)) from error
        if not 0.0 < price < 1e18 or row.pair != "A/B" or row.id >= 2**63:
            return [Status("toy", "", frame.ts_recv, frame.ts_recv, "invalid")]
        if row.id <= state.last_id:
            return []
        state.last_id = row.id
        return [self.trade(frame, price, str(row.id))]

    def trade(self, frame: Frame, price: float, trade_id: str) -> Event:
        return Trade("toy:A/B", frame.ts_recv, frame.ts_recv, price, 1.0, "buy", trade_id)

    def on_link(self, state: Any, link: Link, /) -> Iterable[Event]:
        return []

    def on_timer(self, state: Any, now: int, /) -> Iterable[Event]:
        return []


def test_the_sound_toy_passes() -> None:
    check_venue(ToyVenue(), FRAMES)


class Loose(ToyVenue, frozen=False):
    pass


class WrongState(ToyVenue, frozen=True):
    state_type: ClassVar[type] = Row


class Blind(ToyVenue, frozen=True):
    def decode(self, state: Any, frame: Frame, /) -> Iterable[Event]:
        return []


class Refuses(ToyVenue, frozen=True):
    def decode(self, state: Any, frame: Frame, /) -> Iterable[Event]:
        raise DecodeError("no")


class Meddles(ToyVenue, frozen=True):
    def trade(self, frame: Frame, price: float, trade_id: str) -> Event:
        msgspec.structs.force_setattr(frame, "stream", "mine")
        return super().trade(frame, price, trade_id)


class SpeaksOfOthers(ToyVenue, frozen=True):
    def trade(self, frame: Frame, price: float, trade_id: str) -> Event:
        return Trade("other:A/B", frame.ts_recv, frame.ts_recv, price, 1.0, "buy")


class Infinite(ToyVenue, frozen=True):
    def trade(self, frame: Frame, price: float, trade_id: str) -> Event:
        return Trade("toy:A/B", frame.ts_recv, frame.ts_recv, price * 1e400, 1.0, "buy")


class Negative(ToyVenue, frozen=True):
    def trade(self, frame: Frame, price: float, trade_id: str) -> Event:
        return Trade("toy:A/B", frame.ts_recv, frame.ts_recv, -price, 1.0, "buy")


_outside = {"calls": 0}


class Unbudgeted(ToyVenue, frozen=True):
    def polls(self, state: Any, /) -> tuple[Poll, ...]:
        return (Poll("books", 10.0, (Fetch("http://toy/a", "rest:/a", "clob"),)),)


class ChangesWhenAsked(ToyVenue, frozen=True):
    def polls(self, state: Any, /) -> tuple[Poll, ...]:
        state.calls += 1
        return ()


class RemembersOutside(ToyVenue, frozen=True):
    def trade(self, frame: Frame, price: float, trade_id: str) -> Event:
        _outside["calls"] += 1
        return super().trade(frame, price, str(_outside["calls"]))


class Lossy(msgspec.Struct):
    last_id: int = -1

    def __post_init__(self) -> None:
        self.last_id = -1


class LosesMemory(ToyVenue, frozen=True):
    state_type: ClassVar[type] = Lossy

    def start(self) -> Any:
        return Lossy()


class Repeats(ToyVenue, frozen=True):
    def decode(self, state: Any, frame: Frame, /) -> Iterable[Event]:
        state.last_id = -1
        return super().decode(state, frame)


class Crashes(ToyVenue, frozen=True):
    def decode(self, state: Any, frame: Frame, /) -> Iterable[Event]:
        if not frame.data.startswith(b'{"id"'):
            raise KeyError("id")
        return super().decode(state, frame)


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (Loose, "not a frozen Struct"),
        (WrongState, "starts with a state that is no `state_type`"),
        (Blind, "finds no market event"),
        (Refuses, "cannot read a good frame"),
        (Meddles, "changes the frames"),
        (SpeaksOfOthers, "speaks of 'other:A/B'"),
        (Infinite, "gives a number beyond"),
        (Negative, "gives a bad trade"),
        (RemembersOutside, "the same frames to other events"),
        (LosesMemory, "a state that changes when it is packed"),
        (Repeats, "when every frame is delivered twice"),
        (Crashes, "raises KeyError"),
        (Unbudgeted, "has no budget for 'clob'"),
        (ChangesWhenAsked, "changes its memory when it is only asked"),
    ],
)
def test_each_check_can_fail(kind: type[ToyVenue], complaint: str) -> None:
    frames = msgspec.msgpack.decode(msgspec.msgpack.encode(FRAMES), type=list[Frame])
    with pytest.raises(AssertionError, match=complaint):
        check_venue(kind(), frames)


def test_no_frames_are_no_check() -> None:
    with pytest.raises(AssertionError, match="was given no frames"):
        check_venue(ToyVenue(), [])


def test_kraken_on_a_real_book(shared_data: pathlib.Path) -> None:
    folder = shared_data / "wire" / "kraken_v2"
    lines = (folder / "book_d10_btcusd_wiretext_restored_510.ndjson").read_bytes().splitlines()
    lines.insert(100, (folder / "nautilus_ws_trade_update.json").read_bytes())
    frames = [Frame(T0 + n * NS_PER_S // 16, "kraken", line) for n, line in enumerate(lines)]
    check_venue(Kraken(symbols=("BTC/USD",)), frames)


def test_polymarket_on_a_real_book(shared_data: pathlib.Path) -> None:
    path = shared_data / "wire" / "polymarket_ws" / "polypy_messages_hash.txt"
    lines = [line for line in path.read_bytes().splitlines() if line.startswith(b"{")]
    book, change = (msgspec.json.decode(line) for line in lines[:2])
    other = next(
        row["asset_id"] for row in change["price_changes"] if row["asset_id"] != book["asset_id"]
    )
    market = Market(condition=book["market"], yes=book["asset_id"], no=other)
    frames = [
        Frame(
            (book["timestamp"] + 1000 * n) * NS_PER_MS,
            "polymarket",
            line if n % 2 or not n else b"[%s]" % line,
            "rest:/books?batch=0" if n and n % 2 == 0 else "ws:0",
        )
        for n, line in enumerate(lines)
    ]
    check_venue(Polymarket(markets=(market,)), frames)
    check_venue(Polymarket(markets=(market,), mode="poll"), frames)
