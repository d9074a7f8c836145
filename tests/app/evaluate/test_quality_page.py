"""The page on quality says what was measured, with intervals, and nothing else."""

import importlib
import json
import pathlib
import sys
from types import ModuleType
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
SHARE = {"hits": 9, "n": 10, "share": 0.9, "low": 0.55497, "high": 0.99747}
RATE = {"count": 5, "exposure": 93.1, "rate": 0.0537057, "low": 0.0174, "high": 0.1253}


@pytest.fixture
def quality(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module("quality")


@pytest.fixture
def tables(quality: ModuleType) -> ModuleType:
    return sys.modules["quality_tables"]


def test_the_page_is_current(quality: ModuleType) -> None:
    results = json.loads(quality.RESULTS.read_text("utf-8"))
    assert quality.PAGE.read_text("utf-8") == quality.page(results), "run python docs/quality.py"
    assert quality.RESULTS.read_text("utf-8") == quality.kept(results)


def test_figures_carry_their_intervals(tables: ModuleType) -> None:
    assert tables.figure(SHARE) == "0.9 (0.55-1; 9 of 10)"
    assert tables.figure(RATE) == "0.0537 (0.017-0.13; 5 in 93.1)"
    assert tables.figure({**RATE, "rate": None, "high": None}) == "- (0.017--; 5 in 93.1)"
    assert [tables.figure(one) for one in (None, True, 0.12345, 7, "x", [], {})] == [
        "-", "yes", "0.123", "7", "x", "none", "none",
    ]  # fmt: skip
    assert tables.figure(list(range(11))) == "0, 1, 2, 3, 4, 5, 6, 7, and 3 more"


def test_every_figure_of_a_score_is_found(tables: ModuleType) -> None:
    score: dict[str, Any] = {
        "alarms_a_day": RATE,
        "load": {"BTC 2016": {"warn": 1}, "ETH": {"warn": 2}},
        "rows": [{"tape": "x", "k": 5.0}, {"tape": "y", "k": 6.0}],
    }
    assert dict(tables.flat(score)) == {
        "alarms a day": "0.0537 (0.017-0.13; 5 in 93.1)",
        "load: BTC 2016: warn": "1",
        "load: ETH: warn": "2",
        "rows: x: k": "5",
        "rows: y: k": "6",
    }


def test_the_page_shows_the_command_and_what_fails(quality: ModuleType) -> None:
    gate = {"name": "alarms a day, x", "value": 3.0, "holds": False}
    text = quality.page({"pumps": {"set": "pumps", "onsets": SHARE, "gates": [gate]}})
    assert "$ tapewatch evaluate pumps DIR/pumps --out OUT" in text
    assert "| onsets | 0.9 (0.55-1; 9 of 10) |" in text
    assert "- pumps: alarms a day, x is 3." in text


def test_only_what_is_asked_for_is_measured(
    quality: ModuleType, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(quality, "PAGE", tmp_path / "page.md")
    (tmp_path / "results.json").write_text('{"usde": {"set": "usde", "leads_s": 900.0}}')
    measured: list[str] = []

    def measure(name: str, _: pathlib.Path) -> dict[str, Any]:
        measured.append(name)
        return quality.rounded({"set": name, "hits": 0.123456})

    monkeypatch.setattr(quality, "measure", measure)
    monkeypatch.setattr(sys, "argv", ["quality.py", "--run", "D", "--only", "pumps,quiet"])
    quality.main()
    assert measured == ["pumps", "quiet"]
    kept = json.loads((tmp_path / "results.json").read_text())
    assert kept["usde"]["leads_s"] == 900.0
    assert kept["pumps"]["hits"] == 0.1235
    assert "| hits | 0.123 |" in (tmp_path / "page.md").read_text()


def test_it_measures_with_the_command_it_shows(
    quality: ModuleType, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "tapewatch"
    program.write_text('#!/bin/sh\necho "{\\"said\\": \\"$1 $2 $3 $4\\"}"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    score = quality.measure("usde", pathlib.Path("D"))
    assert score == {"said": "evaluate usde D/usde_depeg --out"}
