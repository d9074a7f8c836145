"""Passwords in addresses are in no text that the command line shows."""

import pathlib
import subprocess
import sys

import pytest

SECRET = "hunter2"
FINE = f"""
[sink.bus]
publish_to = ["nats://me:{SECRET}@bus:4222", "rediss://:{SECRET}@cache/1"]
[redis]
url = "redis://:{SECRET}@127.0.0.1:1"
"""
WRONG = [
    f'[sink.bus]\npublish_to = ["http://me:{SECRET}@bus"]\n',
    f'[sink.bus]\npublish_to = [["nats://me:{SECRET}@bus"]]\n',
    f'[sink.bus]\npublish_to = ["nats://me:{SECRET}@bus", "nats://you:{SECRET}@bus"]\n',
    f'[sink.bus]\npublish_too = ["nats://me:{SECRET}@bus"]\n',
    f'[redis]\nurl = "http://me:{SECRET}@cache"\n',
    f'[redis]\nurl = ["redis://me:{SECRET}@cache"]\n',
]


def said(file: pathlib.Path, *words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "tapewatch", *words, "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=file.parent)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "words", [("config", "show"), ("config", "show", "--json", "--origin"), ("config", "check")]
)
def test_settings_are_shown_without_secrets(tmp_path: pathlib.Path, words: tuple[str, ...]) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(FINE)
    code, text = said(file, *words)
    assert code == 0, text
    assert SECRET not in text
    assert "show" not in words or "nats://***@bus:4222" in text


@pytest.mark.parametrize("table", WRONG)
def test_what_is_wrong_is_told_without_secrets(tmp_path: pathlib.Path, table: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(table)
    code, text = said(file, "config", "check")
    assert code == 2, text
    assert SECRET not in text
