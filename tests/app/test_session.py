"""Session folders: names, finding, and texts when they cannot be made."""

import io
import json
import os
import pathlib
import stat

import pytest
from msgspec.structs import replace

from tapewatch.app import exporting, session
from tapewatch.app.config import assemble, effective
from tapewatch.app.environment import Setting
from tapewatch.io.tape_file import TapeFile
from tapewatch.model.errors import ConfigError
from tapewatch.model.inputs import Frame, Timer
from tapewatch.model.time import NS_PER_S
from tapewatch.sinks.account import SummaryView

NOW = 1_763_870_312 * NS_PER_S
VIEW = SummaryView(
    session="session_1763870312",
    elapsed_s=60.0,
    ended="stopped by you",
    trades=3,
    coverage=1.0,
    gaps=0,
    lost_s=0.0,
    reconnects=0,
    alerts=1,
)


def record(folder: pathlib.Path) -> str:
    """A session with a tape of three trades and an alert; its chain hash."""
    (folder / "tape").mkdir(parents=True)
    config, _ = assemble([Setting(("source", "ndjson", "ids"), ["kraken:BTC/USD"], "test")])
    tape = TapeFile(folder / "tape" / "000001.tape", config=effective(config), version="0")
    for index in range(3):
        at = NOW + index
        text = (
            f'{{"trade":{{"instrument":"kraken:BTC/USD","ts_event":{at},"price":{index + 1},'
            f'"size":1.0,"trade_id":"=1+{index}"}}}}'
        )
        tape.append(Frame(at, "ndjson", text.encode()))
    tape.append(Timer(NOW + NS_PER_S))
    tape.append_alert(b'{"schema":"tapewatch.alert/1"}')
    tape.close()
    return tape.head


def test_names(tmp_path: pathlib.Path) -> None:
    first = session.create(tmp_path / "logs", "", NOW)
    assert first.name == "session_1763870312"
    assert stat.S_IMODE(first.stat().st_mode) == 0o700
    assert session.create(tmp_path / "logs", "", NOW).name == "session_1763870312_2"
    assert session.create(tmp_path / "logs", "mine", NOW).name == "mine"
    assert session.create(tmp_path / "logs", "mine", NOW).name == "mine"  # gone on with


@pytest.mark.parametrize(
    "name", ["../x", "a/b", ".", "..", "-x", "a b", "x\n", "\x1b[2J", "x" * 65]
)
def test_names_that_are_none(tmp_path: pathlib.Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a session") as caught:
        session.create(tmp_path, name, NOW)
    assert str(caught.value).isprintable()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path: pathlib.Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(
        ConfigError, match=r"Cannot create .*session_1763870312: File exists. Choose"
    ):
        session.create(tmp_path / "logs", "", NOW)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: pathlib.Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match=r"Permission denied\. Choose another folder"):
        session.create(tmp_path, "", NOW)


def test_finding(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no session in .*tapewatch demo"):
        session.find(tmp_path / "none", "last")
    for name in ("session_9", "session_10", "session_10_2"):
        record(tmp_path / name)
    (tmp_path / "no_session").mkdir()
    assert [path.name for path in session.folders(tmp_path)] == [
        "session_10_2", "session_10", "session_9",
    ]  # fmt: skip
    assert session.find(tmp_path, "last").name == "session_10_2"
    assert session.find(tmp_path, "session_9") == tmp_path / "session_9"
    assert session.find(pathlib.Path("elsewhere"), str(tmp_path / "session_9")).name == "session_9"
    with pytest.raises(ConfigError, match="tapewatch session list"):
        session.find(tmp_path, "no_session")


def test_what_is_known(tmp_path: pathlib.Path) -> None:
    record(tmp_path / "s")
    assert session.known(tmp_path / "s").summary is None
    session.write_summary(tmp_path / "s", VIEW)
    known = session.known(tmp_path / "s")
    assert (known.name, known.started_ns, known.summary) == ("s", NOW, VIEW)
    (tmp_path / "s" / "summary.json").write_text("{")
    assert session.known(tmp_path / "s").summary is None


def test_verification_uses_the_hash_of_the_summary(tmp_path: pathlib.Path) -> None:
    head = record(tmp_path / "s")
    assert session.verified(tmp_path / "s").ok
    session.write_summary(tmp_path / "s", replace(VIEW, head=head))
    assert session.verified(tmp_path / "s").ok
    session.write_summary(tmp_path / "s", replace(VIEW, head="0" * 64))
    assert not session.verified(tmp_path / "s").ok


def test_the_account_of_an_earlier_end_is_forgotten(tmp_path: pathlib.Path) -> None:
    record(tmp_path / "s")
    session.forget_summary(tmp_path / "s")  # there need not be one
    session.write_summary(tmp_path / "s", replace(VIEW, head="0" * 64))
    session.forget_summary(tmp_path / "s")
    assert session.known(tmp_path / "s").summary is None
    assert session.verified(tmp_path / "s").ok


@pytest.mark.parametrize("what", ["trades", "events"])
def test_exported_lines_name_their_schema(tmp_path: pathlib.Path, what: exporting.What) -> None:
    record(tmp_path / "s")
    out = io.StringIO()
    assert exporting.export_rows(tmp_path / "s" / "tape", what, "ndjson", out) == 3
    row = json.loads(out.getvalue().splitlines()[0])
    assert (row["schema"], row["v"]) == (f"tapewatch.{what[:-1]}/1", 1)
    assert row["price"] == 1.0


def test_rows_come_out_again(tmp_path: pathlib.Path) -> None:
    record(tmp_path / "s")
    tape = tmp_path / "s" / "tape"
    assert [trade.price for trade in exporting.trades(tape)] == [1.0, 2.0, 3.0]
    out = tmp_path / "out.csv"
    with out.open("w") as file:
        assert exporting.export_rows(tape, "trades", "csv", file) == 3
    lines = out.read_text().splitlines()
    assert lines[0].startswith("instrument,ts_event,ts_recv,price,size,aggressor,trade_id")
    assert "'=1+0" in lines[1]  # no formula in a spreadsheet
    with pytest.raises(ConfigError, match="export them as ndjson"), out.open("w") as file:
        exporting.export_rows(tape, "events", "csv", file)
