"""Information in one line of bytes: its entropy, and its length when compressed.

It knows nothing of what the bytes mean. Three things outlive a call, and none of them changes a
result: idle compressors, the terms of the entropy sum, and the forms of lines seen before.
"""

import zlib
from math import frexp, log
from typing import Final

from zstandard import ZstdCompressor

from tapewatch.model import limits

_DIGITS: Final = b"0123456789"
_PER_LN2: Final = 1.4426950408889634  # 1 / ln 2

_idle: list[ZstdCompressor] = []


def zstd_length(data: bytes) -> int:
    """Bytes of `data` as one zstd frame of level 1 with checksum."""
    # Making a compressor costs more than using it. Each is taken out of the list while in use, so
    # threads never share one.
    try:
        compressor = _idle.pop()
    except IndexError:
        compressor = ZstdCompressor(level=1, write_checksum=True)
    length = len(compressor.compress(data))
    _idle.append(compressor)
    return length


def gzip_length(data: bytes) -> int:
    """Bytes of `data` as one gzip member of level 1."""
    # Python cannot reset a deflate context, so this one is made anew each time.
    return len(zlib.compress(data, 1, wbits=31))


def log2(x: float) -> float:
    """log2(x) of x > 0 as the Go runtime computes it.

    `math.log2` differs in the last bit for some x, which is enough to change a printed digit.
    """
    fraction, exponent = frexp(x)
    return log(fraction) * _PER_LN2 + exponent


def _term(count: int, size: int) -> float:
    """p * log2(p) of a byte value that occurs `count` times among `size`."""
    p = count / size
    return p * log2(p)


_Form = tuple[float, tuple[float, ...], list[float]]
_forms: dict[tuple[bytes, int], _Form] = {}
_terms: dict[int, list[float]] = {}  # size -> term of each count


def entropy(data: bytes) -> float:
    """Shannon entropy of the byte values, in bits per byte (0 to 8); 0 for no bytes.

    Theory of operation. The sum runs over the byte values in ascending order, because floating
    point addition is not associative and the order is part of the result. The digits are ten
    neighbours in that order, and successive lines of a log mostly differ in digits alone. So the
    sum below the digits and the terms above them are remembered for each remainder of a line, and
    only ten counts are taken anew.
    """
    size = len(data)
    if size > limits.LINE_FORM_BYTES:
        return _entropy_of_long(data)
    skeleton = data.translate(None, _DIGITS)
    form = _forms.get((skeleton, size))
    h, above, terms = form or _learn(skeleton, size)
    for count in map(data.count, _DIGITS):
        h -= terms[count]
    for term in above:
        h -= term
    return h


def _entropy_of_long(data: bytes) -> float:
    h, size = 0.0, len(data)
    for value in sorted(set(data)):
        h -= _term(data.count(value), size)
    return h


def _learn(skeleton: bytes, size: int) -> _Form:
    """The part of the sum that does not come from digits."""
    if size not in _terms:
        _terms[size] = [0.0, *(_term(count, size) for count in range(1, size + 1))]
    if len(_forms) >= limits.LINE_FORMS:
        _forms.clear()
    terms = _terms[size]
    below, above = 0.0, []
    for value in sorted(set(skeleton)):
        term = terms[skeleton.count(value)]
        if value < _DIGITS[0]:
            below -= term
        else:
            above.append(term)
    form = _forms[skeleton, size] = below, tuple(above), terms
    return form
