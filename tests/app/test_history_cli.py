"""`tapewatch history`, as its users meet it."""

import json
import pathlib

import pytest
from click.testing import CliRunner, Result
from history_kit import NOW, live
from test_checkpoint import MARKET

from tapewatch.app.cli.main import tapewatch
from tapewatch.app.cli.output import Shell
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError


@pytest.fixture
def lived(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setattr(limits, "RESERVE_BYTES", 1)
    live(tmp_path)
    return tmp_path


@pytest.fixture
def cli(lived: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> "Cli":
    monkeypatch.chdir(lived)
    monkeypatch.setenv("HOME", str(lived))
    monkeypatch.setattr("tapewatch.io.clock.SystemClock.now_ns", lambda _: NOW)
    return Cli(lived)


class Cli:
    """`tapewatch history ...` of the session."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    def __call__(self, *args: str) -> Result:
        runner = CliRunner()
        words = ["history", args[0], str(self.folder), *args[1:]]
        return runner.invoke(tapewatch, words, obj=Shell(), standalone_mode=False)


def test_show(cli: Cli) -> None:
    lines = cli("show", "--days", "365", "--json").stdout.splitlines()
    head, *rows = (json.loads(line) for line in lines)
    assert head["schema"] == "tapewatch.history/1"
    assert (head["first"], head["pruned_ns"], head["kept_since_ns"] > 0) == (1, 0, True)
    assert rows[0]["schema"] == "tapewatch.rollup/1"
    assert (rows[0]["day"], rows[0]["instrument"]) == ("2025-01-01", MARKET)
    assert sum(row["warn"] + row["high"] + row["page"] + row["info"] for row in rows) > 3
    text = cli("show", "--days", "365").stdout
    assert "2025-01-01" in text
    assert "max |z| price" in text
    assert "\n2025-01-01" not in cli("show").stdout, "30 days by default"


def test_rollup(cli: Cli) -> None:
    assert "0 alerts" not in cli("rollup").stderr
    assert cli("rollup").stderr.startswith("0 alerts and reports")


def test_prune(cli: Cli, lived: pathlib.Path) -> None:
    dry = cli("prune", "--dry-run").stdout
    assert "3 segments of tape" in dry
    assert "would go" in dry
    found = json.loads(cli("prune", "--json", "--keep", "30d", "--keep-rollups", "90d").stdout)
    assert (found["schema"], found["dry_run"], found["segments"]) == (
        "tapewatch.pruned/1",
        False,
        3,
    )
    assert "0 segments of tape" in cli("prune").stdout
    text = cli("show").stdout
    assert "tape      begins with record" in text


@pytest.mark.parametrize("keep", ["3h", "soon", "0d", "99999999d"])
def test_what_is_not_a_time_to_keep(cli: Cli, keep: str) -> None:
    failed = cli("prune", "--keep", keep).exception
    assert isinstance(failed, ConfigError)
    assert failed.path == "--keep"


def test_a_day_is_kept_no_longer_than_its_figures(cli: Cli) -> None:
    failed = cli("prune", "--keep", "400d").exception
    assert isinstance(failed, ConfigError)
    assert failed.path == "history.rollup_days"


def test_verify_says_where_a_pruned_tape_begins(cli: Cli, lived: pathlib.Path) -> None:
    cli("prune")
    words = ["session", "verify", str(lived)]
    said = CliRunner().invoke(tapewatch, words, obj=Shell(), standalone_mode=False)
    assert "chain ok" in said.stdout
    assert "what came before was let go on 2025-03-03T00:00:00Z" in said.stdout
