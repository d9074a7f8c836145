"""Every registered detector meets the contract, and every check of the suite can fail."""

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from tapewatch.detect.base import Detector
from tapewatch.model.events import Event, Trade
from tapewatch.model.inputs import Timer
from tapewatch.model.outputs import Observation
from tapewatch.testing.conformance import check_detector

GROUP = "tapewatch.detectors"
_PAIR = ("kraken:BTC/USD", "kraken:ETH/USD")  # the instruments of the suite's own stream
# What a detector must be told before it does anything.
SETTINGS: dict[str, dict[str, Any]] = {
    "divergence": {"pairs": (_PAIR,)},
    "sum_arb": {"sets": (_PAIR,)},
}


@pytest.mark.parametrize("name", sorted(importlib.metadata.entry_points(group=GROUP).names))
def test_registered_detector(name: str) -> None:
    (entry,) = importlib.metadata.entry_points(group=GROUP, name=name)
    detector = entry.load()(**SETTINGS.get(name, {}))
    assert detector.name == name
    check_detector(detector)


class Memory(msgspec.Struct):
    last: float = 0.0
    seen: list[float] = []


class Toy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sound, and the base of everything broken below. Units: none. Reference: none.
    False alarms: none.
    """

    name: ClassVar[str] = "toy"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Trade,)
    state_type: ClassVar[type] = Memory

    def key(self, event: Event, /) -> str | None:
        return event.instrument if isinstance(event, Trade) else None

    def start(self, key: str, /) -> Memory:
        return Memory()

    def update(self, state: Memory, event: Event, /) -> Observation | None:
        assert isinstance(event, Trade)
        change = 0.0 if not state.last else min(1e9, abs(event.price / state.last - 1.0))
        state.last = max(event.price, 1e-300)
        return self.say(event, change)

    def say(self, event: Trade, score: float, **more: Any) -> Observation:
        return Observation("toy", event.instrument, "toy", event.ts_event, score, 1e9 + 1, **more)


def test_the_sound_toy_passes() -> None:
    check_detector(Toy())


class Unnamed(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__
    name: ClassVar[str] = ""


class Unversioned(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__
    version: ClassVar[int] = 0


class WantsAnything(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__
    wants: ClassVar[tuple[type[Event], ...]] = (Trade, Memory)  # type: ignore[assignment]


class WrongState(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__

    def start(self, key: str, /) -> Any:
        return Toy()


class PlainState(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__
    state_type: ClassVar[type] = dict


class Undocumented(Toy, frozen=True, forbid_unknown_fields=True):
    """Says nothing."""


class LaxConfig(Toy, frozen=True, forbid_unknown_fields=False):
    __doc__ = Toy.__doc__


class Loose(msgspec.Struct, forbid_unknown_fields=True):
    """Not frozen. Units: none. Reference: none. False alarms: none."""

    name: ClassVar[str] = "loose"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Trade,)
    state_type: ClassVar[type] = Memory

    def key(self, event: Event, /) -> str | None:
        return None

    def start(self, key: str, /) -> Memory:
        return Memory()

    def update(self, state: Memory, event: Event, /) -> Observation | None:
        return None


class ClaimsTimers(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__
    wants: ClassVar[tuple[type[Event], ...]] = (Trade, Timer)

    def key(self, event: Event, /) -> str | None:
        return event.instrument if isinstance(event, Trade) else "timer"


class OddKey(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__

    def key(self, event: Event, /) -> Any:
        return 7


class Deaf(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__

    def key(self, event: Event, /) -> str | None:
        return None


class Raises(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__

    def update(self, state: Memory, event: Event, /) -> Observation | None:
        assert isinstance(event, Trade)
        return self.say(event, (event.price * event.size) ** 2)  # OverflowError at the extremes


class Meddles(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__

    def update(self, state: Memory, event: Event, /) -> Observation | None:
        msgspec.structs.force_setattr(event, "size", 1.0)
        return None


class Infinite(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__

    def update(self, state: Memory, event: Event, /) -> Observation | None:
        assert isinstance(event, Trade)
        return self.say(event, event.price * event.size)


class Improbable(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__

    def update(self, state: Memory, event: Event, /) -> Observation | None:
        assert isinstance(event, Trade)
        return self.say(event, 0.0, p=event.price / 200.0)


class Unsafe(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__

    def update(self, state: Memory, event: Event, /) -> Observation | None:
        assert isinstance(event, Trade)
        return self.say(event, 0.0, reason=event.trade_id)


class SignsForAnother(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__
    name: ClassVar[str] = "another"


_outside: dict[str, float] = {}


class RemembersOutside(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__

    def update(self, state: Memory, event: Event, /) -> Observation | None:
        assert isinstance(event, Trade)
        _outside["calls"] = _outside.get("calls", 0.0) + 1.0
        return self.say(event, _outside["calls"])


class MixesKeys(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__

    def start(self, key: str, /) -> Memory:
        _outside["shared"] = 0.0
        return Memory()

    def update(self, state: Memory, event: Event, /) -> Observation | None:
        assert isinstance(event, Trade)
        _outside["shared"] += 1.0  # starts at 0 in each run, yet counts both keys
        return self.say(event, _outside["shared"])


class Lossy(msgspec.Struct):
    def __post_init__(self) -> None:
        self.kept = 0.0

    kept: float = 0.0


class LosesMemory(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__
    state_type: ClassVar[type] = Lossy

    def start(self, key: str, /) -> Any:
        return Lossy()

    def update(self, state: Any, event: Event, /) -> Observation | None:
        state.kept = 7.0
        return None


class Unpackable(msgspec.Struct):
    kept: tuple[int, int] | None = None


class Unpacked(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__
    state_type: ClassVar[type] = Unpackable

    def start(self, key: str, /) -> Any:
        return Unpackable()

    def update(self, state: Any, event: Event, /) -> Observation | None:
        state.kept = "text"
        return None


class Grows(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__

    def update(self, state: Memory, event: Event, /) -> Observation | None:
        assert isinstance(event, Trade)
        state.seen.append(event.price)
        return None


class CriesAtOnce(Toy, frozen=True, forbid_unknown_fields=True):
    __doc__ = Toy.__doc__

    def say(self, event: Trade, score: float, **more: Any) -> Observation:
        return Observation("toy", event.instrument, "jump", event.ts_event, score, 0.5)


BROKEN: list[tuple[type, str]] = [
    (Unnamed, "no usable name"),
    (Unversioned, "needs a version"),
    (WantsAnything, "wants something that is no event"),
    (WrongState, "starts with a state that is no `state_type`"),
    (PlainState, "a state that is no Struct"),
    (Undocumented, 'has no "Units:" in its docstring'),
    (Loose, "not a frozen Struct"),
    (LaxConfig, "accepts unknown fields"),
    (ClaimsTimers, "claims a key for a Timer"),
    (OddKey, "a key that is no text"),
    (Deaf, "takes none of the events"),
    (Raises, "raises OverflowError"),
    (Meddles, "changes the events"),
    (Infinite, "a number that is not finite"),
    (Improbable, "a p outside of 0..1"),
    (Unsafe, "not safe to print"),
    (SignsForAnother, "signs with another name"),
    (RemembersOutside, "other results on a second run"),
    (MixesKeys, "mixes its keys"),
    (LosesMemory, "a state that changes when it is packed"),
    (Unpacked, "does not survive packing"),
    (Grows, "keeps growing"),
    (CriesAtOnce, "before it can know what is normal"),
]


@pytest.mark.parametrize(("kind", "complaint"), BROKEN)
def test_each_check_can_fail(kind: type[Detector[Any]], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_detector(kind())


def test_a_missing_method_is_named() -> None:
    class Half(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """Half a detector."""

    with pytest.raises(AssertionError, match="Half has no `name`"):
        check_detector(Half())  # type: ignore[arg-type]


THIRD_PARTY = '''
"""A detector somebody else wrote: one trade far larger than the last hundred."""

from typing import ClassVar

import msgspec

from tapewatch.model.events import Event, Trade
from tapewatch.model.outputs import Observation


class Mean(msgspec.Struct):
    size: float = 0.0
    trades: int = 0


class BigTrade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """score = size / mean size of the trades before (exponentially weighted, about 100).

    Units: score in mean sizes. Reference: none. False alarms: markets with few large players.
    """

    name: ClassVar[str] = "big_trade"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Trade,)
    state_type: ClassVar[type] = Mean

    times: float = 50.0

    def key(self, event, /):
        return event.instrument

    def start(self, key, /):
        return Mean()

    def update(self, state, event, /):
        ready = state.trades >= 100 and state.size > 1e-9
        score = min(event.size / state.size, 1e9) if ready else 0.0
        state.trades = min(state.trades + 1, 100)
        state.size += (min(event.size, 1e9) - state.size) / state.trades
        return Observation(
            self.name, event.instrument, "volume", event.ts_event, score, self.times, ready=ready
        )
'''


@pytest.fixture
def third_party(tmp_path: Path) -> Iterator[None]:
    """A package as pip would install it: one file, one entry-point line."""
    (tmp_path / "big_trade.py").write_text(THIRD_PARTY)
    info = tmp_path / "big_trade-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: big-trade\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nbig_trade = big_trade:BigTrade\n")
    sys.path.insert(0, str(tmp_path))
    yield
    sys.path.remove(str(tmp_path))
    sys.modules.pop("big_trade", None)


@pytest.mark.usefixtures("third_party")
def test_a_third_party_detector_is_one_file_and_one_line() -> None:
    (entry,) = importlib.metadata.entry_points(group=GROUP, name="big_trade")
    check_detector(entry.load()())
