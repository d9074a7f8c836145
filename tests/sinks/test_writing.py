"""Writers whose reader has stopped: nothing else waits, nothing is lost, nothing comes twice."""

import asyncio
import io
import os
import pathlib
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TextIO

import pytest
from msgspec.structs import replace
from test_terminal import ALERT, DOWN

from tapewatch.io.store import Store
from tapewatch.io.worker import Worker
from tapewatch.model import limits
from tapewatch.model.errors import DeliveryError
from tapewatch.model.outputs import Output
from tapewatch.sinks.terminal import Screen, Terminal
from tapewatch.sinks.writing import Narrator
from tapewatch.testing import virtual_time

SECOND = replace(ALERT, id="a2")


class Stopped(NamedTuple):
    """A pipe that is full, and how much is in it."""

    reader: int
    writer: TextIO
    filled: int


@pytest.fixture
def stopped() -> Iterator[Stopped]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    filled = 0
    for size in (4096, 1):
        try:
            while True:
                filled += os.write(writer, b"." * size)
        except BlockingIOError:
            pass
    os.set_blocking(writer, True)
    file = os.fdopen(writer, "w", encoding="utf-8")
    yield Stopped(reader, file, filled)
    file.close()
    os.close(reader)


async def given_up(terminal: Terminal, *batch: Output) -> None:
    """A delivery that the worker gives up while it hangs."""
    task = asyncio.create_task(terminal.deliver(batch))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def drain(stopped: Stopped) -> None:
    left = stopped.filled
    while left:
        left -= len(os.read(stopped.reader, left))


async def interrupted(stopped: Stopped) -> None:
    terminal = Terminal(stopped.writer, io.StringIO(), Screen(bell=False))
    await given_up(terminal, ALERT)
    for batch in ((ALERT,), (SECOND,), (ALERT,)):
        with pytest.raises(DeliveryError, match="nobody reads") as caught:
            await terminal.deliver(batch)
        assert caught.value.retryable
        assert caught.value.held
    assert await asyncio.to_thread(lambda: "goes on") == "goes on"
    await terminal.deliver((DOWN,))  # standard error is another stream
    drain(stopped)
    while True:
        try:
            await terminal.deliver((ALERT,))
            break
        except DeliveryError:
            await asyncio.sleep(0)
    await terminal.deliver((SECOND,))


def test_alerts_come_once_and_in_order_when_the_reader_is_back(stopped: Stopped) -> None:
    asyncio.run(interrupted(stopped))
    stopped.writer.close()
    with os.fdopen(os.dup(stopped.reader), encoding="utf-8") as file:
        text = file.read()
    assert [line.split()[1] for line in text.splitlines() if " id " in line] == ["a1", "a2"]
    assert "WARN #1" in text
    assert "WARN #2" in text


class Held:
    """A sink that takes nothing for a while."""

    name, accepts, durable, when_full = "terminal", (type(ALERT),), True, "drop_newest"

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.got: list[Output] = []

    async def deliver(self, batch: Sequence[Output], /) -> None:
        self.looks -= 1
        if self.looks >= 0:
            raise DeliveryError("nobody reads", retryable=True, held=True)
        self.got += batch


def test_an_alert_is_owed_for_as_long_as_the_sink_is_held(tmp_path: pathlib.Path) -> None:
    sink = Held(looks=50 * limits.SINK_ATTEMPTS)

    async def main() -> None:
        store = Store(tmp_path / "alerts.sqlite")
        store.add([ALERT, SECOND], [sink.name])
        worker = Worker(sink, rng=random.Random(1), store=store)  # type: ignore[arg-type]
        worker.start()
        assert await worker.drain(3600)
        assert store.counts() == {(sink.name, "delivered"): 2}
        store.close()

    virtual_time.run(main())
    assert [one.id for one in sink.got if isinstance(one, type(ALERT))] == ["a1", "a2"]


def test_narration_never_waits_and_counts_what_it_leaves_out(stopped: Stopped) -> None:
    narrator = Narrator(stopped.writer)
    said = limits.NARRATION_LINES + 50
    for number in range(said):
        narrator.say(f"line {number}")
    assert not narrator.close(0.0)
    assert narrator.dropped >= 49  # one may be on its way already
    with os.fdopen(os.dup(stopped.reader), encoding="utf-8") as file:
        file.read(stopped.filled)
        lines = [file.readline().rstrip() for _ in range(said - narrator.dropped + 1)]
    assert lines[:2] == ["line 0", "line 1"]
    assert lines[-1] == f"{narrator.dropped} lines were left out: nobody read the terminal."


def test_narration_survives_a_reader_that_is_gone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as file:
        narrator = Narrator(file)
        narrator.say("one")
        narrator.say("two")
        assert narrator.close(60.0)
    assert narrator.lost == 2


def test_narration_is_in_order_and_complete_at_the_end() -> None:
    out = io.StringIO()
    narrator = Narrator(out)
    for number in range(100):
        narrator.say(str(number))
    assert narrator.close(60.0)
    assert out.getvalue().split() == [str(number) for number in range(100)]


ENDING = """
import sys
from tapewatch.sinks.writing import Narrator
narrator = Narrator(sys.stdout)
narrator.say("x" * 1_000_000)
assert not narrator.close(0.0)
"""


def test_the_end_of_the_process_waits_for_nobody() -> None:
    reader, writer = os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", ENDING], stdout=writer, stderr=subprocess.PIPE, timeout=60,
        check=False,
    )  # fmt: skip
    os.close(writer)
    os.close(reader)
    assert (done.returncode, done.stderr) == (0, b"")
