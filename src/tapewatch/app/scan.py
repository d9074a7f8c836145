"""`scan`: the lines of a file or pipe through the driftlock detector.

`Scan` turns chunks of bytes into lines of output, wherever the chunks are cut; it reads nothing and
writes nothing. `chunks` and `followed` read.
"""

import io
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

from tapewatch.detect import gojson
from tapewatch.detect.driftlock import LENGTHS, Driftlock, LineResult, LineWindow, encode
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.text import clean

CHUNK_BYTES: Final = 1 << 16
PRETTY_CHARS: Final = 120  # of a line, as in the original

Format = Literal["raw", "ndjson", "json"]


class Scan:
    """One pass over a stream of lines. Malformed ones are told to `say`, counted and left out."""

    def __init__(
        self,
        detector: Driftlock,
        say: Callable[[str], None],
        *,
        form: Format = "raw",
        show_all: bool = False,
        pretty: bool = False,
    ) -> None:
        self.anomalies = 0
        self.skipped = 0
        self.window = LineWindow()
        self._detector = detector
        self._length = LENGTHS[detector.algo]
        self._say = say
        self._form = form
        self._show_all = show_all
        self._write = _pretty if pretty else encode
        self._number = 0  # of the line being read, from 1
        self._rest = b""  # a line that has not ended yet
        self._text = bytearray()  # the JSON document so far
        self._too_long = False  # it has outgrown its limit and is skipped up to its end

    def outputs(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Everything: the output of each chunk that has any, and of the end."""
        for chunk in chunks:
            if lines := self.feed(chunk):
                yield lines
        if lines := self.end():
            yield lines

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes, give the output of the lines that ended in them."""
        if self._form == "json":
            self._text += chunk
            if len(self._text) > limits.JSON_BYTES:
                raise ConfigError(
                    f"more than {limits.JSON_BYTES >> 20} MiB of JSON are too much to be read as a"
                    " whole; write one value on each line and use ndjson",
                    "--format",
                )
            return b""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        out: list[bytes] = []
        for line in lines:
            self._line(line, out)
        if len(self._rest) > limits.LINE_BYTES:
            self._rest, self._too_long = b"", True
        return b"".join(out)

    def end(self) -> bytes:
        """No more bytes will come: the output of what has not been ended by a newline."""
        out: list[bytes] = []
        if self._form == "json":
            self._document(out)
        elif self._rest or self._too_long:
            self._line(self._rest, out)
            self._rest = b""
        return b"".join(out)

    def summary(self) -> str:
        """What a user should know at the end; empty if there is nothing."""
        said = []
        if self.skipped:
            said.append(f"{_lines(self.skipped)} could not be read and left out.")
        if self._rest:
            said.append("The last line has no end yet and was left out.")
        read, needed = self.window.sequence, self._detector.baseline_lines
        if read <= needed:
            said.append(
                f"Nothing was judged: the baseline takes {needed:,}, and {_lines(read)} came."
            )
        return " ".join(said)

    def _line(self, raw: bytes, out: list[bytes]) -> None:
        self._number += 1
        if self._too_long or len(raw) > limits.LINE_BYTES:
            self._too_long = False
            self._skip(f"longer than {limits.LINE_BYTES:,} bytes")
        elif self._form == "raw":
            self._judge(raw.rstrip(b"\r"), out)
        else:
            try:
                line = gojson.canonical(raw)
            except DecodeError as error:
                if raw and not raw.isspace():
                    self._skip(str(error))
            else:
                self._judge(line, out)

    def _judge(self, line: bytes, out: list[bytes]) -> None:
        result = self._detector.score(self.window, line, self._length(line))
        self.anomalies += result.is_anomaly
        if result.is_anomaly or self._show_all:
            out.append(self._write(result))
            out.append(b"\n")

    def _skip(self, why: str) -> None:
        self.skipped += 1
        if self.skipped <= limits.SCAN_PROBLEMS:
            self._say(f"line {self._number}: {clean(why)}; left out")
        if self.skipped == limits.SCAN_PROBLEMS:
            self._say("more such lines are counted, but not shown")

    def _document(self, out: list[bytes]) -> None:
        """Every value of a JSON text that holds one array, or values one after the other."""
        self._number = 1
        try:
            text = gojson.text_of(self._text)
        except DecodeError as error:
            self._skip(str(error))
            return
        for value in self._values(text):
            try:
                line = gojson.encode(value)
            except DecodeError as error:
                self._skip(str(error))
            else:
                self._judge(line, out)

    def _values(self, text: str) -> Iterator[Any]:
        at = _after_space(text, 0)
        whole = True  # the value would be the only one
        while at < len(text) and self.skipped < limits.SCAN_PROBLEMS:
            try:
                value, end = gojson.decode_next(text, at)
            except (json.JSONDecodeError, DecodeError) as error:
                # Where the next value begins is a guess: after the line of the error.
                wrong = error.pos if isinstance(error, json.JSONDecodeError) else at
                self._number = text.count("\n", 0, wrong) + 1
                self._skip(str(error))
                end = text.find("\n", wrong)
                end = len(text) if end < 0 else end
            else:
                if whole and isinstance(value, list) and _after_space(text, end) == len(text):
                    yield from value
                else:
                    yield value
            whole = False
            at = _after_space(text, end)


def chunks(file: io.BufferedReader) -> Iterator[bytes]:
    """A file or pipe to its end."""
    while chunk := file.read1(CHUNK_BYTES):
        yield chunk


def followed(
    file: io.BufferedReader, path: Path | None, wait: Callable[[], bool]
) -> Iterator[bytes]:
    """A file or pipe beyond its end: what is appended, and what takes its place under `path`.

    `wait` is called when there is nothing to read; False ends it. A file that has become shorter is
    read from its beginning, and one that was renamed to its end. A last line without newline is
    ended there, since nobody will go on with it. Closes what it reads.
    """
    last, going = b"\n", True
    try:
        while going:
            for chunk in chunks(file):
                last = chunk[-1:]
                yield chunk
            now = _successor(file, path)
            if now is None:
                going = wait()
                continue
            if now is not file:
                old, file = file, now
                with old:  # something may have been written between our last look and the renaming
                    for chunk in chunks(old):
                        last = chunk[-1:]
                        yield chunk
            if last != b"\n":
                yield b"\n"
            last = b"\n"
    finally:
        file.close()


def _successor(file: io.BufferedReader, path: Path | None) -> io.BufferedReader | None:
    """What to read now that `file` is at its end; None: nothing new."""
    here = os.fstat(file.fileno())
    if not stat.S_ISREG(here.st_mode):
        return None
    if path is not None:
        try:
            there = path.stat()
            if not os.path.samestat(here, there):
                return path.open("rb")
        except FileNotFoundError:
            return None  # between renaming and creation: the next look will find it
    if here.st_size < file.tell():
        file.seek(0)
        return file
    return None


def _after_space(text: str, at: int) -> int:
    """The first character from `at` on that is no JSON space."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _lines(count: int) -> str:
    return f"{count:,} line{'' if count == 1 else 's'}"


def _pretty(result: LineResult) -> bytes:
    """The original's layout, safe to print."""
    return (
        f"[{'ALERT' if result.is_anomaly else 'OK'}] #{result.sequence} score={result.score:.2f}"
        f" entropy={result.entropy:.2f} comp={result.compression_ratio:.2f}"
        f" :: {clean(result.line, PRETTY_CHARS)}"
    ).encode()
