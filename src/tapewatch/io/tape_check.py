"""Verifying a tape: every checksum, the chain, the numbering, the headers and the index.

Detects whatever was changed, removed, exchanged or cut off, as far as a chain can: who rewrites
everything to the end passes, unless the chain hash noted elsewhere is given as `head`. A tape that
was pruned on purpose says so itself, and is whole from where it begins; one that begins later
without a word, or otherwise than it says, is not.
"""

import os
from pathlib import Path
from typing import NamedTuple

from msgspec import DecodeError

from tapewatch.io.tape_frames import (
    GENESIS,
    Piece,
    Unpacker,
    chained,
    end_mark,
    open_file,
    pieces,
    segment_files,
    segment_number,
)
from tapewatch.io.tape_prune import MARK, Mark, read_mark
from tapewatch.io.tape_records import (
    FORMAT,
    Header,
    Numbered,
    config_hash,
    content,
    received,
)
from tapewatch.io.tape_segment import IndexEntry, index_entries, index_entry
from tapewatch.model import limits
from tapewatch.model.errors import TapeError


class Problem(NamedTuple):
    """What is wrong, and at which byte of which file."""

    file: Path
    offset: int
    text: str

    def __str__(self) -> str:
        return f"{self.file.name} at byte {self.offset:,}: {self.text}"


class Verification(NamedTuple):
    """Result of `verify`. `closed`: the tape ends with its end mark. `unfinished`: bytes after the
    last closed frame of an open tape, which no chain covers yet. `first`: the record that the tape
    begins with; `pruned_ns`: when those before it were let go, 0: they were not. At most
    `limits.TAPE_PROBLEMS` problems are listed."""

    frames: int
    records: int
    head: str
    closed: bool
    unfinished: int
    problems: tuple[Problem, ...]
    first: int = 1
    pruned_ns: int = 0

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.problems


def verify(path: Path, head: str | None = None) -> Verification:
    """Check a tape, one file or a directory of segments. `head`: the chain hash it must end with.

    Raises `TapeError` if there is no tape, or a file of it cannot be read.
    """
    files = segment_files(path)
    if not files:
        raise TapeError("there is no tape here", str(path))
    whole = path.is_dir()
    check = _Check(following=1 if whole else 0)
    if whole:
        check.begin(path, files[0])
    for file in files:
        check.segment(file, segment_number(file) if whole else 1)
        if file != files[-1] and check.unfinished:
            check.problem(check.at - check.unfinished, "bytes after the last frame")
            check.unfinished = 0
    if not whole and not check.closed:
        check.problem(check.at, "the end mark is missing: cut off, or never closed")
    if head is not None and head != check.head.hex():
        check.problem(check.at, f"the chain ends with {check.head.hex()[:16]}, not {head[:16]}")
    return Verification(
        check.frames,
        check.records,
        check.head.hex(),
        check.closed,
        check.unfinished,
        tuple(check.problems[: limits.TAPE_PROBLEMS]),
        check.first,
        check.pruned_ns,
    )


class _Check:
    """Running state of a verification over all segments."""

    def __init__(self, following: int) -> None:
        self.frames = self.records = self.unfinished = 0
        self.head = GENESIS
        self.first = 1
        self.pruned_ns = 0
        self.closed = False
        self.at = 0
        self.problems: list[Problem] = []
        self._file = Path()
        self._number = 0  # of the segment
        self._following = following  # number of the next record, 0: not known yet
        self._mark: Mark | None = None
        self._unpacker = Unpacker()

    def begin(self, folder: Path, file: Path) -> None:
        """A tape may begin with any segment that the mark of its pruning allows for: a crash may
        have come between the removal of two."""
        try:
            self._mark = read_mark(folder)
        except TapeError as error:
            self._file = folder / MARK
            self.problem(0, str(error))
        number = segment_number(file)
        if self._mark is not None and 1 < number <= self._mark.segment + 1:
            self._number, self._following = number - 1, 0
            self.pruned_ns = self._mark.at_ns

    def problem(self, offset: int, text: str) -> None:
        if len(self.problems) < limits.TAPE_PROBLEMS:
            self.problems.append(Problem(self._file, offset, text))

    def segment(self, file: Path, number: int) -> None:
        self._file, self.closed, self.at = file, False, 0
        if number != self._number + 1:
            self.problem(0, f"segment {self._number + 1} is missing")
        self._number = number
        entries = self._entries()  # before the frames: the tape may be growing
        found: dict[int, IndexEntry | None] = {}
        fd = open_file(file)
        try:
            for piece in pieces(fd):
                self._piece(piece, found)
                self.at = piece.offset + len(piece.data)
        finally:
            os.close(fd)
        for entry in entries:
            if entry.offset not in found:
                self.problem(entry.offset, "a frame is missing that the index knows")
            elif found[entry.offset] not in (None, entry):
                self.problem(entry.offset, "the index says otherwise")

    def _entries(self) -> list[IndexEntry]:
        try:
            return index_entries(self._file)
        except DecodeError as error:
            self.problem(0, f"the index is damaged: {error}")
            return []

    def _piece(self, piece: Piece, found: dict[int, IndexEntry | None]) -> None:
        if self.closed or self.unfinished:
            self.problem(piece.offset, "bytes after the end")
        if piece.kind == "frame":
            found[piece.offset] = self._frame(piece, expect_header=not found)
        elif piece.kind == "end":
            self.closed = piece.data == end_mark(self.head)
            if not self.closed:
                self.problem(piece.offset, "the end mark does not fit the frames before it")
        elif piece.kind == "torn" and found and not end_mark(b"").startswith(piece.data[:8]):
            self.unfinished = len(piece.data)
        else:
            self.problem(piece.offset, f"{len(piece.data):,} bytes are not a frame")

    def _frame(self, piece: Piece, *, expect_header: bool) -> IndexEntry | None:
        """Check one frame; what the index must say of it, None if it cannot be read."""
        self.frames += 1
        try:
            inside = content(self._unpacker.whole(piece.data))
        except TapeError as error:
            self.problem(piece.offset, str(error))
            self.head = chained(self.head, piece.data)
            return None
        opening = inside.opening
        if isinstance(opening, Header) != expect_header:
            self.problem(piece.offset, "a header is missing or out of place")
        if isinstance(opening, Header):
            self._header(piece.offset, opening)
        self._chain(piece.offset, opening.prev if isinstance(opening, Header) else opening.h)
        first = inside.body[0].n if inside.body else self._following
        self._numbers(piece.offset, inside.body)
        self.records += len(inside.body)
        self.head = chained(self.head, piece.data)
        times = [received(record) for record in inside.body]
        last = self._following - 1
        return index_entry(piece.offset, len(piece.data), first, last, times, self.head)

    def _header(self, offset: int, header: Header) -> None:
        if not self._following:
            self.first = self._following = header.first
            if self.pruned_ns:
                self.head = bytes.fromhex(header.prev)
        mark = self._mark
        begun = mark is not None and self._number == mark.segment + 1
        if mark and begun and (header.first, header.prev) != (mark.first, mark.head):
            self.problem(offset, f"{MARK} belongs to another tape")
        expected = (FORMAT, self._number, self._following)
        if (header.tape, header.segment, header.first) != expected:
            self.problem(offset, "the header belongs to another tape or segment")
        if header.config_hash != config_hash(header.config):
            self.problem(offset, "the configuration does not have the hash beside it")

    def _chain(self, offset: int, stated: str) -> None:
        if stated != self.head.hex():
            self.problem(offset, "the chain is broken: another frame came before this one")
            self.head = bytes.fromhex(stated)  # so that one fault is told once

    def _numbers(self, offset: int, body: list[Numbered]) -> None:
        expected = self._following
        for record in body:
            if record.n != expected:
                self.problem(offset, f"record {expected} should follow, not {record.n}")
            expected = record.n + 1
        self._following = expected
