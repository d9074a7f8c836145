"""`scan` takes the place of `driftlock scan`, and goes on where that one ends."""

import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Literal

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.app.cli.scan import scan
from tapewatch.app.scan import Scan, followed
from tapewatch.detect.driftlock import Driftlock, LineResult
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError

NORMAL = '{"id": "kraken-1763870504612-0", "price": 87456.5, "qty": 0.00054749}'
ODD = '{"a": "' + "A" * 400 + '"}'
COMMAND = [sys.executable, "-c", "from tapewatch.app.cli.main import main; main()", "scan"]


def scanner(say: Callable[[str], None] = lambda _: None, **options: Any) -> Scan:
    form = options.pop("form", "ndjson")
    return Scan(Driftlock(baseline_lines=3), say, form=form, **{"show_all": True} | options)


def whole(work: Scan, *chunks: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in b"".join(work.outputs(chunks)).splitlines()]


@pytest.mark.parametrize("algo", ["zstd", "gzip"])
@pytest.mark.parametrize("cut", [1 << 20, 1_000])
def test_the_output_is_the_originals_when_lengths_are_given(
    shared_data: pathlib.Path, algo: Literal["zstd", "gzip"], cut: int
) -> None:
    folder = shared_data / "golden" / "driftlock"
    printed = (folder / f"expected.{algo}.ndjson").read_bytes()
    data = (folder / "input.ndjson").read_bytes()
    ratios = iter([json.loads(line)["compression_ratio"] for line in printed.splitlines()])
    work = Scan(Driftlock(algo=algo), pytest.fail, form="ndjson", show_all=True)
    work._length = lambda line: round(next(ratios) * len(line))
    chunks = [data[at : at + cut] for at in range(0, len(data), cut)]
    assert b"".join(work.outputs(chunks)) == printed
    assert (work.window.sequence, work.skipped) == (2_000, 0)


@given(st.data())
def test_it_does_not_matter_where_chunks_are_cut(data: st.DataObject) -> None:
    lines = st.sampled_from([NORMAL, ODD, "", " ", "{", "caf\u00e9", "[1,[2]]", "\r"])
    text = "\n".join(data.draw(st.lists(lines, max_size=8))).encode()
    form = data.draw(st.sampled_from(["raw", "ndjson", "json"]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    said: list[str] = []
    together = whole(scanner(said.append, form=form), text)
    said_together, said[:] = said[:], []
    assert whole(scanner(said.append, form=form), *pieces) == together
    assert said == said_together


def test_a_malformed_line_is_told_counted_and_left_out() -> None:
    said: list[str] = []
    work = scanner(said.append)
    found = whole(
        work, f'{NORMAL}\n{{"a":\x1b[2J\n{NORMAL}\n1e400\n{NORMAL}\ncaf'.encode() + b"\xe9"
    )
    assert [one["sequence"] for one in found] == [1, 2, 3]
    assert said[0].startswith("line 2: not JSON: ")
    assert said[1] == "line 4: a number beyond float64; left out"
    assert said[2] == "line 6: not UTF-8 (byte 4); left out"
    assert "\x1b" not in "".join(said)
    assert work.summary().startswith("3 lines could not be read and left out.")


def test_only_so_many_problems_are_told() -> None:
    said: list[str] = []
    work = scanner(said.append)
    whole(work, b"{\n" * 500)
    assert work.skipped == 500
    assert len(said) == limits.SCAN_PROBLEMS + 1
    assert said[-1] == "more such lines are counted, but not shown"


def test_blank_lines_have_no_number_in_ndjson_and_one_in_raw() -> None:
    text = f"\n{NORMAL}\n \t\r\n\n{NORMAL}\r\n".encode()
    assert [one["sequence"] for one in whole(scanner(), text)] == [1, 2]
    lines = [one["line"] for one in whole(scanner(form="raw"), text)]
    assert lines == ["", NORMAL, " \t", "", NORMAL]


def test_raw_lines_are_taken_as_they_are() -> None:
    found = whole(scanner(form="raw"), b'{"b": 1}\nab\x00\xff\xfe\r\r\n<&>')
    assert [one["line"] for one in found] == ['{"b": 1}', "ab\x00\ufffd\ufffd", "<&>"]


@pytest.mark.parametrize("form", ["raw", "ndjson"])
def test_a_line_without_end_does_not_fill_the_memory(form: str) -> None:
    said: list[str] = []
    work = scanner(said.append, form=form)
    found = whole(work, *[b"x" * 100_000] * 50, b"\n" + NORMAL.encode() + b"\n", b"y" * 1_500_000)
    assert [one["sequence"] for one in found] == [1]
    assert said == [f"line {n}: longer than 1,048,576 bytes; left out" for n in (1, 3)]
    said.clear()
    assert whole(scanner(said.append, form=form), b"x" * 1_500_000 + b"\n") == []
    assert said == ["line 1: longer than 1,048,576 bytes; left out"]


def values(text: str | bytes, say: Callable[[str], None] = pytest.fail) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    return [one["line"] for one in whole(scanner(say, form="json"), data)]


def test_a_json_document_is_one_array_or_values() -> None:
    assert values('[{"b": 1, "a": [2]}, 3, []]') == ['{"a":[2],"b":1}', "3", "[]"]
    assert values(' {"a":\n1}{"b":2}\n\n[1, 2] null ') == ['{"a":1}', '{"b":2}', "[1,2]", "null"]
    assert values("[1][2]") == ["[1]", "[2]"]
    assert values(" \n ") == []


def test_a_malformed_json_value_is_left_out() -> None:
    said: list[str] = []
    assert values('{"a":1}\n{"b":\n}\n{"c":3} x\n{"d":1e999}\n[4]', said.append) == [
        '{"a":1}', '{"c":3}', "[4]",
    ]  # fmt: skip
    assert [text.partition(":")[0] for text in said] == ["line 3", "line 4", "line 5"]
    said.clear()
    assert values("[" * 100_000, said.append) == []
    assert said == ["line 1: nested too deeply; left out"]
    said.clear()
    assert values(b'{"a":"\xff"}', said.append) == []
    assert said == ["line 1: not UTF-8 (byte 7); left out"]
    said.clear()
    assert values("{\n" * 1_000, said.append) == []
    assert len(said) == limits.SCAN_PROBLEMS + 1


def test_a_huge_json_document_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "JSON_BYTES", 1 << 20)
    with pytest.raises(ConfigError, match="more than 1 MiB of JSON"):
        scanner(form="json").feed(b" " * ((1 << 20) + 1))


def test_anomalies_only_unless_all_are_wanted() -> None:
    text = "\n".join([*[NORMAL] * 4, ODD, NORMAL]).encode()
    work = scanner(show_all=False)
    (found,) = whole(work, text)
    assert (found["sequence"], found["is_anomaly"], work.anomalies) == (5, True, 1)
    assert list(found) == list(LineResult.__struct_fields__)
    assert work.summary() == ""


def test_pretty_lines_are_safe_to_print() -> None:
    text = "\n".join([*['"\x9b31m normal text"'] * 4, '"\u202e' + "A" * 400 + '"']).encode()
    work = scanner(pretty=True)
    lines = b"".join(work.outputs([text])).decode().splitlines()
    assert lines[0].startswith("[OK] #1 score=0.00 entropy=")
    assert lines[0].endswith(' :: "·31m normal text"')
    assert lines[-1].startswith("[ALERT] #5 score=0.")
    assert lines[-1].endswith("A…")


def test_a_baseline_that_was_never_full_is_said() -> None:
    work = scanner()
    whole(work, NORMAL.encode())
    assert work.summary() == "Nothing was judged: the baseline takes 3, and 1 line came."


def run(*args: str, text: str | bytes | None = None) -> Result:
    return CliRunner().invoke(scan, ["--format", "ndjson", "--baseline-lines", "3", *args], text)


TEXT = "\n".join([*[NORMAL] * 4, ODD, NORMAL, ""])


def test_files_and_standard_input(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log.ndjson"
    path.write_text(TEXT)
    found = run(str(path))
    assert (found.exit_code, json.loads(found.stdout)["sequence"]) == (0, 5)
    for args in (["-"], [], ["--stdin"], ["--stdin", str(tmp_path / "none")]):
        assert run(*args, text=TEXT).stdout == found.stdout
    assert found.stderr == ""


def test_flags_reach_their_place(tmp_path: pathlib.Path) -> None:
    assert len(run("--show-all", text=TEXT).stdout.splitlines()) == 6
    assert len(run("--threshold", "0.0001", "--show-all", text=TEXT).stdout.splitlines()) == 6
    assert run("--min-line-length", "1000", text=TEXT).stdout == ""
    assert run("--threshold", "1", text=TEXT).stdout == ""
    assert run("--output", "pretty", text=TEXT).stdout.startswith("[ALERT] #5 ")
    ratio = {
        algo: json.loads(run("--algo", algo, text=TEXT).stdout)["compression_ratio"]
        for algo in ("zstd", "gzip")
    }
    assert ratio["zstd"] != ratio["gzip"]
    assert "Nothing was judged" in run("--baseline-lines", "6", text=TEXT).stderr


def test_exit_code_and_bell() -> None:
    assert run("--exit-code", text=TEXT).exit_code == 4
    assert run("--exit-code", text=NORMAL).exit_code == 0
    assert run("--audio", text=TEXT).stderr == "\a"
    assert "\a" not in run("--audio", "--show-all", text=NORMAL).stderr


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["--follow", "--format", "json", "-"], "a JSON document ends"),
        (["--threshold", "nan", "-"], "--threshold: nan is not between 0 and 1"),
        (["--threshold", "0", "-"], "--threshold: 0 is not between 0 and 1"),
        (["no such file"], "cannot read no such file: No such file or directory"),
        (["."], "cannot read .: Is a directory"),
    ],
)
def test_wrong_usage_is_told(args: list[str], why: str) -> None:
    error = run(*args).exception
    assert isinstance(error, ConfigError)
    assert error.exit_code == 2
    assert why in str(error)


@pytest.mark.parametrize(
    "args", [["--format", "xml"], ["--algo", "entropy"], ["--baseline-lines", "0"], ["a", "b"]]
)
def test_unknown_values_are_usage_errors(args: list[str]) -> None:
    assert run(*args).exit_code == 2


class Steps:
    """What happens to a followed file, one step each time its reader waits."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps = iter(steps)

    def __call__(self) -> bool:
        for step in self.steps:
            step()
            return True
        return False


def follow(path: pathlib.Path, *steps: Callable[[], object]) -> bytes:
    with path.open("rb") as file:
        return b"".join(followed(file, path, Steps(*steps)))


def appender(path: pathlib.Path) -> Callable[[str], Callable[[], object]]:
    def append(text: str) -> Callable[[], object]:
        def step() -> None:
            with path.open("a") as file:
                file.write(text)

        return step

    return append


@pytest.fixture
def log(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "log"
    path.write_text("one\ntw")
    return path


def test_appended_lines_are_read_and_parts_of_lines_wait(log: pathlib.Path) -> None:
    append = appender(log)
    assert follow(log, append("o\nth"), lambda: None, append("ree\n")) == b"one\ntwo\nthree\n"
    log.write_text(NORMAL[:20])
    with log.open("rb") as file:
        chunks = followed(file, log, Steps(append(NORMAL[20:]), append("\n")))
        work = scanner(pytest.fail)
        assert [bool(work.feed(chunk)) for chunk in chunks] == [False, False, True]


def test_rotation_is_followed_and_the_old_file_read_to_its_end(log: pathlib.Path) -> None:
    append, old = appender(log), log.with_suffix(".1")
    late = appender(old)

    def rotate() -> None:
        log.rename(old)
        late("o\nlast without end")()

    assert follow(log, rotate, append("new\n")) == b"one\ntwo\nlast without end\nnew\n"


def test_a_file_that_is_gone_for_a_while_is_waited_for(log: pathlib.Path) -> None:
    append = appender(log)
    assert follow(log, log.unlink, lambda: None, append("new\n")) == b"one\ntw\nnew\n"


def test_a_truncated_file_is_read_from_its_beginning(log: pathlib.Path) -> None:
    def truncate() -> None:
        log.write_text("a\n")

    assert follow(log, truncate, appender(log)("b\n")) == b"one\ntw\na\nb\n"


def test_an_unfinished_line_is_mentioned_at_the_end() -> None:
    work = scanner()
    work.feed(NORMAL.encode())
    assert work.summary().startswith("The last line has no end yet and was left out.")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_in_order(tmp_path: pathlib.Path, number: signal.Signals) -> None:
    path = tmp_path / "log"
    path.write_text(NORMAL + "\n" + NORMAL[:9])
    command = [*COMMAND, "--follow", "--show-all", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b'{"sequence":1,')
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"")
    assert err == (
        b"The last line has no end yet and was left out."
        b" Nothing was judged: the baseline takes 400, and 1 line came.\n"
    )


def test_it_ends_quietly_when_nobody_reads_any_more(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log"
    path.write_text((NORMAL + "\n") * 20_000)
    reader, writer = os.pipe()
    command = [*COMMAND, "--show-all", "--baseline-lines", "3", str(path)]
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        assert os.read(reader, 10)
        os.close(reader)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")


def test_a_pipe_on_standard_input_ends_with_its_writer() -> None:
    done = subprocess.run(
        [*COMMAND, "--stdin", "--follow", "--show-all"], input=(NORMAL + "\n").encode(),
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.startswith(b'{"sequence":1,')


def test_a_terminal_is_not_read_by_mistake() -> None:
    ours, theirs = os.openpty()
    done = subprocess.run(COMMAND, stdin=theirs, capture_output=True, timeout=60, check=False)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2
    assert b"nothing to read: name a file, or pipe lines into it" in done.stderr
