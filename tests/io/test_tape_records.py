"""The lines of the tape: every input comes back exactly, and JSON stands there as JSON."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tapewatch.io.tape_records import (
    Content,
    FrameRecord,
    Numbered,
    alert_record,
    config_hash,
    content,
    header,
    input_of,
    line,
    record_of,
    torn_content,
)
from tapewatch.model import limits
from tapewatch.model.errors import TapeError
from tapewatch.model.inputs import Command, Frame, Input, Link, Timer

times = st.integers(-(1 << 62), 1 << 62)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
bodies = (
    st.binary()
    | st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))
    | json_values.map(lambda value: msgspec.json.format(msgspec.json.encode(value)))
    | json_values.map(msgspec.json.encode)
)
any_input = st.one_of(
    st.builds(Frame, times, names, bodies, names | st.just("ws")),
    st.builds(Link, times, names, st.sampled_from(["up", "down"]), names),
    st.builds(Timer, times),
    st.builds(
        Command,
        times,
        names,
        st.sampled_from(["kill", "reset_baseline", "baseline", "unrecorded"]),
        names,
    ),
)
HEADER = line(header({}, "0", 1, 1, bytes(32)))


def read_back(*records: Numbered) -> Content:
    return content(b"\n".join([HEADER, *(line(record) for record in records)]) + b"\n")


@given(st.lists(any_input, max_size=5))
def test_every_input_comes_back(items: list[Input]) -> None:
    body = read_back(*(record_of(n, item) for n, item in enumerate(items))).body
    assert [input_of(record) for record in body if not hasattr(record, "a")] == items


@given(bodies)
@example(b"")
@example(b"NaN")
@example(b"1e400")
@example(b'{"a":1,"a":2}')
@example(b'"\xff"')
@example(b'"\\ud800"')
@example(b"\xef\xbb\xbf{}")
@example(b" {}")
@example(b"{}\r")
@example(b"[1,\r2]")
@example(b"{}{}")
@example(b"{}\n")
@example(b"[" * 900 + b"]" * 900)
@example(b"[" * 100_000)
@example(b'{"k":' * 300 + b"1" + b"}" * 300)
def test_any_bytes_come_back_on_one_line(data: bytes) -> None:
    frame = Frame(1, "s", data)
    text = line(record_of(1, frame))
    assert b"\n" not in text
    assert [input_of(record) for record in read_back(record_of(1, frame)).body] == [frame]


@given(json_values.map(msgspec.json.encode))
def test_json_is_kept_verbatim(data: bytes) -> None:
    assert b'"d":' + data + b"}" in line(record_of(1, Frame(1, "s", data)))


STORED_AS = {
    b'{"price": 1.50}': "d",
    "größe".encode(): "x",
    b"[1,\n2]": "x",
    b"[1,\r2]": "x",
    b" 1": "x",
    b"1 2": "x",
    b"": "x",
    b"\xff": "b",
    b'"\xff"': "b",
}


@pytest.mark.parametrize(("data", "field"), STORED_AS.items())
def test_what_is_not_json_is_text_or_base64(data: bytes, field: str) -> None:
    record = record_of(1, Frame(1, "s", data))
    assert isinstance(record, FrameRecord)
    stored = {name for name in "dxb" if getattr(record, name) is not msgspec.UNSET}
    assert stored == {field}


def test_deep_json_can_be_read_from_a_deep_stack() -> None:
    def nested(levels: int) -> Input:
        return nested(levels - 1) if levels else input_of(read_back(record).body[0])

    frame = Frame(1, "s", b"[" * 850 + b"]" * 850)
    record = record_of(1, frame)
    assert nested(180) == frame


def test_an_alert_must_be_one_line_of_json() -> None:
    assert line(alert_record(7, b'{"id":"a"}')) == b'{"k":"alert","n":7,"a":{"id":"a"}}'
    with pytest.raises(AssertionError):
        alert_record(7, b'{"id":\n"a"}')


def test_a_record_that_no_frame_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNPACKED_BYTES", limits.TAPE_FRAME_BYTES + 50)
    with pytest.raises(TapeError, match="too large"):
        line(record_of(1, Frame(1, "s", b"x" * 50)))


def test_the_configuration_hash_does_not_depend_on_order() -> None:
    assert config_hash({"a": 1, "b": [2.0]}) == config_hash({"b": [2.0], "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})


def test_of_torn_lines_the_whole_ones_are_read() -> None:
    lines = [HEADER, *(line(record_of(n, Timer(n))) for n in (1, 2, 3))]
    whole = b"\n".join(lines) + b"\n"
    for size in range(len(whole) + 1):
        found = torn_content(whole[:size])
        complete = whole[:size].count(b"\n") - 1
        assert (len(found.body) if found else -1) == complete


NO_RECORDS = (
    b"",
    b"\n",
    b"[]\n",
    b'{"k":"surprise"}\n',
    HEADER + b'\n{"k":"timer","n":"1","t":1}\n',
    HEADER + b'\n{"k":"frame","n":1,"t":1,"s":"s","d":' + b"[" * 100_000 + b"\n",
    HEADER.replace(b"0" * 64, b"z" * 64) + b"\n",
    HEADER + b"\n" + HEADER + b"\n",
)


@pytest.mark.parametrize("text", NO_RECORDS, ids=range(8))
def test_what_is_not_a_record_is_an_error(text: bytes) -> None:
    with pytest.raises(TapeError):
        content(text)
