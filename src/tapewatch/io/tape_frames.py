"""The tape's bytes: independent zstd frames, found and unpacked without trusting any of them.

A segment is a concatenation of frames and, once it was closed in an orderly way, an end mark: a
zstd skippable frame (which every zstd tool ignores) that holds the chain hash over all frames, so
that a closed tape has no byte which could change unnoticed. RFC 8878 describes the format.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

import zstandard

from tapewatch.model import limits
from tapewatch.model.errors import TapeError

GENESIS: Final = bytes(32)  # the chain hash before the first frame

_WINDOW_LOG: Final = 19  # what level 1 chooses by itself for input of unknown size
# Magic number, descriptor (checksum, no content size), window: equal in every frame we write, and
# therefore demanded. zstd itself would read past some changed bits of it.
_FRAME_HEAD: Final = bytes([0x28, 0xB5, 0x2F, 0xFD, 0x04, (_WINDOW_LOG - 10) << 3])
_END_HEAD: Final = bytes.fromhex("502a4d18") + len(GENESIS).to_bytes(4, "little")
_END_BYTES: Final = len(_END_HEAD) + len(GENESIS)
_BLOCK_BYTES: Final = 128 << 10  # the format's limit
_BLOCKS: Final = 4_096  # more than a commit after each of `FRAME_RECORDS` records can make
_CHECKSUM_BYTES: Final = 4
_READ_BYTES: Final = 1 << 20

_PARAMETERS: Final = zstandard.ZstdCompressionParameters.from_level(
    1, window_log=_WINDOW_LOG, write_checksum=True, write_content_size=False
)

Kind = Literal["frame", "end", "torn", "broken"]


class Piece(NamedTuple):
    """A stretch of a segment. `torn`: it began well and the file ended; `broken`: no frame."""

    kind: Kind
    offset: int
    data: bytes


def compressor() -> zstandard.ZstdCompressor:
    """Makes frames, one at a time: its streams share one context."""
    return zstandard.ZstdCompressor(compression_params=_PARAMETERS)


def chained(head: bytes, frame: bytes) -> bytes:
    """The chain hash after `frame`, from the one before it."""
    return hashlib.sha256(head + frame).digest()


def end_mark(head: bytes) -> bytes:
    """What an orderly close writes after the last frame."""
    return _END_HEAD + head


def segment_files(path: Path) -> list[Path]:
    """The files of a tape in order: `path` itself, or the segments in it."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.glob("*.tape") if segment_number(file))


def segment_number(path: Path) -> int:
    """`000007.tape` -> 7; 0 for any other name."""
    stem = path.stem
    return int(stem) if len(stem) == 6 and stem.isascii() and stem.isdigit() else 0


def open_file(path: Path) -> int:
    """A descriptor for reading. Raises `TapeError` unless it is a regular file, not a link."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        reason = "it is a symbolic link" if path.is_symlink() else str(error.strerror)
        raise TapeError(f"cannot be read: {reason}", str(path)) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise TapeError("is not a file", str(path))
    return fd


def pieces(fd: int, offset: int = 0) -> Iterator[Piece]:
    """Cut the rest of a segment into pieces that together are all its bytes."""
    buffer, at, more = b"", 0, True
    while more or at < len(buffer):
        kind, size = _measure(buffer, at, more=more)
        if size:
            yield Piece(kind, offset + at, buffer[at : at + size])
            at += size
            continue
        chunk = os.pread(fd, _READ_BYTES, offset + len(buffer))
        buffer, offset, at, more = buffer[at:] + chunk, offset + at, 0, bool(chunk)


class Unpacker:
    """Unpacks frames. For one thread at a time, as zstd's contexts are."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG)

    def whole(self, frame: bytes) -> bytes:
        """The lines of a frame. Raises `TapeError` if it is damaged or unpacks to too much."""
        kind, ends = _walk(frame, 0) if frame.startswith(_FRAME_HEAD) else ("broken", [])
        if kind != "frame" or ends[-1] != len(frame):
            raise TapeError("damaged frame (not whole)")
        # A bound from the number of blocks: a buffer of the largest size costs more than unpacking.
        if len(ends) * _BLOCK_BYTES > limits.UNPACKED_BYTES:
            raise TapeError("damaged frame (it unpacks to too much)")
        stream = self._zstd.decompressobj()
        try:
            data = stream.decompress(frame)
        except zstandard.ZstdError as error:
            raise TapeError(f"damaged frame ({error})") from error
        if not stream.eof:
            raise TapeError("damaged frame (it ends early)")
        return data

    def torn(self, frame: bytes) -> bytes:
        """What the intact blocks at the beginning of a frame hold; nothing of it was checked."""
        found: list[bytes] = []
        if not frame.startswith(_FRAME_HEAD):
            return b""
        stream, begin, size = self._zstd.decompressobj(), 0, 0
        for end in _walk(frame, 0)[1]:
            try:
                found.append(stream.decompress(frame[begin:end]))
            except zstandard.ZstdError:
                break  # what came before is all there is
            begin, size = end, size + len(found[-1])
            if size > limits.UNPACKED_BYTES:
                break
        return b"".join(found)


def _measure(data: bytes, at: int, *, more: bool) -> tuple[Kind, int]:
    """Kind and size of the piece at `at`; size 0: cannot be told before `more` is read."""
    rest = len(data) - at
    head = data[at : at + len(_END_HEAD)]
    kind: Kind = "broken"
    if head.startswith(_FRAME_HEAD):
        kind, ends = _walk(data, at)
        if kind == "frame":
            return kind, ends[-1] - at
    elif head == _END_HEAD:
        kind = "end" if rest >= _END_BYTES else "torn"
        if kind == "end":
            return kind, _END_BYTES
    elif _FRAME_HEAD.startswith(head) or _END_HEAD.startswith(head):
        kind = "torn"
    if kind == "torn" and more and rest < limits.UNPACKED_BYTES:
        return kind, 0
    following = data.find(_FRAME_HEAD, at + 1)
    if following >= 0:
        return "broken", following - at
    # A frame's beginning may lie across the end of what was read so far.
    return (kind, rest) if not more else ("broken", max(0, rest - len(_FRAME_HEAD)))


def _walk(data: bytes, begin: int) -> tuple[Kind, list[int]]:
    """Follow the blocks of the frame at `begin`; the ends of its header, blocks and checksum.

    Block header, RFC 8878 3.1.1.2: bit 0 last, bits 1-2 type (1: one repeated byte, 3: reserved),
    bits 3-23 size.
    """
    ends = [begin + len(_FRAME_HEAD)]
    last = 0
    while not last and len(ends) <= _BLOCKS:
        at = ends[-1]
        field = int.from_bytes(data[at : at + 3], "little")
        last, form, size = field & 1, field >> 1 & 3, field >> 3
        if at + 3 > len(data):
            return "torn", ends
        if form == 3 or size > _BLOCK_BYTES:
            return "broken", ends
        at += 3 + (1 if form == 1 else size)
        if at > len(data):
            return "torn", ends
        ends.append(at)
    if not last:
        return "broken", ends
    ends.append(ends[-1] + _CHECKSUM_BYTES)
    return ("frame", ends) if ends[-1] <= len(data) else ("torn", ends[:-1])
