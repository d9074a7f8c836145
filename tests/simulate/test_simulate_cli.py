"""`tapewatch simulate kraken` as a process: its line, its signals, its exit codes."""

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
from tapewatch.simulate.faults import CATALOGUE

RUN = "from tapewatch.app.cli.simulate import simulate; simulate()"


def start(*args: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "kraken", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_json_line_then_a_clean_end(number: signal.Signals, tmp_path: pathlib.Path) -> None:
    truth = tmp_path / "truth.ndjson"
    process, line = start("--truth", str(truth), "--fault", "stall@0:5", "--seed", "3")
    assert line["schema"] == "tapewatch.simulate/1"
    assert line["pid"] == process.pid
    assert line["url"] == line["url_v1"] + "/v2" == line["rest"].replace("http", "ws") + "/v2"
    with urllib.request.urlopen(f"{line['rest']}/0/public/SystemStatus") as answer:
        assert json.load(answer)["result"]["status"] == "online"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert "nothing it says is real" in err
    (record,) = map(json.loads, truth.read_text().splitlines())
    assert (record["schema"], record["fault"]) == ("tapewatch.truth/1", "F03")


def run(*args: str) -> BaseException | None:
    return CliRunner().invoke(simulate, ["kraken", *args]).exception


@pytest.mark.parametrize(
    "args",
    [
        ["--host", "0.0.0.0"],
        ["--speed", "quick"],
        ["--speed", "-1"],
        ["--fault", "gremlins@5"],
        ["--scenario", "nowhere.json"],
        ["--symbols", "BTCUSD"],
        ["--fault", "stall@5,symbol=SOL/USD"],
    ],
)
def test_mistakes_are_usage_errors(args: list[str]) -> None:
    error = run(*args)
    assert isinstance(error, ConfigError)
    assert error.exit_code == 2


def test_a_taken_port_is_exit_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        error = run("--port", str(port))
    assert isinstance(error, TapewatchError)
    assert error.exit_code == 1
    assert f"Port {port} is" in str(error)
    assert "Fix it with --port, or stop the other one." in str(error)


def test_a_scenario_file_and_a_script(tmp_path: pathlib.Path) -> None:
    scenario = tmp_path / "scenario.json"
    scenario.write_text('{"anomalies": [{"at": 5, "kind": "price_jump", "params": {"sigma": 8}}]}')
    script = tmp_path / "faults.json"
    script.write_text('[{"at": 1, "fault": "nothing"}]')
    assert isinstance(run("--faults", str(script)), ConfigError)
    error = run("--scenario", str(scenario))
    assert isinstance(error, ConfigError)
    assert "sigma" in str(error)


def test_the_catalogue_can_be_listed() -> None:
    result = CliRunner().invoke(simulate, ["kraken", "--list-faults"])
    assert result.exit_code == 0
    for kind in CATALOGUE:
        assert f"{kind.code}  {kind.name}" in result.output


def test_exit_at_end(tmp_path: pathlib.Path) -> None:
    tape = tmp_path / "t.csv"
    tape.write_text("ts_ms,side,price,qty\n1,buy,5,5\n")
    process, line = start("--tape", str(tape), "--speed", "max", "--exit-at-end")
    from websockets.sync.client import connect  # noqa: PLC0415

    with connect(line["url"]) as client:
        params = {"channel": "trade", "symbol": ["BTC/USD"], "snapshot": True}
        client.send(json.dumps({"method": "subscribe", "params": params}))
        frames = list(client)  # until the server closes
    assert b'"price":5.0,"qty":5.00000000' in "".join(map(str, frames)).encode()
    process.communicate(timeout=30)
    assert process.returncode == 0
