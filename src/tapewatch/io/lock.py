"""One writer per session directory.

The kernel holds the lock (flock), so it goes with the process, however that ends; what the file
says is only for the message to the second process. The file itself stays: removing it would let two
processes hold locks on two files of one name.
"""

import fcntl
import os
import pathlib
import re
from types import TracebackType
from typing import Final, Self

from tapewatch.io.clock import local_minute
from tapewatch.model.errors import ConfigError, SessionBusy
from tapewatch.model.text import clean

FILE_NAME: Final = ".lock"
_OWNER = re.compile(rb"(\d{1,10}) (\d{1,19})\n")


class SessionLock:
    """`with SessionLock(directory, now_ns):` or `acquire`d, then held until `release`d.

    Raises `SessionBusy` when another process has it, `ConfigError` when the directory cannot be
    written.
    """

    def __init__(self, directory: pathlib.Path, now_ns: int) -> None:
        self._directory, self._now_ns = directory, now_ns
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise at once."""
        assert self._file is None, "the lock is held already"
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            file = os.open(self._directory / FILE_NAME, flags, 0o600)
        except OSError as error:
            raise ConfigError(
                f"cannot write in {clean(str(self._directory))}: {error.strerror}"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = _owner(os.pread(file, 64, 0))
            os.close(file)
            raise SessionBusy(
                f"Session directory is in use by {owner}. "
                "Use --name for another one, or stop that process."
            ) from error
        os.ftruncate(file, 0)
        os.pwrite(file, b"%d %d\n" % (os.getpid(), self._now_ns), 0)
        self._file = file

    def release(self) -> None:
        """Let go; does nothing when the lock is not held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _owner(data: bytes) -> str:
    match = _OWNER.fullmatch(data)
    if match is None:  # it holds the lock but has not written its name yet
        return "another process"
    return f"pid {match.group(1).decode()} (started {local_minute(int(match.group(2)))})"
