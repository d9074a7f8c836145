"""Repairing a session's tape before it is continued. Idempotent: it may be killed at any step.

It deals with what a crash leaves behind the frames that the index knows to be on the device: every
valid record in it stays on the tape, in a new segment; the torn bytes are copied to `quarantine/`
and then cut off. Frames that were complete and are damaged now are none of its business: they stay
where they are, and `tape_check` tells.
"""

import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec import DecodeError, json

from tapewatch.io.tape_disk import Disk
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
from tapewatch.io.tape_records import (
    Header,
    Numbered,
    content,
    header,
    line,
    received,
    torn_content,
)
from tapewatch.io.tape_segment import (
    IndexEntry,
    Segment,
    frame_slices,
    index_entries,
    index_file,
    write_all,
)
from tapewatch.model.errors import TapeError

_COPY_BYTES: Final = 1 << 20


class Recovered(NamedTuple):
    """Where a tape goes on: after segment `number`, record `last`, chain hash `head`. `salvaged`
    records were taken out of torn tails, which are now the files `quarantined`."""

    number: int
    last: int
    head: bytes
    salvaged: int
    quarantined: tuple[Path, ...]


class _Scan(NamedTuple):
    """A segment: bytes of intact frames (0: not even a header), chain hash and last record there,
    and the valid records behind them."""

    good: int
    head: bytes
    last: int
    header: Header | None
    salvage: list[Numbered]


def recover(folder: Path, *, config: Mapping[str, Any], version: str, disk: Disk) -> Recovered:
    """Make a session's tape whole, or create its directory.

    `config` and `version` head records that are salvaged from a segment without a readable header.
    Raises `OSError` where the disk refuses, `TapeError` where a file cannot be read.
    """
    disk.make_folder(folder)
    for draft in folder.glob("*.part"):
        disk.unlink(draft)
    files = segment_files(folder)
    quarantined: list[Path] = []
    headless: list[Path] = []
    salvage: list[Numbered] = []
    scan = _Scan(0, GENESIS, 0, None, [])
    while files and not scan.good:
        scan = _scan(files[-1])
        salvage = scan.salvage + salvage
        if not scan.good:
            quarantined += _quarantine(disk, files[-1], 0)
            headless.append(files.pop())
    number = segment_number(files[-1]) if files else 0
    salvage = [record for record in salvage if record.n > scan.last]
    last, head = scan.last, scan.head
    if salvage:
        number, last = number + 1, salvage[-1].n
        told = (scan.header.config, scan.header.tapewatch) if scan.header else (config, version)
        opening = header(*told, number, scan.last + 1, head)
        head = _publish(
            Segment(disk, folder / f"{number:06d}.tape", opening, indexed=True), salvage
        )
    for file in headless:
        if segment_number(file) > number:  # else the salvaged records have replaced it
            disk.unlink(index_file(file))
            disk.unlink(file)
    if files and not salvage:
        quarantined += _trim(disk, files[-1], scan.good)
    for file, following in pairwise(segment_files(folder)):
        quarantined += _trim(disk, file, _covered(file, following))
    return Recovered(number, last, head, len(salvage), tuple(quarantined))


def _scan(file: Path) -> _Scan:
    unpacker = Unpacker()
    fd = open_file(file)
    try:
        opening = _header(fd)
        known = _known(file, fd)
        if known is not None:
            good, head, last = known.offset + known.size, bytes.fromhex(known.head), known.last
        elif opening is not None:
            good, head, last = 0, bytes.fromhex(opening.prev), opening.first - 1
        else:
            good, head, last = 0, GENESIS, 0
        intact = known is not None or opening is not None
        seen, salvage = last, list[Numbered]()
        for piece in pieces(fd, good):
            found, checked = _found(piece, unpacker)
            if not checked and piece.data != end_mark(head):
                intact = False
            fresh = [record for record in found if record.n > seen]
            if fresh and (checked or not seen or fresh[0].n == seen + 1):
                seen = fresh[-1].n
                salvage += [] if intact else fresh
            if intact:
                head = chained(head, piece.data) if checked else head
                good, last = piece.offset + len(piece.data), seen
        return _Scan(good, head, last, opening, salvage)
    finally:
        os.close(fd)


def _found(piece: Piece, unpacker: Unpacker) -> tuple[list[Numbered], bool]:
    """The records of a piece, and whether a checksum stands for them."""
    try:
        if piece.kind == "frame":
            return content(unpacker.whole(piece.data)).body, True
    except TapeError:
        pass  # a frame that was closed and not yet on the device: what was committed of it counts
    left = torn_content(unpacker.torn(piece.data))
    return (left.body if left else []), False


def _header(fd: int) -> Header | None:
    try:
        first = next(pieces(fd), None)
        opening = content(Unpacker().whole(first.data)).opening if first else None
    except TapeError:
        return None  # the caller goes without
    return opening if isinstance(opening, Header) else None


def _known(file: Path, fd: int) -> IndexEntry | None:
    """The last frame in the index, if the file has it as the index says."""
    try:
        size = os.fstat(fd).st_size
        inside = [entry for entry in index_entries(file) if entry.offset + entry.size <= size]
        if not inside:
            return None
        data = os.pread(fd, inside[-1].size, inside[-1].offset)
        opening = content(Unpacker().whole(data)).opening
    except (DecodeError, TapeError):
        return None  # the whole file is looked through instead
    before = opening.prev if isinstance(opening, Header) else opening.h
    right = chained(bytes.fromhex(before), data).hex() == inside[-1].head
    return inside[-1] if right else None


def _covered(file: Path, following: Path) -> int | None:
    """Bytes of a segment that the next one continues; whatever lies behind is in that one too."""
    fds = [open_file(file), open_file(following)]
    try:
        opening, continued = (_header(fd) for fd in fds)
        if opening is None or continued is None:
            return None
        head, end, target = bytes.fromhex(opening.prev), 0, bytes.fromhex(continued.prev)
        known = _known(file, fds[0])
        if known is not None and known.head == continued.prev:
            head, end = target, known.offset + known.size
        for piece in pieces(fds[0], end):
            if piece.kind == "frame" and head != target:
                head = chained(head, piece.data)
            elif piece.data != end_mark(head):
                break
            end = piece.offset + len(piece.data)
        return end if end and head == target else None
    finally:
        for fd in fds:
            os.close(fd)


def _publish(segment: Segment, records: list[Numbered]) -> bytes:
    """Write salvaged records; the chain hash after them."""
    lines = [line(record) for record in records]
    try:
        for part in frame_slices(lines):
            segment.add(lines[part])
            own = records[part]
            segment.end_frame(own[0].n, own[-1].n, [received(record) for record in own])
        segment.publish()
    finally:
        segment.discard()
    return segment.head


def _quarantine(disk: Disk, file: Path, offset: int) -> list[Path]:
    """Copy the bytes from `offset` on, durably. A repetition writes the same file again."""
    folder = file.parent / "quarantine"
    disk.make_folder(folder)
    copy = folder / f"{file.stem}.{offset}.torn"
    draft = copy.with_suffix(".part")
    source = open_file(file)
    try:
        target = disk.create(draft)
        try:
            os.lseek(source, offset, os.SEEK_SET)
            with os.fdopen(source, "rb", closefd=False) as rest:
                for chunk in iter(lambda: rest.read(_COPY_BYTES), b""):
                    write_all(disk, target, chunk)
            disk.sync(target)
        finally:
            disk.close(target)
    finally:
        os.close(source)
    disk.rename(draft, copy)
    disk.sync_folder(folder)
    return [copy]


def _trim(disk: Disk, file: Path, good: int | None) -> list[Path]:
    """Cut a segment, and first its index, behind its intact frames."""
    if good is None:
        return []
    torn = file.stat().st_size > good
    quarantined = _quarantine(disk, file, good) if torn else []
    try:
        entries = index_entries(file)
    except DecodeError:
        disk.unlink(index_file(file))  # it can be done without
    else:
        kept = [entry for entry in entries if entry.offset + entry.size <= good]
        if len(kept) < len(entries):
            size = sum(len(json.encode(entry)) + 1 for entry in kept)
            disk.truncate(index_file(file), size)
    if torn:
        disk.truncate(file, good)
    return quarantined
