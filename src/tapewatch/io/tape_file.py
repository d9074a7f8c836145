"""A tape that is one file, written in one go: imports, clips, captured frames.

It appears under its name when it is complete, with an end mark; until then, or after an error,
there is only `<name>.part`. For a live session, which must survive anything, see `tape_write`.
"""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tapewatch.io.tape_disk import Disk
from tapewatch.io.tape_frames import GENESIS
from tapewatch.io.tape_read import EVER_NS, TapeReader
from tapewatch.io.tape_records import (
    AlertRecord,
    Numbered,
    Snapshot,
    alert_record,
    header,
    line,
    record_of,
)
from tapewatch.io.tape_segment import Segment
from tapewatch.model import limits
from tapewatch.model.errors import TapeError
from tapewatch.model.inputs import Input


class TapeFile:
    """`with TapeFile(path, ...) as tape: tape.append(...)`. Raises `TapeError` if it cannot write.

    `first` is the sequence number of the first record; `snapshot` the engine's state before it.
    """

    def __init__(
        self,
        path: Path,
        *,
        config: Mapping[str, Any],
        version: str,
        first: int = 1,
        snapshot: Snapshot | None = None,
        disk: Disk | None = None,
    ) -> None:
        self.path, self.seq = path, first - 1
        self._lines: list[bytes] = []
        self._times: list[int | None] = []
        self._bytes = 0
        try:
            self._segment = Segment(
                disk or Disk(), path, header(config, version, 1, first, GENESIS), indexed=False
            )
        except OSError as error:
            raise TapeError(f"cannot be written: {error.strerror}", str(path)) from error
        if snapshot is not None:
            try:
                self._segment.put_snapshot(snapshot)
            except TapeError:
                self._segment.discard()
                raise

    def append(self, item: Input) -> int:
        """Record an input; its sequence number."""
        return self.put(record_of(self.seq + 1, item))

    def append_alert(self, alert: bytes) -> int:
        """Record an alert or report, one line of JSON; its sequence number."""
        return self.put(alert_record(self.seq + 1, alert))

    def put(self, record: Numbered) -> int:
        """Take over a record, which must be the next by number."""
        assert record.n == self.seq + 1
        text = line(record)
        self.seq = record.n
        self._lines.append(text)
        self._times.append(None if isinstance(record, AlertRecord) else record.t)
        self._bytes += len(text)
        if len(self._lines) >= limits.FRAME_RECORDS or self._bytes >= limits.TAPE_FRAME_BYTES:
            self._end_frame()
        return self.seq

    @property
    def head(self) -> str:
        """Chain hash (hex) over the closed frames; once the tape is closed it names its content."""
        return self._segment.head.hex()

    def close(self) -> None:
        """Complete the file and give it its name."""
        self._end_frame()
        try:
            self._segment.seal()
            self._segment.publish()
        except OSError as error:
            raise self._refused(error) from error
        self._segment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._segment.discard()

    def _end_frame(self) -> None:
        if not self._lines:
            return
        self._segment.add(self._lines)
        self._segment.end_frame(self.seq - len(self._lines) + 1, self.seq, self._times)
        self._lines, self._times, self._bytes = [], [], 0
        try:
            self._segment.write()
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> TapeError:
        self._segment.discard()
        return TapeError(f"cannot be written: {error.strerror}", str(self.path))


def cut(
    source: Path,
    clip: Path,
    *,
    since_ns: int = 0,
    until_ns: int = EVER_NS,
    snapshot: Snapshot | None = None,
) -> str:
    """Copy a stretch of a tape, live or not, to a file of its own; its chain hash (hex).

    The stretch begins at the snapshot's record, or without one at the first input received at or
    after `since_ns`, and ends with the last input received by `until_ns` and the alerts that
    follow it. Raises `TapeError` if there is nothing in it.
    """
    reader = TapeReader(source)
    first, last = 0, 0
    for n, _ in reader.inputs(since_ns, until_ns):
        first, last = first or n, max(last, n)
    if snapshot is not None:
        first = snapshot.n
    if not first or last < first:
        raise TapeError("no input lies between these times", str(source))
    told = reader.header
    with TapeFile(
        clip, config=told.config, version=told.tapewatch, first=first, snapshot=snapshot
    ) as tape:
        for record in reader.records(first):
            if record.n > last and not isinstance(record, AlertRecord):
                break
            tape.put(record)
    return tape.head
