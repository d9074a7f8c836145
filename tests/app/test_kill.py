"""A session is killed at random moments and started again; nothing that was shown may be missing.

`TAPEWATCH_KILL_ROUNDS` sets the number of rounds (`make kill-rounds` runs a thousand).
"""

import json
import os
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from tapewatch.app.build import engine_of
from tapewatch.app.replay import check, configured
from tapewatch.io.tape_check import verify
from tapewatch.io.tape_read import TapeReader

ROUNDS = int(os.environ.get("TAPEWATCH_KILL_ROUNDS", "30"))
MOST_SHOWN = 40  # alerts until the kill comes at the latest
COMMAND = [sys.executable, "-m", "tapewatch"]

# Nearly every trade becomes an alert of its own.
TALKATIVE = [
    "detector.driftlock.baseline_lines=2",
    "detector.driftlock.threshold=0.0001",
    "gate.cooldown_s=0",
    "gate.worse=-1",
]


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    scenario = tmp_path_factory.mktemp("venue") / "scenario.json"
    scenario.write_text(json.dumps({"market": {"trades_per_s": 60.0}}))
    command = [*COMMAND, "simulate", "kraken", "--symbols", "BTC/USD", "--scenario", str(scenario)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())
        server.terminate()


def start(venue: dict[str, str], folder: pathlib.Path) -> subprocess.Popen[bytes]:
    command = [
        *COMMAND, "watch", "kraken:BTC/USD", "--json", "--name", "killed", "--dir", str(folder),
        "--url", venue["url"], "--rest-url", venue["rest"],
    ]  # fmt: skip
    command += [word for change in TALKATIVE for word in ("--set", change)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ids(lines: list[bytes]) -> list[str]:
    """Ids of complete alert lines; the last line of a killed process may be cut off."""
    return [json.loads(line)["id"] for line in lines if line.endswith(b"\n")]


@pytest.mark.timeout(120 + 20 * ROUNDS)
def test_kill_rounds(venue: dict[str, str], tmp_path: pathlib.Path) -> None:
    rng = random.Random(20251121)
    shown: set[str] = set()
    for number in range(ROUNDS):
        with start(venue, tmp_path) as session:
            assert session.stdout is not None
            assert session.stderr is not None
            wanted = rng.randint(1, MOST_SHOWN)
            lines = [session.stdout.readline() for _ in range(wanted)]
            assert lines[0], session.stderr.read().decode()
            session.send_signal(signal.SIGKILL)
            lines += session.stdout.readlines()
        shown.update(ids(lines))
        stored, taped = found(tmp_path / "killed")
        assert shown <= taped.keys(), f"round {number}: shown, but not on the tape"
        assert shown <= stored, f"round {number}: shown, but not in the outbox"
        assert set(taped.values()) == {1}, f"round {number}: twice on the tape"
    end_in_order(venue, tmp_path, shown)


def end_in_order(venue: dict[str, str], folder: pathlib.Path, shown: set[str]) -> None:
    """One more start, stopped politely: the tape verifies, replays, and everything is delivered."""
    with start(venue, folder) as session:
        assert session.stdout is not None
        shown.update(ids([session.stdout.readline()]))
        session.send_signal(signal.SIGTERM)
        shown.update(ids(session.stdout.readlines()))
        assert session.wait() == 0
    tape = folder / "killed" / "tape"
    assert verify(tape).problems == ()
    stored, taped = found(folder / "killed")
    assert shown == stored == taped.keys()
    assert check(tape, engine_of(configured(tape))) >= len(shown)


def found(session: pathlib.Path) -> tuple[set[str], Counter[str]]:
    """Alert ids in the outbox (a primary key: once each), and how often each is on the tape."""
    with sqlite3.connect(session / "alerts.sqlite") as store:
        stored = {row[0] for row in store.execute("SELECT id FROM alerts")}
        rows = store.execute(
            "SELECT id FROM outputs JOIN outbox USING(seq) WHERE sink = 'terminal'"
        )
        owed = {row[0] for row in rows}
    store.close()
    assert owed == stored
    lines = (json.loads(line) for _, line in TapeReader(session / "tape").alerts())
    return stored, Counter(line["id"] for line in lines if line["type"] == "alert")
