"""The inbox and its timer."""

import asyncio

from tapewatch.io.clock import SystemClock
from tapewatch.io.inbox import Inbox, tick
from tapewatch.model.inputs import Frame, Timer
from tapewatch.model.time import TS_MAX_NS, TS_MIN_NS
from tapewatch.testing.virtual_time import START_NS, loop_clock, run

SECOND_NS = 1_000_000_000


def frame(number: int) -> Frame:
    return Frame(ts_recv=number, source="plain", data=b"")


def test_the_system_clock_tells_the_time_in_ns() -> None:
    assert TS_MIN_NS < SystemClock().now_ns() < TS_MAX_NS


def test_drain_waits_for_one_and_keeps_the_order() -> None:
    async def scenario() -> list[list[int]]:
        inbox = Inbox()

        async def fill() -> None:
            await asyncio.sleep(5)
            for number in range(7):
                await inbox.put(frame(number))

        task = asyncio.create_task(fill())
        batches = [[item.ts_recv for item in await inbox.drain(3)] for _ in range(3)]
        await task
        return batches

    assert run(scenario()) == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_full_inbox_makes_the_source_wait_and_counts_it() -> None:
    async def scenario() -> tuple[list[int], int]:
        inbox = Inbox(capacity=2)
        taken: list[int] = []

        async def fill() -> None:
            for number in range(10):
                await inbox.put(frame(number))

        task = asyncio.create_task(fill())
        await asyncio.sleep(1)
        assert len(inbox) == 2
        assert inbox.full()
        assert not task.done()
        while len(taken) < 10:
            taken += [item.ts_recv for item in await inbox.drain()]
        await task
        return taken, inbox.waits

    taken, waits = run(scenario())
    assert taken == list(range(10))
    assert waits > 0


def test_timers_come_once_a_second_and_missed_ones_are_left_out() -> None:
    async def scenario() -> list[int]:
        inbox = Inbox(capacity=1)
        task = asyncio.create_task(tick(inbox, loop_clock()))
        times = []
        for pause in (0.0, 0.0, 10.5, 0.0, 0.0):
            await asyncio.sleep(pause)
            (timer,) = await inbox.drain()
            assert isinstance(timer, Timer)
            times.append(timer.ts_recv - START_NS)
        task.cancel()
        return times

    # At 3 s one timer finds room, the one of 4 s waits until 12.5 s (and says 4 s: that is when it
    # was read); those of 5 to 12 s never were.
    assert run(scenario()) == [SECOND_NS * second for second in (1, 2, 3, 4, 13)]


def test_timers_do_not_drift() -> None:
    async def scenario() -> int:
        inbox = Inbox()
        task = asyncio.create_task(tick(inbox, loop_clock()))
        timer = None
        for _ in range(3600):
            (timer,) = await inbox.drain()
        task.cancel()
        assert timer is not None
        return timer.ts_recv - START_NS

    assert run(scenario()) == 3600 * SECOND_NS
