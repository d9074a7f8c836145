"""Fixtures every test may use."""

import os
import pathlib

import hypothesis
import pytest

# No deadline: on a busy machine a slow example says nothing. `long` is `make fuzz`.
hypothesis.settings.register_profile("short", deadline=None)
hypothesis.settings.register_profile("long", deadline=None, max_examples=10_000)
hypothesis.settings.load_profile("short")

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Real market data kept beside the checkout; without it the test is skipped, visibly."""
    folder = pathlib.Path(os.environ.get("TAPEWATCH_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(
            f"real data not found (set TAPEWATCH_DATA); looked for {folder.name}/ beside us"
        )
    return folder
