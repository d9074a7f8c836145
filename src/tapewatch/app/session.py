"""Session folders: making them, finding them, and what is known about each.

A folder holds `tape/`, the files of `sinks.session_files`, the alert store, and, once the session
has ended in order, `summary.json`. Nothing here runs a session.
"""

import errno
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import Struct

from tapewatch.io.tape_check import Verification, verify
from tapewatch.io.tape_read import TapeReader
from tapewatch.model.errors import ConfigError, TapeError
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S
from tapewatch.sinks.account import SummaryView

TAPE: Final = "tape"
SUMMARY: Final = "summary.json"
STORE: Final = "alerts.sqlite"
LAST: Final = "last"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
HEAD_DIGITS: Final = 64  # of a chain hash, SHA-256 in hex
_SAME_SECOND: Final = 100  # sessions started within one second


class Known(Struct, frozen=True):
    """A session folder. `started_ns` by its first record, 0: it has none; `size` in bytes.
    `summary` None: it is running, or did not end in order."""

    name: str
    path: str
    started_ns: int
    size: int
    summary: SummaryView | None


def create(parent: pathlib.Path, name: str, now_ns: int) -> pathlib.Path:
    """The folder of a session, made if it is not there: `name`, or `session_<unix time>`.

    A named session that exists is gone on with; an unnamed one is always new. Raises `ConfigError`.
    """
    if name and not _NAME.fullmatch(name):
        raise ConfigError(
            f'"{clean(name, 60)}" cannot name a session; use letters, digits, - _ and .',
            "session.name",
        )
    base = f"session_{now_ns // NS_PER_S}"
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if name:
            return _made(parent / name, exist_ok=True)
        for more in range(_SAME_SECOND):
            path = parent / (f"{base}_{more + 1}" if more else base)
            if not path.exists():
                return _made(path, exist_ok=False)
    except OSError as error:
        raise _unwritable(parent / (name or base), error) from error
    raise ConfigError(f"{_SAME_SECOND} sessions were started in this second; use --name")


def find(parent: pathlib.Path, name: str) -> pathlib.Path:
    """The folder of a session: its name, its path, or `last`. Raises `ConfigError`."""
    given = pathlib.Path(name)
    if name == LAST:
        newest = next(iter(folders(parent)), None)
        if newest is None:
            raise ConfigError(f"There is no session in {clean(str(parent))}. Try: tapewatch demo")
        return newest
    for path in (parent / name, given):
        if (path / TAPE).is_dir():
            return path
    raise ConfigError(
        f'There is no session "{clean(name, 80)}" in {clean(str(parent))}. '
        "See: tapewatch session list"
    )


def folders(parent: pathlib.Path) -> list[pathlib.Path]:
    """All session folders, the newest first."""
    try:
        found = [path for path in parent.iterdir() if (path / TAPE).is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"cannot read {clean(str(parent))}: {error.strerror}") from error
    return sorted(found, key=_made_ns, reverse=True)


def known(folder: pathlib.Path) -> Known:
    """What a session's folder says of itself, without going through its tape."""
    return Known(folder.name, str(folder), _started_ns(folder), _size(folder), read_summary(folder))


def write_summary(folder: pathlib.Path, view: SummaryView) -> None:
    """Keep the account of a session that has ended. Raises `ConfigError`."""
    part = folder / f"{SUMMARY}.part"
    try:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(view), indent=2) + b"\n")
        part.replace(folder / SUMMARY)
    except OSError as error:
        raise _unwritable(folder, error) from error


def forget_summary(folder: pathlib.Path) -> None:
    """The account of an earlier end does not hold any more: the session is gone on with. Call it
    before the first record is appended. Raises `ConfigError`."""
    try:
        (folder / SUMMARY).unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(folder / SUMMARY, error) from error


def read_summary(folder: pathlib.Path) -> SummaryView | None:
    """The account of a session; None if it has not ended, or the file is not ours."""
    try:
        return msgspec.json.decode((folder / SUMMARY).read_bytes(), type=SummaryView)
    except (OSError, msgspec.DecodeError):
        return None  # the tape has everything


def verified(folder: pathlib.Path, head: str | None = None) -> Verification:
    """Check the session's tape against `head`, by default against the one in its summary.
    Raises `TapeError`."""
    if head is None:
        summary = read_summary(folder)
        head = summary.head if summary and summary.head else None
    return verified_tape(folder / TAPE, head)


def verified_tape(tape: pathlib.Path, head: str | None = None) -> Verification:
    """Check a tape; `head` may be the beginning of a chain hash, as the summary shows it."""
    if head is None or len(head) == HEAD_DIGITS:
        return verify(tape, head)
    found = verify(tape)
    return found if found.head.startswith(head) else verify(tape, head)


def _made(path: pathlib.Path, *, exist_ok: bool) -> pathlib.Path:
    path.mkdir(mode=0o700, exist_ok=exist_ok)
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return path


def _unwritable(path: pathlib.Path, error: OSError) -> ConfigError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ConfigError(f"Cannot create {clean(str(path))}: the disk is full. Free space first")
    return ConfigError(
        f"Cannot create {clean(str(path))}: {error.strerror}. "
        "Choose another folder with session.dir or SESSION_DIR"
    )


def _made_ns(folder: pathlib.Path) -> tuple[int, str]:
    """When a session was made: by its name, or by its folder where the user has named it."""
    stamp = re.fullmatch(r"session_(\d{1,11})(?:_\d+)?", folder.name, re.ASCII)
    return int(stamp.group(1)) * NS_PER_S if stamp else folder.stat().st_mtime_ns, folder.name


def _started_ns(folder: pathlib.Path) -> int:
    try:
        first = next(TapeReader(folder / TAPE).inputs(), None)
    except TapeError:
        return 0  # `session verify` says what is wrong with it
    return first[1].ts_recv if first else 0


def _size(folder: pathlib.Path) -> int:
    return sum(path.lstat().st_size for path in _files(folder))


def _files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path
