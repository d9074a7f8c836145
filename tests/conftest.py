"""Fixtures every test may use."""

import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Real market data kept beside the checkout; the test is skipped, visibly, where it is absent."""
    folder = pathlib.Path(os.environ.get("TAPEWATCH_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(
            f"real data not found (set TAPEWATCH_DATA); looked for {folder.name}/ beside us"
        )
    return folder
