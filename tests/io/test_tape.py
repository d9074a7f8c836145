"""Writing, reading, seeking, cutting and verifying sound tapes."""

import io
import itertools
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import tape_samples as samples
import zstandard

from tapewatch.io.tape_check import verify
from tapewatch.io.tape_disk import Disk
from tapewatch.io.tape_file import TapeFile, cut
from tapewatch.io.tape_read import TapeReader
from tapewatch.io.tape_records import AlertRecord, Snapshot, config_hash
from tapewatch.io.tape_segment import index_entries
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model import limits
from tapewatch.model.errors import TapeError
from tapewatch.model.inputs import Frame, Input, Timer
from tapewatch.model.time import NS_PER_S

T0 = samples.T0


def lines_of(path: Path) -> list[dict[str, object]]:
    reader = zstandard.ZstdDecompressor().stream_reader(
        io.BytesIO(path.read_bytes()), read_across_frames=True
    )
    return [json.loads(text) for text in reader.read().splitlines()]


def test_what_was_appended_is_read(tmp_path: Path) -> None:
    tape = samples.session(tmp_path / "tape")
    reader = TapeReader(tape)
    assert [item for _, item in reader.inputs()] == samples.INPUTS
    numbers = [record.n for record in reader.records()]
    assert numbers == list(range(1, len(samples.INPUTS) + 2))
    assert list(reader.alerts()) == [(6, samples.ALERT)]
    assert reader.header.config == samples.CONFIG
    assert reader.header.config_hash == config_hash(samples.CONFIG)
    assert reader.header.tapewatch == samples.VERSION
    assert reader.snapshot is None
    assert reader.unfinished == 0


def test_every_zstd_tool_reads_it(tmp_path: Path) -> None:
    file = samples.session(tmp_path / "tape") / "000001.tape"
    lines = lines_of(file)
    assert [line["k"] for line in lines][:3] == ["header", "chain", "link"]
    assert sum(line["k"] in ("frame", "alert") for line in lines) == 8
    program = shutil.which("zstdcat")
    if program is None:
        pytest.skip("zstdcat is not installed")
    shown = subprocess.run([program, file], capture_output=True, check=True).stdout
    assert [json.loads(line) for line in shown.splitlines()] == lines


def test_a_tape_belongs_to_its_owner(tmp_path: Path) -> None:
    tape = samples.session(tmp_path / "tape", close=False)
    assert stat.S_IMODE(tape.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in tape.iterdir()} == {0o600}


def test_the_reserve_exists_while_the_session_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RESERVE_BYTES", 1 << 16)
    tape = samples.writer(tmp_path)
    assert (tmp_path / "reserve").stat().st_size == 1 << 16
    tape.close()
    assert not (tmp_path / "reserve").exists()


def test_a_commit_makes_all_records_durable_in_an_open_frame(tmp_path: Path) -> None:
    tape = samples.writer(tmp_path)
    tape.append(samples.tick(1))
    tape.append(samples.tick(2))
    assert (tape.seq, tape.durable_seq) == (2, 0)
    assert samples.inputs(tmp_path) == []
    tape.commit(T0)
    assert tape.durable_seq == 2
    reader = TapeReader(tmp_path)
    assert len(list(reader.inputs())) == 2
    assert reader.unfinished > 0
    assert tape.bytes_written == (tmp_path / "000001.tape").stat().st_size


def frames_in(folder: Path) -> list[int]:
    """Records in each closed frame."""
    return [entry.last - entry.first + 1 for entry in index_entries(folder / "000001.tape")]


def test_a_frame_is_closed_by_time_number_size_and_alert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = samples.writer(tmp_path)
    for time in (0, NS_PER_S - 1, NS_PER_S, NS_PER_S + 1, NS_PER_S):
        tape.append(Timer(T0))
        tape.commit(T0 + time)
    # The last commit's clock had stepped back, which must not keep a frame open.
    assert frames_in(tmp_path) == [0, 3, 2]
    tape.append_alert(samples.ALERT)
    tape.commit(T0)
    assert frames_in(tmp_path) == [0, 3, 2, 1]
    monkeypatch.setattr(limits, "FRAME_RECORDS", 3)
    for _ in range(7):
        tape.append(Timer(T0))
    tape.commit(T0)
    assert frames_in(tmp_path) == [0, 3, 2, 1, 3, 3]
    monkeypatch.setattr(limits, "TAPE_FRAME_BYTES", 100)
    for i in range(2):
        tape.append(samples.tick(i))
    tape.commit(T0)
    assert frames_in(tmp_path) == [0, 3, 2, 1, 3, 3, 2, 1]
    tape.close()
    assert verify(tmp_path).ok


def test_without_commits_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PENDING_RECORDS", "PENDING_BYTES"):
        monkeypatch.setattr(limits, name, 10)
    tape = samples.writer(tmp_path)
    for _ in range(25):
        tape.append(Timer(T0))
        assert tape.seq - tape.durable_seq <= 10


def test_segments_are_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEGMENT_BYTES", 700)
    samples.session(tmp_path)
    assert len(list(tmp_path.glob("*.tape"))) >= 3
    found = verify(tmp_path)
    assert found.ok
    assert found.closed
    assert samples.inputs(tmp_path) == samples.INPUTS


def test_a_tape_can_be_continued(tmp_path: Path) -> None:
    samples.session(tmp_path)
    before = verify(tmp_path)
    tape = samples.writer(tmp_path)
    assert tape.recovered.last == tape.seq == before.records
    assert tape.recovered.head.hex() == before.head
    assert tape.recovered.quarantined == ()
    samples.record_all(tape, samples.INPUTS)
    tape.close()
    found = verify(tmp_path, tape.head)
    assert found.problems == ()
    assert samples.inputs(tmp_path) == samples.INPUTS * 2


def test_verification_counts(tmp_path: Path) -> None:
    samples.session(tmp_path, close=False)
    live = verify(tmp_path)
    assert live.ok
    assert not live.closed
    assert live.unfinished > 0
    assert live.records == 9  # the last two are in the open frame
    assert samples.records(tmp_path)[-1].n == 11


def seconds(first: int, last: int, *, step: int = 1) -> list[Input]:
    return [Timer(T0 + i * NS_PER_S) for i in range(first, last, step)]


def test_seeking_reads_the_frames_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tape = samples.writer(tmp_path)
    samples.record_all(tape, seconds(0, 100))
    found = TapeReader(tmp_path).inputs(T0 + 20 * NS_PER_S, T0 + 29 * NS_PER_S)
    assert [n for n, _ in found] == list(range(21, 31))
    read: list[int] = []
    pread = os.pread

    def counting(fd: int, size: int, offset: int) -> bytes:
        data = pread(fd, size, offset)
        read.append(len(data))
        return data

    reader = TapeReader(tmp_path)
    monkeypatch.setattr(os, "pread", counting)
    assert len(list(reader.inputs(T0 + 50 * NS_PER_S, T0 + 52 * NS_PER_S))) == 3
    assert sum(read) < (tmp_path / "000001.tape").stat().st_size / 10
    assert [record.n for record in reader.records(98)] == [98, 99, 100]


def test_seeking_finds_inputs_before_and_after_a_clock_step(tmp_path: Path) -> None:
    tape = samples.writer(tmp_path)
    samples.record_all(tape, [*seconds(0, 10), *seconds(5, 15)])
    tape.close()
    found = [n for n, _ in TapeReader(tmp_path).inputs(T0 + 5 * NS_PER_S, T0 + 6 * NS_PER_S)]
    assert found == [6, 7, 11, 12]


def test_seeking_works_without_an_index(tmp_path: Path) -> None:
    samples.record_all(samples.writer(tmp_path), seconds(0, 50))
    (tmp_path / "000001.idx").unlink()
    found = TapeReader(tmp_path).inputs(T0 + 20 * NS_PER_S, T0 + 29 * NS_PER_S)
    assert len(list(found)) == 10


def test_a_tape_is_read_and_cut_while_it_is_written(tmp_path: Path) -> None:
    tape = samples.writer(tmp_path / "tape")
    for i, item in enumerate(seconds(0, 30)):
        tape.append(item)
        tape.commit(T0 + i * NS_PER_S // 3)
        assert len(samples.inputs(tmp_path / "tape")) == i + 1
    head = cut(tmp_path / "tape", tmp_path / "clip.tape", since_ns=T0 + 10 * NS_PER_S)
    assert verify(tmp_path / "clip.tape", head).ok
    assert len(samples.inputs(tmp_path / "clip.tape")) == 20


def test_a_clip_holds_a_stretch_with_its_alerts(tmp_path: Path) -> None:
    source = samples.session(tmp_path / "tape")
    clip = tmp_path / "clip.tape"
    head = cut(source, clip, since_ns=T0 + 1, until_ns=T0 + NS_PER_S // 2)
    found = samples.records(clip)
    assert found == samples.records(source)[1:7]
    assert sum(isinstance(record, AlertRecord) for record in found) == 1
    assert TapeReader(clip).header.config == samples.CONFIG
    assert TapeReader(clip).header.first == 2
    checked = verify(clip, head)
    assert checked.problems == ()
    assert (checked.records, checked.closed) == (6, True)


def test_a_clip_ends_with_the_alerts_of_its_last_input(tmp_path: Path) -> None:
    source = samples.session(tmp_path / "tape")
    cut(source, tmp_path / "clip.tape", until_ns=samples.tick(4).ts_recv)
    assert isinstance(samples.records(tmp_path / "clip.tape")[-1], AlertRecord)


def test_a_clip_begins_with_its_snapshot(tmp_path: Path) -> None:
    source = samples.session(tmp_path / "tape")
    snapshot = Snapshot(3, bytes(range(256)) * 100)
    cut(source, tmp_path / "clip.tape", since_ns=T0 + NS_PER_S, snapshot=snapshot)
    reader = TapeReader(tmp_path / "clip.tape")
    assert reader.snapshot == snapshot
    assert next(reader.inputs())[0] == 3
    assert verify(tmp_path / "clip.tape").ok


def test_a_clip_of_nothing_is_refused(tmp_path: Path) -> None:
    source = samples.session(tmp_path / "tape")
    with pytest.raises(TapeError, match="no input"):
        cut(source, tmp_path / "clip.tape", since_ns=T0 + 99 * NS_PER_S)
    assert not list(tmp_path.glob("clip*"))


def test_a_file_tape_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "x.tape"
    with TapeFile(path, config={}, version="0") as tape:
        for item in samples.INPUTS * 200:
            tape.append(item)
        tape.append_alert(samples.ALERT)
        assert not path.exists()
    assert verify(path, tape.head).ok
    assert samples.inputs(path) == samples.INPUTS * 200
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.tape"]


def test_a_file_tape_leaves_nothing_behind_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.tape"
    tape = TapeFile(path, config={}, version="0")
    with pytest.raises(AssertionError), tape:
        tape.append_alert(b"not JSON")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TapeError, match="cannot be written"):
        TapeFile(tmp_path / "no" / "x.tape", config={}, version="0")


@pytest.fixture
def impostors(tmp_path: Path) -> Path:
    (tmp_path / "link").symlink_to(samples.session(tmp_path / "tape") / "000001.tape")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_bytes(b"hello" * 100)
    (tmp_path / "empty").touch()
    return tmp_path


@pytest.mark.parametrize("name", ["link", "pipe", "folder", "text", "nothing", "empty"])
def test_only_tapes_are_read(impostors: Path, name: str) -> None:
    with pytest.raises(TapeError):
        TapeReader(impostors / name)


@pytest.mark.parametrize("name", ["link", "pipe", "folder", "nothing"])
def test_only_files_are_verified(impostors: Path, name: str) -> None:
    with pytest.raises(TapeError):
        verify(impostors / name)


@pytest.mark.parametrize("name", ["text", "empty"])
def test_a_file_that_is_no_tape_is_not_sound(impostors: Path, name: str) -> None:
    assert not verify(impostors / name).ok


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "tape").mkdir()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "tape" / "000001.tape.part").symlink_to(victim)
    (tmp_path / "tape" / "000001.idx.part").symlink_to(victim)
    (tmp_path / "tape" / "reserve").symlink_to(victim)
    (tmp_path / "x.tape.part").symlink_to(victim)
    samples.session(tmp_path / "tape")
    with TapeFile(tmp_path / "x.tape", config={}, version="0") as tape:
        tape.append(Timer(T0))
    assert victim.read_text() == "precious"
    assert verify(tmp_path / "tape").ok


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.tape"
    with TapeFile(path, config={}, version="0") as tape:
        tape.append(Frame(T0, "kraken", b"0" * 100_000))
    monkeypatch.setattr(limits, "UNPACKED_BYTES", 50_000)
    with pytest.raises(TapeError, match=r"x\.tape at byte \d+: damaged"):
        samples.inputs(path)


def test_a_folder_that_cannot_be_written_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TapeError, match="cannot record here"):
        TapeWriter(tmp_path / "file" / "tape", config={}, version="0", disk=Disk())


def test_numbers_follow_each_other_across_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SEGMENT_BYTES", 500)
    for _ in range(3):
        samples.session(tmp_path)
    numbers = [record.n for record in samples.records(tmp_path)]
    assert all(later == earlier + 1 for earlier, later in itertools.pairwise(numbers))
    assert (numbers[0], numbers[-1]) == (1, 33)
