"""`tapewatch simulate polymarket` as a process: its line, its signals, its exit codes."""

import json
import pathlib
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from click.testing import CliRunner

from tapewatch.app.cli.simulate import simulate
from tapewatch.model.errors import ConfigError, TapewatchError
from tapewatch.simulate.polymarket_faults import POLYMARKET

RUN = "from tapewatch.app.cli.simulate import simulate; simulate()"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_json_line_then_a_clean_end(number: signal.Signals, tmp_path: pathlib.Path) -> None:
    truth = tmp_path / "truth.ndjson"
    scenario = tmp_path / "plot.json"
    scenario.write_text('{"anomalies": [{"at": 0, "kind": "price_spike"}]}')
    args = ["--truth", str(truth), "--fault", "pong_alive@0:5", "--scenario", str(scenario)]
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "polymarket", *args, "--markets", "20", "--seed", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    assert (line["schema"], line["v"], line["venue"]) == ("tapewatch.simulate/1", 1, "polymarket")
    assert line["pid"] == process.pid
    assert line["url"].startswith("ws://127.0.0.1:")
    assert line["url"].endswith("/ws/market")
    for call in (f"{line['clob']}/ok", f"{line['gamma']}/markets/keyset", f"{line['data']}/trades"):
        with urllib.request.urlopen(call) as answer:
            assert answer.status == 200
            json.load(answer)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert "nothing it says is real" in err
    spike, fault = map(json.loads, truth.read_text().splitlines())
    assert (spike["schema"], spike["kind"]) == ("tapewatch.truth/1", "price_spike")
    assert (fault["fault"], fault["kind"]) == ("F04", "pong_alive")


def run(*args: str) -> BaseException | None:
    return CliRunner().invoke(simulate, ["polymarket", *args]).exception


@pytest.mark.parametrize(
    "args",
    [
        ["--host", "0.0.0.0"],
        ["--markets", "0"],
        ["--markets", "20001"],
        ["--speed", "quick"],
        ["--speed", "-1"],
        ["--fault", "gremlins@5"],
        ["--fault", "ghost@5,symbol=nothing-here"],
        ["--fault", "recipe@5,generation=gen1999"],
    ],
)
def test_mistakes_are_usage_errors(args: list[str]) -> None:
    error = run(*args)
    assert isinstance(error, ConfigError)
    assert error.exit_code == 2


def test_an_unknown_fault_names_this_venues_list() -> None:
    assert "simulate polymarket --list-faults" in str(run("--fault", "stall@5"))


def test_a_fault_script_is_read(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "faults.json"
    script.write_text('[{"at": 1, "fault": "F23"}, {"at": 1, "fault": "nothing"}]')
    assert "nothing" in str(run("--faults", str(script)))


def test_a_taken_port_is_exit_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        error = run("--port", str(port))
    assert isinstance(error, TapewatchError)
    assert error.exit_code == 1
    assert f"Port {port} is" in str(error)


def test_the_catalogue_can_be_listed() -> None:
    result = CliRunner().invoke(simulate, ["polymarket", "--list-faults"])
    assert result.exit_code == 0
    for kind in POLYMARKET:
        assert f"{kind.code}  {kind.name}" in result.output
