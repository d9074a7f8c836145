"""The engine's memory in a file beside the tape, so that going on takes seconds and not the tape's
length.

It is a convenience: the tape is the truth, and a checkpoint that is missing, damaged, of other
settings or ahead of the tape is simply not used. It is taken when nothing waits, so that everything
before it has reached the tape and the outbox.
"""

import os
import pathlib
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec import Struct

from tapewatch.app.config import Config, effective
from tapewatch.app.ledger import Ledger
from tapewatch.engine.engine import Engine
from tapewatch.engine.snapshot import restore, snapshot
from tapewatch.model.errors import RecordingError, TapeError
from tapewatch.model.inputs import Link
from tapewatch.model.text import clean

NAME: Final = "checkpoint.msgpack"
EVERY_S: Final = 300.0
SHARE: Final = 1000.0  # it is taken so rarely that it costs no more than a thousandth of the time
VERSION: Final = 1

Links = dict[str, Link]  # the latest of each source and stream, by `source/stream`


class Checkpoint(Struct):
    """All there was to know after record `seq`. `settings` names the configuration, `check` is
    SHA-256 of the memory."""

    version: int
    seq: int
    settings: str
    check: bytes
    memory: bytes
    ledger: Ledger
    links: Links


class Keeper:
    """Keeps the checkpoints of one session in its `folder`. `links` are the connections as an
    earlier process left them."""

    def __init__(self, folder: pathlib.Path, config: Config, links: Links) -> None:
        self._folder, self._settings, self._links = folder, settings_of(config), links

    def see(self, link: Link) -> None:
        """Take note of a connection."""
        self._links[f"{link.source}/{link.stream}"] = link

    def take(self, engine: Engine, ledger: Ledger) -> Callable[[], None]:
        """Copy what there is to know, for which the engine must stand still; the function that is
        returned puts it on the disk. It raises `RecordingError`."""
        memory = snapshot(engine)
        check = sha256(memory).digest()
        made = Checkpoint(VERSION, engine.seq, self._settings, check, memory, ledger, self._links)
        return partial(_keep, self._folder, msgspec.msgpack.encode(made))


def _keep(folder: pathlib.Path, data: bytes) -> None:
    """Put it in the place of the one before, all or nothing."""
    part = folder / f"{NAME}.part"
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / NAME)
    except OSError as error:
        raise RecordingError(f"cannot write {NAME}: {clean(str(error.strerror))}") from error


def load(folder: pathlib.Path, config: Config, engine: Engine, last: int) -> Checkpoint | None:
    """Give `engine` (fresh) the memory of a checkpoint that fits: same settings, and not ahead of
    the tape, whose last record is `last`. None, and an engine as it was, if none does."""
    try:
        data = (folder / NAME).read_bytes()
        saved = msgspec.msgpack.decode(data, type=Checkpoint)
    except (OSError, msgspec.MsgspecError):
        return None
    fits = saved.version == VERSION and saved.settings == settings_of(config) and saved.seq <= last
    if not fits or sha256(saved.memory).digest() != saved.check:
        return None
    try:
        restore(engine, saved.memory)
    except TapeError:  # of another version of this program, and nothing has been changed
        return None
    return saved


def settings_of(config: Config) -> str:
    """Name of the settings that outputs depend on."""
    plain: dict[str, Any] = effective(config)
    return sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()
