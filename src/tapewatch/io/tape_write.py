"""Writing the tape of a live session: a directory of segments that survives crashes and full disks.

No clock is read here. `append` touches no disk; `commit` makes durable and may run in a thread. One
user at a time, except that `close` waits for a commit whose caller has gone. A file that the
system refused once is never written again: what it was to hold is still in memory and goes into a
new segment, with the help of a reserve of disk space where the disk is full.

    tape/000001.tape, 000001.idx, 000002.tape ...   segments and their indices
    tape/reserve                                    space for alerts when the disk is full
    tape/quarantine/                                torn tails that `tape_repair` cut off
"""

import contextlib
import errno
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tapewatch.io.tape_disk import Disk
from tapewatch.io.tape_records import Numbered, alert_record, header, line, record_of
from tapewatch.io.tape_repair import recover
from tapewatch.io.tape_segment import Segment, frame_slices
from tapewatch.model import limits
from tapewatch.model.errors import RecordingError
from tapewatch.model.inputs import Command, Frame, Input
from tapewatch.model.time import NS_PER_S

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_PAUSED: Final = "Raw recording paused; alarms are recorded"
_NOTHING: Final = "Nothing can be recorded"


class TapeWriter:
    """Opens `folder` for appending, after repairing what a crash has left (`recovered` says what).

    `paused`: the disk is or was full; frames are counted in `unrecorded` instead of recorded, all
    other inputs and alerts are recorded, until `try_resume` succeeds. `trouble` says why, for
    people. `abandoned` counts segments that were given up because the system refused a write.
    """

    def __init__(
        self, folder: Path, *, config: Mapping[str, Any], version: str, disk: Disk | None = None
    ) -> None:
        self._disk, self._folder = disk or Disk(), folder
        self._saving = threading.Lock()
        self._config, self._version = config, version
        self.paused = False
        self.unrecorded = 0
        self.abandoned = 0
        self.trouble = ""
        self._segment: Segment | None = None
        self._written = 0  # bytes of earlier segments
        self._lines: list[bytes] = []  # not yet in a closed frame that is on the device
        self._times: list[int | None] = []  # receive time for each line, None for an alert
        self._fed = 0  # lines given to the segment
        self._frame_at = 0  # first line of the open frame
        self._frame_bytes = 0
        self._pending_bytes = 0
        self._last_ns = 0  # receive time of the last input
        self._frame_since: int | None = None  # time of the commit that first saw the open frame
        self._closing = False  # an alert ends the frame
        self._release_reserve()  # left by a crash; the repair may need the space
        try:
            self.recovered = recover(folder, config=config, version=version, disk=self._disk)
            self._number = self.recovered.number
            self._safe_head = self.recovered.head
            self.seq = self.durable_seq = self.recovered.last
            self._start_segment()
            self._hold_back()
        except OSError as error:
            raise RecordingError(f"cannot record here: {error.strerror}", str(folder)) from error

    @property
    def head(self) -> str:
        """Chain hash (hex) over all closed frames."""
        return (self._segment.head if self._segment else self._safe_head).hex()

    @property
    def bytes_written(self) -> int:
        """Size of what this writer has given to the system, in bytes."""
        return self._written + (self._segment.size if self._segment else 0)

    def append(self, item: Input) -> int:
        """Number the input and keep it for the next `commit`; 0: not recorded, only counted.

        Raises `RecordingError` only when the disk has refused so much that memory would overflow.
        """
        self._last_ns = item.ts_recv
        if self.paused and isinstance(item, Frame):
            self.unrecorded += 1
            return 0
        return self._add(record_of(self.seq + 1, item), item.ts_recv)

    def append_alert(self, alert: bytes) -> int:
        """Record an alert or report (one line of JSON). The next `commit` closes the frame."""
        self._closing = True
        return self._add(alert_record(self.seq + 1, alert), None)

    def commit(self, now: int) -> None:
        """Make all that was appended durable; close the frame if it is time (`now`: ns).

        Raises `RecordingError` if that is impossible now. Nothing is lost by it: the records stay
        in memory and a later `commit` or `try_resume` writes them.
        """
        with self._saving:
            if len(self._lines) > self._frame_at:
                if self._frame_since is None:
                    self._frame_since = now
                # A wall clock may step back; the frame must not stay open for that.
                young = 0 <= now - self._frame_since < limits.FRAME_S * NS_PER_S
                if self._closing or not young:
                    self._end_frame()
            if self.durable_seq < self.seq or self._frame_at:
                self._save()

    def try_resume(self, now: int) -> tuple[int, Command] | None:
        """End a pause if there is space again (`now`: wall clock, ns).

        Returns the recorded command, which says how many frames are missing and is an input like
        any other; None while the pause goes on or if there is none.
        """
        if not self.paused:
            return None
        try:
            if self._disk.free_bytes(self._folder) < 2 * limits.RESERVE_BYTES:
                return None
            if self._segment is None:
                self._start_segment()
            self._hold_back()
        except OSError as error:
            self.trouble = _words(error, _NOTHING)
            return None
        self.paused, self.trouble = False, ""
        return self._tell_unrecorded(now)

    def close(self) -> None:
        """Make everything durable, mark the end, give the reserve back. Raises `RecordingError`."""
        with self._saving:
            try:
                if self.unrecorded:
                    self._tell_unrecorded(self._last_ns)
                self._end_frame()
                self._save()
                self._seal()
            finally:
                if self._segment is not None:
                    self._segment.close()
                self._release_reserve()

    def _tell_unrecorded(self, now: int) -> tuple[int, Command]:
        command = Command(now, "tape", "unrecorded", str(self.unrecorded))
        self.unrecorded = 0
        return self._add(record_of(self.seq + 1, command), now), command

    def _add(self, record: Numbered, received: int | None) -> int:
        many = len(self._lines) >= limits.PENDING_RECORDS
        if many or self._pending_bytes >= limits.PENDING_BYTES:
            self._end_frame()
            self._save()
        text = line(record)
        self.seq += 1
        self._lines.append(text)
        self._times.append(received)
        self._frame_bytes += len(text)
        self._pending_bytes += len(text)
        in_frame = len(self._lines) - self._frame_at
        if in_frame >= limits.FRAME_RECORDS or self._frame_bytes >= limits.TAPE_FRAME_BYTES:
            self._end_frame()
        return self.seq

    def _feed(self) -> None:
        """Give the segment what it has not got. Compresses, and touches no disk."""
        if self._segment is not None and self._fed < len(self._lines):
            self._segment.add(self._lines[self._fed :])
            self._fed = len(self._lines)

    def _end_frame(self) -> None:
        if self._frame_at == len(self._lines):
            return
        self._feed()
        if self._segment is not None:
            first = self.seq - len(self._lines) + self._frame_at + 1
            self._segment.end_frame(first, self.seq, self._times[self._frame_at :])
        self._frame_at = len(self._lines)
        self._frame_bytes, self._frame_since, self._closing = 0, None, False

    def _save(self) -> None:
        """Make everything durable, in a new segment if the present one is refused."""
        segment = self._segment
        try:
            if segment is None:
                self._start_segment()
                return
            self._feed()
            segment.sync()
            self._settle(segment)
            segment.write_index()
            if segment.size >= limits.SEGMENT_BYTES and self._frame_at == len(self._lines):
                self._start_segment()
                segment.close()
        except OSError as error:
            self._move(error)

    def _seal(self) -> None:
        segment = self._segment
        assert segment is not None
        try:
            segment.seal()
        except OSError:
            # All records are safe; only the mark that says "closed in good order" is missing.
            self._leave(segment)

    def _settle(self, segment: Segment) -> None:
        """Everything is on the device: forget the lines of closed frames."""
        self.durable_seq = self.seq
        self._safe_head = segment.head
        del self._lines[: self._frame_at], self._times[: self._frame_at]
        self._fed -= self._frame_at
        self._frame_at = 0
        self._pending_bytes = self._frame_bytes

    def _start_segment(self) -> None:
        """Open the next segment, with all pending lines in closed frames, durably."""
        first = self.seq - len(self._lines) + 1
        number = self._number + 1
        head = header(self._config, self._version, number, first, self._safe_head)
        path = self._folder / f"{number:06d}.tape"
        segment = Segment(self._disk, path, head, indexed=True)
        try:
            for part in frame_slices(self._lines):
                segment.add(self._lines[part])
                segment.end_frame(first + part.start, first + part.stop - 1, self._times[part])
            segment.publish()
        except OSError:
            segment.discard()
            raise
        if self._segment is not None:
            self._written += self._segment.size
        self._segment, self._number = segment, number
        self._fed = self._frame_at = len(self._lines)
        self._frame_bytes, self._frame_since, self._closing = 0, None, False
        self._settle(segment)

    def _move(self, error: OSError) -> None:
        """Leave a segment that the system has refused. Raises `RecordingError` without another."""
        refused, self._segment = self._segment, None
        if error.errno in _FULL:
            self._release_reserve()
            self.paused, self.trouble = True, _words(error, _PAUSED)
        try:
            self._start_segment()
        except OSError as again:
            self.paused, self.trouble = True, _words(again, _NOTHING)
            raise RecordingError(self.trouble, str(self._folder)) from again
        if refused is not None:
            self._written += refused.size
            self._leave(refused)

    def _leave(self, refused: Segment) -> None:
        """Cut a segment behind its closed frames: what lies there is in the next one."""
        self.abandoned += 1
        refused.close()
        # If this fails too, readers skip what they find twice, and the next start cuts it off.
        with contextlib.suppress(OSError):
            self._disk.truncate(refused.path, refused.safe_size)

    @property
    def _reserve(self) -> Path:
        return self._folder / "reserve"

    def _hold_back(self) -> None:
        """Best effort: on a disk without so much space the session starts without a reserve."""
        try:
            self._disk.hold_back(self._reserve, limits.RESERVE_BYTES)
        except OSError:
            self._release_reserve()

    def _release_reserve(self) -> None:
        # What cannot be removed cannot help either; the write that needs it will say so.
        with contextlib.suppress(OSError):
            self._disk.unlink(self._reserve)


def _words(error: OSError, effect: str) -> str:
    cause = "Disk full" if error.errno in _FULL else f"The disk refuses ({error.strerror})"
    return f"{cause}. {effect}; what came before is safe. Free space, and it goes on by itself"
