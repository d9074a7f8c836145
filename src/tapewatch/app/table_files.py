"""Rows out of csv, csv.gz, ndjson and parquet files, one dict each, with their line numbers.

Knows file formats and nothing of markets. What cannot be read as a row is told, not guessed at.
"""

import csv
import gzip
import pathlib
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, Final

import msgspec

from tapewatch.model import limits
from tapewatch.model.errors import ConfigError

Row = dict[str, Any]
Complain = Callable[[int, str], None]  # line number, what is wrong with it

_BATCH: Final = 10_000  # parquet rows in memory at once


def rows(path: pathlib.Path, complain: Complain) -> Iterator[tuple[int, Row]]:
    """Line (or row) number and columns. Raises `ConfigError` for a file that cannot be read."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        return _parquet(path)
    if name.endswith((".ndjson", ".jsonl", ".json")):
        return _ndjson(path, complain)
    if name.endswith((".csv", ".tsv", ".txt")):
        return _csv(path, complain, "\t" if name.endswith(".tsv") else ",")
    raise ConfigError(f"{path.name}: not csv, csv.gz, ndjson or parquet by its name")


def lines(path: pathlib.Path, complain: Complain) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without their ends; empty ones are left out, too long ones told."""
    number = 0
    try:
        with _opened(path) as file:
            while line := file.readline(limits.ROW_BYTES + 1):
                number += 1
                if len(line) > limits.ROW_BYTES:
                    while line and not line.endswith(b"\n"):
                        line = file.readline(limits.ROW_BYTES)
                    complain(number, f"longer than {limits.ROW_BYTES:,} bytes")
                elif text := line.strip():
                    yield number, text
    except (OSError, EOFError, zlib.error) as error:
        what = getattr(error, "strerror", None) or str(error)
        after = f" after line {number:,}" if number else ""
        raise ConfigError(f"{path.name} cannot be read{after}: {what}") from error


def _opened(path: pathlib.Path) -> IO[bytes] | gzip.GzipFile:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rb")
    return path.open("rb")


def _ndjson(path: pathlib.Path, complain: Complain) -> Iterator[tuple[int, Row]]:
    decode = msgspec.json.Decoder(Row).decode
    for number, line in lines(path, complain):
        try:
            row = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            complain(number, "not a JSON object")
        else:
            yield number, row


def _csv(path: pathlib.Path, complain: Complain, delimiter: str) -> Iterator[tuple[int, Row]]:
    """A row is a line: market data have no line breaks in their texts."""
    names: list[str] = []
    for number, line in lines(path, complain):
        text = line.decode("utf-8-sig", "replace")
        try:
            cells = next(csv.reader((text,), delimiter=delimiter))
        except csv.Error as error:
            complain(number, str(error))
            continue
        if not names:
            names = [cell.strip() for cell in cells]
        elif len(cells) == len(names):
            yield number, dict(zip(names, cells, strict=True))
        else:
            complain(number, f"{len(cells)} cells, the head has {len(names)}")


def _parquet(path: pathlib.Path) -> Iterator[tuple[int, Row]]:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415  optional, and 100 ms
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            'Parquet files need pyarrow, which is not installed: pip install "tapewatch[parquet]"'
        ) from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH):
                names = batch.schema.names
                columns = [
                    column.cast(pa.timestamp("ns")).cast(pa.int64())
                    if pa.types.is_timestamp(column.type)
                    else column
                    for column in batch.columns
                ]
                for cells in zip(*(column.to_pylist() for column in columns), strict=True):
                    number += 1
                    yield number, dict(zip(names, cells, strict=True))
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path.name} cannot be read as parquet: {error}") from error
