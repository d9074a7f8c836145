"""The systemd unit, as far as it can be judged without being started."""

import pathlib
import shutil
import subprocess

import pytest

UNIT = pathlib.Path(__file__).resolve().parent.parent.parent / "ops/systemd/tapewatch.service"
EXPOSURE = 20  # tenths of systemd's scale, on which 100 is a service that may do everything


def test_the_unit_gives_away_little() -> None:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze not found")
    words = ("security", "--offline=true", f"--threshold={EXPOSURE}", str(UNIT))
    done = subprocess.run([found, *words], capture_output=True, text=True, check=False)
    if "Unknown" in done.stderr or "unrecognized" in done.stderr:
        pytest.skip("this systemd-analyze cannot judge a unit that is not installed")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
