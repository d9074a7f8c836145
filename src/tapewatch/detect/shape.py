"""`shape`: does a message look like the messages of its kind before it?

It looks at form: which fields, of which types, which categories, how long, how many decimals. It
never scores a price. It sees what decoders do not say: a field that is new, gone or of another
type, another market in the stream, a foreign message.

Theory of operation. Without its digits, a message is a skeleton, and a feed has few of them: an
ordinary frame is one removal of digits, one checksum and one look into a dict. Unknown skeletons
are split into innermost rows and the frame around them, so that any number of levels or trades is
the same form. Only what is unknown then, and one frame in `SAMPLED`, is read as JSON and compared
(`shape_reading`, `shape_memory`).
"""

import re
from collections import Counter
from math import log10, sqrt
from typing import ClassVar, Final
from zlib import crc32

from msgspec import Struct, field

from tapewatch.detect.base import LINE, TOLD
from tapewatch.detect.shape_memory import Kind, Oddity, adopt, bits, learn, named, oddities
from tapewatch.detect.shape_reading import PARSED_BYTES, Reading, read
from tapewatch.kernels import tails
from tapewatch.kernels.code_length import BITS_PER_DECADE, code_length, settled
from tapewatch.model.events import Event
from tapewatch.model.inputs import Frame
from tapewatch.model.limits import TEXT_CHARS
from tapewatch.model.outputs import Contribution, Observation, Severity
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S

IMPORTED: Final = "ndjson"  # rows that our own import wrote: their form is ours, not a venue's
SAMPLED: Final = 64  # one frame in so many is read closely whatever it looks like,
SAMPLED_LATER: Final = 256  # ... of a source that has sent `YOUNG`
YOUNG: Final = 10_000
FORMS: Final = 256  # skeletons of a source known at sight
PARTS: Final = 512  # ... and rows
REPEATED: Final = 6  # rows that come several times in a frame, such as levels of a book
REPEATED_BYTES: Final = 200  # ... of at most so many bytes
KINDS: Final = 48  # of messages of one source; further ones share the last
_ALIKE: Final = 0.5  # share of common keys from which two objects are of one kind
_CONTROL_KINDS: Final = 2  # a source with more sends control messages: a new kind is only told
_FEW_KINDS: Final = 12  # a source with more has markets in its names of kinds: it is not even told
_USUAL_BITS: Final = 8.0  # scale of code lengths, so that about 1 is usual
_MEAN_OF: Final = 100.0  # sampled frames that the usual code length rests on

_DENSITY: Final = 16  # digits per so many other bytes: whole numbers then tell enough
_NUMBERS: Final = b"0123456789.-"
_BETWEEN: Final = b", "  # what stands between rows; their number is no matter
_ROW: Final = re.compile(rb"([\[{][^\[\]{}]*[\]}])")
_HEX: Final = re.compile(rb'"x?[a-fA-F]{3,}"(?!:)')  # what is left of a hex code


class Form(Struct):
    """A skeleton: the place of its kind, and how many digits it came with."""

    kind: int
    low: int
    high: int


class ShapeState(Struct):
    """Memory of one source. `reduced`: skeletons without the rows in `repeated`; `outers`: without
    any rows. Both have digits per length, not digits."""

    key: str
    seen: int = 0
    first_ns: int = 0
    forms: dict[int, Form] = {}
    repeated: list[bytes] = []
    reduced: dict[int, Form] = {}
    outers: dict[int, Form] = {}
    rows: dict[int, None] = {}
    sample: int = SAMPLED
    kinds: list[Kind] = []
    odd_kinds: Kind = field(default_factory=lambda: Kind("", ""))  # counts foreign kinds
    tail: tails.Tail = field(default_factory=tails.Tail)
    mean_bits: float = 0.0
    variance: float = 0.0
    sampled: int = 0


class Shape(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Novelty of a message's form, by adaptive code lengths and rules on them.

    Rules (no p): a kind of message never seen; a field that is new, missing, or of another type; a
    category never seen (another pair in the stream); text far longer than ever. They hold from 500
    messages on, and only where nothing new has come for three quarters of the time. An oddity that
    comes a hundred times becomes the rule. Otherwise the code length of key sets and categories is
    compared with its own record; a rare combination is `info`. So is what cannot be read at all:
    the decoder warns of that.

    Units: score in decades: -log10 of the chance of a symbol never seen in n (0.5 / (n + 1)), or of
    a code length at least as large; observed and expected in bits.
    Reference: estimator of Krichevsky and Trofimov (1981) for code lengths.
    False alarms: a venue that changes its interface, which is what it is for; markets listed while
    we watch; rare administrative messages (told as `info` where a source has several kinds).
    Blind to: what only digits say, such as a market named by a number.
    """

    name: ClassVar[str] = "shape"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Frame,)
    state_type: ClassVar[type] = ShapeState

    def key(self, event: Event, /) -> str | None:
        if not isinstance(event, Frame) or event.source == IMPORTED:
            return None
        return f"{event.source}:*"

    def start(self, key: str, /) -> ShapeState:
        return ShapeState(key)

    def update(self, state: ShapeState, event: Event, /) -> Observation | None:
        assert isinstance(event, Frame)
        data = event.data
        bare = data.translate(None, _NUMBERS)
        mark = crc32(bare) if event.stream == "ws" else crc32(bare, _stream_mark(event.stream))
        state.seen = seen = state.seen + 1
        form = state.forms.get(mark)
        digits = len(data) - len(bare)
        if seen % state.sample == 0:
            return _unknown(state, event, bare, mark)
        if form is not None and form.low <= digits <= form.high:
            state.kinds[form.kind].seen += 1
            return None
        form = state.reduced.get(_reduced_mark(state, bare))
        density = _DENSITY * digits // (len(bare) + 1)
        if form is not None and form.low <= density <= form.high and event.stream == "ws":
            state.kinds[form.kind].seen += 1
            return None
        return _unknown(state, event, bare, mark)


def _stream_mark(stream: str) -> int:
    return crc32(_stream_name(stream).encode())


def _stream_name(stream: str) -> str:
    return "" if stream == "ws" else stream.partition("?")[0][:64]


def _reduced_mark(state: ShapeState, bare: bytes) -> int:
    """The skeleton without its repeated rows, and which of them it had."""
    which = 0
    for place, row in enumerate(state.repeated):
        if row in bare:
            bare = bare.replace(row, b"")
            which |= 1 << place
    return crc32(bare.translate(None, _BETWEEN), which)


def _unknown(state: ShapeState, frame: Frame, bare: bytes, mark: int) -> Observation | None:
    """A skeleton that is not known at sight, or one frame of the sample."""
    state.first_ns = state.first_ns or frame.ts_recv
    pieces = [b"very long"]  # it is not taken apart: that would take too long
    if len(frame.data) <= PARSED_BYTES:
        pieces = _ROW.split(_HEX.sub(b'"~"', bare))
    salt = 0 if frame.stream == "ws" else _stream_mark(frame.stream)
    outer = crc32(b"".join(pieces[::2]).translate(None, _BETWEEN), salt)
    rows = {crc32(row, outer) for row in set(pieces[1::2])}
    digits = len(frame.data) - len(bare)
    density = _DENSITY * digits // (len(bare) + 1)
    sampled = state.seen % state.sample == 0
    known = state.outers.get(outer)
    if (
        not sampled
        and known is not None
        and known.low <= density <= known.high
        and rows <= state.rows.keys()
    ):
        place, seen = known.kind, None
        state.kinds[place].seen += 1
    else:
        found = _close_look(state, frame, sampled=sampled)
        if not isinstance(found, tuple):
            return found
        place, seen = found
    if len(pieces) > 2 * len(rows) + 1:
        _remember_reduced(state, pieces, bare, place, density)
    else:
        _remember(state.forms, mark, place, digits)
    _remember(state.outers, outer, place, density)
    if len(state.rows) + len(rows) > PARTS:
        state.rows.clear()
    if len(rows) <= PARTS:
        state.rows.update(dict.fromkeys(rows))
    return seen


def _close_look(
    state: ShapeState, frame: Frame, *, sampled: bool
) -> Observation | tuple[int, Observation | None]:
    """What is odd about a frame; or its kind, and whether it is a rare one of it."""
    reading = read(frame.data)
    place, new = _kind_of(state, reading, _stream_name(frame.stream))
    if place is None:
        return _foreign(state, frame, reading)
    kind = state.kinds[place]
    kind.seen += 1
    odd = [] if new else oddities(kind, reading)
    odd = [one for one in odd if not (one.value and named(state.kinds, one.value))]
    if odd and not adopt(kind, odd):
        return _odd(state, frame, kind, odd)
    seen = None if new else _rare(state, frame, kind, reading)
    learn(kind, reading, counted=sampled)
    if sampled:
        _learn_bits(state, bits(kind, reading))
    return place, seen


def _remember(known: dict[int, Form], mark: int, place: int, amount: int) -> None:
    form = known.get(mark)
    if form is not None:
        form.low, form.high = min(form.low, amount), max(form.high, amount)
        return
    if len(known) >= FORMS:
        known.clear()
    known[mark] = Form(place, amount, amount)


def _remember_reduced(
    state: ShapeState, pieces: list[bytes], bare: bytes, place: int, density: int
) -> None:
    """A frame with rows that are alike."""
    for row, times in Counter(pieces[1::2]).most_common(2):
        usable = times > 1 and len(row) <= REPEATED_BYTES and row not in state.repeated
        if usable and len(state.repeated) < REPEATED:
            state.repeated.append(row)
            state.reduced.clear()  # their marks were made with fewer
    _remember(state.reduced, _reduced_mark(state, bare), place, density)


def _kind_of(state: ShapeState, reading: Reading, stream: str) -> tuple[int | None, bool]:
    """The place of the message's kind and whether it is a new one; None: it is foreign."""
    names = reading.groups[0].names if reading.groups and not reading.groups[0].path else ()
    name = reading.kind or (f"{', '.join(names[:4])}" if names or reading.groups else "empty")
    name = name or "no fields"
    best, alike = None, 0.0
    of_stream, newest, kinds = 0, 0, 0
    for place, kind in enumerate(state.kinds):
        if kind.stream != stream:
            continue
        kinds += 1
        of_stream += kind.seen
        newest = max(newest, kind.born)
        if kind.name == name:
            return place, False
        if not reading.kind and reading.readable:
            likeness = _likeness(kind, names)
            if likeness > alike:
                best, alike = place, likeness
    if best is not None and alike >= _ALIKE:
        return best, False
    few = kinds <= _FEW_KINDS or not reading.readable
    if few and settled(of_stream, newest):
        odd = Oddity(stream, "new_kind", name)
        if not adopt(state.odd_kinds, [odd]):
            return None, True
    if len(state.kinds) >= KINDS:
        return KINDS - 1, True
    state.kinds.append(Kind(name, stream, born=of_stream))
    return len(state.kinds) - 1, True


def _likeness(kind: Kind, names: tuple[str, ...]) -> float:
    group = kind.groups.get("")
    if group is None or not names:
        return 0.0
    common = sum(name in group.names for name in names)
    return common / (len(group.names) + len(names) - common)


def _foreign(state: ShapeState, frame: Frame, reading: Reading) -> Observation:
    """A kind of message that never came."""
    kinds = [kind for kind in state.kinds if kind.stream == _stream_name(frame.stream)]
    seen = sum(kind.seen for kind in kinds)
    # What cannot be read is a warning of the decoder's already.
    told = not reading.readable or len(kinds) > _CONTROL_KINDS
    what = "a kind of message" if reading.readable else "a message that cannot be read"
    known = ", ".join(kind.name for kind in kinds[:3])
    reason = f"{what} that never came in {seen:,}: {reading.head}"
    part = Contribution(f"{what} (known: {known})", log10(2.0 * (seen + 1)))
    sort = "new_kind" if reading.readable else "unreadable"
    return _observation(state, frame, seen, (part,), reason, sort, "info" if told else "warn")


def _odd(state: ShapeState, frame: Frame, kind: Kind, odd: list[Oddity]) -> Observation:
    """A message of a known kind that does not look like it."""
    decades = log10(2.0 * (kind.seen + 1))
    parts = tuple([Contribution(f"{one.sort} {one.path}".strip(), decades) for one in odd[:3]])
    more = f"; {len(odd) - 2:,} more" if len(odd) > 2 else ""
    clauses = "; ".join(one.clause for one in odd[:2])
    reason = f"in a message like {kind.seen:,} before ({kind.name}): {clauses}{more}"
    return _observation(state, frame, kind.seen, parts, reason, odd[0].sort, odd[0].severity)


def _observation(
    state: ShapeState,
    frame: Frame,
    seen: int,
    parts: tuple[Contribution, ...],
    reason: str,
    sort: str,
    severity: Severity,
) -> Observation:
    """A broken rule: something with the code length of a symbol that never came in `seen`."""
    observed = code_length(0, seen)
    spread = sqrt(state.variance)
    return Observation(
        detector=Shape.name,
        instrument=state.key,
        cause="shape",
        ts_event=frame.ts_recv,
        score=max(LINE, observed / BITS_PER_DECADE),
        line=LINE,
        severity=severity,
        observed=observed,
        expected=state.mean_bits,
        expected_low=0.0,
        expected_high=state.mean_bits + 3.0 * spread,
        unit="bits",
        sigma=(observed - state.mean_bits) / spread if spread > 0.0 else None,
        deviation=observed - state.mean_bits,
        deviation_unit="bits",
        contributions=parts,
        baseline_count=seen,
        baseline_window_s=max(0, frame.ts_recv - state.first_ns) / NS_PER_S,
        reason=clean(reason, 2 * TEXT_CHARS),
        kind=sort,
    )


def _rare(state: ShapeState, frame: Frame, kind: Kind, reading: Reading) -> Observation | None:
    """A combination of known things that seldom comes, by the record of code lengths."""
    if not tails.ready(state.tail):
        return None
    observed = bits(kind, reading)
    p, extrapolated = tails.p_value(state.tail, observed / _USUAL_BITS)
    if p > 10.0**-TOLD:
        return None
    least = tails.magnitude_at(state.tail, 10.0**-LINE) * _USUAL_BITS
    spread = sqrt(state.variance)
    return Observation(
        detector=Shape.name,
        instrument=state.key,
        cause="shape",
        ts_event=frame.ts_recv,
        score=-log10(p),
        line=LINE,
        severity="info",
        p=p,
        p_extrapolated=extrapolated,
        observed=observed,
        expected=state.mean_bits,
        expected_low=0.0,
        expected_high=least,
        unit="bits",
        flip=least,
        sigma=(observed - state.mean_bits) / spread if spread > 0.0 else None,
        deviation=observed - state.mean_bits,
        deviation_unit="bits",
        contributions=(Contribution(kind.name, -log10(p), observed, state.mean_bits, "bits", p),),
        baseline_count=state.tail.seen,
        baseline_window_s=max(0, frame.ts_recv - state.first_ns) / NS_PER_S,
        reason=clean(f"a rare combination in a message ({kind.name}): {reading.head}", TEXT_CHARS),
        kind="rare",
    )


def _learn_bits(state: ShapeState, usual: float) -> None:
    """One frame of the sample."""
    tails.learn(state.tail, usual / _USUAL_BITS)
    state.sampled += 1
    if state.seen >= YOUNG:
        state.sample = SAMPLED_LATER
    step = 1.0 / min(state.sampled, _MEAN_OF)
    off = usual - state.mean_bits
    state.mean_bits += step * off
    state.variance += step * ((1.0 - step) * off * off - state.variance)
