"""The kill switch file in every state it can be found in."""

import os
import pathlib

import pytest

from tapewatch.io.control import read, write
from tapewatch.model.errors import ConfigError


def state(path: pathlib.Path) -> str:
    """What the file says: `on`, `off`, or `unknown`."""
    order = read(path)
    return "unknown" if order is None else "on" if order.active else "off"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"on", "on"),
        (b" ON\n", "on"),
        (b'{"active":true}', "on"),
        (b'{"active": true, "actor": "ops", "more": [1]}', "on"),
        (b"off\n", "off"),
        (b'{"active":false}', "off"),
        (b"ACTIVE", "on"),
        (b'{"status":"ACTIVE"}', "on"),
        (b'{"status":"ACTIVE","active":true,"reason":"a\\u001bb"}', "on"),
        (b'{"status":"INACTIVE"}', "off"),
        (b'{"status":"ACTIVE","active":false}', "unknown"),
        (b'{"status":"paused"}', "unknown"),
        (b"{}", "unknown"),
        (b"", "unknown"),
        (b"maybe", "unknown"),
        (b'{"active":1}', "unknown"),
        (b'{"active":tru', "unknown"),
        (b"\xff\xfe", "unknown"),
        (b'{"active":true,"actor":"\xff"}', "unknown"),
        (b'{"more":' + b"[" * 4_000, "unknown"),
        (b"o" + b"n" * 10_000, "unknown"),
    ],
)
def test_contents_at_start(tmp_path: pathlib.Path, content: bytes, expected: str) -> None:
    path = tmp_path / "kill"
    path.write_bytes(content)
    assert state(path) == expected


def test_a_missing_file_is_off(tmp_path: pathlib.Path) -> None:
    assert state(tmp_path / "kill") == "off"


def test_places_that_are_no_file(tmp_path: pathlib.Path) -> None:
    assert state(tmp_path) == "unknown"
    os.mkfifo(tmp_path / "pipe")
    assert state(tmp_path / "pipe") == "unknown"
    (tmp_path / "file").touch()
    assert state(tmp_path / "file" / "kill") == "unknown"


def test_write_is_atomic_private_and_says_who(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "new" / "kill"
    write(path, "on", actor="ops\n[31m", reason="too loud", now_ns=5)
    order = read(path)
    assert order is not None
    assert (order.reason, order.at_ns) == ("too loud", 5)
    assert path.stat().st_mode & 0o777 == 0o600
    write(path, "off", actor="ops", reason="", now_ns=6)
    assert state(path) == "off"
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
