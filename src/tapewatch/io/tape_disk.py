"""The system calls of the tape's writer, in one place so that a test can fail any of them.

It decides nothing: what an error means is the writer's business.
"""

import os
from pathlib import Path
from typing import Final

# macOS has neither call: there fsync does more than is asked, and no space is held back.
_sync_data: Final = getattr(os, "fdatasync", os.fsync)
_allocate: Final = getattr(os, "posix_fallocate", None)


class Disk:
    """Every method raises `OSError` as the system does."""

    def make_folder(self, path: Path) -> None:
        """Create a directory that only its owner can enter; it may exist."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def create(self, path: Path) -> int:
        """A file descriptor of a new regular file; what stood there before is gone."""
        path.unlink(missing_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)

    def write(self, fd: int, data: memoryview) -> int:
        """Bytes taken, which may be fewer than given."""
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        """Return when the file's data has reached the device."""
        _sync_data(fd)

    def close(self, fd: int) -> None:
        """Give up a file descriptor."""
        os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        """Atomically put `old` in the place of `new`."""
        old.replace(new)

    def unlink(self, path: Path) -> None:
        """Remove a file; it may be gone already."""
        path.unlink(missing_ok=True)

    def sync_folder(self, path: Path) -> None:
        """Return when names created, renamed or removed in a directory are on the device."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def truncate(self, path: Path, size: int) -> None:
        """Cut a regular file to `size` bytes, durably."""
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            os.ftruncate(fd, size)
            os.fsync(fd)
        finally:
            os.close(fd)

    def hold_back(self, path: Path, size: int) -> None:
        """Occupy `size` bytes of the disk with a file; nothing where the system cannot."""
        if _allocate is None:
            return
        fd = self.create(path)
        try:
            _allocate(fd, 0, size)
        finally:
            os.close(fd)

    def free_bytes(self, path: Path) -> int:
        """Space that an ordinary user may still fill."""
        state = os.statvfs(path)
        return state.f_bavail * state.f_frsize
