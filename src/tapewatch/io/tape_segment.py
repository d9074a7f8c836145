"""One file of a tape while it is being written: frames, their chain, their index.

Raises `OSError` as it comes and is not to be used after one: what to do then is the business of
`tape_write` and `tape_file`.
"""

import contextlib
import errno
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Final

import zstandard
from msgspec import Meta, Struct, json

from tapewatch.io.tape_disk import Disk
from tapewatch.io.tape_frames import compressor, end_mark
from tapewatch.io.tape_records import ChainRecord, Hash, Header, Snapshot, line
from tapewatch.model import limits

_BLOCK: Final = zstandard.COMPRESSOBJ_FLUSH_BLOCK


_Place = Annotated[int, Meta(ge=0, le=1 << 62)]
_Size = Annotated[int, Meta(gt=0, le=limits.UNPACKED_BYTES)]


class IndexEntry(Struct, frozen=True, gc=False, array_like=True):
    """Where a frame lies (bytes), its first and last record, when its inputs were received (ns),
    and the chain hash after it. `last < first`: a header or a snapshot, without records."""

    offset: _Place
    size: _Size
    first: int
    last: int
    since: int
    until: int
    head: Hash


def index_entry(
    offset: int, size: int, first: int, last: int, times: list[int | None], head: bytes
) -> IndexEntry:
    """The entry of a frame whose records were received at `times` (None for an alert)."""
    known = [time for time in times if time is not None] or [0]
    return IndexEntry(offset, size, first, last, min(known), max(known), head.hex())


_decode_entry: Final = json.Decoder(IndexEntry).decode


def index_file(segment: Path) -> Path:
    """The index that lies beside a segment."""
    return segment.with_suffix(".idx")


def index_entries(segment: Path) -> list[IndexEntry]:
    """Entries of a segment's index, up to a torn last line; none where there is no index.

    Raises `msgspec.DecodeError` on lines that are no entries.
    """
    try:
        text = index_file(segment).read_bytes()
    except FileNotFoundError:
        return []
    return [_decode_entry(entry) for entry in text.split(b"\n")[:-1]]


def frame_slices(lines: list[bytes]) -> Iterator[slice]:
    """Cut lines into stretches that fit into one frame each."""
    begin = size = 0
    for at, text in enumerate(lines):
        if at - begin >= limits.FRAME_RECORDS or size >= limits.TAPE_FRAME_BYTES:
            yield slice(begin, at)
            begin, size = at, 0
        size += len(text)
    if begin < len(lines):
        yield slice(begin, len(lines))


def write_all(disk: Disk, fd: int, data: bytes) -> None:
    """Write until the system has taken all of it."""
    rest = memoryview(data)
    while rest:
        taken = disk.write(fd, rest)
        if not taken:
            raise OSError(errno.EIO, "the system took nothing of a write")
        rest = rest[taken:]


class Segment:
    """A new file that appears under its own name when `publish` is called."""

    def __init__(self, disk: Disk, path: Path, header: Header, *, indexed: bool) -> None:
        self.path = path
        self.head = bytes.fromhex(header.prev)  # after the last closed frame
        self.size = 0  # bytes given to the system
        self.safe_size = 0  # bytes of closed frames that are on the device
        self._disk = disk
        self._zstd = compressor()
        self._stream: zstandard.ZstdCompressionObj | None = None
        self._fresh = False  # the stream holds lines that were not flushed
        self._hash = hashlib.sha256()
        self._frame_at = 0  # offset of the open frame
        self._frame_size = 0  # compressed bytes of it so far
        self._out: list[bytes] = []
        self._index: list[bytes] = []
        self._index_fd = -1
        opening = line(header)
        self._fd = disk.create(self._draft(path))
        try:
            if indexed:
                self._index_fd = disk.create(self._draft(index_file(path)))
        except OSError:
            self.close()
            raise
        self._open_frame(opening)
        self.end_frame(header.first, header.first - 1, [])

    @staticmethod
    def _draft(path: Path) -> Path:
        return path.with_name(path.name + ".part")

    def add(self, lines: Iterable[bytes]) -> None:
        """Put lines into the open frame; it is opened if there is none."""
        if self._stream is None:
            self._open_frame(line(ChainRecord(self.head.hex())))
        assert self._stream is not None
        self._take(self._stream.compress(b"\n".join(lines) + b"\n"))
        self._fresh = True

    def end_frame(self, first: int, last: int, times: list[int | None]) -> None:
        """Close the open frame: records `first` to `last`, received at `times` (None: an alert)."""
        assert self._stream is not None
        self._take(self._stream.flush())
        self._stream, self._fresh = None, False
        self.head = self._hash.digest()
        entry = index_entry(self._frame_at, self._frame_size, first, last, times, self.head)
        self._index.append(json.encode(entry) + b"\n")
        self._frame_at += self._frame_size

    def put_snapshot(self, snapshot: Snapshot) -> None:
        """A frame of its own for a snapshot."""
        self.add([line(snapshot)])
        self.end_frame(snapshot.n, snapshot.n - 1, [])

    def write(self) -> None:
        """Give everything to the system."""
        if self._stream is not None and self._fresh:
            self._take(self._stream.flush(_BLOCK))
            self._fresh = False
        self.size += self._write(self._fd, self._out)

    def sync(self) -> None:
        """Return when everything is on the device."""
        self.write()
        self._disk.sync(self._fd)
        self.safe_size = self._frame_at

    def write_index(self) -> None:
        """Add closed frames to the index. Call it after `sync`: the index never runs ahead."""
        if self._index_fd >= 0:
            self._write(self._index_fd, self._index)

    def publish(self) -> None:
        """Make everything durable and give the file its name."""
        self.sync()
        self.write_index()
        if self._index_fd >= 0:
            self._disk.rename(self._draft(index_file(self.path)), index_file(self.path))
        self._disk.rename(self._draft(self.path), self.path)
        self._disk.sync_folder(self.path.parent)

    def seal(self) -> None:
        """Write the end mark; nothing may follow."""
        assert self._stream is None
        self._out.append(end_mark(self.head))
        self.sync()

    def close(self) -> None:
        """Give up the files."""
        for fd in {self._fd, self._index_fd} - {-1}:
            # What `sync` has confirmed is safe, and what it has not is not counted on.
            with contextlib.suppress(OSError):
                self._disk.close(fd)
        self._fd = self._index_fd = -1

    def discard(self) -> None:
        """Remove what was not published."""
        self.close()
        for path in (self.path, index_file(self.path)):
            # A draft that stays is nobody's tape; the next writer removes it.
            with contextlib.suppress(OSError):
                self._disk.unlink(self._draft(path))

    def _open_frame(self, first: bytes) -> None:
        self._stream = self._zstd.compressobj()
        self._hash = hashlib.sha256(self.head)
        self._frame_size = 0
        self._take(self._stream.compress(first + b"\n"))

    def _take(self, chunk: bytes) -> None:
        if chunk:
            self._out.append(chunk)
            self._hash.update(chunk)
            self._frame_size += len(chunk)

    def _write(self, fd: int, chunks: list[bytes]) -> int:
        data = b"".join(chunks)
        chunks.clear()
        write_all(self._disk, fd, data)
        return len(data)
