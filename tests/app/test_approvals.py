"""Approvals of locked settings: given, looked up, ended, and never believed when tampered with."""

import json
import pathlib
import threading
from typing import Any

import pytest

from tapewatch.app.approvals import Approvals, refuse_claims, with_approvals
from tapewatch.app.cli.approve import approve
from tapewatch.app.config import assemble, effective, restore
from tapewatch.app.environment import Setting
from tapewatch.model.errors import ConfigError
from tapewatch.model.time import NS_PER_S

THRESHOLD = "detector.zscore.z_score_threshold"
NOW = 1_763_700_000 * NS_PER_S


@pytest.fixture
def record(tmp_path: pathlib.Path) -> Approvals:
    return Approvals(tmp_path / "state" / "approvals.ndjson")


def given(record: Approvals, value: float = 0.8, **more: Any) -> str:
    said = {"by": "A. Person", "reason": "a drill", "now_ns": NOW} | more
    return record.approve(THRESHOLD, value, **said).id


def said(value: Any, path: str = THRESHOLD) -> list[Setting]:
    return [Setting(tuple(path.split(".")), value, "tapewatch.toml:3")]


def loaded(settings: list[Setting], record: Approvals, now_ns: int = NOW) -> Any:
    found, notes = with_approvals(settings, record, now_ns)
    config, _ = assemble(found)
    return config, notes


def test_without_an_approval_it_is_refused(record: Approvals) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(said(0.8), record)
    assert str(refused.value) == (
        "tapewatch.toml:3: detector.zscore.z_score_threshold = 0.8 is below the locked minimum 1.0"
        " (PARAMETER_CHANGE_REQUIRES_APPROVAL)"
    )
    assert not record.path.exists()  # looking leaves nothing behind


@pytest.mark.parametrize("value", [0.8, "0.8"])
def test_an_approval_allows_it_and_stands_on_the_tape(record: Approvals, value: Any) -> None:
    id_ = given(record)
    config, notes = loaded(said(value), record)
    assert notes == [
        f"{THRESHOLD} = 0.8 is below its minimum 1, allowed by A. Person (approval {id_})"
    ]
    plain = effective(config)
    assert list(plain["detector"]["zscore"]["approvals"]) == [f"z_score_threshold=0.8#{id_}"]
    assert effective(restore(plain)) == plain  # a replay needs no record


def test_it_allows_no_other_value_and_no_other_setting(record: Approvals) -> None:
    given(record)
    for settings in (said(0.7), said(200, "detector.zscore.baseline_window_s")):
        with pytest.raises(ConfigError, match="PARAMETER_CHANGE_REQUIRES_APPROVAL"):
            loaded(settings, record)
    window = "detector.zscore.baseline_window_s"
    record.approve(window, 200.0, by="A", reason="b", now_ns=NOW)
    config, notes = loaded([*said(0.8), *said("200s", window)], record)
    assert len(notes) == 2
    assert len(next(d for d in config.detectors if d.name == "zscore").approvals) == 2


def test_the_last_word_counts(record: Approvals) -> None:
    given(record)
    assert loaded([*said(0.8), *said(3.0)], record)[1] == []
    assert len(loaded([*said(0.7), *said(0.8)], record)[1]) == 1


def test_it_expires(record: Approvals) -> None:
    given(record, for_s=60.0)
    assert loaded(said(0.8), record, NOW + 59 * NS_PER_S)[1]
    with pytest.raises(ConfigError, match=r"approval \w{12} expired at 2025-11-21T04:41:00Z"):
        loaded(said(0.8), record, NOW + 60 * NS_PER_S)


def test_it_is_revoked(record: Approvals) -> None:
    one, two = given(record), given(record, reason="another")
    assert one != two
    record.revoke(two, by="B", reason="over", now_ns=NOW + 1)
    assert loaded(said(0.8), record)[1]  # the other one still holds
    record.revoke(one, by="B", reason="over", now_ns=NOW + 2)
    with pytest.raises(ConfigError, match=f"approval {two} revoked at"):
        loaded(said(0.8), record)
    for wrong in (one, "nobody", ""):
        with pytest.raises(ConfigError, match=r"revoked already|there is no approval"):
            record.revoke(wrong, by="B", reason="over", now_ns=NOW)


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (THRESHOLD, 1.0, "needs no approval"),
        (THRESHOLD, 0.0, "makes no sense"),
        (THRESHOLD, -1.0, "makes no sense"),
        (THRESHOLD, float("nan"), "makes no sense"),
        ("detector.zscore.cycle_s", 0.5, "is not locked"),
        ("gate.sample_rate", 0.5, "is not locked"),
    ],
)
def test_what_cannot_be_approved(record: Approvals, path: str, value: float, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        record.approve(path, value, by="A", reason="b", now_ns=NOW)


@pytest.mark.parametrize(("by", "reason"), [("", "b"), ("A", " ")])
def test_it_says_by_whom_and_why(record: Approvals, by: str, reason: str) -> None:
    with pytest.raises(ConfigError, match="by whom it is, and why"):
        given(record, by=by, reason=reason)


def test_settings_cannot_claim_it(record: Approvals) -> None:
    claim = said(["z_score_threshold=0.8#abc"], "detector.zscore.approvals")
    with pytest.raises(ConfigError, match="tapewatch approve alone"):
        loaded([*said(0.8), *claim], record)
    with pytest.raises(ConfigError, match="tapewatch approve alone"):
        refuse_claims(said("z_score_threshold=0.8#abc", "detector.zscore.approvals"))
    refuse_claims(said([], "detector.zscore.approvals"))


def test_a_line_that_was_changed_or_taken_out_shows(record: Approvals) -> None:
    for number in range(3):
        given(record, 0.5 + number / 10)
    whole = record.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    changed = whole.replace(b'"value":0.6', b'"value":0.1')
    for damaged in (changed, lines[0] + lines[2], lines[1] + lines[2], b"{}\n" + whole):
        record.path.write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"does not follow|cannot be read"):
            record.given()
        with pytest.raises(ConfigError, match=r"does not follow|cannot be read"):
            given(record)
        assert record.path.read_bytes() == damaged  # nothing is written after it


def test_what_a_crash_cut_off_was_never_given(record: Approvals) -> None:
    one = given(record)
    whole = record.path.read_bytes()
    given(record, 0.7)
    full = record.path.read_bytes()
    for cut in range(len(whole), len(full)):
        record.path.write_bytes(full[:cut])
        assert [found.id for found in record.given()] == [one]
    two = given(record, 0.6)
    assert [found.id for found in record.given()] == [one, two]


def test_a_record_that_others_may_write_is_not_believed(record: Approvals) -> None:
    given(record)
    assert record.path.stat().st_mode & 0o777 == 0o600
    record.path.chmod(0o622)
    with pytest.raises(ConfigError, match="others may write it"):
        loaded(said(0.8), record)
    assert loaded(said(3.0), record)[1] == []  # nobody needs it here


def test_places_that_are_no_record(tmp_path: pathlib.Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("link", "file/inside"):
        (tmp_path / "file").touch()
        with pytest.raises(ConfigError, match="cannot be"):
            given(Approvals(tmp_path / name))
    assert not (tmp_path / "elsewhere").exists()


def test_two_at_once_lose_nothing(record: Approvals, monkeypatch: pytest.MonkeyPatch) -> None:
    given(record)
    others: list[threading.Thread] = []
    read, done = Approvals._lines, threading.Event()

    def slow(self: Approvals, file: int) -> list[bytes]:
        lines = read(self, file)
        if not others:  # the first has read; now another one comes before it writes
            others.append(threading.Thread(target=lambda: (given(record, 0.6), done.set())))
            others[0].start()
            done.wait(0.3)  # in vain: the other one waits for the lock
        return lines

    monkeypatch.setattr(Approvals, "_lines", slow)
    given(record, 0.7)
    others[0].join(60)
    assert [one.record.value for one in record.given()] == [0.8, 0.7, 0.6]


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[str, str]:
    from tapewatch.app.cli.output import Shell  # noqa: PLC0415

    approve.main(list(args), "approve", obj=Shell(), standalone_mode=False)
    said = capsys.readouterr()
    return said.out, said.err


def test_the_command(record: Approvals, capsys: pytest.CaptureFixture[str]) -> None:
    at = ("--file", str(record.path))
    why = ("--by", "A. Person\x1b[2J", "--reason", "drill")
    out, err = run(capsys, f"{THRESHOLD}=0.8", *why, "--expires", "7d", *at)
    (one,) = record.given()
    assert out == f"{one.id}\n"
    assert "is allowed" in err
    assert one.record.expires_ns - one.record.at_ns == 7 * 86_400 * NS_PER_S
    out, _ = run(capsys, "z_threshold=0.7", *why, "--json", *at)  # bot 4.15's own name
    assert json.loads(out)["path"] == THRESHOLD
    out, _ = run(capsys, "--list", *at)
    assert [line.split()[1] for line in out.splitlines()] == ["valid", "valid"]
    assert "\x1b" not in out
    _, err = run(capsys, "--revoke", one.id, *why, *at)
    assert "is locked again" in err
    out, _ = run(capsys, "--list", "--json", *at)
    assert [json.loads(line)["standing"] for line in out.splitlines()] == ["revoked", "valid"]


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["a=1", "--list"],
        [f"{THRESHOLD}=0.8"],
        [f"{THRESHOLD}=0.8", "--by", "A"],
        [f"{THRESHOLD}=x", "--by", "A", "--reason", "b"],
        ["detector.zscore.baseline_window_s=x", "--by", "A", "--reason", "b"],
        [f"{THRESHOLD}=0.8", "--by", "A", "--reason", "b", "--expires", "0"],
        [THRESHOLD, "--by", "A", "--reason", "b"],
    ],
)
def test_the_command_explains_itself(
    record: Approvals, capsys: pytest.CaptureFixture[str], args: list[str]
) -> None:
    from click import UsageError  # noqa: PLC0415

    with pytest.raises((UsageError, ConfigError)):
        run(capsys, *args, "--file", str(record.path))
    assert not record.path.exists()
