"""Entropy agrees with its plain formula to the last bit; lengths are those of real files."""

import concurrent.futures
import gzip
import math
import random

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.kernels import information
from tapewatch.kernels.information import entropy, gzip_length, log2, zstd_length
from tapewatch.model import limits

ROW = b'{"id":"kraken-1763870504612-0","price":87456.5,"qty":0.00054749,"side":"buy"}'


def plainly(data: bytes) -> float:
    h = 0.0
    for value in range(256):
        p = data.count(value) / max(len(data), 1)
        if p:
            h -= p * log2(p)
    return h


@given(st.binary(max_size=700))
def test_entropy_is_the_plain_sum_in_the_order_of_byte_values(data: bytes) -> None:
    assert entropy(data) == plainly(data)


@given(st.lists(st.text("0123456789", min_size=1, max_size=20), min_size=2, max_size=2))
def test_lines_that_differ_in_digits_only(numbers: list[str]) -> None:
    for number in numbers:
        line = f'{{"a":{number},"b":"~!/"}}'.encode()
        assert entropy(line) == plainly(line)


@pytest.mark.parametrize("size", [limits.LINE_FORM_BYTES, limits.LINE_FORM_BYTES + 1, 100_000])
def test_long_lines(size: int) -> None:
    data = random.Random(1).randbytes(size)
    assert entropy(data) == plainly(data)
    assert entropy(data) == pytest.approx(8.0, abs=0.5)


@pytest.mark.parametrize(
    ("data", "bits"),
    [(b"", 0.0), (b"AAAA", 0.0), (b"77", 0.0), (b"01", 1.0), (bytes(range(256)), 8.0)],
)
def test_known_entropies(data: bytes, bits: float) -> None:
    assert entropy(data) == bits
    assert math.copysign(1.0, entropy(data)) == 1.0  # never printed as -0


def test_what_is_remembered_is_bounded() -> None:
    for index in range(3 * limits.LINE_FORMS):
        line = b"form " + str(index).translate(str.maketrans("0123456789", "abcdefghij")).encode()
        assert entropy(line) == plainly(line)
    assert len(information._forms) <= limits.LINE_FORMS


def test_log2_is_exact_for_powers_of_two_and_close_elsewhere() -> None:
    assert [log2(2.0**k) for k in range(-20, 3)] == list(range(-20, 3))
    assert log2(0.3) == pytest.approx(math.log2(0.3), rel=1e-15)


@given(st.binary(max_size=300))
def test_lengths_are_those_of_real_files(data: bytes) -> None:
    frame = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(data)
    assert zstd_length(data) == len(frame)
    assert gzip_length(data) == len(gzip.compress(data, 1))


def test_a_compressor_is_reused_and_never_shared() -> None:
    zstd_length(ROW)
    kept = list(information._idle)
    assert zstd_length(ROW) == zstd_length(ROW)
    assert information._idle == kept
    rows = [ROW * (index + 1) for index in range(40)] * 25
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(zstd_length, rows)) == list(map(zstd_length, rows))
    assert len(information._idle) <= 5
