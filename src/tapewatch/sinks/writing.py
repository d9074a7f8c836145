"""Writing to terminals and pipes whose reader may stop: in a thread, past Python's buffer.

A stopped terminal then keeps one thread, never the event loop, the executor that all share, or the
end of the process (a buffer that the thread has locked would be waited for there).
"""

import asyncio
import collections
import io
import os
import select
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from typing import Any, Final, TextIO

from tapewatch.model import limits
from tapewatch.model.errors import DeliveryError
from tapewatch.model.outputs import Output

CLOSE_S: Final = 1.0  # the last words get so long to be seen


def put(stream: TextIO, text: str) -> None:
    """Write all of `text`, however long its reader takes. Raises `OSError`, `ValueError`."""
    try:
        fd = stream.fileno()
    except io.UnsupportedOperation:
        stream.write(text)
        stream.flush()
        return
    data = memoryview(text.encode(stream.encoding or "utf-8", stream.errors or "strict"))
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # another program has made the terminal non-blocking
            select.select((), (fd,), ())


class Hand(Executor):
    """One daemon thread that does jobs in order, such as raise nothing but `OSError` and
    `ValueError`. It lives while there are any."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._jobs: collections.deque[tuple[Future[Any], Callable[[], Any]]] = collections.deque()
        self._working = False

    def __len__(self) -> int:
        return len(self._jobs)

    def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do `job` after those before it. It cannot be taken back: cancelling only stops the
        waiting."""
        future: Future[Any] = Future()
        with self._lock:
            self._jobs.append((future, lambda: job(*args, **kwargs)))
            if not self._working:
                self._working = True
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return future

    def _work(self) -> None:
        while job := self._next():
            future, work = job
            wanted = future.set_running_or_notify_cancel()
            try:
                result = work()
            except (OSError, ValueError) as error:
                if wanted:
                    future.set_exception(error)
            else:
                if wanted:
                    future.set_result(result)

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._lock:
            self._working = bool(self._jobs)
            return self._jobs.popleft() if self._jobs else None


class _Write:
    """One write and what became of it, also when nobody waits for it any more."""

    def __init__(self, batch: Sequence[Output], text: str, stream: TextIO) -> None:
        self.batch, self._text, self._stream = list(batch), text, stream
        self.ended = False
        self.error: OSError | ValueError | None = None

    def run(self) -> None:
        try:
            put(self._stream, self._text)
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self.error = error  # `Pen.write` raises it
        self.ended = True


class Pen:
    """Writes batches to one stream, one at a time and each once, over cancelled deliveries."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._hand = Hand("terminal")
        self._last: _Write | None = None  # begun, and not accounted for

    async def write(self, batch: Sequence[Output], text: Callable[[], str]) -> None:
        """Write what `text` gives. A batch whose write went on after its delivery was given up is
        not written again. Raises `DeliveryError`: `held` while an earlier write hangs."""
        last = self._last
        if last is not None and not last.ended:
            raise DeliveryError("nobody reads the terminal", retryable=True, held=True)
        if last is None or last.batch != list(batch):
            last = self._last = _Write(batch, text(), self._stream)
            await asyncio.get_running_loop().run_in_executor(self._hand, last.run)
        self._last = None
        if last.error is not None:
            raise DeliveryError(
                f"the terminal cannot be written: {last.error}", retryable=False
            ) from last.error


class Narrator:
    """Lines for people that must not hold up who says them. `dropped` counts lines that found too
    many before them, `lost` those that could not be written."""

    def __init__(self, stream: TextIO) -> None:
        self.dropped = self.lost = 0
        self._stream = stream
        self._hand = Hand("narrator")
        self._last: Future[Any] | None = None

    def say(self, line: str) -> None:
        """Have one line written; never waits."""
        if len(self._hand) >= limits.NARRATION_LINES:
            self.dropped += 1
        else:
            self._last = self._hand.submit(self._write, f"{line}\n")

    def close(self, timeout_s: float = CLOSE_S) -> bool:
        """Give what was said time to be seen; False if it was not."""
        if self.dropped:
            self._last = self._hand.submit(
                self._write, f"{self.dropped:,} lines were left out: nobody read the terminal.\n"
            )
        return self._last is None or not wait([self._last], timeout_s).not_done

    def _write(self, text: str) -> None:
        try:
            put(self._stream, text)
        except (OSError, ValueError):
            self.lost += 1  # nobody is there to be told
