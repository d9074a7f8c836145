"""`tapewatch import`."""

import importlib.metadata
import pathlib
from typing import Any, get_args

import click
from msgspec import structs

from tapewatch.app import importing
from tapewatch.app.cells import time_ns
from tapewatch.app.cli import output
from tapewatch.app.config import effective, set_option
from tapewatch.app.environment import Setting
from tapewatch.io.tape_file import TapeFile
from tapewatch.model.errors import ConfigError
from tapewatch.model.instrument import split_id
from tapewatch.model.time import duration_text, format_rfc3339, parse_duration

_KINDS = get_args(importing.Kind)


@click.command("import")
@click.argument("kind", type=click.Choice(_KINDS))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path))
@click.option(
    "--instrument",
    "instruments",
    multiple=True,
    required=True,
    help="venue:symbol; repeat it for frames or books of several.",
)
@click.option(
    "-o", "--output", "path", required=True, type=click.Path(dir_okay=False, path_type=pathlib.Path)
)
@click.option("--columns", default="", help="name=column,... where names differ.")
@click.option("--interval", default="", help="Of bars, such as 1m; by default read from the rows.")
@click.option(
    "--bar-time",
    type=click.Choice(["start", "end"]),
    default="start",
    show_default=True,
    help="What the time of a bar is.",
)
@click.option("--start", default="", help="Time of the first frame, where the lines have none.")
@click.option("--set", "changes", multiple=True, help="key=value: a setting of the tape.")
@click.option("--force", is_flag=True, help="Replace a tape that exists.")
@output.JSON
def import_(  # noqa: PLR0913  one argument per option
    *,
    kind: importing.Kind,
    file: pathlib.Path,
    instruments: tuple[str, ...],
    path: pathlib.Path,
    columns: str,
    interval: str,
    bar_time: Any,
    start: str,
    changes: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Make a tape from a file of trades, bars, books, wallets' trades or raw frames.

    Files: csv, csv.gz, ndjson, parquet. Times in s, ms, µs, ns or RFC 3339 are recognised.
    """
    shell = output.current()
    if path.exists() and not force:
        raise ConfigError(f"{path} exists; replace it with --force")
    plan = importing.Plan(
        kind=kind,
        file=file,
        instruments=instruments,
        columns=importing.parse_columns(columns),
        interval_s=parse_duration(interval) if interval else 0.0,
        bar_time=bar_time,
        **({"start_ns": time_ns(start)} if start else {}),
    )
    source = _source(plan)
    flags = [source, *(set_option(change) for change in changes)]
    config = effective(shell.load(flags).config)
    config["source"] = {source.path[1]: config["source"][source.path[1]]}
    with TapeFile(path, config=config, version=importlib.metadata.version("tapewatch")) as tape:
        done = importing.import_file(plan, tape)
    _report(shell, path, done, as_json=as_json)


def _source(plan: importing.Plan) -> Setting:
    """What decodes the tape: rows their own venue, frames the one they came from."""
    parts = [split_id(instrument) for instrument in plan.instruments]
    if plan.kind == "frames":
        if len({venue for venue, _ in parts}) > 1:
            raise ConfigError("frames come from one venue", "--instrument")
        return Setting(
            ("source", parts[0][0], "symbols"), [symbol for _, symbol in parts], "--instrument"
        )
    if len(parts) > 1 and plan.kind != "books":
        raise ConfigError(f"{plan.kind} are of one instrument", "--instrument")
    return Setting(("source", "ndjson", "ids"), list(importing.ids(plan)), "--instrument")


def _report(
    shell: output.Shell, path: pathlib.Path, done: importing.Imported, *, as_json: bool
) -> None:
    for problem in done.problems:
        shell.say(problem)
    if done.bad > len(done.problems):
        shell.say(f"... and {done.bad - len(done.problems):,} more rows that make no sense")
    if as_json:
        shell.put(output.json_line("import", tape=str(path), **structs.asdict(done)))
        return
    lasted = duration_text((done.until_ns - done.since_ns) / 1e9)
    shell.say(
        f"{path}: {done.rows:,} rows of {lasted} since {format_rfc3339(done.since_ns, 0)}, "
        f"{done.bad:,} left out, {done.timers:,} timers"
    )
    if done.late:
        shell.say(f"{done.late:,} rows are older than the row before them.")
    if done.skipped_s:
        shell.say(f"Quiet stretches were shortened by {duration_text(done.skipped_s)}.")
    shell.say(f"Replay it: tapewatch replay {path} --alerts -")
