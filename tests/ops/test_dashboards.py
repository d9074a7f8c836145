"""The dashboards: every query is understood by Prometheus, and finds something on our own page.

Grafana itself is not asked: it is in no distribution. What can be checked of its files is.
"""

import asyncio
import json
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tapewatch.io.poller import Counters as PollCounters
from tapewatch.io.websocket import Counters as SocketCounters
from tapewatch.io.worker import Counters
from tapewatch.model.outputs import Contribution, Fault, Observation, Suppressed
from tapewatch.model.time import NS_PER_S
from tapewatch.sinks.metrics import Metrics
from tapewatch.sinks.metrics_names import OURS, POLYTRADERS
from tapewatch.sinks.metrics_settings import MetricsSettings
from tapewatch.sinks.metrics_vitals import EVENTS, SinkVitals, Vitals, total

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "ops" / "grafana"
FILES = sorted((FOLDER / "dashboards").glob("*.json"))
TITLES = {  # the first two are bot 4.15's
    "Intelligence / AnomalyDetector z-score heatmap by market",
    "Intelligence / AnomalyDetector anomaly rate over time",
    "tapewatch / overview",
}
AT = 1_767_225_600 * NS_PER_S
GRID = 24  # columns of a dashboard
NAME = r"\b(?:tapewatch|polytraders|process)_\w+"


def dashboard(path: pathlib.Path) -> dict[str, Any]:
    board: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return board


def queries(board: dict[str, Any]) -> Iterator[str]:
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (note["expr"] for note in board["annotations"]["list"])


class At:
    """A clock that shows what it is told."""

    def __init__(self) -> None:
        self.ns = AT

    def now_ns(self) -> int:
        return self.ns


def page(compat: Literal["", "polytraders"] = "polytraders") -> str:
    """Our page with something in every family, names of bot 4.15 included."""
    clock = At()
    metrics = Metrics(MetricsSettings(compat=compat), clock, detectors=("zscore",))
    metrics.vitals = lambda: Vitals(
        version="1",
        kill="on",
        events=dict.fromkeys(EVENTS, 1),
        lag_s=0.1,
        coverage=1.0,
        states={"zscore": 2},
        sinks=(SinkVitals("bus", Counters(), 0),),
        outbox={("bus", "pending"): 1},
        sockets=total([SocketCounters()]),
        polls=PollCounters(),
        components={"redis": True},
    )
    parts = (Contribution("price", -6.0), Contribution("volume", 1.0))
    for market in ("polymarket:0xold", "polymarket:0xnew"):
        clock.ns += 61 * NS_PER_S
        seen = Observation(
            "zscore",
            market,
            "price_spike",
            clock.ns,
            6.0,
            3.0,
            contributions=parts,
            report=True,
        )
        held = Suppressed("KILL_SWITCH_ACTIVE", market, "price_spike", clock.ns, 6.0, "report")
        asyncio.run(metrics.deliver([seen, held]))
    asyncio.run(metrics.deliver([Fault("link_up", "polymarket", "", AT)]))
    return metrics.render()[0].decode()


def stored() -> list[dict[str, str]]:
    """The page as Prometheus keeps it after two hours in which every counter rose."""
    series = [{"series": 'up{job="tapewatch",instance="a"}', "values": "1x120"}]
    for family in text_string_to_metric_families(page()):
        for sample in family.samples:
            labels = {"job": "tapewatch", "instance": "a"} | sample.labels
            inside = ",".join(f"{name}={json.dumps(text)}" for name, text in labels.items())
            rises = family.type in {"counter", "histogram"}
            step = f"+{1 if sample.labels.get('le') != '0.001' else 0}" if rises else "+0"
            series.append(
                {
                    "series": f"{sample.name}{{{inside}}}",
                    "values": f"{sample.value}{step}x120",
                }
            )
    return series


@pytest.fixture(scope="module")
def promtool() -> str:
    """The binary of Debian's package `prometheus`."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool not found (Debian: apt install prometheus)")
    return found


def run(promtool: str, *words: str) -> str:
    """What it complains about."""
    done = subprocess.run([promtool, *words], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_the_page_keeps_the_conventions(promtool: str) -> None:
    """Bot 4.15's own names do not: `_s` is an abbreviated unit."""
    words = [promtool, "check", "metrics"]
    done = subprocess.run(words, input=page(compat=""), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def filled(query: str) -> str:
    """A query with the dashboard's variables in place."""
    return query.replace("$instance", ".*")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_prometheus_understands_every_query(
    promtool: str, path: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    rules = [
        {"record": f"q:{i}", "expr": filled(q)} for i, q in enumerate(queries(dashboard(path)))
    ]
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    assert not run(promtool, "check", "rules", str(file))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_query_finds_something(
    promtool: str, path: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """A label that our page does not have, or another value of it, gives an empty panel."""
    checks = [
        {
            "expr": f"count(({filled(query)})) > bool 0",
            "eval_time": "90m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for query in queries(dashboard(path))
    ]
    tests = [{"interval": "1m", "input_series": stored(), "promql_expr_test": checks}]
    file = tmp_path / "test.json"
    file.write_text(json.dumps({"tests": tests}))
    assert not run(promtool, "test", "rules", str(file))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_metric_exists(path: pathlib.Path) -> None:
    exported = set(re.findall(NAME, page()))
    used = {name for query in queries(dashboard(path)) for name in re.findall(NAME, query)}
    assert used
    assert not used - exported


def test_every_metric_is_on_a_dashboard() -> None:
    boards = " ".join(query for path in FILES for query in queries(dashboard(path)))
    assert not [name for name in OURS | POLYTRADERS if name not in boards]


def test_the_dashboards_that_were_promised() -> None:
    boards = [dashboard(path) for path in FILES]
    assert {board["title"] for board in boards} == TITLES
    assert len({board["uid"] for board in boards}) == len(boards)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_panels_have_their_place(path: pathlib.Path) -> None:
    """Two panels in one place, or beyond the edge, are moved by Grafana, and not as we want."""
    taken: set[tuple[int, int]] = set()
    panels = dashboard(path)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= GRID
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"


def test_provisioning_names_what_is_there() -> None:
    texts = [path.read_text() for path in sorted((FOLDER / "provisioning").rglob("*.yml"))]
    assert len(texts) == 2
    assert all("apiVersion: 1" in text for text in texts)
