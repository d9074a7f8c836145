"""The shipped alert rules, judged by promtool on pages of a running service."""

import json
import pathlib
import shutil
import subprocess
from collections.abc import Sequence

import pytest
from s2_service import Page

RULES = pathlib.Path(__file__).resolve().parents[2] / "ops" / "prometheus" / "rules.yml"


def firing(folder: pathlib.Path, pages: Sequence[Page], alert: str) -> set[int]:
    """Minutes in which the alert fires, of pages that were scraped a minute apart.

    Skips without promtool (Debian's package `prometheus`)."""
    binary = shutil.which("promtool")
    if binary is None:
        pytest.skip("promtool not found (Debian: apt install prometheus)")
    minutes = len(pages)
    named = sorted({series for page in pages for series in page if series[:9] == "tapewatch"})
    series = [{"series": 'up{job="tapewatch",instance="a"}', "values": f"1x{minutes}"}]
    for name in named:
        values = ["_" if name not in page else repr(page[name]) for page in pages]
        series.append({"series": _labelled(name), "values": " ".join(values)})
    return {at for at in range(minutes) if _fires(binary, folder, series, alert, at)}


def _labelled(series: str) -> str:
    """With the labels that a scrape adds."""
    name, _, rest = series.partition("{")
    return f'{name}{{job="tapewatch",instance="a"{"," + rest if rest else "}"}'


def _fires(
    binary: str, folder: pathlib.Path, series: Sequence[object], alert: str, minute: int
) -> bool:
    """Whether promtool finds it wrong that nothing fires at that minute."""
    expression = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    test = {
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [
            {"expr": expression, "eval_time": f"{minute}m", "exp_samples": []},
        ],
    }
    file = folder / "rules_test.yml"  # JSON is YAML
    body = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}
    file.write_text(json.dumps(body))
    done = subprocess.run(
        [binary, "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 or "exp:" in done.stdout + done.stderr, done.stderr
    return done.returncode != 0
