"""JSON as Go's `encoding/json` writes it, to the byte: `json.Unmarshal` followed by `json.Marshal`.

driftlock scores lines in this form, so their bytes decide its numbers. All numbers are float64, the
last of equal keys wins, keys are sorted by their UTF-8 bytes, there are no spaces, and the
characters that are special in HTML are escaped. Go 1.22 or newer (older ones write control
characters differently).

It is not for talking to anyone: `msgspec.json` does that.
"""

import json
import re
from collections.abc import Iterable
from decimal import Decimal
from math import isinf
from typing import Any, Final, NoReturn

import msgspec
from msgspec import Raw

from tapewatch.model.errors import DecodeError

# Typed as float, integers are read as what Go makes of them.
_FLAT: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(dict[str, float | str | bool | None])
_SORTED: Final = msgspec.json.Encoder(order="sorted")
_AS_IT_IS: Final = msgspec.json.Encoder()
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# Between these, msgspec writes a number that is not whole just as Go does.
PLAIN_MIN: Final = 1e-5
PLAIN_MAX: Final = 1e15


def canonical(data: bytes) -> bytes:
    """One JSON text in Go's form. Raises `DecodeError` with the reason in words."""
    try:
        row = _FLAT.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return encode(decode(data))  # nested, not an object, or not JSON at all
    if _in_place(row) and data.find(b"-0") >= 0:
        return encode(decode(data))  # a zero may have been -0, which msgspec reads as 0
    return escaped(_SORTED.encode(row))


def encode_map(row: dict[str, Any]) -> bytes:
    """A flat dict of valid texts, finite floats, booleans and None; its floats are replaced."""
    _in_place(row)
    return escaped(_SORTED.encode(row))


def encode_struct(row: dict[str, Any]) -> bytes:
    """The same with its keys in their order, and ints as they are."""
    _in_place(row)
    return escaped(_AS_IT_IS.encode(row))


def _in_place(row: dict[str, Any]) -> bool:
    """Put Go's form in the place of floats that msgspec writes differently; was one of them 0?"""
    zero = False
    for key, value in row.items():
        if value.__class__ is float and not (PLAIN_MIN <= value < PLAIN_MAX and value % 1.0):
            row[key] = Raw(number(value))
            zero = zero or not value
    return zero


def encode(value: Any) -> bytes:
    """A value as `decode` gives it. Raises `DecodeError` when it is nested too deeply."""
    try:
        return escaped(_SORTED.encode(_written(value)))
    except RecursionError as error:
        raise DecodeError("nested too deeply") from error


def _written(value: Any) -> Any:
    """The value with its numbers as Go writes them and its texts as UTF-8 can hold them."""
    if isinstance(value, str):
        return _whole(value)
    if isinstance(value, float):
        return Raw(number(value))
    if isinstance(value, dict):
        return {key: _written(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_written(item) for item in value]
    return value


def escaped(data: bytes) -> bytes:
    """Compact JSON with the characters replaced that Go escapes and others do not.

    None of them can occur outside of a text.
    """
    # With a number on its left, `in` is a plain memory search.
    if 0x3C in data:
        data = data.replace(b"<", b"\\u003c")
    if 0x3E in data:
        data = data.replace(b">", b"\\u003e")
    if 0x26 in data:
        data = data.replace(b"&", b"\\u0026")
    if not data.isascii():
        data = data.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return data


def number(value: float) -> str:
    """A finite float: shortest digits that read back as it, positional from 1e-6 to below 1e21."""
    text = repr(value)
    size = abs(value)
    if 1e-4 <= size < 1e16 or not size:
        return text.removesuffix(".0")
    if 1e-6 <= size < 1e21:
        return f"{Decimal(text):f}"
    return text.replace("e-0", "e-")


def decode(data: bytes) -> Any:
    """Any JSON text with all numbers as floats. Raises `DecodeError` with the reason in words."""
    try:
        return _DECODER.decode(text_of(data))
    except json.JSONDecodeError as error:
        raise DecodeError(f"not JSON: {error.msg} (character {error.pos + 1})") from error
    except RecursionError as error:
        raise DecodeError("nested too deeply") from error


def decode_next(text: str, start: int) -> tuple[Any, int]:
    """The JSON value that begins at `start`, and where it ends.

    Raises `json.JSONDecodeError`, which knows its position, or `DecodeError`.
    """
    try:
        return _DECODER.raw_decode(text, start)
    except RecursionError as error:
        raise DecodeError("nested too deeply") from error


def text_of(data: bytes | bytearray) -> str:
    """UTF-8 as text. Raises `DecodeError`."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"not UTF-8 (byte {error.start + 1})") from error


def _whole(text: str) -> str:
    """Halves of surrogate pairs, which JSON can escape and UTF-8 cannot hold, become U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _pairs(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {_whole(key): value for key, value in pairs}


def _float(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise DecodeError("a number beyond float64")
    return value


def _refuse(name: str) -> NoReturn:
    raise DecodeError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_float=_float, parse_int=_float, parse_constant=_refuse
)
