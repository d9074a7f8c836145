"""`tapewatch scan`: a drop-in for `driftlock scan`, the same flags, fields and numbers."""

import contextlib
import os
import pathlib
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal, cast

import click

from tapewatch.app.cli import output
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError, TapewatchError
from tapewatch.model.text import clean

if TYPE_CHECKING:
    import io

    from tapewatch.app.scan import Scan

FOUND: Final = 4  # exit code of --exit-code
LOOK_S: Final = 0.25  # between two looks for appended lines, as in the original
BELL: Final = "\a"


def _choice(*names: str) -> click.Choice[str]:
    return click.Choice(names, case_sensitive=False)


@click.command()
@click.argument("file", metavar="[FILE]", required=False)
@click.option(
    "--format", "form", type=_choice("raw", "ndjson", "json"), default="raw", show_default=True,
    help="Lines of any text, a JSON value on each line, or one JSON document.",
)  # fmt: skip
@click.option(
    "--baseline-lines", type=click.IntRange(1, limits.WINDOW_SAMPLES), default=400,
    show_default=True, help="Lines that a line is compared with.",
)  # fmt: skip
@click.option("--algo", type=_choice("zstd", "gzip"), default="zstd", show_default=True)
@click.option(
    "--threshold", type=float, default=0.35,
    show_default=True, help="Score from which a line is anomalous.",
)  # fmt: skip
@click.option(
    "--min-line-length", type=click.IntRange(1), default=12, show_default=True,
    help="Shorter lines, in bytes, are never anomalous.",
)  # fmt: skip
@click.option("--show-all", is_flag=True, help="Print every line, not only the anomalous ones.")
@click.option(
    "--output", "layout", type=_choice("ndjson", "pretty"), default="ndjson", show_default=True,
    help="JSON lines, or lines for people.",
)  # fmt: skip
@click.option("--follow", is_flag=True, help="Wait for more at the end, also across log rotation.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read standard input; so does FILE -.")
@click.option("--audio", is_flag=True, help="Ring the terminal's bell on anomalies.")
@click.option("--exit-code", is_flag=True, help=f"End with exit code {FOUND} if there are any.")
@click.pass_context
def scan(  # noqa: PLR0913  one argument per option
    context: click.Context,
    *,
    file: str | None,
    form: Literal["raw", "ndjson", "json"],
    baseline_lines: int,
    algo: Literal["zstd", "gzip"],
    threshold: float,
    min_line_length: int,
    show_all: bool,
    layout: str,
    follow: bool,
    from_stdin: bool,
    audio: bool,
    exit_code: bool,
) -> None:
    """Find lines that do not look like the lines before them.

    It sees the form of a line, not its meaning: a change of format, a foreign message, a run of one
    character. It does not see unusual prices.
    """
    from tapewatch.app.scan import Scan, chunks, followed  # noqa: PLC0415  --help stays quick
    from tapewatch.detect.driftlock import Driftlock  # noqa: PLC0415

    if follow and form == "json":
        raise ConfigError("a JSON document ends; follow lines with --format ndjson", "--follow")
    if not 0.0 < threshold <= 1.0:  # NaN included
        raise ConfigError(f"{threshold:g} is not between 0 and 1", "--threshold")
    detector = Driftlock(
        baseline_lines=baseline_lines,
        algo=algo,
        threshold=threshold,
        min_line_length=min_line_length,
    )
    shell = output.current()
    work = Scan(detector, shell.complain, form=form, show_all=show_all, pretty=layout == "pretty")
    path = None if from_stdin or file in (None, "-") else pathlib.Path(str(file))
    if path is None and file is None and not from_stdin and sys.stdin.isatty():
        raise ConfigError("nothing to read: name a file, or pipe lines into it", "FILE")
    with _opened(path) as reader, _stopped_by_signals():
        going_on = follow and (path is not None or _is_file(reader))
        pieces = followed(reader, path, _pause) if going_on else chunks(reader)
        read = _print(work, pieces, audio=audio)
    if read and (said := work.summary()):
        shell.say(said)
    if exit_code and work.anomalies:
        context.exit(FOUND)


def _print(work: "Scan", chunks: Iterator[bytes], *, audio: bool) -> bool:
    """Until the end, Ctrl+C, or nobody reads the output any more; whether somebody does."""
    out, heard = sys.stdout.buffer, 0
    try:
        for lines in work.outputs(chunks):
            out.write(lines)
            out.flush()
            if audio and work.anomalies > heard:
                click.echo(BELL, nl=False, err=True)
            heard = work.anomalies
    except KeyboardInterrupt:
        return True  # the user's way to end it
    except BrokenPipeError:
        # What is left in the buffer has nowhere to go; Python would complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return False
    except OSError as error:
        raise TapewatchError(f"cannot go on: {error.strerror}") from error
    return True


def _is_file(reader: "io.BufferedReader") -> bool:
    """Standard input that is a file may grow; a pipe ends when its writers are gone."""
    return stat.S_ISREG(os.fstat(reader.fileno()).st_mode)


def _pause() -> bool:
    """Wait for a file to grow; Ctrl+C is what ends it."""
    threading.Event().wait(LOOK_S)
    return True


@contextlib.contextmanager
def _opened(path: pathlib.Path | None) -> Iterator["io.BufferedReader"]:
    if path is None:
        yield cast("io.BufferedReader", sys.stdin.buffer)
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise ConfigError(f"cannot read {clean(str(path))}: {error.strerror}", "FILE") from error
    with file:
        yield file


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """SIGTERM ends it in the same way as Ctrl+C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
