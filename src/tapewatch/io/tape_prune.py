"""Letting go of the oldest segments of a session's tape, and saying so.

A tape whose beginning is gone without a word is damaged. What is let go on purpose is named in
`pruned.json` before the first file goes, so that a crash leaves a tape that explains itself, and
`tape_check` can tell one from the other. The newest segment always stays, and all that lies after
the session's checkpoint: going on needs both.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, NamedTuple

from msgspec import DecodeError, Meta, Struct, json

from tapewatch.io.tape_disk import Disk
from tapewatch.io.tape_frames import segment_files, segment_number
from tapewatch.io.tape_read import TapeReader
from tapewatch.io.tape_records import Hash, Header, received
from tapewatch.io.tape_segment import index_entries, index_file, write_all
from tapewatch.model.errors import ConfigError, TapeError
from tapewatch.model.text import clean

MARK: Final = "pruned.json"
_MARK_BYTES: Final = 4_096  # ours has 250

_Count = Annotated[int, Meta(ge=1, le=1 << 62)]


class Mark(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a pruned tape begins: with record `first`, after segment `segment` and the chain hash
    `head`. `until_ns`: the newest input that is gone; `at_ns`: when that was done."""

    segment: _Count
    first: _Count
    head: Hash
    until_ns: int
    at_ns: int
    v: int = 1


class Old(NamedTuple):
    """Segments that may go, the oldest first, with `size` in bytes of all their files, and what the
    mark will say (None: none may). `why` is what keeps the next one, for people."""

    segments: tuple[Path, ...]
    size: int
    mark: Mark | None
    why: str


def read_mark(folder: Path) -> Mark | None:
    """The mark of a pruned tape; None if nothing was pruned. Raises `TapeError`."""
    path = folder / MARK
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TapeError(f"cannot be read: {error.strerror}", str(path)) from error
    try:
        return json.decode(os.read(fd, _MARK_BYTES), type=Mark)
    except (DecodeError, OSError) as error:
        raise TapeError(f"is damaged: {clean(str(error))}", str(path)) from error
    finally:
        os.close(fd)


def begins(folder: Path) -> tuple[int, int]:
    """Number and receive time (ns) of the first input on a tape, `(0, 0)` if it has none. Raises
    `TapeError`."""
    first = next(TapeReader(folder).inputs(), None)
    return (first[0], first[1].ts_recv) if first else (0, 0)


def old_segments(folder: Path, before_ns: int, covered: int, at_ns: int) -> Old:
    """Which segments were received before `before_ns` as a whole and hold no record after
    `covered`. `at_ns` is the time now. Raises `TapeError` for a tape that cannot be read."""
    found: list[Path] = []
    least, until_ns, mark, why = 0, 0, None, ""
    for file, following in pairwise(segment_files(folder)):
        opening = TapeReader(following).header
        if opening.first - 1 > covered:
            why = "what comes after the checkpoint is needed to go on"
            break
        newest_ns = _newest(file, opening)
        if newest_ns >= before_ns:
            break
        found.append(file)
        until_ns = max(until_ns, newest_ns)
        if newest_ns:  # without an input it goes with those after it, or stays
            least = len(found)
            number = segment_number(file)
            mark = Mark(number, opening.first, opening.prev, until_ns, at_ns)
    files = tuple(found[:least])
    return Old(files, sum(_size(file) for file in files), mark, why)


def prune(folder: Path, old: Old, disk: Disk | None = None) -> None:
    """Write the mark, then remove the files. Raises `TapeError` where the disk refuses; what is
    left of the tape is whole then, too."""
    if old.mark is None:
        return
    disk = disk or Disk()
    try:
        _write(disk, folder / MARK, json.format(json.encode(old.mark), indent=2) + b"\n")
        for file in old.segments:
            for torn in (folder / "quarantine").glob(f"{file.stem}.*.torn"):
                disk.unlink(torn)
            disk.unlink(index_file(file))
            disk.unlink(file)
        disk.sync_folder(folder)
    except OSError as error:
        raise TapeError(f"cannot be pruned: {error.strerror}", str(folder)) from error


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process prunes at a time. Raises `ConfigError` if another does already."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ConfigError(
            f"{clean(str(folder))} is being pruned by another process; try again later"
        ) from error
    finally:
        os.close(fd)


def _newest(file: Path, following: Header) -> int:
    """Receive time (ns) of the newest input in a segment; 0 if it has none."""
    try:
        entries = index_entries(file)
    except DecodeError:
        entries = []  # it can be done without
    if entries and entries[-1].last == following.first - 1:
        return max(entry.until for entry in entries)
    return max((received(record) or 0 for record in TapeReader(file).records()), default=0)


def _size(file: Path) -> int:
    beside = index_file(file)
    return file.stat().st_size + (beside.stat().st_size if beside.exists() else 0)


def _write(disk: Disk, path: Path, data: bytes) -> None:
    """All or nothing, and durable."""
    draft = path.with_name(f"{path.name}.part")
    fd = disk.create(draft)
    try:
        write_all(disk, fd, data)
        disk.sync(fd)
    finally:
        disk.close(fd)
    disk.rename(draft, path)
    disk.sync_folder(path.parent)
