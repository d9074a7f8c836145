"""The kill switch: what it may say, and the small file that any operator or program can write.

`on` or `off`, JSON with `"active": true|false`, or bot 4.15's `"status": "ACTIVE"|"INACTIVE"`; no
file means off. Where else it may be, and what comes of several, is in `control_switches.py`. A
change becomes a `Command`, so that the tape shows when and by whom emission was stopped.
"""

import contextlib
import os
import pathlib
import tempfile
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from tapewatch.model import limits
from tapewatch.model.errors import ConfigError
from tapewatch.model.text import clean

Switch = Literal["on", "off", "unknown"]

UNREADABLE_POLLS: Final = 2  # a file being replaced may be unreadable once, not twice


_WORDS: Final = {b"on": True, b"active": True, b"off": False, b"inactive": False}


class Order(msgspec.Struct, frozen=True):
    """What a switch says, by whom and why; ns at which it was set, 0 where nobody says."""

    active: bool
    actor: str = ""
    reason: str = ""
    at_ns: int = 0


class _Written(msgspec.Struct):
    """Both ways to write it; one of them must be there, and both must agree."""

    active: bool | UnsetType = UNSET
    status: Literal["ACTIVE", "INACTIVE"] | UnsetType = UNSET
    actor: str = ""
    reason: str = ""
    at_ns: int = 0


def read(path: pathlib.Path) -> Order | None:
    """What the file says; None when it cannot be read or understood."""
    try:
        # Not blocking: a named pipe in the place of the file must not stop the loop.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Order(active=False)
    except OSError:
        return None
    try:
        data = os.read(file, limits.CONTROL_BYTES + 1)
    except OSError:
        return None
    finally:
        os.close(file)
    return parse(data)


def parse(data: bytes) -> Order | None:
    """What these bytes say; None when they cannot be understood."""
    if len(data) > limits.CONTROL_BYTES:
        return None
    active = _WORDS.get(data.strip().lower())
    if active is not None:
        return Order(active)
    try:
        found = msgspec.json.decode(data, type=_Written)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    said = set()
    if found.active is not UNSET:
        said.add(found.active)
    if found.status is not UNSET:
        said.add(found.status == "ACTIVE")
    if len(said) != 1:
        return None
    return Order(said.pop(), clean(found.actor), clean(found.reason), found.at_ns)


def write(
    path: pathlib.Path, state: Literal["on", "off"], *, actor: str, reason: str, now_ns: int
) -> None:
    """Set the switch for every process that watches `path`; all or nothing, also in a crash.

    Raises `ConfigError` when the file cannot be written.
    """
    order = Order(active=state == "on", actor=clean(actor), reason=clean(reason), at_ns=now_ns)
    data = msgspec.json.encode(order) + b"\n"
    assert len(data) <= limits.CONTROL_BYTES
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        try:
            with os.fdopen(file, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            pathlib.Path(name).replace(path)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                pathlib.Path(name).unlink()
            raise
        _sync_directory(path.parent)
    except OSError as error:
        raise ConfigError(
            f"cannot write the kill switch {clean(str(path))}: {error.strerror}"
        ) from error


def _sync_directory(path: pathlib.Path) -> None:
    """A rename is durable only when its directory is."""
    directory = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
