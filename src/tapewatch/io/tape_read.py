"""Reading tapes, whole or by time, while they are written or after a crash. Changes nothing.

It trusts checksums, not the chain: `tape_check` verifies that nothing was altered on purpose.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from msgspec import UNSET, DecodeError

from tapewatch.io.tape_frames import Piece, Unpacker, open_file, pieces, segment_files
from tapewatch.io.tape_records import (
    AlertRecord,
    Content,
    FrameRecord,
    Header,
    Numbered,
    Snapshot,
    content,
    input_of,
    torn_content,
)
from tapewatch.io.tape_segment import IndexEntry, index_entries, index_file
from tapewatch.model.errors import TapeError
from tapewatch.model.inputs import Frame, Input

EVER_NS: Final = (1 << 63) - 1  # later than any record
_NOTHING: Final = Piece("torn", 0, b"")

_Wanted = Callable[[IndexEntry], bool]


class TapeReader:
    """A tape: one file, or the directory of a session's segments.

    `header` is that of the first segment, `snapshot` the engine state a clip begins with, if any.
    After iterating, `unfinished` says how many bytes at ends of segments were no complete frame:
    more than 0 for a tape that is being written or whose writer was killed. Their complete lines
    are read like all others.

    Raises `TapeError` for what is not a tape, for damage before the end and for missing records.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unfinished = 0
        self._unpacker = Unpacker()
        self.header, self.snapshot = self._opening()

    def inputs(self, since_ns: int = 0, until_ns: int = EVER_NS) -> Iterator[tuple[int, Input]]:
        """Sequence number and input, of those received between two times (ns, both included)."""
        everything = since_ns <= 0 and until_ns >= EVER_NS
        wanted = None if everything else _between(since_ns, until_ns)
        for batch in self._batches(wanted):
            for record in batch:
                if isinstance(record, AlertRecord) or not since_ns <= record.t <= until_ns:
                    continue
                if isinstance(record, FrameRecord) and record.d is not UNSET and record.c is UNSET:
                    # Nearly all records of a live tape: `input_of`, without the call.
                    yield record.n, Frame(record.t, record.s, bytes(record.d))
                else:
                    yield record.n, input_of(record)

    def records(self, first: int = 0) -> Iterator[Numbered]:
        """Inputs and alerts as they are on the tape, from a sequence number on."""
        for batch in self._batches(_from(first) if first else None):
            for record in batch:
                if record.n >= first:
                    yield record

    def alerts(self) -> Iterator[tuple[int, bytes]]:
        """Sequence number and literal text of the alerts and reports that were emitted."""
        for record in self.records():
            if isinstance(record, AlertRecord):
                yield record.n, bytes(record.a)

    def _opening(self) -> tuple[Header, Snapshot | None]:
        files = segment_files(self.path)
        if not files:
            raise TapeError("there is no tape here", str(self.path))
        fd = open_file(files[0])
        try:
            start = pieces(fd)
            first = self._content(files[0], next(start, _NOTHING)).opening
            if not isinstance(first, Header):
                raise TapeError("the header is missing", str(files[0]))
            second = next(start, _NOTHING)
            whole = second.kind == "frame"
            return first, self._content(files[0], second).snapshot if whole else None
        finally:
            os.close(fd)

    def _batches(self, wanted: _Wanted | None) -> Iterator[list[Numbered]]:
        """Numbered records by frame, each once, in order. `wanted` may leave out whole frames."""
        self.unfinished = 0
        following = self.header.first  # number after the last record
        for file in segment_files(self.path):
            for batch in self._segment(file, wanted):
                if batch[0].n > following and wanted is None:
                    missing = f"records {following} to {batch[0].n - 1} are missing"
                    raise TapeError(missing, str(file))
                if batch[-1].n < following:
                    continue  # a refused segment's records were repeated in the next
                yield batch if batch[0].n >= following else batch[following - batch[0].n :]
                following = batch[-1].n + 1

    def _segment(self, file: Path, wanted: _Wanted | None) -> Iterator[list[Numbered]]:
        fd = open_file(file)
        try:
            offset = 0
            for entry in _index(file) if wanted else ():
                if wanted and entry.last >= entry.first and wanted(entry):
                    data = os.pread(fd, entry.size, entry.offset)
                    yield self._content(file, Piece("frame", entry.offset, data)).body
                offset = entry.offset + entry.size
            yield from self._scan(file, fd, offset)
        finally:
            os.close(fd)

    def _scan(self, file: Path, fd: int, offset: int) -> Iterator[list[Numbered]]:
        """The frames from `offset` on. Bytes that are no whole frame are what a crash leaves behind
        if they end the file; with a frame after them they are damage."""
        damaged: list[tuple[Piece, TapeError]] = []
        for piece in pieces(fd, offset):
            if piece.kind == "end":
                continue
            try:
                content = self._content(file, piece)
            except TapeError as error:
                if piece.kind == "frame":
                    raise
                damaged.append((piece, error))
                continue
            if damaged:
                raise damaged[0][1]
            if content.body:
                yield content.body
        if damaged:
            self.unfinished += sum(len(piece.data) for piece, _ in damaged)
            content_left = torn_content(self._unpacker.torn(damaged[0][0].data))
            if content_left is not None and content_left.body:
                yield content_left.body

    def _content(self, file: Path, piece: Piece) -> Content:
        try:
            return content(self._unpacker.whole(piece.data))
        except TapeError as error:
            raise TapeError(str(error), str(file), piece.offset) from error


def _index(file: Path) -> list[IndexEntry]:
    try:
        return index_entries(file)
    except DecodeError as error:
        raise TapeError(f"not an index: {error}", str(index_file(file))) from error


def _between(since_ns: int, until_ns: int) -> _Wanted:
    return lambda entry: entry.since <= until_ns and entry.until >= since_ns


def _from(first: int) -> _Wanted:
    return lambda entry: entry.last >= first
