"""The documentation as a test: generated pages are current, commands exist, links lead somewhere.

Code blocks marked `console run` are executed, in order and in one folder per page; the lines below
a command must appear in its output.
"""

import functools
import importlib
import pathlib
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import click
import pytest

from tapewatch.model import limits
from tapewatch.model.reasons import REASONS, Reason
from tapewatch.testing.conformance import check_detector

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
BLOCK = re.compile(r"^ *```(.*)\n((?:.*\n)*?) *```$", re.MULTILINE)
# Names that users of the Kraken session scripts have in their shells and services.
ENVIRONMENT = """
    ALERT_LOG ALERT_SOUND ANOMALY_LOG BASELINE_LINES CAPTURE_BACKEND COMPRESSION_ALGO DURATION
    FORCE_INJECT FRAMERATE KRAKEN_PAIR LOOM_LOG LOOM_STATE_FILE NO_ANOMALY_THRESHOLD
    PIX_FMT_AVFOUNDATION PIX_FMT_X11 RAW_LOG RECORDING_DIR RECORDING_DURATION REPORT_INTERVAL
    SCREEN_DEVICE SCREEN_RESOLUTION SESSION_DIR STATUS_LOG STREAMER_PID_FILE SYNTHETIC_LOG
    TEST_INTERVAL TEST_MODE VIRTUAL_DISPLAY
"""
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def name_of(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def generator() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "generate.py"))


@functools.cache
def commands() -> dict[str, click.Command]:
    """Every command by its path, `tapewatch session list`."""
    return dict(generator()["commands"](generator()["command_line"](), "tapewatch"))


@pytest.mark.parametrize("name", sorted(generator()["PAGES"]))
def test_generated_page_is_current(name: str) -> None:
    written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert written == generator()["PAGES"][name](), "run make docs"


def anchor(heading: str) -> str:
    """The link target that common Markdown renderers give a heading."""
    plain = re.sub(r"[`*]|\[|\]\([^)]*\)", "", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(text: str) -> set[str]:
    without_code = BLOCK.sub("", text)
    return {anchor(line) for line in re.findall(r"^#+ (.*)$", without_code, re.MULTILINE)}


def broken_links(page: pathlib.Path, text: str) -> Iterator[str]:
    for target in LINK.findall(BLOCK.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, part = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if path and not file.exists():
            yield f"{target}: no such file"
        elif part and part not in anchors(text if file == page else file.read_text()):
            yield f"{target}: no such heading"


def test_links_lead_somewhere() -> None:
    broken = [
        f"{name_of(page)}: {problem}"
        for page in PAGES
        for problem in broken_links(page, page.read_text(encoding="utf-8"))
    ]
    assert not broken, "\n".join(broken)


def test_a_broken_link_is_noticed() -> None:
    text = "# One\n[a](nowhere.md) [b](#two) [c](#one) [d](README.md)\n"
    assert len(list(broken_links(ROOT / "x.md", text))) == 2


def test_every_page_is_linked() -> None:
    """A page nobody can find is not documentation."""
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in target
    }
    lost = {name_of(page) for page in PAGES if page not in linked} - {"README.md"}
    assert not lost


def shown_commands(text: str) -> Iterator[list[str]]:
    """The tapewatch commands in code blocks and in `code`, as words, without comments."""
    lines = [line for _, block in BLOCK.findall(text) for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
    for line in lines:
        for part in re.sub(r"<[^>]*>|\.\.\.", "X", line).removeprefix("$ ").split("|"):
            found = re.match(r"\s*(?:\.venv/bin/)?tapewatch\s+(?=[a-z-])(.*)", part)
            if found:
                yield shlex.split(found.group(1), comments=True)


def unknown_words(words: list[str], known: dict[str, click.Command]) -> list[str]:
    """Commands and options in `words` that tapewatch does not have."""
    path = "tapewatch"
    while words and f"{path} {words[0]}" in known:
        path, words = f"{path} {words[0]}", words[1:]
    command = known[path]
    if isinstance(command, click.Group):
        return words[:1] if words and not words[0].startswith("-") else []
    options = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    given = {word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}
    return sorted(given - options - {"--help"})


def test_commands_shown_exist() -> None:
    wrong = [
        f"{name_of(page)}: tapewatch {' '.join(words)}: {unknown}"
        for page in PAGES
        for words in shown_commands(page.read_text(encoding="utf-8"))
        if name_of(page) != "docs/reference/cli.md"
        and (unknown := unknown_words(words, commands()))
    ]
    assert not wrong, "\n".join(wrong)


def test_an_unknown_command_is_noticed() -> None:
    @click.command(params=[click.Option(["--there"])])
    def leaf() -> None:
        """One command."""

    known: dict[str, click.Command] = {"tapewatch": click.Group(), "tapewatch leaf": leaf}
    text = "```\n$ tapewatch leaf --there=1 | tapewatch leaf --gone  # a\n```\n`tapewatch flower`\n"
    wrong = [unknown_words(words, known) for words in shown_commands(text)]
    assert wrong == [[], ["--gone"], ["flower"]]


def test_every_limit_and_reason_is_explained() -> None:
    page = {name: generator()["PAGES"][name]() for name in ("limits.md", "reasons.md")}
    unexplained = [
        name for name in vars(limits) if name.isupper() and name not in page["limits.md"]
    ]
    assert not unexplained
    assert set(REASONS) == set(Reason)
    assert not [reason for reason in Reason if f"`{reason}`" not in page["reasons.md"]]


def test_every_old_environment_name_is_known() -> None:
    page = generator()["PAGES"]["environment.md"]()
    assert not [name for name in re.findall(r"\w+", ENVIRONMENT) if f"`{name}`" not in page]


def test_every_command_has_a_help_text() -> None:
    assert not [path for path, command in commands().items() if not command.help]


def runnable() -> list[pathlib.Path]:
    return [page for page in PAGES if "```console run\n" in page.read_text(encoding="utf-8")]


def test_some_examples_are_run() -> None:
    assert len(runnable()) >= 5


def steps(text: str) -> Iterator[tuple[str, list[str]]]:
    """Commands of the runnable blocks with the lines expected from each."""
    for kind, block in BLOCK.findall(text):
        if kind == "console run":
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, *expected = part.splitlines()
                yield command, [line for line in expected if line.strip()]


@pytest.mark.parametrize("page", runnable(), ids=name_of)
def test_examples_run(page: pathlib.Path, tmp_path: pathlib.Path) -> None:
    here = pathlib.Path(sys.executable).parent
    for command, expected in steps(page.read_text(encoding="utf-8")):
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            cwd=tmp_path,
            env={"PATH": f"{here}:/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        for line in expected:
            assert line.strip() in done.stdout + done.stderr, command


def test_the_example_detector_is_one(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of the how-to, as a reader would paste it."""
    page = (ROOT / "docs" / "how-to" / "add-a-detector.md").read_text(encoding="utf-8")
    code = next(block for kind, block in BLOCK.findall(page) if kind == "python")
    (tmp_path / "bigtrade.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    check_detector(importlib.import_module("bigtrade").BigTrade())
