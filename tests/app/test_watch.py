"""A whole session: folder, files, words, endings."""

import asyncio
import json
import pathlib
import sqlite3

import msgspec
import pytest
from watch_session import Told, alerts_of, watched

from tapewatch.app.config import assemble, set_option
from tapewatch.app.session import known, verified
from tapewatch.app.watch import Watch
from tapewatch.io import control
from tapewatch.io.clock import SystemClock
from tapewatch.io.lock import SessionLock
from tapewatch.model.errors import ConfigError, Refused, Retryable, SessionBusy
from tapewatch.model.events import Status, Trade
from tapewatch.model.time import NS_PER_S
from tapewatch.simulate.faults import parse
from tapewatch.simulate.kraken import KrakenConfig
from tapewatch.simulate.scenario import DEMO
from tapewatch.sinks.session_files import SessionFiles
from tapewatch.sinks.terminal import Screen
from tapewatch.testing import virtual_time


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, Told]:
    folder = tmp_path_factory.mktemp("minute")
    changes = ("session.duration_s=62", "session.status_every_s=15")
    return folder, watched(folder, *changes, screen=Screen(bell=False, banner="DEMO"))


def test_the_start_is_narrated_and_the_end_accounted_for(
    minute: tuple[pathlib.Path, Told],
) -> None:
    _, told = minute
    text = "\n".join(told.lines)
    assert told.lines[0].startswith("tapewatch 0.1.0 · session one · read-only · DEMO")
    for word in ("config", "source", "kraken:BTC/USD connected in", "recording", "Ctrl+C"):
        assert word in text
    assert "as planned" in text
    assert "2 gaps, 12." in text
    assert "chain ok" in text
    assert sum("HEALTHY" in line for line in told.lines) == 4  # every 15 s
    assert [line for line in told.lines if len(line) > 80 and "folder" not in line] == []


def test_alerts_are_cards_marked_as_not_live(minute: tuple[pathlib.Path, Told]) -> None:
    cards = minute[1].out.getvalue().strip().split("\n\n")
    assert len(cards) >= 6
    for card in cards:
        assert "[DEMO]" in card.splitlines()[0]
        assert len(card.splitlines()) <= 12


def test_the_folder_holds_what_the_seed_promised(minute: tuple[pathlib.Path, Told]) -> None:
    folder = minute[0] / "one"
    for name in (
        "kraken_raw.ndjson", "kraken_anomalies.ndjson", "master.log", "status.log",
        "synthetic.log", "loom.log", "streamer.stderr.log", "detector.stderr.log", "loom.state",
        "recordings", "../anomaly_alerts.log", "tape", "alerts.sqlite", "summary.json",
    ):  # fmt: skip
        assert (folder / name).exists(), name
    rows = [json.loads(line) for line in (folder / "kraken_raw.ndjson").read_text().splitlines()]
    summary = known(folder).summary
    assert summary is not None
    assert len(rows) == summary.trades
    assert set(rows[0]) == {"ts", "price", "qty", "side", "pair", "id", "source"}
    results = (folder / "kraken_anomalies.ndjson").read_text().splitlines()
    assert len(results) == summary.trades  # driftlock's --show-all: every trade
    assert (folder / "status.log").read_text().count("STATUS UPDATE") == 4
    assert verified(folder).problems == ()


def test_every_alert_is_in_the_shared_alert_log(minute: tuple[pathlib.Path, Told]) -> None:
    folder = minute[0]
    alerts = alerts_of(folder)
    log = (folder / "anomaly_alerts.log").read_text()
    assert log.count("START LOOM NOW") == len(alerts)
    assert all(alert.simulated for alert in alerts)


def test_json_puts_alert_lines_on_standard_output(tmp_path: pathlib.Path) -> None:
    told = watched(tmp_path, screen=Screen(bell=False, json=True))
    lines = [json.loads(line) for line in told.out.getvalue().splitlines()]
    assert lines
    assert {line["schema"] for line in lines} == {"tapewatch.alert/1"}


def test_a_named_session_is_gone_on_with(tmp_path: pathlib.Path) -> None:
    first = watched(tmp_path)
    before = known(tmp_path / "one").summary
    second = watched(tmp_path, start_ns=virtual_time.START_NS + 3600 * NS_PER_S)
    after = known(tmp_path / "one").summary
    assert before is not None
    assert after is not None
    assert after.trades > before.trades
    assert "session.resumed" in (tmp_path / "one" / "master.log").read_text()
    assert first.lines[0] == second.lines[0]
    assert verified(tmp_path / "one").problems == ()


def test_a_session_with_other_settings_is_refused(tmp_path: pathlib.Path) -> None:
    watched(tmp_path)
    with pytest.raises(ConfigError, match="other settings"):
        watched(tmp_path, "detector.zscore.z_score_threshold=4")


def test_a_second_process_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "one").mkdir()
    with SessionLock(tmp_path / "one", 0), pytest.raises(SessionBusy, match="in use by pid"):
        watched(tmp_path)


def test_while_the_kill_switch_is_on_nothing_is_shown(tmp_path: pathlib.Path) -> None:
    control.write(tmp_path / "killswitch", "on", actor="test", reason="", now_ns=0)
    told = watched(tmp_path)
    assert told.out.getvalue() == ""
    assert any("kill switch" in line and "on (" in line for line in told.lines)
    summary = known(tmp_path / "one").summary
    assert summary is not None
    assert summary.suppressed["KILL_SWITCH_ACTIVE"] >= 1
    assert summary.trades > 100  # detection and recording went on


def test_a_venue_that_cannot_be_reached_ends_the_session_with_a_word(
    tmp_path: pathlib.Path,
) -> None:
    changes = ("source.kraken.url=ws://127.0.0.1:1/v2",)
    with pytest.raises(Retryable, match=r"Cannot reach 127\.0\.0\.1:1 \(connection refused\)"):
        watched(tmp_path, *changes)
    summary = known(tmp_path / "one").summary
    assert summary is not None
    assert "Cannot reach" in summary.ended


def test_a_pair_that_the_venue_does_not_have_ends_it_too(tmp_path: pathlib.Path) -> None:
    with pytest.raises(Refused, match="FOO/BAR"):
        watched(tmp_path, "source.kraken.symbols=FOO/BAR")


def test_one_unknown_pair_among_others_is_told_and_the_rest_goes_on(
    tmp_path: pathlib.Path,
) -> None:
    told = watched(tmp_path, "source.kraken.symbols=BTC/USD,FOO/BAR")
    assert "FOO/BAR" in told.out.getvalue()
    assert "as planned" in "\n".join(told.lines)


def test_hostile_frames_change_nothing_but_counters(tmp_path: pathlib.Path) -> None:
    scenario = msgspec.structs.replace(DEMO, faults=(), anomalies=())
    faulty = msgspec.json.decode(
        b'[{"at":5,"fault":"malformed"},{"at":12,"fault":"time_unit","for":2},'
        b'{"at":16,"fault":"clock_skew","for":3,"params":{"seconds":40}}]',
        type=list[type(DEMO.faults[0])],
    )
    market = KrakenConfig(
        symbols=("BTC/USD",), scenario=msgspec.structs.replace(scenario, faults=tuple(faulty))
    )
    told = watched(tmp_path, market=market)
    kinds = {one.kind for one in alerts_of(tmp_path) if one.cause == "feed"}
    assert {"malformed", "invalid"} <= kinds
    assert "NaN" not in told.out.getvalue()
    assert verified(tmp_path / "one").problems == ()


HOUR_LATER = virtual_time.START_NS + 3600 * NS_PER_S


def test_a_resumed_session_gives_the_account_of_the_whole(tmp_path: pathlib.Path) -> None:
    watched(tmp_path)
    told = watched(tmp_path, start_ns=HOUR_LATER)
    view = known(tmp_path / "one").summary
    assert view is not None
    assert 58 < view.elapsed_s < 62  # two times 30 s; the hour between is not part of it
    assert view.coverage > 0.9
    assert any("resumed" in line and "after record" in line for line in told.lines)


def test_a_kill_switch_released_between_two_starts_is_off_again(tmp_path: pathlib.Path) -> None:
    control.write(tmp_path / "killswitch", "on", actor="test", reason="", now_ns=0)
    assert watched(tmp_path).out.getvalue() == ""
    control.write(tmp_path / "killswitch", "off", actor="test", reason="", now_ns=0)
    assert watched(tmp_path, start_ns=HOUR_LATER).out.getvalue() != ""


@pytest.mark.parametrize("faults", ["F11@6 F07@6.2:12", "F03@6:12 F36@0:60"])
def test_a_passing_refusal_does_not_end_the_session(tmp_path: pathlib.Path, faults: str) -> None:
    planted = tuple(parse(fault) for fault in faults.split())
    scenario = msgspec.structs.replace(DEMO, faults=planted, anomalies=())
    told = watched(tmp_path, market=KrakenConfig(symbols=("BTC/USD",), scenario=scenario))
    assert "as planned" in "\n".join(told.lines)


def test_a_locked_store_delays_alerts_and_loses_none(tmp_path: pathlib.Path) -> None:
    """Another program holds the store while the first alert is raised."""

    def hold(session: pathlib.Path) -> None:
        lock = sqlite3.connect(session / "alerts.sqlite", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(6.0, lock.close)

    told = watched(tmp_path, at={20.0: hold})
    assert "locked" in "\n".join(told.lines)
    assert "as planned" in "\n".join(told.lines)
    assert all(alert.id in told.out.getvalue() for alert in alerts_of(tmp_path))
    assert alerts_of(tmp_path)


def test_what_got_lost_is_in_the_summary(tmp_path: pathlib.Path) -> None:
    """REST answers errors while the probe of a stalled feed asks."""
    planted = (parse("F35@0:60"), parse("F15@8"))
    scenario = msgspec.structs.replace(DEMO, faults=planted, anomalies=())
    told = watched(tmp_path, market=KrakenConfig(symbols=("BTC/USD",), scenario=scenario))
    assert any("trouble" in line and "requests without an answer" in line for line in told.lines)


def test_only_a_refusal_before_any_data_is_hopeless(tmp_path: pathlib.Path) -> None:
    config = assemble([set_option("source.kraken.symbols=BTC/USD")])[0]
    trade = Trade("kraken:BTC/USD", 1, 1, 100.0, 1.0, "buy")
    no = Status("kraken", "kraken:BTC/USD", 1, 1, "rejected", "not supported", value=1.0)
    for events, hopeless in (([no], True), ([trade, no], False)):
        told = Told()
        watch = Watch(config, tmp_path, SystemClock(), Screen(bell=False), told.streams)
        files = SessionFiles(tmp_path, config.sink.files)
        watch.on_events(events, files)
        files.close()
        assert watch._hopeless.is_set() is hopeless
