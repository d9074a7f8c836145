"""Crashes, refused writes and full disks: what was confirmed stays, nothing vanishes silently."""

import contextlib
import errno
import itertools
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import tape_samples as samples
from tape_samples import Crash, FailingDisk, UnsafeDisk

from tapewatch.io.tape_check import verify
from tapewatch.io.tape_file import TapeFile
from tapewatch.io.tape_read import TapeReader
from tapewatch.io.tape_records import AlertRecord, input_of
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model import limits
from tapewatch.model.errors import TapeError
from tapewatch.model.inputs import Command, Frame, Input, Timer
from tapewatch.model.time import NS_PER_S

T0 = samples.T0


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RESERVE_BYTES", 1 << 16)
    monkeypatch.setattr(limits, "SEGMENT_BYTES", 600)


class Session:
    """Drives a tape and notes what it took (by number), what it confirmed, and its refusals."""

    def __init__(self) -> None:
        self.taken: dict[int, Input | bytes] = {}
        self.confirmed = 0
        self.uncounted = 0  # frames the tape did not take
        self.refusals = 0
        self.tape: TapeWriter | None = None

    def run(self, folder: Path, disk: FailingDisk) -> None:
        self.tape = samples.writer(folder, disk)
        for i, item in enumerate([*samples.INPUTS, *samples.INPUTS]):
            if i % 7 == 4:
                self.taken[self.tape.append_alert(samples.ALERT)] = samples.ALERT
            n = self.tape.append(item)
            if n:
                self.taken[n] = item
            else:
                self.uncounted += 1
            self.commit(T0 + i * NS_PER_S // 2)

    def commit(self, now: int) -> None:
        assert self.tape is not None
        try:
            self.tape.commit(now)
        except TapeError:
            self.refusals += 1
        self.confirmed = self.tape.durable_seq

    def check(self, folder: Path, upto: int) -> None:
        """The tape holds, from the first record to at least `upto`, exactly what it took."""
        found = [
            (record.n, bytes(record.a) if isinstance(record, AlertRecord) else input_of(record))
            for record in TapeReader(folder).records()
        ]
        assert len(found) >= upto
        assert found == [(n, self.taken[n]) for n in range(1, len(found) + 1)]


def faults(folder: Path, error: int, *, lasting: bool) -> Iterator[tuple[Session, FailingDisk]]:
    """A fresh session for every call of the system that can fail, until none fails."""
    for at in itertools.count(1):
        shutil.rmtree(folder, ignore_errors=True)
        session, disk = Session(), FailingDisk(at, error, lasting=lasting)
        yield session, disk
        if not disk.failed:
            assert at > 60  # the sessions do make many calls
            return


@pytest.mark.parametrize("power", [True, False], ids=["process", "machine"])
def test_a_crash_at_any_call_loses_nothing_confirmed(tmp_path: Path, *, power: bool) -> None:
    for session, disk in faults(tmp_path / "tape", 0, lasting=True):
        try:
            session.run(tmp_path / "tape", disk)
        except Crash:
            if not power:
                disk.power_cut()
        again = samples.writer(tmp_path / "tape", UnsafeDisk())
        again.close()
        session.check(tmp_path / "tape", session.confirmed)
        assert verify(tmp_path / "tape").problems == ()


def test_a_repair_may_be_killed_at_any_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All segments but the first have lost their headers, and the first has a torn end."""
    monkeypatch.setattr(limits, "SEGMENT_BYTES", 300)
    samples.session(tmp_path / "torn")
    first, *rest = sorted((tmp_path / "torn").glob("*.tape"))
    assert len(rest) >= 3
    everything = samples.records(tmp_path / "torn")
    first.write_bytes(first.read_bytes() + b"garbage")
    for headless in rest:
        headless.write_bytes(b"garbage" + headless.read_bytes()[7:])
        headless.with_suffix(".idx").unlink()
    (tmp_path / "torn" / "000009.tape.part").touch()
    wanted = {f"{first.stem}.{first.stat().st_size - 7}.torn"}
    wanted |= {f"{headless.stem}.0.torn" for headless in rest}
    for at in itertools.count(1):
        shutil.rmtree(tmp_path / "tape", ignore_errors=True)
        shutil.copytree(tmp_path / "torn", tmp_path / "tape")
        disk = FailingDisk(at, 0, lasting=True)
        with contextlib.suppress(Crash):
            samples.writer(tmp_path / "tape", disk).close()
        samples.writer(tmp_path / "tape", UnsafeDisk()).close()
        assert samples.records(tmp_path / "tape") == everything
        assert verify(tmp_path / "tape").problems == ()
        assert not list((tmp_path / "tape").glob("*.part"))
        # The crash may have left a torn end mark as well.
        assert {path.name for path in (tmp_path / "tape" / "quarantine").iterdir()} >= wanted
        if not disk.failed:
            assert at > 40
            break


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EFBIG])
def test_one_refused_call_loses_nothing(tmp_path: Path, error: int) -> None:
    for session, disk in faults(tmp_path / "tape", error, lasting=False):
        try:
            session.run(tmp_path / "tape", disk)
        except TapeError:
            assert session.tape is None  # it could not be opened, and said so
            continue
        tape = session.tape
        assert tape is not None
        assert session.refusals == 0
        assert tape.durable_seq == tape.seq == max(session.taken)
        assert tape.unrecorded == session.uncounted
        if tape.paused:
            assert error == errno.ENOSPC
            assert "Disk full. Raw recording paused" in tape.trouble
            resumed = tape.try_resume(T0)
            assert resumed == (tape.seq, Command(T0, "tape", "unrecorded", str(session.uncounted)))
            session.taken[tape.seq] = resumed[1]
        assert tape.try_resume(T0) is None
        tape.close()
        session.check(tmp_path / "tape", tape.seq)
        assert verify(tmp_path / "tape", tape.head).problems == ()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_everything_is_waited_for(tmp_path: Path, error: int) -> None:
    for session, disk in faults(tmp_path / "tape", error, lasting=True):
        try:
            session.run(tmp_path / "tape", disk)
        except TapeError:
            assert session.tape is None
            continue
        tape = session.tape
        assert tape is not None
        if session.refusals:
            assert tape.paused
            assert tape.try_resume(T0) is None
            assert "Nothing can be recorded" in tape.trouble
        # What was confirmed can be read meanwhile; the rest waits in memory.
        session.check(tmp_path / "tape", session.confirmed)
        disk.heal()
        if tape.paused:
            resumed = tape.try_resume(T0)
            assert resumed is not None
            assert resumed[1].argument == str(session.uncounted)
            session.taken[resumed[0]] = resumed[1]
        tape.close()
        session.check(tmp_path / "tape", len(session.taken))
        # A refused segment may keep a tail that is repeated in the next; opening cuts it off.
        samples.writer(tmp_path / "tape", UnsafeDisk()).close()
        assert verify(tmp_path / "tape").problems == ()


def test_while_paused_frames_are_counted_and_everything_else_is_recorded(tmp_path: Path) -> None:
    disk = FailingDisk(1 << 30, errno.ENOSPC, lasting=False)
    tape = samples.writer(tmp_path, disk)
    tape.append(samples.tick(1))
    disk.at = disk.calls + 1
    tape.commit(T0)
    assert (tape.paused, tape.abandoned, tape.durable_seq) == (True, 1, 1)
    assert not (tmp_path / "reserve").exists()
    assert [tape.append(samples.tick(i)) for i in (2, 3)] == [0, 0]
    assert tape.append(Timer(T0)) == 2
    assert tape.append_alert(samples.ALERT) == 3
    tape.commit(T0)
    assert tape.durable_seq == 3
    assert tape.try_resume(T0) == (4, Command(T0, "tape", "unrecorded", "2"))
    assert (tmp_path / "reserve").exists()
    assert tape.append(samples.tick(4)) == 5
    tape.close()
    assert verify(tmp_path).problems == ()


def test_a_session_that_ends_in_a_pause_says_what_is_missing(tmp_path: Path) -> None:
    disk = FailingDisk(1 << 30, errno.ENOSPC, lasting=False)
    tape = samples.writer(tmp_path, disk)
    tape.append(samples.tick(1))
    disk.at = disk.calls + 1
    tape.commit(T0)
    tape.append(samples.tick(2))
    tape.close()
    last = Command(samples.tick(2).ts_recv, "tape", "unrecorded", "1")
    assert samples.inputs(tmp_path) == [samples.tick(1), last]
    assert verify(tmp_path).problems == ()


def test_closing_waits_for_a_commit_in_another_thread(tmp_path: Path) -> None:
    entered, go_on = threading.Event(), threading.Event()

    class SlowDisk(UnsafeDisk):
        def sync(self, fd: int) -> None:
            if threading.current_thread() is not threading.main_thread():
                entered.set()
                assert go_on.wait(10)

    tape = samples.writer(tmp_path, SlowDisk())
    tape.append(samples.tick(1))
    commit = threading.Thread(target=tape.commit, args=(T0,))
    commit.start()
    assert entered.wait(10)
    closing = threading.Timer(0.05, go_on.set)
    closing.start()
    tape.close()
    assert go_on.is_set()
    commit.join()
    closing.join()
    assert samples.inputs(tmp_path) == [samples.tick(1)]
    assert verify(tmp_path).problems == ()


def test_the_pause_lasts_until_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FailingDisk(1 << 30, errno.ENOSPC, lasting=False)
    tape = samples.writer(tmp_path, disk)
    tape.append(samples.tick(1))
    disk.at = disk.calls + 1
    tape.commit(T0)
    monkeypatch.setattr(disk, "free_bytes", lambda _: 2 * limits.RESERVE_BYTES - 1)
    assert tape.try_resume(T0) is None
    monkeypatch.setattr(disk, "free_bytes", lambda _: 2 * limits.RESERVE_BYTES)
    assert tape.try_resume(T0) is not None


@pytest.mark.parametrize("lasting", [True, False])
def test_a_file_tape_that_is_refused_says_so(tmp_path: Path, *, lasting: bool) -> None:
    for at in itertools.count(1):
        disk, refusal = FailingDisk(at, errno.ENOSPC, lasting=lasting), ""
        try:
            with TapeFile(tmp_path / "x.tape", config={}, version="0", disk=disk) as tape:
                for item in samples.INPUTS * 101:
                    tape.append(item)
        except TapeError as error:
            refusal = str(error)
        assert bool(refusal) == bool(disk.failed)
        if not refusal:
            break
        assert "No space left on device" in refusal
    assert verify(tmp_path / "x.tape").ok


def incompressible(count: int) -> list[Input]:
    chance = random.Random(1)
    return [Frame(T0 + i, "kraken", chance.randbytes(3000)) for i in range(count)]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() or mount is None or umount is None:
        pytest.skip("only root can mount a small file system to fill up")
    command = [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", mounted]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield mounted
    subprocess.run([umount, "-l", mounted], check=True)


def test_a_full_disk(tiny_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEGMENT_BYTES", 1 << 20)
    (tiny_disk / "film").write_bytes(bytes(400_000))
    tape = samples.writer(tiny_disk / "tape")
    taken = []
    for item in incompressible(1000):
        if tape.append(item):
            taken.append(item)
        tape.commit(item.ts_recv * NS_PER_S)  # a frame for each
        if tape.unrecorded == 10:
            break
    assert tape.paused
    assert 100 < len(taken) < 250
    alert = tape.append_alert(samples.ALERT)
    tape.commit(T0)
    assert tape.durable_seq == alert
    assert tape.try_resume(T0) is None
    assert samples.inputs(tiny_disk / "tape") == taken
    (tiny_disk / "film").unlink()
    assert tape.try_resume(T0) is not None
    assert tape.append(samples.tick(1)) == alert + 2
    tape.close()
    assert verify(tiny_disk / "tape").problems == ()
    assert len(samples.records(tiny_disk / "tape")) == alert + 2


def test_a_session_goes_on_where_only_the_reserve_is_left(tiny_disk: Path) -> None:
    tape = samples.writer(tiny_disk / "tape")
    samples.record_all(tape, samples.INPUTS)
    with contextlib.suppress(OSError), (tiny_disk / "film").open("wb", buffering=0) as film:
        for _ in range(300):
            film.write(bytes(4096))
    samples.writer(tiny_disk / "tape").close()
    assert samples.inputs(tiny_disk / "tape") == samples.INPUTS
    assert verify(tiny_disk / "tape").problems == ()


WRITER = """
import itertools, pathlib, random, resource, sys
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model.inputs import Frame
limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
chance = random.Random(1)
tape = TapeWriter(pathlib.Path(sys.argv[1]), config={}, version="0")
for i in itertools.count(tape.seq):
    tape.append(Frame(i, "kraken", b"%d %s" % (i, chance.randbytes(300))))
    if not i % 5:
        tape.commit(i * 100_000_000)
        print(tape.durable_seq, tape.abandoned, flush=True)
"""


def run_writer(folder: Path, acknowledgements: int, file_bytes: int = 0) -> tuple[int, int]:
    """Kill a writer after so many acknowledgements; the last of them."""
    command = [sys.executable, "-c", WRITER, folder, str(file_bytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = list(itertools.islice(process.stdout, acknowledgements))
        process.kill()
        lines += process.stdout.readlines()
    durable, abandoned = lines[-1].split()
    return int(durable), int(abandoned)


def test_a_killed_writer_has_kept_its_word(tmp_path: Path) -> None:
    chance = random.Random(2)
    for _ in range(6):
        durable, _ = run_writer(tmp_path, chance.randrange(1, 400))
        before = samples.records(tmp_path)
        samples.writer(tmp_path).close()
        found = samples.inputs(tmp_path)
        assert len(found) == len(before) >= durable
        assert [int(item.data.split()[0]) for item in found] == list(range(len(found)))
        assert verify(tmp_path).problems == ()


def test_a_limit_on_file_size_starts_new_segments(tmp_path: Path) -> None:
    durable, abandoned = run_writer(tmp_path, 40, file_bytes=20_000)
    assert abandoned >= 2
    samples.writer(tmp_path).close()
    assert len(samples.inputs(tmp_path)) >= durable
    assert verify(tmp_path).problems == ()
