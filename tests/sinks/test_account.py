"""Start-up lines, status and summary, to the word."""

import pytest
from msgspec.structs import replace

from tapewatch.model.time import NS_PER_S
from tapewatch.sinks.account import (
    FileSize,
    StatusView,
    Step,
    SummaryView,
    health,
    startup,
    status_block,
    status_line,
    summary,
)

NOW = 1_763_717_220 * NS_PER_S
STATUS = StatusView(
    now_ns=NOW,
    elapsed_s=900.0,
    trades=1247,
    alerts=2,
    suppressed=1,
    coverage=1.0,
    age_s=2.0,
    lag_ms=88.0,
    disk_free=41 << 30,
    last_alert_ns=NOW - 60 * NS_PER_S,
    last_alert_id="kraken-1763870895432-89",
    files=(FileSize("Raw Log", "logs/session_1/kraken_raw.ndjson", 156 << 10),),
)
SUMMARY = SummaryView(
    session="session_1763717220",
    elapsed_s=14_400.0,
    ended="stopped by you",
    trades=45_623,
    coverage=0.99964,
    gaps=2,
    lost_s=5.1,
    reconnects=3,
    alerts=8,
    alarms=5,
    alarms_per_day=6.0,
    suppressed={"ALREADY_SHOWN": 12, "STALE_DATA": 1},
    biggest="#3 11:42:19 price 86000 is 9 standard deviations below its mean",
    files=(FileSize("raw", "x", 15_938_355), FileSize("tape", "y", 1_153_434)),
    folder="logs/session_1763717220",
    head="9f31c2" + "0" * 58,
)


def test_start_up_is_narrated() -> None:
    steps = [
        Step("ok", "source", "kraken:BTC/USD  connected 184 ms"),
        Step("wait", "warm-up", "0/120 trades"),
        Step("off", "recording", "screen recording is not part of this version"),
        Step("bad", "tape", "\x1b[31mno"),
    ]
    assert startup("0.1.0", "session_1", steps, banner="DEMO") == [
        "tapewatch 0.1.0 · session session_1 · read-only · DEMO",
        "  ✓ source      kraken:BTC/USD  connected 184 ms",
        "  … warm-up     0/120 trades",
        "  – recording   screen recording is not part of this version",
        "  ✗ tape        ·[31mno",
        "Ctrl+C stops and prints the summary.",
    ]


def test_the_status_line() -> None:
    assert status_line(STATUS) == (
        "09:27 HEALTHY · 15 m 00 s · 1,247 trades · 2 alerts · coverage 100 % · lag 88 ms"
    )


def test_one_is_not_many() -> None:
    line = status_line(replace(STATUS, alarms=9, alarms_per_day=6.0, elapsed_s=2 * 86_400.0))
    assert " · alarms 4.5/6 · " in line
    young = status_line(replace(STATUS, alarms=3, alarms_per_day=6.0, elapsed_s=3_600.0))
    assert " · alarms 3/6 · " in young
    assert "· 1 trade · 1 alert ·" in status_line(replace(STATUS, trades=1, alerts=1))


def test_paths_are_given_as_a_shell_takes_them() -> None:
    folder = "/srv/sessions/with a long name/" + "x" * 60
    lines = summary(replace(SUMMARY, folder=folder))
    assert lines[-1] == f"  next      tapewatch session show '{folder}'"


def test_the_status_line_tells_when_the_disk_gets_full() -> None:
    assert "disk 1.0 GB free" in status_line(replace(STATUS, disk_free=1 << 30))


def test_the_status_block_of_driftlock() -> None:
    assert status_block(STATUS) == [
        "STATUS UPDATE - 09:27:00",
        "   Runtime: 0h 15m",
        "   Total Trades: 1,247",
        "   Total Anomalies: 2 (1 more held back)",
        "   Last Anomaly: 2025-11-21 09:26:00 (ID: kraken-1763870895432-89)",
        "   Raw Log: 156 KB (logs/session_1/kraken_raw.ndjson)",
        "   Coverage: 100 %",
        "   Stream Status: HEALTHY (last update 2s ago)",
    ]


@pytest.mark.parametrize(
    ("age_s", "state"),
    [(0.0, "HEALTHY"), (29.9, "HEALTHY"), (30.0, "SLOW"), (119.9, "SLOW"), (120.0, "UNHEALTHY")],
)
def test_health_has_driftlocks_limits(age_s: float, state: str) -> None:
    assert health(age_s) == state


def test_a_stream_that_never_spoke_is_unhealthy() -> None:
    assert health(None) == "UNHEALTHY"


def test_the_summary() -> None:
    assert summary(SUMMARY) == [
        "Session session_1763717220   4 h 00 m, stopped by you",
        "  data      45,623 trades, coverage 99.96 % (2 gaps, 5.1 s), 3 reconnects",
        "  alerts    8 shown, 13 held back, 5 of 6 alarms a day",
        "            12 ALREADY_SHOWN",
        "            1 STALE_DATA",
        "  biggest   #3 11:42:19 price 86000 is 9 standard deviations below its mean",
        "  files     raw 15.2 MB · tape 1.1 MB",
        "  folder    logs/session_1763717220",
        "  verify    chain ok, head 9f31c20000000000",
        "  next      tapewatch session show logs/session_1763717220",
    ]
    assert all(len(line) <= 80 for line in summary(SUMMARY))


def test_a_damaged_tape_is_not_called_ok() -> None:
    broken = replace(SUMMARY, problems=2)
    assert "  verify    2 problems: tapewatch session verify logs/session_1763717220" in summary(
        broken
    )
