"""One process per session directory."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from tapewatch.io.clock import local_minute
from tapewatch.io.lock import FILE_NAME, SessionLock
from tapewatch.model.errors import ConfigError, SessionBusy

NOW_NS = 1_735_787_045 * 1_000_000_000
HOLDER = """
import pathlib, sys
from tapewatch.io.lock import SessionLock
with SessionLock(pathlib.Path(sys.argv[1]), int(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def busy(directory: pathlib.Path) -> str:
    with pytest.raises(SessionBusy) as caught:
        SessionLock(directory, NOW_NS).acquire()
    return str(caught.value)


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path), str(NOW_NS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert busy(tmp_path) == (
            f"Session directory is in use by pid {holder.pid} (started {local_minute(NOW_NS)}). "
            "Use --name for another one, or stop that process."
        )
        holder.kill()
    with SessionLock(tmp_path, NOW_NS):
        assert f"pid {os.getpid()} " in busy(tmp_path)
    SessionLock(tmp_path, NOW_NS).acquire()


def test_release_lets_the_next_one_in(tmp_path: pathlib.Path) -> None:
    lock = SessionLock(tmp_path, NOW_NS)
    lock.acquire()
    lock.release()
    lock.release()
    with SessionLock(tmp_path, NOW_NS):
        pass


def test_an_owner_that_cannot_be_read(tmp_path: pathlib.Path) -> None:
    with SessionLock(tmp_path, NOW_NS):
        (tmp_path / FILE_NAME).write_bytes(b"\x1b[2J")
        assert busy(tmp_path).startswith("Session directory is in use by another process.")


def test_directories_that_cannot_be_locked(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match=re.escape("cannot write in")):
        SessionLock(tmp_path / "missing", NOW_NS).acquire()
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=re.escape("cannot write in")):
        SessionLock(tmp_path, NOW_NS).acquire()
    assert not (tmp_path / "elsewhere").exists()
