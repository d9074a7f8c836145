"""`tapewatch replay`: a tape or session again, as it was or with other settings."""

import asyncio
import pathlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import click

from tapewatch.app.cli import output
from tapewatch.model.errors import ConfigError
from tapewatch.model.text import clean

if TYPE_CHECKING:
    from tapewatch.app.config import Config
    from tapewatch.app.replay import Replayed


@click.command()
@click.argument("tape", metavar="TAPE_OR_SESSION")
@click.option("--alerts", metavar="FILE", help="Write alert lines (NDJSON); - is standard output.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Another setting.")
@click.option("--diff", is_flag=True, help="Which alerts appear and vanish with --set.")
@click.option("--speed", default="max", show_default=True, help="max, or 1x: as it was recorded.")
@output.JSON
def replay(
    *,
    tape: str,
    alerts: str | None,
    changes: tuple[str, ...],
    diff: bool,
    speed: str,
    as_json: bool,
) -> None:
    """Run a tape or a session again: same inputs, same alerts.

    Without --set the replay is compared with the record; a difference ends with exit code 5. With
    it, the alerts are those that the other settings would have given.
    """
    from tapewatch.app import replay as work  # noqa: PLC0415  --help stays quick
    from tapewatch.app.build import engine_of  # noqa: PLC0415
    from tapewatch.app.config import set_option  # noqa: PLC0415
    from tapewatch.io.tape_read import TapeReader  # noqa: PLC0415

    if diff and not changes:
        raise ConfigError("needs --set: there is nothing to compare with", "--diff")
    pace = _pace(speed)
    shell = output.current()
    path = tape_path(tape)
    recorded = work.configured(path)
    changed = work.configured(path, [set_option(text) for text in changes])
    if diff:
        _difference(path, recorded, changed, as_json=as_json)
        return
    with _opened(alerts) as out:
        seen = asyncio.run(
            work.replay(TapeReader(path), engine_of(changed), work.alert_lines(out), pace)
        )
    if not changes:
        count = work.check(path, engine_of(recorded), lambda text: shell.say(f"note: {text}."))
        if count:
            shell.say(f"The replay agrees with the record: {count:,} alerts and reports.")
        else:
            shell.say("There were no alerts or reports to compare the replay with.")
    _result(seen, as_json=as_json)


def _pace(speed: str) -> float:
    """Seconds of recorded time per second; infinite for `max`."""
    try:
        pace = float("inf") if speed == "max" else float(speed.removesuffix("x"))
    except ValueError:
        pace = 0.0
    if not pace > 0:
        raise ConfigError(f'"{clean(speed, 20)}" is not a speed; write max, 1x or 60x', "--speed")
    return pace


def tape_path(name: str) -> pathlib.Path:
    """A tape file, a folder of segments, or the tape of a session."""
    from tapewatch.app.session import TAPE, find  # noqa: PLC0415  --help stays quick

    path = pathlib.Path(name)
    if path.is_file() or (path.is_dir() and not (path / TAPE).is_dir()):
        return path
    return find(pathlib.Path(output.current().load().config.session.dir), name) / TAPE


@contextmanager
def _opened(name: str | None) -> Iterator[TextIO | None]:
    if name is None or name == "-":
        yield sys.stdout if name else None
        return
    try:
        with pathlib.Path(name).open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise ConfigError(f"cannot write {clean(name)}: {error.strerror}", "--alerts") from error


def _result(seen: "Replayed", *, as_json: bool) -> None:
    from msgspec import to_builtins  # noqa: PLC0415  --help stays quick

    from tapewatch.sinks.wording import counted  # noqa: PLC0415

    shell = output.current()
    if as_json:
        shell.put(output.json_line("replay", **to_builtins(seen)))
        return
    events = ", ".join(f"{count:,} {name}" for name, count in seen.events.items())
    shell.say(f"{counted(seen.inputs, 'input')}; {events}")
    shell.say(
        f"{counted(seen.observations, 'observation')}, {counted(seen.alerts, 'alert')},"
        f" {counted(seen.reports, 'report')}"
    )
    shell.say(f"digest {seen.digest}")


def _difference(
    path: pathlib.Path, recorded: "Config", changed: "Config", *, as_json: bool
) -> None:
    from msgspec import json, to_builtins  # noqa: PLC0415  --help stays quick

    from tapewatch.app.replay import difference  # noqa: PLC0415
    from tapewatch.model.time import format_rfc3339  # noqa: PLC0415

    shell = output.current()
    counts = {"-": 0, "+": 0, "=": 0}
    for sign, alert in difference(path, recorded, changed):
        counts[sign] += 1
        if as_json:
            shell.put(output.json_line("replay.diff", change=sign, alert=to_builtins(alert)))
        elif sign != "=":
            at = format_rfc3339(alert.onset_ns, 0)
            said = clean(alert.reason) or json.encode(alert.cause).decode()
            shell.put(f"{sign} {at} {alert.severity:<5} {clean(alert.instrument, 48)} {said}")
    shell.say(f"{counts['-']:,} vanish, {counts['+']:,} appear, {counts['=']:,} stay.")
