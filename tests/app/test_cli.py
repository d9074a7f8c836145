"""The command line as its users meet it: texts, exit codes, streams, colours."""

import gzip
import io
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import click
import pytest

from tapewatch.app.cli import main as command_line
from tapewatch.app.cli import output
from tapewatch.app.cli.main import COMMANDS, tapewatch
from tapewatch.app.config import assemble, effective
from tapewatch.app.environment import ABSENT, ALIASES, Setting
from tapewatch.io.tape_file import TapeFile
from tapewatch.model.errors import ConfigError, Refused, Retryable
from tapewatch.model.inputs import Frame

COVERAGE: Final = ("COVERAGE_PROCESS_START", "COVERAGE_FILE")


class Done(NamedTuple):
    """What one command wrote."""

    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """`tapewatch ...` in an empty folder and home; `code` is what it must end with."""
    monkeypatch.chdir(tmp_path)
    for name in (*ALIASES, *ABSENT, "XDG_CONFIG_HOME", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))

    def running(*args: str, code: int = 0, **environment: str) -> Done:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                command_line.main(args)
        done = Done(*capsys.readouterr())
        assert (ended.value.code or 0) == code, done.stderr
        return done

    return running


def process(tmp_path: pathlib.Path, *args: str, **environment: str) -> str:
    """Standard output of `python ...` as a process of its own."""
    kept = {name: os.environ[name] for name in ("PATH", *COVERAGE) if name in os.environ}
    done = subprocess.run(
        [sys.executable, *args],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "LC_ALL": "C.UTF-8", **kept, **environment},
        capture_output=True,
        timeout=60,
        check=True,
    )
    return done.stdout.decode("latin-1")


def words(done: Done) -> list[str]:
    """Standard error without the usage line."""
    return [line for line in done.stderr.splitlines() if not line.startswith("Usage:")]


def test_help_names_commands_and_exit_codes(run: Run) -> None:
    text = run("--help").stdout
    for name in COMMANDS:
        assert f"\n  {name} " in text
    for code in ("0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "69 ", "130 "):
        assert f"\n    {code}" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_help_imports_nothing_heavy(tmp_path: pathlib.Path) -> None:
    program = (
        "import sys\nfrom tapewatch.app.cli.main import tapewatch\n"
        "try:\n    tapewatch(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'msgspec', 'rich', 'aiohttp', 'websockets', 'asyncio', 'structlog',"
        " 'zstandard', 'sqlite3'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_loads_and_the_help_says_what_it_says() -> None:
    context = click.Context(tapewatch)
    for name in COMMANDS:
        command = tapewatch.get_command(context, name)
        assert command is not None, name
        assert command.help, name
        assert {"--quiet", "--verbose"} <= {opt for param in command.params for opt in param.opts}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("wach",), 'There is no command "wach", did you mean "watch"? [2]'),
        (("version", "--jsn"), "No such option '--jsn'. Did you mean '--json'? [2]"),
        (("config", "chek"), "No such command 'chek'."),
        (("completion", "tcsh"), "Invalid value for"),
        (
            ("watch", "kraken:BTCUSD"),
            'Kraken has no pair "BTCUSD". Did you mean kraken:BTC/USD? [2]',
        ),
        (("watch",), "nothing to watch; name a market, for example kraken:BTC/USD. [2]"),
        (("\x1b[2J",), 'There is no command "·[2J". [2]'),
    ],
)
def test_usage_errors(run: Run, args: tuple[str, ...], said: str) -> None:
    done = run(*args, code=2)
    assert words(done)[-1].startswith(said), done.stderr
    assert done.stdout == ""


def test_settings_errors_to_the_word(run: Run, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "tapewatch.toml"
    file.write_text("\n" * 12 + "[detector.zscore]\nz_score_threshold = 0.8\n")
    assert words(run("config", "check", code=2)) == [
        (
            "tapewatch.toml:14: detector.zscore.z_score_threshold = 0.8 is below the locked"
            " minimum 1.0 (PARAMETER_CHANGE_REQUIRES_APPROVAL). [2]"
        )
    ]
    file.write_text("[detector.driftlock]\nthresold = 0.5\n")
    assert words(run("config", "check", code=2)) == [
        (
            'tapewatch.toml:2: detector.driftlock: unknown key "thresold",'
            ' did you mean "threshold"? [2]'
        )
    ]


def test_config_commands(run: Run, tmp_path: pathlib.Path) -> None:
    run("config", "init")
    assert "exists; replace it with --force. [2]" in run("config", "init", code=2).stderr
    assert words(run("config", "check")) == ["Settings are fine: tapewatch.toml."]
    assert 'symbols = ["BTC/USD"]  # tapewatch.toml:6' in run("config", "show", "--origin").stdout
    shown = json.loads(run("config", "show", "--json", "--origin").stdout)
    assert shown["schema"] == "tapewatch.config/1"
    assert shown["settings"]["source"]["kraken"]["symbols"] == ["BTC/USD"]
    schema = json.loads(run("config", "schema").stdout)
    assert "Kraken" in schema["$defs"]
    assert words(run("config", "check", "other.toml", code=2))[0].startswith(
        "other.toml: cannot be"
    )


def test_old_names_are_noted_on_standard_error_only(run: Run) -> None:
    done = run("config", "show", KRAKEN_PAIR="ETH/USD", SCREEN_RESOLUTION="1x1")
    assert words(done) == [
        (
            "note: KRAKEN_PAIR is set; it is an old name of source.kraken.symbols"
            " (TAPEWATCH_SOURCE__KRAKEN__SYMBOLS)."
        ),
        "note: SCREEN_RESOLUTION is set but screen recording is not part of this version.",
    ]
    assert run("-q", "config", "show", KRAKEN_PAIR="ETH/USD").stderr == ""
    assert run("config", "show", "-q", KRAKEN_PAIR="ETH/USD").stderr == ""


def test_the_kill_switch(run: Run, tmp_path: pathlib.Path) -> None:
    assert run("killswitch", "status").stdout == "off\n"
    assert "The kill switch is on" in run("killswitch", "on", "--reason", "a\x1b[2Jb").stderr
    assert "on since 20" in run("killswitch", "status").stdout
    assert ": a·[2Jb" in run("killswitch", "status").stdout
    shown = json.loads(run("killswitch", "status", "--json").stdout)
    assert (shown["state"], shown["file"]) == (
        "on", str(tmp_path / ".local/state/tapewatch/killswitch"),
    )  # fmt: skip
    run("killswitch", "off")
    assert run("killswitch", "status").stdout.startswith("off since ")
    (tmp_path / ".local/state/tapewatch/killswitch").write_text("perhaps")
    assert run("killswitch", "status").stdout.startswith("unknown: the file cannot be read, which")


def test_import_and_session(run: Run, tmp_path: pathlib.Path) -> None:
    rows = "".join(f"{1_561_939_203 + i},10{i},1\n" for i in range(5))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"ts,price,qty\nx,1,1\n" + rows.encode()))
    (tmp_path / "logs/session_7/tape").mkdir(parents=True)
    tape = "logs/session_7/tape/000001.tape"
    command = ("import", "trades", "a.csv.gz", "--instrument", "kraken:BTC/USD", "-o", tape)
    assert words(run(*command))[:2] == [
        "a.csv.gz:2: not a time: x",
        f"{tape}: 5 rows of 4.0 s since 2019-07-01T00:00:03Z, 1 left out, 5 timers",
    ]
    assert "exists; replace it with --force. [2]" in run(*command, code=2).stderr
    line = json.loads(run(*command, "--force", "--json").stdout)
    assert (line["schema"], line["rows"], line["bad"]) == ("tapewatch.import/1", 5, 1)

    assert (
        run("session", "list").stdout.splitlines()[1].startswith("session_7  2019-07-01T00:00:03Z")
    )
    assert json.loads(run("session", "list", "--json").stdout)["name"] == "session_7"
    assert "10 inputs since 2019-07-01T00:00:03Z" in run("session", "show").stdout
    assert "session_7: chain ok, 10 records" in run("session", "verify", "last").stdout
    trades = run("session", "export", "last", "--what", "trades").stdout.splitlines()
    assert [json.loads(trade)["price"] for trade in trades] == [100, 101, 102, 103, 104]
    assert "session_7.tape written" in run("session", "export").stderr

    data = bytearray((tmp_path / tape).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / tape).write_bytes(data)
    assert "problems" in run("session", "verify", code=5).stdout
    assert not json.loads(run("session", "verify", "--json", code=5).stdout)["ok"]


def test_import_says_what_it_cannot(run: Run, tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    for args, said in (
        (("books", "a.csv", "--instrument", "kraken:BTC/USD"), "a.csv has no column that looks"),
        (("trades", "a.csv", "--instrument", "BTC"), '"BTC" is not a market id'),
        (("trades", "a.csv", "--instrument", "kraken:BTC/USD"), "a.csv has no column that looks"),
    ):
        assert said in run("import", *args, "-o", "x.tape", code=2).stderr
    assert not (tmp_path / "x.tape").exists()


def test_no_session_yet(run: Run) -> None:
    assert run("session", "list").stdout == ""
    assert words(run("session", "show", code=2)) == [
        "There is no session in logs. Try: tapewatch demo. [2]"
    ]


def test_doctor_without_network(run: Run) -> None:
    found = [json.loads(line) for line in run("doctor", "--offline", "--json").stdout.splitlines()]
    fine = {check["name"] for check in found if check["state"] == "ok"}
    assert fine >= {"python", "libraries", "folder", "killswitch", "clock"}


def test_doctor_with_a_venue_that_is_not_there(run: Run) -> None:
    nowhere = {
        "TAPEWATCH_SOURCE__KRAKEN__SYMBOLS": "BTC/USD",
        "TAPEWATCH_SOURCE__KRAKEN__URL": "ws://127.0.0.1:9/",
    }
    done = run("doctor", code=69, **nowhere)
    assert "✗ network      Cannot reach 127.0.0.1:9 (connection refused)." in done.stdout


def test_version_plugins_and_completion(run: Run) -> None:
    assert json.loads(run("version", "--json").stdout)["schema"] == "tapewatch.version/1"
    assert run("--version").stdout.startswith("tapewatch, version ")
    names = [json.loads(line)["name"] for line in run("plugins", "--json").stdout.splitlines()]
    assert {"kraken", "ndjson", "driftlock", "feed", "staleness", "zscore"} <= set(names)
    assert "\x1b" not in run("plugins", FORCE_COLOR="1").stdout
    for shell in ("zsh", "fish"):
        assert "_TAPEWATCH_COMPLETE" in run("completion", shell).stdout
    words = {"COMP_WORDS": "tapewatch kill", "COMP_CWORD": "kill"}
    assert "killswitch" in run(_TAPEWATCH_COMPLETE="fish_complete", **words).stdout


def test_only_ascii_where_the_terminal_has_no_more(tmp_path: pathlib.Path) -> None:
    command = ("-m", "tapewatch", "doctor", "--offline")
    shown = process(tmp_path, *command, PYTHONIOENCODING="latin-1")
    assert shown.isascii()
    assert "+ python" in shown


@pytest.mark.parametrize(
    ("mode", "environment", "tty", "expected"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ("auto", {"TERM": "dumb"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_when_there_are_colours(
    monkeypatch: pytest.MonkeyPatch,
    mode: Any,
    environment: dict[str, str],
    tty: bool,  # noqa: FBT001  a parameter of pytest
    expected: bool,  # noqa: FBT001
) -> None:

    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return tty

    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert output.colored(mode, Stream()) is expected


Fail = Callable[[BaseException], None]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Make every command fail in a chosen way."""

    def arrange(error: BaseException) -> None:
        @click.command()
        def broken() -> None:
            """Fails."""
            raise error

        monkeypatch.setattr(tapewatch, "get_command", lambda *_: broken)

    return arrange


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("no such thing", "--x"), 2, "--x: no such thing. [2]"),
        (Retryable("Cannot reach x. Try: this."), 69, "Cannot reach x. Try: this. [69]"),
        (ExceptionGroup("a", [ExceptionGroup("b", [Refused("No")])]), 2, "No. [2]"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_we_expect(
    run: Run, failing: Fail, error: BaseException, code: int, said: str
) -> None:
    failing(error)
    assert run("version", code=code).stderr.strip() == said


def test_a_crash_keeps_its_traceback_in_a_file(
    run: Run, failing: Fail, tmp_path: pathlib.Path
) -> None:
    failing(ZeroDivisionError("\x1b[2J"))
    done = run("version", code=1)
    (file,) = tmp_path.glob("crash-*.txt")
    assert done.stderr.splitlines() == [
        "tapewatch failed, and that is a mistake of ours. ZeroDivisionError: ·[2J [1]",
        f"The details are in {file}; please send them to us.",
        "What was recorded is safe: tapewatch session verify last proves it.",
    ]
    assert "Traceback" in file.read_text()
    assert "Traceback" in run("-v", "version", code=1).stderr


@pytest.mark.parametrize("device", ["/dev/full", ""])
def test_an_output_that_takes_nothing(tmp_path: pathlib.Path, device: str) -> None:
    rows = "".join(
        f'{{"trade":{{"instrument":"kraken:BTC/USD","ts_event":{at},"price":1.0,"size":1.0,'
        f'"trade_id":"{at}"}}}}\n'
        for at in range(1_763_870_312_000_000_000, 1_763_870_312_000_000_400)
    )
    folder = tmp_path / "s" / "tape"
    folder.mkdir(parents=True)
    config, _ = assemble([Setting(("source", "ndjson", "ids"), ["kraken:BTC/USD"], "test")])
    with TapeFile(folder / "000001.tape", config=effective(config), version="0") as tape:
        for number, row in enumerate(rows.splitlines()):
            tape.append(Frame(1_763_870_312_000_000_000 + number, "ndjson", row.encode()))
    reader, gone = os.pipe()
    os.close(reader)
    out = os.open(device, os.O_WRONLY) if device else gone
    for words in (
        ("session", "export", str(tmp_path / "s"), "--what", "trades"),
        ("session", "export", str(tmp_path / "s"), "--what", "trades", "--format", "csv"),
        ("replay", str(tmp_path / "s"), "--json"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "tapewatch", *words], stdout=out, stderr=subprocess.PIPE,
            text=True, timeout=60, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 1
        assert ("cannot be written: No space left on device. [1]" in done.stderr) == bool(device)
        assert "mistake" not in done.stderr
        assert "Exception" not in done.stderr
    for fd in {out, gone}:
        os.close(fd)
