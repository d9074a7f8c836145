"""`tapewatch tune`: what other settings would have said, and which keeps a budget."""

import json
import pathlib
from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest
from msgspec.structs import replace

from tapewatch.app import tune as tuning
from tapewatch.app.cli import main as command_line
from tapewatch.app.config import DEFAULT_DETECTORS, assemble, effective
from tapewatch.app.environment import ABSENT, ALIASES, Setting
from tapewatch.app.replay import alerts, configured
from tapewatch.app.tune import changes, chosen, parsed, span, trials, usual
from tapewatch.io.tape_file import TapeFile
from tapewatch.model.errors import ConfigError
from tapewatch.model.inputs import Frame, Timer
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.ndjson import Row, TradeRow

T0: Final = 1_700_000_000 * NS_PER_S
MARKET: Final = "kraken:BTC/USD"
THRESHOLD: Final = "detector.zscore.z_score_threshold"
# Second -> distance from the mean in standard deviations (0.141): one each of 300 s later.
SPIKES: Final = {1_000: 6.0, 2_000: 12.0, 3_000: 30.0}
SETTINGS: Final = {
    "source.ndjson.ids": [MARKET],
    "detector.zscore.baseline_window_s": "300",
    "detector.zscore.z_score_threshold": "8",
    **{f"detector.{name}.enabled": "false" for name in DEFAULT_DETECTORS},
}


def opened(path: pathlib.Path) -> TapeFile:
    said = [Setting(tuple(key.split(".")), value, "test") for key, value in SETTINGS.items()]
    return TapeFile(path, config=effective(assemble(said)[0]), version="0")


@pytest.fixture
def tape(tmp_path: pathlib.Path) -> pathlib.Path:
    """An hour of a market that knows five prices, and three that it does not know."""
    path = tmp_path / "hour.tape"
    with opened(path) as file:
        for second in range(3_600):
            now = T0 + second * NS_PER_S
            price = 100.0 + 0.1 * (second * 2 % 5 - 2) + 0.1414 * SPIKES.get(second, 0.0)
            row = Row(trade=TradeRow(MARKET, now, round(price, 3), 1.0, "buy", str(second)))
            file.append(Timer(now))
            file.append(Frame(now, "ndjson", msgspec.json.encode(row)))
    return path


Run = Callable[..., tuple[list[str], list[str]]]


@pytest.fixture
def run(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """`tapewatch tune ...`: lines of standard output and of standard error."""
    monkeypatch.chdir(tmp_path)
    for name in (*ALIASES, *ABSENT, "XDG_CONFIG_HOME", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))

    def running(*args: str, code: int = 0) -> tuple[list[str], list[str]]:
        with pytest.raises(SystemExit) as ended:
            command_line.main(("tune", *args))
        out, error = capsys.readouterr()
        assert (ended.value.code or 0) == code, error
        return out.splitlines(), error.splitlines()

    return running


def test_each_setting_says_what_a_replay_says(tape: pathlib.Path) -> None:
    texts = parsed([f"{THRESHOLD}=3,20"])
    assert texts == [f"{THRESHOLD}=3", f"{THRESHOLD}=20"]
    recorded, lower, higher = trials(tape, span(tape), texts)
    assert [one.alarms for one in (recorded, lower, higher)] == [2, 3, 1]
    assert (recorded.appear, recorded.vanish) == ((), ())
    assert [alert.onset_ns - T0 for alert in lower.appear] == [1_001 * NS_PER_S]
    assert [alert.onset_ns - T0 for alert in higher.vanish] == [2_001 * NS_PER_S]
    assert [sign for sign, _ in changes(higher)] == ["-"]
    assert lower.vanish == higher.appear == ()
    for trial, threshold in ((recorded, "8"), (lower, "3"), (higher, "20")):
        config = configured(tape, [Setting(tuple(THRESHOLD.split(".")), threshold, "test")])
        said = [alert for alert in alerts(tape, config) if alert.severity != "info"]
        assert trial.alarms == len(said)


def test_the_rate_and_its_interval_are_those_of_a_day(tape: pathlib.Path) -> None:
    covered = span(tape)
    (recorded,) = trials(tape, covered, [])
    assert covered.days == pytest.approx(3_599 / 86_400)
    assert recorded.per_day.rate == pytest.approx(2 / covered.days)
    assert recorded.per_day.low == pytest.approx(0.2422 / covered.days, rel=1e-3)  # exact Poisson
    assert recorded.per_day.high == pytest.approx(7.2247 / covered.days, rel=1e-3)


def test_notices_are_counted_apart(tape: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    covered = span(tape)
    said = list(alerts(tape, covered.config))
    noticed = [replace(alert, severity="info", onset_ns=alert.onset_ns + 1) for alert in said]
    answers = iter([said, [*said, *noticed]])
    monkeypatch.setattr(tuning, "alerts", lambda *_: next(answers))
    _, other = trials(tape, covered, [f"{THRESHOLD}=3"])
    assert (other.alarms, other.notices) == (2, 2)
    assert (other.appear, other.vanish) == ((), ())


def test_the_choice_says_the_most_within_the_budget(tape: pathlib.Path) -> None:
    covered = span(tape)
    found = list(trials(tape, covered, [f"{THRESHOLD}=20", f"{THRESHOLD}=3", f"{THRESHOLD}=2.9"]))

    def text(budget: float) -> str | None:
        best = chosen(found, budget, covered.days)
        return None if best is None else best.text

    assert text(0.5) is None
    assert text(1.0) == f"{THRESHOLD}=20"
    assert text(2.0) == ""  # as recorded: nothing says more within it
    assert text(9.0) == f"{THRESHOLD}=3"  # the first of equals
    assert chosen(found, 0.5, days=4.0) == found[0]


def test_a_budget_is_asked_about_from_both_sides(tape: pathlib.Path) -> None:
    config = span(tape).config
    assert usual(config, 6.0) == [
        "gate.alarms_per_day=1.5", "gate.alarms_per_day=3", "gate.alarms_per_day=6",
        "gate.alarms_per_day=12", "gate.alarms_per_day=24",
        "gate.profile=strict", "gate.profile=sensitive",
    ]  # fmt: skip


def test_the_table_fits_a_terminal_and_ends_with_what_to_do(tape: pathlib.Path, run: Run) -> None:
    out, error = run(str(tape), "--budget", "3", "--try", f"{THRESHOLD}=3,20")
    assert all(len(line) <= 80 for line in out)
    assert out[0].split() == ["setting", "alarms", "a", "day", "95", "%", "new", "gone"]
    table = [line.split() for line in out[1:4]]
    assert [row[0] for row in table] == ["as", f"{THRESHOLD}=3", f"{THRESHOLD}=20"]
    assert [row[1] for row in table[1:]] == ["3", "1"]
    assert [row[-2:] for row in table[1:]] == [["1", "0"], ["0", "1"]]
    assert len(out) == 5
    assert out[4].startswith("+ 2023-11-14T22:30:01Z")
    assert error == [
        "59 m 59 s on the tape, replayed 3 times.",
        f"Keeps 3 a day and says the most: {THRESHOLD}=3",
        f"All of it: tapewatch replay {tape} --set {THRESHOLD}=3 --diff",
        f"Use it:    tapewatch watch ... --set {THRESHOLD}=3",
    ]


def test_the_recorded_settings_may_be_the_best(tape: pathlib.Path, run: Run) -> None:
    out, error = run(str(tape), "--budget", "2", "--try", f"{THRESHOLD}=3,20")
    assert len(out) == 4
    assert error[1:] == ["The recorded settings keep 2 a day; nothing here says more within it."]


def test_what_no_setting_keeps_ends_with_three(tape: pathlib.Path, run: Run) -> None:
    _, error = run(str(tape), "--budget", "0.5", "--try", f"{THRESHOLD}=20", code=3)
    assert error[1].startswith("None of them keeps 0.5 a day")


def test_without_a_budget_it_is_the_recorded_one(tape: pathlib.Path, run: Run) -> None:
    out, _ = run(str(tape), "-q")
    assert [line.split()[0] for line in out[2:]] == usual(span(tape).config, 6.0)


def test_a_minute_gives_no_rate(tmp_path: pathlib.Path, run: Run) -> None:
    with opened(tmp_path / "minute.tape") as file:
        for second in range(61):
            file.append(Timer(T0 + second * NS_PER_S))
    out, error = run("minute.tape", "--try", f"{THRESHOLD}=3")
    assert [line.split()[-4:] for line in out[1:]] == [
        ["recorded", "0", "-", "-"], ["-", "-", "0", "0"],
    ]  # fmt: skip
    assert error[0] == "1 m 00 s on the tape, replayed 2 times; too short for a rate."


def test_lines_for_programs(tape: pathlib.Path, run: Run) -> None:
    out, error = run(str(tape), "--budget", "3", "--try", f"{THRESHOLD}=3,20", "--json")
    lines: list[dict[str, Any]] = [json.loads(line) for line in out]
    assert error == []
    assert [(line["schema"], line["v"]) for line in lines] == [
        *[("tapewatch.tune/1", 1)] * 3, ("tapewatch.tune.choice/1", 1),
    ]  # fmt: skip
    assert [(line["setting"], line["recorded"]) for line in lines[:3]] == [
        ("", True), (f"{THRESHOLD}=3", False), (f"{THRESHOLD}=20", False),
    ]  # fmt: skip
    assert [alert["schema"] for alert in lines[1]["appear"]] == ["tapewatch.alert/1"]
    assert lines[1]["per_day"]["count"] == lines[1]["alarms"] == 3
    assert lines[-1]["budget"] == 3
    assert lines[-1]["setting"] == f"{THRESHOLD}=3"


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (("--budget", "0"), "--budget: must be above 0 and at most a million alarms a day. [2]"),
        (("--budget", "-1"), "--budget: must be above 0"),
        (("--budget", "nan"), "--budget: must be above 0"),
        (("--budget", "six"), "'six' is not a valid float"),
        (("--try", "gate.profile"), '--try: "gate.profile" is not key=value,value,...'),
        (("--try", "gate.profile=a,,b"), "is not key=value,value,..."),
        (("--try", "gate.profil=strict"), "gate"),
        (("--try", "gate.profile=lax"), "gate.profile"),
        (("--try", "detector.nothing.x=1"), 'unknown detector "nothing"'),
        (("--try", f"x={','.join(map(str, range(40)))}"), "40 settings are too many; at most 32"),
    ],
)
def test_wrong_wishes_are_named_before_anything_is_replayed(
    tape: pathlib.Path, run: Run, args: tuple[str, ...], complaint: str
) -> None:
    out, error = run(str(tape), *args, code=2)
    assert out == []
    assert complaint in error[-1]


def test_what_cannot_be_replayed_is_said(tmp_path: pathlib.Path, run: Run) -> None:
    _, error = run("last", code=2)
    assert "There is no session" in error[0]
    (tmp_path / "x.tape").write_bytes(b"nothing of the kind")
    _, error = run("x.tape", code=5)
    assert len(error) == 1
    with opened(tmp_path / "empty.tape"):
        pass
    _, error = run("empty.tape", code=2)
    assert error == ["empty.tape has nothing to replay: no time passes on it. [2]"]


def test_one_moment_is_no_span(tmp_path: pathlib.Path) -> None:
    with opened(tmp_path / "one.tape") as file:
        file.append(Timer(T0))
    with pytest.raises(ConfigError, match="nothing to replay"):
        span(tmp_path / "one.tape")
