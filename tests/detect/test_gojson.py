"""Go's JSON, rule by rule, and that it means what the original meant."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.detect import gojson
from tapewatch.model.errors import DecodeError

TREE: Any = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers()
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
FLAT: Any = st.dictionaries(
    st.text(max_size=6),
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    | st.integers(-(2**70), 2**70),
)  # fmt: skip


def go(text: str | bytes) -> str:
    return gojson.canonical(text if isinstance(text, bytes) else text.encode()).decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # rule 1: any JSON value, all numbers float64, the last of equal keys, lone surrogates
        (" \t null \r\n", "null"),
        ("true", "true"),
        ("[]", "[]"),
        ("{}", "{}"),
        ('"just a text"', '"just a text"'),
        ('{"dup":1,"dup":2,"dup":{"x":1},"dup":{"y":2}}', '{"dup":{"y":2}}'),
        ('{"a":1,"a":"x"}', '{"a":"x"}'),
        ("9007199254740993", "9007199254740992"),
        ('{"a":18446744073709551616}', '{"a":18446744073709552000}'),
        ("1e-400", "0"),
        ('{"s":"\\ud800 lone \\udc00"}', '{"s":"\ufffd lone \ufffd"}'),
        ('{"\\ud800":1,"\\udc00":2,"\\ud800":3}', '{"\ufffd":3}'),
        ('["\\ud83d\\ude00\\ud83d"]', '["\U0001f600\ufffd"]'),
        # rule 2: no spaces, keys by their bytes, escapes
        (
            '{ "b" : 1, "a":2,"C":3,"_":4,"aa":5,"é":6,"€":7,"😀":8,"":9,"\uffff":0}',
            '{"":9,"C":3,"_":4,"a":2,"aa":5,"b":1,"é":6,"€":7,"\uffff":0,"😀":8}',
        ),
        ('{"s":"\\b\\f\\n\\r\\t"}', '{"s":"\\b\\f\\n\\r\\t"}'),
        ('{"s":"\\u0000\\u001F\\u007f"}', '{"s":"\\u0000\\u001f\x7f"}'),
        ('{"s":"\\/ \\\\ \\""}', '{"s":"/ \\\\ \\""}'),
        ('{"<":"<b>&"}', '{"\\u003c":"\\u003cb\\u003e\\u0026"}'),
        ('["\\u2028\u2029"]', '["\\u2028\\u2029"]'),
        ('["caf\\u00e9 \u0080"]', '["café \u0080"]'),
        # rule 3: floats
        ("1763870503.0", "1763870503"),
        ('{"ts":1763870504.612373}', '{"ts":1763870504.612373}'),
        ("1E+5", "100000"),
        ("-0", "-0"),
        ('{"a":-0}', '{"a":-0}'),
        ('{"a":-0.0,"b":0,"c":0.0}', '{"a":-0,"b":0,"c":0}'),
        ("0.000001", "0.000001"),
        ('{"a":0.000001,"b":0.00001,"c":5.4749e-05}', '{"a":0.000001,"b":0.00001,"c":0.000054749}'),
        ('{"a":9.99e-7,"b":1e-10,"c":-1.5e-7}', '{"a":9.99e-7,"b":1e-10,"c":-1.5e-7}'),
        ('{"a":1e15,"b":1e16}', '{"a":1000000000000000,"b":10000000000000000}'),
        ('{"a":1e20}', '{"a":100000000000000000000}'),
        ("123456789012345680000", "123456789012345680000"),
        ('{"a":1e21,"b":-1.5e300,"c":5e-324}', '{"a":1e+21,"b":-1.5e+300,"c":5e-324}'),
        ("1.234567890123456789", "1.2345678901234567"),
    ],
)  # fmt: skip
def test_written_as_go_does(text: str, expected: str) -> None:
    assert go(text) == expected
    assert go(expected) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a":1', "not JSON"),
        (b"{} {}", "Extra data"),
        (b'{"a":1,}', "not JSON"),
        (b'{"a":01}', "not JSON"),
        (b'{"a":.5}', "not JSON"),
        (b'{"a":"\x01"}', "control character"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b'{"a":1e400}', "beyond float64"),
        (b"[" + b"9" * 5_000 + b"]", "beyond float64"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "nested too deeply"),
        (b'{"a":"caf\xe9"}', "not UTF-8 (byte 10)"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
    ],
)
def test_what_is_refused_and_why(text: bytes, why: str) -> None:
    with pytest.raises(DecodeError) as told:
        gojson.canonical(text)
    assert why in str(told.value)


def as_floats(value: Any) -> Any:
    match value:
        case bool() | None | str():
            return value
        case int() | float():
            return float(value)
        case list():
            return [as_floats(item) for item in value]
        case _:
            return {key: as_floats(item) for key, item in value.items()}


@given(TREE | FLAT, st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]))
def test_the_meaning_stays_and_a_second_pass_changes_nothing(
    value: Any, separators: tuple[str, str]
) -> None:
    written = go(json.dumps(value, separators=separators))
    assert json.loads(written, parse_int=float) == as_floats(value)
    assert go(written) == written


@given(FLAT)
def test_flat_rows_are_written_like_all_others(row: dict[str, Any]) -> None:
    """There is a faster way for flat rows; it must not be another way."""
    assert f"[{go(json.dumps(row))}]" == go(json.dumps([row]))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers(value: float) -> None:
    text = gojson.number(value)
    assert float(text) == value
    assert math.copysign(1.0, float(text)) == math.copysign(1.0, value)
    assert ("e" in text) == (value != 0.0 and not 1e-6 <= abs(value) < 1e21)
    assert "+0" not in text
    assert "e-0" not in text
    assert not text.endswith(".0")


@given(st.binary(max_size=60) | st.text('{}[]",:0123456789.eE+-\\uatrfn ', max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes | str) -> None:
    raw = data if isinstance(data, bytes) else data.encode()
    try:
        value = json.loads(raw.decode(), parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError):
        with pytest.raises(DecodeError):
            gojson.canonical(raw)
    else:
        overflow = "inf" in json.dumps(as_floats(value)).lower()
        if not overflow:
            assert gojson.canonical(raw)
