"""Workers: isolation, order, retries, dead letters, exactly once over restarts."""

import asyncio
import pathlib
import random
import sqlite3
from collections.abc import Sequence

import pytest
from alert_kit import make_alert, make_resolved

from tapewatch.io.store import Store
from tapewatch.io.worker import DELIVER_S, WhenFull, Worker
from tapewatch.model import limits
from tapewatch.model.errors import DeliveryError
from tapewatch.model.outputs import Alert, Fault, Output, Resolved
from tapewatch.testing.virtual_time import run


class Recording:
    """A sink that notes what it was given; `trouble` is raised, one per delivery, until used up."""

    def __init__(
        self,
        *trouble: Exception | None,
        name: str = "webhook",
        durable: bool = False,
        when_full: WhenFull = "drop_newest",
        takes_s: float = 0.0,
    ) -> None:
        self.name, self.durable, self.when_full, self.takes_s = name, durable, when_full, takes_s
        self.accepts: tuple[type[Output], ...] = (Alert, Resolved)
        self.trouble = list(trouble)
        self.batches: list[list[str]] = []
        self.calls: list[float] = []

    @property
    def got(self) -> list[str]:
        return [text for batch in self.batches for text in batch]

    async def deliver(self, batch: Sequence[Output], /) -> None:
        self.calls.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.takes_s)
        error = self.trouble.pop(0) if self.trouble else None
        if error is not None:
            raise error
        self.batches.append(
            [out.id if isinstance(out, Alert) else getattr(out, "incident", "?") for out in batch]
        )


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "alerts.sqlite"


def make_worker(sink: Recording, store: Store | None = None) -> Worker:
    return Worker(sink, rng=random.Random(3), store=store)


def later(retry_after_s: float | None = None) -> DeliveryError:
    return DeliveryError("503", retryable=True, retry_after_s=retry_after_s)


def test_order_is_kept_and_only_accepted_types_arrive() -> None:
    sink = Recording()

    async def scenario() -> None:
        worker = make_worker(sink)
        worker.start()
        fault = Fault(kind="gap", source="kraken", instrument="", ts_ns=1)
        await worker.offer([make_alert(1), fault, make_resolved(1)])
        await worker.offer([make_alert(2)])
        assert await worker.drain(5)
        assert worker.counters.delivered == 3

    run(scenario())
    assert sink.got == ["1", "i1", "2"]
    assert max(len(batch) for batch in sink.batches) <= limits.SINK_BATCH


def test_a_hanging_and_a_raising_sink_harm_nobody() -> None:
    hanging = Recording(name="hanging", takes_s=1e9)
    raising = Recording(*[ValueError("bug\x1b[2J")] * 50, name="raising")
    healthy = Recording(name="healthy")

    async def scenario() -> list[Worker]:
        workers = [make_worker(sink) for sink in (hanging, raising, healthy)]
        for worker in workers:
            worker.start()
        for number in range(5):
            for worker in workers:
                await worker.offer([make_resolved(number)])
            await asyncio.sleep(0.1)
        assert healthy.got == ["i0", "i1", "i2", "i3", "i4"]
        assert asyncio.get_running_loop().time() == pytest.approx(0.5)
        assert [await worker.drain(3) for worker in workers] == [False, True, True]
        return workers

    workers = run(scenario())
    assert workers[0].counters.dropped == 5
    assert workers[1].counters.failed == 5
    assert workers[1].last_error == "ValueError: bug·[2J"


def test_a_hanging_delivery_times_out_and_is_retried() -> None:
    sink = Recording(takes_s=1e9)

    async def scenario() -> Worker:
        worker = make_worker(sink)
        worker.start()
        await worker.offer([make_resolved(1)])
        await asyncio.sleep(DELIVER_S - 1)
        sink.takes_s = 0
        assert await worker.drain(60)
        return worker

    worker = run(scenario())
    assert sink.got == ["i1"]
    assert worker.counters.retries == 1
    assert worker.last_error == "no answer within 10 s"


def test_retries_are_bounded_spread_and_honour_the_receiver() -> None:
    sink = Recording(later(30), *[later()] * 100)

    async def scenario() -> Worker:
        worker = make_worker(sink)
        worker.start()
        await worker.offer([make_resolved(1)])
        assert await worker.drain(3600)
        return worker

    worker = run(scenario())
    assert len(sink.calls) == limits.SINK_ATTEMPTS
    assert sink.calls[1] - sink.calls[0] >= 30
    assert worker.counters.failed == 1
    assert worker.counters.retries == limits.SINK_ATTEMPTS - 1


def test_a_full_queue_drops_the_newest_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SINK_QUEUE", 3)
    sink = Recording()

    async def scenario() -> Worker:
        worker = make_worker(sink)
        worker.start()
        await worker.offer([make_resolved(number) for number in range(10)])
        assert len(worker) == 3
        assert await worker.drain(5)
        return worker

    assert run(scenario()).counters.dropped == 7
    assert sink.got == ["i0", "i1", "i2"]


def test_block_makes_the_caller_wait_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SINK_QUEUE", 3)
    sink = Recording(when_full="block", takes_s=1)

    async def scenario() -> Worker:
        worker = make_worker(sink)
        worker.start()
        await worker.offer([make_resolved(number) for number in range(20)])
        assert asyncio.get_running_loop().time() > 1
        assert await worker.drain(60)
        return worker

    assert run(scenario()).counters.dropped == 0
    assert sink.got == [f"i{number}" for number in range(20)]


def test_block_does_not_outlive_the_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SINK_QUEUE", 1)
    sink = Recording(when_full="block", takes_s=1e9)

    async def scenario() -> Worker:
        worker = make_worker(sink)
        worker.start()
        offering = asyncio.create_task(worker.offer([make_resolved(n) for n in range(5)]))
        await asyncio.sleep(1)
        assert not await worker.drain(2)
        await offering
        return worker

    assert run(scenario()).counters.dropped == 5


def test_alerts_are_marked_one_by_one_and_a_bad_one_is_a_dead_letter(path: pathlib.Path) -> None:
    refusal = DeliveryError("400 bad request", retryable=False)
    sink = Recording(None, refusal, later(), durable=True)

    async def scenario() -> Worker:
        store = Store(path)
        worker = make_worker(sink, store)
        worker.start()
        alerts = [make_alert(number) for number in (1, 2, 3)]
        store.add(alerts, [sink.name])
        await worker.offer([*alerts, make_resolved(1)])
        assert await worker.drain(60)
        assert store.counts() == {("webhook", "delivered"): 2, ("webhook", "dead"): 1}
        store.close()
        return worker

    worker = run(scenario())
    assert sink.batches == [["1"], ["3"], ["i1"]]
    assert (worker.counters.delivered, worker.counters.failed) == (3, 1)


def test_exactly_once_over_a_restart(path: pathlib.Path) -> None:
    """The first life is cut off after two deliveries; the second delivers the rest, in order."""

    async def first() -> list[str]:
        store = Store(path)
        sink = Recording(durable=True, takes_s=1)
        worker = make_worker(sink, store)
        worker.start()
        alerts = [make_alert(number) for number in range(5)]
        store.add(alerts, [sink.name])
        await worker.offer(alerts)
        assert not await worker.drain(2.5)
        assert worker.counters.dropped == 0
        store.close()
        return sink.got

    async def second() -> list[str]:
        store = Store(path)
        sink = Recording(durable=True)
        worker = make_worker(sink, store)
        # The tape tail is replayed: nothing of it is new; one more alert is.
        assert store.add([make_alert(number) for number in range(6)], [sink.name]) == ("5",)
        worker.start()
        await worker.offer([make_alert(5)])
        assert await worker.drain(5)
        assert store.counts() == {("webhook", "delivered"): 6}
        store.close()
        return sink.got

    assert run(first()) == ["0", "1"]
    assert run(second()) == ["2", "3", "4", "5"]


def test_an_alert_offered_twice_is_delivered_once(path: pathlib.Path) -> None:
    sink = Recording(durable=True)

    async def scenario() -> Worker:
        store = Store(path)
        worker = make_worker(sink, store)
        worker.start()
        await asyncio.sleep(1)
        store.add([make_alert(1)], [sink.name])
        await worker.offer([make_alert(1), make_alert(1), make_alert(1)])
        assert await worker.drain(5)
        store.close()
        return worker

    assert run(scenario()).counters.duplicates == 2
    assert sink.got == ["1"]


def test_what_spills_into_the_outbox_keeps_its_place(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SINK_QUEUE", 4)
    monkeypatch.setattr(limits, "SINK_BATCH", 3)
    sink = Recording(durable=True, takes_s=1)

    async def scenario() -> Worker:
        store = Store(path)
        worker = make_worker(sink, store)
        worker.start()
        await asyncio.sleep(1)
        alerts = [make_alert(number) for number in range(12)]
        store.add(alerts, [sink.name])
        await worker.offer(alerts)
        for number in range(40):  # a steady stream of other outputs must not starve them
            await asyncio.sleep(0.5)
            if number == 0:  # there is room again, but others were there before
                store.add([make_alert(12)], [sink.name])
                await worker.offer([make_alert(12)])
            await worker.offer([make_resolved(number)])
        assert await worker.drain(120)
        assert store.counts() == {("webhook", "delivered"): 13}
        store.close()
        return worker

    worker = run(scenario())
    assert [text for text in sink.got if not text.startswith("i")] == [str(n) for n in range(13)]
    assert sink.got[:4] == ["0", "1", "2", "3"]
    assert worker.counters.spilled == 9
    assert worker.counters.delivered + worker.counters.dropped == 13 + 40


def test_a_spilled_alert_comes_before_what_was_offered_after_it(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SINK_QUEUE", 4)
    monkeypatch.setattr(limits, "SINK_BATCH", 3)
    sink = Recording(durable=True, takes_s=1)

    async def scenario() -> None:
        store = Store(path)
        worker = make_worker(sink, store)
        worker.start()
        await worker.offer([make_resolved(0)])
        await asyncio.sleep(0.5)
        store.add([make_alert(1)], [sink.name])
        await worker.offer([*(make_resolved(number) for number in (1, 2, 3, 4)), make_alert(1)])
        await asyncio.sleep(1)
        await worker.offer([make_resolved(5), make_resolved(6)])
        assert await worker.drain(60)
        store.close()

    run(scenario())
    assert sink.got == ["i0", "i1", "i2", "i3", "i4", "1", "i5", "i6"]


def test_a_broken_store_neither_stops_nor_doubles_deliveries(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tapewatch.io.store.BUSY_S", 0.001)
    sink = Recording(durable=True)

    async def scenario() -> Worker:
        store = Store(path)
        worker = make_worker(sink, store)
        worker.start()
        await asyncio.sleep(1)
        store.add([make_alert(1), make_alert(2)], [sink.name])
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await worker.offer([make_alert(1), make_alert(2), make_alert(1), make_resolved(1)])
        await asyncio.sleep(100)
        assert sorted(sink.got) == ["1", "2", "i1"]
        assert store.counts() == {("webhook", "pending"): 2}
        other.execute("COMMIT")
        other.close()
        await asyncio.sleep(100)
        assert store.counts() == {("webhook", "delivered"): 2}
        assert await worker.drain(5)
        store.close()
        return worker

    assert run(scenario()).counters.store_errors > 2
    assert sorted(sink.got) == ["1", "2", "i1"]


def test_a_store_without_answers_does_not_keep_alerts_back(path: pathlib.Path) -> None:
    sink = Recording(later(), durable=True)

    async def scenario() -> Worker:
        store = Store(path)
        worker = make_worker(sink, store)
        worker.start()
        await asyncio.sleep(1)
        store._db.execute("DROP TABLE outbox")
        await worker.offer([make_alert(1)])
        await asyncio.sleep(60)
        assert not await worker.drain(5)  # it could not be written down
        store.close()
        return worker

    assert "no such table" in run(scenario()).last_error
    assert sink.got == ["1"]


def test_the_end_during_a_retry_counts_what_is_lost() -> None:
    sink = Recording(later(60), later(60))

    async def scenario() -> Worker:
        worker = make_worker(sink)
        worker.start()
        await worker.offer([make_resolved(1), make_resolved(2)])
        assert not await worker.drain(5)
        return worker

    assert run(scenario()).counters.dropped == 2


def test_contracts_of_the_constructor() -> None:
    with pytest.raises(AssertionError, match="needs the outbox"):
        make_worker(Recording(durable=True))
    with pytest.raises(AssertionError, match="only durable sinks"):
        make_worker(Recording(when_full="spill"))
