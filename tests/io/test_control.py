"""The kill switch file in every state it can be found in."""

import os
import pathlib

import pytest

from tapewatch.io.control import KillSwitchFile, read, write
from tapewatch.model.errors import ConfigError
from tapewatch.model.inputs import Command


def poll(switch: KillSwitchFile) -> str | None:
    command = switch.poll(1)
    return None if command is None else f"{command.op} {command.argument}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"on", "kill on"),
        (b" ON\n", "kill on"),
        (b'{"active":true}', "kill on"),
        (b'{"active": true, "actor": "ops", "more": [1]}', "kill on"),
        (b"off\n", None),
        (b'{"active":false}', None),
        (b"ACTIVE", "kill on"),
        (b'{"status":"ACTIVE"}', "kill on"),
        (b'{"status":"ACTIVE","active":true,"reason":"a\\u001bb"}', "kill on: a\u00b7b"),
        (b'{"status":"INACTIVE"}', None),
        (b'{"status":"ACTIVE","active":false}', "kill unknown"),
        (b'{"status":"paused"}', "kill unknown"),
        (b"{}", "kill unknown"),
        (b"", "kill unknown"),
        (b"maybe", "kill unknown"),
        (b'{"active":1}', "kill unknown"),
        (b'{"active":tru', "kill unknown"),
        (b"\xff\xfe", "kill unknown"),
        (b'{"active":true,"actor":"\xff"}', "kill unknown"),
        (b'{"more":' + b"[" * 4_000, "kill unknown"),
        (b"o" + b"n" * 10_000, "kill unknown"),
    ],
)
def test_contents_at_start(tmp_path: pathlib.Path, content: bytes, expected: str | None) -> None:
    path = tmp_path / "kill"
    path.write_bytes(content)
    assert poll(KillSwitchFile(path)) == expected


def test_a_missing_file_is_off_and_changes_come_once(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "kill"
    switch = KillSwitchFile(path)
    assert poll(switch) is None
    path.write_text("on")
    assert [poll(switch), poll(switch)] == ["kill on", None]
    path.unlink()
    assert [poll(switch), poll(switch)] == ["kill off", None]


def test_what_an_earlier_process_passed_on_is_no_change(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "kill"
    path.write_text("on")
    switch = KillSwitchFile(path, "on")
    assert poll(switch) is None
    path.unlink()
    assert poll(switch) == "kill off"
    assert poll(KillSwitchFile(path, state="unknown")) == "kill off"


def test_unreadable_once_is_forgiven_twice_is_unknown(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "kill"
    path.write_text("off")
    switch = KillSwitchFile(path)
    assert poll(switch) is None
    path.write_text("o")
    assert poll(switch) is None
    path.write_text("off")
    assert poll(switch) is None
    path.write_text("o")
    assert [poll(switch) for _ in range(3)] == [None, "kill unknown", None]
    path.write_text("off")
    assert poll(switch) == "kill off"


def test_places_that_are_no_file(tmp_path: pathlib.Path) -> None:
    assert poll(KillSwitchFile(tmp_path)) == "kill unknown"
    os.mkfifo(tmp_path / "pipe")
    assert poll(KillSwitchFile(tmp_path / "pipe")) == "kill unknown"
    (tmp_path / "file").touch()
    assert poll(KillSwitchFile(tmp_path / "file" / "kill")) == "kill unknown"


def test_write_is_atomic_private_and_says_who(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "new" / "kill"
    switch = KillSwitchFile(path)
    write(path, "on", actor="ops\n[31m", reason="too loud", now_ns=5)
    assert switch.poll(7) == Command(7, "ops·[31m", "kill", "on: too loud")
    order = read(path)
    assert order is not None
    assert (order.reason, order.at_ns) == ("too loud", 5)
    assert path.stat().st_mode & 0o777 == 0o600
    write(path, "off", actor="ops", reason="", now_ns=6)
    assert poll(switch) == "kill off"
    assert [entry.name for entry in path.parent.iterdir()] == ["kill"]


def test_write_where_nothing_can_be_written(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write the kill switch"):
        write(tmp_path / "file" / "kill", "on", actor="ops", reason="", now_ns=1)
    (tmp_path / "kill").mkdir()
    (tmp_path / "kill" / "x").touch()
    with pytest.raises(ConfigError, match="cannot write the kill switch"):
        write(tmp_path / "kill", "on", actor="ops", reason="", now_ns=1)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "kill"]
