"""What a message looks like, as symbols: its kind, key sets, types, values of text, lengths.

No memory and no judgement. Numbers are looked at as text; their values do not matter here.
Everything that comes out is safe to print and of bounded size, whatever the bytes were.

A path names a place: `data[].price`; `[]` stands for every member of a list of rows, `.0` for a
place in a short list whose places have meanings.
"""

import re
from json import JSONDecoder
from typing import Any, Final
from zlib import crc32

from msgspec import Struct

from tapewatch.model.text import clean, clean_bytes

PARSED_BYTES: Final = 64 << 10  # a longer message is a kind of its own and not taken apart
NODES: Final = 400  # values of one message that are looked at
ROWS: Final = 16  # members of one list that are looked at: from both ends
_PLACES: Final = 8  # a list up to so long may have places with meanings
_KEYS: Final = 64  # keys of one object
_NAME_CHARS: Final = 40
_PATH_CHARS: Final = 160  # what lies deeper is not looked at
VALUE_CHARS: Final = 40  # longer text is prose or an id, not a category

# A field with one of these names says what kind of message it is. Names used by the public feeds
# of exchanges; where there is none, the keys say it.
KIND_FIELDS: Final = (
    "channel", "channelName", "type", "event", "event_type", "e", "method", "op", "topic", "stream",
    "feed", "action", "kind", "table",
)  # fmt: skip
UNREADABLE: Final = "no JSON"

NUMBER, NUMBER_TEXT, TEXT, CODE, FLAG, NULL, OBJECT, LIST = (1 << bit for bit in range(8))
TYPE_NAMES: Final = {
    NUMBER: "a number", NUMBER_TEXT: "a number in quotes", TEXT: "text", CODE: "a hex code",
    FLAG: "true or false", NULL: "null", OBJECT: "an object", LIST: "a list",
}  # fmt: skip

_DIGITS: Final = re.compile(r"[0-9.+\-]+")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_CODE: Final = re.compile(r"(?:0x)?[0-9a-fA-F]{12,}")


class _Digits(str):
    """A JSON number as it is written."""

    __slots__ = ()


_DECODE: Final = JSONDecoder(parse_float=_Digits, parse_int=_Digits, parse_constant=_Digits).decode


class Leaf(Struct, frozen=True, gc=False):
    """One value that has no parts. `value`: its category, None where it is none; `decimals`: -1
    where it is no number; `padded`: its decimals end with a needless 0, so they are fixed."""

    path: str
    type: int
    value: str | None = None
    length: int = 0
    decimals: int = -1
    padded: bool = False


class Fields(Struct, frozen=True, gc=False):
    """One object, or list of places: which there are."""

    path: str
    names: tuple[str, ...]
    mark: int  # of the set of names


class Reading(Struct, frozen=True, gc=False):
    """One message. `kind` is empty where no field names it; `head` is its beginning, safe."""

    kind: str
    readable: bool
    head: str
    leaves: list[Leaf]
    groups: list[Fields]


def read(data: bytes) -> Reading:
    """The look of one message. Never raises."""
    if len(data) > PARSED_BYTES:
        return Reading("very long", True, clean_bytes(data, 60), [], [])
    try:
        value = _DECODE(data.decode())
    except (ValueError, RecursionError):
        return _unreadable(data)
    leaves: list[Leaf] = []
    groups: list[Fields] = []
    waiting: list[tuple[str, Any]] = [("", value)]
    for _ in range(NODES):
        if not waiting:
            break
        path, value_here = waiting.pop()
        if len(path) > _PATH_CHARS:
            continue
        if isinstance(value_here, dict):
            leaves.append(Leaf(path, OBJECT))
            waiting += _open_object(path, value_here, groups)
        elif isinstance(value_here, list):
            leaves.append(Leaf(path, LIST))
            waiting += _open_list(path, value_here, groups)
        else:
            leaves.append(_leaf(path, value_here))
    return Reading(_kind(value), True, clean_bytes(data, 60), leaves, groups)


def _unreadable(data: bytes) -> Reading:
    """A bare word such as `PONG` is a kind of its own; anything else is simply no JSON."""
    word = data.strip()
    kind = UNREADABLE
    if len(word) <= 12 and word.isalpha():
        kind = f"word {clean_bytes(word, 12)}"
    elif word[:1] == b"<":
        kind = f"{UNREADABLE} but HTML or XML"
    return Reading(kind, False, clean_bytes(data, 60), [], [])


def _open_object(path: str, value: dict[str, Any], groups: list[Fields]) -> list[tuple[str, Any]]:
    names: dict[str, Any] = {}
    for key, part in value.items():
        if len(names) >= _KEYS:
            break
        names.setdefault(_name(key), part)
    ordered = tuple(sorted(names))
    groups.append(Fields(path, ordered, crc32("\n".join(ordered).encode())))
    return [(f"{path}.{name}" if path else name, part) for name, part in names.items()]


def _open_list(path: str, value: list[Any], groups: list[Fields]) -> list[tuple[str, Any]]:
    if len(value) <= _PLACES and not all(isinstance(part, dict | list) for part in value):
        places = tuple(str(place) for place in range(len(value)))
        groups.append(Fields(path, places, len(places)))
        return [(f"{path}.{place}", part) for place, part in enumerate(value)]
    if len(value) > ROWS:
        value = value[: ROWS // 2] + value[-ROWS // 2 :]
    return [(f"{path}[]", part) for part in value]


def _leaf(path: str, value: Any) -> Leaf:
    if isinstance(value, _Digits):
        return _number(path, NUMBER, value)
    if isinstance(value, str):
        if _NUMBER.fullmatch(value):
            return _number(path, NUMBER_TEXT, value)
        if _CODE.fullmatch(value):
            return Leaf(path, CODE, length=len(value))
        short = _DIGITS.sub("", value) if len(value) <= 4 * VALUE_CHARS else value
        category = clean(short) if len(short) <= VALUE_CHARS else None
        return Leaf(path, TEXT, category, len(value))
    if value is None:
        return Leaf(path, NULL)
    return Leaf(path, FLAG, "true" if value else "false")


def _number(path: str, kind: int, text: str) -> Leaf:
    whole, _, decimals = text.partition(".")
    exponent = "e" in text or "E" in text
    return Leaf(
        path,
        kind,
        length=len(whole),
        decimals=-1 if exponent else min(len(decimals), 30),
        padded=len(decimals) > 1 and decimals.endswith("0"),
    )


def _name(key: str) -> str:
    """A key without its digits: keys that are prices or ids are values, not to be told apart."""
    return clean(_DIGITS.sub("#", key[: 2 * _NAME_CHARS]), _NAME_CHARS)


def _kind(value: Any) -> str:
    """What the message says that it is."""
    if isinstance(value, list):
        if value and isinstance(value[0], dict):
            return f"list {_kind(value[0])}".rstrip()
        words = [part for part in value[:_PLACES] if isinstance(part, str)]
        words = [word for word in words if not isinstance(word, _Digits)]
        return f"list of {len(value)} {_word(words[0])}" if words else "list"
    if not isinstance(value, dict):
        return TYPE_NAMES[_leaf("", value).type]
    said = [
        f"{name}={_word(value[name])}"
        for name in KIND_FIELDS
        if isinstance(value.get(name), str) and not isinstance(value[name], _Digits)
    ]
    return " ".join(said[:3])


def _word(text: str) -> str:
    return clean(_DIGITS.sub("", text[: 2 * _NAME_CHARS]), _NAME_CHARS)
