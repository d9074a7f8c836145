"""The virtual loop: time jumps, order holds, sockets, threads and children stay real."""

import asyncio
import sys
import threading
import time

import pytest

from tapewatch.testing import virtual_time
from tapewatch.testing.virtual_time import START_NS, Deadlock, VirtualClock, loop_clock, run

HOUR_NS = 3600 * 1_000_000_000


def test_an_hour_of_sleeps_costs_no_hour() -> None:
    async def sleeper() -> tuple[int, float]:
        cpu = time.process_time()
        for _ in range(3600):
            await asyncio.sleep(1)
        return loop_clock().now_ns(), time.process_time() - cpu

    now, cpu = run(sleeper())
    assert now == START_NS + HOUR_NS
    assert cpu < 3600


def test_sleepers_wake_in_order_of_deadline() -> None:
    async def sleepers() -> list[tuple[float, float]]:
        woken: list[tuple[float, float]] = []

        async def one(delay: float) -> None:
            await asyncio.sleep(delay)
            woken.append((delay, asyncio.get_running_loop().time()))

        await asyncio.gather(*(one(delay) for delay in (7.5, 0.001, 3600.0, 2.0, 60.0)))
        return woken

    woken = run(sleepers())
    assert [delay for delay, _ in woken] == [0.001, 2.0, 7.5, 60.0, 3600.0]
    assert all(abs(delay - at) < 1e-9 for delay, at in woken)


def test_start_is_the_callers() -> None:
    async def read() -> tuple[VirtualClock, int]:
        clock = loop_clock()
        await asyncio.sleep(0.25)
        return clock, clock.now_ns()

    assert run(read(), start_ns=1_000)[1] == 250_001_000


def test_tcp_echo_over_loopback_across_sleeps() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            await asyncio.sleep(30)
            writer.write(line)
        writer.close()

    async def talk() -> tuple[list[bytes], float]:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            answers = []
            for number in range(20):
                writer.write(b"%d\n" % number)
                async with asyncio.timeout(31):
                    answers.append(await reader.readline())
                await asyncio.sleep(30)
            writer.close()
            await writer.wait_closed()
        return answers, asyncio.get_running_loop().time()

    answers, elapsed = run(talk())
    assert answers == [b"%d\n" % number for number in range(20)]
    assert elapsed == pytest.approx(1200)


def test_thread_work_is_not_overtaken_by_a_timer() -> None:
    async def race() -> list[str]:
        order: list[str] = []
        release = threading.Event()
        threading.Timer(0.2, release.set).start()

        async def work() -> None:
            await asyncio.to_thread(release.wait)
            order.append("thread")

        async def tick() -> None:
            await asyncio.sleep(0.05)
            order.append("timer")

        await asyncio.gather(tick(), work())
        return order

    assert run(race()) == ["thread", "timer"]


def test_a_child_process_is_not_overtaken_by_its_timeout() -> None:
    async def child() -> bytes:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-S", "-c", "print('done')", stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(60):
            out, _ = await process.communicate()
        return out

    assert run(child()) == b"done\n"


def test_time_jumps_again_after_thread_and_child() -> None:
    async def mixed() -> float:
        await asyncio.to_thread(lambda: None)
        process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "")
        await process.wait()
        before = asyncio.get_running_loop().time()
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time() - before

    assert run(mixed()) == pytest.approx(3600)


def test_waiting_for_nothing_is_a_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_time, "IDLE_GUARD_S", 0.01)

    async def stuck() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="nothing is scheduled"):
        run(stuck())


def test_clock_outside_the_loop_is_refused() -> None:
    async def plain() -> None:
        loop_clock()

    with pytest.raises(AssertionError, match="inside virtual_time"):
        asyncio.run(plain())
