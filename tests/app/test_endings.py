"""How sessions end and what they survive: signals in real processes, a disk that fills up."""

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from watch_session import Told, alerts_of, settings

from tapewatch.app.session import known, verified
from tapewatch.app.watch import Watch
from tapewatch.io.tape_read import TapeReader
from tapewatch.model.inputs import Command
from tapewatch.simulate.kraken import KrakenConfig, KrakenServer
from tapewatch.simulate.scenario import Anomaly, MarketConfig, Scenario
from tapewatch.sinks.terminal import Screen
from tapewatch.testing import virtual_time

COMMAND = [sys.executable, "-m", "tapewatch"]


@pytest.fixture
def venue() -> Iterator[dict[str, str]]:
    with subprocess.Popen(
        [*COMMAND, "simulate", "kraken", "--symbols", "BTC/USD"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as server:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())
        server.terminate()


@contextlib.contextmanager
def session(
    venue: dict[str, str], folder: pathlib.Path
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A session that has told its whole start."""
    command = [
        *COMMAND, "watch", "kraken:BTC/USD", "--dir", str(folder), "--name", "one",
        "--url", venue["url"], "--rest-url", venue["rest"],
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stderr is not None
        told: list[str] = []
        for line in process.stderr:
            told.append(line)
            if line.startswith("Ctrl+C"):
                break
        yield process, told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_ends_in_order_with_the_summary(
    venue: dict[str, str], tmp_path: pathlib.Path, number: signal.Signals
) -> None:
    with session(venue, tmp_path) as (process, told):
        process.send_signal(number)
        _, rest = process.communicate()
    assert process.returncode == 0, told
    assert "stopped by you" in rest
    assert "chain ok" in rest


def test_a_second_signal_ends_at_once(venue: dict[str, str], tmp_path: pathlib.Path) -> None:
    with session(venue, tmp_path) as (process, _):
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)  # two of one kind could arrive as one
        _, rest = process.communicate()
    assert process.returncode == 130
    assert "Stopped at once" in rest
    assert verified(tmp_path / "one").problems == ()


def test_a_second_instance_is_refused(venue: dict[str, str], tmp_path: pathlib.Path) -> None:
    with session(venue, tmp_path) as (first, _):
        with session(venue, tmp_path) as (second, told):
            second.wait()
        assert second.returncode == 1
        assert f"Session directory is in use by pid {first.pid}" in "".join(told)
        first.terminate()


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, check=False,
        env={**os.environ, **environment}, encoding="utf-8",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("kraken:BTCUSD",), 2, 'Kraken has no pair "BTCUSD". Did you mean kraken:BTC/USD?'),
        (("BTC/USD",), 2, "write venue:symbol, such as kraken:BTC/USD"),
        ((), 2, "nothing to watch; name a market, for example kraken:BTC/USD"),
        (("kraken:BTC/USD", "--duration", "soon"), 2, "not a duration"),
        (("kraken:BTC/USD", "--name", "../x"), 2, "cannot name a session"),
        (("kraken:BTC/USD", "--url", "ws://127.0.0.1:1/v2"), 69, "connection refused"),
        (("kraken:BTC/USD", "--dir", "/proc/nowhere"), 2, "Cannot create"),
        (
            ("kraken:BTC/USD", "--set", "detector.zscore.z_score_threshold=0.8"),
            2,
            "below the locked minimum 1.0 (PARAMETER_CHANGE_REQUIRES_APPROVAL)",
        ),
    ],
)
def test_mistakes_are_answered_in_the_users_words(
    words: tuple[str, ...], code: int, text: str, tmp_path: pathlib.Path
) -> None:
    folder = () if "--dir" in words else ("--dir", str(tmp_path))
    done = command("watch", *words, *folder)
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert f"[{code}]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file system of 64 MB: room for the reserve, twice, and little more."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_pauses_the_recording_and_nothing_else(small_disk: pathlib.Path) -> None:
    told, one, filler = Told(), small_disk / "one", small_disk / "filler"
    one.mkdir()
    market = KrakenConfig(
        symbols=("BTC/USD",),
        scenario=Scenario(
            market=MarketConfig(trades_per_s=20.0, books_per_s=20.0),
            anomalies=(Anomaly(at_s=80.0, kind="price_jump", params={"sigmas": 80.0}),),
        ),
    )

    def fill() -> None:
        free = os.statvfs(small_disk)
        filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - (64 << 10))))

    async def main() -> None:
        async with KrakenServer(market, virtual_time.loop_clock()) as server:
            config = settings(server, small_disk, "session.duration_s=120")
            watch = Watch(config, one, virtual_time.loop_clock(), Screen(bell=False), told.streams)
            loop = asyncio.get_running_loop()
            loop.call_later(20.0, fill)
            loop.call_later(95.0, filler.unlink)
            await watch.run(asyncio.Event())

    virtual_time.run(main())
    words = "\n".join(told.lines)
    assert "Disk full. Raw recording paused; alarms are recorded" in words
    assert "Recording goes on." in words
    jump = [alert for alert in alerts_of(small_disk) if alert.cause == "price_spike"]
    assert jump, "the alarm raised while the disk was full is on the tape"
    assert jump[0].id in told.out.getvalue()
    counted = [item for _, item in TapeReader(one / "tape").inputs() if isinstance(item, Command)]
    assert [item.op for item in counted] == ["unrecorded", "unrecorded"]
    assert counted[0].argument == "begin"
    assert int(counted[1].argument) > 100
    assert verified(one).problems == ()
    assert known(one).summary is not None
