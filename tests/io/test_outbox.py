"""The worker of a bus: batches from the outbox, retries without an end, dead letters, no memory."""

import asyncio
import pathlib
import random
import sqlite3
from collections.abc import Callable, Sequence

import pytest
from alert_kit import make_alert, make_report, make_resolved

from tapewatch.io.outbox import OutboxWorker, Outcome
from tapewatch.io.store import Owed, Store
from tapewatch.io.worker import DELIVER_S
from tapewatch.model import limits
from tapewatch.model.errors import DeliveryError
from tapewatch.model.outputs import Alert, Output, Report
from tapewatch.testing.virtual_time import run

Answer = Callable[[Owed], Outcome]


class Bus:
    """A sink that notes what it was given; `answer` says what becomes of one."""

    name = "bus"
    mode = ""
    accepts: tuple[type[Output], ...] = (Alert, Report)

    def __init__(self, answer: Answer = lambda _: None, *, takes_s: float = 0.0) -> None:
        self.answer, self.takes_s = answer, takes_s
        self.trouble: Exception | None = None  # of the connection
        self.got: list[str] = []
        self.sizes: list[int] = []
        self.calls: list[float] = []
        self.closed = False

    async def publish(self, batch: Sequence[Owed], /) -> Sequence[Outcome]:
        self.calls.append(asyncio.get_running_loop().time())
        self.sizes.append(len(batch))
        await asyncio.sleep(self.takes_s)
        if self.trouble is not None:
            raise self.trouble
        outcomes = [self.answer(owed) for owed in batch]
        self.got += [
            name(owed) for owed, outcome in zip(batch, outcomes, strict=True) if outcome is None
        ]
        return outcomes

    async def close(self) -> None:
        self.closed = True


def name(owed: Owed) -> str:
    output = owed.output
    return output.id if isinstance(output, Alert) else str(output.poll_cycle_ms - 1_746_703_000_000)


class Session:
    """A store, a worker, and what `Live` does with them."""

    def __init__(self, path: pathlib.Path, bus: Bus) -> None:
        self.store = Store(path, buffer=10_000)
        self.worker = OutboxWorker(bus, rng=random.Random(3), store=self.store)
        self.worker.start()

    async def say(self, *outputs: Alert | Report) -> None:
        self.store.add(outputs, ["bus"], ["bus"])
        await self.worker.offer(outputs)

    def counts(self) -> dict[str, int]:
        return {state: count for (_, state), count in self.store.counts().items()}


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "alerts.sqlite"


def refused(text: str, *, retryable: bool = True, held: bool = False) -> DeliveryError:
    return DeliveryError(text, retryable=retryable, held=held)


def test_everything_goes_out_in_order_and_in_batches(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BUS_BATCH", 7)
    bus = Bus()

    async def scenario() -> None:
        session = Session(path, bus)
        await session.say(*(make_report(number) for number in range(20)), make_alert(99))
        await session.worker.offer([make_resolved(1)])  # none of its business
        assert await session.worker.drain(5)
        assert session.counts() == {"delivered": 21}
        assert session.worker.counters.delivered == 21
        session.store.close()

    run(scenario())
    assert bus.got == [*(str(number) for number in range(20)), "99"]
    assert max(bus.sizes) == 7
    assert bus.closed


def test_a_dead_bus_is_asked_again_without_an_end_and_keeps_nothing_in_memory(
    path: pathlib.Path,
) -> None:
    bus = Bus()
    bus.trouble = refused("nobody there\x1b")

    async def scenario() -> None:
        session = Session(path, bus)
        for number in range(0, 3600, 10):
            await session.say(make_report(number, anomalous=True))
            await asyncio.sleep(10)
        assert session.counts() == {"pending": 360}
        assert session.worker.last_error == "nobody there·"
        assert session.worker.counters.failed == 0
        assert len(session.worker) == 0
        assert 3600 / 6 < len(bus.calls) < 3600  # neither given up nor hammered
        bus.trouble = None
        await asyncio.sleep(10)
        assert session.counts() == {"delivered": 360}
        assert session.worker.last_error == ""
        assert await session.worker.drain(5)
        session.store.close()

    run(scenario())
    assert len(bus.got) == 360


def test_one_that_is_refused_is_a_dead_letter_and_harms_no_other(path: pathlib.Path) -> None:
    def answer(owed: Owed) -> Outcome:
        return refused("too big", retryable=False) if name(owed) == "1" else None

    bus = Bus(answer)

    async def scenario() -> None:
        session = Session(path, bus)
        await session.say(*(make_report(number) for number in range(3)))
        assert await session.worker.drain(5)
        assert session.counts() == {"delivered": 2, "dead": 1}
        assert session.worker.counters.failed == 1
        session.store.close()

    run(scenario())
    assert bus.got == ["0", "2"]


@pytest.mark.parametrize(
    "trouble", [refused("wrong password", retryable=False), ValueError("our mistake")]
)
def test_trouble_with_all_is_never_the_fault_of_one(path: pathlib.Path, trouble: Exception) -> None:
    bus = Bus()
    bus.trouble = trouble

    async def scenario() -> None:
        session = Session(path, bus)
        await session.say(make_report(1))
        await asyncio.sleep(100)
        assert session.counts() == {"pending": 1}
        assert str(trouble) in session.worker.last_error
        bus.trouble = None
        await asyncio.sleep(10)
        assert await session.worker.drain(5)
        session.store.close()

    run(scenario())
    assert bus.got == ["1"]


def test_some_that_fail_are_tried_again_while_others_pass(path: pathlib.Path) -> None:
    tries: dict[str, int] = {}

    def answer(owed: Owed) -> Outcome:
        tries[name(owed)] = tries.get(name(owed), 0) + 1
        return refused("busy") if name(owed) == "0" and tries["0"] < 30 else None

    bus = Bus(answer)

    async def scenario() -> None:
        session = Session(path, bus)
        for number in range(10):
            await session.say(make_report(number))
            await asyncio.sleep(0.1)
        await asyncio.sleep(300)
        assert session.counts() == {"delivered": 10}
        assert await session.worker.drain(5)
        session.store.close()

    run(scenario())
    assert sorted(bus.got) == [str(number) for number in range(10)]
    assert tries["0"] == 30


def test_what_is_held_back_costs_no_attempt(path: pathlib.Path) -> None:
    held = True

    def answer(_: Owed) -> Outcome:
        return refused("later", held=True) if held else None

    bus = Bus(answer)

    async def scenario() -> None:
        nonlocal held
        session = Session(path, bus)
        await session.say(make_report(1))
        await asyncio.sleep(60)
        assert session.store.owed("bus")[0].attempts == 0
        assert session.worker.counters.retries == 0
        assert not await session.worker.drain(5)  # it ends at once, and stays owed
        assert session.counts() == {"pending": 1}
        assert asyncio.get_running_loop().time() < 61
        session.store.close()

    run(scenario())


def test_a_hanging_bus_times_out(path: pathlib.Path) -> None:
    bus = Bus(takes_s=1e9)

    async def scenario() -> None:
        session = Session(path, bus)
        await session.say(make_report(1))
        await asyncio.sleep(DELIVER_S + 1)
        assert session.worker.last_error == "no answer within 10 s"
        bus.takes_s = 0
        await asyncio.sleep(DELIVER_S + 10)
        assert session.counts() == {"delivered": 1}
        assert await session.worker.drain(5)
        session.store.close()

    run(scenario())


def test_the_end_does_not_wait_for_a_dead_bus(path: pathlib.Path) -> None:
    bus = Bus(takes_s=1e9)

    async def scenario() -> None:
        session = Session(path, bus)
        await session.say(make_report(1))
        await asyncio.sleep(1)
        assert not await session.worker.drain(2)
        assert asyncio.get_running_loop().time() < 5
        assert session.counts() == {"pending": 1}
        session.store.close()

    run(scenario())
    assert bus.closed


def test_a_restart_goes_on_where_the_first_life_ended(path: pathlib.Path) -> None:
    first, second = Bus(takes_s=1e9), Bus()

    async def scenario(bus: Bus, reports: int) -> None:
        session = Session(path, bus)
        await session.say(*(make_report(number) for number in range(reports)))
        await asyncio.sleep(1)
        await session.worker.drain(1)
        session.store.close()

    run(scenario(first, 5))
    run(scenario(second, 6))  # the tape's tail is replayed: five are known
    assert first.got == []
    assert second.got == ["0", "1", "2", "3", "4", "5"]


def test_a_broken_store_is_told_and_nothing_goes_out_twice(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tapewatch.io.store.BUSY_S", 0.001)
    bus = Bus(takes_s=1.0)

    async def scenario() -> None:
        session = Session(path, bus)
        await session.say(make_report(1), make_report(2))
        await asyncio.sleep(0.5)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(100)
        assert bus.got == ["1", "2"]
        assert session.counts() == {"pending": 2}
        assert "database is locked" in session.worker.last_error
        other.execute("COMMIT")
        other.close()
        await asyncio.sleep(100)
        assert session.counts() == {"delivered": 2}
        assert session.worker.last_error == ""
        assert await session.worker.drain(5)
        assert session.worker.counters.store_errors > 1
        session.store.close()

    run(scenario())
    assert bus.got == ["1", "2"]


def test_a_store_that_is_broken_at_the_end_does_not_keep_us(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tapewatch.io.store.BUSY_S", 0.001)

    async def scenario() -> None:
        session = Session(path, Bus())
        await session.say(make_report(1))
        await asyncio.sleep(1)
        session.store._db.execute("DROP TABLE outbox")
        await session.worker.offer([make_report(2)])
        assert not await session.worker.drain(50)
        assert asyncio.get_running_loop().time() < 10
        session.store.close()

    run(scenario())


def test_what_was_dropped_is_counted(path: pathlib.Path) -> None:
    bus = Bus()
    bus.trouble = refused("down")

    async def scenario() -> None:
        session = Session(path, bus)
        session.store._buffer = 5
        for number in range(20):
            await session.say(make_report(number))
        await asyncio.sleep(10)
        assert session.worker.counters.dropped == 15
        await session.worker.drain(1)
        session.store.close()

    run(scenario())
