"""The gates between the modes: each can be passed, and each can fail."""

import csv
import pathlib

import msgspec
import pytest

from tapewatch import __version__
from tapewatch.app import promote
from tapewatch.app.cli.main import main
from tapewatch.app.config import Config, assemble, effective
from tapewatch.app.environment import Setting
from tapewatch.app.promote import Gated, Incident, Soak, Trial, fingerprint, gates
from tapewatch.app.self_check import self_check
from tapewatch.detect.zscore import ZScore
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model.errors import ConfigError
from tapewatch.model.inputs import Frame, Timer
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.ndjson import Row, TradeRow

MARKET = "polymarket:0xaa"
T0 = 1_735_689_600 * NS_PER_S


def config_of(**zscore: object) -> Config:
    said = [Setting(("source", "ndjson", "ids"), (MARKET,), "test")]
    said += [
        Setting(("detector", "zscore", name), value, "test")
        for name, value in {"cycle_s": 30.0, **zscore}.items()
    ]
    return assemble(said)[0]


def passed(found: list[Gated]) -> dict[str, bool]:
    return {gate.gate: gate.passed for gate in found}


def trial(**changes: object) -> Trial:
    usual = {
        "hours": 48.0,
        "coverage": 1.0,
        "markets": 30,
        "judged": 100_000,
        "per_day": 1.0,
        "incidents": {
            f"i-{n}": Incident(f"i-{n}", MARKET, "price_spike", "warn", T0, "", 2) for n in range(3)
        },
    }
    return Trial(**{**usual, **changes})  # type: ignore[arg-type]


REAL = {f"i-{n}": "real" for n in range(3)}


def test_a_sound_configuration_passes_the_first_gate() -> None:
    found = passed(gates("shadow_only", config_of(), seen=None, audit={}, soak=None))
    assert found == {
        "unit: price spike": True,
        "unit: volume spike": True,
        "unit: insufficient baseline": True,
        "unit: kill switch": True,
    }


def test_a_detector_that_cannot_see_five_sigma_fails_it() -> None:
    deaf = self_check(ZScore(z_score_threshold=6.0))
    assert [one.ok for one in deaf] == [False, True, True, False]


def test_without_the_detector_nothing_is_passed() -> None:
    config = assemble([Setting(("source", "ndjson", "ids"), (MARKET,), "test")])[0]
    assert passed(gates("shadow_only", config, seen=None, audit={}, soak=None)) == {"unit": False}


@pytest.mark.parametrize(
    ("change", "audit", "failing"),
    [
        ({}, REAL, set()),
        ({"hours": 47.9}, REAL, {"48 hours"}),
        ({"coverage": 0.94}, REAL, {"48 hours"}),
        ({"live": False}, REAL, {"48 hours"}),
        ({}, {}, {"audit"}),
        ({"judged": 500}, {}, {"audit", "false positives"}),
        ({"stray": 2_000}, REAL, {"false positives"}),
        ({"markets": 1}, dict.fromkeys(REAL, "false"), {"false alarms"}),
    ],
)
def test_limited_live_needs_hours_an_audit_and_few_false_alarms(
    change: dict[str, object], audit: dict[str, promote.Verdict], failing: set[str]
) -> None:
    found = passed(gates("limited_live", config_of(), seen=trial(**change), audit=audit, soak=None))
    assert {name for name, ok in found.items() if not ok} == failing


def test_a_simulated_session_counts_when_that_is_accepted() -> None:
    seen = trial(live=False)
    found = gates(
        "limited_live", config_of(), seen=seen, audit=REAL, soak=None, accept_simulated=True
    )
    assert all(passed(found).values())


@pytest.mark.parametrize(
    ("days", "price", "volume", "threshold", "failing"),
    [
        (7.0, (40, 40), (40, 40), 3.0, set()),
        (6.9, (40, 40), (40, 40), 3.0, {"soak"}),
        (7.0, (40, 40), (40, 40), 4.0, {"soak"}),
        (7.0, (39, 40), (40, 40), 3.0, {"5-sigma spikes"}),
        (7.0, (40, 40), (0, 0), 3.0, {"5-sigma spikes"}),
    ],
)
def test_general_live_needs_every_spike_of_a_soak_with_these_settings(
    days: float,
    price: tuple[int, int],
    volume: tuple[int, int],
    threshold: float,
    failing: set[str],
) -> None:
    config = config_of()
    soak = Soak(
        schema="tapewatch.soak/1",
        days=days,
        markets=30,
        detectors=fingerprint(config_of(z_score_threshold=threshold)),
        price=price,
        volume=volume,
    )
    found = gates("general_live", config, seen=trial(), audit=REAL, soak=soak)
    assert {gate.gate for gate in found if not gate.passed} == failing


def recorded(folder: pathlib.Path) -> Config:
    """A session of 80 cycles with a price spike at the end."""
    config = config_of()
    tape = TapeWriter(folder / "tape", config=effective(config), version=__version__)
    prices = [0.49 if n % 2 else 0.51 for n in range(80)] + [0.60]
    for n, price in enumerate(prices):
        at = T0 + n * 30 * NS_PER_S
        row = Row(trade=TradeRow(MARKET, at + 1, price, 100.0))
        tape.append(Frame(at + 1, "ndjson", msgspec.json.encode(row), "rest:import"))
        tape.append(Timer(at + 30 * NS_PER_S))
    tape.close()
    return config


def test_a_trial_counts_cycles_and_gives_each_anomalous_one_to_its_incident(
    tmp_path: pathlib.Path,
) -> None:
    recorded(tmp_path)
    seen = promote.trial(tmp_path / "tape")
    assert seen.judged == 81 - ZScore().min_samples
    (incident,) = seen.incidents.values()
    assert (incident.cause, incident.cycles, seen.stray) == ("price_spike", 1, 0)
    assert seen.markets == 1
    assert 0.6 < seen.hours < 0.7


def test_the_audit_sheet_is_written_filled_in_and_read(tmp_path: pathlib.Path) -> None:
    recorded(tmp_path)
    seen = promote.trial(tmp_path / "tape")
    sheet = tmp_path / "audit.csv"
    promote.write_audit(sheet, seen)
    assert promote.read_audit(sheet) == dict.fromkeys(seen.incidents, "")
    with pytest.raises(ConfigError, match="cannot write"):
        promote.write_audit(sheet, seen)  # somebody's work is not replaced
    with sheet.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0]["verdict"] = "real"
    with sheet.open("w", newline="") as file:
        out = csv.DictWriter(file, promote.AUDIT_COLUMNS)
        out.writeheader()
        out.writerows(rows)
    assert promote.read_audit(sheet) == dict.fromkeys(seen.incidents, "real")
    sheet.write_text("incident,verdict\ni-1,perhaps\n")
    with pytest.raises(ConfigError, match="line 2"):
        promote.read_audit(sheet)


def test_the_command_prints_each_gate_and_exits_with_3(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    recorded(tmp_path / "night")
    settings = tmp_path / "settings.toml"
    settings.write_text("[detector.zscore]\ncycle_s = 30\n")
    words = ["--config", str(settings), "promote", "--to", "limited_live"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--session", str(tmp_path / "night")])
    said = capsys.readouterr()
    assert ended.value.code == 3, said.err
    assert "pass  unit: price spike" in said.out
    assert "FAIL  48 hours" in said.out
    assert "FAIL  audit: a verdict on every incident\n      0 of 1" in said.out
