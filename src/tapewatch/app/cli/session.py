"""`tapewatch session`: what was recorded on this machine."""

import pathlib
import sys
from typing import Final

import click
from msgspec import structs

from tapewatch.app import exporting
from tapewatch.app import session as sessions
from tapewatch.app.cli import output
from tapewatch.io.tape_read import EVER_NS, TapeReader
from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.time import duration_text, format_rfc3339, parse_rfc3339
from tapewatch.sinks.account import coverage_text, summary
from tapewatch.sinks.wording import counted, size_text

INTEGRITY: Final = 5  # exit code

_NAME = click.argument("name", default=sessions.LAST)


@click.group()
def session() -> None:
    """Sessions on this machine. NAME is a folder's name, its path, or: last."""


@session.command("list")
@output.JSON
def list_(*, as_json: bool) -> None:
    """All sessions, the newest first."""
    shell = output.current()
    parent = _parent()
    found = [sessions.known(folder) for folder in sessions.folders(parent)]
    if as_json:
        for one in found:
            shell.put(output.json_line("session", **structs.asdict(one)))
        return
    if not found:
        shell.say(f"There is no session in {parent}. Try: tapewatch demo")
        return
    head = ("name", "began", "lasted", "trades", "alerts", "coverage", "size")
    for line in output.columns([head, *(_row(one) for one in found)]):
        shell.put(line)
    if any(one.summary is None for one in found):
        shell.say("open: running, or not ended in order")


@session.command()
@_NAME
@output.JSON
def show(*, name: str, as_json: bool) -> None:
    """The summary of a session; what its tape has when it did not end in order."""
    shell = output.current()
    folder = sessions.find(_parent(), name)
    view = sessions.read_summary(folder)
    if as_json:
        shell.put(output.json_line("session", **structs.asdict(sessions.known(folder))))
        return
    if view is not None:
        for line in summary(view):
            shell.put(line)
        return
    reader = TapeReader(folder / sessions.TAPE)
    inputs = [0, 0, 0]
    for _, item in reader.inputs():
        inputs = [inputs[0] + 1, inputs[1] or item.ts_recv, item.ts_recv]
    alerts = sum(1 for _ in reader.alerts())
    shell.put(f"Session {folder.name}: it is running, or was not ended in order.")
    shell.put(f"  folder    {folder}")
    if inputs[0]:
        since, lasted = format_rfc3339(inputs[1], 0), duration_text((inputs[2] - inputs[1]) / 1e9)
        shell.put(f"  tape      {counted(inputs[0], 'input')} since {since}, {lasted}")
    shell.put(f"  said      {alerts:,} alerts and reports")
    shell.say(f"Exact figures: tapewatch replay {folder} --json")


@session.command()
@_NAME
@click.option("--head", help="The chain hash that the tape must end with, or its beginning.")
@output.JSON
@click.pass_context
def verify(context: click.Context, *, name: str, head: str | None, as_json: bool) -> None:
    """Check that a session's tape, or a tape file, is whole and unchanged (exit code 5 if not)."""
    shell = output.current()
    folder = pathlib.Path(name)
    if folder.is_file():
        found = sessions.verified_tape(folder, head)
    else:
        folder = sessions.find(_parent(), name)
        found = sessions.verified(folder, head)
    if as_json:
        problems = [str(problem) for problem in found.problems]
        line = output.json_line(
            "verification",
            session=folder.name,
            ok=found.ok,
            **(found._asdict() | {"problems": problems}),
        )
        shell.put(line)
    else:
        for problem in found.problems:
            shell.put(f"  {problem}")
        state = "chain ok" if found.ok else counted(len(found.problems), "problem")
        ending = "closed" if found.closed else "open: running, or not ended in order"
        shell.put(
            f"{folder.name}: {state}, {counted(found.records, 'record')}"
            f" in {counted(found.frames, 'frame')}, {ending}"
        )
        if found.pruned_ns:
            shell.put(
                f"  begins    with record {found.first:,}; what came before was let go"
                f" on {format_rfc3339(found.pruned_ns, 0)} (tapewatch history prune)"
            )
        shell.put(f"  head      {found.head}")
        if found.unfinished:
            shell.say(f"  The last {found.unfinished:,} bytes are no complete frame yet.")
    if not found.ok:
        context.exit(INTEGRITY)


@session.command()
@_NAME
@click.option(
    "--what",
    type=click.Choice(["tape", "trades", "events", "alerts"]),
    default="tape",
    show_default=True,
)
@click.option(
    "--format", "form", type=click.Choice(["ndjson", "csv"]), default="ndjson", show_default=True
)
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(dir_okay=False, path_type=pathlib.Path),
    help="Default: standard output; a tape needs a file.",
)
@click.option("--alert", "alert_id", help="A clip: a minute before and after this alert.")
@click.option("--since", help="A clip from this time on, such as 2025-11-21T09:30:00Z.")
@click.option("--until", help="A clip up to this time.")
def export(
    *,
    name: str,
    what: exporting.What,
    form: exporting.Format,
    path: pathlib.Path | None,
    **clip: str | None,
) -> None:
    """Take a session out: its tape or a clip of it as one file, or what is on it as rows.

    A clip replays to the same alerts by itself.
    """
    shell = output.current()
    tape = sessions.find(_parent(), name) / sessions.TAPE
    if what == "tape":
        path = path or pathlib.Path(f"{tape.parent.name}.tape")
        if path.exists():
            raise ConfigError(f"{path} exists; give another name with -o")
        head = exporting.export_tape(tape, path, *_stretch(tape, **clip))
        shell.say(f"{path} written, chain hash {head}")
        return
    if any(clip.values()):
        raise ConfigError("clips are tapes; leave out --what, or --alert, --since and --until")
    with exporting.opened(path, sys.stdout) as out:
        count = exporting.export_rows(tape, what, form, out)
    shell.say(f"{count:,} {what} exported")


def _stretch(
    tape: pathlib.Path, *, alert_id: str | None, since: str | None, until: str | None
) -> tuple[int, int]:
    """When a clip begins and ends (ns); everything by default."""
    if alert_id:
        return exporting.around(tape, alert_id)
    try:
        begin = parse_rfc3339(since) if since else 0
        return begin, parse_rfc3339(until) if until else EVER_NS
    except DecodeError as error:
        raise ConfigError(f"{error}; write 2025-11-21T09:30:00Z") from error


def _parent() -> pathlib.Path:
    return pathlib.Path(output.current().load().config.session.dir)


def _row(one: sessions.Known) -> tuple[str, ...]:
    began = format_rfc3339(one.started_ns, 0) if one.started_ns else "no record"
    view = one.summary
    if view is None:
        return (one.name, began, "open", "", "", "", size_text(one.size))
    return (
        one.name,
        began,
        duration_text(view.elapsed_s),
        f"{view.trades:,}",
        f"{view.alerts:,}",
        coverage_text(view.coverage),
        size_text(one.size),
    )
