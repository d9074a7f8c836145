"""Small tapes for the tests beside this file, and a disk that fails on demand."""

import errno
import os
from pathlib import Path

from tapewatch.io.tape_disk import Disk
from tapewatch.io.tape_read import TapeReader
from tapewatch.io.tape_records import Numbered
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model.inputs import Command, Frame, Input, Link, Timer
from tapewatch.model.time import NS_PER_S

T0 = 1_700_000_000 * NS_PER_S
CONFIG = {"detector": [{"type": "zscore", "threshold": 3.0}], "name": "größe"}
VERSION = "0.1.0"


def tick(i: int) -> Frame:
    data = b'{"channel":"trade","data":[{"price":%d.50,"qty":0.%03d}]}' % (60_000 + i, i)
    return Frame(T0 + i * NS_PER_S // 10, "kraken", data)


INPUTS: list[Input] = [
    Link(T0, "kraken", "up", "connected"),
    *(tick(i) for i in range(1, 6)),
    Timer(T0 + NS_PER_S),
    Frame(T0 + NS_PER_S, "kraken", b'[1, 2,\n"two lines"]', "rest:/0/public/Trades?pair=XBTUSD"),
    Frame(T0 + NS_PER_S, "kraken", b"\xff\x00 not text"),
    Command(T0 + 2 * NS_PER_S, "operator", "kill", "on"),
]
ALERT = b'{"schema":"tapewatch.alert/1","id":"a-1"}'


def writer(folder: Path, disk: Disk | None = None) -> TapeWriter:
    return TapeWriter(folder, config=CONFIG, version=VERSION, disk=disk)


def record_all(tape: TapeWriter, inputs: list[Input], *, frame_s: float = 0.5) -> None:
    """Append and commit one by one, so that frames hold few records."""
    for i, item in enumerate(inputs):
        tape.append(item)
        tape.commit(T0 + int(i * frame_s * NS_PER_S))


def session(folder: Path, *, close: bool = True, size: int = len(INPUTS)) -> Path:
    """A tape with several frames, an alert in the middle, and (not closed) an open frame."""
    tape = writer(folder)
    record_all(tape, INPUTS[: size // 2])
    tape.append_alert(ALERT)
    tape.commit(T0)
    record_all(tape, INPUTS[size // 2 : size])
    if close:
        tape.close()
    return folder


def records(path: Path) -> list[Numbered]:
    return list(TapeReader(path).records())


def inputs(path: Path) -> list[Input]:
    return [item for _, item in TapeReader(path).inputs()]


class Crash(Exception):
    """The process or the machine is gone."""


class UnsafeDisk(Disk):
    """Does not wait for the device: tests that open tapes by the thousand have other worries."""

    def sync(self, fd: int) -> None:
        pass

    def sync_folder(self, path: Path) -> None:
        pass

    def truncate(self, path: Path, size: int) -> None:
        os.truncate(path, size)


class FailingDisk(UnsafeDisk):
    """Fails its `at`-th call and, if `lasting`, all later ones, until `heal` is called.

    `error` 0 is a crash: nothing works afterwards, and `power_cut` takes away what was not synced.
    A failing write takes half of its bytes first.
    """

    def __init__(self, at: int, error: int, *, lasting: bool) -> None:
        self.at, self.error, self.lasting = at, error, lasting or not error
        self.calls = 0
        self.failed = 0
        self._paths: dict[int, Path] = {}
        self._synced: dict[Path, int] = {}
        self._renamed: list[tuple[Path, Path]] = []

    def heal(self) -> None:
        self.at = 1 << 30

    def _fails(self) -> bool:
        self.calls += 1
        return self.calls == self.at or (self.lasting and self.calls > self.at)

    def _check(self) -> None:
        if self._fails():
            self.failed += 1
            if not self.error:
                raise Crash
            raise OSError(self.error, os.strerror(self.error))

    def create(self, path: Path) -> int:
        self._check()
        fd = super().create(path)
        self._paths[fd], self._synced[path] = path, 0
        return fd

    def write(self, fd: int, data: memoryview) -> int:
        try:
            self._check()
        except OSError:
            if self.error != errno.EIO:
                super().write(fd, data[: len(data) // 2])
            raise
        except Crash:
            super().write(fd, data[: len(data) // 2])
            raise
        return super().write(fd, data)

    def sync(self, fd: int) -> None:
        self._check()
        super().sync(fd)
        self._synced[self._paths[fd]] = os.fstat(fd).st_size

    def rename(self, old: Path, new: Path) -> None:
        self._check()
        super().rename(old, new)
        self._renamed.append((old, new))
        self._synced[new] = self._synced.pop(old, 0)
        self._paths = {fd: new if path == old else path for fd, path in self._paths.items()}

    def unlink(self, path: Path) -> None:
        self._check()
        super().unlink(path)

    def sync_folder(self, path: Path) -> None:
        self._check()
        super().sync_folder(path)
        self._renamed.clear()

    def truncate(self, path: Path, size: int) -> None:
        self._check()
        super().truncate(path, size)

    def hold_back(self, path: Path, size: int) -> None:
        self._check()
        super().hold_back(path, size)

    def power_cut(self) -> None:
        for path, size in self._synced.items():
            if path.exists() and path.suffix != ".idx":
                os.truncate(path, min(size, path.stat().st_size))
        for old, new in reversed(self._renamed):
            new.rename(old)
