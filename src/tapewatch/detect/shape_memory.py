"""What messages of one kind have looked like, and what is odd about the next one.

A symbol is a set of keys, a type, a category, ... at one path. A symbol never seen is odd once the
set of symbols at its path has settled (`kernels/code_length.settled`); until then it is learnt in
silence. An odd symbol is not learnt either, until it has come `ADOPTED` times: then it is how
things are now.
"""

from typing import Final
from zlib import crc32

from msgspec import Struct, field

from tapewatch.detect.shape_reading import (
    CODE,
    NUMBER_TEXT,
    TEXT,
    TYPE_NAMES,
    Fields,
    Leaf,
    Reading,
)
from tapewatch.kernels.code_length import code_length, settled
from tapewatch.model.outputs import Severity

ADOPTED: Final = 100  # odd messages after which the oddity is the rule
_LOOKED: Final = 8  # messages in which a path was looked at before it can be odd there
_CATEGORIES: Final = 24  # values of a field; with more it is no category
_FEW: Final = 8  # a field with more values is one of many instruments: a new one is only told
_SETS: Final = 24  # key sets of one object; with more it is a map
_PATHS: Final = 96  # of one kind; what is beyond is not remembered
_ODD: Final = 64  # oddities waiting to be adopted
_LONGER: Final = (2, 16)  # times the longest so far, plus so many characters
_PADDED: Final = 1 << 31


class Path(Struct):
    """Values at one path. `types` and `decimals` are sets of bits; `types_at`, `values_at`: the
    message at which the newest member came; `values` are counted in looked-at messages, None when
    there are too many to be a category."""

    looked: int = 0
    types: int = 0
    types_at: int = 0
    longest: int = 0
    decimals: int = 0
    values: dict[str, int] | None = field(default_factory=dict)
    values_at: int = 0


class Group(Struct):
    """Key sets of one object, counted in looked-at messages; `names` that came in some, and those
    that came in all."""

    looked: int = 0
    sets: dict[int, int] = {}
    sets_at: int = 0
    names: list[str] = []
    always: list[str] = []


class Kind(Struct):
    """One kind of message: how many were `seen`, how many `looked` at closely, and what by path."""

    name: str
    stream: str
    seen: int = 0
    looked: int = 0
    born: int = 0  # messages of its stream before it
    paths: dict[str, Path] = {}
    groups: dict[str, Group] = {}
    odd: dict[int, int] = {}  # mark of an oddity -> how often


class Oddity(Struct, frozen=True, gc=False):
    """One thing that is odd: where, what sort of thing, a clause for people, and how bad. `value`:
    the new category, if that is what is odd."""

    path: str
    sort: str
    clause: str
    severity: Severity = "warn"
    value: str = ""

    def mark(self) -> int:
        """Equal for the same oddity again."""
        return crc32(f"{self.path}\n{self.sort}\n{self.clause[:120]}".encode())


def oddities(kind: Kind, reading: Reading) -> list[Oddity]:
    """What is odd, worst first, each once."""
    found: dict[int, Oddity] = {}
    for group in reading.groups:
        for one in _odd_fields(kind, group):
            found.setdefault(one.mark(), one)
    for leaf in reading.leaves:
        one_or_none = _odd_leaf(kind, leaf)
        if one_or_none is not None:
            found.setdefault(one_or_none.mark(), one_or_none)
    return sorted(found.values(), key=lambda odd: odd.severity == "info")


def named(kinds: list[Kind], value: str) -> bool:
    """Whether any kind of message has had this category: a market whose subscription was confirmed
    is not new when it trades at last."""
    return any(
        path.values is not None and value in path.values
        for kind in kinds
        for path in kind.paths.values()
    )


def adopt(kind: Kind, odd: list[Oddity]) -> bool:
    """Count them; whether all have come often enough to be learnt."""
    if len(kind.odd) + len(odd) > _ODD:
        kind.odd = {}
    least = ADOPTED
    for one in odd:
        mark = one.mark()
        kind.odd[mark] = count = kind.odd.get(mark, 0) + 1
        least = min(least, count)
    return least >= ADOPTED


def bits(kind: Kind, reading: Reading) -> float:
    """Code length of key sets and categories, each path once."""
    total, done = 0.0, set()
    for group in reading.groups:
        known = kind.groups.get(group.path)
        if known is not None and (group.path, group.mark) not in done:
            done.add((group.path, group.mark))
            total += code_length(known.sets.get(group.mark, 0), known.looked)
    for leaf in reading.leaves:
        path = kind.paths.get(leaf.path)
        if leaf.value is None or path is None or path.values is None:
            continue
        key = (leaf.path, crc32(leaf.value.encode()))
        if key not in done:
            done.add(key)
            total += code_length(path.values.get(leaf.value, 0), path.looked)
    return total


def learn(kind: Kind, reading: Reading, *, counted: bool) -> None:
    """Remember what was seen. `counted`: frequencies too, for messages picked without a reason;
    those picked because they were new would make the new look frequent."""
    kind.looked += 1
    once: set[str] = set()
    for fields in reading.groups:
        _learn_fields(kind, fields, counted=counted, first=fields.path not in once)
        once.add(fields.path)
    once.clear()
    for leaf in reading.leaves:
        _learn_leaf(kind, leaf, counted=counted, first=leaf.path not in once)
        once.add(leaf.path)


def _odd_fields(kind: Kind, fields: Fields) -> list[Oddity]:
    group = kind.groups.get(fields.path)
    if (
        group is None
        or fields.mark in group.sets
        or len(group.sets) >= _SETS
        or group.looked < _LOOKED
        or not settled(kind.seen, group.sets_at)
    ):
        return []
    place = f" in {fields.path}" if fields.path else ""
    extra = [name for name in fields.names if name not in group.names][:3]
    lost = [name for name in group.always if name not in fields.names][:3]
    odd = [Oddity(fields.path, "new_key", f'"{name}"{place} is a new field') for name in extra]
    odd += [Oddity(fields.path, "missing_field", f'"{name}"{place} is missing') for name in lost]
    if not odd:
        which = ", ".join(fields.names)[:80]
        clause = f"fields{place} that never came together: {which}"
        odd.append(Oddity(fields.path, "new_set", clause, "info"))
    return odd


def _odd_leaf(kind: Kind, leaf: Leaf) -> Oddity | None:
    path = kind.paths.get(leaf.path)
    if path is None or path.looked < _LOOKED:
        return None
    name = leaf.path or "the message"
    times, more = _LONGER
    if leaf.length > times * path.longest + more and settled(kind.seen, path.types_at):
        clause = f'"{name}" has {leaf.length:,} characters; the longest had {path.longest:,}'
        return Oddity(leaf.path, "length", clause)
    if not leaf.type & path.types:
        if _interchangeable(path, leaf) or not settled(kind.seen, path.types_at):
            return None
        before = " or ".join(what for bit, what in TYPE_NAMES.items() if bit & path.types)
        return Oddity(leaf.path, "type", f'"{name}" is {TYPE_NAMES[leaf.type]}, not {before}')
    return _odd_value(kind, path, leaf, name) or _odd_decimals(kind, path, leaf, name)


def _odd_decimals(kind: Kind, path: Path, leaf: Leaf, name: str) -> Oddity | None:
    """Another number of decimals, where they have been fixed."""
    known = path.decimals & ~_PADDED
    if (
        leaf.decimals < 0
        or not path.decimals & _PADDED
        or known.bit_count() != 1
        or known >> leaf.decimals & 1
        or not settled(kind.seen, path.types_at)
    ):
        return None
    clause = f'"{name}" has {leaf.decimals} decimals instead of {known.bit_length() - 1}'
    return Oddity(leaf.path, "decimals", clause, "info")


def _interchangeable(path: Path, leaf: Leaf) -> bool:
    """Codes and free text look like hex, or like numbers, now and then."""
    if leaf.type == NUMBER_TEXT and path.types & CODE:
        return True
    return leaf.type in {NUMBER_TEXT, CODE} and bool(path.types & TEXT) and path.values is None


def _odd_value(kind: Kind, path: Path, leaf: Leaf, name: str) -> Oddity | None:
    values, value = path.values, leaf.value
    if values is None or value is None or value in values or not values:
        return None
    if not settled(kind.seen, path.values_at):
        return None
    few = len(values) <= _FEW and leaf.type == TEXT
    known = ", ".join(f'"{one}"' for one in list(values)[:3])
    clause = f'"{name}" is "{value}", never seen before (known: {known})'
    return Oddity(leaf.path, "new_value", clause, "warn" if few else "info", value)


def _learn_fields(kind: Kind, fields: Fields, *, counted: bool, first: bool) -> None:
    group = kind.groups.get(fields.path)
    if group is None:
        if len(kind.groups) >= _PATHS:
            return
        kind.groups[fields.path] = group = Group(names=list(fields.names))
        group.always = list(fields.names)
    group.looked += first
    if fields.mark not in group.sets:
        if len(group.sets) >= _SETS:
            return
        group.sets[fields.mark] = 0
        group.sets_at = kind.seen
        room = _PATHS - len(group.names)
        group.names += [name for name in fields.names if name not in group.names][:room]
        group.always = [name for name in group.always if name in fields.names]
    group.sets[fields.mark] += counted and first


def _learn_leaf(kind: Kind, leaf: Leaf, *, counted: bool, first: bool) -> None:
    path = kind.paths.get(leaf.path)
    if path is None:
        if len(kind.paths) >= _PATHS:
            return
        path = kind.paths[leaf.path] = Path()
    path.looked += first
    if not leaf.type & path.types:
        path.types |= leaf.type
        path.types_at = kind.seen
    path.longest = max(path.longest, min(leaf.length, 1 << 20))
    if leaf.decimals >= 0:
        path.decimals |= 1 << leaf.decimals | (_PADDED if leaf.padded else 0)
    values = path.values
    if leaf.type & TEXT and leaf.value is None:
        path.values = None
    elif leaf.value is not None and values is not None:
        if leaf.value not in values:
            if len(values) >= _CATEGORIES:
                path.values = None
                return
            values[leaf.value] = 0
            path.values_at = kind.seen
        values[leaf.value] += counted and first
