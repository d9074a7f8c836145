"""Damaged tapes: what a crash leaves behind is repaired, what anyone alters is found."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tape_samples as samples

from tapewatch.io.tape_check import verify
from tapewatch.io.tape_file import TapeFile
from tapewatch.io.tape_frames import Unpacker, chained, compressor, end_mark, pieces
from tapewatch.io.tape_read import TapeReader
from tapewatch.io.tape_records import Numbered
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model import limits
from tapewatch.model.errors import TapeError
from tapewatch.model.inputs import Timer


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RESERVE_BYTES", 1)


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A small tape in one file."""
    with TapeFile(tmp_path / "x.tape", config={"a": 1}, version="0") as tape:
        for item in samples.INPUTS[:4]:
            tape.append(item)
        tape._end_frame()
        for item in samples.INPUTS[4:]:
            tape.append(item)
    return tmp_path / "x.tape"


def cut_into(file: Path) -> list[bytes]:
    """The pieces of a tape's file."""
    fd = os.open(file, os.O_RDONLY)
    try:
        return [piece.data for piece in pieces(fd)]
    finally:
        os.close(fd)


def readable(tape: Path) -> list[Numbered]:
    try:
        return samples.records(tape)
    except TapeError:
        return []


def truncated(tape: Path, work: Path) -> Iterator[tuple[Path, bytes]]:
    """The tape with its last segment cut at every byte, and that segment."""
    last = max(tape.glob("*.tape")).name
    whole = (tape / last).read_bytes()
    for size in range(len(whole) + 1):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(tape, work, ignore=shutil.ignore_patterns("reserve"))
        (work / last).write_bytes(whole[:size])
        yield work / last, whole[:size]


@pytest.mark.parametrize(("close", "index"), [(True, True), (False, False)])
def test_a_tape_cut_at_any_byte_goes_on(tmp_path: Path, *, close: bool, index: bool) -> None:
    tape = samples.session(tmp_path / "tape", close=close, size=7)
    if not index:
        (tape / "000001.idx").unlink()
    everything = samples.records(tape)
    header = len(cut_into(tape / "000001.tape")[0])
    kept = []
    for file, before in truncated(tape, tmp_path / "work"):
        valid = readable(file.parent)
        again = TapeWriter(file.parent, config={}, version="1", disk=samples.UnsafeDisk())
        again.append(Timer(1))
        again.commit(2)
        again.close()
        assert samples.records(file.parent)[:-1] == valid == everything[: len(valid)]
        assert verify(file.parent).problems == ()
        # Every byte is in its place or in quarantine, and nothing was appended to the segment.
        stays = file.read_bytes() if len(before) >= header else b""
        aside = [path.read_bytes() for path in again.recovered.quarantined]
        assert b"".join([stays, *aside]) == before
        kept.append(len(valid))
    assert kept == sorted(kept)
    assert kept[-1] == len(everything)


def test_what_a_headless_segment_holds_is_salvaged(tmp_path: Path) -> None:
    samples.session(tmp_path)
    samples.session(tmp_path, close=False)
    everything = samples.records(tmp_path)
    second = tmp_path / "000002.tape"
    data = bytearray(second.read_bytes())
    data[20] ^= 1
    second.write_bytes(data)
    (tmp_path / "000002.idx").unlink()
    again = samples.writer(tmp_path)
    again.close()
    assert [path.name for path in again.recovered.quarantined] == ["000002.0.torn"]
    assert again.recovered.salvaged == 11
    assert samples.records(tmp_path) == everything
    assert verify(tmp_path).problems == ()


def test_a_flipped_bit_in_a_closed_frame_is_told_and_left_alone(tmp_path: Path) -> None:
    samples.session(tmp_path)
    file = tmp_path / "000001.tape"
    data = bytearray(file.read_bytes())
    at = len(cut_into(file)[0]) + 30
    data[at] ^= 1
    file.write_bytes(data)
    with pytest.raises(TapeError, match=r"000001\.tape at byte \d+: damaged frame"):
        samples.records(tmp_path)
    again = samples.writer(tmp_path)
    again.close()
    assert again.recovered.quarantined == ()
    assert file.read_bytes() == data
    assert verify(tmp_path).problems[0].offset == at - 30


def test_garbage_after_an_open_frame_does_not_hide_what_was_committed(tmp_path: Path) -> None:
    samples.session(tmp_path, close=False)
    everything = samples.records(tmp_path)
    file = tmp_path / "000001.tape"
    sound = file.read_bytes()
    for garbage in (bytes(4096), bytes(1 << 20), b"\xff" * 4096, b"\x17\x00\x00 garbage" * 300):
        shutil.rmtree(tmp_path / "quarantine", ignore_errors=True)
        file.write_bytes(sound + garbage)
        assert samples.records(tmp_path) == everything
    again = samples.writer(tmp_path)
    again.close()
    assert again.recovered.salvaged == 2
    assert samples.records(tmp_path) == everything
    assert verify(tmp_path).problems == ()


def test_a_missing_record_is_an_error_not_a_hole(tmp_path: Path) -> None:
    samples.session(tmp_path)
    file = tmp_path / "000001.tape"
    frames = cut_into(file)
    file.write_bytes(b"".join(frames[:1] + frames[2:]))
    with pytest.raises(TapeError, match="records 1 to 3 are missing"):
        samples.records(tmp_path)


def flips(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        for bit in range(8):
            yield data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def test_every_flipped_bit_of_a_file_is_found(closed: Path) -> None:
    head, sound = verify(closed).head, closed.read_bytes()
    changed = list(flips(sound))
    found = 0
    for data in changed:
        closed.write_bytes(data)
        found += not verify(closed).ok
    assert found == len(changed) == len(sound) * 8
    closed.write_bytes(sound)
    assert verify(closed, head).ok


def test_every_changed_byte_of_a_session_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SEGMENT_BYTES", 500)
    samples.session(tmp_path)
    for file in sorted(tmp_path.glob("00000[12].tape")):
        sound = file.read_bytes()
        for at, byte in enumerate(sound):
            file.write_bytes(sound[:at] + bytes([byte ^ 0x55]) + sound[at + 1 :])
            assert not verify(tmp_path).ok
        file.write_bytes(sound)
    assert verify(tmp_path).ok


def test_every_changed_byte_of_an_index_is_found(tmp_path: Path) -> None:
    samples.session(tmp_path, size=4)
    index = tmp_path / "000001.idx"
    sound = index.read_bytes()
    for at in range(len(sound) - 1):  # without its last line break the last line counts as torn
        index.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        assert not verify(tmp_path).ok


def test_a_file_cut_at_any_byte_is_found(closed: Path) -> None:
    sound = closed.read_bytes()
    for size in range(len(sound)):
        closed.write_bytes(sound[:size])
        assert not verify(closed).ok


def test_an_open_session_cut_behind_its_index_is_found(tmp_path: Path) -> None:
    samples.session(tmp_path, close=False, size=4)
    file = tmp_path / "000001.tape"
    frames = cut_into(file)
    closed_bytes = sum(len(frame) for frame in frames[:-1])
    sound = file.read_bytes()
    for size in range(len(sound) + 1):
        file.write_bytes(sound[:size])
        assert verify(tmp_path).ok == (size >= closed_bytes)


def resealed(frames: list[bytes]) -> bytes:
    """The same frames with a fitting end mark, as a careful forger would write it."""
    head = bytes(32)
    for frame in frames:
        head = chained(head, frame)
    return b"".join(frames) + end_mark(head)


def rewritten(frame: bytes, old: bytes = b"60002", new: bytes = b"66666") -> bytes:
    """A valid frame that says something else."""
    stream = compressor().compressobj()
    return stream.compress(Unpacker().whole(frame).replace(old, new)) + stream.flush()


def test_frames_cannot_be_removed_exchanged_repeated_or_rewritten(tmp_path: Path) -> None:
    with TapeFile(tmp_path / "x.tape", config={}, version="0") as tape:
        for item in samples.INPUTS:
            tape.append(item)
            tape._end_frame()
    *frames, mark = cut_into(tape.path)
    forged = {resealed(frames[:at] + frames[at + 1 :]) for at in range(len(frames) - 1)}
    forged |= {resealed([*frames[:at], frame, *frames[at:]]) for at, frame in enumerate(frames)}
    for at in range(len(frames) - 1):
        forged.add(resealed([*frames[:at], frames[at + 1], frames[at], *frames[at + 2 :]]))
        forged.add(resealed([*frames[:at], rewritten(frames[at]), *frames[at + 1 :]]))
    forged.discard(resealed(frames))  # only one frame has the price to rewrite
    forged |= {b"".join(frames), *(b"".join([*frames, mark, more]) for more in (frames[-1], mark))}
    assert len(forged) == 35
    for data in forged:
        tape.path.write_bytes(data)
        assert not verify(tape.path).ok
    # What a chain cannot see: the end left out and marked anew. The noted chain hash can.
    tape.path.write_bytes(resealed(frames[:-1]))
    assert verify(tape.path).ok
    assert not verify(tape.path, tape.head).ok


def test_segments_cannot_be_removed_or_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SEGMENT_BYTES", 300)
    samples.session(tmp_path / "tape")
    names = sorted(file.name for file in (tmp_path / "tape").glob("*.tape"))
    assert len(names) >= 4
    for name in names[:-1]:
        shutil.copytree(tmp_path / "tape", tmp_path / name)
        (tmp_path / name / name).unlink()
        assert not verify(tmp_path / name).ok
    one, two = tmp_path / "tape" / names[1], tmp_path / "tape" / names[2]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert not verify(tmp_path / "tape").ok


def test_a_changed_configuration_is_found(tmp_path: Path) -> None:
    with TapeFile(tmp_path / "x.tape", config={"threshold": 3}, version="0") as tape:
        pass
    forged = rewritten(cut_into(tape.path)[0], b'"threshold":3', b'"threshold":9')
    tape.path.write_bytes(resealed([forged]))
    assert texts(tape.path) == ["the configuration does not have the hash beside it"]


def texts(tape: Path) -> list[str]:
    return [problem.text for problem in verify(tape).problems]


def test_numbers_that_do_not_follow_are_found(closed: Path) -> None:
    *frames, _ = cut_into(closed)
    closed.write_bytes(resealed([*frames[:-1], rewritten(frames[-1], b'"n":10', b'"n":12')]))
    assert texts(closed) == ["record 10 should follow, not 12"]


@pytest.mark.parametrize("field", [b'"tape":', b'"segment":'])
def test_a_header_of_another_tape_is_found(closed: Path, field: bytes) -> None:
    header = cut_into(closed)[0]
    closed.write_bytes(resealed([rewritten(header, field + b"1", field + b"2")]))
    assert texts(closed) == ["the header belongs to another tape or segment"]


def test_a_missing_header_is_found(closed: Path) -> None:
    *frames, _ = cut_into(closed)
    chain = chained(bytes(32), frames[0]).hex().encode()
    closed.write_bytes(resealed([rewritten(frames[1], chain, b"0" * 64)]))
    assert "a header is missing or out of place" in texts(closed)


def test_a_missing_segment_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEGMENT_BYTES", 300)
    samples.session(tmp_path)
    (tmp_path / "000002.tape").unlink()
    assert texts(tmp_path)[0] == "segment 2 is missing"


def test_problems_are_bounded_and_say_where(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TAPE_PROBLEMS", 2)
    closed.write_bytes(b"hello" + closed.read_bytes() * 3)
    problems = verify(closed).problems
    assert len(problems) == 2
    assert str(problems[0]) == "x.tape at byte 0: 5 bytes are not a frame"


def test_a_reader_stops_at_damage_and_says_where(closed: Path) -> None:
    header, first, second, _ = cut_into(closed)
    no_frame = first[:6] + b"\xff\xff\xff" + first[9:]
    wrong_sum = second[:-1] + bytes([second[-1] ^ 1])
    for before, damaged, after in ((header, no_frame, second), (header + first, wrong_sum, b"")):
        closed.write_bytes(before + damaged + after)
        with pytest.raises(TapeError, match=f"at byte {len(before)}: damaged"):
            list(TapeReader(closed).inputs())


def test_what_a_refused_segment_and_the_next_both_hold_is_read_once(tmp_path: Path) -> None:
    tape = samples.session(tmp_path / "tape", close=False, size=7)
    whole, index = (tape / "000001.tape").read_bytes(), (tape / "000001.idx").read_bytes()
    everything = samples.records(tape)
    header, first, *_ = cut_into(tape / "000001.tape")
    (tape / "000001.tape").write_bytes(header + first)
    following = samples.writer(tape)
    following.append_alert(samples.ALERT)
    following.commit(0)
    samples.record_all(following, samples.INPUTS[3:7])
    following.close()
    (tape / "000001.tape").write_bytes(whole)
    (tape / "000001.idx").write_bytes(index)
    assert samples.records(tape) == everything
    assert not verify(tape).ok
    samples.writer(tape).close()
    assert samples.records(tape) == everything
    assert verify(tape).problems == ()


def test_an_index_that_lies_is_not_believed(tmp_path: Path) -> None:
    samples.session(tmp_path)
    index = tmp_path / "000001.idx"
    head = verify(tmp_path).head.encode()
    index.write_bytes(index.read_bytes().replace(head, b"0" * 64))
    samples.writer(tmp_path).close()
    assert texts(tmp_path) == ["the index says otherwise"]


@pytest.mark.parametrize("entry", [b"[-1,9", b"[0,-9", b"[0,1e12", b"[99999999999999999999,9"])
def test_a_hostile_index_is_an_error(tmp_path: Path, entry: bytes) -> None:
    samples.session(tmp_path)
    index = tmp_path / "000001.idx"
    index.write_bytes(entry + b',1,1,0,9999999999999999999,"' + b"0" * 64 + b'"]\n')
    with pytest.raises(TapeError, match="not an index"):
        list(TapeReader(tmp_path).inputs(since_ns=1))
    assert not verify(tmp_path).ok
    samples.writer(tmp_path).close()
    assert len(samples.inputs(tmp_path)) == len(samples.INPUTS)


def test_a_bomb_of_tiny_blocks_is_cheap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples.session(tmp_path, close=False)
    monkeypatch.setattr(limits, "UNPACKED_BYTES", 1 << 20)
    file = tmp_path / "000001.tape"
    frames = cut_into(file)
    repeated = (131_072 << 3 | 1 << 1).to_bytes(3, "little") + b"x"  # one byte that becomes many
    file.write_bytes(b"".join(frames[:-1]) + frames[0][:6] + repeated * 1_000_000)
    assert len(samples.records(tmp_path)) == 9
    assert len(Unpacker().torn(frames[0][:6] + repeated * 4_000)) < 2 << 20
