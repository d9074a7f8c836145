"""Pruning a tape: what goes, what must stay, and that what is left is whole and says so."""

from pathlib import Path

import pytest
import tape_samples as samples

from tapewatch.io.tape_check import verify
from tapewatch.io.tape_frames import segment_files
from tapewatch.io.tape_prune import MARK, Old, alone, begins, old_segments, prune, read_mark
from tapewatch.io.tape_read import TapeReader
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError, TapeError
from tapewatch.model.inputs import Timer
from tapewatch.model.time import NS_PER_S

DAY = 86_400 * NS_PER_S
T0 = samples.T0
NOW = T0 + 100 * DAY
ALL = 10**9  # records that the checkpoint covers


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RESERVE_BYTES", 1)


@pytest.fixture
def days(tmp_path: Path) -> Path:
    """Ten segments, each of a day of ten records, and all of it closed."""
    for day in range(10):
        tape = samples.writer(tmp_path, samples.UnsafeDisk())
        for hour in range(10):
            tape.append(Timer(T0 + day * DAY + hour * NS_PER_S))
        tape.close()
    return tmp_path


def old(folder: Path, day: int, covered: int = ALL) -> Old:
    return old_segments(folder, T0 + day * DAY, covered, NOW)


def names(old: Old) -> list[str]:
    return [file.name for file in old.segments]


def numbers(folder: Path) -> list[int]:
    return [record.n for record in TapeReader(folder).records()]


def test_what_is_left_is_whole_and_says_where_it_begins(days: Path) -> None:
    before = verify(days)
    assert (before.first, before.pruned_ns) == (1, 0)
    found = old(days, 4)
    assert names(found) == ["000001.tape", "000002.tape", "000003.tape", "000004.tape"]
    size = sum(file.stat().st_size for file in days.glob("00*"))
    prune(days, found)
    assert sum(file.stat().st_size for file in days.glob("00*")) == size - found.size
    after = verify(days, before.head)
    assert after.problems == ()
    assert (after.first, after.pruned_ns, after.records) == (41, NOW, 60)
    assert begins(days) == (41, T0 + 4 * DAY)
    assert numbers(days) == list(range(41, 101))
    mark = read_mark(days)
    assert mark is not None
    assert (mark.segment, mark.first, mark.until_ns) == (4, 41, T0 + 3 * DAY + 9 * NS_PER_S)


def test_a_pruned_tape_is_gone_on_with_and_pruned_again(days: Path) -> None:
    prune(days, old(days, 4))
    tape = samples.writer(days)
    assert tape.recovered.last == 100
    tape.append(Timer(NOW))
    tape.close()
    assert verify(days).problems == ()
    prune(days, old(days, 6))
    again = verify(days)
    assert (again.problems, again.first, again.records) == ((), 61, 41)


def test_a_segment_goes_as_a_whole_or_stays(days: Path) -> None:
    last = T0 + 2 * DAY + 9 * NS_PER_S
    assert len(old_segments(days, last, ALL, NOW).segments) == 2
    assert len(old_segments(days, last + 1, ALL, NOW).segments) == 3


def test_the_newest_segment_stays(days: Path) -> None:
    assert names(old(days, 1000))[-1] == "000009.tape"


def test_what_a_resume_needs_stays(days: Path) -> None:
    assert old(days, 9, covered=0) == Old((), 0, None, old(days, 9, covered=0).why)
    assert "checkpoint" in old(days, 9, covered=0).why
    assert len(old(days, 9, covered=39).segments) == 3
    assert len(old(days, 9, covered=40).segments) == 4
    assert old(days, 4).why == "", "it is not the checkpoint that keeps the fifth"


def test_segments_without_inputs_go_with_those_after_them(tmp_path: Path) -> None:
    for inputs in ([], [Timer(T0)], [], [Timer(T0 + 5 * DAY)], []):
        tape = samples.writer(tmp_path)
        for item in inputs:
            tape.append(item)
        tape.close()
    assert names(old(tmp_path, 0)) == []
    assert names(old(tmp_path, 1)) == ["000001.tape", "000002.tape"]
    prune(tmp_path, old(tmp_path, 1))
    assert verify(tmp_path).problems == ()
    assert names(old(tmp_path, 9)) == ["000003.tape", "000004.tape"]


@pytest.mark.parametrize("index", ["missing", "cut", "bent"])
def test_without_an_index_the_segment_tells(days: Path, index: str) -> None:
    file = days / "000002.idx"
    text = file.read_bytes()
    if index == "missing":
        file.unlink()
    else:
        file.write_bytes(text[:-300] if index == "cut" else b"no" + text)
    assert len(old(days, 1).segments) == 1
    assert len(old(days, 2).segments) == 2


def test_an_hour_that_came_twice_is_judged_by_its_newest_input(tmp_path: Path) -> None:
    for times in ([5, 6, 1], [2], [3]):
        tape = samples.writer(tmp_path)
        for day in times:
            tape.append(Timer(T0 + day * DAY))
        tape.close()
    assert names(old(tmp_path, 6)) == []
    assert names(old(tmp_path, 7)) == ["000001.tape", "000002.tape"]


def test_torn_bytes_of_pruned_segments_go_with_them(days: Path) -> None:
    aside = days / "quarantine"
    aside.mkdir()
    for name in ("000001.99.torn", "000009.99.torn"):
        (aside / name).write_bytes(b"x")
    prune(days, old(days, 4))
    assert [file.name for file in aside.iterdir()] == ["000009.99.torn"]


class Dying(samples.UnsafeDisk):
    """The process is killed before the removal number `at`."""

    def __init__(self, at: int) -> None:
        self.left = at

    def unlink(self, path: Path) -> None:
        if not self.left:
            raise samples.Crash
        self.left -= 1
        super().unlink(path)


@pytest.mark.parametrize("at", range(8))
def test_a_crash_between_two_removals_leaves_a_tape_that_explains_itself(
    days: Path, at: int
) -> None:
    found = old(days, 4)
    with pytest.raises(samples.Crash):
        prune(days, found, Dying(at))
    left = verify(days)
    assert left.problems == ()
    assert left.first == 1 + 10 * (at // 2)
    assert numbers(days) == list(range(left.first, 101))
    assert left.pruned_ns == (NOW if left.first > 1 else 0)
    samples.writer(days).close()
    prune(days, old(days, 4))
    assert (verify(days).problems, verify(days).first) == ((), 41)


def test_a_beginning_that_is_gone_without_a_word_is_damage(days: Path) -> None:
    prune(days, old(days, 4))
    mark = (days / MARK).read_bytes()
    (days / MARK).unlink()
    assert "segment 1 is missing" in str(verify(days).problems[0])
    (days / MARK).write_bytes(mark)
    (days / "000005.tape").unlink()
    assert "segment 1 is missing" in str(verify(days).problems[0])


def test_a_hole_after_the_beginning_is_damage(days: Path) -> None:
    prune(days, old(days, 4))
    (days / "000007.tape").unlink()
    assert "segment 7 is missing" in [problem.text for problem in verify(days).problems]


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        (b'"first": 41', b'"first": 42', "belongs to another tape"),
        (b'"head": "', b'"head": "0', "damaged"),
        (b'"segment": 4', b'"segment": 3', "segment 1 is missing"),
        (b"{", b"", "damaged"),
        (b'"v"', b'"w"', "damaged"),
    ],
)
def test_a_mark_that_does_not_fit_is_told(
    days: Path, was: bytes, becomes: bytes, told: str
) -> None:
    prune(days, old(days, 4))
    text = (days / MARK).read_bytes()
    assert was in text
    (days / MARK).write_bytes(text.replace(was, becomes))
    assert told in str(verify(days).problems[0])


def test_the_chain_at_the_cut_is_checked(days: Path) -> None:
    """Another tape's segment in the place of the first that is left."""
    prune(days, old(days, 4))
    other = days / "other"
    for day in range(5):
        tape = samples.writer(other)
        for hour in range(10):
            tape.append(Timer(T0 + day * DAY + hour))
        tape.close()
    (other / "000005.tape").replace(days / "000005.tape")
    (days / "000005.idx").unlink()
    told = [problem.text for problem in verify(days).problems]
    assert f"{MARK} belongs to another tape" in told


def test_a_segment_is_no_clip(days: Path) -> None:
    """A lone segment begins with a chain that nobody vouches for."""
    assert "chain is broken" in str(verify(days / "000005.tape").problems)


def test_a_linked_mark_is_refused(days: Path) -> None:
    prune(days, old(days, 4))
    (days / MARK).rename(days / "elsewhere.json")
    (days / MARK).symlink_to(days / "elsewhere.json")
    with pytest.raises(TapeError, match="cannot be read"):
        read_mark(days)
    assert not verify(days).ok


def test_one_at_a_time(days: Path) -> None:
    with alone(days), pytest.raises(ConfigError, match="another process"), alone(days):
        pass
    with alone(days):
        pass


def test_nothing_old_changes_nothing(days: Path) -> None:
    files = sorted(days.iterdir())
    prune(days, old(days, 0))
    assert sorted(days.iterdir()) == files
    assert len(segment_files(days)) == 10
