"""The command line: which commands there are, what ends them, and with which exit code.

A command's module is imported when it runs, so that `--help` and completion stay quick.
"""

import contextlib
import errno
import hashlib
import importlib
import os
import pathlib
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Any, Final

import click

from tapewatch.app.cli.output import Shell, options
from tapewatch.app.suggest import did_you_mean
from tapewatch.model.errors import TapewatchError
from tapewatch.model.text import clean

INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it
# What a stream says whose reader has gone, or whose disk is full or broken.
_NO_OUTPUT: Final = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO})

# Name -> (where the command is, its line in the help).
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("demo:demo", "See it work: about a minute, offline, nothing to set up."),
    "watch": ("watch:watch", "Watch live markets."),
    "markets": ("markets:markets", "Markets of Polymarket: search, show."),
    "serve": ("serve:serve", "Watch as a service: gate, health, metrics, buses."),
    "scan": ("scan:scan", "Find lines of a log that do not look like the lines before them."),
    "simulate": ("simulate:simulate", "Serve a venue on this machine, with faults on request."),
    "import": ("importing:import_", "Make a tape from files of trades, bars or raw frames."),
    "replay": ("replay:replay", "Run a tape or session again: same inputs, same alerts."),
    "evaluate": ("evaluate:evaluate", "Run the detectors over labelled data, and score them."),
    "tune": ("tune:tune", "Would it have fired? A session at other settings."),
    "promote": ("promote:promote", "May the service say more? Each gate, with its evidence."),
    "session": ("session:session", "Sessions on this machine: list, show, verify, export."),
    "history": ("history:history", "What a session said, day by day: show, rollup, prune."),
    "config": ("config:config", "Settings: init, check, show, schema."),
    "approve": ("approve:approve", "Allow a locked setting below its minimum, and say why."),
    "baseline": ("baseline:baseline", "What is usual for a market: reset, show."),
    "killswitch": ("killswitch:killswitch", "Stop all alerts and reports: on, off, status."),
    "gate": ("gate:gate", "May a strategy enter a market? check, watch."),
    "health": ("health:health", "Is a running service well? Green, yellow or red, with reasons."),
    "doctor": ("doctor:doctor", "Check this machine and the way to the venues."),
    "plugins": ("plugins:plugins", "Venues and detectors that are installed."),
    "version": ("version:version", "Version of tapewatch and of what it stands on."),
    "completion": ("completion:completion", "Print the completion script of a shell."),
}

EPILOG: Final = """\b
Exit codes:
  0    done; also after Ctrl+C or SIGTERM and an orderly end
  1    failed while running
  2    usage or settings wrong
  3    a gate or threshold was not met
  4    anomalies found (only with --exit-code)
  5    an integrity check failed
  69   a source cannot be reached
  130  a second Ctrl+C
"""


class LazyGroup(click.Group):
    """Commands of `COMMANDS`, imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"{__package__}.{module}"), name)
        _accept_options(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], COMMANDS)
            ctx.fail(f'There is no command "{clean(args[0], 40)}"{hint}')
        return super().resolve_command(ctx, args)


def _accept_options(command: click.Command) -> None:
    """Let the command and those below take the shell's options as well as the root does."""
    taken = {name for param in command.params for name in param.opts}
    command.params += [
        option for option in options(hidden=True) if not taken.intersection(option.opts)
    ]
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _accept_options(below)


@click.command(
    cls=LazyGroup,
    params=options(hidden=False),
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="tapewatch", prog_name="tapewatch")
def tapewatch() -> None:
    """Watches live markets and says when something is statistically wrong. Read-only."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # replaced by something that is no text file
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    shell = Shell()
    try:
        code = _run(shell, args)
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in _NO_OUTPUT:
            raise
        code = _unwritten(shell, error)
    sys.exit(code)


def _run(shell: Shell, args: Sequence[str] | None) -> int:
    try:
        code: Any = tapewatch.main(args, "tapewatch", obj=shell, standalone_mode=False)
    except TapewatchError as error:
        shell.complain(_last_words(error))
        _trace(shell)
        return error.exit_code
    except click.UsageError as error:
        if error.ctx is not None:
            shell.say(error.ctx.get_usage())
        shell.complain(_sentence(clean(error.format_message(), 400), error.exit_code))
        return error.exit_code
    except click.ClickException as error:
        shell.complain(_sentence(clean(error.format_message(), 400), error.exit_code))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in _NO_OUTPUT:
            raise  # a stream's
        return _crashed(shell, error)
    return code if isinstance(code, int) else 0


def _unwritten(shell: Shell, error: OSError) -> int:
    """Standard output takes no more. Whose reader has gone wants no words either."""
    # What is left in the buffer has nowhere to go; Python would complain about it at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno != errno.EPIPE:
        shell.complain(f"The output cannot be written: {error.strerror}. [1]")
    return 1


def _last_words(error: TapewatchError) -> str:
    """The error's text. It was written for people, and what venues added to it is clean."""
    return _sentence(str(error) or type(error).__name__, error.exit_code)


def _sentence(text: str, exit_code: int) -> str:
    """What, why, what to do, and the exit code in brackets."""
    return f"{text}{'' if text.endswith(('.', '?')) else '.'} [{exit_code}]"


def _crashed(shell: Shell, error: Exception) -> int:
    if isinstance(error, ExceptionGroup):
        expected, others = error.split(TapewatchError)
        if others is None and expected is not None:
            first = _first(expected)
            shell.complain(_last_words(first))
            _trace(shell)
            return first.exit_code
    cause = clean(f"{type(error).__name__}: {error}")
    shell.complain(f"tapewatch failed, and that is a mistake of ours. {cause} [1]")
    path = _keep_trace("".join(traceback.format_exception(error)))
    if path is not None:
        shell.complain(f"The details are in {path}; please send them to us.")
    shell.complain("What was recorded is safe: tapewatch session verify last proves it.")
    _trace(shell)
    return 1


def _first(group: BaseExceptionGroup[TapewatchError]) -> TapewatchError:
    first: BaseException = group.exceptions[0]
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, TapewatchError)
    return first


def _keep_trace(text: str) -> pathlib.Path | None:
    """Write the traceback here, or where temporary files are; None if nowhere."""
    name = f"crash-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}.txt"
    for folder in (pathlib.Path.cwd(), pathlib.Path(tempfile.gettempdir())):
        path = folder / name
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with contextlib.suppress(OSError):  # the next folder may take it
            with open(os.open(path, flags, 0o600), "w", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  Path cannot refuse links
                file.write(text)
            return path
    return None


def _trace(shell: Shell) -> None:
    if shell.verbose:
        traceback.print_exc()
