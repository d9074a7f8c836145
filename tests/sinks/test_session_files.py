"""The files of a session: their names, their lines, and full disks."""

import asyncio
import json
import os
import pathlib
import stat

import pytest
from msgspec.structs import replace

from tapewatch.model.errors import ConfigError, DeliveryError
from tapewatch.model.events import Trade
from tapewatch.model.outputs import Alert, DataVerdict, Fault, Observation
from tapewatch.sinks.session_files import FileNames, SessionFiles, alert_block

AT = 1_763_871_342_123_000_000
LINE = '{"id":"kraken-1763871342123-5","pair":"BTC/USD","price":87456.2}'
NATIVE = {"sequence": 247, "line": LINE, "score": 0.87, "is_anomaly": True}
SEEN = Observation("driftlock", "kraken:BTC/USD", "driftlock", AT, 0.87, 0.35, native=NATIVE)
ALERT = Alert(
    id="a1",
    incident="i1",
    instrument="kraken:BTC/USD",
    detector="driftlock",
    cause="driftlock",
    severity="warn",
    ts_event_ns=AT,
    ts_alert_ns=AT + 1_000_000_000,
    onset_ns=AT,
    p=None,
    p_extrapolated=False,
    score=0.87,
    line=0.35,
    observed=None,
    expected=None,
    data_verdict=DataVerdict("complete"),
)
S1_FILES = {
    "kraken_raw.ndjson", "kraken_anomalies.ndjson", "master.log", "status.log", "synthetic.log",
    "loom.log", "streamer.stderr.log", "detector.stderr.log", "loom.state", "recordings",
}  # fmt: skip


@pytest.fixture
def files(tmp_path: pathlib.Path) -> SessionFiles:
    folder = tmp_path / "logs" / "session_1"
    folder.mkdir(parents=True)
    return SessionFiles(folder, FileNames())


def test_every_file_is_there_from_the_start(files: SessionFiles) -> None:
    assert {path.name for path in files.folder.iterdir()} == S1_FILES
    assert (files.folder / "loom.state").read_text() == "idle\n"
    assert (files.folder.parent / "anomaly_alerts.log").is_file()
    assert stat.S_IMODE((files.folder / "master.log").stat().st_mode) == 0o600
    files.close()


def test_trades_in_driftlocks_form(files: SessionFiles) -> None:
    for price in (87456.5, 87457.0):
        files.trade(Trade("kraken:BTC/USD", AT, AT, price, 0.5, "buy"))
    files.trade(Trade("kraken:BTC/USD", AT + 1_000_000, AT, 1.0, 0.5, "sell"))
    files.close()
    rows = [json.loads(line) for line in files.path("raw").read_text().splitlines()]
    assert rows[0] == {
        "ts": 1763871342.123,
        "price": 87456.5,
        "qty": 0.5,
        "side": "buy",
        "pair": "BTC/USD",
        "id": "kraken-1763871342123-0",
        "source": "kraken",
    }
    assert [row["id"][-5:] for row in rows] == ["123-0", "123-1", "124-0"]
    assert files.prices == {"kraken:BTC/USD": 1.0}


def test_an_alert_in_driftlocks_form(files: SessionFiles) -> None:
    asyncio.run(files.deliver((SEEN,)))
    asyncio.run(files.deliver((ALERT,)))
    files.close()
    text = files.path("alerts").read_text().splitlines()
    assert text[3:9] == [
        "Alert #1",
        "Time: 2025-11-23 04:15:43",
        "Trade Time: 2025-11-23 04:15:42",
        "Anomaly ID: kraken-1763871342123-5",
        "Pair: BTC/USD",
        "Price: 87456.2",
    ]
    assert text[9] == "Score: 0.87"
    assert json.loads(text[12]) == NATIVE
    assert json.loads(files.path("anomalies").read_text()) == NATIVE
    assert "START LOOM NOW  alert #1  a1" in files.path("loom").read_text()


def test_a_late_alert_does_not_get_the_payload_of_another(files: SessionFiles) -> None:
    asyncio.run(files.deliver((SEEN, replace(ALERT, ts_event_ns=AT - 1))))
    files.close()
    assert "Anomaly ID: a1\n" in files.path("alerts").read_text()


def test_faults_are_sorted(files: SessionFiles) -> None:
    feed = Fault("gap", "kraken", "kraken:BTC/USD", AT, "\x1b[2J", first_id=3, last_id=9)
    ours = Fault("detector_error", "zscore", "kraken:BTC/USD", AT, "boom")
    asyncio.run(files.deliver((feed, ours)))
    files.close()
    assert files.path("streamer_errors").read_text() == (
        "2025-11-23T04:15:42.123Z kraken:BTC/USD gap 3..9 ·[2J\n"
    )
    assert "detector_error boom" in files.path("detector_errors").read_text()


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b2J", "\u202e", "a\nAlert #9", "\x7f"])
def test_hostile_text_is_harmless_in_every_file(files: SessionFiles, text: str) -> None:
    native = {"line": text, "score": 1.0, "id": text}
    seen = replace(SEEN, instrument=text, native=native)
    alert = replace(ALERT, instrument=text, id=text, incident=text)
    files.trade(Trade(text, AT, AT, 1.0, 1.0, "buy"))
    files.status([text])
    asyncio.run(files.deliver((seen, alert, Fault("gap", text, text, AT, text))))
    files.close()
    for path in (*files.folder.glob("*.*"), files.path("alerts")):
        for line in path.read_text().split("\n"):
            assert line.isprintable(), path.name
            assert line != "Alert #9"


def test_a_full_disk_stops_nobody(tmp_path: pathlib.Path) -> None:
    full = pathlib.Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    files = SessionFiles(tmp_path, FileNames(raw=str(full), anomalies=str(full)))
    files.trade(Trade("kraken:BTC/USD", AT, AT, 1.0, 1.0, "buy"))
    files.flush()
    assert files.lost == 1
    with pytest.raises(DeliveryError, match="disk full") as caught:
        asyncio.run(files.deliver((SEEN, ALERT)))
    assert not caught.value.retryable
    assert "Alert #1" in files.path("alerts").read_text()
    files.close()


def test_a_link_in_the_place_of_a_file_is_refused(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "kraken_raw.ndjson").symlink_to(target)
    with pytest.raises(ConfigError, match="cannot write"):
        SessionFiles(tmp_path / "s", FileNames())
    assert target.read_text() == "kept"


def test_a_second_session_goes_on_below(files: SessionFiles) -> None:
    files.note("one")
    files.close()
    again = SessionFiles(files.folder, FileNames())
    again.note("two")
    again.close()
    assert files.path("master").read_text() == "one\ntwo\n"


def test_the_process_id_for_scripts(tmp_path: pathlib.Path) -> None:
    files = SessionFiles(tmp_path, FileNames(streamer_pid=str(tmp_path / "streamer.pid")))
    files.close()
    assert (tmp_path / "streamer.pid").read_text() == f"{os.getpid()}\n"


def test_a_payload_that_is_not_about_a_trade() -> None:
    block = alert_block(ALERT, 2, {"line": "not json", "score": 1}, None)
    assert "Anomaly ID: a1\n" in block
    assert "Price: unknown\n" in block
