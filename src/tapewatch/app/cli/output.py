"""How commands speak: data on standard output, words for people on standard error.

`Shell` carries what the user wants of the output; every command accepts its options, before or
after its name. Machine-readable lines are JSON with `schema` and `v`.
"""

import os
import pathlib
import sys
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

import click

from tapewatch.model.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tapewatch.app.config import Loaded
    from tapewatch.app.environment import Setting
    from tapewatch.sinks.terminal import Screen

Color = Literal["auto", "always", "never"]


class Shell:
    """What the user wants of the output, and the two streams."""

    def __init__(self) -> None:
        self.quiet = False
        self.verbose = False
        self.color: Color = "auto"
        self.config: pathlib.Path | None = None

    def say(self, text: str) -> None:
        """Words for people, not with `-q`."""
        if not self.quiet:
            self.complain(text)

    def complain(self, text: str) -> None:
        """Words for people, always."""
        click.echo(shown(text, sys.stderr), err=True)

    def put(self, text: str) -> None:
        """A line of data."""
        click.echo(shown(text, sys.stdout))

    def load(self, flags: "Sequence[Setting]" = ()) -> "Loaded":
        """The settings; what must be said about them is said."""
        from tapewatch.app.config import load  # noqa: PLC0415  --help must not pay for it

        loaded = load(flags, file=self.config)
        for note in loaded.notes:
            self.say(f"note: {note}.")
        return loaded

    def screen(self, *, bell: bool = True, json: bool = False, banner: str = "") -> "Screen":
        """The terminal on standard output, for the alert sink."""
        from tapewatch.sinks.terminal import Screen  # noqa: PLC0415  see above

        return Screen(
            color=colored(self.color, sys.stdout),
            ascii=not speaks_unicode(sys.stdout),
            bell=bell and sys.stdout.isatty(),
            json=json,
            verbose=self.verbose,
            quiet=self.quiet,
            banner=banner,
        )


def current() -> Shell:
    """The shell of the running command."""
    shell: Shell = click.get_current_context().find_root().ensure_object(Shell)
    return shell


def json_line(schema: str, **fields: Any) -> str:
    """`{"schema": "tapewatch.<schema>/1", "v": 1, ...}` on one line, safe on a terminal."""
    import msgspec  # noqa: PLC0415  see above

    from tapewatch.sinks.wording import json_text  # noqa: PLC0415  see above

    value = {"schema": f"tapewatch.{schema}/1", "v": 1, **fields}
    return json_text(msgspec.json.encode(value))


def columns(rows: "Iterable[Sequence[str]]") -> list[str]:
    """Rows of a table as lines; the last column is not padded."""
    table = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)] if table else []
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def colored(wanted: Color, stream: TextIO) -> bool:
    """Whether to send colours: https://no-color.org, FORCE_COLOR, then what the stream is."""
    if wanted != "auto":
        return wanted == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def speaks_unicode(stream: TextIO) -> bool:
    """Whether the stream's encoding has more than ASCII and Latin letters."""
    return (stream.encoding or "ascii").lower().replace("-", "").startswith("utf")


def shown(text: str, stream: TextIO) -> str:
    """`text` as the stream can show it."""
    if text.isascii() or speaks_unicode(stream):
        return text
    from tapewatch.sinks.wording import ascii_text  # noqa: PLC0415  rarely needed

    return ascii_text(text)


def _keep(context: click.Context, param: click.Parameter, value: Any) -> None:
    assert param.name is not None
    if value not in (None, False):
        setattr(context.find_root().ensure_object(Shell), param.name, value)


def options(*, hidden: bool) -> "list[click.Option]":
    """The options that every command accepts; shown in the help of the root only."""
    kept: dict[str, Any] = {"callback": _keep, "expose_value": False, "hidden": hidden}
    return [
        click.Option(["-q", "--quiet"], is_flag=True, help="Only data and errors.", **kept),
        click.Option(["-v", "--verbose"], is_flag=True, help="More; tracebacks too.", **kept),
        click.Option(
            ["--color"], type=click.Choice(["auto", "always", "never"]), help="Colours.", **kept
        ),
        click.Option(
            ["--config"],
            type=click.Path(path_type=pathlib.Path),
            help="Settings, in place of ./tapewatch.toml.",
            **kept,
        ),
    ]


JSON: Final = click.option("--json", "as_json", is_flag=True, help="For programs.")
