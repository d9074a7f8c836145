"""Settings: layers, origins, and errors that say where and what."""

import pathlib

import pytest

from tapewatch.app import registry, settings_text
from tapewatch.app.config import (
    DEFAULT_DETECTORS,
    Loaded,
    assemble,
    effective,
    everything,
    load,
    restore,
    set_option,
)
from tapewatch.app.config_file import read_file
from tapewatch.app.environment import ABSENT, ALIASES, SESSION_DIR, Setting, settings_of
from tapewatch.gate.gate import Gate
from tapewatch.io.tape_records import config_hash
from tapewatch.model.errors import ConfigError

S1_NAMES = (
    "KRAKEN_PAIR", "BASELINE_LINES", "COMPRESSION_ALGO", "NO_ANOMALY_THRESHOLD",
    "RECORDING_DURATION", "SCREEN_RESOLUTION", "SESSION_DIR", "DURATION", "TEST_MODE",
    "ANOMALY_LOG", "ALERT_LOG", "RAW_LOG", "STATUS_LOG", "SYNTHETIC_LOG", "LOOM_LOG",
    "LOOM_STATE_FILE", "STREAMER_PID_FILE", "ALERT_SOUND", "RECORDING_DIR", "FRAMERATE",
    "CAPTURE_BACKEND", "VIRTUAL_DISPLAY", "PIX_FMT_X11", "PIX_FMT_AVFOUNDATION", "SCREEN_DEVICE",
    "REPORT_INTERVAL", "TEST_INTERVAL", "FORCE_INJECT",
)  # fmt: skip
VALUES = {
    "KRAKEN_PAIR": "ETH/USD",
    "COMPRESSION_ALGO": "gzip",
    "SESSION_DIR": "logs/session_1763870312",
    "BASELINE_LINES": "200",
    "DURATION": "14400",
    "TEST_MODE": "true",
    "REPORT_INTERVAL": "900",
    "TEST_INTERVAL": "15",
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loaded(environment: dict[str, str] | None = None, *flags: Setting) -> Loaded:
    return load(flags, environment={"XDG_CONFIG_HOME": "user", **(environment or {})})


def project(text: str) -> None:
    pathlib.Path("tapewatch.toml").write_text(text)


def complaint(text: str = "", environment: dict[str, str] | None = None) -> str:
    project(text)
    with pytest.raises(ConfigError) as caught:
        loaded(environment)
    return str(caught.value)


def test_defaults() -> None:
    config = loaded().config
    assert [detector.name for detector in config.detectors] == list(DEFAULT_DETECTORS)
    assert config.venues == ()
    assert config.gate == Gate()
    assert (config.session.dir, config.session.lasts_s) == ("logs", None)
    assert loaded().origins == {}


def test_the_strongest_layer_wins_and_is_named() -> None:
    pathlib.Path("user/tapewatch").mkdir(parents=True)
    user = pathlib.Path("user/tapewatch/config.toml")
    user.write_text('[session]\ndir = "a"\nname = "a"\nstatus_every_s = 1\nduration_s = 1\n')
    project('[session]\nname = "b"\nstatus_every_s = 2\nduration_s = 2\n')
    environment = {"TAPEWATCH_SESSION__STATUS_EVERY_S": "3m", "TAPEWATCH_SESSION__DURATION_S": "3"}
    found = loaded(environment, Setting(("session", "duration_s"), "4h", "--duration"))
    session = found.config.session
    assert (session.dir, session.name, session.status_every_s) == ("a", "b", 180.0)
    assert session.lasts_s == 14_400.0
    assert found.origins == {
        "session.dir": "user/tapewatch/config.toml:2",
        "session.name": "tapewatch.toml:2",
        "session.status_every_s": "TAPEWATCH_SESSION__STATUS_EVERY_S",
        "session.duration_s": "--duration",
    }


def test_a_file_of_choice_replaces_the_project_file() -> None:
    project("[session]\nname = 'project'\n")
    pathlib.Path("other.toml").write_text("[session]\ndir = 'x'\n")
    config = load(environment={}, file=pathlib.Path("other.toml")).config
    assert (config.session.dir, config.session.name) == ("x", "")


def test_test_mode_ends_after_two_minutes_unless_told_otherwise() -> None:
    assert loaded({"TEST_MODE": "1"}).config.session.lasts_s == 120.0
    assert loaded({"TEST_MODE": "1", "DURATION": "60"}).config.session.lasts_s == 60.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "# one\n[detector.zscore]\nz_score_threshold = 0.8\n",
            "tapewatch.toml:3: detector.zscore.z_score_threshold = 0.8 is below the locked minimum",
        ),
        (
            "[session]\n\nnmae = 'x'\n",
            'tapewatch.toml:3: session: unknown key "nmae", did you mean "name"?',
        ),
        (
            "[sink.terminal]\nbel = true\n",
            'tapewatch.toml:2: sink.terminal: unknown key "bel", did you mean "bell"?',
        ),
        (
            "[sesion]\nname = 'x'\n",
            'tapewatch.toml:2: unknown key "sesion", did you mean "session"?',
        ),
        (
            "[detector.zscor]\n",
            'tapewatch.toml:1: unknown detector "zscor", did you mean "zscore"?',
        ),
        (
            "gate.cooldown_s = 'soon'\n",
            "tapewatch.toml:1: gate.cooldown_s: not a duration: 'soon'; write 90s, 15m or 4h",
        ),
        (
            "[gate]\nsample_rate = [1]\n",
            "tapewatch.toml:2: gate.sample_rate = [1]: expected int, got array",
        ),
        (
            "[session]\nduration_s = -1\n",
            "tapewatch.toml:2: session.duration_s = -1: expected float >= 0.0",
        ),
        (
            "[source.kraken]\nprotocol = 'v2'\n",
            "tapewatch.toml:2: source.kraken.symbols is missing",
        ),
        (
            "[source.kraken]\nsymbols = ['BTCUSD']\n",
            'tapewatch.toml:2: Kraken has no pair "BTCUSD". Did you mean kraken:BTC/USD?',
        ),
        ("session = 3\n", "tapewatch.toml:1: write a table [session]"),
        (
            "[session]\nstatus_every_s = 0.5\n",
            "tapewatch.toml:2: session.status_every_s = 0.5 is below 1; 0 switches it off",
        ),
        ("gate.sample_rate = 0\n", "tapewatch.toml:1: gate.sample_rate = 0: expected int >= 1"),
        ("gate.quiet_s = 0\n", "tapewatch.toml:1: gate.quiet_s = 0: expected float > 0.0"),
        ("gate.cooldown_s = -1\n", "tapewatch.toml:1: gate.cooldown_s = -1: expected float >= 0"),
        ("gate.worse = nan\n", "tapewatch.toml:1: gate.worse = nan: no finite number"),
        (
            "[gate.lines]\nzscore = inf\n",
            "tapewatch.toml:2: gate.lines.zscore = inf: no finite number",
        ),
        (
            "[detector.zscore]\nz_score_threshold = inf\n",
            "tapewatch.toml:2: detector.zscore.z_score_threshold = inf",
        ),
        (
            "[source.kraken]\nsymbols = ['BTC/USD']\nattempts_window_s = inf\n",
            "tapewatch.toml:3: source.kraken.attempts_window_s = inf: no finite number",
        ),
        (
            "[source.kraken]\nsymbols = ['BTC/USD']\n[source.kraken.deadlines]\nping_s = 0\n",
            "tapewatch.toml:4: source.kraken.deadlines.ping_s = 0: expected float >= 1.0",
        ),
        (
            "[source.kraken]\nsymbols = ['BTC/USD']\nrest_url = 'foo'\n",
            'tapewatch.toml:3: source.kraken.rest_url = "foo" is no address; write http://host or',
        ),
        ("[detector]\nzscore = 3\n", "tapewatch.toml:2: write a table [detector.zscore]"),
        (
            "[gate.lines]\npric_jump = 4\n",
            'tapewatch.toml:2: gate.lines: no detector "pric_jump" runs, did you mean',
        ),
    ],
)
def test_errors_say_where_and_what(text: str, said: str) -> None:
    assert complaint(text).startswith(said)


def test_a_file_that_is_no_toml() -> None:
    assert complaint("[session\n").startswith("tapewatch.toml:1: ")
    pathlib.Path("tapewatch.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"tapewatch\.toml: is not UTF-8 text"):
        loaded()


def test_an_error_in_the_environment_names_the_variable() -> None:
    environment = {"TAPEWATCH_GATE__COOLDWN_S": "5"}
    said = 'TAPEWATCH_GATE__COOLDWN_S: gate: unknown key "cooldwn_s", did you mean "cooldown_s"?'
    assert complaint("", environment) == said
    assert complaint("", {"DURATION": "soon"}).startswith("DURATION: session.duration_s: not a")


def test_lists_and_numbers_from_texts() -> None:
    environment = {
        "TAPEWATCH_SOURCE__KRAKEN__SYMBOLS": "btc/usd, XBT/EUR",
        "TAPEWATCH_SOURCE__KRAKEN__BOOKS": "true",
        "TAPEWATCH_GATE__LINES__PRICE_JUMP": "4.5",
    }
    config = loaded(environment).config
    assert config.venues[0].instruments() == ("kraken:BTC/USD", "kraken:BTC/EUR")
    assert config.venues[0].books
    assert config.gate.lines == {"price_jump": 4.5}


def test_a_detector_can_be_switched_off() -> None:
    project("[detector.zscore]\nenabled = false\n")
    assert "zscore" not in [detector.name for detector in loaded().config.detectors]


@pytest.mark.parametrize("name", S1_NAMES)
def test_every_old_name_is_understood_and_told_once(name: str) -> None:
    found = loaded({name: VALUES.get(name, "60")})
    assert [note for note in found.notes if name in note.split()] == list(found.notes)
    assert len(found.notes) == 1
    if name in ABSENT:
        assert found.notes[0] == f"{name} is set but {ABSENT[name]} is not part of this version"
        assert found.origins == {}
    else:
        assert name in found.origins.values()


def test_old_names_are_the_documented_ones() -> None:
    assert {*ALIASES, *ABSENT, SESSION_DIR} == set(S1_NAMES)


def test_what_old_names_do() -> None:
    found = loaded({**VALUES, "RAW_LOG": "x/raw.ndjson"})
    config = found.config
    assert config.venues[0].symbols == ("ETH/USD",)
    assert (config.session.dir, config.session.name) == ("logs", "session_1763870312")
    assert config.session.status_every_s == 15.0
    assert config.sink.files.raw == str(pathlib.Path("x/raw.ndjson").absolute())
    driftlock = next(one for one in config.detectors if one.name == "driftlock")
    assert (driftlock.baseline_lines, driftlock.algo) == (200, "gzip")


def test_our_names_win_over_old_ones_and_empty_ones_do_not_count() -> None:
    both = {"DURATION": "5", "TAPEWATCH_SESSION__DURATION_S": "6", "TEST_MODE": ""}
    assert loaded(both).config.session.duration_s == 6.0
    assert settings_of({"TAPEWATCH_DATA": "x", "PATH": "y"}) == ([], [])


def test_the_recorded_configuration_comes_back() -> None:
    project(
        "[source.kraken]\nsymbols=['ETH/USD']\n[detector.feed]\nenabled=false\n[gate]\nworse=0.5\n"
    )
    config = loaded().config
    plain = effective(config)
    again = restore(plain)
    assert effective(again) == plain
    assert config_hash(effective(again)) == config_hash(plain)
    assert [d.name for d in again.detectors] == [d.name for d in config.detectors]
    changed = restore(plain, [set_option("detector.zscore.z_score_threshold=4")])
    assert next(d for d in changed.detectors if d.name == "zscore").z_score_threshold == 4.0


def test_only_what_matters_for_outputs_is_recorded() -> None:
    one, two = loaded().config, loaded({"SESSION_DIR": "a/b"}).config
    assert effective(one) == effective(two)
    assert everything(one) != everything(two)


def test_numbers_that_are_none_are_refused_on_the_command_line() -> None:
    with pytest.raises(ConfigError, match=r"gate\.worse = nan: no finite number"):
        loaded(None, set_option("gate.worse=nan"))
    assert loaded(None, set_option("gate.worse=-1")).config.gate.worse == -1.0


def test_set_needs_a_key_and_a_value() -> None:
    for text in ("x", "=4", ""):
        with pytest.raises(ConfigError, match="--set"):
            set_option(text)


def test_what_config_init_writes_is_the_default() -> None:
    project(settings_text.template())
    found = loaded()
    assert found.config.venues[0].symbols == ("BTC/USD",)
    assert everything(found.config) == everything(loaded({"KRAKEN_PAIR": "BTC/USD"}).config)
    commented = [line[2:] for line in settings_text.template().splitlines() if " = " in line]
    assert "duration_s = 0.0" in commented


def test_every_commented_setting_can_be_uncommented() -> None:
    text = settings_text.template()
    known = {
        line.split(" = ")[0] for line in settings_text.toml(everything(loaded().config)).split("\n")
    }
    lines = [
        line[2:] if line[:2] == "# " and line[2:].split(" = ")[0] in known else line
        for line in text.splitlines()
    ]
    project("\n".join(lines))
    assert everything(loaded().config)["session"] == everything(assemble([])[0])["session"]


def test_shown_settings_can_be_read_again() -> None:
    plain = everything(loaded({"KRAKEN_PAIR": "BTC/USD"}).config)
    project(settings_text.toml(plain, {"session.dir": "here"}))
    assert "# here" in pathlib.Path("tapewatch.toml").read_text()
    assert everything(loaded().config) == plain


def test_line_numbers() -> None:
    project('a.b = 1\n\n[x."y"]  # c\n"z" = 2\n[[list]]\nq = 3\n')
    found = {setting.path: setting.origin for setting in read_file(pathlib.Path("tapewatch.toml"))}
    assert found[("a", "b")] == "tapewatch.toml:1"
    assert found[("x", "y", "z")] == "tapewatch.toml:4"


def test_plug_ins_are_listed_and_unknown_ones_refused() -> None:
    names = {(plugin.kind, plugin.name) for plugin in registry.plugins()}
    assert {("source", "kraken"), ("source", "ndjson"), ("detector", "zscore")} <= names
    assert all(plugin.about for plugin in registry.plugins() if not plugin.trouble)
    with pytest.raises(ConfigError, match='unknown source "krakn", did you mean "kraken"'):
        registry.load("source", "krakn")
