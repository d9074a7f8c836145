"""What the package offers to others: plug-ins by name, and a core that stands alone."""

import importlib.metadata
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parent.parent / "src" / "tapewatch"
POINTS = [
    point
    for point in importlib.metadata.distribution("tapewatch").entry_points
    if point.group.startswith("tapewatch.")
]
HEAVY = {"aiohttp", "asyncio", "click", "logging", "rich", "socket", "structlog", "websockets"}


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_a_plug_in_is_called_what_it_calls_itself(
    point: importlib.metadata.EntryPoint,
) -> None:
    """The name in the settings, in metrics and in alert ids is one name."""
    assert point.load().name == point.name


def test_every_detector_file_is_registered_or_part_of_one() -> None:
    texts = {path.stem: path.read_text() for path in (PACKAGE / "detect").glob("*.py")}
    named = {point.module.rpartition(".")[2] for point in POINTS}
    parts = {
        name
        for name in texts
        for other, text in texts.items()
        if other != name and f"from tapewatch.detect.{name} import" in text
    }
    assert set(texts) - {"__init__"} <= named | parts


@pytest.mark.parametrize("layer", ["model", "kernels", "detect", "gate", "venues", "engine"])
def test_the_core_is_importable_without_the_rest(layer: str) -> None:
    """import-linter sees our own imports; this also sees what libraries pull in."""
    modules = [
        f"tapewatch.{layer}.{path.stem}"
        for path in sorted((PACKAGE / layer).glob("*.py"))
        if path.stem != "__init__"
    ]
    program = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(done.stdout.split())


def test_types_are_shipped() -> None:
    assert (PACKAGE / "py.typed").is_file()
